/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Dominators against their definition: what can't be reached any more when a node is taken out.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/dominators.h"
#include "base/vector.h"
#include "check.h"

enum { NODES_MAX = 24, GRAPHS = 3000, LONG = 1000000 };

struct graph {
	uint32_t node_count;
	uint32_t first[NODES_MAX + 1], to[NODES_MAX * NODES_MAX];
	uint64_t roots[1];
};

static uint32_t seed = 12345;

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525u + 1013904223u;
	return (seed >> 8) % below;
}

static void make(struct graph *graph)
{
	uint32_t links = 0, density = 1 + draw(6);
	graph->node_count = 2 + draw(NODES_MAX - 2);
	graph->roots[0] = 0;
	for (uint32_t node = 1; node < graph->node_count; node++) {
		graph->first[node] = links;
		for (uint32_t to = 1; to < graph->node_count; to++)
			if (draw(graph->node_count) < density)
				graph->to[links++] = to;
		if (!draw(6))
			graph->roots[0] |= UINT64_C(1) << node;
	}
	graph->first[0] = 0;
	graph->first[graph->node_count] = links;
}

// The nodes that roots lead to without passing `but`.
static uint64_t reach(const struct graph *graph, uint32_t but)
{
	uint64_t seen = graph->roots[0] & ~(UINT64_C(1) << but), before = 0;
	while (seen != before) {
		before = seen;
		for (uint32_t node = 1; node < graph->node_count; node++)
			for (uint32_t i = graph->first[node];
			     seen >> node & 1 && i < graph->first[node + 1]; i++)
				if (graph->to[i] != but)
					seen |= UINT64_C(1) << graph->to[i];
	}
	return seen;
}

static void compare(const struct graph *graph, const struct hw_dominators *d)
{
	const uint64_t all = reach(graph, 0);
	for (uint32_t node = 1; node < graph->node_count; node++)
		CHECK((d->number[node] != 0) == (all >> node & 1));
	for (uint32_t by = 1; by < graph->node_count; by++) {
		const uint64_t lost = all & ~reach(graph, by);
		for (uint32_t node = 1; node < graph->node_count; node++) {
			uint32_t at = d->number[node];
			while (at && d->node[at] != by) {
				CHECK(d->above[at] < at);
				at = d->above[at];
			}
			if (all >> node & 1)
				CHECK((at != 0) == (lost >> node & 1));
		}
	}
}

static void test_definition(void)
{
	struct hw_progress progress = { 0 };
	for (unsigned i = 0; i < GRAPHS; i++) {
		struct graph graph;
		struct hw_dominators d;
		make(&graph);
		const struct hw_flow flow = { graph.node_count, graph.first, graph.to,
					      graph.roots };
		CHECK(!hw_dominators_make(&flow, &progress, &d));
		compare(&graph, &d);
		hw_dominators_deinit(&d);
	}
}

// A list that is linked both ways, whose last node is a root too: every node has two ways. Then one way only.
static void test_long(bool both_ways)
{
	struct hw_progress progress = { 0 };
	struct hw_dominators d;
	uint32_t *first = calloc(LONG + 2, sizeof(*first));
	uint32_t *to = calloc(2 * LONG, sizeof(*to)), links = 0;
	uint64_t *roots = calloc(LONG / 64 + 1, sizeof(*roots));
	for (uint32_t node = 1; node <= LONG; node++) {
		first[node] = links;
		if (node < LONG)
			to[links++] = node + 1;
		if (both_ways && node > 1)
			to[links++] = node - 1;
	}
	first[LONG + 1] = links;
	roots[0] = 2;
	if (both_ways)
		roots[LONG / 64] |= UINT64_C(1) << LONG % 64;
	const struct hw_flow flow = { LONG + 1, first, to, roots };
	CHECK(!hw_dominators_make(&flow, &progress, &d));
	CHECK(d.count == LONG + 1);
	for (uint32_t i = 1; i < d.count; i++)
		CHECK(d.above[i] == (both_ways ? 0 : i - 1));
	hw_dominators_deinit(&d);
	free(first);
	free(to);
	free(roots);
}

static bool stop(void *payload, const char *what, uint64_t done, uint64_t total)
{
	(void)payload, (void)what, (void)done, (void)total;
	return true;
}

static void test_interrupted(void)
{
	enum { NODES = 200000 };
	struct hw_progress progress = { .report = stop };
	struct hw_dominators d;
	uint32_t *first = calloc(NODES + 2, sizeof(*first));
	uint32_t *to = calloc(NODES, sizeof(*to));
	uint64_t *roots = calloc(NODES / 64 + 1, sizeof(*roots));
	for (uint32_t node = 1; node <= NODES; node++) {
		first[node + 1] = node < NODES ? node : NODES - 1;
		if (node < NODES)
			to[node - 1] = node + 1;
	}
	roots[0] = 2;
	const struct hw_flow flow = { NODES + 1, first, to, roots };
	struct hw_error *err = hw_dominators_make(&flow, &progress, &d);
	CHECK(err && err->code == HW_ERROR_INTERRUPTED);
	hw_error_destroy(err);
	free(first);
	free(to);
	free(roots);
}

int main(void)
{
	test_definition();
	test_long(false);
	test_long(true);
	test_interrupted();
	return check_finish();
}
