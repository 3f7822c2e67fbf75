/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What sys._debugmallocstats() prints of one interpreter, and what can be concluded from it.
#ifndef HW_ANALYSIS_STATS_H
#define HW_ANALYSIS_STATS_H

#include "analysis/session.h"
#include "cpython/free_lists.h"

enum { HW_STATS_BINS = 10 }; // of the histogram: tenths of an arena

// Arenas that are full to so many tenths, by the bytes of their blocks in use.
struct hw_stats_bin {
	uint64_t arenas;
	uint64_t blocks, bytes; // in use in them: what keeps them from being given back
	uint64_t free_pools;
};

// What mimalloc says of one thread's heap: py_mimalloc_print_stats().
struct hw_stats_heap {
	bool is_known; // false: the thread, or its heap, was not found
	uint64_t small_max, medium_max, large_max, bins;
	uint64_t blocks, bytes, full_bytes, reserved_bytes, committed_bytes;
};

struct hw_stats {
	size_t interpreter;                    // index in session->python.interpreters
	int64_t interpreter_id;                // as Python's own modules name it, 0 is the main one
	const struct hw_pymalloc_state *state; // borrowed from the session until it is invalidated
	struct hw_free_lists free_lists;
	bool has_type_lines; // this CPython prints its free lists (3.3 and later)
	bool has_pool_lines; // pymalloc is in force: _PyObject_DebugMallocStats() prints
	bool has_heap_lines; // mimalloc is in force: it prints what the calling thread's heap has
	struct hw_stats_heap heap;
	bool has_tags; // without the GIL: then these are of all heaps, by enum hw_mi_tag, abandoned pages too
	struct hw_mi_heap tags[HW_MI_TAG_COUNT];
	uint64_t total_bytes; // of arenas, as the report's lines add up

	// ---- conclusions ----
	struct hw_stats_bin bins[HW_STATS_BINS];
	uint64_t blocks_in_use, pools_in_use;
	uint64_t packed_pools;  // that the blocks in use would need if each size class were packed
	uint64_t packed_arenas; // that these pools would need
	uint64_t free_list_objects, free_list_bytes; // in blocks, with GC heads
	uint64_t bad_pools;                          // that could not be counted: an issue says why
};

// Reads what it needs in one stop (hw_session_need_pymalloc()). `interpreter` as text: its number; NULL:
// the main one. No CPython, or no such interpreter: an error that says so. *ret is owned:
// hw_stats_deinit().
struct hw_error *hw_session_stats(struct hw_session *session, const char *interpreter,
				  struct hw_stats *ret) HW_MUST_USE;
// Free lists of the interpreter of that index (0: the main one, also when none is listed), of a target
// that is stopped and whose CPython is known. `ret` as of hw_free_lists_read().
struct hw_error *hw_stats_free_lists(struct hw_session *session, size_t index,
				     struct hw_free_lists *ret) HW_MUST_USE;
// What Python's own modules call it.
int64_t hw_stats_interpreter_id(struct hw_session *session, size_t index);
void hw_stats_deinit(struct hw_stats *stats);

#endif
