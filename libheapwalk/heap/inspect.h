/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Questions about one address, asked of a table that is built: which object is there, what does it say
// of itself, what does it own, who owns it. Reads the target: ask while it is stopped.
#ifndef HW_HEAP_INSPECT_H
#define HW_HEAP_INSPECT_H

#include "cpython/objects.h"
#include "cpython/value.h"
#include "heap/heap.h"

struct hw_inspector;

// Borrows the heap, which must not be partial. One thread at a time.
struct hw_error *hw_inspector_create(struct hw_heap *heap, struct hw_inspector **ret) HW_MUST_USE;
void hw_inspector_destroy(struct hw_inspector *inspector); // accepts NULL
struct hw_pages *hw_inspector_pages(struct hw_inspector *inspector);
struct hw_type_cache *hw_inspector_types(struct hw_inspector *inspector);

struct hw_inspected_object {
	hw_addr_t address; // what id() gives
	const char *type;  // tp_name; borrowed from the heap
	hw_addr_t type_address;
	int64_t refcount; // as it is stored
	bool is_immortal; // 3.12 and later
	bool is_split;    // without the GIL: `refcount` is the sum, as far as the header tells
	struct hw_split_count split;
	uint32_t head_bytes; // GC head and pre-header before the object
	uint64_t size_bytes; // sys.getsizeof() without buffers; 0: the object alone doesn't tell
};

// An object whose first byte is at `addr`: its type proves itself and its count of references is sane.
bool hw_inspect_object(struct hw_inspector *inspector, hw_addr_t addr,
		       struct hw_inspected_object *ret);
// hw_value_text() of an object that was inspected; buf of HW_VALUE_TEXT_MAX.
bool hw_inspect_value(struct hw_inspector *inspector, const struct hw_inspected_object *object,
		      char *buf);

// A pointer from an object to a block that it owns.
struct hw_ownership {
	hw_addr_t owner;        // the object
	const char *owner_type; // tp_name
	const char *field;      // of the object, "ob_item"
	hw_addr_t target;       // where it leads; the owned block contains this
};
typedef bool hw_ownership_fn(void *payload, const struct hw_ownership *ownership);

// What an inspected object owns, each block once a pointer. False: `visit` stopped it.
bool hw_inspect_owned(struct hw_inspector *inspector, const struct hw_inspected_object *object,
		      hw_ownership_fn *visit, void *payload);
// Who owns the block of `row`: asks every object of the heap, which takes as long as a census on one
// thread, unless no owner has claimed the block. Interrupted: fails.
struct hw_error *hw_inspect_owners(struct hw_inspector *inspector, const struct hw_row *row,
				   hw_ownership_fn *visit, void *payload) HW_MUST_USE;
// The interpreter's own structure that leads to a block which no object owns, "" for any other block.
const char *hw_inspect_root(const struct hw_inspector *inspector, const struct hw_row *row);

#endif
