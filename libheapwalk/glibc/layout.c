/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "glibc/layout.h"

// clang-format off
#if HW_GLIBC_WORD == 8

const struct hw_glibc_layout hw_glibc_layouts[] = {
	// malloc/malloc.c glibc-2.17: struct malloc_state without attached_threads
	{ .since = "2.17", .fastbins = 8, .top = 88, .bins = 104, .next = 2152,
	  .system_mem = 2168, .max_system_mem = 2176, .size = 2184 },
	// malloc/malloc.c glibc-2.23: attached_threads (commit 3da825ce483903e3a881a016113b3e59fd4041de)
	{ .since = "2.23", .fastbins = 8, .top = 88, .bins = 104, .next = 2152,
	  .attached_threads = 2168, .system_mem = 2176, .max_system_mem = 2184, .size = 2192 },
	// malloc/malloc.c glibc-2.27: have_fastchunks moves out of flags; DWARF of 2.31, 2.36, 2.41
	{ .since = "2.27", .fastbins = 16, .top = 96, .bins = 112, .next = 2160,
	  .attached_threads = 2176, .system_mem = 2184, .max_system_mem = 2192, .size = 2200 },
	// malloc/malloc.c glibc-2.43: fastbins and have_fastchunks removed; DWARF of 2.43, 2.44
	{ .since = "2.43", .fastbins = 0, .top = 8, .bins = 24, .next = 2072,
	  .attached_threads = 2088, .system_mem = 2096, .max_system_mem = 2104, .size = 2112,
	  .mmapped_tail = true },
	{ .since = NULL },
};

const struct hw_glibc_mp_layout hw_glibc_mp_layouts[] = {
	// malloc/malloc.c glibc-2.17: max_total_mem before sbrk_base
	{ .since = "2.17", .n_mmaps = 40, .n_mmaps_max = 44, .mmapped_mem = 56, .sbrk_base = 80,
	  .size = 88 },
	// malloc/malloc.c glibc-2.24: max_total_mem removed; 2.26 appends the tcache's parameters
	{ .since = "2.24", .n_mmaps = 40, .n_mmaps_max = 44, .mmapped_mem = 56, .sbrk_base = 72,
	  .size = 80 },
	// malloc/malloc.c glibc-2.35: thp_pagesize, hp_pagesize, hp_flags; DWARF of 2.36, 2.41
	{ .since = "2.35", .n_mmaps = 60, .n_mmaps_max = 64, .mmapped_mem = 80, .sbrk_base = 96,
	  .hp_pagesize = 48, .tcache_count = 120, .size = 128 },
	// malloc/malloc.c glibc-2.43: thp_mode; 2.44 only drops tcache_unsorted_limit at the end
	{ .since = "2.43", .n_mmaps = 68, .n_mmaps_max = 72, .mmapped_mem = 88, .sbrk_base = 104,
	  .hp_pagesize = 56, .tcache_count = 128, .size = 136, .mmapped_tail = true },
	{ .since = NULL },
};

const struct hw_glibc_tcache_layout hw_glibc_tcache_layouts[] = {
	// malloc/malloc.c glibc-2.26: char counts[64]
	{ .since = "2.26", .chunk_size = 0x250, .count_bytes = 1, .bins = 64, .entries = 64 },
	// malloc/malloc.c glibc-2.30: uint16_t counts[64] (also RHEL 8's 2.28)
	{ .since = "2.30", .chunk_size = 0x290, .count_bytes = 2, .bins = 64, .entries = 128 },
	// malloc/malloc.c glibc-2.42: uint16_t num_slots[76], bins for large chunks
	{ .since = "2.42", .chunk_size = 0x300, .count_bytes = 2, .bins = 76, .entries = 152,
	  .counts_left = true },
	{ .since = NULL },
};

const uint16_t hw_glibc_heap_info_sizes[] = { 48, 32, 0 };

#else // i386: the same structures; MALLOC_ALIGNMENT 16 since 2.26

const struct hw_glibc_layout hw_glibc_layouts[] = {
	// malloc/malloc.c glibc-2.27; DWARF of 2.36
	{ .since = "2.27", .fastbins = 12, .top = 56, .bins = 64, .next = 1096,
	  .attached_threads = 1104, .system_mem = 1108, .max_system_mem = 1112, .size = 1116 },
	{ .since = NULL },
};

const struct hw_glibc_mp_layout hw_glibc_mp_layouts[] = {
	// malloc/malloc.c glibc-2.24, 2.26
	{ .since = "2.24", .n_mmaps = 20, .n_mmaps_max = 24, .mmapped_mem = 36, .sbrk_base = 44,
	  .size = 48 },
	// malloc/malloc.c glibc-2.35; DWARF of 2.36
	{ .since = "2.35", .n_mmaps = 32, .n_mmaps_max = 36, .mmapped_mem = 48, .sbrk_base = 56,
	  .hp_pagesize = 24, .tcache_count = 68, .size = 72 },
	{ .since = NULL },
};

const struct hw_glibc_tcache_layout hw_glibc_tcache_layouts[] = {
	// malloc/malloc.c glibc-2.26: char counts[64]
	{ .since = "2.26", .chunk_size = 0x150, .count_bytes = 1, .bins = 64, .entries = 64 },
	// malloc/malloc.c glibc-2.30: uint16_t counts[64]; DWARF of 2.36
	{ .since = "2.30", .chunk_size = 0x190, .count_bytes = 2, .bins = 64, .entries = 128 },
	{ .since = NULL },
};

// malloc/arena.c: padded so that the first chunk's mem is aligned, before and since 2.35
const uint16_t hw_glibc_heap_info_sizes[] = { 24, 0 };

#endif
// clang-format on

const struct hw_glibc_tcache_layout *hw_glibc_tcache_layout_of(uint64_t chunk_size)
{
	for (const struct hw_glibc_tcache_layout *row = hw_glibc_tcache_layouts; row->since; row++)
		if (chunk_size == row->chunk_size || chunk_size == row->chunk_size + 16u)
			return row;
	return NULL;
}
