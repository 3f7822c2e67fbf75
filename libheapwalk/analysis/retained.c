/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/retained.h"

#include <stdlib.h>

#include "analysis/query.h"
#include "base/bytes.h"
#include "base/memory.h"

// ---- sizes ---------------------------------------------------------------------------------------

// Each block's own size, in address order so that neighbours are asked for together.
static void hw_retained_own(struct hw_retained *r)
{
	const struct hw_graph *graph = r->graph;
	const uint32_t *number = r->dominators.number;
	struct hw_graph_sizes sizes = { 0 };
	const uint32_t count = hw_graph_node_count(graph);
	for (uint32_t node = 1; node < count; node++) {
		if (!hw_graph_has(graph, node))
			continue;
		uint64_t bytes = hw_graph_block_bytes(graph, node, &sizes);
		r->node_blocks++;
		r->node_bytes += bytes;
		r->root_count += hw_graph_is_root(graph, node);
		if (number[node]) {
			r->bytes[number[node]] = bytes;
			r->blocks[number[node]] = 1;
		} else {
			r->garbage_blocks++;
			r->garbage_bytes += bytes;
		}
	}
}

static struct hw_error *hw_retained_fill(struct hw_session *session, struct hw_retained *r)
{
	const struct hw_graph *graph = session->graph;
	const struct hw_links_table *held = hw_graph_held(graph);
	const struct hw_flow flow = { hw_graph_node_count(graph), held->first, held->to,
				      hw_graph_roots(graph) };
	r->graph = graph;
	HW_TRY(hw_dominators_make(&flow, &session->progress, &r->dominators));
	const struct hw_dominators *d = &r->dominators;
	r->bytes = hw_map_zeroed(d->count * sizeof(*r->bytes));
	r->blocks = hw_map_zeroed(d->count * sizeof(*r->blocks));
	if (!r->bytes || !r->blocks)
		return &hw_enomem;
	hw_retained_own(r);
	for (uint32_t i = d->count - 1; i; i--) {
		r->bytes[d->above[i]] += r->bytes[i];
		r->blocks[d->above[i]] += r->blocks[i];
	}
	r->peak_bytes = hw_graph_bytes(graph) + d->peak_bytes;
	return NULL;
}

struct hw_error *hw_retained_make(struct hw_session *session, struct hw_retained *ret)
{
	*ret = (struct hw_retained){ 0 };
	HW_TRY(hw_session_need_graph(session));
	struct hw_error *err = hw_retained_fill(session, ret);
	if (err)
		hw_retained_deinit(ret);
	return err;
}

void hw_retained_deinit(struct hw_retained *r)
{
	hw_unmap(r->bytes, r->dominators.count * sizeof(*r->bytes));
	hw_unmap(r->blocks, r->dominators.count * sizeof(*r->blocks));
	if (r->dominators.node)
		hw_dominators_deinit(&r->dominators);
	*r = (struct hw_retained){ 0 };
}

uint32_t hw_retained_above(const struct hw_retained *r, uint32_t i)
{
	const struct hw_dominators *d = &r->dominators;
	uint32_t above = d->above[i];
	while (above && !hw_graph_object(r->graph, d->node[above]))
		above = d->above[above];
	return above;
}

// ---- chosen objects ------------------------------------------------------------------------------

struct hw_choosing {
	const struct hw_graph *graph;
	struct hw_chosen *chosen;
	uint32_t header_bytes; // of malloc's chunks
};

static bool hw_choose_row(void *payload, const struct hw_row *row)
{
	struct hw_choosing *choosing = payload;
	struct hw_chosen *chosen = choosing->chosen;
	// Behind a chunk's first words, which may be its neighbour's.
	const uint64_t head = row->allocator == HW_ALLOCATOR_GLIBC ? choosing->header_bytes : 0;
	uint32_t node = row->allocator != HW_ALLOCATOR_NONE && row->size_bytes > head
				? hw_graph_node_at(choosing->graph, row->start + head)
				: 0;
	if (!node || !hw_graph_has_object(choosing->graph, node) || hw_chosen_has(chosen, node))
		return true;
	chosen->bits[node / 64] |= UINT64_C(1) << node % 64;
	chosen->count++;
	chosen->bytes += row->size_bytes;
	return true;
}

struct hw_error *hw_chosen_make(struct hw_session *session, const struct hw_graph *graph,
				struct hw_query *query, struct hw_chosen *ret)
{
	*ret = (struct hw_chosen){ .node_count = hw_graph_node_count(graph) };
	ret->bits = hw_map_zeroed((ret->node_count / 64 + 1) * sizeof(*ret->bits));
	if (!ret->bits)
		return &hw_enomem;
	struct hw_choosing choosing = { graph, ret, session->glibc.header_bytes };
	struct hw_error *err = hw_query_run(query, session->heap, &session->progress, hw_choose_row,
					    &choosing);
	if (!err && hw_progress_stopped(&session->progress))
		err = hw_error_create(HW_ERROR_INTERRUPTED,
				      "interrupted while the query's objects were looked for");
	if (err)
		hw_chosen_deinit(ret);
	return err;
}

void hw_chosen_deinit(struct hw_chosen *chosen)
{
	hw_unmap(chosen->bits, (chosen->node_count / 64 + 1) * sizeof(*chosen->bits));
	*chosen = (struct hw_chosen){ 0 };
}

// ---- several at once -----------------------------------------------------------------------------

struct hw_reach {
	const struct hw_retained *retained;
	const struct hw_chosen *chosen;
	uint64_t *seen;    // a bit a number
	uint32_t *waiting; // numbers
	uint32_t waiting_count;
};

static void hw_reach_enter(struct hw_reach *reach, uint32_t node)
{
	uint32_t number = reach->retained->dominators.number[node];
	if (!number || reach->seen[number / 64] >> number % 64 & 1 ||
	    hw_chosen_has(reach->chosen, node))
		return;
	reach->seen[number / 64] |= UINT64_C(1) << number % 64;
	reach->waiting[reach->waiting_count++] = number;
}

// What the roots still lead to when the chosen are gone is taken from what they lead to now.
static void hw_reach_run(struct hw_reach *reach, uint64_t *blocks, uint64_t *bytes)
{
	const struct hw_retained *r = reach->retained;
	const struct hw_dominators *d = &r->dominators;
	const struct hw_links_table *held = hw_graph_held(r->graph);
	struct hw_graph_sizes sizes = { 0 };
	for (uint32_t i = 1; i < d->count; i++) {
		if (hw_graph_is_root(r->graph, d->node[i]))
			hw_reach_enter(reach, d->node[i]);
		while (reach->waiting_count) {
			uint32_t node = d->node[reach->waiting[--reach->waiting_count]];
			--*blocks;
			*bytes -= hw_graph_block_bytes(r->graph, node, &sizes);
			for (uint32_t k = held->first[node]; k < held->first[node + 1]; k++)
				hw_reach_enter(reach, held->to[k]);
		}
	}
}

struct hw_error *hw_retained_together(const struct hw_retained *retained,
				      const struct hw_chosen *chosen, uint64_t *ret_blocks,
				      uint64_t *ret_bytes)
{
	const uint32_t count = retained->dominators.count;
	struct hw_reach reach = { .retained = retained, .chosen = chosen };
	reach.seen = hw_map_zeroed((count / 64 + 1) * sizeof(*reach.seen));
	reach.waiting = hw_map_zeroed(count * sizeof(*reach.waiting));
	bool ok = reach.seen && reach.waiting;
	if (ok) {
		*ret_blocks = retained->node_blocks - retained->garbage_blocks;
		*ret_bytes = retained->node_bytes - retained->garbage_bytes;
		hw_reach_run(&reach, ret_blocks, ret_bytes);
	}
	hw_unmap(reach.seen, (count / 64 + 1) * sizeof(*reach.seen));
	hw_unmap(reach.waiting, count * sizeof(*reach.waiting));
	return ok ? NULL : &hw_enomem;
}

// ---- by type -------------------------------------------------------------------------------------

struct hw_typing {
	const struct hw_retained *retained;
	const struct hw_chosen *chosen;
	const struct hw_heap *heap;
	uint32_t *child, *sibling; // by number: the tree of dominators
	struct hw_retained_type *types;
	uint32_t *inside; // by type: how many of it are above
	uint32_t type_count;
};

// The type of a chosen object, 0: any other node.
static uint32_t hw_typing_type(const struct hw_typing *t, uint32_t number)
{
	uint32_t node = t->retained->dominators.node[number];
	if (!hw_chosen_has(t->chosen, node))
		return 0;
	uint32_t type =
		hw_heap_category(t->heap, hw_graph_category(t->retained->graph, node))->type;
	return type < t->type_count ? type : 0;
}

static void hw_typing_enter(struct hw_typing *t, uint32_t number)
{
	uint32_t type = hw_typing_type(t, number);
	if (!type)
		return;
	struct hw_retained_type *row = &t->types[type];
	uint32_t node = t->retained->dominators.node[number];
	struct hw_graph_sizes sizes = { 0 };
	row->category = hw_graph_category(t->retained->graph, node);
	row->count++;
	row->own_bytes += hw_graph_block_bytes(t->retained->graph, node, &sizes);
	if (t->inside[type]++)
		return;
	row->bytes += t->retained->bytes[number];
	row->blocks += t->retained->blocks[number];
}

static void hw_typing_leave(struct hw_typing *t, uint32_t number)
{
	uint32_t type = hw_typing_type(t, number);
	if (type)
		t->inside[type]--;
}

static void hw_typing_walk(struct hw_typing *t)
{
	const struct hw_dominators *d = &t->retained->dominators;
	for (uint32_t i = d->count - 1; i; i--) {
		t->sibling[i] = t->child[d->above[i]];
		t->child[d->above[i]] = i;
	}
	for (uint32_t at = t->child[0]; at;) {
		hw_typing_enter(t, at);
		if (t->child[at]) {
			at = t->child[at];
			continue;
		}
		while (at && !t->sibling[at]) {
			hw_typing_leave(t, at);
			at = d->above[at];
		}
		if (at) {
			hw_typing_leave(t, at);
			at = t->sibling[at];
		}
	}
}

struct hw_error *hw_retained_by_type(const struct hw_session *session,
				     const struct hw_retained *retained,
				     const struct hw_chosen *chosen, hw_retained_types *ret)
{
	const uint64_t bytes = (uint64_t)retained->dominators.count * sizeof(uint32_t);
	struct hw_typing t = { .retained = retained, .chosen = chosen, .heap = session->heap };
	for (uint32_t i = 0; i < hw_heap_category_count(session->heap); i++)
		t.type_count = (uint32_t)hw_max(t.type_count,
						hw_heap_category(session->heap, i)->type + 1u);
	t.child = hw_map_zeroed(bytes);
	t.sibling = hw_map_zeroed(bytes);
	t.types = calloc(t.type_count, sizeof(*t.types));
	t.inside = calloc(t.type_count, sizeof(*t.inside));
	bool ok = t.child && t.sibling && t.types && t.inside;
	if (ok)
		hw_typing_walk(&t);
	for (uint32_t i = 0; ok && i < t.type_count; i++)
		ok = !t.types[i].count || hw_vec_push(ret, t.types[i]);
	hw_unmap(t.child, bytes);
	hw_unmap(t.sibling, bytes);
	free(t.types);
	free(t.inside);
	return ok ? NULL : &hw_enomem;
}
