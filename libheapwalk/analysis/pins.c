/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/pins.h"

#include <stdlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "heap/category.h"

enum {
	HW_CHUNK_STRUCT_BYTES = 48, // sizeof(struct malloc_chunk): mtrim() leaves that much alone
	HW_MINSIZE = 32,
};

// Categories of one arena: a table by category that is cleared by the list of those that occur.
struct hw_pin_scan {
	const struct hw_heap *heap;
	const struct hw_residency *residency;
	struct hw_pins *pins;
	size_t hint;                   // of hw_residency_add()
	struct hw_holder *arena, *all; // by category
	HW_VEC(uint32_t) seen;         // categories in `arena`
	struct hw_pinned *row;
	bool out_of_memory;
};

static uint64_t hw_pin_resident(struct hw_pin_scan *scan, hw_addr_t start, hw_addr_t end)
{
	struct hw_page_sums sums = { 0 };
	if (start < end)
		hw_residency_add(scan->residency, &scan->hint, start, end, &sums);
	return sums.resident_bytes;
}

// ---- pymalloc ----

static bool hw_pin_block(void *payload, const struct hw_row *row)
{
	struct hw_pin_scan *scan = payload;
	const struct hw_category *category = hw_heap_category(scan->heap, row->category);
	if (category->state == HW_STATE_FREE) {
		scan->row->free_bytes += row->size_bytes;
		scan->row->free_resident_bytes += hw_pin_resident(scan, row->start,
								  row->start + row->size_bytes);
	}
	if (category->state != HW_STATE_IN_USE)
		return true;
	struct hw_holder *holder = &scan->arena[row->category];
	if (!holder->count && !hw_vec_push(&scan->seen, row->category)) {
		scan->out_of_memory = true;
		return false;
	}
	holder->count++;
	holder->bytes += row->size_bytes;
	return true;
}

// What the arena's categories are for its row, and for the table of all; clears them.
static void hw_pin_settle_arena(struct hw_pin_scan *scan, bool is_mostly_free)
{
	struct hw_pinned *row = scan->row;
	hw_vec_foreach(id, &scan->seen)
	{
		struct hw_holder *holder = &scan->arena[*id];
		if (holder->bytes > row->pin_bytes) {
			row->pin_category = *id;
			row->pin_count = holder->count;
			row->pin_bytes = holder->bytes;
		}
		if (is_mostly_free) {
			scan->all[*id].count += holder->count;
			scan->all[*id].bytes += holder->bytes;
			scan->all[*id].arenas++;
			scan->all[*id].alone += scan->seen.count == 1;
		}
		*holder = (struct hw_holder){ 0 };
	}
	scan->seen.count = 0;
}

static bool hw_pin_arena(struct hw_pin_scan *scan, const struct hw_pymalloc *pymalloc,
			 const struct hw_arena *arena)
{
	struct hw_pinned row = {
		.allocator = HW_ALLOCATOR_PYMALLOC,
		.start = arena->start,
		.end = arena->start + pymalloc->arena_bytes,
		.arena = arena->interpreter,
	};
	scan->row = &row;
	hw_heap_visit(scan->heap, row.start, row.end, hw_pin_block, scan);
	if (scan->out_of_memory)
		return false;
	hw_vec_foreach(id, &scan->seen)
	{
		row.used_count += scan->arena[*id].count;
		row.used_bytes += scan->arena[*id].bytes;
	}
	row.freed_resident_bytes = hw_pin_resident(scan, row.start, row.end);
	bool is_mostly_free = row.free_bytes >= pymalloc->arena_bytes / 2;
	hw_pin_settle_arena(scan, is_mostly_free);
	if (is_mostly_free) {
		scan->pins->mostly_free_arenas++;
		scan->pins->mostly_free_resident_bytes += row.freed_resident_bytes;
		scan->pins->mostly_free_used_bytes += row.used_bytes;
	}
	return !row.free_bytes || hw_vec_push(&scan->pins->list, row);
}

static bool hw_pin_holders(struct hw_pin_scan *scan)
{
	uint32_t count = hw_heap_category_count(scan->heap);
	for (uint32_t id = 0; id < count; id++) {
		scan->all[id].category = id;
		if (scan->all[id].count && !hw_vec_push(&scan->pins->holders, scan->all[id]))
			return false;
	}
	return true;
}

// ---- malloc ----

static uint32_t hw_chunk_state_at(const struct hw_region *region, uint32_t i)
{
	return HW_SLOT_CATEGORY(region->state[i]);
}

// Free chunks that malloc has merged with their neighbours.
static bool hw_is_binned(uint32_t state)
{
	return state >= HW_CHUNK_UNSORTED && state <= HW_CHUNK_FREE;
}

// The chunk that holds what is free below it. region->count: nothing does.
static uint32_t hw_find_pin(const struct hw_region *region)
{
	uint32_t i = region->count;
	while (i > 0) {
		uint32_t state = hw_chunk_state_at(region, i - 1);
		if (state != HW_CHUNK_TOP && state != HW_CHUNK_FENCE && !hw_is_binned(state))
			break;
		i--;
	}
	return i && hw_chunk_state_at(region, i - 1) != HW_CHUNK_ARENA ? i - 1 : region->count;
}

// What malloc_trim(0) makes of a chunk: whole pages inside a free one; of the main arena's top all
// pages but what malloc wants to keep.
static uint64_t hw_trim_chunk(struct hw_pin_scan *scan, const struct hw_region *region, uint32_t i)
{
	hw_addr_t start = hw_region_chunk_start(region, i), end = hw_region_chunk_end(region, i);
	uint32_t state = hw_chunk_state_at(region, i);
	const uint64_t page = scan->residency->page_bytes;
	if (state == HW_CHUNK_TOP && region->kind == HW_REGION_MAIN && end - start > HW_MINSIZE)
		return hw_pin_resident(
			scan, end - hw_align_down(end - start - HW_MINSIZE - 1, page), end);
	if (!hw_is_binned(state) || end - start < page + HW_CHUNK_STRUCT_BYTES)
		return 0;
	return hw_pin_resident(scan, hw_align_up(start + HW_CHUNK_STRUCT_BYTES, page),
			       hw_align_down(end, page));
}

static bool hw_pin_region(struct hw_pin_scan *scan, const struct hw_region *region)
{
	uint32_t pin = hw_find_pin(region);
	struct hw_pinned row = {
		.allocator = HW_ALLOCATOR_GLIBC,
		.start = region->start,
		.end = region->end,
		.arena = region->arena_index,
	};
	hw_addr_t run = 0; // where the free run begins that the pin ends
	for (uint32_t i = 0; i < region->count; i++) {
		hw_addr_t start = hw_region_chunk_start(region, i);
		uint64_t size = hw_region_chunk_end(region, i) - start;
		uint32_t state = hw_chunk_state_at(region, i);
		bool is_free = hw_heap_category(scan->heap, state)->state == HW_STATE_FREE;
		row.trim_resident_bytes += hw_trim_chunk(scan, region, i);
		if (pin == region->count || i >= pin)
			continue;
		run = !hw_is_binned(state) ? 0 : run ? run : start;
		if (is_free) {
			row.free_bytes += size;
			row.free_resident_bytes += hw_pin_resident(scan, start, start + size);
		} else {
			row.used_count++;
			row.used_bytes += size;
		}
	}
	scan->pins->trim_resident_bytes += row.trim_resident_bytes;
	if (!row.free_bytes)
		return true;
	row.pin_start = hw_region_chunk_start(region, pin);
	row.pin_category = hw_chunk_state_at(region, pin);
	row.pin_count = 1;
	row.pin_bytes = hw_region_chunk_end(region, pin) - row.pin_start;
	row.freed_resident_bytes = hw_pin_resident(
		scan, hw_align_up(run ? run : row.pin_start, scan->residency->page_bytes),
		row.pin_start + row.pin_bytes);
	return hw_vec_push(&scan->pins->list, row);
}

// ---- both ----

static struct hw_error *hw_pins_scan(struct hw_pin_scan *scan, const struct hw_pymalloc *pymalloc,
				     const struct hw_glibc *glibc, struct hw_progress *progress)
{
	hw_vec_foreach(arena, &pymalloc->arenas)
	{
		if (hw_progress_poll(progress))
			return NULL;
		if (!hw_pin_arena(scan, pymalloc, arena))
			return &hw_enomem;
	}
	scan->hint = 0;
	hw_vec_foreach(region, &glibc->regions)
	{
		if (hw_progress_poll(progress))
			return NULL;
		if (region->kind != HW_REGION_MMAPPED && !hw_pin_region(scan, region))
			return &hw_enomem;
	}
	return hw_pin_holders(scan) ? NULL : &hw_enomem;
}

struct hw_error *hw_pins_make(const struct hw_heap *heap, const struct hw_pymalloc *pymalloc,
			      const struct hw_glibc *glibc, const struct hw_residency *residency,
			      struct hw_progress *progress, struct hw_pins *ret)
{
	struct hw_pins pins = { .knows_resident = residency->source != HW_RESIDENCY_NONE };
	uint32_t count = hw_heap_category_count(heap);
	hw_cleanup_free struct hw_holder *arena = calloc(count + 1, sizeof(*arena));
	hw_cleanup_free struct hw_holder *all = calloc(count + 1, sizeof(*all));
	struct hw_pin_scan scan = {
		.heap = heap, .residency = residency, .pins = &pins, .arena = arena, .all = all
	};
	struct hw_error *err = arena && all ? hw_pins_scan(&scan, pymalloc, glibc, progress)
					    : &hw_enomem;
	hw_vec_deinit(&scan.seen);
	if (err)
		hw_pins_deinit(&pins);
	else
		*ret = pins;
	return err;
}

void hw_pins_deinit(struct hw_pins *pins)
{
	hw_vec_deinit(&pins->list);
	hw_vec_deinit(&pins->holders);
}
