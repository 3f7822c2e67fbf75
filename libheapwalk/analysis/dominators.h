/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Dominators: of each node that roots lead to, the nearest one that every way from the roots to it passes.
// Lengauer and Tarjan, 1979, with path compression: O(links × log nodes), whatever the graph is like; no
// recursion.
#ifndef HW_ANALYSIS_DOMINATORS_H
#define HW_ANALYSIS_DOMINATORS_H

#include "base/error.h"
#include "base/progress.h"

// Links of node n are to[first[n]] … to[first[n + 1] - 1]; node 0 is nobody. A bit a node says which ones
// roots are.
struct hw_flow {
	uint32_t node_count;
	const uint32_t *first, *to;
	const uint64_t *roots;
};

// Nodes that were reached have numbers, in an order in which a node comes behind its dominator. Number 0
// is what stands before the roots.
struct hw_dominators {
	uint32_t node_count;
	uint32_t count;      // of numbers
	uint32_t *node;      // by number
	uint32_t *number;    // by node, 0: not reached
	uint32_t *above;     // by number: the dominator's
	uint64_t peak_bytes; // of memory, while it was made
};

// Memory: 36 bytes a node and 4 bytes a link meanwhile, 12 bytes a node then. Interrupted: fails.
struct hw_error *hw_dominators_make(const struct hw_flow *flow, struct hw_progress *progress,
				    struct hw_dominators *ret) HW_MUST_USE;
void hw_dominators_deinit(struct hw_dominators *dominators);

#endif
