/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The one table: every byte of every private writable mapping in exactly one row, built once per stop.
//
// It joins the allocators: a pool is one run with its geometry and 4 bytes a block (a category id), a
// malloc region is one run with 8 bytes a chunk (start and category id), what no allocator claims is a
// row of its own. Rows are made on the fly, in address order.
//
// Invariant, checked on every build: the rows of a mapping add up to it, no gap, no overlap.
#ifndef HW_HEAP_HEAP_H
#define HW_HEAP_HEAP_H

#include "base/rules.h"
#include "base/strtab.h"
#include "cpython/mimalloc.h"
#include "cpython/obmalloc.h"
#include "glibc/malloc.h"
#include "target/absences.h"

enum hw_allocator {
	HW_ALLOCATOR_NONE,
	HW_ALLOCATOR_GLIBC,
	HW_ALLOCATOR_PYMALLOC,
	HW_ALLOCATOR_MIMALLOC, // CPython's own copy of it
	HW_ALLOCATOR_COUNT
};

// What a block is. Interned: equal content, equal id; ids are indexes of hw_heap_category().
struct hw_category {
	const char *domain, *kind, *detail; // borrowed from the heap; never NULL
	enum hw_state state;
	const char
		*state_word; // "in use", "tcache", "free block", "virgin", "overhead", "unknown", …
	uint32_t type;       // type index + 1 of a Python object, 0: none
};

struct hw_row {
	hw_addr_t start;
	uint64_t size_bytes;
	enum hw_allocator allocator;
	uint32_t category;
};

struct hw_census_row {
	uint32_t category;
	uint64_t count, bytes;
};

// All bytes: in_use + free + overhead + unknown == mapped.
struct hw_ledger {
	uint64_t mapped_bytes;
	uint64_t in_use_bytes, free_bytes, overhead_bytes, unknown_bytes;
	uint64_t in_use_count;
	uint64_t heap_bytes;    // of ranges that an allocator claims
	uint64_t missing_bytes; // of those: could not be read
};

// kind of the category that has a replaced malloc's memory; its domain is that malloc's name.
#define HW_OTHER_MALLOC_KIND "its mappings"

struct hw_heap;

struct hw_heap_inputs {
	struct hw_target *target;
	struct hw_modules *modules;
	const struct hw_python *python; // module NULL: none
	struct hw_pymalloc *pymalloc;   // borrowed for the heap's life
	struct hw_mimalloc *mimalloc;   // the same
	struct hw_glibc *glibc;         // the same; its states are rewritten to category ids
	struct hw_rules *rules;         // a user's, resolved; NULL: none
	unsigned threads;
	bool debug;
	struct hw_issues *issues;
	struct hw_progress *progress;
};

// A table is opened before malloc is walked, so that blocks can be looked at as the walk passes them, and
// filled when everything in its inputs has been walked. Opening needs target, modules, rules, and what
// python->module is. Both fail only on out of memory. Interrupted: success, hw_heap_is_partial().
struct hw_error *hw_heap_open(const struct hw_heap_inputs *inputs,
			      struct hw_heap **ret) HW_MUST_USE;
struct hw_error *hw_heap_fill(struct hw_heap *heap) HW_MUST_USE;
// Can hw_heap_look() tell anything? It is hw_glibc_inputs.look, its payload the table.
bool hw_heap_can_look(const struct hw_heap *heap);
uint32_t hw_heap_look(void *payload, unsigned worker, hw_addr_t user, const uint8_t *bytes,
		      size_t len, uint64_t capacity);
void hw_heap_destroy(struct hw_heap *heap);
bool hw_heap_is_partial(const struct hw_heap *heap);

const struct hw_category *hw_heap_category(const struct hw_heap *heap, uint32_t id);
uint32_t hw_heap_category_count(const struct hw_heap *heap);
const struct hw_ledger *hw_heap_ledger(const struct hw_heap *heap);
// Files of the target that are not at hand, where something could not be told for want of them: by name; borrowed.
const struct hw_absence *hw_heap_absences(const struct hw_heap *heap, size_t *ret_count);
// One row a category that occurs, in category order; borrowed from the heap.
const struct hw_census_row *hw_heap_census(const struct hw_heap *heap, size_t *ret_count);

// Rows in address order that overlap [from, to). visit returns false to stop; true: went to the end.
bool hw_heap_visit(const struct hw_heap *heap, hw_addr_t from, hw_addr_t to,
		   bool (*visit)(void *payload, const struct hw_row *row), void *payload);
// The row that contains addr. False: no private writable mapping has it.
bool hw_heap_find(const struct hw_heap *heap, hw_addr_t addr, struct hw_row *ret);

// The object in a row of a Python category: what id() gives, and its reference count (-1: immortal, or
// not known, as where references are not all counted). False: no object starts there. Reads the target through `pages`.
bool hw_heap_object(const struct hw_heap *heap, const struct hw_row *row, struct hw_pages *pages,
		    hw_addr_t *ret_object, int64_t *ret_refcount);

// The type object that a category's `type` stands for, 0: none.
hw_addr_t hw_heap_type_address(const struct hw_heap *heap, uint32_t type);

// Where the class of a Python object's category was defined, its __module__. False: the category is of
// no object, or the class does not tell. Reads the target through `pages`.
bool hw_heap_module(const struct hw_heap *heap, uint32_t category, struct hw_pages *pages,
		    char *buf, size_t size);

// Whose memory a row is cut from.
enum hw_place_kind {
	HW_PLACE_NONE,
	HW_PLACE_MALLOC,
	HW_PLACE_MMAPPED,
	HW_PLACE_PYMALLOC,
	HW_PLACE_MIMALLOC
};
struct hw_place {
	enum hw_place_kind kind;
	uint32_t index;       // of the malloc arena, the pymalloc arena, the mimalloc segment
	hw_addr_t start, end; // the same for all rows in between
};
void hw_heap_place(const struct hw_heap *heap, hw_addr_t addr, struct hw_place *ret);

#endif
