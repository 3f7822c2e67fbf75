/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Retained sizes: what would be freed if an object went, with what only it keeps alive. The blocks that an
// object dominates in the reference graph (heap/graph.h) are the ones that go with it.
//
// What is held from outside of the graph stays, so a retained size is never more than what goes for want
// of knowledge about C. Memory of a library that an object of its own type frees (a connection's, an
// image's) is not in it unless a rule says who owns it.
#ifndef HW_ANALYSIS_RETAINED_H
#define HW_ANALYSIS_RETAINED_H

#include "analysis/dominators.h"
#include "analysis/session.h"
#include "heap/graph.h"

struct hw_query;

struct hw_retained {
	const struct hw_graph *graph; // borrowed from the session
	struct hw_dominators dominators;
	uint64_t *bytes;                  // by number: of it and what it dominates
	uint32_t *blocks;                 // the same, how many
	uint64_t node_blocks, node_bytes; // of all nodes
	// Neither a root nor led to by one: garbage that is in cycles.
	uint64_t garbage_blocks, garbage_bytes;
	uint64_t root_count;
	uint64_t peak_bytes; // of memory that all of it took at once
};

// Makes the graph when there is none. Fails like hw_graph_build().
struct hw_error *hw_retained_make(struct hw_session *session, struct hw_retained *ret) HW_MUST_USE;
void hw_retained_deinit(struct hw_retained *retained);

// The object that dominates number i, past buffers; 0: none does.
uint32_t hw_retained_above(const struct hw_retained *retained, uint32_t i);

// Chosen objects, by node.
struct hw_chosen {
	uint64_t *bits;
	uint32_t node_count;
	uint64_t count, bytes; // of them, their own blocks only
};
// Those among the blocks that a query finds.
struct hw_error *hw_chosen_make(struct hw_session *session, const struct hw_graph *graph,
				struct hw_query *query, struct hw_chosen *ret) HW_MUST_USE;
void hw_chosen_deinit(struct hw_chosen *chosen);
static inline bool hw_chosen_has(const struct hw_chosen *chosen, uint32_t node)
{
	return chosen->bits[node / 64] >> node % 64 & 1;
}

// What would be freed if all of them went at once, they among it: what roots no longer lead to. More than
// the sum of what each retains where several share something.
struct hw_error *hw_retained_together(const struct hw_retained *retained,
				      const struct hw_chosen *chosen, uint64_t *ret_blocks,
				      uint64_t *ret_bytes) HW_MUST_USE;

// By type (a category's `type`): how many, their own bytes, and what those retain that are not themselves
// retained by another of the same type. Borrows nothing.
struct hw_retained_type {
	uint32_t category; // one of that type
	uint64_t count, own_bytes, bytes, blocks;
};
typedef HW_VEC(struct hw_retained_type) hw_retained_types;
struct hw_error *hw_retained_by_type(const struct hw_session *session,
				     const struct hw_retained *retained,
				     const struct hw_chosen *chosen,
				     hw_retained_types *ret) HW_MUST_USE;

#endif
