/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Heaps, from the pages that lead to them, and mimalloc's memory outside of segments: what an arena has
// beside them, the arena's own header, threads' heaps.
#include <inttypes.h>
#include <stdlib.h>

#include "cpython/mimalloc_internal.h"

enum {
	HW_MI_ARENAS_MAX = 112,           // arena.c MI_MAX_ARENAS
	HW_MI_THREAD_CACHE = 64,          // init.c TD_CACHE_SIZE: 16 or 32, the symbol tells
	HW_MI_ARENA_BLOCKS_MAX = 1 << 22, // all of the address space
	HW_MI_META_BYTES_MAX = 1 << 20,
	HW_MI_TSTATE_BYTES_MAX = 2 << 10, // before its heaps
	HW_MI_THREADS_MAX = 1 << 16,      // thread states of all interpreters together
};

// ---- heaps ----

static int hw_mi_heap_order(const void *a, const void *b)
{
	const struct hw_mi_heap *x = a, *y = b;
	return x->address < y->address ? -1 : x->address > y->address;
}

static struct hw_mi_heap *hw_mi_heap_at(struct hw_mimalloc *mi, hw_addr_t address)
{
	return (struct hw_mi_heap *)hw_mimalloc_find_heap(mi, address);
}

// Those that pages lead to, each once.
static bool hw_mi_collect_heaps(struct hw_mimalloc *mi)
{
	size_t kept = 0;
	hw_vec_foreach(page, &mi->pages)
	{
		// Pages of one heap often stand side by side.
		if (!hw_mi_page_has_blocks(page) || !page->heap ||
		    (mi->heaps.count && mi->heaps.data[mi->heaps.count - 1].address == page->heap))
			continue;
		if (!hw_vec_push(&mi->heaps, ((struct hw_mi_heap){ .address = page->heap })))
			return false;
	}
	if (mi->heaps.count)
		qsort(mi->heaps.data, mi->heaps.count, sizeof(*mi->heaps.data), hw_mi_heap_order);
	for (size_t i = 0; i < mi->heaps.count; i++)
		if (!kept || mi->heaps.data[kept - 1].address != mi->heaps.data[i].address)
			mi->heaps.data[kept++] = mi->heaps.data[i];
	mi->heaps.count = kept;
	return true;
}

// types.h mi_heap_t.thread_delayed_free: linked with the heap's own keys, and the heap as null.
static bool hw_mi_read_delayed(struct hw_mi_walk *walk, const struct hw_mi_heap *heap,
			       uint64_t *left)
{
	const struct hw_python_layout *l = walk->layout;
	struct hw_mimalloc *mi = walk->mi;
	uint64_t keys[2] = { 0 };
	uint64_t word, block, steps = 0;
	hw_addr_t mark = 0; // Brent: moves up to the walker at every power of two
	bool has_keys = mi->has_keys && l->mi_heap_keys != HW_ABSENT;
	if (!hw_pages_read_u64(&walk->pages,
			       heap->address + (hw_addr_t)l->mi_heap_thread_delayed_free, &block))
		return true;
	if (has_keys && !hw_pages_read(&walk->pages, heap->address + (hw_addr_t)l->mi_heap_keys,
				       keys, sizeof(keys)))
		return true;
	while (block) {
		const struct hw_mi_page *page = hw_mimalloc_find_page(mi, block);
		if (!*left || block == mark || !page || !hw_mi_page_has_blocks(page) ||
		    !hw_pages_read_u64(&walk->pages, block, &word)) {
			hw_issues_add(walk->issues, HW_ERROR_CORRUPT, heap->address,
				      "the list of delayed frees of the mimalloc heap at "
				      "0x%" PRIx64 " is damaged at 0x%" PRIx64,
				      heap->address, block);
			return true;
		}
		--*left;
		if (!(steps & (steps + 1)))
			mark = block;
		steps++;
		if (!hw_vec_push(&mi->delayed, block))
			return false;
		block = hw_mi_decode(has_keys, word, keys, heap->address);
	}
	return true;
}

static int hw_mi_addr_order(const void *a, const void *b)
{
	const hw_addr_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static void hw_mi_heap_read(struct hw_mi_walk *walk, struct hw_mi_heap *heap)
{
	const struct hw_python_layout *l = walk->layout;
	struct hw_mimalloc *mi = walk->mi;
	uint64_t cookie = 0;
	heap->is_readable =
		hw_pages_read_u64(&walk->pages, heap->address + (hw_addr_t)l->mi_heap_thread_id,
				  &heap->thread_id) &&
		hw_pages_read_u64(&walk->pages, heap->address + (hw_addr_t)l->mi_heap_page_count,
				  &heap->page_count) &&
		hw_pages_read_u64(&walk->pages, heap->address + (hw_addr_t)l->mi_heap_cookie,
				  &cookie);
	heap->tag = HW_MI_TAG_COUNT;
	uint8_t tag;
	if (mi->has_tags && l->mi_heap_tag != HW_ABSENT &&
	    hw_pages_read(&walk->pages, heap->address + (hw_addr_t)l->mi_heap_tag, &tag, 1))
		heap->tag = (uint8_t)hw_min(tag, HW_MI_TAG_COUNT);
	// The secret of segments is the main heap's.
	if (!mi->main_heap && heap->is_readable && cookie == mi->secret)
		mi->main_heap = heap->address;
	heap->is_main = heap->address == mi->main_heap;
}

// ---- thread states ----

static void hw_mi_bind_thread(struct hw_mi_walk *walk, int64_t interpreter_id, hw_addr_t tstate,
			      hw_addr_t heaps, bool is_main)
{
	const struct hw_python_layout *l = walk->layout;
	for (unsigned tag = 0; tag < HW_MI_TAG_COUNT; tag++) {
		struct hw_mi_heap *heap = hw_mi_heap_at(walk->mi,
							heaps + tag * (hw_addr_t)l->mi_heap_size);
		if (!heap)
			continue;
		heap->tstate = tstate;
		heap->interpreter_id = interpreter_id;
		heap->is_main = is_main;
		if (heap->is_readable && heap->tag != tag && l->mi_heap_tag != HW_ABSENT)
			hw_issues_add(walk->issues, HW_ERROR_CORRUPT, heap->address,
				      "the mimalloc heap at 0x%" PRIx64
				      " has the tag %u, but it is the one for %s of the "
				      "PyThreadState at 0x%" PRIx64,
				      heap->address, heap->tag, hw_mi_tag_word(tag), tstate);
		heap->tag = (uint8_t)tag;
	}
}

// Where a thread state has its heaps, 0: it has none, or that can't be told. Point releases move them: where
// nothing says by how much, they are the nearest behind it, for they are its own.
static hw_addr_t hw_mi_heaps_of(const struct hw_mi_walk *walk, hw_addr_t tstate)
{
	const struct hw_python_layout *l = walk->layout;
	if (l->tstate_mimalloc_heaps != HW_ABSENT)
		return tstate + (hw_addr_t)l->tstate_mimalloc_heaps;
	hw_vec_foreach(heap, &walk->mi->heaps)
	{
		if (heap->address <= tstate)
			continue;
		hw_addr_t before = heap->tag * (hw_addr_t)l->mi_heap_size;
		return heap->tag < HW_MI_TAG_COUNT && heap->address - tstate > before &&
				       heap->address - tstate - before < HW_MI_TSTATE_BYTES_MAX
			       ? heap->address - before
			       : 0;
	}
	return 0;
}

// Whose heaps they are: those of all thread states that the interpreters list, the oldest last.
static void hw_mi_bind_threads(struct hw_mi_walk *walk)
{
	const struct hw_python_layout *l = walk->layout;
	const struct hw_python *python = walk->python;
	unsigned left = HW_MI_THREADS_MAX;
	if (!walk->mi->has_tags || l->tstate_next == HW_ABSENT)
		return;
	for (uint32_t i = 0; i < python->interpreters.count; i++) {
		uint64_t tstate, next, id;
		if (l->interp_id == HW_ABSENT ||
		    !hw_pages_read_u64(&walk->pages,
				       python->interpreters.data[i] + (hw_addr_t)l->interp_id, &id))
			id = i;
		if (!hw_pages_read_u64(&walk->pages,
				       python->interpreters.data[i] +
					       (hw_addr_t)l->interp_threads_head,
				       &tstate))
			continue;
		for (; tstate && left; left--, tstate = next) {
			hw_addr_t heaps = hw_mi_heaps_of(walk, tstate);
			if (!hw_pages_read_u64(&walk->pages, tstate + (hw_addr_t)l->tstate_next,
					       &next))
				break;
			if (heaps)
				hw_mi_bind_thread(walk, (int64_t)id, tstate, heaps, !i && !next);
		}
	}
}

const char *hw_mi_tag_word(enum hw_mi_tag tag)
{
	static const char *const words[HW_MI_TAG_COUNT] = {
		[HW_MI_TAG_MEM] = "mem",
		[HW_MI_TAG_OBJECT] = "object",
		[HW_MI_TAG_GC] = "gc",
		[HW_MI_TAG_GC_PRE] = "gc_pre",
	};
	return (unsigned)tag < HW_MI_TAG_COUNT ? words[tag] : "";
}

struct hw_error *hw_mi_find_heaps(struct hw_mi_walk *walk)
{
	struct hw_mimalloc *mi = walk->mi;
	uint64_t left = 0;
	if (!hw_mi_collect_heaps(mi))
		return &hw_enomem;
	hw_vec_foreach(page, &mi->pages)
	{
		struct hw_mi_heap *heap = hw_mi_page_has_blocks(page) && page->heap
						  ? hw_mi_heap_at(mi, page->heap)
						  : NULL;
		if (hw_mi_page_has_blocks(page) && !page->is_missing)
			left += page->capacity;
		if (heap)
			hw_mi_heap_count(heap, page);
	}
	hw_vec_foreach(heap, &mi->heaps)
	{
		hw_mi_heap_read(walk, heap);
		if (heap->is_readable && !hw_mi_read_delayed(walk, heap, &left))
			return &hw_enomem;
	}
	hw_mi_bind_threads(walk);
	if (mi->delayed.count)
		qsort(mi->delayed.data, mi->delayed.count, sizeof(*mi->delayed.data),
		      hw_mi_addr_order);
	return NULL;
}

// ---- areas ----

static bool hw_mi_add_area(struct hw_mi_walk *walk, hw_addr_t start, hw_addr_t end,
			   enum hw_mi_area_kind kind)
{
	return start >= end ||
	       hw_vec_push(&walk->mi->areas, ((struct hw_mi_area){ start, end, kind }));
}

// A page-aligned piece of anonymous memory: what mimalloc takes from the kernel for itself.
static bool hw_mi_add_own(struct hw_mi_walk *walk, hw_addr_t start, uint64_t bytes,
			  enum hw_mi_area_kind kind)
{
	const struct hw_mapping *m = hw_target_find_mapping(walk->target, start);
	bytes = hw_align_up(bytes, HW_PAGE_BYTES);
	if (!m || *m->path || start % HW_PAGE_BYTES || bytes > m->end - start ||
	    !hw_mapping_is_private_writable(m))
		return true;
	return hw_mi_add_area(walk, start, start + bytes, kind);
}

// Blocks of an arena that no segment has, run by run.
static bool hw_mi_add_arena_gap(struct hw_mi_walk *walk, hw_addr_t arena, hw_addr_t in_use,
				hw_addr_t start, hw_addr_t end)
{
	// Behind a huge segment, up to where the next block begins.
	hw_addr_t whole = hw_min(hw_align_up(start, HW_MI_SEGMENT_BYTES), end);
	if (!hw_mi_add_area(walk, start, whole, HW_MI_AREA_PADDING))
		return false;
	while (whole < end) {
		hw_addr_t at = whole;
		enum hw_mi_area_kind kind = HW_MI_AREA_FREE;
		for (bool is_first = true; at < end; at += HW_MI_SEGMENT_BYTES, is_first = false) {
			uint64_t block = (at - arena) / HW_MI_SEGMENT_BYTES, bits;
			bool is_known = hw_pages_read_u64(&walk->pages, in_use + block / 64 * 8,
							  &bits);
			enum hw_mi_area_kind its = is_known && !(bits >> block % 64 & 1)
							   ? HW_MI_AREA_FREE
							   : HW_MI_AREA_MISSING;
			if (!is_first && its != kind)
				break;
			kind = its;
		}
		if (!hw_mi_add_area(walk, whole, hw_min(at, end), kind))
			return false;
		whole = at;
	}
	return true;
}

// `left`: blocks that arenas not yet seen may have. They are disjoint, and there is one address space.
static bool hw_mi_add_arena(struct hw_mi_walk *walk, hw_addr_t header, uint64_t *left)
{
	const struct hw_python_layout *l = walk->layout;
	const struct hw_mimalloc *mi = walk->mi;
	uint64_t start, blocks, meta_bytes;
	if (!hw_pages_read_u64(&walk->pages, header + (hw_addr_t)l->mi_arena_start, &start) ||
	    !hw_pages_read_u64(&walk->pages, header + (hw_addr_t)l->mi_arena_block_count,
			       &blocks) ||
	    !hw_pages_read_u64(&walk->pages, header + (hw_addr_t)l->mi_arena_meta_size,
			       &meta_bytes))
		return true;
	if (start % HW_MI_SEGMENT_BYTES || !start || start >> HW_ADDRESS_BITS || !blocks ||
	    blocks > *left || meta_bytes > HW_MI_META_BYTES_MAX) {
		hw_issues_add(walk->issues, HW_ERROR_CORRUPT, header,
			      "the mimalloc arena at 0x%" PRIx64 " contradicts itself", header);
		return true;
	}
	*left -= blocks;
	hw_addr_t at = start, end = start + blocks * HW_MI_SEGMENT_BYTES;
	hw_addr_t in_use = header + (hw_addr_t)l->mi_arena_blocks_inuse;
	bool ok = hw_mi_add_own(walk, header, meta_bytes, HW_MI_AREA_ARENA_HEADER);
	for (size_t i = hw_vec_find_beyond(&mi->segments, end, start);
	     ok && i < mi->segments.count && mi->segments.data[i].start < end; i++) {
		const struct hw_mi_segment *segment = &mi->segments.data[i];
		if (segment->start > at)
			ok = hw_mi_add_arena_gap(walk, start, in_use, at, segment->start);
		at = hw_max(at, segment->end);
	}
	return ok && (at >= end || hw_mi_add_arena_gap(walk, start, in_use, at, end));
}

static bool hw_mi_add_arenas(struct hw_mi_walk *walk)
{
	const struct hw_python_layout *l = walk->layout;
	hw_addr_t variable, arenas[HW_MI_ARENAS_MAX];
	uint64_t count, left = HW_MI_ARENA_BLOCKS_MAX;
	if (l->mi_arena_start == HW_ABSENT || l->mi_arena_block_count == HW_ABSENT ||
	    l->mi_arena_meta_size == HW_ABSENT || l->mi_arena_blocks_inuse == HW_ABSENT ||
	    !hw_mi_variable(walk->python, "mi_arena_count", &variable) ||
	    !hw_pages_read_u64(&walk->pages, variable, &count) ||
	    !hw_mi_variable(walk->python, "mi_arenas", &variable))
		return true;
	count = hw_min(count, HW_MI_ARENAS_MAX);
	if (!hw_pages_read(&walk->pages, variable, arenas, count * sizeof(*arenas)))
		return true;
	for (uint64_t i = 0; i < count; i++)
		if (arenas[i] && !hw_mi_add_arena(walk, le64toh(arenas[i]), &left))
			return false;
	return true;
}

// init.c: a thread's heap is in a struct mi_thread_data_s of its own, and ended threads' are kept.
static bool hw_mi_add_threads(struct hw_mi_walk *walk)
{
	const int32_t bytes = walk->layout->mi_thread_data_size;
	hw_addr_t cached[HW_MI_THREAD_CACHE];
	if (bytes <= 0 || walk->mi->has_tags)
		return true;
	hw_vec_foreach(heap, &walk->mi->heaps)
	{
		if (!heap->is_main &&
		    !hw_mi_add_own(walk, heap->address, (uint64_t)bytes, HW_MI_AREA_THREAD_DATA))
			return false;
	}
	struct hw_symbol cache;
	if (!walk->python->module || !hw_module_symbol(walk->python->module, "td_cache", &cache) ||
	    cache.size > sizeof(cached) ||
	    !hw_pages_read(&walk->pages, cache.address, cached, cache.size))
		return true;
	for (size_t i = 0; i < cache.size / sizeof(*cached); i++)
		if (cached[i] && !hw_mi_add_own(walk, le64toh(cached[i]), (uint64_t)bytes,
						HW_MI_AREA_CACHED_THREAD))
			return false;
	return true;
}

static int hw_mi_area_order(const void *a, const void *b)
{
	const struct hw_mi_area *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->kind > y->kind) - (x->kind < y->kind);
}

struct hw_error *hw_mi_find_areas(struct hw_mi_walk *walk)
{
	struct hw_mimalloc *mi = walk->mi;
	size_t kept = 0;
	if (!hw_mi_add_arenas(walk) || !hw_mi_add_threads(walk))
		return &hw_enomem;
	if (mi->areas.count)
		qsort(mi->areas.data, mi->areas.count, sizeof(*mi->areas.data), hw_mi_area_order);
	for (size_t i = 0; i < mi->areas.count; i++) {
		const struct hw_mi_area *area = &mi->areas.data[i];
		size_t at = hw_vec_find_beyond(&mi->segments, end, area->start);
		bool is_free = (!kept || mi->areas.data[kept - 1].end <= area->start) &&
			       (at == mi->segments.count ||
				mi->segments.data[at].start >= area->end);
		if (is_free)
			mi->areas.data[kept++] = *area;
		else
			hw_issues_add(walk->issues, HW_ERROR_CORRUPT, area->start,
				      "mimalloc's memory at 0x%" PRIx64
				      " is claimed twice: the second claim is left out",
				      area->start);
	}
	mi->areas.count = kept;
	return NULL;
}
