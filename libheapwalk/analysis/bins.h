/* SPDX-License-Identifier: LGPL-2.1-or-later */
// One glibc arena: its free chunks by the bin that they are in, and its chunks one by one.
#ifndef HW_ANALYSIS_BINS_H
#define HW_ANALYSIS_BINS_H

#include "heap/heap.h"

// Chunks of one bin; tcache bins are those of all threads together. Sizes are whole chunks.
struct hw_bin {
	enum hw_chunk_state state;
	int index;                   // as malloc counts them in tcache, fastbinsY, bins; -1: top
	uint64_t from_size, to_size; // of the smallest and the largest chunk in it
	uint64_t count, bytes;
};

struct hw_bins {
	HW_VEC(struct hw_bin)
	list; // tcache, fastbins, unsorted, small, large, top; empty ones left out
	uint64_t chunk_count, chunk_bytes; // of all chunks
};

// Not of mmapped chunks: they are in no arena.
struct hw_error *hw_bins_make(const struct hw_glibc *glibc, uint32_t arena_index,
			      struct hw_bins *ret) HW_MUST_USE;
void hw_bins_deinit(struct hw_bins *bins);

// Chunks in address order; visit returns false to stop. True: went to the end.
bool hw_arena_visit(const struct hw_heap *heap, const struct hw_glibc *glibc, uint32_t arena_index,
		    bool (*visit)(void *payload, const struct hw_row *row), void *payload);

#endif
