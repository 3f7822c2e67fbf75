/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/paths.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "analysis/search.h"
#include "base/bytes.h"
#include "base/memory.h"
#include "cpython/frames.h"
#include "heap/inspect.h"

const char *hw_path_root_word(enum hw_path_root root)
{
	static const char *const words[] = {
		[HW_PATH_MODULE] = "module",     [HW_PATH_IMMORTAL] = "immortal",
		[HW_PATH_FRAME] = "frame",       [HW_PATH_STATIC] = "static data",
		[HW_PATH_STATE] = "interpreter", [HW_PATH_OPERAND] = "frame",
		[HW_PATH_MEMORY] = "C memory",   [HW_PATH_STACK] = "stack",
		[HW_PATH_UNSEEN] = "unseen",
	};
	return words[root];
}

// A node that was met, and the one that it leads to.
struct hw_met {
	uint32_t node;
	uint32_t next; // index of it, UINT32_MAX: none
};

struct hw_pathing {
	struct hw_session *session;
	const struct hw_graph *graph;
	struct hw_paths *ret;
	struct hw_inspector *inspector;
	uint64_t *seen; // a bit a node
	HW_VEC(struct hw_met) met;
	HW_VEC(uint32_t) ends;               // indexes of met
	HW_VEC(struct hw_referred) referred; // the ends' objects
	HW_VEC(struct hw_frame) frames;      // by where their variables begin
	struct hw_search search;
};

// ---- the ways ------------------------------------------------------------------------------------

static const struct hw_category *hw_pathing_category(const struct hw_pathing *p, uint32_t node)
{
	return hw_heap_category(p->session->heap, hw_graph_category(p->graph, node));
}

static bool hw_pathing_is_module(const struct hw_pathing *p, uint32_t node)
{
	return hw_graph_has_object(p->graph, node) &&
	       !strncmp(hw_pathing_category(p, node)->detail, "module ", strlen("module "));
}

static bool hw_pathing_meet(struct hw_pathing *p, uint32_t node, uint32_t next)
{
	if (p->seen[node / 64] >> node % 64 & 1)
		return true;
	p->seen[node / 64] |= UINT64_C(1) << node % 64;
	return hw_vec_push(&p->met, ((struct hw_met){ node, next }));
}

static struct hw_error *hw_pathing_climb(struct hw_pathing *p, uint32_t node, unsigned max)
{
	const struct hw_links_table *holders = hw_graph_holders(p->graph);
	if (!hw_pathing_meet(p, node, UINT32_MAX))
		return &hw_enomem;
	for (size_t i = 0; i < p->met.count && p->ends.count < max; i++) {
		node = p->met.data[i].node;
		if (hw_graph_is_root(p->graph, node) || hw_pathing_is_module(p, node)) {
			if (!hw_vec_push(&p->ends, (uint32_t)i))
				return &hw_enomem;
			// What is held from outside may be held by a better known one, too.
			if (hw_pathing_is_module(p, node))
				continue;
		}
		for (uint32_t k = holders->first[node]; k < holders->first[node + 1]; k++)
			if (!hw_pathing_meet(p, holders->to[k], (uint32_t)i))
				return &hw_enomem;
		if (i % 4096 == 0 && hw_progress_poll(&p->session->progress))
			return hw_error_create(HW_ERROR_INTERRUPTED,
					       "interrupted while ways to the object were looked "
					       "for");
	}
	return NULL;
}

static struct hw_error *hw_pathing_step(struct hw_pathing *p, struct hw_path *path, uint32_t node)
{
	struct hw_path_step step = { 0 };
	hw_graph_row(p->graph, node, &step.row);
	hw_session_block(p->session, &step.row, hw_inspector_pages(p->inspector), &step.block);
	return hw_vec_push(&path->steps, step) ? NULL : &hw_enomem;
}

// The objects from met[end] on; buffers are their owners'.
static struct hw_error *hw_pathing_write(struct hw_pathing *p, struct hw_path *path, uint32_t end)
{
	for (uint32_t i = end; i != UINT32_MAX; i = p->met.data[i].next) {
		uint32_t node = p->met.data[i].node;
		bool is_last = p->met.data[i].next == UINT32_MAX;
		if (hw_graph_has_object(p->graph, node) || is_last || i == end)
			HW_TRY(hw_pathing_step(p, path, node));
	}
	for (size_t i = 0; i + 1 < path->steps.count; i++) {
		struct hw_path_step *step = &path->steps.data[i];
		const struct hw_path_step *next = &path->steps.data[i + 1];
		if (step->block.object && next->block.object)
			hw_holding_text(hw_inspector_types(p->inspector), step->block.object,
					step->block.detail, next->block.object, step->how);
		if (!*step->how)
			snprintf(step->how, sizeof(step->how), "its %s", next->block.kind);
	}
	return NULL;
}

// ---- roots ---------------------------------------------------------------------------------------

static bool hw_pathing_take_frame(void *payload, const struct hw_frame *frame)
{
	struct hw_pathing *p = payload;
	return hw_vec_push(&p->frames, *frame);
}

static int hw_frame_order(const void *a, const void *b)
{
	const struct hw_frame *x = a, *y = b;
	return (x->locals > y->locals) - (x->locals < y->locals);
}

static pid_t hw_pathing_thread(const struct hw_pathing *p, uint64_t pthread)
{
	hw_vec_foreach(thread,
		       &p->session->target->threads) if (thread->tp == pthread) return thread->tid;
	return 0;
}

static void hw_pathing_frame_text(struct hw_pathing *p, const struct hw_frame *frame,
				  const char *before, char *buf)
{
	char name[100], thread[32] = "";
	pid_t tid = hw_pathing_thread(p, frame->thread);
	hw_code_name(hw_inspector_types(p->inspector), frame->code, name, sizeof(name));
	if (tid)
		snprintf(thread, sizeof(thread), " in thread %d", (int)tid);
	snprintf(buf, HW_HOLDING_TEXT_MAX, "%s%s()%s", before, name, thread);
}

// A word on a data stack: whose variable is it? Up to 3.10 the words are those of frame objects, links.
static bool hw_pathing_frame_word(struct hw_pathing *p, hw_addr_t at, struct hw_path *path)
{
	char name[100], before[140];
	size_t i = hw_vec_find_beyond(&p->frames, locals, at);
	const struct hw_frame *frame = i ? &p->frames.data[i - 1] : NULL;
	enum { FRAME_BYTES_MAX = 1 << 16 };
	if (!frame || !frame->code || at - frame->locals >= FRAME_BYTES_MAX)
		return false;
	path->root = HW_PATH_FRAME;
	if (hw_code_local_name(hw_inspector_types(p->inspector), frame->code,
			       (at - frame->locals) / 8, name, sizeof(name))) {
		snprintf(before, sizeof(before), "local variable '%s' of ", name);
	} else {
		path->root = HW_PATH_OPERAND;
		snprintf(before, sizeof(before), "the stack of ");
	}
	hw_pathing_frame_text(p, frame, before, path->text);
	return true;
}

static void hw_pathing_static(struct hw_pathing *p, hw_addr_t at, struct hw_path *path)
{
	struct hw_module *module = hw_modules_at(p->session->modules, at);
	const struct hw_mapping *m = hw_target_find_mapping(p->session->target, at);
	struct hw_symbol symbol;
	path->root = HW_PATH_STATIC;
	if (module && hw_module_symbol_at(module, at, &symbol))
		snprintf(path->text, sizeof(path->text), "%s+0x%" PRIx64, symbol.name,
			 at - symbol.address);
	else
		snprintf(path->text, sizeof(path->text), "%s", m ? m->path : "");
}

// What the word at `at` is in, said of a path. False: nothing that would keep an object alive.
static bool hw_pathing_describe(struct hw_pathing *p, hw_addr_t at, struct hw_path *path)
{
	struct hw_row row;
	path->at = at;
	*path->text = 0;
	if (!hw_heap_find(p->session->heap, at, &row))
		return false;
	const struct hw_category *category = hw_heap_category(p->session->heap, row.category);
	const uint32_t node = hw_graph_node_at(p->graph, at);
	if (category->state == HW_STATE_FREE || category->state == HW_STATE_OVERHEAD ||
	    !strncmp(category->kind, "free-listed", strlen("free-listed")))
		return false;
	// All that an object or its buffer counts is a link, but for the operands of frames; a list's tail, a
	// weak reference count nothing.
	if (hw_pathing_frame_word(p, at, path))
		return !node || path->root == HW_PATH_OPERAND;
	if (node)
		return false;
	if (!strcmp(category->domain, "stack")) {
		path->root = HW_PATH_STACK;
		snprintf(path->text, sizeof(path->text), "%s", category->kind);
	} else if (!strcmp(category->domain, "file")) {
		hw_pathing_static(p, at, path);
	} else if (!strcmp(category->domain, "cpython")) {
		path->root = HW_PATH_STATE;
		snprintf(path->text, sizeof(path->text), "%s%s%s", category->kind,
			 *category->detail ? " of " : "", category->detail);
	} else if (row.allocator == HW_ALLOCATOR_NONE) {
		hw_pathing_static(p, at, path);
		if (!*path->text || path->text[0] == '/')
			snprintf(path->text, sizeof(path->text), "%s %s", category->domain,
				 category->kind);
	} else {
		path->root = HW_PATH_MEMORY;
		snprintf(path->text, sizeof(path->text), "%s %s%s0x%" PRIx64 ", %" PRIu64 " bytes",
			 category->domain, category->kind, *category->kind ? " " : "", row.start,
			 row.size_bytes);
	}
	return true;
}

// The best known of the words that hold the path's first object.
static void hw_pathing_root(struct hw_pathing *p, struct hw_path *path, uint32_t node)
{
	const hw_addr_t object = path->steps.data[0].block.object;
	struct hw_path best = { .root = HW_PATH_UNSEEN }, one = { 0 };
	uint64_t count = 0;
	path->unexplained = hw_graph_unexplained(p->graph, node);
	if (hw_pathing_is_module(p, node)) {
		path->root = HW_PATH_MODULE;
		snprintf(path->text, sizeof(path->text), "%s",
			 path->steps.data[0].block.detail + strlen("module "));
		return;
	}
	hw_vec_foreach(frame, &p->frames)
	{
		if (frame->address != object)
			continue;
		path->root = HW_PATH_FRAME;
		hw_pathing_frame_text(p, frame, "", path->text);
		return;
	}
	hw_vec_foreach(found, &p->search.found[0])
	{
		if (found->target != object || !hw_pathing_describe(p, found->at, &one))
			continue;
		count++;
		if (one.root < best.root)
			best = one;
	}
	path->root = best.root;
	path->at = best.at;
	path->more = count ? count - 1 : 0;
	memcpy(path->text, best.text, sizeof(path->text));
	if (path->unexplained == UINT32_MAX && path->root >= HW_PATH_MEMORY) {
		path->root = HW_PATH_IMMORTAL;
		snprintf(path->text, sizeof(path->text), "never freed");
	}
}

static int hw_referred_order(const void *a, const void *b)
{
	const struct hw_referred *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

static struct hw_error *hw_pathing_search(struct hw_pathing *p)
{
	hw_vec_foreach(end, &p->ends)
	{
		hw_addr_t object = hw_graph_object(p->graph, p->met.data[*end].node);
		if (object &&
		    !hw_vec_push(&p->referred,
				 ((struct hw_referred){ .start = object, .end = object + 1 })))
			return &hw_enomem;
	}
	if (!p->referred.count)
		return NULL;
	qsort(p->referred.data, p->referred.count, sizeof(*p->referred.data), hw_referred_order);
	p->search.session = p->session;
	p->search.referred = p->referred.data;
	p->search.count = p->referred.count;
	if (!hw_search_cut_pieces(&p->search, &p->ret->bytes_read))
		return &hw_enomem;
	HW_TRY(hw_search_pass(&p->search, p->ret->bytes_read));
	return hw_search_gather(&p->search);
}

// ---- all of it -----------------------------------------------------------------------------------

static struct hw_error *hw_pathing_all(struct hw_pathing *p, hw_addr_t addr, unsigned max)
{
	struct hw_session *session = p->session;
	HW_TRY(hw_session_need_graph(session));
	p->graph = session->graph;
	uint32_t node = hw_graph_node_at(p->graph, addr);
	if (!node)
		return hw_error_at(HW_ERROR_NOT_FOUND, addr,
				   "0x%" PRIx64
				   " is in no object of the heap, nor in a buffer of one: "
				   "referrers shows what points there",
				   addr);
	HW_TRY(hw_inspector_create(session->heap, &p->inspector));
	p->seen = hw_map_zeroed((hw_graph_node_count(p->graph) / 64 + 1) * sizeof(*p->seen));
	if (!p->seen)
		return &hw_enomem;
	HW_TRY(hw_pathing_climb(p, node, max));
	HW_TRY(hw_pathing_search(p));
	hw_frames_visit(hw_inspector_types(p->inspector), hw_pathing_take_frame, p);
	if (p->frames.count)
		qsort(p->frames.data, p->frames.count, sizeof(*p->frames.data), hw_frame_order);
	p->ret->is_garbage = !p->ends.count;
	for (size_t i = 0; i < p->ends.count; i++) {
		struct hw_path path = { 0 };
		if (!hw_vec_push(&p->ret->list, path))
			return &hw_enomem;
		struct hw_path *added = &p->ret->list.data[i];
		HW_TRY(hw_pathing_write(p, added, p->ends.data[i]));
		hw_pathing_root(p, added, p->met.data[p->ends.data[i]].node);
	}
	return NULL;
}

struct hw_error *hw_paths_find(struct hw_session *session, hw_addr_t addr, unsigned max,
			       struct hw_paths *ret)
{
	*ret = (struct hw_paths){ 0 };
	struct hw_pathing *p = calloc(1, sizeof(*p));
	if (!p)
		return &hw_enomem;
	p->session = session;
	p->ret = ret;
	struct hw_error *err = hw_session_stop(session);
	if (!err) {
		err = hw_pathing_all(p, addr, max);
		hw_session_resume(session);
	}
	if (p->graph)
		hw_unmap(p->seen, (hw_graph_node_count(p->graph) / 64 + 1) * sizeof(*p->seen));
	hw_inspector_destroy(p->inspector);
	hw_search_deinit(&p->search);
	hw_vec_deinit(&p->met);
	hw_vec_deinit(&p->ends);
	hw_vec_deinit(&p->referred);
	hw_vec_deinit(&p->frames);
	free(p);
	if (err)
		hw_paths_deinit(ret);
	return err;
}

void hw_paths_deinit(struct hw_paths *paths)
{
	hw_vec_foreach(path, &paths->list) hw_vec_deinit(&path->steps);
	hw_vec_deinit(&paths->list);
}
