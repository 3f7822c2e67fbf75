/* SPDX-License-Identifier: LGPL-2.1-or-later */
// mimalloc's memory outside of segments: what an arena has beside them, the arena's own header, threads'
// heaps. Two arrays lead there, which a stripped binary does not name: then every word of its .data and
// .bss is asked whether it leads to such a thing.
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cpython/mimalloc_internal.h"

enum {
	HW_MI_ARENAS_MAX = 112,           // arena.c MI_MAX_ARENAS
	HW_MI_THREAD_CACHE = 64,          // init.c TD_CACHE_SIZE: 16 or 32, the symbol tells
	HW_MI_ARENA_BLOCKS_MAX = 1 << 22, // all of the address space
	HW_MI_META_BYTES_MAX = 1 << 20,
	HW_MI_STATICS_BYTES_MAX = 16 << 20, // of a section; Python's have about 1 MiB
	// Segments that are held against words of it: each word may lead to what looks like an arena of all of them.
	HW_MI_LOOKS_MAX = 1 << 22,
};

// What mi_arenas[] and td_cache[] have.
struct hw_mi_statics {
	hw_addr_t arenas[HW_MI_ARENAS_MAX], threads[HW_MI_THREAD_CACHE];
	size_t arena_count, thread_count;
};

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
	bytes = hw_align_up(bytes, walk->target->page_bytes);
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

// ---- where they are ----

static bool hw_mi_knows_arenas(const struct hw_python_layout *l)
{
	return l->mi_arena_start >= 0 && l->mi_arena_block_count >= 0 &&
	       l->mi_arena_meta_size >= 0 && l->mi_arena_blocks_inuse >= 0;
}

static void hw_mi_take_array(struct hw_mi_walk *walk, hw_addr_t array, size_t count, size_t room,
			     hw_addr_t *ret, size_t *ret_count)
{
	count = hw_min(count, room);
	if (!hw_pages_read(&walk->pages, array, ret, count * sizeof(*ret)))
		return;
	for (size_t i = 0; i < count; i++)
		ret[i] = le64toh(ret[i]);
	*ret_count = count;
}

// By their symbols or the debug information. False: nothing tells where the arenas are.
static bool hw_mi_read_statics(struct hw_mi_walk *walk, struct hw_mi_statics *ret)
{
	struct hw_symbol cache;
	hw_addr_t counter, arenas;
	uint64_t count;
	if (walk->python->module && hw_module_symbol(walk->python->module, "td_cache", &cache))
		hw_mi_take_array(walk, cache.address, cache.size / sizeof(hw_addr_t),
				 HW_MI_THREAD_CACHE, ret->threads, &ret->thread_count);
	if (!hw_mi_variable(walk->python, "mi_arena_count", &counter) ||
	    !hw_mi_variable(walk->python, "mi_arenas", &arenas))
		return false;
	if (hw_pages_read_u64(&walk->pages, counter, &count))
		hw_mi_take_array(walk, arenas, count, HW_MI_ARENAS_MAX, ret->arenas,
				 &ret->arena_count);
	return true;
}

// A struct mi_arena_s: it begins where a segment may, and knows of every segment in it that its block is in
// use. One segment at least, for only what is used is proved.
static bool hw_mi_is_arena(struct hw_mi_walk *walk, hw_addr_t header, uint64_t *looks_left)
{
	const struct hw_python_layout *l = walk->layout;
	const struct hw_mimalloc *mi = walk->mi;
	uint64_t start, blocks, meta_bytes, bits;
	if (!hw_pages_read_u64(&walk->pages, header + (hw_addr_t)l->mi_arena_start, &start) ||
	    start % HW_MI_SEGMENT_BYTES || !start || start >> HW_ADDRESS_BITS ||
	    !hw_pages_read_u64(&walk->pages, header + (hw_addr_t)l->mi_arena_block_count,
			       &blocks) ||
	    !blocks || blocks > HW_MI_ARENA_BLOCKS_MAX ||
	    !hw_pages_read_u64(&walk->pages, header + (hw_addr_t)l->mi_arena_meta_size,
			       &meta_bytes) ||
	    meta_bytes > HW_MI_META_BYTES_MAX)
		return false;
	hw_addr_t end = start + blocks * HW_MI_SEGMENT_BYTES;
	size_t first = hw_vec_find_beyond(&mi->segments, end, start), i = first;
	for (; i < mi->segments.count && mi->segments.data[i].start < end; i++) {
		uint64_t block = (mi->segments.data[i].start - start) / HW_MI_SEGMENT_BYTES;
		if (!*looks_left || !--*looks_left || mi->segments.data[i].start < start ||
		    !hw_pages_read_u64(
			    &walk->pages,
			    header + (hw_addr_t)l->mi_arena_blocks_inuse + block / 64 * 8, &bits) ||
		    !(bits >> block % 64 & 1))
			return false;
	}
	return i > first;
}

// A struct mi_thread_data_s whose thread has ended: {heap, tld}, and the heap leads to the tld.
static bool hw_mi_is_cached_thread(struct hw_mi_walk *walk, hw_addr_t addr)
{
	uint64_t tld;
	return addr % HW_PAGE_BYTES == 0 && !walk->mi->has_tags &&
	       !hw_mimalloc_find_heap(walk->mi, addr) &&
	       hw_pages_read_u64(&walk->pages, addr, &tld) &&
	       tld == addr + (uint64_t)walk->layout->mi_heap_size;
}

static void hw_mi_take_once(hw_addr_t addr, size_t room, hw_addr_t *all, size_t *count)
{
	for (size_t i = 0; i < *count; i++)
		if (all[i] == addr)
			return;
	if (*count < room)
		all[(*count)++] = addr;
}

static void hw_mi_try_static(struct hw_mi_walk *walk, hw_addr_t addr, uint64_t *looks_left,
			     struct hw_mi_statics *ret)
{
	const struct hw_mapping *m = addr && addr % 8 == 0
					     ? hw_target_find_mapping(walk->target, addr)
					     : NULL;
	if (!m || !hw_mapping_is_private_writable(m))
		return;
	if (hw_mi_is_arena(walk, addr, looks_left))
		hw_mi_take_once(addr, HW_MI_ARENAS_MAX, ret->arenas, &ret->arena_count);
	else if (hw_mi_is_cached_thread(walk, addr))
		hw_mi_take_once(addr, HW_MI_THREAD_CACHE, ret->threads, &ret->thread_count);
}

static void hw_mi_search_statics(struct hw_mi_walk *walk, struct hw_mi_statics *ret)
{
	static const char *const sections[] = { ".data", ".bss" };
	uint64_t looks_left = HW_MI_LOOKS_MAX;
	*ret = (struct hw_mi_statics){ 0 };
	for (size_t s = 0; walk->python->module && s < sizeof(sections) / sizeof(sections[0]);
	     s++) {
		hw_addr_t start;
		uint64_t bytes;
		if (!hw_module_section(walk->python->module, sections[s], &start, &bytes))
			continue;
		bytes = hw_min(bytes, HW_MI_STATICS_BYTES_MAX);
		hw_cleanup_free uint8_t *words = malloc(bytes + 1);
		size_t got = words ? hw_target_read_some(walk->target, start, words, bytes) : 0;
		for (size_t at = hw_align_up(start, 8) - start; at + 8 <= got; at += 8)
			hw_mi_try_static(walk, hw_u64(words + at), &looks_left, ret);
	}
}

// ---- all of them ----

// init.c: a thread's heap is in a struct mi_thread_data_s of its own, and ended threads' are kept.
static bool hw_mi_add_threads(struct hw_mi_walk *walk, const struct hw_mi_statics *statics)
{
	const int32_t bytes = walk->layout->mi_thread_data_size;
	if (bytes <= 0 || walk->mi->has_tags)
		return true;
	hw_vec_foreach(heap, &walk->mi->heaps)
	{
		if (!heap->is_main &&
		    !hw_mi_add_own(walk, heap->address, (uint64_t)bytes, HW_MI_AREA_THREAD_DATA))
			return false;
	}
	for (size_t i = 0; i < statics->thread_count; i++)
		if (statics->threads[i] &&
		    !hw_mi_add_own(walk, statics->threads[i], (uint64_t)bytes,
				   HW_MI_AREA_CACHED_THREAD))
			return false;
	return true;
}

static bool hw_mi_add_areas(struct hw_mi_walk *walk)
{
	struct hw_mi_statics statics = { 0 };
	uint64_t left = HW_MI_ARENA_BLOCKS_MAX;
	if (!hw_mi_knows_arenas(walk->layout))
		return hw_mi_add_threads(walk, &statics);
	if (!hw_mi_read_statics(walk, &statics))
		hw_mi_search_statics(walk, &statics);
	for (size_t i = 0; i < statics.arena_count; i++)
		if (statics.arenas[i] && !hw_mi_add_arena(walk, statics.arenas[i], &left))
			return false;
	return hw_mi_add_threads(walk, &statics);
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
	if (!hw_mi_add_areas(walk))
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
