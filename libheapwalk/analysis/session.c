/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/session_internal.h"

#include <string.h>

#include "analysis/query.h"
#include "analysis/snapshot.h"
#include "base/bytes.h"
#include "base/cleanup.h"
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
	return hw_session_opened(session,
				 hw_target_open_live(pid, session->options.sysroot,
						     session->options.no_stop, &session->target),
				 ret);
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

void hw_session_forget_allocators(struct hw_session *session)
{
	hw_pages_deinit(&session->point_pages);
	if (session->heap)
		hw_heap_destroy(session->heap);
	session->heap = NULL;
	hw_glibc_deinit(&session->glibc);
	session->glibc = (struct hw_glibc){ 0 };
	hw_pymalloc_deinit(&session->pymalloc);
	session->pymalloc = (struct hw_pymalloc){ 0 };
	hw_error_destroy(session->pymalloc_error);
	session->pymalloc_error = NULL;
	session->has_pymalloc = session->has_allocators = false;
	session->stop_nanoseconds = 0;
	session->was_at_rest = false;
	session->forgotten++;
	hw_residency_deinit(&session->residency);
	session->residency = (struct hw_residency){ 0 };
	session->has_residency = false;
}

void hw_session_invalidate(struct hw_session *session)
{
	hw_session_forget_allocators(session);
	hw_python_deinit(&session->python);
	session->python = (struct hw_python){ 0 };
	hw_error_destroy(session->python_error);
	session->python_error = NULL;
	session->has_python = false;
	hw_modules_close(session->modules);
	session->modules = NULL;
	hw_issues_clear(&session->issues);
	session->is_fresh = false;
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

// ---- making the parts ----

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

struct hw_error *hw_session_tolerate(struct hw_session *session, struct hw_error *err,
				     struct hw_error **kept)
{
	if (!err)
		return NULL;
	switch (err->code) {
	case HW_ERROR_NO_DEBUG_INFO:
	case HW_ERROR_UNSUPPORTED:
	case HW_ERROR_CORRUPT:
	case HW_ERROR_FAULT:
	case HW_ERROR_NOT_FOUND:
		hw_issues_take(&session->issues,
			       err->has_address
				       ? hw_error_at(err->code, err->address, "%s", err->message)
				       : hw_error_create(err->code, "%s", err->message));
		*kept = err;
		return NULL;
	default:
		return err;
	}
}

struct hw_error *hw_session_make_modules(struct hw_session *session)
{
	if (session->modules)
		return NULL;
	const char *exe = session->options.exe ? session->options.exe : session->target->exe;
	return hw_modules_open(session->target, exe, session->options.debug_dirs, &session->issues,
			       &session->modules);
}

struct hw_error *hw_session_make_python(struct hw_session *session)
{
	if (session->has_python)
		return NULL;
	HW_TRY(hw_session_make_modules(session));
	struct hw_error *err = hw_python_find(session->target, session->modules, &session->issues,
					      &session->python);
	if (err) {
		hw_python_deinit(&session->python);
		session->python = (struct hw_python){ 0 };
	}
	HW_TRY(hw_session_tolerate(session, err, &session->python_error));
	session->has_python = true;
	return NULL;
}

// The part of a thread's stack that is in use ends at the thread's control block, in the same
// mapping; the main thread's is a mapping of its own.
static bool hw_session_stack_claims(const struct hw_target *target, hw_addr_t addr,
				    hw_addr_t *ret_end)
{
	const struct hw_mapping *mapping = hw_target_find_mapping(target, addr);
	if (!mapping)
		return false;
	if (!strcmp(mapping->path, "[stack]")) {
		*ret_end = mapping->end;
		return true;
	}
	for (size_t i = 0; i < target->threads.count; i++) {
		const struct hw_thread *thread = &target->threads.data[i];
		if (thread->sp >= mapping->start && thread->sp < thread->fs_base &&
		    thread->fs_base < mapping->end && addr < thread->fs_base) {
			*ret_end = thread->fs_base;
			return true;
		}
	}
	return false;
}

static bool hw_session_claims(void *payload, hw_addr_t addr, hw_addr_t *ret_end)
{
	const struct hw_session *session = payload;
	const struct hw_arena *arena = hw_pymalloc_find_arena(&session->pymalloc, addr);
	if (arena) {
		*ret_end = arena->start + session->pymalloc.arena_bytes;
		return true;
	}
	return hw_session_stack_claims(session->target, addr, ret_end);
}

struct hw_error *hw_session_make_pymalloc(struct hw_session *session)
{
	if (session->has_pymalloc)
		return NULL;
	session->pymalloc.target = session->target;
	session->has_pymalloc = true;
	if (!session->python.module)
		return NULL;
	struct hw_error *err = hw_pymalloc_walk(session->target, session->modules, &session->python,
						&session->issues, &session->progress,
						&session->pymalloc);
	if (err) {
		hw_pymalloc_deinit(&session->pymalloc);
		session->pymalloc = (struct hw_pymalloc){ .target = session->target };
	}
	return hw_session_tolerate(session, err, &session->pymalloc_error);
}

// A process that is killed is not a zombie at once: first its memory goes, which can take a while.
// When nothing of it can be read any more, reads on the walk may have failed as well.
static bool hw_session_has_memory(const struct hw_session *session)
{
	struct hw_target *target = session->target;
	for (size_t i = 0; i < target->mappings.count; i++) {
		const struct hw_mapping *mapping = &target->mappings.data[i];
		uint8_t byte;
		if ((mapping->flags & HW_MAP_READ) &&
		    hw_target_read_some(target, mapping->start, &byte, 1))
			return true;
	}
	return false;
}

struct hw_error *hw_session_check_alive(struct hw_session *session)
{
	if (!session->target->ops->is_live ||
	    (hw_target_is_alive(session->target) && hw_session_has_memory(session)))
		return NULL;
	return hw_error_create(HW_ERROR_NOT_FOUND,
			       "process %d exited while it was read: nothing can be said of it",
			       (int)session->target->pid);
}

static struct hw_error *hw_session_make_allocators(struct hw_session *session)
{
	if (session->has_allocators)
		return NULL;
	HW_TRY(hw_session_make_python(session));
	// One that was walked in a process that has run on since is of another moment.
	if (session->has_pymalloc && session->target->ops->kind == HW_TARGET_LIVE &&
	    !session->options.no_stop)
		hw_session_forget_allocators(session);
	struct hw_error *err = hw_session_make_pymalloc(session);
	if (!err)
		err = hw_glibc_walk(session->target, session->modules, hw_session_claims, session,
				    &session->issues, &session->progress, session->options.threads,
				    &session->glibc);
	if (!err)
		err = hw_session_check_alive(session);
	if (err) {
		hw_session_forget_allocators(session);
		return err;
	}
	session->has_allocators = true;
	return NULL;
}

// The dear checks. Before the table is built: it turns chunk states into categories.
static struct hw_error *hw_session_check_allocators(struct hw_session *session)
{
	if (!session->options.debug)
		return NULL;
	hw_glibc_check(&session->glibc, &session->issues);
	if (!session->pymalloc.arenas.count)
		return NULL;
	return hw_pymalloc_check(&session->pymalloc, &session->issues, &session->progress);
}

static struct hw_error *hw_session_make_heap(struct hw_session *session)
{
	if (session->heap)
		return NULL;
	HW_TRY(hw_session_make_allocators(session));
	HW_TRY(hw_session_check_allocators(session));
	if (session->rules)
		HW_TRY(hw_rules_resolve(session->rules, session->modules));
	struct hw_heap_inputs inputs = {
		.target = session->target,
		.modules = session->modules,
		.python = &session->python,
		.pymalloc = &session->pymalloc,
		.glibc = &session->glibc,
		.rules = session->rules,
		.threads = session->options.threads,
		.debug = session->options.debug,
		.issues = &session->issues,
		.progress = &session->progress,
	};
	struct hw_error *err = hw_heap_build(&inputs, &session->heap);
	if (!err)
		err = hw_session_check_alive(session);
	// The build has taken the chunk states over: nothing of the walk can be used again.
	if (err)
		hw_session_forget_allocators(session);
	return err;
}

static struct hw_error *hw_session_make(struct hw_session *session,
					struct hw_error *(*make)(struct hw_session *))
{
	HW_TRY(hw_session_stop(session));
	struct hw_error *err = make(session);
	hw_session_resume(session);
	return err;
}

struct hw_error *hw_session_need_python(struct hw_session *session)
{
	return session->has_python ? NULL : hw_session_make(session, hw_session_make_python);
}

struct hw_error *hw_session_need_allocators(struct hw_session *session)
{
	return session->has_allocators ? NULL
				       : hw_session_make(session, hw_session_make_allocators);
}

struct hw_error *hw_session_need_heap(struct hw_session *session)
{
	return session->heap ? NULL : hw_session_make(session, hw_session_make_heap);
}

static struct hw_error *hw_session_make_residency(struct hw_session *session)
{
	HW_TRY(hw_residency_read(session->target, &session->issues, &session->residency));
	session->has_residency = true;
	return hw_session_make_heap(session);
}

struct hw_error *hw_session_need_residency(struct hw_session *session)
{
	if (session->has_residency)
		return hw_session_need_heap(session);
	// It has run on since, unless somebody else keeps it stopped.
	if (session->has_allocators && session->target->ops->is_live && !session->options.no_stop)
		hw_session_invalidate(session);
	return hw_session_make(session, hw_session_make_residency);
}

void hw_session_settle(struct hw_session *session)
{
	if (session->heap && hw_heap_is_partial(session->heap))
		hw_session_forget_allocators(session);
	atomic_store(&session->progress.interrupted, false);
}

struct hw_error *hw_session_use_rules(struct hw_session *session, const char *path)
{
	struct hw_rules *rules = NULL, *old = session->rules;
	if (!path)
		path = session->options.rules;
	if (path)
		HW_TRY(hw_rules_read(path, &rules));
	bool is_same = !rules == !old &&
		       (!rules ||
			(!strcmp(rules->path, old->path) && rules->text_len == old->text_len &&
			 !memcmp(rules->text, old->text, rules->text_len)));
	if (is_same) {
		hw_rules_destroy(rules);
		return NULL;
	}
	// The table has taken the chunk states over: the walk is made again with it.
	if (session->heap)
		hw_session_forget_allocators(session);
	hw_rules_destroy(old);
	session->rules = rules;
	return NULL;
}

// ---- what is missing ----

struct hw_error *hw_session_python_shortfall(const struct hw_session *session)
{
	const struct hw_error *err = session->python_error ? session->python_error
							   : session->pymalloc_error;
	return err ? hw_error_create(err->code, "%s", err->message) : NULL;
}

struct hw_error *hw_session_shortfall(const struct hw_session *session)
{
	if (session->heap && hw_heap_is_partial(session->heap))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted: the report covers only what was walked "
				       "until then");
	if (session->python_error)
		return hw_error_create(HW_ERROR_PARTIAL,
				       "the report is partial, Python's objects are not in it: %s",
				       session->python_error->message);
	if (session->pymalloc_error)
		return hw_error_create(HW_ERROR_PARTIAL,
				       "the report is partial, Python's arenas are not in it: %s",
				       session->pymalloc_error->message);
	const struct hw_ledger *ledger = session->heap ? hw_heap_ledger(session->heap) : NULL;
	if (ledger && ledger->missing_bytes) {
		// Rounded down: a heap that lacks a byte was not seen whole.
		unsigned __int128 seen = ledger->heap_bytes -
					 hw_min(ledger->missing_bytes, ledger->heap_bytes);
		return hw_error_create(HW_ERROR_PARTIAL,
				       "the report is partial: %u %% of the heap was seen, %llu of "
				       "%llu heap bytes could not be read",
				       (unsigned)(seen * 100 / hw_max(ledger->heap_bytes, 1)),
				       (unsigned long long)ledger->missing_bytes,
				       (unsigned long long)ledger->heap_bytes);
	}
	if (session->target->shortfall)
		return hw_error_create(HW_ERROR_PARTIAL, "the report is partial: %s",
				       session->target->shortfall);
	uint64_t rows = ledger ? ledger->in_use_bytes + ledger->free_bytes +
					 ledger->overhead_bytes + ledger->unknown_bytes
			       : 0;
	if (ledger && rows != ledger->mapped_bytes)
		return hw_error_create(
			HW_ERROR_PARTIAL,
			"the report does not add up: its rows have %llu bytes, the private "
			"writable mappings %llu; its issues say where",
			(unsigned long long)rows, (unsigned long long)ledger->mapped_bytes);
	for (size_t i = 0; i < session->issues.list.count; i++)
		if (hw_error_code(session->issues.list.data[i]) == HW_ERROR_NO_MEMORY)
			return hw_error_create(
				HW_ERROR_PARTIAL,
				"the report lacks details: heapwalk itself was out of "
				"memory");
	return NULL;
}

// ---- blocks ----

void hw_session_block(struct hw_session *session, const struct hw_row *row, struct hw_pages *pages,
		      struct hw_block *ret)
{
	const struct hw_category *category = hw_heap_category(session->heap, row->category);
	hw_addr_t object = 0;
	int64_t refcount = -1;
	if (!pages || !category->type ||
	    !hw_heap_object(session->heap, row, pages, &object, &refcount)) {
		object = 0;
		refcount = -1;
	}
	*ret = (struct hw_block){
		.start = row->start,
		.size_bytes = row->size_bytes,
		.allocator = hw_allocator_word(row->allocator),
		.state = category->state,
		.state_word = category->state_word,
		.domain = category->domain,
		.kind = category->kind,
		.detail = category->detail,
		.object = object,
		.refcount = refcount,
	};
}

struct hw_block_visit {
	struct hw_session *session;
	struct hw_pages pages;
	hw_block_fn *visit;
	void *payload;
};

static bool hw_visit_row(void *payload, const struct hw_row *row)
{
	struct hw_block_visit *visit = payload;
	struct hw_block block;
	hw_session_block(visit->session, row, &visit->pages, &block);
	return visit->visit(visit->payload, &block);
}

static void hw_query_cleanup(struct hw_query **query)
{
	hw_query_destroy(*query);
}

static struct hw_error *hw_session_visit(struct hw_session *session, struct hw_query *query,
					 hw_block_fn *visit, void *payload)
{
	HW_TRY(hw_session_need_heap(session));
	struct hw_block_visit state = { .session = session, .visit = visit, .payload = payload };
	hw_pages_init(&state.pages, session->target);
	struct hw_error *err = hw_query_run(query, session->heap, &session->progress, hw_visit_row,
					    &state);
	hw_pages_deinit(&state.pages);
	if (!err && hw_progress_stopped(&session->progress))
		err = hw_error_create(HW_ERROR_INTERRUPTED,
				      "interrupted: not all blocks were visited");
	return err ? err : hw_session_shortfall(session);
}

struct hw_error *hw_session_visit_blocks(struct hw_session *session, const char *query_text,
					 hw_block_fn *visit, void *payload)
{
	hw_cleanup_with(hw_query_cleanup) struct hw_query *query = NULL;
	HW_TRY(hw_query_parse(query_text, &query));
	HW_TRY(hw_session_use_rules(session, NULL));
	HW_TRY(hw_session_stop(session)); // objects are read while blocks are visited
	struct hw_error *err = hw_session_visit(session, query, visit, payload);
	hw_session_resume(session);
	hw_session_settle(session);
	return err;
}
