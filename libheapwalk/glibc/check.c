/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The equations that malloc's own counters must satisfy.
#include "glibc/layout.h"
#include "glibc/malloc.h"

static void hw_check_region(const struct hw_region *region, struct hw_issues *issues)
{
	uint64_t previous = 0;
	for (uint32_t i = 0; i < region->count; i++) {
		uint64_t end = hw_region_chunk_end(region, i);
		if ((i == 0 ? region->offset8[0] != 0 : region->offset8[i] <= previous) ||
		    end > region->end) {
			hw_issues_add(issues, HW_ERROR_INVARIANT, hw_region_chunk_start(region, i),
				      "chunks do not cover malloc region 0x%llx-0x%llx: chunk %u",
				      (unsigned long long)region->start,
				      (unsigned long long)region->end, i);
			return;
		}
		previous = region->offset8[i];
	}
}

static void hw_check_arena(const struct hw_glibc_arena *arena, struct hw_issues *issues)
{
	uint64_t parts = arena->in_use_bytes + arena->tcache_bytes + arena->fastbin_bytes +
			 arena->bin_bytes + arena->top_bytes + arena->overhead_bytes +
			 arena->unknown_bytes;
	if (parts != arena->region_bytes)
		hw_issues_add(issues, HW_ERROR_INVARIANT, arena->address,
			      "arena 0x%llx: its parts have %llu bytes, its regions %llu",
			      (unsigned long long)arena->address, (unsigned long long)parts,
			      (unsigned long long)arena->region_bytes);
	// A main arena that stopped being contiguous counts the gaps of the time before.
	uint64_t least = arena->region_bytes;
	uint64_t most = least + arena->foreign_bytes;
	if (!arena->is_noncontiguous)
		least = most;
	if (arena->system_bytes < least || arena->system_bytes > most)
		hw_issues_add(issues, HW_ERROR_INVARIANT, arena->address,
			      "arena 0x%llx: system_mem is %llu, its regions have %llu bytes%s",
			      (unsigned long long)arena->address,
			      (unsigned long long)arena->system_bytes, (unsigned long long)most,
			      arena->foreign_bytes ? ", foreign sbrk() included" : "");
}

void hw_glibc_check(const struct hw_glibc *glibc, struct hw_issues *issues)
{
	for (size_t i = 0; i < glibc->regions.count; i++)
		hw_check_region(&glibc->regions.data[i], issues);
	for (size_t i = 0; i < glibc->arenas.count; i++)
		hw_check_arena(&glibc->arenas.data[i], issues);
	if (!glibc->mp)
		return;
	// malloc/malloc.c glibc-2.43, mremap_chunk: adds the chunk's 16 bytes too much to mmapped_mem
	uint64_t slip = glibc->mmapped_mem - glibc->mmapped_bytes;
	bool is_slip = glibc->layout->mmapped_tail && slip % 16 == 0 && slip < (1 << 30);
	if (glibc->mmapped_count != glibc->n_mmaps || (slip && !is_slip))
		hw_issues_add(
			issues, HW_ERROR_INVARIANT, glibc->mp,
			"mmapped chunks: malloc counts %llu with %llu bytes, found were %llu with "
			"%llu",
			(unsigned long long)glibc->n_mmaps, (unsigned long long)glibc->mmapped_mem,
			(unsigned long long)glibc->mmapped_count,
			(unsigned long long)glibc->mmapped_bytes);
}
