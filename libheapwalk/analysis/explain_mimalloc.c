/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What mimalloc says of an address: its segment, its page, and the lists that the page and the block are on.
#include <stdlib.h>
#include <string.h>

#include "analysis/explain.h"
#include "analysis/stats.h"
#include "base/bytes.h"
#include "base/cleanup.h"

struct hw_mi_explainer {
	struct hw_session *session;
	struct hw_pages *pages;
	struct hw_explained_mi *mi;
};

// Is the segment in the list that begins at `head`, whose pointers are tagged with what a segment's
// alignment leaves free?
static bool hw_mi_is_abandoned_in(struct hw_mi_explainer *x, hw_addr_t head)
{
	const struct hw_python_layout *l = &x->session->python.layout;
	uint64_t left = x->session->mimalloc.segments.count, segment;
	hw_addr_t at = head;
	while (left-- && hw_pages_read_u64(x->pages, at, &segment)) {
		segment = hw_align_down(segment, HW_MI_SEGMENT_BYTES);
		if (!segment || segment == x->mi->segment->start)
			return segment != 0;
		at = segment + (hw_addr_t)l->mi_segment_abandoned_next;
	}
	return false;
}

// types.h mi_abandoned_pool_t: those not yet looked at for reuse, and those that were.
static void hw_mi_explain_abandoned(struct hw_mi_explainer *x)
{
	const struct hw_python *python = &x->session->python;
	const struct hw_python_layout *l = &python->layout;
	const int32_t heads[] = { l->interp_mi_abandoned, l->interp_mi_abandoned_visited };
	for (size_t i = 0; i < python->interpreters.count && !x->mi->segment->thread_id; i++)
		for (size_t k = 0; k < sizeof(heads) / sizeof(heads[0]); k++) {
			if (heads[k] == HW_ABSENT || l->mi_segment_abandoned_next == HW_ABSENT ||
			    !hw_mi_is_abandoned_in(x, python->interpreters.data[i] +
							      (hw_addr_t)heads[k]))
				continue;
			x->mi->is_listed_abandoned = true;
			x->mi->abandoned_interpreter = hw_stats_interpreter_id(x->session, i);
			return;
		}
}

// How many pages of its heap's queue stand before it.
static void hw_mi_explain_queue(struct hw_mi_explainer *x)
{
	const struct hw_python_layout *l = &x->session->python.layout;
	struct hw_explained_place *place = &x->mi->place;
	uint64_t left = x->session->mimalloc.pages.count;
	hw_addr_t at = x->mi->page->header;
	*place = (struct hw_explained_place){ .is_unknown = true };
	if (l->mi_page_prev < 0 || l->mi_page_prev > l->mi_page_size - 8)
		return;
	for (uint64_t position = 0; left--; position++) {
		if (!hw_pages_read_u64(x->pages, at + (hw_addr_t)l->mi_page_prev, &at))
			return;
		if (at)
			continue;
		*place = (struct hw_explained_place){ .list = "the queue of its heap",
						      .position = position };
		return;
	}
}

static struct hw_error *hw_mi_explain_block(struct hw_mi_explainer *x, hw_addr_t addr)
{
	const struct hw_mimalloc *mi = &x->session->mimalloc;
	const struct hw_mi_page *page = x->mi->page;
	hw_cleanup_free uint8_t *blocks = malloc(HW_MI_BLOCKS_MAX);
	if (!blocks)
		return &hw_enomem;
	hw_mi_page_mark_free(mi, page, x->pages, &x->session->issues, blocks, &x->mi->lists);
	x->mi->has_lists = true;
	if (addr < page->first || (addr - page->first) / page->block_bytes >= page->capacity)
		return NULL;
	x->mi->has_block = true;
	x->mi->block_index = (uint32_t)((addr - page->first) / page->block_bytes);
	x->mi->block_list = blocks[x->mi->block_index];
	x->mi->has_block_position =
		x->mi->block_list != HW_MI_BLOCK_USED &&
		hw_mi_page_position(mi, page, x->pages, x->mi->block_list,
				    page->first + x->mi->block_index * page->block_bytes,
				    &x->mi->block_position);
	return NULL;
}

struct hw_error *hw_explain_mimalloc(struct hw_session *session, struct hw_pages *pages,
				     struct hw_explanation *e)
{
	const struct hw_mimalloc *mi = &session->mimalloc;
	const struct hw_python_layout *l = &session->python.layout;
	struct hw_mi_explainer x = { .session = session, .pages = pages, .mi = &e->mi };
	e->mi.segment = hw_mimalloc_find_segment(mi, e->address);
	if (!e->mi.segment)
		return NULL;
	e->mi.slice = (uint32_t)((e->address - e->mi.segment->start) / HW_MI_SLICE_BYTES);
	e->mi.page = hw_mimalloc_find_page(mi, e->address);
	hw_mi_explain_abandoned(&x);
	if (!e->mi.page || !hw_mi_page_has_blocks(e->mi.page))
		return NULL;
	e->mi.heap = e->mi.page->heap ? hw_mimalloc_find_heap(mi, e->mi.page->heap) : NULL;
	if (l->mi_page_qsbr_goal >= 0 && l->mi_page_qsbr_goal <= l->mi_page_size - 8)
		hw_pages_read_u64(pages, e->mi.page->header + (hw_addr_t)l->mi_page_qsbr_goal,
				  &e->mi.qsbr_goal);
	if (e->mi.page->is_missing)
		return NULL;
	hw_mi_explain_queue(&x);
	return hw_mi_explain_block(&x, e->address);
}
