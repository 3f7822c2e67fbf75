/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The reference graph of the Python heap: which block holds which, by references that are counted.
//
// A node is a block of the table that has an object, or a buffer that an object owns; a link is a counted
// reference to an object (cpython/references.h), or what owns a buffer (cpython/owners.h). An object with more
// references than links is held from outside of the graph as well: by a stack, a register, static data, or
// memory of C. So is what never dies. These are the roots, which nothing has to be known of but that
// count. An object that is no root, and that no root leads to, is garbage that the collector has not met.
//
// Memory, a block of the table: 13 bytes (where its object is, its references, two tables of where its links
// begin, a bit), and 8 bytes a link, which are two to four an object.
#ifndef HW_HEAP_GRAPH_H
#define HW_HEAP_GRAPH_H

#include "heap/heap.h"

struct hw_graph;

// Nodes of this begin at first[node] and end before first[node + 1]. Node 0 is none.
struct hw_links_table {
	uint32_t *first, *to;
	size_t first_bytes, to_bytes;
};

// Reads the memory of the heap twice, on the session's threads. HW_ERROR_NOT_FOUND: no CPython here;
// HW_ERROR_UNSUPPORTED: its references can't be counted (builds without the GIL). Interrupted: fails.
struct hw_error *hw_graph_build(struct hw_heap *heap, struct hw_graph **ret) HW_MUST_USE;
void hw_graph_destroy(struct hw_graph *graph); // accepts NULL

uint32_t hw_graph_node_count(const struct hw_graph *graph); // node 0 among them
uint64_t hw_graph_link_count(const struct hw_graph *graph);
uint64_t hw_graph_bytes(const struct hw_graph *graph); // of memory that it takes
// What a node holds, and what holds it; by address of the holder.
const struct hw_links_table *hw_graph_held(const struct hw_graph *graph);
const struct hw_links_table *hw_graph_holders(const struct hw_graph *graph);

// Its references that are no links: UINT32_MAX of what never dies, 0 of a buffer. A root has some.
uint32_t hw_graph_unexplained(const struct hw_graph *graph, uint32_t node);
bool hw_graph_is_root(const struct hw_graph *graph, uint32_t node);
const uint64_t *hw_graph_roots(const struct hw_graph *graph); // a bit a node
bool hw_graph_has_object(const struct hw_graph *graph, uint32_t node);
// Is there an object, or a buffer that something holds or that holds something?
bool hw_graph_has(const struct hw_graph *graph, uint32_t node);

// The node of the block that contains addr; 0: none.
uint32_t hw_graph_node_at(const struct hw_graph *graph, hw_addr_t addr);
// Its row of the table.
void hw_graph_row(const struct hw_graph *graph, uint32_t node, struct hw_row *ret);
hw_addr_t hw_graph_object(const struct hw_graph *graph, uint32_t node); // 0: a buffer
uint32_t hw_graph_category(const struct hw_graph *graph, uint32_t node);
// `last` is what the caller's last question told, 0 before the first: neighbours are of one size.
struct hw_graph_sizes {
	uint32_t first, count;
	uint64_t bytes;
};
uint64_t hw_graph_block_bytes(const struct hw_graph *graph, uint32_t node,
			      struct hw_graph_sizes *last);

#endif
