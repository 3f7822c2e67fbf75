/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A session owns everything that is known of one target and makes each part when it is first
// needed.
#ifndef HW_ANALYSIS_SESSION_H
#define HW_ANALYSIS_SESSION_H

#include "heap/graph.h"
#include "heap/heap.h"
#include "target/residency.h"

// A default of an option, for commands that have it. Both owned.
struct hw_default {
	char *option, *value;
};
struct hw_labels;

struct hw_session {
	struct hw_options options; // strings are copies
	HW_VEC(struct hw_default) defaults;
	struct hw_cursor *cursors; // that are open
	uint64_t forgotten;        // walks so far: a cursor is of one of them
	struct hw_target *target;
	struct hw_issues open_issues; // met when the target was opened: never forgotten
	struct hw_issues issues;      // met since the last invalidate
	size_t issues_before_walk;    // of these: met before the allocators were walked
	struct hw_progress progress;
	struct hw_modules *modules; // NULL: not made yet
	struct hw_python python;
	struct hw_pymalloc pymalloc;
	struct hw_mimalloc mimalloc; // made with pymalloc
	struct hw_glibc glibc;
	struct hw_heap *heap;          // NULL: not made yet
	struct hw_graph *graph;        // of the heap; NULL: not made yet
	struct hw_rules *rules;        // a user's, that the table is made with; NULL: none
	struct hw_residency residency; // of the stop that the heap is of
	struct hw_pages point_pages;   // of hw_session_find_block(): kept, but emptied each time
	bool has_python, has_pymalloc, has_allocators, has_residency;
	bool is_fresh; // the target's mappings were read since the last invalidate
	// hw_session_need_pymalloc() read the target while it slept, or kept it stopped for so long. 0 and
	// false: somebody else keeps it stopped.
	bool was_at_rest;
	uint64_t stop_nanoseconds;
	uint64_t files_cut;       // hw_files_cut() when it was opened
	bool is_detached;         // it has no target: files alone can be looked at
	struct hw_labels *labels; // NULL: none yet; they are kept when the target has run on
	// What could not be known although there is a CPython; the rest of the walk went on
	// without. Owned; NULL: nothing is missing. Both make every report of the table a partial
	// one.
	struct hw_error *python_error, *pymalloc_error;
};

// Each makes what it needs first; a second call costs nothing. Live: the target is stopped
// meanwhile. When they return NULL the parts are there; session->python.module may still be NULL
// (no CPython, or python_error says why it is not understood), and pymalloc empty (pymalloc_error).
// pymalloc alone, and what `read` (may be NULL) reads besides, at one moment. A live target is disturbed as
// little as it can be: what symbols and debug information tell is asked before; then it is read while all
// its threads sleep, or, when one did not, stopped. `read` may be called again for a new try.
typedef struct hw_error *hw_session_read_fn(struct hw_session *session, void *payload);
struct hw_error *hw_session_need_pymalloc(struct hw_session *session, hw_session_read_fn *read,
					  void *payload) HW_MUST_USE;
struct hw_error *hw_session_need_allocators(struct hw_session *session) HW_MUST_USE;
struct hw_error *hw_session_need_heap(struct hw_session *session) HW_MUST_USE;
// The heap, and which pages were resident at its stop, before it was read. A heap of an earlier stop
// of ours is walked anew.
struct hw_error *hw_session_need_residency(struct hw_session *session) HW_MUST_USE;
// The heap and its reference graph, of one stop.
struct hw_error *hw_session_need_graph(struct hw_session *session) HW_MUST_USE;

// From now on the table is made with the rules in that file; NULL: with those of the session's options, or
// none. A table that was made with others is forgotten. Errors are those of hw_rules_read().
struct hw_error *hw_session_use_rules(struct hw_session *session, const char *path) HW_MUST_USE;

// Scope guard of hw_session_stop(): resumes when `*session` is not NULL.
static inline void hw_session_resume_cleanup(struct hw_session **session)
{
	if (*session)
		hw_session_resume(*session);
}

// A copy of python_error or pymalloc_error, else NULL.
struct hw_error *hw_session_python_shortfall(const struct hw_session *session) HW_MUST_USE;

// After each command: an interrupted table is thrown away, and the wish to interrupt with it.
void hw_session_settle(struct hw_session *session);

// Row → the public value struct; strings borrowed from the session. `pages` may be NULL: no object.
void hw_session_block(struct hw_session *session, const struct hw_row *row, struct hw_pages *pages,
		      struct hw_block *ret);

// cursor.c: the session is about to be closed.
void hw_cursors_detach(struct hw_session *session);

#endif
