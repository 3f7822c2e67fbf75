/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The pass over all blocks: free ones from the allocator's lists, the others by what is in them. Work
// is split by arenas and by stretches of malloc's regions; each block is looked at once, out of a
// window that stays in cache.
#include <string.h>

#include "base/bytes.h"
#include "base/parallel.h"
#include "heap/heap_internal.h"

enum {
	// Far more than a heap has blocks in deques and ordered dicts; seconds, when a forged one has them.
	HW_WORKER_LINKS_MAX = 1 << 27,
	HW_NATIVE_LINKS_MIN = 1 << 12, // of libraries whose blocks are not malloc's
};

struct hw_scan {
	struct hw_heap *heap;
	hw_items items;
	struct hw_worker *workers; // one a thread
	_Atomic size_t next;
};

// A library's lists are of malloc's blocks or of parts of them, of some words each. A forged ring has no end, and
// each turn of it may be a claim that is kept: it has no more links than the heap has room for.
static uint64_t hw_native_links(const struct hw_heap *heap)
{
	uint64_t bytes = 0;
	hw_vec_foreach(region, &heap->in.glibc->regions) bytes += region->end - region->start;
	return hw_min(bytes / 8 + HW_NATIVE_LINKS_MIN, HW_WORKER_LINKS_MAX);
}

struct hw_error *hw_worker_init(struct hw_worker *worker, struct hw_heap *heap)
{
	memset(worker, 0, sizeof(*worker));
	worker->heap = heap;
	hw_window_init(&worker->window, heap->in.target);
	hw_pages_init(&worker->pages, heap->in.target);
	worker->prover = &heap->prover;
	worker->cache.types = &heap->types;
	worker->cache.pages = &worker->pages;
	worker->cache.pymalloc = hw_heap_word_bytes(heap) == 8 ? heap->in.pymalloc : NULL;
	worker->sink.claim = hw_worker_claim;
	worker->sink.cache = &worker->cache;
	worker->sink.links_left = HW_WORKER_LINKS_MAX;
	hw_worker_native_init(&worker->native, heap, &worker->pages, hw_native_links(heap));
	if (heap->in.mimalloc->segments.count) {
		worker->page_blocks = malloc(HW_MI_BLOCKS_MAX);
		if (!worker->page_blocks)
			return &hw_enomem;
	}
	return NULL;
}

void hw_worker_deinit(struct hw_worker *worker)
{
	hw_window_deinit(&worker->window);
	hw_pages_deinit(&worker->pages);
	hw_vec_deinit(&worker->pending);
	hw_vec_deinit(&worker->native.claims);
	free(worker->page_blocks);
}

void hw_worker_block(struct hw_worker *worker, hw_addr_t user, const uint8_t *bytes, size_t len,
		     uint64_t capacity, uint32_t *slot)
{
	struct hw_heap *heap = worker->heap;
	const struct hw_python_layout *layout = &heap->in.python->layout;
	uint32_t old = hw_slot_load(slot);
	if (old & HW_SLOT_CLAIMED &&
	    !hw_category_entry(&heap->categories, HW_SLOT_CATEGORY(old))->category.type)
		return; // a buffer: no object starts here
	struct hw_object object;
	size_t look = len < HW_OBJECT_LOOK_BYTES ? len : HW_OBJECT_LOOK_BYTES;
	if (!heap->has_python ||
	    !hw_object_prove(worker->prover, &worker->cache, bytes, look, capacity, &object)) {
		if (!old)
			hw_slot_set(slot, hw_worker_classify(worker, user, bytes, len, capacity));
		return;
	}
	if (object.is_dead) {
		hw_slot_set(slot, hw_heap_object_category(heap, object.type,
							  HW_TYPE_CATEGORY_FREE_LISTED));
		return;
	}
	uint32_t id = hw_heap_object_category(heap, object.type, HW_TYPE_CATEGORY_OBJECT);
	uint32_t seen = HW_CATEGORY_NONE;
	if (!__atomic_compare_exchange_n(slot, &seen, id, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		id = HW_SLOT_CATEGORY(seen);
	if (!hw_owners_may_claim(layout, object.type, bytes + object.offset, look - object.offset))
		return;
	// Its tables carry the detail that its owner gave it.
	size_t at = object.offset + (size_t)object.type->buffer_offset;
	if (object.type->buffer_offset != HW_ABSENT && at + layout->word_bytes <= look) {
		hw_addr_t buffer = hw_word(bytes + at, layout->word_bytes);
		if (buffer - user >= capacity) // not inside the object itself
			hw_worker_claim_buffer(worker, buffer, id, object.type->buffer_kind);
		return;
	}
	worker->owner_category = id;
	worker->sink.block = user;
	worker->sink.block_end = user + capacity;
	hw_owners_visit(layout, &object, user, bytes, look, &worker->sink);
}

// ---- pymalloc ----------------------------------------------------------------------------------

static void hw_worker_pool(struct hw_worker *worker, const struct hw_pool *pool,
			   const uint8_t *bytes)
{
	struct hw_heap *heap = worker->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	uint32_t *slots = hw_pool_slots_of(heap->pool_slots, pool);
	uint32_t size = hw_pool_block_bytes(pm, pool);
	uint64_t is_free[HW_POOL_BITMAP_WORDS];
	uint32_t listed;
	hw_pool_mark_free(pm, pool, bytes, heap->in.issues, is_free, &listed);
	uint32_t offset = pm->header_bytes;
	for (uint32_t i = 0; i < pool->capacity; i++, offset += size) {
		if (is_free[i / 64] >> i % 64 & 1)
			__atomic_store_n(&slots[i],
					 offset >= pool->next_offset ? HW_CATEGORY_VIRGIN_BLOCK
								     : HW_CATEGORY_FREED_BLOCK,
					 __ATOMIC_RELAXED);
		else
			hw_worker_block(worker, pool->start + offset, bytes + offset, size, size,
					&slots[i]);
	}
}

// The carved pools' bytes, at once, even where that is more than a window: their headers alone take a live process
// a quarter of the time. NULL: some are missing.
static const uint8_t *hw_worker_see_arena(struct hw_worker *worker, const struct hw_arena *arena)
{
	size_t bytes = (size_t)arena->pool_count * worker->heap->in.pymalloc->pool_bytes;
	if (!bytes)
		return NULL;
	return hw_window_get(&worker->window, arena->first_pool, bytes);
}

static void hw_worker_arena(struct hw_worker *worker, struct hw_arena *arena)
{
	struct hw_heap *heap = worker->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	if (!hw_pool_slots_need_arena(heap->pool_slots, arena, hw_worker_see_arena(worker, arena)))
		return;
	worker->cache.near_start = arena->start;
	worker->cache.near_bytes = worker->cache.pymalloc ? pm->arena_bytes : 0;
	for (uint32_t i = 0; i < arena->pool_count; i++) {
		const struct hw_pool *pool = &pm->pools.data[arena->pool_first + i];
		if (pool->is_empty || pool->is_bad)
			continue;
		const uint8_t *bytes = hw_window_get(&worker->window, pool->start, pm->pool_bytes);
		if (bytes) {
			hw_worker_pool(worker, pool, bytes);
			continue;
		}
		uint32_t *slots = hw_pool_slots_of(heap->pool_slots, pool);
		for (uint32_t k = 0; k < pool->capacity; k++)
			__atomic_store_n(&slots[k], HW_CATEGORY_MISSING, __ATOMIC_RELAXED);
	}
}

// ---- malloc ------------------------------------------------------------------------------------

static void hw_worker_chunk(struct hw_worker *worker, const struct hw_region *region, uint32_t i)
{
	uint32_t *slot = &region->state[i];
	hw_addr_t user;
	const uint64_t capacity = hw_chunk_data(worker->heap, region, i, &user);
	if (!capacity)
		return;
	size_t want = (size_t)hw_min(capacity, HW_BLOCK_LOOK_BYTES), len;
	const uint8_t *bytes = hw_window_get_some(&worker->window, user, want, &len);
	if (!bytes || !len) {
		hw_slot_set(slot, HW_CATEGORY_MISSING);
		return;
	}
	hw_worker_block(worker, user, bytes, len < want ? len : want, capacity, slot);
}

// ---- all of it ---------------------------------------------------------------------------------

static void hw_worker_item(struct hw_worker *worker, const struct hw_item *item)
{
	struct hw_heap *heap = worker->heap;
	if (item->kind == HW_STRETCH_SEGMENT) {
		for (uint32_t i = item->from; i < item->to; i++)
			hw_worker_segment(worker, &heap->in.mimalloc->segments.data[i]);
		return;
	}
	if (item->kind == HW_STRETCH_ARENA) {
		for (uint32_t i = item->from; i < item->to; i++)
			hw_worker_arena(worker, &heap->in.pymalloc->arenas.data[i]);
		return;
	}
	const struct hw_region *region = &heap->in.glibc->regions.data[item->region];
	// Free ones are settled, malloc's own, and most of all where chunks were looked at as they were found.
	for (uint32_t i = item->from; i < item->to; i++)
		if (!hw_slot_is_settled(hw_slot_load(&region->state[i])))
			hw_worker_chunk(worker, region, i);
}

static void hw_scan_run(void *payload, unsigned index)
{
	struct hw_scan *scan = payload;
	struct hw_worker *worker = &scan->workers[index];
	struct hw_progress *progress = scan->heap->in.progress;
	for (;;) {
		size_t i = atomic_fetch_add(&scan->next, 1);
		if (i >= scan->items.count || hw_progress_stopped(progress))
			break;
		hw_worker_item(worker, &scan->items.data[i]);
		atomic_fetch_add(&progress->done, hw_item_bytes(scan->heap, &scan->items.data[i]));
		if (!index && hw_progress_poll(progress))
			break;
	}
}

struct hw_error *hw_heap_scan(struct hw_heap *heap)
{
	struct hw_scan scan = { .heap = heap };
	unsigned count = heap->in.target->ops->is_thread_safe ? heap->in.threads : 1;
	struct hw_error *err = NULL;
	if (!hw_heap_add_items(heap, &scan.items)) {
		hw_vec_deinit(&scan.items);
		return &hw_enomem;
	}
	if (count > HW_PARALLEL_MAX)
		count = HW_PARALLEL_MAX;
	if (!count || scan.items.count < 2)
		count = 1;
	struct hw_worker *workers = calloc(count, sizeof(*workers));
	if (!workers) {
		hw_vec_deinit(&scan.items);
		return &hw_enomem;
	}
	heap->in.progress->what = "blocks";
	heap->in.progress->total = 0;
	atomic_store(&heap->in.progress->done, 0);
	for (size_t i = 0; i < scan.items.count; i++)
		heap->in.progress->total += hw_item_bytes(heap, &scan.items.data[i]);
	scan.workers = workers;
	for (unsigned i = 0; i < count && !err; i++)
		err = hw_worker_init(&workers[i], heap);
	if (!err && heap->has_python) {
		struct hw_symbol symbol;
		// One that every version has whose lists are statics, and no binary exports.
		if (heap->in.python->layout.interned_strings == HW_ABSENT &&
		    !hw_module_symbol(heap->in.python->module, "interned", &symbol))
			hw_statics_find(&workers[0], &heap->statics);
		err = hw_heap_find_slot_blocks(heap, &workers[0]);
		hw_heap_claim_roots(heap, &workers[0]);
	}
	if (!err) {
		hw_heap_claim_native_roots(heap, &workers[0]);
		hw_parallel(count, hw_scan_run, &scan);
		heap->is_partial = hw_progress_stopped(heap->in.progress);
		if (heap->has_python && !heap->is_partial) {
			for (unsigned i = 0; i < count; i++)
				hw_worker_settle(&workers[i]);
			hw_heap_claim_static_types(heap, &workers[0]);
			hw_worker_settle(&workers[0]);
		}
		if (!heap->is_partial && !hw_heap_settle_native(heap, workers, count))
			err = &hw_enomem;
	}
	for (unsigned i = 0; i < count; i++) {
		const struct hw_worker *worker = &workers[i];
		if (worker->heap && (!worker->sink.links_left || !worker->native.sink.links_left))
			hw_issues_add(heap->in.issues, HW_ERROR_CORRUPT, 0,
				      "linked lists of %s have more links than there can be: the "
				      "rest of them was not followed",
				      worker->sink.links_left ? "a library" : "the interpreter");
		hw_worker_deinit(&workers[i]);
	}
	free(workers);
	hw_vec_deinit(&scan.items);
	return err;
}
