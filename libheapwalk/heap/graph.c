/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "heap/graph.h"

#include "base/memory.h"
#include "heap/graph_internal.h"

void hw_graph_destroy(struct hw_graph *graph)
{
	if (!graph)
		return;
	hw_unmap(graph->object_at, graph->node_count);
	hw_unmap(graph->references, graph->node_count * sizeof(*graph->references));
	hw_unmap(graph->roots, (graph->node_count / 64 + 1) * sizeof(*graph->roots));
	hw_unmap(graph->held.first, graph->held.first_bytes);
	hw_unmap(graph->held.to, graph->held.to_bytes);
	hw_unmap(graph->holders.first, graph->holders.first_bytes);
	hw_unmap(graph->holders.to, graph->holders.to_bytes);
	free(graph->pool_first);
	free(graph->region_first);
	free(graph->number_blocks);
	free(graph);
}

uint32_t hw_graph_node_count(const struct hw_graph *graph)
{
	return graph->node_count;
}

uint64_t hw_graph_link_count(const struct hw_graph *graph)
{
	return graph->link_count;
}

uint64_t hw_graph_bytes(const struct hw_graph *graph)
{
	return (uint64_t)graph->node_count *
		       (sizeof(*graph->object_at) + sizeof(*graph->references)) +
	       graph->node_count / 8 + graph->held.first_bytes + graph->held.to_bytes +
	       graph->holders.first_bytes + graph->holders.to_bytes;
}

const struct hw_links_table *hw_graph_held(const struct hw_graph *graph)
{
	return &graph->held;
}

const struct hw_links_table *hw_graph_holders(const struct hw_graph *graph)
{
	return &graph->holders;
}

uint32_t hw_graph_unexplained(const struct hw_graph *graph, uint32_t node)
{
	const uint32_t *first = graph->holders.first;
	uint32_t references = graph->references[node], links = first[node + 1] - first[node];
	if (!graph->object_at[node] || references == HW_GRAPH_NEVER_DIES)
		return references;
	return references > links ? references - links : 0;
}

bool hw_graph_is_root(const struct hw_graph *graph, uint32_t node)
{
	return graph->roots[node / 64] >> node % 64 & 1;
}

const uint64_t *hw_graph_roots(const struct hw_graph *graph)
{
	return graph->roots;
}

bool hw_graph_has_object(const struct hw_graph *graph, uint32_t node)
{
	return graph->object_at[node];
}

bool hw_graph_has(const struct hw_graph *graph, uint32_t node)
{
	return graph->object_at[node] || graph->held.first[node + 1] > graph->held.first[node] ||
	       graph->holders.first[node + 1] > graph->holders.first[node];
}

// ---- nodes and blocks ----------------------------------------------------------------------------

uint32_t hw_graph_node_of(const struct hw_graph *graph, const struct hw_slot *slot)
{
	const struct hw_heap *heap = graph->heap;
	if (!slot->category)
		return 0;
	if (slot->region != UINT32_MAX)
		return graph->region_first[slot->region] +
		       (uint32_t)(slot->category -
				  heap->in.glibc->regions.data[slot->region].state);
	if (slot->pool)
		return graph->pool_first[slot->pool - heap->in.pymalloc->pools.data] +
		       (uint32_t)(slot->category - hw_pool_slots_of(heap->pool_slots, slot->pool));
	uintptr_t offset = (uintptr_t)slot->category - (uintptr_t)heap->page_slots;
	if (offset < heap->page_slots_bytes)
		return graph->pages_first + (uint32_t)(offset / sizeof(uint32_t));
	return graph->numbers_first + (uint32_t)(slot->category - heap->slot_categories.data);
}

uint32_t hw_graph_first_node(const struct hw_graph *graph, const struct hw_item *item)
{
	const struct hw_heap *heap = graph->heap;
	if (item->kind == HW_STRETCH_REGION)
		return graph->region_first[item->region] + item->from;
	if (item->kind == HW_STRETCH_SEGMENT)
		return graph->pages_first +
		       (uint32_t)heap->page_first_slot[heap->in.mimalloc->segments.data[item->from]
							       .page_first];
	return graph->pool_first[heap->in.pymalloc->arenas.data[item->from].pool_first];
}

// The last of `count` ascending numbers that is at most `value`.
#define HW_LAST_UP_TO(array, count, value)                                                         \
	({                                                                                         \
		size_t hw_low = 0, hw_high = (count);                                              \
		while (hw_high - hw_low > 1) {                                                     \
			size_t hw_mid = hw_low + (hw_high - hw_low) / 2;                           \
			if ((array)[hw_mid] <= (value))                                            \
				hw_low = hw_mid;                                                   \
			else                                                                       \
				hw_high = hw_mid;                                                  \
		}                                                                                  \
		hw_low;                                                                            \
	})

// Of 2.7's numbers, which share a chunk.
static struct hw_slot hw_graph_number_slot(const struct hw_graph *graph, uint32_t slot)
{
	const struct hw_heap *heap = graph->heap;
	size_t low = 0, high = heap->slot_blocks.count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (heap->slot_blocks.data[graph->number_blocks[middle]].slots <= slot)
			low = middle;
		else
			high = middle;
	}
	const struct hw_slot_block *block = &heap->slot_blocks.data[graph->number_blocks[low]];
	hw_addr_t start = block->first + (uint64_t)(slot - block->slots) * block->slot_bytes;
	return (struct hw_slot){ .category = &heap->slot_categories.data[slot],
				 .start = start,
				 .user = start,
				 .bytes = block->slot_bytes,
				 .region = UINT32_MAX };
}

// Of a node before graph->pages_first.
static const struct hw_pool *hw_graph_pool(const struct hw_graph *graph, uint32_t node)
{
	const struct hw_pymalloc *pm = graph->heap->in.pymalloc;
	return &pm->pools.data[HW_LAST_UP_TO(graph->pool_first, pm->pools.count, node)];
}

// Where the node's block is: what hw_heap_slot_at() would say of an address in it.
static struct hw_slot hw_graph_slot(const struct hw_graph *graph, uint32_t node)
{
	const struct hw_heap *heap = graph->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	if (node < graph->pages_first) {
		const struct hw_pool *pool = hw_graph_pool(graph, node);
		uint32_t i = node - graph->pool_first[pool - pm->pools.data];
		return hw_heap_slot_at(heap, pool->start + pm->header_bytes +
						     (hw_addr_t)i * hw_pool_block_bytes(pm, pool));
	}
	if (node < graph->numbers_first) {
		uint64_t slot = node - graph->pages_first;
		const struct hw_mimalloc *mi = heap->in.mimalloc;
		size_t i = HW_LAST_UP_TO(heap->page_first_slot, mi->pages.count, slot);
		const struct hw_mi_page *page = &mi->pages.data[i];
		return hw_heap_slot_at(heap, page->first + (slot - heap->page_first_slot[i]) *
								   page->block_bytes);
	}
	const struct hw_glibc *glibc = heap->in.glibc;
	if (!glibc->regions.count || node < graph->region_first[0])
		return hw_graph_number_slot(graph, node - graph->numbers_first);
	size_t i = HW_LAST_UP_TO(graph->region_first, glibc->regions.count, node);
	const struct hw_region *region = &glibc->regions.data[i];
	uint32_t chunk = node - graph->region_first[i];
	hw_addr_t start = hw_region_chunk_start(region, chunk);
	return (struct hw_slot){ .category = &region->state[chunk],
				 .start = start,
				 .user = (region->kind == HW_REGION_MMAPPED ? region->mmapped_chunk
									    : start) +
					 heap->in.glibc->header_bytes,
				 .bytes = hw_region_chunk_end(region, chunk) - start,
				 .region = (uint32_t)i };
}

uint32_t hw_graph_find(const struct hw_graph *graph, hw_addr_t addr, struct hw_slot *ret)
{
	const struct hw_slot_block *block;
	*ret = hw_heap_slot_at(graph->heap, addr);
	if (!ret->category || ret->region == UINT32_MAX || !graph->heap->slot_blocks.count ||
	    !(block = hw_heap_slot_block_at(graph->heap, addr)) || block->is_native ||
	    addr < block->first || (addr - block->first) / block->slot_bytes >= block->count)
		return hw_graph_node_of(graph, ret);
	*ret = hw_graph_number_slot(
		graph, block->slots + (uint32_t)((addr - block->first) / block->slot_bytes));
	return hw_graph_node_of(graph, ret);
}

uint32_t hw_graph_node_at(const struct hw_graph *graph, hw_addr_t addr)
{
	struct hw_slot slot;
	uint32_t node = hw_graph_find(graph, addr, &slot);
	return node && hw_graph_has(graph, node) ? node : 0;
}

void hw_graph_row(const struct hw_graph *graph, uint32_t node, struct hw_row *ret)
{
	struct hw_slot slot = hw_graph_slot(graph, node);
	*ret = (struct hw_row){ .start = slot.start,
				.size_bytes = slot.bytes,
				.allocator = node < graph->pages_first     ? HW_ALLOCATOR_PYMALLOC
					     : node < graph->numbers_first ? HW_ALLOCATOR_MIMALLOC
									   : HW_ALLOCATOR_GLIBC,
				.category = HW_SLOT_CATEGORY(*slot.category) };
}

hw_addr_t hw_graph_object(const struct hw_graph *graph, uint32_t node)
{
	if (!graph->object_at[node])
		return 0;
	return hw_graph_slot(graph, node).user +
	       HW_GRAPH_AT_BYTES * (hw_addr_t)(graph->object_at[node] - 1);
}

uint32_t hw_graph_category(const struct hw_graph *graph, uint32_t node)
{
	const struct hw_heap *heap = graph->heap;
	if (node < graph->pages_first) {
		const struct hw_pool *pool = hw_graph_pool(graph, node);
		return HW_SLOT_CATEGORY(hw_pool_slots_of(
			heap->pool_slots,
			pool)[node - graph->pool_first[pool - heap->in.pymalloc->pools.data]]);
	}
	if (node < graph->numbers_first)
		return HW_SLOT_CATEGORY(heap->page_slots[node - graph->pages_first]);
	return HW_SLOT_CATEGORY(*hw_graph_slot(graph, node).category);
}

uint64_t hw_graph_block_bytes(const struct hw_graph *graph, uint32_t node,
			      struct hw_graph_sizes *last)
{
	const struct hw_heap *heap = graph->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	if (node - last->first < last->count)
		return last->bytes;
	if (node >= graph->pages_first)
		return hw_graph_slot(graph, node).bytes;
	const struct hw_pool *pool = hw_graph_pool(graph, node);
	last->first = graph->pool_first[pool - pm->pools.data];
	last->count = pool->capacity;
	last->bytes = hw_pool_block_bytes(pm, pool);
	return last->bytes;
}
