/* SPDX-License-Identifier: LGPL-2.1-or-later */
// glibc malloc from outside: arenas, regions of chunks, bins, fastbins, tcache, mmapped chunks.
// Upstream: malloc/malloc.c, malloc/arena.c, glibc 2.17 to 2.44.
//
// A chunk's address is its header's; mem = chunk + header_bytes is what malloc returned.
// Invariants, checked by hw_glibc_check():
//   every region: the chunks cover it without gap or overlap, from its first chunk to top or fence;
//   every arena: system_mem == sum of its regions' bytes (main, contiguous: + foreign_bytes);
//   region_bytes == in_use + tcache + fastbin + bin + top + overhead + unknown;
//   n_mmaps, mmapped_mem == the mmapped chunks found (2.43+: mmapped_mem - 16 k, see README).
#ifndef HW_GLIBC_MALLOC_H
#define HW_GLIBC_MALLOC_H

#include "base/issues.h"
#include "base/progress.h"
#include "symbols/modules.h"
#include "target/window.h"

// What a chunk is. In use is 0, so that the table can be handed on and its zeros filled with categories.
enum hw_chunk_state {
	HW_CHUNK_IN_USE = 0,
	HW_CHUNK_TCACHE, // cached by a thread
	HW_CHUNK_FASTBIN,
	HW_CHUNK_UNSORTED, // unsorted bin
	HW_CHUNK_SMALL,    // small bin
	HW_CHUNK_LARGE,    // large bin
	HW_CHUNK_FREE, // free by its neighbour's P bit, but on no list that was seen (damage, a race)
	HW_CHUNK_TOP,
	HW_CHUNK_FENCE,         // the marks at the end of a region that another one follows
	HW_CHUNK_ARENA,         // heap_info and malloc_state at the start of a thread heap
	HW_CHUNK_TCACHE_STRUCT, // tcache_perthread_struct: an in-use chunk that malloc itself asked for
	HW_CHUNK_UNKNOWN,       // from where the chain of chunks broke to the end of the region
	HW_CHUNK_MISSING,       // the same, from where it can't be read
	HW_CHUNK_STATE_COUNT
};

enum hw_region_kind { HW_REGION_MAIN, HW_REGION_HEAP, HW_REGION_MMAPPED };

// Chunks are multiples of 16 bytes apart, but for the marks at a 32-bit region's end.
enum { HW_CHUNK_UNIT = 8 };

// A run of chunks without a gap. Chunk i is [start + HW_CHUNK_UNIT * offset8[i], next one's start or end).
struct hw_region {
	hw_addr_t start, end; // end: of the last chunk
	uint32_t arena_index; // into hw_glibc.arenas; of an mmapped chunk: 0
	enum hw_region_kind kind;
	uint32_t count;    // chunks
	uint32_t *offset8; // owned; 32 bits reach 32 GiB: a longer region is split
	// Owned. enum hw_chunk_state; of a chunk in use also what hw_glibc_inputs.look said. Rewritten to
	// category ids by heap/.
	uint32_t *state;
	// An mmapped chunk: start … end is its whole mapping; the header may stand behind padding.
	hw_addr_t mmapped_chunk;
};

struct hw_glibc_arena {
	hw_addr_t address; // of the malloc_state
	bool is_main;
	uint64_t system_bytes, max_system_bytes; // malloc_state's own
	// from the walk; bytes are whole chunks, flags masked
	uint64_t in_use_bytes; // without tcache, fastbins, fences, arena headers
	uint64_t tcache_bytes, fastbin_bytes, bin_bytes, top_bytes, overhead_bytes, unknown_bytes;
	uint64_t in_use_chunks, tcache_chunks, fastbin_chunks, bin_chunks;
	uint64_t unlisted_bytes, unlisted_chunks; // HW_CHUNK_FREE; part of unknown_bytes
	uint64_t region_bytes;                    // sum of the regions' (what the walk covers)
	// Main arena: memory between its regions in the brk area, from others' sbrk(). system_bytes
	// counts it as long as the arena is contiguous.
	uint64_t foreign_bytes;
	bool is_noncontiguous; // flag of the arena; always set in thread arenas
	uint32_t heaps;        // thread arena: heap_info blocks
};

// The malloc that the program calls, when that is not glibc's: its blocks are not walked.
struct hw_other_malloc {
	const char *
		name; // "jemalloc", "musl's mallocng", "libfoo.so"; NULL: glibc's, or it can't be told
	const char *file; // that defines it, the target's name; borrowed from the modules
};

struct hw_glibc {
	struct hw_target *target;
	hw_addr_t main_arena; // 0: glibc's malloc is not in this process, or it was never used
	hw_addr_t mp;         // malloc_par, 0: not found
	const struct hw_glibc_layout *layout; // row of layout.c
	const char *facts; // "symbols", "self-relocation of libc.so.6", … for the report
	bool safe_linking;
	uint32_t header_bytes; // of a chunk, before what malloc returned: two words of the target's
	HW_VEC(struct hw_glibc_arena) arenas;  // main first, then in ring order
	HW_VEC(struct hw_region) regions;      // sorted by start; mmapped chunks among them
	uint64_t n_mmaps, mmapped_mem;         // malloc_par's own
	uint64_t mmapped_count, mmapped_bytes; // found
	bool has_gaps; // memory with lists of free chunks is missing: not all are known to be free
	bool is_initialized; // sbrk_base or some arena's system_mem is not 0
	struct hw_other_malloc other;
};

// What the walk is given. Everything is borrowed until it returns.
struct hw_glibc_inputs {
	struct hw_target *target;
	struct hw_modules *modules; // NULL: none
	// Which address ranges belong to somebody else (pymalloc arenas, stacks, data-stack chunks): no
	// mmapped chunk is looked for there. May be NULL.
	bool (*claimed)(void *payload, hw_addr_t addr, hw_addr_t *ret_end);
	void *claimed_payload;
	// Called for each chunk that may be in use while its bytes are at hand, which saves a second
	// reading of them: the first `len` bytes of what malloc returned, of which the application may use
	// `capacity`. Its answer is kept as the state of a chunk that turns out to be in use: at least
	// HW_CHUNK_STATE_COUNT and without the top bit, or 0 for no answer. `worker` is below
	// HW_PARALLEL_MAX, another for each thread. Chunks of which not all or HW_CHUNK_LOOK_BYTES are at
	// hand are left at 0. May be NULL.
	uint32_t (*look)(void *payload, unsigned worker, hw_addr_t mem, const uint8_t *bytes,
			 size_t len, uint64_t capacity);
	void *look_payload;
	struct hw_issues *issues;
	struct hw_progress *progress; // may be NULL
	// At least 1: how many may walk a long region side by side; the result is the same, but for where
	// regions are split.
	unsigned threads;
};

enum { HW_CHUNK_LOOK_BYTES = 4096 }; // of a large chunk

// Finds main_arena, arenas and regions, and gives every chunk a state. Does not fail on damage: that
// ends the one list or region, becomes an issue, and the walk goes on. Fails only on out of memory,
// interruption, or glibc's malloc being there and its layout unknown (HW_ERROR_UNSUPPORTED).
// No glibc: success, main_arena == 0. `other` is looked for in either case: where another malloc is in
// force, glibc's is there too, unused or nearly.
struct hw_error *hw_glibc_walk(const struct hw_glibc_inputs *inputs,
			       struct hw_glibc *ret) HW_MUST_USE;
void hw_glibc_deinit(struct hw_glibc *glibc);

// The region that contains addr, or NULL; then the chunk in it (index, start, size).
struct hw_region *hw_glibc_find_region(const struct hw_glibc *glibc, hw_addr_t addr);
uint32_t hw_region_find_chunk(const struct hw_region *region, hw_addr_t addr);
static inline hw_addr_t hw_region_chunk_start(const struct hw_region *region, uint32_t i)
{
	return region->start + HW_CHUNK_UNIT * (hw_addr_t)region->offset8[i];
}
static inline hw_addr_t hw_region_chunk_end(const struct hw_region *region, uint32_t i)
{
	return i + 1 < region->count ? hw_region_chunk_start(region, i + 1) : region->end;
}

// The equations above; each that fails is an issue (HW_ERROR_INVARIANT).
void hw_glibc_check(const struct hw_glibc *glibc, struct hw_issues *issues);

// "in use", "tcache", "fastbin", "unsorted bin", …
const char *hw_chunk_state_word(enum hw_chunk_state state);

#endif
