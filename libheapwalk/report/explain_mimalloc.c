/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What `explain` says of an address in a segment of mimalloc, as text and as JSON.
#include <inttypes.h>
#include <stdio.h>

#include "report/explain.h"

static const char *hw_mi_list_word(enum hw_mi_block block)
{
	switch (block) {
	case HW_MI_BLOCK_FREE:
		return "free";
	case HW_MI_BLOCK_LOCAL_FREE:
		return "local_free";
	case HW_MI_BLOCK_THREAD_FREE:
		return "xthread_free";
	case HW_MI_BLOCK_DELAYED_FREE:
		return "thread_delayed_free";
	case HW_MI_BLOCK_USED:
		break;
	}
	return NULL;
}

// ---- text ----

static void hw_say_segment(struct hw_report *report, const struct hw_explained_mi *mi)
{
	const struct hw_mi_segment *s = mi->segment;
	char whose[80];
	if (s->thread_id)
		snprintf(whose, sizeof(whose), "of the thread 0x%" PRIx64, s->thread_id);
	else if (mi->is_listed_abandoned)
		snprintf(whose, sizeof(whose), "abandoned by a thread of interpreter %" PRId64,
			 mi->abandoned_interpreter);
	else
		snprintf(whose, sizeof(whose), "abandoned by its thread");
	hw_explain_say(report, "segment",
		       "0x%" PRIx64 "-0x%" PRIx64 "  %s, %s, %" PRIu64
		       " pages in use; the address is in slice %" PRIu32,
		       s->start, s->end - 1, s->is_huge ? "huge" : "normal", whose, s->used,
		       mi->slice);
}

static void hw_say_page_heap(struct hw_report *report, const struct hw_explained_mi *mi)
{
	const char *tag = hw_mi_tag_word(mi->page->tag);
	if (!mi->page->heap)
		hw_explain_say(report, "", "of no heap: its thread has ended%s%s",
			       *tag ? "; tag " : "", tag);
	else if (mi->heap && mi->heap->tstate)
		hw_explain_say(report, "",
			       "of the heap 0x%" PRIx64 ", tag %s, of the PyThreadState 0x%" PRIx64,
			       mi->page->heap, tag, mi->heap->tstate);
	else
		hw_explain_say(report, "", "of the heap 0x%" PRIx64 "%s%s%s", mi->page->heap,
			       *tag ? ", tag " : "", tag,
			       mi->heap && mi->heap->is_main ? ", the main thread's" : "");
}

static void hw_say_page_lists(struct hw_report *report, const struct hw_explained_mi *mi)
{
	const struct hw_mi_page *page = mi->page;
	const struct hw_mi_lists *l = &mi->lists;
	char bytes[32];
	hw_explain_say(report, "",
		       "blocks of %s bytes: of %" PRIu32 " with room %" PRIu32
		       " were carved, %" PRIu32 " count as used",
		       hw_commas(page->block_bytes, bytes), page->reserved, page->capacity,
		       page->used);
	if (mi->has_lists)
		hw_explain_say(report, "",
			       "lists: %" PRIu32 " free, %" PRIu32 " local_free, %" PRIu32
			       " xthread_free, %" PRIu32 " thread_delayed_free",
			       l->free, l->local_free, l->thread_free, l->delayed);
}

void hw_explain_mimalloc_text(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_explained_mi *mi = &e->mi;
	const struct hw_mi_page *page = mi->page;
	if (!mi->segment)
		return;
	hw_say_segment(report, mi);
	if (!page)
		return;
	hw_explain_say(report, page->is_free ? "slices" : "page",
		       "0x%" PRIx64 "-0x%" PRIx64 "  %" PRIu64
		       " slices%s, struct mi_page_s at 0x%" PRIx64,
		       page->start, page->start + page->bytes - 1, page->bytes / HW_MI_SLICE_BYTES,
		       page->is_bad    ? ", damaged"
		       : page->is_free ? ", free"
				       : "",
		       page->header);
	if (!hw_mi_page_has_blocks(page))
		return;
	hw_say_page_heap(report, mi);
	hw_say_page_lists(report, mi);
	if (mi->place.list && page->heap)
		hw_explain_say(report, "", "number %" PRIu64 " in %s", mi->place.position,
			       mi->place.list);
	if (mi->qsbr_goal)
		hw_explain_say(report, "",
			       "waits until no thread can still read it (QSBR goal %" PRIu64 ")",
			       mi->qsbr_goal);
	if (mi->has_block)
		hw_explain_say(report, "", "the address is in block %" PRIu32 " of it",
			       mi->block_index);
	if (mi->has_block_position)
		hw_explain_say(report, "", "number %" PRIu32 " on its %s", mi->block_position,
			       hw_mi_list_word(mi->block_list));
}

// ---- JSON ----

static struct json_object *hw_json_number_if(bool is_known, uint64_t number)
{
	return is_known ? json_object_new_uint64(number) : NULL;
}

static struct json_object *hw_json_address_if(hw_addr_t addr)
{
	return addr ? hw_json_address(addr) : NULL;
}

static struct json_object *hw_json_mi_page(struct hw_report *report,
					   const struct hw_explained_mi *mi)
{
	const struct hw_mi_page *page = mi->page;
	if (!page)
		return NULL;
	bool has_blocks = hw_mi_page_has_blocks(page);
	const char *tag = hw_mi_tag_word(page->tag);
	struct json_object *object = json_object_new_object();
	hw_json_add_address(object, "start", page->start);
	hw_json_add_address(object, "end", page->start + page->bytes - 1);
	hw_json_add_address(object, "header", page->header);
	hw_json_add_text(report, object, "state",
			 page->is_bad    ? "damaged"
			 : page->is_free ? "free"
					 : "in use");
	hw_json_add_text(report, object, "tag", has_blocks && *tag ? tag : NULL);
	hw_json_add(object, "heap", hw_json_address_if(has_blocks ? page->heap : 0));
	hw_json_add(object, "thread_state", hw_json_address_if(mi->heap ? mi->heap->tstate : 0));
	hw_json_add(object, "block_size", hw_json_number_if(has_blocks, page->block_bytes));
	hw_json_add(object, "capacity", hw_json_number_if(has_blocks, page->capacity));
	hw_json_add(object, "reserved", hw_json_number_if(has_blocks, page->reserved));
	hw_json_add(object, "used", hw_json_number_if(has_blocks, page->used));
	hw_json_add(object, "free", hw_json_number_if(mi->has_lists, mi->lists.free));
	hw_json_add(object, "local_free", hw_json_number_if(mi->has_lists, mi->lists.local_free));
	hw_json_add(object, "xthread_free",
		    hw_json_number_if(mi->has_lists, mi->lists.thread_free));
	hw_json_add(object, "thread_delayed_free",
		    hw_json_number_if(mi->has_lists, mi->lists.delayed));
	hw_json_add(object, "queue_position",
		    hw_json_number_if(mi->place.list && page->heap, mi->place.position));
	hw_json_add(object, "qsbr_goal", hw_json_number_if(mi->qsbr_goal, mi->qsbr_goal));
	hw_json_add(object, "block_index", hw_json_number_if(mi->has_block, mi->block_index));
	hw_json_add_text(report, object, "list",
			 mi->has_block ? hw_mi_list_word(mi->block_list) : NULL);
	hw_json_add(object, "list_position",
		    hw_json_number_if(mi->has_block_position, mi->block_position));
	return object;
}

struct json_object *hw_explain_mimalloc_json(struct hw_report *report,
					     const struct hw_explanation *e)
{
	const struct hw_explained_mi *mi = &e->mi;
	if (!mi->segment)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_address(object, "start", mi->segment->start);
	hw_json_add_address(object, "end", mi->segment->end - 1);
	hw_json_add_text(report, object, "kind", mi->segment->is_huge ? "huge" : "normal");
	hw_json_add(object, "thread_id", hw_json_address_if(mi->segment->thread_id));
	hw_json_add(object, "abandoned_by_interpreter",
		    mi->is_listed_abandoned ? json_object_new_int64(mi->abandoned_interpreter)
					    : NULL);
	hw_json_add_number(object, "pages_used", mi->segment->used);
	hw_json_add_number(object, "slice", mi->slice);
	hw_json_add(object, "page", hw_json_mi_page(report, mi));
	return object;
}
