/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A session owns everything that is known of one target and makes each part when it is first needed.
#ifndef HW_ANALYSIS_SESSION_H
#define HW_ANALYSIS_SESSION_H

#include "heap/heap.h"

struct hw_session {
	struct hw_options options; // strings are copies
	struct hw_target *target;
	struct hw_issues issues;
	struct hw_progress progress;
	struct hw_modules *modules;  // NULL: not made yet
	struct hw_python python;
	struct hw_pymalloc pymalloc;
	struct hw_glibc glibc;
	struct hw_heap *heap;        // NULL: not made yet
	bool has_python, has_allocators;
};

// Each makes what it needs first; a second call costs nothing. Live: the target is stopped meanwhile.
// When they return NULL the parts are there; session->python.module may still be NULL (no CPython).
struct hw_error *hw_session_need_python(struct hw_session *session) HW_MUST_USE;
struct hw_error *hw_session_need_allocators(struct hw_session *session) HW_MUST_USE;
struct hw_error *hw_session_need_heap(struct hw_session *session) HW_MUST_USE;

// Row → the public value struct; strings borrowed from the session. `pages` may be NULL: no object.
void hw_session_block(struct hw_session *session, const struct hw_row *row, struct hw_pages *pages,
		      struct hw_block *ret, int64_t *ret_refcount);

#endif
