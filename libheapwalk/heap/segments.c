/* SPDX-License-Identifier: LGPL-2.1-or-later */
// mimalloc's part of the table: a page has its geometry once and 4 bytes a block.
#include <stdlib.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "heap/heap_internal.h"

struct hw_error *hw_heap_reserve_segments(struct hw_heap *heap)
{
	const struct hw_mimalloc *mi = heap->in.mimalloc;
	uint64_t count = 0;
	heap->page_first_slot = calloc(mi->pages.count + 1, sizeof(*heap->page_first_slot));
	if (!heap->page_first_slot)
		return &hw_enomem;
	for (size_t i = 0; i < mi->pages.count; i++) {
		const struct hw_mi_page *page = &mi->pages.data[i];
		heap->page_first_slot[i] = count;
		if (hw_mi_page_has_blocks(page) && !page->is_missing)
			count += page->capacity;
	}
	heap->page_slots_bytes = (count + 1) * sizeof(*heap->page_slots);
	heap->page_slots = hw_map_zeroed(heap->page_slots_bytes);
	return heap->page_slots ? NULL : &hw_enomem;
}

static uint32_t *hw_page_slots(const struct hw_heap *heap, const struct hw_mi_page *page)
{
	return &heap->page_slots[heap->page_first_slot[page - heap->in.mimalloc->pages.data]];
}

struct hw_slot hw_heap_segment_slot(const struct hw_heap *heap, hw_addr_t addr)
{
	struct hw_slot slot = { .region = UINT32_MAX };
	const struct hw_mi_page *page = hw_mimalloc_find_page(heap->in.mimalloc, addr);
	if (!page || !hw_mi_page_has_blocks(page) || page->is_missing || addr < page->first)
		return slot;
	uint64_t i = (addr - page->first) / page->block_bytes;
	if (i >= page->capacity)
		return slot;
	slot.start = slot.user = page->first + i * page->block_bytes;
	slot.bytes = page->block_bytes;
	slot.category = &hw_page_slots(heap, page)[i];
	return slot;
}

// ---- spans ----

// The parts of [start, end) that are in private writable mappings; mappings without a gap between them
// are one.
static bool hw_add_parts(struct hw_heap *heap, hw_stretch_vec *spans, struct hw_stretch stretch)
{
	const struct hw_target *target = heap->in.target;
	struct hw_stretch part = stretch;
	part.end = part.start;
	for (size_t i = hw_vec_find_beyond(&target->mappings, end, stretch.start);
	     i < target->mappings.count && target->mappings.data[i].start < stretch.end; i++) {
		const struct hw_mapping *m = &target->mappings.data[i];
		if (!hw_mapping_is_private_writable(m))
			continue;
		if (m->start > part.end) {
			if (part.end > part.start && !hw_vec_push(spans, part))
				return false;
			part.start = m->start;
		}
		part.end = hw_min(m->end, stretch.end);
	}
	return part.end == part.start || hw_vec_push(spans, part);
}

bool hw_heap_add_segments(struct hw_heap *heap, hw_stretch_vec *spans)
{
	static const uint32_t categories[] = {
		[HW_MI_AREA_FREE] = HW_CATEGORY_MI_ARENA_FREE,
		[HW_MI_AREA_PADDING] = HW_CATEGORY_MI_ARENA_PADDING,
		[HW_MI_AREA_MISSING] = HW_CATEGORY_MI_ARENA_MISSING,
		[HW_MI_AREA_ARENA_HEADER] = HW_CATEGORY_MI_ARENA_HEADER,
		[HW_MI_AREA_THREAD_DATA] = HW_CATEGORY_MI_THREAD_DATA,
		[HW_MI_AREA_CACHED_THREAD] = HW_CATEGORY_MI_CACHED_THREAD,
	};
	const struct hw_mimalloc *mi = heap->in.mimalloc;
	for (uint32_t i = 0; i < mi->segments.count; i++) {
		const struct hw_mi_segment *segment = &mi->segments.data[i];
		if (!hw_add_parts(heap, spans,
				  (struct hw_stretch){ segment->start, segment->end,
						       HW_STRETCH_SEGMENT, i }))
			return false;
	}
	hw_vec_foreach(area, &mi->areas)
	{
		if (!hw_add_parts(heap, spans,
				  (struct hw_stretch){ area->start, area->end, HW_STRETCH_AREA,
						       categories[area->kind] }))
			return false;
	}
	return true;
}

// ---- rows ----

// Cut at the ends of the span: what is outside of it is in no private writable mapping.
static bool hw_emit_in(struct hw_row_visit *v, const struct hw_stretch *span, hw_addr_t start,
		       hw_addr_t end, uint32_t slot)
{
	return hw_heap_emit_row(v, hw_max(start, span->start), hw_min(end, span->end),
				HW_ALLOCATOR_MIMALLOC, slot);
}

static bool hw_emit_page(struct hw_row_visit *v, const struct hw_stretch *span,
			 const struct hw_mi_page *page)
{
	hw_addr_t end = page->start + page->bytes;
	if (!hw_mi_page_has_blocks(page) || page->is_missing)
		return hw_emit_in(v, span, page->start, end,
				  page->is_free  ? HW_CATEGORY_MI_FREE_SLICES
				  : page->is_bad ? HW_CATEGORY_MI_BAD
						 : HW_CATEGORY_MISSING);
	const uint32_t *slots = hw_page_slots(v->heap, page);
	const uint64_t size = page->block_bytes;
	hw_addr_t from = hw_max(v->from, span->start), at = page->first;
	if (!hw_emit_in(v, span, page->start, at, HW_CATEGORY_MI_OFFSET))
		return false;
	uint64_t i = from > at ? hw_min((from - at) / size, page->capacity) : 0;
	for (at += i * size; i < page->capacity && at < span->end; i++, at += size)
		if (!hw_emit_in(v, span, at, at + size, hw_slot_load(&slots[i])))
			return false;
	hw_addr_t carved = page->first + page->capacity * size;
	hw_addr_t room = page->first + page->reserved * size;
	return hw_emit_in(v, span, carved, room, HW_CATEGORY_MI_UNCARVED) &&
	       hw_emit_in(v, span, room, end, HW_CATEGORY_MI_TAIL);
}

bool hw_heap_emit_segment(struct hw_row_visit *v, const struct hw_stretch *span)
{
	const struct hw_mimalloc *mi = v->heap->in.mimalloc;
	const struct hw_mi_segment *segment = &mi->segments.data[span->index];
	hw_addr_t from = hw_max(v->from, span->start);
	if (!hw_emit_in(v, span, segment->start, segment->start + segment->header_bytes,
			HW_CATEGORY_MI_HEADER))
		return false;
	const struct hw_mi_page *page = hw_mimalloc_find_page(mi, from);
	uint32_t i = page ? (uint32_t)(page - mi->pages.data) - segment->page_first : 0;
	for (; i < segment->page_count; i++) {
		page = &mi->pages.data[segment->page_first + i];
		if (page->start >= span->end)
			break;
		if (!hw_emit_page(v, span, page))
			return false;
	}
	return true;
}

// ---- the scan ----

static void hw_worker_page(struct hw_worker *worker, const struct hw_mi_page *page)
{
	static const uint32_t categories[] = {
		[HW_MI_BLOCK_FREE] = HW_CATEGORY_MI_FREE_BLOCK,
		[HW_MI_BLOCK_LOCAL_FREE] = HW_CATEGORY_MI_LOCAL_FREE_BLOCK,
		[HW_MI_BLOCK_THREAD_FREE] = HW_CATEGORY_MI_THREAD_FREE_BLOCK,
		[HW_MI_BLOCK_DELAYED_FREE] = HW_CATEGORY_MI_DELAYED_FREE_BLOCK,
	};
	const struct hw_heap *heap = worker->heap;
	uint32_t *slots = hw_page_slots(heap, page);
	struct hw_mi_lists lists;
	hw_mi_page_mark_free(heap->in.mimalloc, page, &worker->pages, heap->in.issues,
			     worker->page_blocks, &lists);
	hw_addr_t block = page->first;
	size_t want = (size_t)hw_min(page->block_bytes, HW_BLOCK_LOOK_BYTES), len;
	for (uint32_t i = 0; i < page->capacity; i++, block += page->block_bytes) {
		if (worker->page_blocks[i]) {
			__atomic_store_n(&slots[i], categories[worker->page_blocks[i]],
					 __ATOMIC_RELAXED);
			continue;
		}
		const uint8_t *bytes = hw_window_get_some(&worker->window, block, want, &len);
		if (bytes && len)
			hw_worker_block(worker, block, bytes, hw_min(len, want), page->block_bytes,
					&slots[i]);
		else
			__atomic_store_n(&slots[i], HW_CATEGORY_MISSING, __ATOMIC_RELAXED);
	}
}

void hw_worker_segment(struct hw_worker *worker, const struct hw_mi_segment *segment)
{
	const struct hw_mimalloc *mi = worker->heap->in.mimalloc;
	// Types are in segments, too: no neighbour is known to be none.
	worker->cache.near_bytes = 0;
	for (uint32_t i = 0; i < segment->page_count; i++) {
		const struct hw_mi_page *page = &mi->pages.data[segment->page_first + i];
		if (!hw_mi_page_has_blocks(page) || page->is_missing)
			continue;
		worker->prover = hw_heap_page_prover(worker->heap, page);
		hw_worker_page(worker, page);
	}
	worker->prover = &worker->heap->prover;
}
