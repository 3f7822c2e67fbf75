/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The sums: count and bytes by category, and the proof that the rows are the mappings. Blocks are
// counted on several threads; each has sums of its own.
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parallel.h"
#include "heap/heap_internal.h"

enum { HW_POOLS_A_PIECE = 64, HW_CHUNKS_A_PIECE = 1 << 16 };

// One thread's sums.
struct hw_counter {
	struct hw_census_row *rows; // by category id; owned
	// The same for every other chunk: neighbours are of one kind often, and a sum is slow to add to while the
	// last addition is on its way to memory.
	struct hw_census_row *odd_rows;
	// Blocks of one size class by category id: the size is multiplied in when the next one begins.
	uint32_t *blocks; // owned
	uint32_t class;
	uint32_t category_count;
};

struct hw_count_work {
	const struct hw_heap *heap;
	uint32_t *pools; // indices of the pools that have blocks, by size class; owned
	size_t pool_count;
	struct hw_counter *counters; // one a thread; owned
	unsigned threads;
	_Atomic size_t next_pool, next_piece, next_span;
};

static void hw_count_work_deinit(struct hw_count_work *work)
{
	for (unsigned i = 0; work->counters && i < work->threads; i++) {
		free(work->counters[i].rows);
		free(work->counters[i].blocks);
	}
	free(work->counters);
	free(work->pools);
}

static struct hw_error *hw_count_work_init(struct hw_count_work *work)
{
	const struct hw_heap *heap = work->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	uint32_t categories = hw_heap_category_count(heap);
	size_t first[HW_PYMALLOC_SIZE_CLASSES_MAX + 1] = { 0 };
	work->pools = malloc((pm->pools.count + 1) * sizeof(*work->pools));
	work->counters = calloc(work->threads, sizeof(*work->counters));
	if (!work->pools || !work->counters)
		return &hw_enomem;
	for (unsigned i = 0; i < work->threads; i++) {
		struct hw_counter *counter = &work->counters[i];
		counter->rows = calloc(2 * (size_t)categories, sizeof(*counter->rows));
		counter->blocks = calloc(categories, sizeof(*counter->blocks));
		counter->category_count = categories;
		if (!counter->rows || !counter->blocks)
			return &hw_enomem;
		counter->odd_rows = counter->rows + categories;
	}
	hw_vec_foreach(pool, &pm->pools) if (!pool->is_empty && !pool->is_bad)
		first[pool->szidx + 1]++;
	for (size_t class = 0; class < HW_PYMALLOC_SIZE_CLASSES_MAX; class ++)
		first[class + 1] += first[class];
	work->pool_count = first[HW_PYMALLOC_SIZE_CLASSES_MAX];
	hw_vec_foreach(pool, &pm->pools) if (!pool->is_empty && !pool->is_bad)
		work->pools[first[pool->szidx]++] = (uint32_t)(pool - pm->pools.data);
	return NULL;
}

static inline void hw_count_row_add(struct hw_census_row *row, uint64_t count, uint64_t bytes)
{
	row->count += count;
	row->bytes += bytes;
}

static void hw_count(struct hw_counter *counter, uint32_t slot, uint64_t count, uint64_t bytes)
{
	hw_count_row_add(&counter->rows[HW_SLOT_CATEGORY(slot)], count, bytes);
}

// What an arena has beside blocks.
static void hw_count_arena(const struct hw_heap *heap, const struct hw_stretch *span,
			   struct hw_counter *counter)
{
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	const struct hw_arena *arena = &pm->arenas.data[span->index];
	uint64_t arena_end = arena->start + pm->arena_bytes;
	if (arena->is_missing) {
		hw_count(counter, HW_CATEGORY_MISSING, 1, pm->arena_bytes);
		return;
	}
	for (uint32_t i = 0; i < arena->pool_count; i++) {
		const struct hw_pool *pool = &pm->pools.data[arena->pool_first + i];
		if (pool->is_empty || pool->is_bad) {
			hw_count(counter,
				 pool->is_bad ? HW_CATEGORY_POOL_BAD : HW_CATEGORY_POOL_FREED, 1,
				 pm->pool_bytes);
			continue;
		}
		uint32_t size = hw_pool_block_bytes(pm, pool);
		uint64_t tail = pm->pool_bytes - pm->header_bytes - (uint64_t)pool->capacity * size;
		hw_count(counter, HW_CATEGORY_POOL_HEADER, 1, pm->header_bytes);
		if (tail)
			hw_count(counter, HW_CATEGORY_ALIGNMENT_POOL, 1, tail);
	}
	uint64_t pools_end = arena->first_pool + (uint64_t)arena->pools_total * pm->pool_bytes;
	uint64_t carved_end = arena->first_pool + (uint64_t)arena->pool_count * pm->pool_bytes;
	if (arena->first_pool > arena->start)
		hw_count(counter, HW_CATEGORY_ALIGNMENT_ARENA, 1, arena->first_pool - arena->start);
	if (pools_end > carved_end)
		hw_count(counter, HW_CATEGORY_POOL_NEVER_USED, 1, pools_end - carved_end);
	if (arena_end > pools_end)
		hw_count(counter, HW_CATEGORY_ALIGNMENT_ARENA, 1, arena_end - pools_end);
}

static void hw_count_class(const struct hw_pymalloc *pm, struct hw_counter *counter)
{
	uint64_t size = (counter->class + 1ull) * pm->alignment;
	for (uint32_t id = 0; id < counter->category_count; id++) {
		if (!counter->blocks[id])
			continue;
		hw_count(counter, id, counter->blocks[id], counter->blocks[id] * size);
		counter->blocks[id] = 0;
	}
}

// One size class after the other: a block costs one increment.
static void hw_count_pools(struct hw_count_work *work, struct hw_counter *counter)
{
	const struct hw_heap *heap = work->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	size_t from;
	while ((from = atomic_fetch_add(&work->next_pool, HW_POOLS_A_PIECE)) < work->pool_count) {
		size_t to = hw_min(from + HW_POOLS_A_PIECE, work->pool_count);
		for (size_t i = from; i < to; i++) {
			const struct hw_pool *pool = &pm->pools.data[work->pools[i]];
			const uint32_t *slots = hw_pool_slots_of(heap->pool_slots, pool);
			if (pool->szidx != counter->class) {
				hw_count_class(pm, counter);
				counter->class = pool->szidx;
			}
			for (uint32_t k = 0; k < pool->capacity; k++)
				counter->blocks[HW_SLOT_CATEGORY(slots[k])]++;
		}
	}
	hw_count_class(pm, counter);
}

static void hw_count_slot_block(const struct hw_heap *heap, hw_addr_t chunk,
				struct hw_counter *counter)
{
	bool is_continued = true;
	while (is_continued) {
		const struct hw_slot_block *block = hw_heap_slot_block_at(heap, chunk);
		if (!block)
			return;
		for (uint32_t i = 0; i < block->count; i++)
			hw_count(counter, heap->slot_categories.data[block->slots + i], 1,
				 block->slot_bytes);
		uint64_t end = block->first + (uint64_t)block->count * block->slot_bytes;
		if (block->first > block->chunk)
			hw_count(counter, block->header, 1, block->first - block->chunk);
		if (block->chunk_end > end)
			hw_count(counter, block->padding, 1, block->chunk_end - end);
		else if (block->count) // the last one's end is in the next chunk's row
			counter->rows[HW_SLOT_CATEGORY(
					      heap->slot_categories
						      .data[block->slots + block->count - 1])]
				.bytes -= end - block->chunk_end;
		chunk = block->chunk_end;
		is_continued = block->is_continued;
	}
}

static void hw_count_chunks(const struct hw_heap *heap, const struct hw_region *region,
			    uint32_t from, uint32_t to, struct hw_counter *counter)
{
	struct hw_census_row *rows = counter->rows, *others = counter->odd_rows;
	hw_addr_t end = hw_region_chunk_start(region, from);
	for (uint32_t i = from; i < to; i++) {
		const hw_addr_t start = end;
		const uint32_t id = HW_SLOT_CATEGORY(region->state[i]);
		end = hw_region_chunk_end(region, i);
		if (id == HW_CATEGORY_SLOT_HEADER)
			hw_count_slot_block(heap, start, counter);
		else
			hw_count_row_add(&rows[id], 1, end - start);
		struct hw_census_row *swap = rows;
		rows = others;
		others = swap;
	}
}

// Pieces are numbered through all regions.
static void hw_count_regions(struct hw_count_work *work, struct hw_counter *counter)
{
	size_t piece = atomic_fetch_add(&work->next_piece, 1), before = 0;
	hw_vec_foreach(span, &work->heap->spans)
	{
		if (span->kind != HW_STRETCH_REGION)
			continue;
		const struct hw_region *region = &work->heap->in.glibc->regions.data[span->index];
		size_t pieces = (region->count + HW_CHUNKS_A_PIECE - 1ull) / HW_CHUNKS_A_PIECE;
		for (; piece < before + pieces; piece = atomic_fetch_add(&work->next_piece, 1)) {
			uint64_t from = (piece - before) * HW_CHUNKS_A_PIECE;
			uint64_t to = hw_min(from + HW_CHUNKS_A_PIECE, region->count);
			hw_count_chunks(work->heap, region, (uint32_t)from, (uint32_t)to, counter);
		}
		before += pieces;
	}
}

static bool hw_count_row(void *payload, const struct hw_row *row)
{
	hw_count(payload, row->category, 1, row->size_bytes);
	return true;
}

// A segment at a time, row by row.
static void hw_count_segments(struct hw_count_work *work, struct hw_counter *counter)
{
	struct hw_row_visit v = {
		.heap = work->heap, .to = UINT64_MAX, .visit = hw_count_row, .payload = counter
	};
	size_t i;
	while ((i = atomic_fetch_add(&work->next_span, 1)) < work->heap->spans.count) {
		const struct hw_stretch *span = &work->heap->spans.data[i];
		if (span->kind == HW_STRETCH_SEGMENT)
			hw_heap_emit_segment(&v, span);
	}
}

static void hw_count_run(void *payload, unsigned worker)
{
	struct hw_count_work *work = payload;
	hw_count_pools(work, &work->counters[worker]);
	hw_count_regions(work, &work->counters[worker]);
	hw_count_segments(work, &work->counters[worker]);
}

// All threads' sums into the first's.
static struct hw_counter *hw_count_work_sum(struct hw_count_work *work)
{
	struct hw_counter *sum = &work->counters[0];
	for (unsigned i = 0; i < work->threads; i++)
		for (uint32_t id = 0; id < sum->category_count; id++) {
			const struct hw_census_row *row = &work->counters[i].rows[id];
			const struct hw_census_row *odd = &work->counters[i].odd_rows[id];
			hw_count(sum, id, odd->count, odd->bytes);
			if (i)
				hw_count(sum, id, row->count, row->bytes);
		}
	return sum;
}

// How many bytes of [start, end) the target does not have: from hole to hole, for a forged mapping has
// any size.
static uint64_t hw_missing_bytes(struct hw_target *target, hw_addr_t start, hw_addr_t end)
{
	uint64_t missing = 0;
	for (hw_addr_t at = start, readable_end; at < end; at = readable_end) {
		hw_addr_t next = target->ops->next_readable(target, at, &readable_end);
		missing += hw_min(next, end) - at;
	}
	return missing;
}

// Bytes of the heap's own mappings that the core does not have.
static void hw_heap_count_coverage(struct hw_heap *heap)
{
	struct hw_target *target = heap->in.target;
	hw_vec_foreach(m, &target->mappings)
	{
		if (!hw_mapping_is_private_writable(m) || hw_mapping_is_file(m) ||
		    !strcmp(m->path, "[stack]"))
			continue;
		heap->ledger.heap_bytes += m->end - m->start;
		if (target->ops->next_readable)
			heap->ledger.missing_bytes += hw_missing_bytes(target, m->start, m->end);
	}
}

static bool hw_heap_take_rows(struct hw_heap *heap, const struct hw_counter *counter,
			      uint64_t *ret_bytes)
{
	struct hw_ledger *ledger = &heap->ledger;
	*ret_bytes = 0;
	for (uint32_t id = 0; id < counter->category_count; id++) {
		struct hw_census_row *row = &counter->rows[id];
		if (!row->count)
			continue;
		row->category = id;
		if (!hw_vec_push(&heap->census, *row))
			return false;
		*ret_bytes += row->bytes;
		switch (hw_heap_category(heap, id)->state) {
		case HW_STATE_IN_USE:
			ledger->in_use_bytes += row->bytes;
			ledger->in_use_count += row->count;
			break;
		case HW_STATE_FREE:
			ledger->free_bytes += row->bytes;
			break;
		case HW_STATE_OVERHEAD:
			ledger->overhead_bytes += row->bytes;
			break;
		default:
			ledger->unknown_bytes += row->bytes;
			break;
		}
	}
	return true;
}

// The file for want of which blocks of this category can't be told, or not what they own; NULL: none.
static const char *hw_category_absent_file(const struct hw_heap *heap,
					   const struct hw_category *category)
{
	char name[4096];
	const struct hw_type *type = category->type ? heap->types.all.data[category->type - 1]
						    : NULL;
	for (; type; type = type->base)
		if (type->absent_file)
			return type->absent_file;
	hw_vec_foreach(absence, &heap->absences.list)
	{
		hw_absent_name(name, sizeof(name), "unknown class", absence->path);
		if (!category->type && !strcmp(category->kind, name))
			return absence->path;
	}
	return NULL;
}

static int hw_absence_order(const void *a, const void *b)
{
	const struct hw_absence *x = a, *y = b;
	return strcmp(x->path, y->path);
}

// How much hangs on each file that is not at hand.
static void hw_heap_count_absences(struct hw_heap *heap)
{
	hw_vec_foreach(row, &heap->census)
	{
		const char *path = hw_category_absent_file(heap,
							   hw_heap_category(heap, row->category));
		if (path)
			hw_absences_add(&heap->absences, path, row->count, row->bytes);
	}
	if (heap->absences.list.count)
		qsort(heap->absences.list.data, heap->absences.list.count,
		      sizeof(*heap->absences.list.data), hw_absence_order);
	hw_vec_foreach(absence, &heap->absences.list) hw_issues_add(
		heap->in.issues, HW_ERROR_NOT_FOUND, 0,
		"%s is not at hand, or is another build than the one that was mapped, and the "
		"target lacks what is in it: %llu blocks of %llu bytes are known to hang on it",
		absence->path, (unsigned long long)absence->block_count,
		(unsigned long long)absence->bytes);
}

struct hw_error *hw_heap_count(struct hw_heap *heap)
{
	hw_cleanup_with(hw_count_work_deinit) struct hw_count_work work = {
		.heap = heap,
		.threads = (unsigned)hw_min(hw_max(heap->in.threads, 1), HW_PARALLEL_MAX),
	};
	HW_TRY(hw_count_work_init(&work));
	hw_parallel(work.threads, hw_count_run, &work);
	struct hw_counter *counter = hw_count_work_sum(&work);
	uint64_t spans_bytes = 0, rows_bytes;
	hw_vec_foreach(span, &heap->spans)
	{
		spans_bytes += span->end - span->start;
		if (span->kind == HW_STRETCH_ARENA)
			hw_count_arena(heap, span, counter);
		else if (span->kind == HW_STRETCH_PLAIN || span->kind == HW_STRETCH_AREA)
			hw_count(counter, span->index, 1, span->end - span->start);
	}
	if (!hw_heap_take_rows(heap, counter, &rows_bytes))
		return &hw_enomem;
	hw_heap_count_coverage(heap);
	hw_heap_count_absences(heap);
	if (spans_bytes != heap->ledger.mapped_bytes || rows_bytes != heap->ledger.mapped_bytes)
		hw_issues_add(heap->in.issues, HW_ERROR_INVARIANT, 0,
			      "private writable mappings have %llu bytes, the spans of the table "
			      "%llu, its rows %llu",
			      (unsigned long long)heap->ledger.mapped_bytes,
			      (unsigned long long)spans_bytes, (unsigned long long)rows_bytes);
	return NULL;
}
