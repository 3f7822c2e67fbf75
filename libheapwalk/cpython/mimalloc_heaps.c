/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Heaps, from the pages that lead to them, and whose they are.
#include <inttypes.h>
#include <stdlib.h>

#include "cpython/mimalloc_internal.h"

enum {
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
