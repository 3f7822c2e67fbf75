/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A session owns everything that is known of one target and makes each part when it is first
// needed.
#ifndef HW_ANALYSIS_SESSION_H
#define HW_ANALYSIS_SESSION_H

#include "heap/heap.h"

struct hw_session {
	struct hw_options options; // strings are copies
	struct hw_target *target;
	struct hw_issues open_issues; // met when the target was opened: never forgotten
	struct hw_issues issues;      // met since the last invalidate
	struct hw_progress progress;
	struct hw_modules *modules; // NULL: not made yet
	struct hw_python python;
	struct hw_pymalloc pymalloc;
	struct hw_glibc glibc;
	struct hw_heap *heap; // NULL: not made yet
	bool has_python, has_allocators;
	bool is_fresh; // the target's mappings were read since the last invalidate
	// What could not be known although there is a CPython; the rest of the walk went on
	// without. Owned; NULL: nothing is missing. Both make every report of the table a partial
	// one.
	struct hw_error *python_error, *pymalloc_error;
};

// Each makes what it needs first; a second call costs nothing. Live: the target is stopped
// meanwhile. When they return NULL the parts are there; session->python.module may still be NULL
// (no CPython, or python_error says why it is not understood), and pymalloc empty (pymalloc_error).
struct hw_error *hw_session_need_python(struct hw_session *session) HW_MUST_USE;
struct hw_error *hw_session_need_allocators(struct hw_session *session) HW_MUST_USE;
struct hw_error *hw_session_need_heap(struct hw_session *session) HW_MUST_USE;

// Stop the target to read more of it, after a walk or around one: calls nest. A target that is not
// live, or that somebody else keeps stopped, does not notice.
struct hw_error *hw_session_stop(struct hw_session *session) HW_MUST_USE;
void hw_session_resume(struct hw_session *session);
// Scope guard: resumes when `*session` is not NULL.
static inline void hw_session_resume_cleanup(struct hw_session **session)
{
	if (*session)
		hw_session_resume(*session);
}

// Why what the table says is not all: NULL when it is. The caller owns it.
struct hw_error *hw_session_shortfall(const struct hw_session *session) HW_MUST_USE;
// A copy of python_error or pymalloc_error, else NULL.
struct hw_error *hw_session_python_shortfall(const struct hw_session *session) HW_MUST_USE;

// After each command: an interrupted table is thrown away, and the wish to interrupt with it.
void hw_session_settle(struct hw_session *session);

// Row → the public value struct; strings borrowed from the session. `pages` may be NULL: no object.
void hw_session_block(struct hw_session *session, const struct hw_row *row, struct hw_pages *pages,
		      struct hw_block *ret, int64_t *ret_refcount);

#endif
