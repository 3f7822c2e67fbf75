/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Names as in the paper: semi, label, ancestor, bucket; `parent` is of the depth-first tree. All are numbers
// of its order, but for what `node` and `number` translate.
#include "analysis/dominators.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "base/vector.h"

enum { HW_NODES_A_POLL = 1 << 16 };

struct hw_dominating {
	const struct hw_flow *flow;
	struct hw_progress *progress;
	uint32_t count; // of numbers
	uint32_t *node, *number;
	uint32_t *parent, *semi, *label, *ancestor, *above, *bucket;
	uint32_t *from_first, *from; // who links to a number
	uint64_t link_count;         // of `from`
	HW_VEC(uint32_t) path;
	uint64_t bytes, peak_bytes;
};

static bool hw_dominating_array(struct hw_dominating *d, uint32_t **ret, uint64_t count)
{
	d->bytes += count * sizeof(uint32_t);
	d->peak_bytes = hw_max(d->peak_bytes, d->bytes);
	*ret = hw_map_zeroed(count * sizeof(uint32_t));
	return *ret;
}

static bool hw_is_root(const struct hw_flow *flow, uint32_t node)
{
	return flow->roots[node / 64] >> node % 64 & 1;
}

static struct hw_error *hw_dominating_poll(struct hw_dominating *d, uint64_t done)
{
	if (done % HW_NODES_A_POLL)
		return NULL;
	atomic_store(&d->progress->done, done);
	return hw_progress_poll(d->progress)
		       ? hw_error_create(HW_ERROR_INTERRUPTED,
					 "interrupted while dominators were looked for")
		       : NULL;
}

static void hw_dominating_enter(struct hw_dominating *d, uint32_t node, uint32_t parent)
{
	d->number[node] = d->count;
	d->node[d->count] = node;
	d->parent[d->count] = parent;
	d->count++;
}

// Depth first from each root in turn. `next` (by number) is where a node's links go on.
static struct hw_error *hw_dominating_search(struct hw_dominating *d, uint32_t *next)
{
	const struct hw_flow *flow = d->flow;
	d->count = 1;
	for (uint32_t root = 1; root < flow->node_count; root++) {
		if (!hw_is_root(flow, root) || d->number[root])
			continue;
		uint32_t at = d->count;
		hw_dominating_enter(d, root, 0);
		next[at] = flow->first[root];
		while (at) {
			uint32_t node = d->node[at], to = 0;
			while (next[at] < flow->first[node + 1] && !to) {
				uint32_t candidate = flow->to[next[at]++];
				if (!d->number[candidate])
					to = candidate;
			}
			if (!to) {
				at = d->parent[at];
				continue;
			}
			uint32_t entered = d->count;
			hw_dominating_enter(d, to, at);
			next[entered] = flow->first[to];
			at = entered;
			HW_TRY(hw_dominating_poll(d, entered));
		}
	}
	return NULL;
}

// Who links to a number, of those that were reached.
static struct hw_error *hw_dominating_turn(struct hw_dominating *d)
{
	const struct hw_flow *flow = d->flow;
	for (uint32_t i = 1; i < d->count; i++)
		d->link_count += flow->first[d->node[i] + 1] - flow->first[d->node[i]];
	if (!hw_dominating_array(d, &d->from_first, (uint64_t)d->count + 2) ||
	    !hw_dominating_array(d, &d->from, d->link_count + 1))
		return &hw_enomem;
	for (uint32_t i = 1; i < d->count; i++)
		for (uint32_t k = flow->first[d->node[i]]; k < flow->first[d->node[i] + 1]; k++)
			d->from_first[d->number[flow->to[k]] + 2]++;
	for (uint32_t i = 1; i < d->count + 2; i++)
		d->from_first[i] += d->from_first[i - 1];
	for (uint32_t i = 1; i < d->count; i++)
		for (uint32_t k = flow->first[d->node[i]]; k < flow->first[d->node[i] + 1]; k++)
			d->from[d->from_first[d->number[flow->to[k]] + 1]++] = i;
	return NULL;
}

// The number of the least semidominator on the way from v up to the root of its tree of the forest. 0 is
// linked to nothing: who has it for an ancestor ends the way.
static bool hw_dominating_eval(struct hw_dominating *d, uint32_t v, uint32_t *ret)
{
	uint32_t *ancestor = d->ancestor, *label = d->label;
	if (ancestor[v] == UINT32_MAX) {
		*ret = v;
		return true;
	}
	d->path.count = 0;
	for (uint32_t at = v; ancestor[ancestor[at]] != UINT32_MAX; at = ancestor[at])
		if (!hw_vec_push(&d->path, at))
			return false;
	while (d->path.count) {
		uint32_t at = d->path.data[--d->path.count], up = ancestor[at];
		if (d->semi[label[up]] < d->semi[label[at]])
			label[at] = label[up];
		ancestor[at] = ancestor[up];
	}
	*ret = label[v];
	return true;
}

static struct hw_error *hw_dominating_solve(struct hw_dominating *d)
{
	uint32_t best;
	for (uint32_t i = 0; i < d->count; i++) {
		d->semi[i] = d->label[i] = i;
		d->ancestor[i] = UINT32_MAX;
	}
	for (uint32_t w = d->count - 1; w; w--) {
		uint32_t parent = d->parent[w];
		if (hw_is_root(d->flow, d->node[w]))
			d->semi[w] = 0;
		for (uint32_t k = d->from_first[w]; k < d->from_first[w + 1]; k++) {
			if (!hw_dominating_eval(d, d->from[k], &best))
				return &hw_enomem;
			if (d->semi[best] < d->semi[w])
				d->semi[w] = d->semi[best];
		}
		// What waits for a semidominator is a list through `above`, which is not known yet.
		d->above[w] = d->bucket[d->semi[w]];
		d->bucket[d->semi[w]] = w;
		d->ancestor[w] = parent;
		for (uint32_t v = d->bucket[parent], next; v; v = next) {
			next = d->above[v];
			if (!hw_dominating_eval(d, v, &best))
				return &hw_enomem;
			d->above[v] = d->semi[best] < d->semi[v] ? best : parent;
		}
		d->bucket[parent] = 0;
		HW_TRY(hw_dominating_poll(d, 2 * (uint64_t)d->count - w));
	}
	for (uint32_t w = 1; w < d->count; w++)
		if (d->above[w] != d->semi[w])
			d->above[w] = d->above[d->above[w]];
	return NULL;
}

static struct hw_error *hw_dominating_all(struct hw_dominating *d)
{
	const uint64_t nodes = d->flow->node_count;
	// Until they are known, `semi` has where a node's links go on.
	if (!hw_dominating_array(d, &d->number, nodes) ||
	    !hw_dominating_array(d, &d->node, nodes) ||
	    !hw_dominating_array(d, &d->parent, nodes) || !hw_dominating_array(d, &d->semi, nodes))
		return &hw_enomem;
	d->progress->what = "dominators";
	d->progress->total = 2 * nodes;
	HW_TRY(hw_dominating_search(d, d->semi));
	HW_TRY(hw_dominating_turn(d));
	if (!hw_dominating_array(d, &d->label, nodes) ||
	    !hw_dominating_array(d, &d->ancestor, nodes) ||
	    !hw_dominating_array(d, &d->above, nodes) || !hw_dominating_array(d, &d->bucket, nodes))
		return &hw_enomem;
	return hw_dominating_solve(d);
}

static void hw_numbers_unmap(uint32_t *array, uint64_t count)
{
	hw_unmap(array, count * sizeof(*array));
}

struct hw_error *hw_dominators_make(const struct hw_flow *flow, struct hw_progress *progress,
				    struct hw_dominators *ret)
{
	const uint64_t nodes = flow->node_count;
	struct hw_dominating d = { .flow = flow, .progress = progress };
	struct hw_error *err = hw_dominating_all(&d);
	hw_numbers_unmap(d.parent, nodes);
	hw_numbers_unmap(d.semi, nodes);
	hw_numbers_unmap(d.label, nodes);
	hw_numbers_unmap(d.ancestor, nodes);
	hw_numbers_unmap(d.bucket, nodes);
	hw_numbers_unmap(d.from_first, (uint64_t)d.count + 2);
	hw_numbers_unmap(d.from, d.link_count + 1);
	hw_vec_deinit(&d.path);
	*ret = (struct hw_dominators){ .node_count = flow->node_count,
				       .count = d.count,
				       .node = d.node,
				       .number = d.number,
				       .above = d.above,
				       .peak_bytes = d.peak_bytes };
	if (err)
		hw_dominators_deinit(ret);
	return err;
}

void hw_dominators_deinit(struct hw_dominators *dominators)
{
	hw_numbers_unmap(dominators->node, dominators->node_count);
	hw_numbers_unmap(dominators->number, dominators->node_count);
	hw_numbers_unmap(dominators->above, dominators->node_count);
	*dominators = (struct hw_dominators){ 0 };
}
