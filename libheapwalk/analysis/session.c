/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Opening and closing, stopping, what is kept from one walk to the next. The parts are session_parts.c's.
#include "analysis/session_internal.h"

#include <string.h>
#include <unistd.h>

#include "analysis/snapshot.h"
#include "base/bytes.h"
#include "base/mapped_file.h"
#include "symbols/rule_fields.h"

enum { HW_THREADS_DEFAULT_MAX = 8, HW_THREADS_MAX = 64 };

int hw_api_version(void)
{
	return HW_API_VERSION;
}

const char *hw_version(void)
{
	return HEAPWALK_VERSION;
}

// ---- opening and closing ----

static bool hw_copy_string(const char **member)
{
	if (!*member)
		return true;
	*member = strdup(*member);
	return *member != NULL;
}

static unsigned hw_thread_count(unsigned asked)
{
	if (asked)
		return (unsigned)hw_min(asked, HW_THREADS_MAX);
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	return (unsigned)hw_min(online < 1 ? 1 : (uint64_t)online, HW_THREADS_DEFAULT_MAX);
}

struct hw_error *hw_session_set_threads(struct hw_session *session, unsigned threads)
{
	if (threads > HW_THREADS_MAX)
		return hw_error_create(HW_ERROR_INVALID,
				       "threads takes a number from 1 to %d, or 0 for one a "
				       "processor, not %u",
				       HW_THREADS_MAX, threads);
	if (session)
		session->options.threads = hw_thread_count(threads);
	return NULL;
}

// Takes the caller's struct of whatever age: missing members are zero, unknown ones must be.
// Strings that were not copied when it fails are NULL in *ret.
static struct hw_error *hw_options_copy(const struct hw_options *options, struct hw_options *ret)
{
	struct hw_options copy = { 0 };
	if (options) {
		if (options->size < sizeof(options->size))
			return hw_error_create(HW_ERROR_INVALID,
					       "hw_options.size is %zu: set it to "
					       "sizeof(struct hw_options)",
					       options->size);
		for (size_t i = sizeof(copy); i < options->size; i++) {
			if (((const char *)options)[i])
				return hw_error_create(HW_ERROR_UNSUPPORTED,
						       "hw_options has a setting that this "
						       "libheapwalk (%s) does not know",
						       HEAPWALK_VERSION);
		}
		memcpy(&copy, options, hw_min(options->size, sizeof(copy)));
	}
	copy.size = sizeof(copy);
	copy.threads = hw_thread_count(copy.threads);
	// All, so that none is left pointing into the caller's memory.
	bool copied = hw_copy_string(&copy.exe);
	copied &= hw_copy_string(&copy.sysroot);
	copied &= hw_copy_string(&copy.debug_dirs);
	copied &= hw_copy_string(&copy.rules);
	*ret = copy;
	return copied ? NULL : &hw_enomem;
}

static struct hw_error *hw_session_create(const struct hw_options *options, struct hw_session **ret)
{
	struct hw_session *session = calloc(1, sizeof(*session));
	if (!session)
		return &hw_enomem;
	hw_issues_init(&session->issues);
	hw_issues_init(&session->open_issues);
	session->files_cut = hw_files_cut();
	struct hw_error *err = hw_options_copy(options, &session->options);
	if (err) {
		hw_session_close(session);
		return err;
	}
	session->progress.report = session->options.progress;
	session->progress.payload = session->options.progress_payload;
	*ret = session;
	return NULL;
}

static struct hw_error *hw_session_opened(struct hw_session *session, struct hw_error *err,
					  struct hw_session **ret)
{
	if (err)
		hw_session_close(session);
	else
		*ret = session;
	return err;
}

struct hw_error *hw_session_open_pid(int pid, const struct hw_options *options,
				     struct hw_session **ret)
{
	struct hw_session *session;
	HW_TRY(hw_session_create(options, &session));
	struct hw_error *err = hw_target_open_live(pid, session->options.sysroot,
						   session->options.no_stop, &session->target);
	if (!err && session->options.copy)
		hw_target_copy_when_stopped(session->target, &session->open_issues);
	return hw_session_opened(session, err, ret);
}

struct hw_error *hw_session_open_core(const char *path, const struct hw_options *options,
				      struct hw_session **ret)
{
	struct hw_session *session;
	HW_TRY(hw_session_create(options, &session));
	return hw_session_opened(
		session,
		hw_target_open_core(path, session->options.exe, session->options.sysroot,
				    &session->open_issues, &session->progress, &session->target),
		ret);
}

struct hw_error *hw_session_open_callbacks(const struct hw_callbacks *callbacks,
					   const struct hw_options *options,
					   struct hw_session **ret)
{
	struct hw_session *session;
	HW_TRY(hw_session_create(options, &session));
	return hw_session_opened(session,
				 hw_target_open_callbacks(callbacks, session->options.exe,
							  session->options.sysroot,
							  &session->target),
				 ret);
}

struct hw_error *hw_session_open_detached(const struct hw_options *options, struct hw_session **ret)
{
	struct hw_session *session;
	HW_TRY(hw_session_create(options, &session));
	session->is_detached = true;
	// Nothing is mapped in it, and nothing asks: see hw_session_stop().
	return hw_session_opened(session, hw_target_open_image(NULL, 0, &session->target), ret);
}

void hw_session_move_labels(struct hw_session *from, struct hw_session *to)
{
	if (from == to || !from->labels)
		return;
	hw_labels_destroy(to->labels);
	to->labels = from->labels;
	from->labels = NULL;
}

void hw_session_interrupt(struct hw_session *session)
{
	atomic_store(&session->progress.interrupted, true);
}

void hw_session_close(struct hw_session *session)
{
	if (!session)
		return;
	hw_cursors_detach(session);
	hw_session_invalidate(session);
	hw_labels_destroy(session->labels);
	hw_target_close(session->target);
	hw_vec_foreach(each, &session->defaults)
	{
		free(each->option);
		free(each->value);
	}
	hw_vec_deinit(&session->defaults);
	hw_issues_deinit(&session->issues);
	hw_issues_deinit(&session->open_issues);
	free((char *)session->options.exe);
	free((char *)session->options.sysroot);
	free((char *)session->options.debug_dirs);
	free((char *)session->options.rules);
	hw_rules_destroy(session->rules);
	free(session);
}

struct hw_error *hw_session_stop(struct hw_session *session)
{
	if (session->is_detached)
		return hw_error_create(
			HW_ERROR_INVALID,
			"there is no process and no core to look at: give one (-p PID "
			"or -c CORE, or in gdb attach PID or core-file FILE)");
	HW_TRY(hw_target_stop(session->target));
	if (session->is_fresh)
		return NULL;
	struct hw_error *err = hw_target_refresh(session->target);
	if (err)
		hw_target_resume(session->target);
	else
		session->is_fresh = true;
	return err;
}

void hw_session_resume(struct hw_session *session)
{
	hw_target_resume(session->target);
}
