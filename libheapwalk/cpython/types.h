/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Type objects: an address is a type when it proves itself, and the verdict is kept by address.
//
// The proof is a closure over ob_type: PyType_Type is its own type; an object is a type when its type
// is PyType_Type or a proven type with Py_TPFLAGS_TYPE_SUBCLASS, it is READY, its name is readable and
// its sizes are sane. Reference counts say nothing: a class may have any number of instances. A verdict
// depends on the target's memory alone, never on what was asked before.
// Upstream: Include/cpython/object.h (struct _typeobject), Objects/typeobject.c.
#ifndef HW_CPYTHON_TYPES_H
#define HW_CPYTHON_TYPES_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/rules.h"
#include "cpython/obmalloc.h"
#include "layout/python.h"
#include "target/window.h"

// tp_flags bits, Include/object.h. 2.7 uses bits 0 – 8 for other things: see hw_types_init().
enum hw_type_flags {
	HW_TPFLAGS_INLINE_VALUES = 1u << 2,
	HW_TPFLAGS_MANAGED_WEAKREF = 1u << 3,
	HW_TPFLAGS_MANAGED_DICT = 1u << 4,
	HW_TPFLAGS_HEAPTYPE = 1u << 9,
	HW_TPFLAGS_READY = 1u << 12,
	HW_TPFLAGS_HAVE_GC = 1u << 14,
	HW_TPFLAGS_LONG_SUBCLASS = 1u << 24,
	HW_TPFLAGS_UNICODE_SUBCLASS = 1u << 28,
	HW_TPFLAGS_DICT_SUBCLASS = 1u << 29,
	HW_TPFLAGS_TYPE_SUBCLASS = 1u << 31,
};

// How the bytes of an instance are counted.
enum hw_type_shape {
	HW_SHAPE_PLAIN,    // basicsize + |ob_size| * itemsize
	HW_SHAPE_INT,      // digits from lv_tag or |ob_size|
	HW_SHAPE_STR,      // by the state bits
	HW_SHAPE_AT_LEAST, // basicsize is all that can be told: frames, generators
};

// Slots where heap/ keeps the category ids it made for a type, so that the hot path takes no lock.
enum hw_type_category {
	HW_TYPE_CATEGORY_OBJECT,
	HW_TYPE_CATEGORY_FREE_LISTED,
	HW_TYPE_CATEGORY_INSTANCE_DICT,
	HW_TYPE_CATEGORY_INSTANCE_KEYS,
	HW_TYPE_CATEGORY_INSTANCE_VALUES,
	HW_TYPE_CATEGORY_COUNT
};

enum { HW_TYPE_RULES_MAX = 12 };

struct hw_type {
	// What each block of this type asks for stands first, in one cache line.
	uint32_t flags;     // enum hw_type_flags, bits a version lacks cleared
	uint8_t head_bytes; // before the object: GC head and pre-header
	uint8_t rule_count;
	uint8_t shape; // enum hw_type_shape
	bool has_gc;
	// Room after the head that a block has which holds an instance; max 0: it depends on the instance
	uint64_t room_min, room_max;
	uint32_t basicsize, itemsize;
	int32_t dictoffset; // 0: none, or managed
	_Atomic uint32_t categories[HW_TYPE_CATEGORY_COUNT];
	uint8_t rules[HW_TYPE_RULES_MAX]; // indexes of owner rules, owners.c
	// Where the one buffer is that an instance owns, when a pointer is all there is to it (a list);
	// HW_ABSENT: hw_owners_visit() knows. `buffer_kind` is an enum hw_claim_kind.
	int32_t buffer_offset;
	uint8_t buffer_kind;
	uint8_t holds;          // enum hw_holds, references.h
	uint32_t held_from;     // unless HW_HOLDS_WORDS: where begins what its subclasses add
	int32_t weaklistoffset; // of a pointer to its weak references, which it doesn't hold; 0: none

	hw_addr_t address;
	const struct hw_type *base; // NULL: object, or not readable
	char *name;                 // tp_name; of one that can't be read: hw_absent_name()
	const char *absent_file;    // that has tp_name and is not at hand; NULL: the name is known
	uint32_t index;
	bool has_preheader, is_module, is_type, is_dict;
	uint8_t metatype_count; // from it to PyType_Type: 1 for most
	bool is_settled;        // roots.c: its own claims are made
	hw_addr_t cached_keys;  // ht_cached_keys, 0: none
};

struct hw_type_slot {
	hw_addr_t address;    // 0: empty
	struct hw_type *type; // NULL: proven not to be a type
};

struct hw_types {
	const struct hw_python *python;
	struct hw_rules *rules; // a user's, or NULL; borrowed
	struct hw_issues *issues;
	uint32_t known_flags; // the bits that mean in this version what enum hw_type_flags says
	pthread_rwlock_t lock;
	struct hw_type_slot *slots;
	size_t slot_count, used_count;
	HW_VEC(struct hw_type *) all;
};

enum { HW_TYPE_CACHE_SLOTS = 4096 };
// A thread's own view: looked at first, no lock.
struct hw_type_cache {
	struct hw_types *types;
	struct hw_pages *pages;
	// What is in its pools is no type, for that is too large. NULL where it is not, of 32-bit targets.
	const struct hw_pymalloc *pymalloc;
	hw_addr_t near_start; // the arena under way: most words that are no type lead to neighbours
	uint64_t near_bytes;
	struct hw_type_slot slots[HW_TYPE_CACHE_SLOTS];
};

// `rules` are a user's, or NULL.
struct hw_error *hw_types_init(struct hw_types *types, const struct hw_python *python,
			       struct hw_rules *rules, struct hw_issues *issues) HW_MUST_USE;
void hw_types_deinit(struct hw_types *types);

// The type at addr, or NULL when what is there is no type. Borrowed from `types`. A type that proves itself but
// for its name, because that is in a file that is not at hand (target/absences.h), is one.
const struct hw_type *hw_type_at_slow(struct hw_type_cache *cache, hw_addr_t addr);
static inline const struct hw_type *hw_type_at(struct hw_type_cache *cache, hw_addr_t addr)
{
	// First, because it costs no look into the cache: links of GC heads lead to neighbours.
	if (addr - cache->near_start < cache->near_bytes)
		return NULL;
	struct hw_type_slot *slot =
		&cache->slots[(addr >> 4 ^ addr >> 16) & (HW_TYPE_CACHE_SLOTS - 1)];
	return slot->address == addr ? slot->type : hw_type_at_slow(cache, addr);
}

#endif
