/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Shared by graph.c, which numbers the nodes and answers, and graph_build.c, which reads the target.
#ifndef HW_HEAP_GRAPH_INTERNAL_H
#define HW_HEAP_GRAPH_INTERNAL_H

#include "heap/graph.h"
#include "heap/heap_internal.h"

struct hw_graph {
	struct hw_heap *heap;
	// Nodes are numbered as slots are: of pools, then of mimalloc's pages, of 2.7's blocks of numbers, of
	// malloc's regions. 0 is nobody.
	uint32_t node_count, pages_first, numbers_first;
	uint32_t *pool_first;    // by pool of pymalloc, and one more: where those of the next begin
	uint32_t *region_first;  // by region
	uint32_t *number_blocks; // of hw_heap.slot_blocks, by their first slot
	// By node: where its object is, in units of HW_GRAPH_AT_BYTES from the start of the
	// application's part, + 1; 0: none.
	uint8_t *object_at;
	// By node: what the object counts; UINT32_MAX: it never dies.
	uint32_t *references;
	uint64_t *roots; // a bit a node
	struct hw_links_table held, holders;
	uint64_t link_count;
};

// An object may stand behind debug hooks' bytes, and behind its own head.
enum { HW_GRAPH_OBJECT_AT_MAX = 254, HW_GRAPH_AT_BYTES = 4 };
#define HW_GRAPH_NEVER_DIES UINT32_MAX

// The node of a slot, 0: the slot is none.
uint32_t hw_graph_node_of(const struct hw_graph *graph, const struct hw_slot *slot);
// The same of the block that contains addr, among it 2.7's numbers, which share a chunk.
uint32_t hw_graph_find(const struct hw_graph *graph, hw_addr_t addr, struct hw_slot *ret);
uint32_t hw_graph_first_node(const struct hw_graph *graph, const struct hw_item *item);

#endif
