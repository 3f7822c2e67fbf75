/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A core that lacks some of malloc's memory lacks some of its free lists. A chunk in a thread's cache or in a
// fastbin is marked as used, and only its list tells that it is not; whether the chunk before a gap is used
// stands behind the gap. So where lists are missing, an owner's word is all that makes such a chunk used;
// nothing in the chunk itself does, for free() leaves most of it as it was.
#include "heap/heap_internal.h"

// The largest chunk that a tcache (64 bins of 16 bytes from 32 on; 2.42's larger ones hold more only when
// a tunable says so) or a fastbin may hold.
enum { HW_CACHED_BYTES_MAX = 32 + 63 * 16 };

static bool hw_may_be_free(const struct hw_region *region, uint32_t i)
{
	return hw_region_chunk_end(region, i) - hw_region_chunk_start(region, i) <=
		       HW_CACHED_BYTES_MAX ||
	       i + 1 == region->count || region->state[i + 1] == HW_CHUNK_UNKNOWN ||
	       region->state[i + 1] == HW_CHUNK_MISSING;
}

void hw_heap_mark_gaps(struct hw_heap *heap)
{
	const struct hw_glibc *glibc = heap->in.glibc;
	uint64_t chunks = 0, bytes = 0;
	if (!glibc->has_gaps)
		return;
	hw_vec_foreach(region, &glibc->regions)
	{
		if (region->kind == HW_REGION_MMAPPED)
			continue;
		for (uint32_t i = 0; i < region->count; i++) {
			uint32_t slot = region->state[i];
			if (slot == HW_CHUNK_FREE)
				region->state[i] = HW_CATEGORY_FREE_LIST_MISSING;
			if (slot & HW_SLOT_CLAIMED || slot == HW_CATEGORY_SLOT_HEADER ||
			    hw_heap_category(heap, slot)->state != HW_STATE_IN_USE ||
			    !hw_may_be_free(region, i))
				continue;
			region->state[i] = HW_CATEGORY_MAYBE_FREE;
			chunks++;
			bytes += hw_region_chunk_end(region, i) - hw_region_chunk_start(region, i);
		}
	}
	if (chunks)
		hw_issues_add(
			heap->in.issues, HW_ERROR_FAULT, 0,
			"memory with malloc's free lists is missing: of %llu chunks with %llu "
			"bytes it can't be told whether they are in use",
			(unsigned long long)chunks, (unsigned long long)bytes);
}
