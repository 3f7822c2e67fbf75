/* SPDX-License-Identifier: LGPL-2.1-or-later */
// pymalloc from outside: arenas, pools, blocks, of every interpreter of the process.
// Upstream: Objects/obmalloc.c, Include/internal/pycore_obmalloc.h, CPython 2.7, 3.6 – 3.13.
//
// Invariants, checked by hw_pymalloc_check():
//   per pool: allocated + free + virgin == capacity, allocated == ref.count;
//   per arena: free pools on its list + never carved pools == nfreepools.
// Pool states, as in obmalloc: used (partly), full, empty; a pool at or above pool_address was never
// carved and its header is garbage.
#ifndef HW_CPYTHON_OBMALLOC_H
#define HW_CPYTHON_OBMALLOC_H

#include "base/issues.h"
#include "base/progress.h"
#include "layout/python.h"
#include "symbols/modules.h"
#include "target/window.h"

enum {
	HW_PYMALLOC_ALIGNMENT_MAX = 16,
	HW_PYMALLOC_SIZE_CLASSES_MAX = 64,
	HW_POOL_HEADER_BYTES_MAX = 48,
	HW_ARENA_POOLS_MAX = 128, // of every geometry
};

struct hw_pool {
	hw_addr_t start;
	hw_addr_t freeblock;  // head of the list of freed blocks, 0: none
	uint32_t ref_count;   // blocks in use
	uint32_t next_offset; // of the first virgin block, from the pool's start
	uint16_t capacity;    // blocks; 0 when szidx is none (is_bad)
	uint8_t szidx;        // size class
	bool is_empty;        // on the arena's freepools list, header stale
	bool is_bad;          // header contradicts itself or is missing; an issue was added
};

struct hw_arena {
	hw_addr_t arena_object;
	hw_addr_t start;                  // of the arena's memory
	hw_addr_t first_pool;             // start rounded up to a pool
	hw_addr_t pool_address;           // first pool that was never carved
	hw_addr_t freepools;              // head of the list of empty pools
	uint32_t index;                   // in mgmt.arenas
	uint32_t pools_free, pools_total; // nfreepools, ntotalpools
	uint32_t pool_count;  // carved: (pool_address - first_pool) / pool_bytes, checked
	uint32_t pool_first;  // into hw_pymalloc.pools
	uint32_t interpreter; // into hw_pymalloc.states
	bool is_read;         // its pools are known
	bool is_missing;      // no pool header of it can be read; an issue was added
	// Its memory is gone: all pools were free, obmalloc unmapped them, and forgets the arena next.
	bool is_given_back;
};

struct hw_size_class_stats {
	uint64_t pools, blocks_in_use, blocks_free; // of pools that are not empty
};

// One obmalloc state: the process's before 3.12, an interpreter's since.
struct hw_pymalloc_state {
	int64_t interpreter_id;  // 0 for the main one; of a shared state: the first that uses it
	hw_addr_t address;       // of struct _obmalloc_state, 0 when it is made of statics
	hw_addr_t arena_objects; // the array of them, 0: none
	uint64_t max_arenas;     // its slots
	// Where usedpools is, and the heads of the lists of arena objects; 0: nothing tells.
	hw_addr_t used, usable, unused;
	uint64_t arenas_allocated;                         // obmalloc's own counter, and
	uint64_t arenas_allocated_total, arenas_highwater; // since the start: has_arena_totals
	uint64_t raw_allocated_blocks;
	bool has_raw_allocated_blocks; // 3.9 and later
	bool has_arenas_allocated;
	bool has_arena_totals;                             // not in 2.7
	uint64_t arena_map_mid_count, arena_map_bot_count; // nodes of the radix tree
	bool has_arena_map;                                // 3.10 and later
	uint64_t malloc_calls;                             // counted by the debug hooks up to 3.7
	bool has_malloc_calls;
	uint64_t arena_count;  // arenas found; damaged ones are not among them
	uint64_t unused_pools; // sum of nfreepools
	// The lines of _PyObject_DebugMallocStats(): without damage their sum is all the arenas' bytes.
	uint64_t allocated_bytes, available_bytes, unused_pool_bytes;
	uint64_t pool_header_bytes, quantization_bytes, arena_alignment_bytes;
	struct hw_size_class_stats classes[HW_PYMALLOC_SIZE_CLASSES_MAX];
};

// What PyObject_Malloc() ends in, behind the debug hooks.
enum hw_in_force {
	HW_IN_FORCE_UNKNOWN, // not even by the arenas: none was walked
	HW_IN_FORCE_PYMALLOC,
	HW_IN_FORCE_MALLOC,
	HW_IN_FORCE_MIMALLOC,
	HW_IN_FORCE_OTHER, // set by PyMem_SetAllocator(): tracemalloc for one
};

struct hw_pymalloc {
	struct hw_target *target;
	struct hw_issues *issues; // borrowed
	uint32_t arena_bytes, pool_bytes,
		alignment;         // proved against the arenas; 0 arenas: from layout
	uint32_t size_class_count; // 32 or 64
	uint32_t header_bytes;     // of a pool, before its first block: 48; of 32-bit builds 32
	uint32_t word_bytes;       // of the target's
	HW_VEC(struct hw_pymalloc_state) states;
	HW_VEC(struct hw_arena) arenas; // sorted by start
	HW_VEC(struct hw_pool) pools;   // arena by arena, by address: never the never-carved ones
	const char *facts;              // where the roots came from
	enum hw_in_force in_force;
	bool is_in_force_inferred; // from the arenas: no symbol tells
	bool has_debug_hooks;      // PYTHONMALLOC=debug and the like; false where it is inferred
	uint32_t *arena_slots;     // arena index + 1 by address, hashed: hw_pymalloc_find_arena()
	uint32_t arena_slot_count;
	struct hw_pool_reader *reader; // of arenas that are not read yet; owned
};

// Finds every interpreter's arenas. `arenas` may be empty: PYTHONMALLOC=malloc. Fails when a root can't
// be found (HW_ERROR_NO_DEBUG_INFO names it) or no geometry fits (HW_ERROR_CORRUPT): "0 arenas" is
// only said when it is proved. The headers of enough pools are read for that; the pools of the other arenas
// (is_read false), and what adds up to the statistics, come with the two functions below. `target`,
// `python` and `issues` are borrowed until hw_pymalloc_deinit(); *ret stays where it is.
struct hw_error *hw_pymalloc_find(struct hw_target *target, const struct hw_python *python,
				  struct hw_issues *issues, struct hw_pymalloc *ret) HW_MUST_USE;
// Reads the pool headers of an arena, which was not read yet, from its bytes: `bytes` are pool_count whole
// pools from first_pool on; NULL: from the target, headers alone. Several threads may, each another arena.
void hw_pymalloc_read_arena(struct hw_pymalloc *pymalloc, struct hw_arena *arena,
			    const uint8_t *bytes);
// Reads what is left, in bulk (one system call for many headers), and judges the whole: fails when most
// headers contradict themselves. `progress` may be NULL.
struct hw_error *hw_pymalloc_finish(struct hw_pymalloc *pymalloc,
				    struct hw_progress *progress) HW_MUST_USE;
// All of it at once.
struct hw_error *hw_pymalloc_walk(struct hw_target *target, const struct hw_python *python,
				  struct hw_issues *issues, struct hw_progress *progress,
				  struct hw_pymalloc *ret) HW_MUST_USE;
void hw_pymalloc_deinit(struct hw_pymalloc *pymalloc);

// The state that the interpreter python->interpreters[index] allocates from, as an index into
// pymalloc->states. The target must be as it was at the walk. False: it has none that was walked.
bool hw_pymalloc_state_of(const struct hw_pymalloc *pymalloc, const struct hw_python *python,
			  size_t index, size_t *ret);

// Asks symbols and debug information what a walk will need, and of the target next to nothing: a walk
// after it costs a stopped process only the time to read it.
void hw_pymalloc_prepare(struct hw_target *target, const struct hw_python *python);

// Reads every pool and checks the invariants above: each one broken is an issue. Fails only when it is
// interrupted or out of memory.
struct hw_error *hw_pymalloc_check(const struct hw_pymalloc *pymalloc, struct hw_issues *issues,
				   struct hw_progress *progress) HW_MUST_USE;

static inline uint32_t hw_pool_block_bytes(const struct hw_pymalloc *pm, const struct hw_pool *pool)
{
	return (pool->szidx + 1u) * pm->alignment;
}

// NULL: addr is in no arena. Constant time.
struct hw_arena *hw_pymalloc_find_arena(const struct hw_pymalloc *pymalloc, hw_addr_t addr);
// The carved pool of an arena that contains addr, or NULL.
static inline struct hw_pool *hw_arena_find_pool(const struct hw_pymalloc *pymalloc,
						 const struct hw_arena *arena, hw_addr_t addr)
{
	uint64_t index = (addr - arena->first_pool) >> __builtin_ctz(pymalloc->pool_bytes);
	return addr >= arena->first_pool && index < arena->pool_count
		       ? &pymalloc->pools.data[arena->pool_first + index]
		       : NULL;
}
// The same when all arenas were read.
struct hw_pool *hw_pymalloc_find_pool(const struct hw_pymalloc *pymalloc, hw_addr_t addr);

// Pools of arenas that no interpreter lists: how many places of [start, end) where a pool may begin have a
// header that proves itself. An isolated interpreter that ends while blocks of its own are in use leaves its
// arenas behind (Objects/obmalloc.c, 3.12 and later), and nothing leads to them any more.
uint64_t hw_pymalloc_count_unlisted(const struct hw_pymalloc *pymalloc,
				    const struct hw_python_layout *layout, hw_addr_t start,
				    hw_addr_t end);

enum { HW_POOL_BITMAP_WORDS = 16384 / 8 / 64 };
// Which blocks of a pool are free: bit i of `bitmap` (HW_POOL_BITMAP_WORDS words, cleared here) is set
// for a freed block (on the list) and for a virgin one. `bytes` is the whole pool. Damage (a link out
// of the pool, into the middle of a block, a cycle) ends the list and is an issue. ret_listed: blocks
// on the list. Touches nothing but its arguments: safe on several threads.
void hw_pool_mark_free(const struct hw_pymalloc *pymalloc, const struct hw_pool *pool,
		       const uint8_t *bytes, struct hw_issues *issues, uint64_t *bitmap,
		       uint32_t *ret_listed);

#endif
