/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the files behind cpython/mimalloc.h share.
#ifndef HW_CPYTHON_MIMALLOC_INTERNAL_H
#define HW_CPYTHON_MIMALLOC_INTERNAL_H

#include "base/bytes.h"
#include "cpython/mimalloc.h"

struct hw_mi_walk {
	struct hw_target *target;
	const struct hw_python *python;
	const struct hw_python_layout *layout;
	struct hw_issues *issues;
	struct hw_pages pages;
	struct hw_mimalloc *mi;
};

// A word of the target's own way to link: as it is, or encoded with a page's or a heap's two keys. `null`
// stands for the end of an encoded list.
static inline hw_addr_t hw_mi_decode(bool has_keys, uint64_t word, const uint64_t keys[2],
				     hw_addr_t null)
{
	if (!has_keys)
		return word;
	uint64_t x = word - keys[0];
	unsigned shift = keys[0] & 63;
	x = (x >> shift | x << (-shift & 63)) ^ keys[1];
	return x == null ? 0 : x;
}

// mimalloc_heaps.c: from the pages that were found, heaps and their delayed lists. mimalloc_areas.c: the
// memory that is neither a segment's nor a module's.
struct hw_error *hw_mi_find_heaps(struct hw_mi_walk *walk) HW_MUST_USE;
struct hw_error *hw_mi_find_areas(struct hw_mi_walk *walk) HW_MUST_USE;
// A variable of mimalloc's, static or not. False: no symbol and no debug information tells.
bool hw_mi_variable(const struct hw_python *python, const char *name, hw_addr_t *ret);

#endif
