/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Rows made on the fly, in address order, from runs and their category ids.
#include "base/bytes.h"
#include "cpython/text.h"
#include "heap/heap_internal.h"

bool hw_heap_emit_row(struct hw_row_visit *v, hw_addr_t start, hw_addr_t end,
		      enum hw_allocator allocator, uint32_t slot)
{
	if (start >= end || end <= v->from)
		return true;
	if (start >= v->to)
		return false;
	return v->visit(v->payload, &(struct hw_row){ .start = start,
						      .size_bytes = end - start,
						      .allocator = allocator,
						      .category = HW_SLOT_CATEGORY(slot) });
}

static bool hw_emit_pool(struct hw_row_visit *v, const struct hw_pool *pool)
{
	const struct hw_pymalloc *pm = v->heap->in.pymalloc;
	hw_addr_t end = pool->start + pm->pool_bytes;
	if (pool->is_empty || pool->is_bad)
		return hw_heap_emit_row(v, pool->start, end, HW_ALLOCATOR_PYMALLOC,
					pool->is_bad ? HW_CATEGORY_POOL_BAD
						     : HW_CATEGORY_POOL_FREED);
	uint32_t size = hw_pool_block_bytes(pm, pool);
	const uint32_t *slots = hw_pool_slots_of(v->heap->pool_slots, pool);
	hw_addr_t at = pool->start + pm->header_bytes;
	if (!hw_heap_emit_row(v, pool->start, at, HW_ALLOCATOR_PYMALLOC, HW_CATEGORY_POOL_HEADER))
		return false;
	uint32_t i = v->from > at ? (uint32_t)hw_min((v->from - at) / size, pool->capacity) : 0;
	for (at += (hw_addr_t)i * size; i < pool->capacity; i++, at += size)
		if (!hw_heap_emit_row(v, at, at + size, HW_ALLOCATOR_PYMALLOC,
				      hw_slot_load(&slots[i])))
			return false;
	return hw_heap_emit_row(v, at, end, HW_ALLOCATOR_PYMALLOC, HW_CATEGORY_ALIGNMENT_POOL);
}

static bool hw_emit_arena(struct hw_row_visit *v, const struct hw_arena *arena)
{
	const struct hw_pymalloc *pm = v->heap->in.pymalloc;
	hw_addr_t end = arena->start + pm->arena_bytes;
	if (arena->is_missing)
		return hw_heap_emit_row(v, arena->start, end, HW_ALLOCATOR_PYMALLOC,
					HW_CATEGORY_MISSING);
	if (!hw_heap_emit_row(v, arena->start, arena->first_pool, HW_ALLOCATOR_PYMALLOC,
			      HW_CATEGORY_ALIGNMENT_ARENA))
		return false;
	uint32_t i = v->from > arena->first_pool
			     ? (uint32_t)hw_min((v->from - arena->first_pool) / pm->pool_bytes,
						arena->pool_count)
			     : 0;
	for (; i < arena->pool_count; i++) {
		if (!hw_emit_pool(v, &pm->pools.data[arena->pool_first + i]))
			return false;
	}
	hw_addr_t carved_end = arena->first_pool + (hw_addr_t)arena->pool_count * pm->pool_bytes;
	hw_addr_t pools_end = arena->first_pool + (hw_addr_t)arena->pools_total * pm->pool_bytes;
	return hw_heap_emit_row(v, carved_end, pools_end, HW_ALLOCATOR_PYMALLOC,
				HW_CATEGORY_POOL_NEVER_USED) &&
	       hw_heap_emit_row(v, pools_end, end, HW_ALLOCATOR_PYMALLOC,
				HW_CATEGORY_ALIGNMENT_ARENA);
}

static bool hw_emit_slot_block(struct hw_row_visit *v, hw_addr_t chunk)
{
	bool is_continued = true;
	for (hw_addr_t at = chunk; is_continued;) {
		const struct hw_slot_block *block = hw_heap_slot_block_at(v->heap, at);
		if (!block)
			break;
		at = block->first;
		if (!hw_heap_emit_row(v, block->chunk, at, HW_ALLOCATOR_GLIBC, block->header))
			return false;
		for (uint32_t i = 0; i < block->count; i++, at += block->slot_bytes)
			if (!hw_heap_emit_row(v, at,
					      hw_min(at + block->slot_bytes, block->chunk_end),
					      HW_ALLOCATOR_GLIBC,
					      v->heap->slot_categories.data[block->slots + i]))
				return false;
		if (!hw_heap_emit_row(v, at, block->chunk_end, HW_ALLOCATOR_GLIBC, block->padding))
			return false;
		at = block->chunk_end;
		is_continued = block->is_continued;
	}
	return true;
}

static bool hw_emit_region(struct hw_row_visit *v, const struct hw_region *region)
{
	uint32_t i = v->from > region->start ? hw_region_find_chunk(region, v->from) : 0;
	for (; i < region->count; i++) {
		hw_addr_t start = hw_region_chunk_start(region, i);
		uint32_t slot = hw_slot_load(&region->state[i]);
		if (HW_SLOT_CATEGORY(slot) == HW_CATEGORY_SLOT_HEADER
			    ? !hw_emit_slot_block(v, start)
			    : !hw_heap_emit_row(v, start, hw_region_chunk_end(region, i),
						HW_ALLOCATOR_GLIBC, slot))
			return false;
	}
	return true;
}

bool hw_heap_visit(const struct hw_heap *heap, hw_addr_t from, hw_addr_t to,
		   bool (*visit)(void *payload, const struct hw_row *row), void *payload)
{
	struct hw_row_visit v = {
		.heap = heap, .from = from, .to = to, .visit = visit, .payload = payload
	};
	size_t low = hw_vec_find_beyond(&heap->spans, end, from);
	for (; low < heap->spans.count && heap->spans.data[low].start < to; low++) {
		const struct hw_stretch *span = &heap->spans.data[low];
		bool ok;
		if (span->kind == HW_STRETCH_ARENA)
			ok = hw_emit_arena(&v, &heap->in.pymalloc->arenas.data[span->index]);
		else if (span->kind == HW_STRETCH_REGION)
			ok = hw_emit_region(&v, &heap->in.glibc->regions.data[span->index]);
		else if (span->kind == HW_STRETCH_SEGMENT)
			ok = hw_heap_emit_segment(&v, span);
		else if (span->kind == HW_STRETCH_AREA)
			ok = hw_heap_emit_row(&v, span->start, span->end, HW_ALLOCATOR_MIMALLOC,
					      span->index);
		else
			ok = hw_heap_emit_row(&v, span->start, span->end,
					      span->index == HW_CATEGORY_HEAP_TAIL
						      ? HW_ALLOCATOR_GLIBC
						      : HW_ALLOCATOR_NONE,
					      span->index);
		if (!ok)
			return false;
	}
	return true;
}

static bool hw_take_row(void *payload, const struct hw_row *row)
{
	*(struct hw_row *)payload = *row;
	return false;
}

bool hw_heap_find(const struct hw_heap *heap, hw_addr_t addr, struct hw_row *ret)
{
	return addr != UINT64_MAX && !hw_heap_visit(heap, addr, addr + 1, hw_take_row, ret);
}

bool hw_heap_object(const struct hw_heap *heap, const struct hw_row *row, struct hw_pages *pages,
		    hw_addr_t *ret_object, int64_t *ret_refcount)
{
	const struct hw_category *category = hw_heap_category(heap, row->category);
	if (!category->type)
		return false;
	const struct hw_type *type = heap->types.all.data[category->type - 1];
	hw_addr_t object = row->start;
	if (row->allocator != HW_ALLOCATOR_GLIBC || !hw_heap_slot_block_at(heap, row->start)) {
		// Behind malloc's header, whose first word is the chunk's before.
		struct hw_slot slot =
			hw_heap_slot_at(heap, row->start + (row->allocator == HW_ALLOCATOR_GLIBC
								    ? heap->in.glibc->header_bytes
								    : 0));
		uint8_t head[HW_DEBUG_HEADS_MAX * HW_DEBUG_HEAD_BYTES];
		uint64_t requested;
		object = slot.user;
		if (hw_pages_read(pages, object, head, sizeof(head)))
			object += hw_debug_head(head, sizeof(head), slot.bytes,
						hw_heap_word_bytes(heap), &requested);
		object += type->head_bytes;
	}
	uint64_t refcount;
	bool is_part;
	if (!hw_object_refcount(&heap->prover, pages, object, &refcount, &is_part))
		return false;
	*ret_object = object;
	*ret_refcount = is_part || hw_heap_is_immortal(heap, refcount) ? -1 : (int64_t)refcount;
	return true;
}

bool hw_heap_module(const struct hw_heap *heap, uint32_t category, struct hw_pages *pages,
		    char *buf, size_t size)
{
	uint32_t type = hw_heap_category(heap, category)->type;
	return type && hw_type_module_name(&heap->in.python->layout, pages,
					   heap->types.all.data[type - 1], buf, size);
}

void hw_heap_place(const struct hw_heap *heap, hw_addr_t addr, struct hw_place *ret)
{
	size_t at = hw_vec_find_beyond(&heap->spans, end, addr);
	*ret = (struct hw_place){ .start = addr, .end = addr + 1 };
	if (at == heap->spans.count || heap->spans.data[at].start > addr)
		return;
	const struct hw_stretch *span = &heap->spans.data[at];
	ret->start = span->start;
	ret->end = span->end;
	if (span->kind == HW_STRETCH_ARENA) {
		ret->kind = HW_PLACE_PYMALLOC;
		ret->index = span->index;
		return;
	}
	if (span->kind == HW_STRETCH_SEGMENT) {
		ret->kind = HW_PLACE_MIMALLOC;
		ret->index = span->index;
		return;
	}
	// The tail of a thread heap stands behind the heap.
	if (span->kind == HW_STRETCH_PLAIN && span->index == HW_CATEGORY_HEAP_TAIL && at)
		span--;
	if (span->kind != HW_STRETCH_REGION)
		return;
	const struct hw_region *region = &heap->in.glibc->regions.data[span->index];
	bool is_mmapped = region->kind == HW_REGION_MMAPPED;
	ret->kind = is_mmapped ? HW_PLACE_MMAPPED : HW_PLACE_MALLOC;
	ret->index = is_mmapped ? 0 : region->arena_index;
}
