/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Each part of a session is made when it is first needed, from those before it, and forgotten when the target
// has run on; and what could not be made.
#include "analysis/session_internal.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mapped_file.h"
#include "symbols/rule_fields.h"

// ---- forgetting ----

void hw_session_forget_allocators(struct hw_session *session)
{
	hw_pages_deinit(&session->point_pages);
	hw_graph_destroy(session->graph);
	session->graph = NULL;
	if (session->heap)
		hw_heap_destroy(session->heap);
	session->heap = NULL;
	hw_glibc_deinit(&session->glibc);
	session->glibc = (struct hw_glibc){ 0 };
	hw_pymalloc_deinit(&session->pymalloc);
	session->pymalloc = (struct hw_pymalloc){ 0 };
	hw_mimalloc_deinit(&session->mimalloc);
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

void hw_session_forget_python(struct hw_session *session)
{
	hw_python_deinit(&session->python);
	session->python = (struct hw_python){ 0 };
	hw_error_destroy(session->python_error);
	session->python_error = NULL;
	session->has_python = false;
}

void hw_session_invalidate(struct hw_session *session)
{
	hw_session_forget_allocators(session);
	hw_session_forget_python(session);
	hw_modules_close(session->modules);
	session->modules = NULL;
	hw_issues_clear(&session->issues);
	session->is_fresh = false;
}

// ---- making ----

// A failure that the rest of the walk can live without: facts or proofs that are missing. Kept in
// *kept and shown as an issue. Anything else comes back.
static struct hw_error *hw_session_tolerate(struct hw_session *session, struct hw_error *err,
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
	// What a core or a process calls its program is a name below its own root; gdb's name is one here.
	const char *exe = session->options.exe;
	if (!exe && session->target->ops->kind == HW_TARGET_CALLBACK)
		exe = session->target->exe;
	HW_TRY(hw_modules_open(session->target, exe, session->options.debug_dirs, &session->issues,
			       &session->modules));
	if (session->options.debuginfod)
		hw_modules_use_debuginfod(session->modules);
	return NULL;
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
		if (thread->sp >= mapping->start && thread->sp < thread->tp &&
		    thread->tp < mapping->end && addr < thread->tp) {
			*ret_end = thread->tp;
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
	return hw_mimalloc_claims(&session->mimalloc, addr, ret_end) ||
	       hw_session_stack_claims(session->target, addr, ret_end);
}

// `heap`: a table is made of it, and reads the arenas that are left.
static struct hw_error *hw_session_walk_pymalloc(struct hw_session *session, bool heap)
{
	if (session->has_pymalloc)
		return NULL;
	session->pymalloc.target = session->target;
	session->has_pymalloc = true;
	if (!session->python.module)
		return NULL;
	struct hw_error *err = heap ? hw_pymalloc_find(session->target, &session->python,
						       &session->issues, &session->pymalloc)
				    : hw_pymalloc_walk(session->target, &session->python,
						       &session->issues, &session->progress,
						       &session->pymalloc);
	if (err) {
		hw_pymalloc_deinit(&session->pymalloc);
		session->pymalloc = (struct hw_pymalloc){ .target = session->target };
	}
	HW_TRY(hw_session_tolerate(session, err, &session->pymalloc_error));
	if (session->target->machine->word_bytes == 8)
		HW_TRY(hw_mimalloc_find(session->target, &session->python, &session->issues,
					&session->progress, &session->mimalloc));
	else if (session->pymalloc.in_force == HW_IN_FORCE_MIMALLOC)
		session->python.has_objects = false;
	// An interpreter that uses pymalloc has an arena before it runs its first line.
	struct hw_pymalloc *pymalloc = &session->pymalloc;
	if (pymalloc->is_in_force_inferred && !pymalloc->arenas.count &&
	    session->mimalloc.segments.count)
		pymalloc->in_force = HW_IN_FORCE_MIMALLOC;
	return NULL;
}

struct hw_error *hw_session_make_pymalloc(struct hw_session *session)
{
	return hw_session_walk_pymalloc(session, false);
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

// `heap`, may be NULL: a table that is open, to look at malloc's blocks on the way.
static struct hw_error *hw_session_walk_malloc(struct hw_session *session, struct hw_heap *heap)
{
	struct hw_glibc_inputs inputs = {
		.target = session->target,
		.modules = session->modules,
		.claimed = hw_session_claims,
		.claimed_payload = session,
		.issues = &session->issues,
		.progress = &session->progress,
		.threads = session->options.threads,
	};
	if (heap && hw_heap_can_look(heap)) {
		inputs.look = hw_heap_look;
		inputs.look_payload = heap;
	}
	return hw_glibc_walk(&inputs, &session->glibc);
}

static struct hw_error *hw_session_walk_allocators(struct hw_session *session, struct hw_heap *heap)
{
	if (session->has_allocators)
		return NULL;
	HW_TRY(hw_session_make_python(session));
	if (!session->has_pymalloc)
		session->issues_before_walk = session->issues.list.count;
	// One that was walked in a process that has run on since is of another moment.
	if (session->has_pymalloc && session->target->ops->kind == HW_TARGET_LIVE &&
	    !session->options.no_stop)
		hw_session_forget_allocators(session);
	// The dear checks come before the table and read all pools.
	struct hw_error *err = hw_session_walk_pymalloc(session, heap && !session->options.debug);
	if (!err)
		err = hw_session_walk_malloc(session, heap);
	if (!err)
		err = hw_session_check_alive(session);
	if (err) {
		hw_session_forget_allocators(session);
		return err;
	}
	session->has_allocators = true;
	return NULL;
}

static struct hw_error *hw_session_make_allocators(struct hw_session *session)
{
	return hw_session_walk_allocators(session, NULL);
}

// The dear checks. Before the table is built: it turns chunk states into categories.
static struct hw_error *hw_session_check_allocators(struct hw_session *session)
{
	if (!session->options.debug)
		return NULL;
	hw_glibc_check(&session->glibc, &session->issues);
	HW_TRY(hw_mimalloc_check(&session->mimalloc, &session->issues, &session->progress));
	if (!session->pymalloc.arenas.count)
		return NULL;
	return hw_pymalloc_check(&session->pymalloc, &session->issues, &session->progress);
}

static struct hw_error *hw_session_fill_heap(struct hw_session *session, struct hw_heap *heap)
{
	HW_TRY(hw_session_walk_allocators(session, heap));
	HW_TRY(hw_session_check_allocators(session));
	HW_TRY(hw_heap_fill(heap));
	return hw_session_check_alive(session);
}

static struct hw_error *hw_session_make_heap(struct hw_session *session)
{
	if (session->heap)
		return NULL;
	HW_TRY(hw_session_make_python(session));
	if (session->rules)
		HW_TRY(hw_rules_resolve(session->rules, session->modules));
	struct hw_heap_inputs inputs = {
		.target = session->target,
		.modules = session->modules,
		.python = &session->python,
		.pymalloc = &session->pymalloc,
		.mimalloc = &session->mimalloc,
		.glibc = &session->glibc,
		.rules = session->rules,
		.threads = session->options.threads,
		.debug = session->options.debug,
		.issues = &session->issues,
		.progress = &session->progress,
	};
	struct hw_heap *heap;
	HW_TRY(hw_heap_open(&inputs, &heap));
	struct hw_error *err = hw_session_fill_heap(session, heap);
	if (!err) {
		session->heap = heap;
		return NULL;
	}
	hw_heap_destroy(heap);
	// The table has taken the chunk states over: nothing of the walk can be used again.
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

// What was walked is of another moment, unless somebody else keeps the target stopped.
static void hw_session_forget_past(struct hw_session *session)
{
	if (session->has_allocators && session->target->ops->is_live && !session->options.no_stop)
		hw_session_invalidate(session);
}

struct hw_error *hw_session_need_residency(struct hw_session *session)
{
	if (session->has_residency)
		return hw_session_need_heap(session);
	hw_session_forget_past(session);
	return hw_session_make(session, hw_session_make_residency);
}

static struct hw_error *hw_session_make_graph(struct hw_session *session)
{
	HW_TRY(hw_session_make_heap(session));
	if (hw_heap_is_partial(session->heap))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted: references need a heap that was walked whole");
	if (session->python_error)
		return hw_session_python_shortfall(session);
	HW_TRY(hw_graph_build(session->heap, &session->graph));
	return hw_session_check_alive(session);
}

struct hw_error *hw_session_need_graph(struct hw_session *session)
{
	if (session->graph)
		return NULL;
	hw_session_forget_past(session);
	return hw_session_make(session, hw_session_make_graph);
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
	if (path && session->target && session->target->machine->word_bytes != 8)
		return hw_error_create(
			HW_ERROR_UNSUPPORTED,
			"rules file %s: rules are for 64-bit programs, and this is a "
			"32-bit one (%s)",
			path, session->target->machine->name);
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
	// The table has taken the chunk states over: the walk is made again with it, and meets what it met.
	if (session->heap) {
		hw_session_forget_allocators(session);
		hw_issues_cut(&session->issues, session->issues_before_walk);
	}
	hw_rules_destroy(old);
	session->rules = rules;
	return NULL;
}
