/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Free memory that an allocator keeps, and what it is kept for.
//
// pymalloc gives an arena back when no block of it is in use: its blocks in use pin the whole arena. malloc
// gives memory back from the end of a region, its top: the last chunk before it that is not in a bin
// pins what is free below it. A chunk in a thread's cache or in a fastbin pins as one in use does.
// Upstream: Objects/obmalloc.c (insert_to_freepool), malloc/malloc.c (_int_free, systrim, mtrim).
#ifndef HW_ANALYSIS_PINS_H
#define HW_ANALYSIS_PINS_H

#include "heap/heap.h"
#include "target/residency.h"

// A pymalloc arena, or a region of a malloc arena, that has free memory which is pinned.
struct hw_pinned {
	enum hw_allocator allocator;
	hw_addr_t start, end;
	uint32_t arena; // index of the malloc arena, or of the pymalloc state
	uint64_t free_bytes, free_resident_bytes; // malloc: below the pin
	uint64_t used_count, used_bytes;          // the same
	// pymalloc: the category that has most of the bytes in use; malloc: the pin.
	uint32_t pin_category;
	hw_addr_t pin_start; // malloc only
	uint64_t pin_count, pin_bytes;
	// Given back if all that is in use went (pymalloc), if the pin went (malloc).
	uint64_t freed_resident_bytes;
	// malloc: what malloc_trim(0) would give back as it is
	uint64_t trim_resident_bytes;
};

// What is in use in pymalloc arenas of which at least half is free, by category.
struct hw_holder {
	uint32_t category;
	uint64_t count, bytes;
	uint64_t arenas; // that it is in
	uint64_t alone;  // of these: in which nothing else is in use
};

struct hw_pins {
	HW_VEC(struct hw_pinned) list;
	HW_VEC(struct hw_holder) holders;
	uint64_t mostly_free_arenas, mostly_free_resident_bytes, mostly_free_used_bytes;
	uint64_t trim_resident_bytes; // of all regions
	bool knows_resident;
};

// Interrupted: what was seen until then, see hw_progress_stopped().
struct hw_error *hw_pins_make(const struct hw_heap *heap, const struct hw_pymalloc *pymalloc,
			      const struct hw_glibc *glibc, const struct hw_residency *residency,
			      struct hw_progress *progress, struct hw_pins *ret) HW_MUST_USE;
void hw_pins_deinit(struct hw_pins *pins);

#endif
