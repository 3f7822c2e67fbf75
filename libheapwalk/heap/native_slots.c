/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Blocks that a library cuts into slots of its own: GLib's slices, SQLite's lookaside memory. Each slot
// becomes a row, in use or free, and takes claims.
#include "base/bytes.h"
#include "heap/heap_internal.h"

enum { HW_SLOT_BYTES_MIN = 8, HW_SLOTS_MAX = 1 << 30 };

static uint32_t hw_split_category(struct hw_worker_native *native,
				  const struct hw_native_kind *kind, enum hw_state state,
				  const char *state_word)
{
	return hw_category_intern(&native->heap->categories,
				  &(struct hw_category){ .domain = kind->domain,
							 .kind = kind->kind,
							 .detail = kind->detail,
							 .state = state,
							 .state_word = state_word },
				  HW_CLAIM_KIND_COUNT);
}

// Are the runs in order and inside [start, end)?
static bool hw_split_is_sane(const struct hw_native_slab *slab, hw_addr_t start, hw_addr_t end)
{
	hw_addr_t at = start;
	for (size_t i = 0; i < slab->run_count; i++) {
		const struct hw_native_run *run = &slab->runs[i];
		if (run->first < at || run->first > end || run->slot_bytes < HW_SLOT_BYTES_MIN ||
		    run->count > (end - run->first) / run->slot_bytes)
			return false;
		at = run->first + (uint64_t)run->count * run->slot_bytes;
	}
	return slab->run_count;
}

bool hw_native_split(struct hw_native_sink *sink, const struct hw_native_slab *slab)
{
	struct hw_worker_native *native = (struct hw_worker_native *)sink;
	struct hw_heap *heap = native->heap;
	uint64_t capacity;
	struct hw_slot slot = hw_heap_slot_at(heap, slab->start);
	// One that is a slot itself, or has been split, has no header.
	if (!slot.category || slot.user == slot.start ||
	    !hw_native_may_name(heap, *slot.category) ||
	    !sink->find(sink, slab->start, &capacity) ||
	    !hw_split_is_sane(slab, slab->start,
			      hw_min(slab->start + capacity, slot.start + slot.bytes)))
		return false;
	uint32_t free = hw_split_category(native, &slab->free, HW_STATE_FREE, "free slot");
	uint32_t overhead = hw_split_category(native, &slab->overhead, HW_STATE_OVERHEAD,
					      "overhead");
	uint32_t used = slab->used.kind ? hw_native_category(native, &slab->used)
					: HW_CATEGORY_NONE;
	hw_addr_t from = slot.start;
	for (size_t i = 0; i < slab->run_count; i++) {
		const struct hw_native_run *run = &slab->runs[i];
		bool is_last = i + 1 == slab->run_count;
		struct hw_slot_block block = {
			.chunk = from,
			.chunk_end = is_last ? slot.start + slot.bytes : slab->runs[i + 1].first,
			.first = run->first,
			.slot_bytes = run->slot_bytes,
			.count = run->count,
			.slots = (uint32_t)heap->slot_categories.count,
			.header = overhead,
			.padding = overhead,
			.is_native = true,
			.is_continued = !is_last,
		};
		if (heap->slot_categories.count + run->count > HW_SLOTS_MAX)
			return false;
		for (uint32_t k = 0; k < run->count; k++)
			if (!hw_vec_push(&heap->slot_categories,
					 run->is_free && run->is_free[k / 64] >> k % 64 & 1 ? free
											    : used))
				return false;
		if (!hw_vec_push(&heap->split_blocks, block))
			return false;
		from = block.chunk_end;
	}
	*slot.category = HW_CATEGORY_SLOT_HEADER;
	return true;
}

// Blocks of one slab stand side by side; they are found by address from now on.
static bool hw_heap_adopt_split(struct hw_heap *heap)
{
	hw_vec_foreach(block, &heap->split_blocks) if (!hw_vec_push(&heap->slot_blocks,
								    *block)) return false;
	hw_heap_sort_slot_blocks(heap);
	return true;
}

bool hw_heap_classify_slots(struct hw_heap *heap, struct hw_worker *worker)
{
	if (!heap->split_blocks.count)
		return true;
	if (!hw_heap_adopt_split(heap))
		return false;
	hw_vec_foreach(block, &heap->split_blocks)
	{
		size_t len;
		for (uint32_t i = 0; i < block->count; i++) {
			uint32_t *category = &heap->slot_categories.data[block->slots + i];
			hw_addr_t start = block->first + (uint64_t)i * block->slot_bytes;
			if (*category != HW_CATEGORY_NONE)
				continue;
			const uint8_t *at = hw_window_get_some(&worker->window, start,
							       block->slot_bytes, &len);
			*category = at && len ? hw_worker_classify(worker, start, at, len,
								   block->slot_bytes)
					      : HW_CATEGORY_MISSING;
		}
	}
	return true;
}
