/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Look-ups by address, the free lists of a page, and the invariants.
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cpython/mimalloc_internal.h"

const struct hw_mi_segment *hw_mimalloc_find_segment(const struct hw_mimalloc *mi, hw_addr_t addr)
{
	size_t at = hw_vec_find_beyond(&mi->segments, end, addr);
	return at < mi->segments.count && mi->segments.data[at].start <= addr
		       ? &mi->segments.data[at]
		       : NULL;
}

const struct hw_mi_page *hw_mimalloc_find_page(const struct hw_mimalloc *mi, hw_addr_t addr)
{
	const struct hw_mi_segment *segment = hw_mimalloc_find_segment(mi, addr);
	if (!segment || addr - segment->start < segment->header_bytes)
		return NULL;
	const struct hw_mi_page *pages = &mi->pages.data[segment->page_first];
	uint32_t low = 0, high = segment->page_count;
	while (low + 1 < high) {
		uint32_t mid = low + (high - low) / 2;
		if (pages[mid].start <= addr)
			low = mid;
		else
			high = mid;
	}
	return segment->page_count ? &pages[low] : NULL;
}

const struct hw_mi_heap *hw_mimalloc_find_heap(const struct hw_mimalloc *mi, hw_addr_t address)
{
	size_t low = 0, high = mi->heaps.count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (mi->heaps.data[mid].address < address)
			low = mid + 1;
		else
			high = mid;
	}
	return low < mi->heaps.count && mi->heaps.data[low].address == address
		       ? &mi->heaps.data[low]
		       : NULL;
}

bool hw_mimalloc_claims(const struct hw_mimalloc *mi, hw_addr_t addr, hw_addr_t *ret_end)
{
	const struct hw_mi_segment *segment = hw_mimalloc_find_segment(mi, addr);
	size_t at = hw_vec_find_beyond(&mi->areas, end, addr);
	if (segment)
		*ret_end = segment->end;
	else if (at < mi->areas.count && mi->areas.data[at].start <= addr)
		*ret_end = mi->areas.data[at].end;
	else
		return false;
	return true;
}

// ---- free lists ----

struct hw_mi_marking {
	const struct hw_mimalloc *mi;
	const struct hw_mi_page *page;
	struct hw_pages *pages;
	struct hw_issues *issues;
	uint8_t *blocks;
};

// NULL: marked. Else why it is no block that can be free.
static const char *hw_mi_mark(const struct hw_mi_marking *m, hw_addr_t block, enum hw_mi_block what)
{
	uint64_t offset = block - m->page->first;
	if (block < m->page->first || offset / m->page->block_bytes >= m->page->capacity)
		return "outside of its blocks";
	if (offset % m->page->block_bytes)
		return "into the middle of a block";
	uint8_t *mark = &m->blocks[offset / m->page->block_bytes];
	if (*mark)
		return "back to a block that was listed before";
	*mark = (uint8_t)what;
	return NULL;
}

static uint32_t hw_mi_mark_list(const struct hw_mi_marking *m, hw_addr_t block,
				enum hw_mi_block what)
{
	const struct hw_mi_page *page = m->page;
	uint32_t count = 0;
	while (block) {
		const char *wrong = hw_mi_mark(m, block, what);
		uint64_t word;
		if (!wrong) {
			count++;
			if (hw_pages_read_u64(m->pages, block, &word)) {
				block = hw_mi_decode(m->mi->has_keys, word, page->keys,
						     page->header);
				continue;
			}
			wrong = "to a block that can't be read";
		}
		hw_issues_add(m->issues, HW_ERROR_CORRUPT, page->start,
			      "a list of free blocks of the mimalloc page at 0x%" PRIx64
			      " leads %s, to 0x%" PRIx64 ", after %" PRIu32 " blocks",
			      page->start, wrong, block, count);
		break;
	}
	return count;
}

void hw_mi_page_mark_free(const struct hw_mimalloc *mi, const struct hw_mi_page *page,
			  struct hw_pages *pages, struct hw_issues *issues, uint8_t *blocks,
			  struct hw_mi_lists *ret)
{
	struct hw_mi_marking m = { mi, page, pages, issues, blocks };
	*ret = (struct hw_mi_lists){ 0 };
	memset(blocks, HW_MI_BLOCK_USED, page->capacity);
	if (!hw_mi_page_has_blocks(page) || page->is_missing)
		return;
	ret->free = hw_mi_mark_list(&m, page->free, HW_MI_BLOCK_FREE);
	ret->local_free = hw_mi_mark_list(&m, page->local_free, HW_MI_BLOCK_LOCAL_FREE);
	ret->thread_free = hw_mi_mark_list(&m, page->thread_free, HW_MI_BLOCK_THREAD_FREE);
	size_t low = 0, high = mi->delayed.count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (mi->delayed.data[mid] < page->start)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < mi->delayed.count && mi->delayed.data[low] - page->start < page->bytes; low++)
		ret->delayed += !hw_mi_mark(&m, mi->delayed.data[low], HW_MI_BLOCK_DELAYED_FREE);
}

bool hw_mi_page_position(const struct hw_mimalloc *mi, const struct hw_mi_page *page,
			 struct hw_pages *pages, enum hw_mi_block what, hw_addr_t block,
			 uint32_t *ret)
{
	hw_addr_t at = what == HW_MI_BLOCK_FREE          ? page->free
		       : what == HW_MI_BLOCK_LOCAL_FREE  ? page->local_free
		       : what == HW_MI_BLOCK_THREAD_FREE ? page->thread_free
							 : 0;
	for (*ret = 0; at && *ret < page->capacity; ++*ret) {
		uint64_t word;
		if (at == block)
			return true;
		if (!hw_pages_read_u64(pages, at, &word))
			return false;
		at = hw_mi_decode(mi->has_keys, word, page->keys, page->header);
	}
	return false;
}

// ---- invariants ----

static struct hw_error *hw_mi_check_pages(const struct hw_mimalloc *mi, struct hw_pages *pages,
					  uint8_t *blocks, struct hw_issues *issues,
					  struct hw_progress *progress)
{
	hw_vec_foreach(page, &mi->pages)
	{
		struct hw_mi_lists lists;
		if (!hw_mi_page_has_blocks(page) || page->is_missing)
			continue;
		hw_mi_page_mark_free(mi, page, pages, issues, blocks, &lists);
		if (lists.free + lists.local_free != page->capacity - page->used ||
		    lists.thread_free + lists.delayed > page->used)
			hw_issues_add(issues, HW_ERROR_INVARIANT, page->start,
				      "the mimalloc page at 0x%" PRIx64 " counts %" PRIu32
				      " of %" PRIu32 " blocks as used, its lists have %" PRIu32
				      " + %" PRIu32 ", those of other threads %" PRIu32,
				      page->start, page->used, page->capacity, lists.free,
				      lists.local_free, lists.thread_free + lists.delayed);
		if (hw_progress_poll(progress))
			return hw_error_create(HW_ERROR_INTERRUPTED,
					       "interrupted while mimalloc's pages were checked");
	}
	return NULL;
}

static void hw_mi_check_segments(const struct hw_mimalloc *mi, struct hw_issues *issues)
{
	hw_vec_foreach(segment, &mi->segments)
	{
		uint64_t used = 0;
		for (uint32_t i = 0; i < segment->page_count; i++)
			used += hw_mi_page_has_blocks(&mi->pages.data[segment->page_first + i]);
		if (used != segment->used)
			hw_issues_add(issues, HW_ERROR_INVARIANT, segment->start,
				      "the mimalloc segment at 0x%" PRIx64 " counts %" PRIu64
				      " pages, but has %" PRIu64,
				      segment->start, segment->used, used);
	}
	hw_vec_foreach(heap, &mi->heaps)
	{
		if (heap->is_readable && heap->pages != heap->page_count)
			hw_issues_add(issues, HW_ERROR_INVARIANT, heap->address,
				      "the mimalloc heap at 0x%" PRIx64 " counts %" PRIu64
				      " pages, but %" PRIu64 " lead to it",
				      heap->address, heap->page_count, heap->pages);
	}
}

struct hw_error *hw_mimalloc_check(const struct hw_mimalloc *mi, struct hw_issues *issues,
				   struct hw_progress *progress)
{
	hw_cleanup_free uint8_t *blocks = malloc(HW_MI_BLOCKS_MAX);
	struct hw_pages pages;
	if (!blocks)
		return &hw_enomem;
	hw_mi_check_segments(mi, issues);
	hw_pages_init(&pages, mi->target);
	struct hw_error *err = hw_mi_check_pages(mi, &pages, blocks, issues, progress);
	hw_pages_deinit(&pages);
	return err;
}
