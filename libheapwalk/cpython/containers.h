/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What is in a dict, a set, a tuple or a list of the target, in the order in which the target itself
// would name it. Bounded: at most `slots_max` slots are looked at, whatever the object says of itself.
// Upstream: Objects/dictobject.c, Include/internal/pycore_dict.h, Objects/setobject.c; 2.7, 3.6 – 3.13.
#ifndef HW_CPYTHON_CONTAINERS_H
#define HW_CPYTHON_CONTAINERS_H

#include "layout/python.h"
#include "target/window.h"

// Addresses of objects; 0 when the target has a null pointer there. A set's item and a sequence's have no
// value. Return false to stop.
typedef bool hw_item_fn(void *payload, hw_addr_t key, hw_addr_t value);

// How a visit ended. A walk that `visit` stopped is WHOLE: it got what it wanted.
enum hw_items_end { HW_ITEMS_WHOLE, HW_ITEMS_CUT /* slots_max */, HW_ITEMS_UNREADABLE };

// Where the entries of a dict are, and what each of them looks like.
struct hw_entries {
	hw_addr_t first;
	uint64_t count; // slots, empty ones too
	uint64_t bytes; // of one
	uint64_t key_at, value_at;
};

enum { HW_DICT_KEYS_HEADER_MAX = 64 };
// Those of the keys object at `keys`: they stand behind the table of indexes, whose width depends on their
// number. `header` is what is before that table, layout->keys_indices bytes. False: it contradicts itself.
bool hw_dict_keys_entries(const struct hw_python_layout *layout, hw_addr_t keys,
			  const uint8_t *header, size_t len, struct hw_entries *ret);

// A dict's number of items, a set's; false: it can't be read.
bool hw_dict_length(const struct hw_python_layout *layout, struct hw_pages *pages, hw_addr_t dict,
		    uint64_t *ret);
bool hw_set_length(const struct hw_python_layout *layout, struct hw_pages *pages, hw_addr_t set,
		   uint64_t *ret);

enum hw_items_end hw_dict_visit(const struct hw_python_layout *layout, struct hw_pages *pages,
				hw_addr_t dict, uint64_t slots_max, hw_item_fn *visit,
				void *payload);
// `dummy`: of 2.7, what a removed item leaves behind (any of dummy_count addresses); later versions mark
// it by its hash.
enum hw_items_end hw_set_visit(const struct hw_python_layout *layout, struct hw_pages *pages,
			       hw_addr_t set, const hw_addr_t *dummies, size_t dummy_count,
			       uint64_t slots_max, hw_item_fn *visit, void *payload);
// `count` pointers from `items` on.
enum hw_items_end hw_sequence_visit(struct hw_pages *pages, hw_addr_t items, uint64_t count,
				    uint64_t slots_max, hw_item_fn *visit, void *payload);

#endif
