/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The ledger: private writable mappings cut into spans, without gap or overlap. What no allocator
// claims is named by its mapping: a stack, a file's data; the rest is unknown, and shown as that.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "heap/heap_internal.h"

static int hw_stretch_order(const void *a, const void *b)
{
	const struct hw_stretch *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->kind > y->kind) - (x->kind < y->kind);
}

typedef HW_VEC(struct hw_stretch) hw_stretch_vec;

// Everything that an allocator or the interpreter claims, sorted.
static bool hw_heap_claimed_spans(struct hw_heap *heap, hw_stretch_vec *spans)
{
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	const struct hw_glibc *glibc = heap->in.glibc;
	for (uint32_t i = 0; i < pm->arenas.count; i++) {
		hw_addr_t start = pm->arenas.data[i].start;
		if (!hw_vec_push(spans, ((struct hw_stretch){ start, start + pm->arena_bytes,
							      HW_STRETCH_ARENA, i })))
			return false;
	}
	for (uint32_t i = 0; i < glibc->regions.count; i++) {
		const struct hw_region *region = &glibc->regions.data[i];
		if (!hw_vec_push(spans, ((struct hw_stretch){ region->start, region->end,
							      HW_STRETCH_REGION, i })))
			return false;
	}
	hw_vec_foreach(chunk, &heap->stack_chunks)
	{
		uint32_t id = hw_category_of_claim(&heap->categories, HW_CLAIM_STACK_CHUNK, "");
		if (!hw_vec_push(spans, ((struct hw_stretch){ chunk->start, chunk->end,
							      HW_STRETCH_PLAIN, id })))
			return false;
	}
	if (spans->count)
		qsort(spans->data, spans->count, sizeof(spans->data[0]), hw_stretch_order);
	// An allocator's own walk proves more than a chunk's say about its size.
	for (size_t i = 0; i + 1 < spans->count; i++)
		if (spans->data[i].kind == HW_STRETCH_PLAIN)
			spans->data[i].end = hw_min(spans->data[i].end, spans->data[i + 1].start);
	return true;
}

static const char *hw_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static uint32_t hw_file_category(struct hw_heap *heap, const char *path, const char *section)
{
	return hw_category_intern(&heap->categories,
				  &(struct hw_category){ .domain = "file",
							 .kind = hw_base_name(path),
							 .detail = section,
							 .state = HW_STATE_IN_USE,
							 .state_word = "in use" },
				  HW_CLAIM_KIND_COUNT);
}

static bool hw_mapping_is_file(const struct hw_mapping *m)
{
	return m->path[0] == '/';
}

static bool hw_heap_has_stack(const struct hw_heap *heap, hw_addr_t start, hw_addr_t end)
{
	const struct hw_target *target = heap->in.target;
	for (size_t i = 0; i < target->threads.count; i++)
		if (target->threads.data[i].sp >= start && target->threads.data[i].sp < end)
			return true;
	return false;
}

// Add [start, end) of mapping `m`, which nobody claims; `data` is the file mapping that ends where m
// starts, NULL when there is none.
static bool hw_heap_add_plain(struct hw_heap *heap, const struct hw_mapping *m,
			      const struct hw_mapping *data, hw_addr_t start, hw_addr_t end)
{
	uint32_t id = HW_CATEGORY_ANONYMOUS;
	if (hw_mapping_is_file(m)) {
		id = hw_file_category(heap, m->path, "data");
	} else if (!strcmp(m->path, "[stack]")) {
		id = HW_CATEGORY_STACK;
	} else if (hw_heap_has_stack(heap, m->start, m->end) && start == m->start) {
		id = HW_CATEGORY_THREAD_STACK;
	} else if (data && start == m->start) {
		hw_addr_t bss;
		uint64_t bytes;
		struct hw_module *module = hw_modules_at(heap->in.modules, data->start);
		if (module && hw_module_section(module, ".bss", &bss, &bytes) &&
		    bss + bytes > start && bss < end) {
			hw_addr_t bss_end = hw_min(hw_align_up(bss + bytes, HW_PAGE_BYTES), end);
			id = hw_file_category(heap, data->path, "bss");
			if (bss_end < end) {
				if (!hw_vec_push(&heap->spans,
						 ((struct hw_stretch){ start, bss_end,
								       HW_STRETCH_PLAIN, id })))
					return false;
				start = bss_end;
				id = HW_CATEGORY_ANONYMOUS;
			}
		}
	}
	return hw_vec_push(&heap->spans, ((struct hw_stretch){ start, end, HW_STRETCH_PLAIN, id }));
}

struct hw_error *hw_heap_build_spans(struct hw_heap *heap)
{
	hw_stretch_vec claimed = { 0 };
	const struct hw_target *target = heap->in.target;
	struct hw_issues *issues = heap->in.issues;
	bool ok = hw_heap_claimed_spans(heap, &claimed);
	size_t next = 0;
	hw_addr_t done = 0; // everything below is settled
	const struct hw_mapping *before = NULL;
	for (size_t i = 0; ok && i < target->mappings.count; i++) {
		const struct hw_mapping *m = &target->mappings.data[i];
		const struct hw_mapping *data = before && before->end == m->start &&
								hw_mapping_is_file(before)
							? before
							: NULL;
		before = m;
		if (!hw_mapping_is_private_writable(m))
			continue;
		heap->ledger.mapped_bytes += m->end - m->start;
		hw_addr_t at = hw_max(m->start, done);
		while (ok && at < m->end) {
			while (next < claimed.count && claimed.data[next].start < at) {
				const struct hw_stretch *lost = &claimed.data[next++];
				hw_issues_add(issues, HW_ERROR_INVARIANT, lost->start,
					      "span %#llx-%#llx: overlaps another one, or is in no "
					      "private writable mapping",
					      (unsigned long long)lost->start,
					      (unsigned long long)lost->end);
			}
			hw_addr_t gap_end = m->end;
			if (next < claimed.count && claimed.data[next].start < m->end)
				gap_end = claimed.data[next].start;
			if (gap_end > at)
				ok = hw_heap_add_plain(heap, m, data, at, gap_end);
			at = gap_end;
			if (at < m->end && ok) {
				ok = hw_vec_push(&heap->spans, claimed.data[next]);
				at = done = claimed.data[next].end;
				next++;
			}
		}
	}
	hw_vec_deinit(&claimed);
	return ok ? NULL : &hw_enomem;
}

// ---- counting ----------------------------------------------------------------------------------

struct hw_counter {
	struct hw_census_row *rows; // by category id
	// Blocks of the pools under way by category id: their size is multiplied in afterwards.
	uint32_t *blocks;
	uint32_t category_count;
};

static void hw_count(struct hw_counter *counter, uint32_t slot, uint64_t count, uint64_t bytes)
{
	struct hw_census_row *row = &counter->rows[HW_SLOT_CATEGORY(slot)];
	row->count += count;
	row->bytes += bytes;
}

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
		uint64_t tail = pm->pool_bytes - HW_POOL_HEADER_BYTES -
				(uint64_t)pool->capacity * size;
		hw_count(counter, HW_CATEGORY_POOL_HEADER, 1, HW_POOL_HEADER_BYTES);
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

// All blocks of all pools, one size class after the other: a block costs one increment.
static void hw_count_blocks(const struct hw_heap *heap, struct hw_counter *counter)
{
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	for (uint32_t class = 0; class < pm->size_class_count; class ++) {
		uint64_t size = 0;
		for (size_t i = 0; i < pm->pools.count; i++) {
			const struct hw_pool *pool = &pm->pools.data[i];
			if (pool->szidx != class || pool->is_empty || pool->is_bad)
				continue;
			size = hw_pool_block_bytes(pm, pool);
			const uint32_t *slots = &heap->pool_slots[heap->pool_first_slot[i]];
			for (uint32_t k = 0; k < pool->capacity; k++)
				counter->blocks[HW_SLOT_CATEGORY(slots[k])]++;
		}
		for (uint32_t id = 0; size && id < counter->category_count; id++) {
			hw_count(counter, id, counter->blocks[id], counter->blocks[id] * size);
			counter->blocks[id] = 0;
		}
	}
}

static void hw_count_slot_block(const struct hw_heap *heap, hw_addr_t chunk,
				struct hw_counter *counter)
{
	const struct hw_slot_block *block = hw_heap_slot_block_at(heap, chunk);
	if (!block)
		return;
	for (uint32_t i = 0; i < block->count; i++)
		hw_count(counter, heap->slot_categories.data[block->slots + i], 1,
			 block->slot_bytes);
	uint64_t end = block->first + (uint64_t)block->count * block->slot_bytes;
	hw_count(counter, HW_CATEGORY_SLOT_HEADER, 1, block->first - block->chunk);
	if (block->chunk_end > end)
		hw_count(counter, HW_CATEGORY_SLOT_PADDING, 1, block->chunk_end - end);
}

static void hw_count_region(const struct hw_heap *heap, const struct hw_stretch *span,
			    struct hw_counter *counter)
{
	const struct hw_region *region = &heap->in.glibc->regions.data[span->index];
	for (uint32_t i = 0; i < region->count; i++) {
		hw_addr_t start = hw_region_chunk_start(region, i);
		if (HW_SLOT_CATEGORY(region->state[i]) == HW_CATEGORY_SLOT_HEADER)
			hw_count_slot_block(heap, start, counter);
		else
			hw_count(counter, region->state[i], 1,
				 hw_region_chunk_end(region, i) - start);
	}
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

struct hw_error *hw_heap_count(struct hw_heap *heap)
{
	uint32_t count = hw_heap_category_count(heap);
	struct hw_counter counter = { calloc(count, sizeof(*counter.rows)),
				      calloc(count, sizeof(*counter.blocks)), count };
	if (!counter.rows || !counter.blocks) {
		free(counter.rows);
		free(counter.blocks);
		return &hw_enomem;
	}
	hw_count_blocks(heap, &counter);
	uint64_t spans_bytes = 0;
	hw_vec_foreach(span, &heap->spans)
	{
		spans_bytes += span->end - span->start;
		if (span->kind == HW_STRETCH_ARENA)
			hw_count_arena(heap, span, &counter);
		else if (span->kind == HW_STRETCH_REGION)
			hw_count_region(heap, span, &counter);
		else
			hw_count(&counter, span->index, 1, span->end - span->start);
	}
	struct hw_ledger *ledger = &heap->ledger;
	uint64_t rows_bytes = 0;
	bool ok = true;
	for (uint32_t id = 0; id < count && ok; id++) {
		struct hw_census_row *row = &counter.rows[id];
		if (!row->count)
			continue;
		row->category = id;
		ok = hw_vec_push(&heap->census, *row);
		rows_bytes += row->bytes;
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
	free(counter.rows);
	free(counter.blocks);
	hw_heap_count_coverage(heap);
	if (spans_bytes != ledger->mapped_bytes || rows_bytes != ledger->mapped_bytes)
		hw_issues_add(heap->in.issues, HW_ERROR_INVARIANT, 0,
			      "private writable mappings have %llu bytes, the spans of the table "
			      "%llu, its rows %llu",
			      (unsigned long long)ledger->mapped_bytes,
			      (unsigned long long)spans_bytes, (unsigned long long)rows_bytes);
	return ok ? NULL : &hw_enomem;
}
