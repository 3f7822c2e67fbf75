/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What is the same whichever width a word has: the table that a walk makes, and which walk makes it.
#include <stdlib.h>

#include "glibc/walker.h"

static const char *const hw_chunk_state_words[] = {
	[HW_CHUNK_IN_USE] = "in use",
	[HW_CHUNK_TCACHE] = "tcache",
	[HW_CHUNK_FASTBIN] = "fastbin",
	[HW_CHUNK_UNSORTED] = "unsorted bin",
	[HW_CHUNK_SMALL] = "small bin",
	[HW_CHUNK_LARGE] = "large bin",
	[HW_CHUNK_FREE] = "free, on no list",
	[HW_CHUNK_TOP] = "top",
	[HW_CHUNK_FENCE] = "fence",
	[HW_CHUNK_ARENA] = "arena header",
	[HW_CHUNK_TCACHE_STRUCT] = "tcache header",
	[HW_CHUNK_UNKNOWN] = "unknown",
	[HW_CHUNK_MISSING] = "missing",
};

const char *hw_chunk_state_word(enum hw_chunk_state state)
{
	return (unsigned)state < HW_CHUNK_STATE_COUNT ? hw_chunk_state_words[state] : "unknown";
}

struct hw_region *hw_glibc_find_region(const struct hw_glibc *glibc, hw_addr_t addr)
{
	size_t low = 0, high = glibc->regions.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct hw_region *region = &glibc->regions.data[middle];
		if (addr < region->start)
			high = middle;
		else if (addr >= region->end)
			low = middle + 1;
		else
			return region;
	}
	return NULL;
}

uint32_t hw_region_find_chunk(const struct hw_region *region, hw_addr_t addr)
{
	uint64_t offset8 = (addr - region->start) / HW_CHUNK_UNIT;
	uint32_t low = 0, high = region->count; // low: starts at or before addr
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (region->offset8[middle] <= offset8)
			low = middle;
		else
			high = middle;
	}
	return low;
}

void hw_glibc_deinit(struct hw_glibc *glibc)
{
	hw_vec_foreach(region, &glibc->regions)
	{
		free(region->offset8);
		free(region->state);
	}
	hw_vec_deinit(&glibc->regions);
	hw_vec_deinit(&glibc->arenas);
	*glibc = (struct hw_glibc){ 0 };
}

// malloc/malloc.c: smallbin_index, largebin_index_64, largebin_index_32_big (unchanged since 2.17)
unsigned hw_glibc_bin_of(unsigned word, uint64_t size)
{
	bool is_64 = word == 8;
	if (size < (is_64 ? 1024 : 1008))
		return (unsigned)(size >> 4) + (is_64 ? 0 : 1);
	if (size >> 6 <= (is_64 ? 48 : 45))
		return (is_64 ? 48 : 49) + (unsigned)(size >> 6);
	if (size >> 9 <= 20)
		return 91 + (unsigned)(size >> 9);
	if (size >> 12 <= 10)
		return 110 + (unsigned)(size >> 12);
	if (size >> 15 <= 4)
		return 119 + (unsigned)(size >> 15);
	if (size >> 18 <= 2)
		return 124 + (unsigned)(size >> 18);
	return 126;
}

bool hw_glibc_tcache_bin_holds(unsigned word, unsigned bin, uint64_t size)
{
	if (bin < HW_GLIBC_TCACHE_SMALL_BINS)
		return size == 4 * word + 16 * (uint64_t)bin;
	// one bin per bit width, from 11 bits (1024 … 2047) on
	return size >> (bin - HW_GLIBC_TCACHE_SMALL_BINS + 10) == 1;
}

struct hw_error *hw_glibc_walk(const struct hw_glibc_inputs *inputs, struct hw_glibc *ret)
{
	return inputs->target->machine->word_bytes == 8 ? hw_glibc_walk_64(inputs, ret)
							: hw_glibc_walk_32(inputs, ret);
}
