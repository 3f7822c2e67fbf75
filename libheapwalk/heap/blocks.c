/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The heap in pieces of work, and the blocks in use of a piece with their bytes, for what looks at them
// after the scan.
#include "base/bytes.h"
#include "heap/heap_internal.h"

enum {
	HW_CHUNKS_AN_ITEM = 1 << 16,
	// Several windows: what one thread reads ahead belongs to it, and two threads seldom meet at the
	// lock of one page table of the target.
	HW_ARENA_BYTES_AN_ITEM = 4 << 20,
};

uint64_t hw_item_bytes(const struct hw_heap *heap, const struct hw_item *item)
{
	if (item->kind == HW_STRETCH_ARENA)
		return (uint64_t)heap->in.pymalloc->arena_bytes * (item->to - item->from);
	if (item->kind == HW_STRETCH_SEGMENT)
		return HW_MI_SEGMENT_BYTES * (item->to - item->from);
	const struct hw_region *region = &heap->in.glibc->regions.data[item->region];
	return hw_region_chunk_end(region, item->to - 1) -
	       hw_region_chunk_start(region, item->from);
}

bool hw_heap_add_items(const struct hw_heap *heap, hw_items *items)
{
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	const struct hw_glibc *glibc = heap->in.glibc;
	uint64_t step = pm->arena_bytes ? hw_max(HW_ARENA_BYTES_AN_ITEM / pm->arena_bytes, 1) : 1;
	for (uint64_t from = 0; from < pm->arenas.count; from += step) {
		struct hw_item item = { .kind = HW_STRETCH_ARENA,
					.from = (uint32_t)from,
					.to = (uint32_t)hw_min(from + step, pm->arenas.count) };
		if (!hw_vec_push(items, item))
			return false;
	}
	for (uint32_t i = 0; i < heap->in.mimalloc->segments.count; i++) {
		struct hw_item item = { .kind = HW_STRETCH_SEGMENT, .from = i, .to = i + 1 };
		if (!hw_vec_push(items, item))
			return false;
	}
	for (uint32_t i = 0; i < glibc->regions.count; i++)
		for (uint64_t from = 0; from < glibc->regions.data[i].count;
		     from += HW_CHUNKS_AN_ITEM) {
			uint64_t to = hw_min(from + HW_CHUNKS_AN_ITEM,
					     glibc->regions.data[i].count);
			struct hw_item item = { .kind = HW_STRETCH_REGION,
						.region = i,
						.from = (uint32_t)from,
						.to = (uint32_t)to };
			if (!hw_vec_push(items, item))
				return false;
		}
	return true;
}

// ---- blocks --------------------------------------------------------------------------------------

static bool hw_visit_pool_blocks(const struct hw_block_visitor *v, const struct hw_pool *pool)
{
	const struct hw_heap *heap = v->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	if (pool->is_empty || pool->is_bad)
		return true;
	const uint32_t *slots = hw_pool_slots_of(heap->pool_slots, pool);
	const uint32_t size = hw_pool_block_bytes(pm, pool);
	const uint8_t *bytes = NULL;
	for (uint32_t i = 0; i < pool->capacity; i++) {
		uint32_t offset = pm->header_bytes + i * size;
		if (!v->wants(heap, slots[i]))
			continue;
		if (!bytes)
			bytes = hw_window_get(v->window, pool->start, pm->pool_bytes);
		if (!bytes)
			return true;
		const struct hw_seen_block block = {
			pool->start + offset, bytes + offset, size, size, &slots[i], &heap->prover
		};
		if (!v->visit(v->payload, &block))
			return false;
	}
	return true;
}

static bool hw_visit_page_blocks(const struct hw_block_visitor *v, const struct hw_mi_page *page)
{
	const struct hw_heap *heap = v->heap;
	if (!hw_mi_page_has_blocks(page) || page->is_missing)
		return true;
	const uint32_t *slots =
		&heap->page_slots[heap->page_first_slot[page - heap->in.mimalloc->pages.data]];
	const size_t want = (size_t)hw_min(page->block_bytes, HW_BLOCK_LOOK_BYTES);
	hw_addr_t block = page->first;
	for (uint32_t i = 0; i < page->capacity; i++, block += page->block_bytes) {
		size_t len;
		if (!v->wants(heap, slots[i]))
			continue;
		const uint8_t *bytes = hw_window_get_some(v->window, block, want, &len);
		if (bytes && len &&
		    !v->visit(v->payload,
			      &(struct hw_seen_block){ block, bytes, (size_t)hw_min(len, want),
						       page->block_bytes, &slots[i],
						       hw_heap_page_prover(heap, page) }))
			return false;
	}
	return true;
}

static bool hw_visit_chunks(const struct hw_block_visitor *v, const struct hw_region *region,
			    uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		if (!v->wants(v->heap, region->state[i]))
			continue;
		size_t len;
		hw_addr_t user;
		const uint64_t capacity = hw_chunk_data(v->heap, region, i, &user);
		if (!capacity)
			continue;
		const size_t want = (size_t)hw_min(capacity, HW_BLOCK_LOOK_BYTES);
		const uint8_t *bytes = hw_window_get_some(v->window, user, want, &len);
		if (bytes && len &&
		    !v->visit(v->payload, &(struct hw_seen_block){
						  user, bytes, (size_t)hw_min(len, want), capacity,
						  &region->state[i], &v->heap->prover }))
			return false;
	}
	return true;
}

bool hw_heap_visit_item(const struct hw_block_visitor *v, const struct hw_item *item)
{
	const struct hw_heap *heap = v->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	if (item->kind == HW_STRETCH_REGION)
		return hw_visit_chunks(v, &heap->in.glibc->regions.data[item->region], item->from,
				       item->to);
	for (uint32_t i = item->from; i < item->to; i++) {
		bool is_arena = item->kind == HW_STRETCH_ARENA;
		uint32_t first, count;
		if (is_arena) {
			first = pm->arenas.data[i].pool_first;
			count = pm->arenas.data[i].pool_count;
		} else {
			first = heap->in.mimalloc->segments.data[i].page_first;
			count = heap->in.mimalloc->segments.data[i].page_count;
		}
		for (uint32_t k = first; k < first + count; k++)
			if (is_arena ? !hw_visit_pool_blocks(v, &pm->pools.data[k])
				     : !hw_visit_page_blocks(v, &heap->in.mimalloc->pages.data[k]))
				return false;
	}
	return true;
}
