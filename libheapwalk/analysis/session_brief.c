/* SPDX-License-Identifier: LGPL-2.1-or-later */
// pymalloc alone, of a process that is disturbed as little as it can be. What takes long is done before:
// modules, debug information, the addresses of statics. Then there is a snapshot to take, and two ways: most
// processes sleep most of the time, and one that slept from before the first byte was read until after
// the last one was as good as stopped (hw_target_rest()). One that did not is stopped.
#include <string.h>

#include "analysis/session_internal.h"
#include "base/cleanup.h"
#include "cpython/free_lists.h"

enum { HW_BRIEF_TRIES = 3 }; // to find it asleep

struct hw_brief {
	struct hw_session *session;
	hw_session_read_fn *read;
	void *payload;
	bool is_prepared;     // python was found while the target ran
	bool read_failed;     // the walk did not
	size_t issues;        // met before
	struct hw_error *err; // of the walk in a target that stands still; owned
};

static bool hw_session_is_ours_to_stop(const struct hw_session *session)
{
	return session->target->ops->kind == HW_TARGET_LIVE && !session->options.no_stop;
}

// Everything about CPython that does not change while it runs. What fails here is tried again, stopped.
static void hw_brief_prepare(struct hw_brief *brief)
{
	struct hw_session *session = brief->session;
	struct hw_issues issues;
	struct hw_error *err = hw_session_make_modules(session);
	hw_issues_init(&issues);
	if (!err)
		err = hw_python_find(session->target, session->modules, &issues, &session->python);
	brief->is_prepared = !err && !issues.list.count && session->python.module;
	session->has_python = brief->is_prepared;
	if (brief->is_prepared) {
		hw_pymalloc_prepare(session->target, &session->python);
		hw_free_lists_prepare(&session->python);
	} else {
		hw_session_forget_python(session);
	}
	hw_error_destroy(err);
	hw_issues_deinit(&issues);
}

// The walk, of a target that does not run now. Python may have ended since it was found, and with execve(2)
// another program be there.
static struct hw_error *hw_brief_walk(struct hw_brief *brief)
{
	struct hw_session *session = brief->session;
	struct hw_error *err = NULL;
	if (brief->is_prepared)
		err = hw_python_refresh(session->target, &session->issues, &session->python);
	if (!err)
		err = hw_session_make_python(session);
	if (!err)
		err = hw_session_make_pymalloc(session);
	brief->read_failed = !err && brief->read && (err = brief->read(session, brief->payload));
	return err ? err : hw_session_check_alive(session);
}

// A walk that was for nothing.
static void hw_brief_forget(struct hw_brief *brief)
{
	struct hw_session *session = brief->session;
	hw_session_forget_allocators(session);
	hw_issues_cut(&session->issues, brief->issues);
	if (session->has_python && !session->python.module)
		hw_session_forget_python(session);
}

// True: *ret_err is the answer. False: it ran, or does not sleep at all, and nothing is known.
static bool hw_brief_walk_at_rest(struct hw_brief *brief, struct hw_error **ret_err)
{
	struct hw_session *session = brief->session;
	for (unsigned i = 0; i < HW_BRIEF_TRIES && brief->is_prepared; i++) {
		hw_cleanup_free char *before = hw_target_rest(session->target);
		if (!before)
			return false;
		struct hw_error *err = hw_brief_walk(brief);
		hw_cleanup_free char *after = hw_target_rest(session->target);
		// Why a walk failed is looked for in a process that is stopped.
		bool is_whole = (!err || brief->read_failed) && after && !strcmp(before, after);
		if (is_whole || (err && err->code == HW_ERROR_INTERRUPTED)) {
			*ret_err = err;
			session->was_at_rest = true;
			return true;
		}
		hw_error_destroy(err);
		hw_brief_forget(brief);
		if (!after)
			return false;
	}
	return false;
}

// From the start: what an earlier call has found is dropped.
static void hw_brief_run(void *payload)
{
	struct hw_brief *brief = payload;
	struct hw_progress *progress = &brief->session->progress;
	hw_progress_fn *report = progress->report;
	hw_error_destroy(brief->err);
	hw_brief_forget(brief);
	progress->report = NULL; // it is for the caller's thread
	brief->err = hw_brief_walk(brief);
	progress->report = report;
}

static struct hw_error *hw_brief_walk_stopped(struct hw_brief *brief)
{
	struct hw_session *session = brief->session;
	uint64_t before = hw_target_stopped_nanoseconds(session->target);
	bool is_answer = false;
	struct hw_error *err = NULL;
	if (brief->is_prepared) {
		err = hw_target_run_stopped(session->target, hw_brief_run, brief);
		if (err) {
			hw_error_destroy(brief->err);
			return err;
		}
		err = brief->err;
		is_answer = !err || brief->read_failed || err->code == HW_ERROR_INTERRUPTED;
	}
	if (!is_answer) {
		// Perhaps it is another program by now: from the start.
		hw_error_destroy(err);
		if (brief->is_prepared)
			hw_session_invalidate(session);
		brief->is_prepared = false;
		HW_TRY(hw_session_stop(session));
		err = hw_brief_walk(brief);
		hw_session_resume(session);
	}
	session->stop_nanoseconds = hw_target_stopped_nanoseconds(session->target) - before;
	return err;
}

struct hw_error *hw_session_need_pymalloc(struct hw_session *session, hw_session_read_fn *read,
					  void *payload)
{
	struct hw_brief brief = { .session = session, .read = read, .payload = payload };
	bool was_walked = session->has_pymalloc;
	struct hw_error *err = NULL;
	if (hw_session_is_ours_to_stop(session) && !session->has_python && !was_walked)
		hw_brief_prepare(&brief);
	brief.issues = session->issues.list.count;
	if (!hw_brief_walk_at_rest(&brief, &err))
		err = hw_brief_walk_stopped(&brief);
	// What an earlier command has walked is not spoiled by this one.
	if (err && !was_walked)
		hw_session_forget_allocators(session);
	return err;
}
