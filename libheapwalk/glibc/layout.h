/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Where glibc keeps what, as rows of data: offsets in bytes. LP64 (x86-64 and aarch64 are the same) or, in the
// walk over 32-bit targets, ILP32 with MALLOC_ALIGNMENT 16 (i386 since 2.26).
//
// To add a version: compile its malloc/malloc.c field lists or read its DWARF, add a row where one of
// the offsets differs (not per release), cite file and tag, extend hw_glibc_confirm_dwarf() in find.c
// only if a new field is used, and run the test-suite on a libc of that version (see README.md).
#ifndef HW_GLIBC_LAYOUT_H
#define HW_GLIBC_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "glibc/word.h"

enum {
	HW_GLIBC_BINS = 127, // bins[254]: bin 1 is unsorted, 2 … 63 small, 64 … 126 large
	HW_GLIBC_FASTBINS = HW_GLIBC_IF_64(10, 11),
	HW_GLIBC_FASTBINS_MAX = 11,
	HW_GLIBC_ALIGNMENT = 16,             // of mem
	HW_GLIBC_HEADER = 2 * HW_GLIBC_WORD, // chunk to mem: prev_size, size
	HW_GLIBC_MIN_CHUNK = 4 * HW_GLIBC_WORD,
	HW_GLIBC_FD = HW_GLIBC_HEADER, // of a free chunk; bk is the next word
	// From a multiple of 16 to the next chunk.
	HW_GLIBC_FRONT = HW_GLIBC_ALIGNMENT - HW_GLIBC_HEADER,
	HW_GLIBC_LARGE = HW_GLIBC_IF_64(1024, 1008), // bytes of the smallest chunk of a large bin
	HW_GLIBC_LARGEST_STATE = 2200,
	HW_GLIBC_PAGE = 4096,
	HW_GLIBC_MP_BYTES = 144, // at least as many as any row's `size`
	HW_GLIBC_TCACHE_SMALL_BINS = 64,
	HW_GLIBC_TCACHE_MAX_BINS = 76,
};

enum hw_glibc_chunk_flags {
	HW_GLIBC_PREV_INUSE = 1,
	HW_GLIBC_IS_MMAPPED = 2,
	HW_GLIBC_NON_MAIN_ARENA = 4,
	HW_GLIBC_FLAGS = 7,
	HW_GLIBC_ODD = 8, // of sizes: set in a 32-bit top only, which ends where a page does
};

enum { HW_GLIBC_NONCONTIGUOUS = 2 }; // malloc_state.flags

// struct malloc_state
struct hw_glibc_layout {
	const char *since; // first release that has it
	uint16_t fastbins; // fastbinsY[10]; 0: fastbins are gone
	uint16_t top, bins, next;
	uint16_t attached_threads; // 0: none
	uint16_t system_mem, max_system_mem;
	uint16_t size;
	// An mmapped chunk's size leaves out the last 16 bytes of its mapping, and bit 0 of its
	// prev_size says "huge pages".
	bool mmapped_tail;
};

// struct malloc_par; the counts are int
struct hw_glibc_mp_layout {
	const char *since;
	uint16_t n_mmaps, n_mmaps_max, mmapped_mem, sbrk_base;
	uint16_t hp_pagesize;  // 0: none
	uint16_t tcache_count; // 0: not needed (the counts of a tcache count up)
	uint16_t size;         // up to the last field named here
	bool mmapped_tail;     // as the malloc_state's of the same release
};

// struct tcache_perthread_struct
struct hw_glibc_tcache_layout {
	const char *since;
	uint16_t chunk_size; // of the chunk that holds it; 16 more when a remainder was too small
	uint16_t count_bytes;
	uint16_t bins, entries;
	bool counts_left; // counts are slots left: tcache_count - cached
};
// sizeof; it may run into the last word that malloc_usable_size() counts, behind the chunk.
static inline size_t hw_glibc_tcache_bytes(const struct hw_glibc_tcache_layout *layout)
{
	return layout->entries + HW_GLIBC_WORD * (size_t)layout->bins;
}

// All three end with a row whose `since` is NULL.
extern const struct hw_glibc_layout hw_glibc_layouts[];
extern const struct hw_glibc_mp_layout hw_glibc_mp_layouts[];
extern const struct hw_glibc_tcache_layout hw_glibc_tcache_layouts[];

// sizeof(struct heap_info), 0-terminated: malloc/arena.c 2.17 (32), 2.35 (48: pagesize, padded).
extern const uint16_t hw_glibc_heap_info_sizes[];

// The row for a tcache in a chunk of that size, or NULL.
const struct hw_glibc_tcache_layout *hw_glibc_tcache_layout_of(uint64_t chunk_size);

// Bin index (1 … 126) that a free chunk of that size is kept in once it is sorted. `word` as HW_GLIBC_WORD.
unsigned hw_glibc_bin_of(unsigned word, uint64_t chunk_size);
// Does tcache bin i hold chunks of that size?
bool hw_glibc_tcache_bin_holds(unsigned word, unsigned bin, uint64_t chunk_size);
// The size of the chunks in fastbin i; 32-bit ones with an odd number stay empty.
static inline uint64_t hw_glibc_fastbin_bytes(unsigned word, unsigned bin)
{
	return 4 * word + 2 * word * (uint64_t)bin;
}

// Is it where a chunk may begin?
static inline bool hw_glibc_is_chunk_place(uint64_t addr)
{
	return (addr + HW_GLIBC_HEADER) % HW_GLIBC_ALIGNMENT == 0;
}
// The first such place from addr on.
static inline uint64_t hw_glibc_chunk_up(uint64_t addr)
{
	return hw_align_up(addr + HW_GLIBC_HEADER, HW_GLIBC_ALIGNMENT) - HW_GLIBC_HEADER;
}

#endif
