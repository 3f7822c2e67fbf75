/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/cpython_mimalloc.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum {
	HW_MIHEAP_ADDRESS,
	HW_MIHEAP_THREAD,
	HW_MIHEAP_WHOSE,
	HW_MIHEAP_TAG,
	HW_MIHEAP_TSTATE,
	HW_MIHEAP_INTERPRETER,
	HW_MIHEAP_PAGES,
	HW_MIHEAP_USED,
	HW_MIHEAP_BYTES,
	HW_MIHEAP_COMMITTED,
	HW_MIHEAP_RESERVED,
	HW_MIHEAP_CELLS
};
enum {
	HW_MISEGMENT_START,
	HW_MISEGMENT_END,
	HW_MISEGMENT_KIND,
	HW_MISEGMENT_THREAD,
	HW_MISEGMENT_PAGES,
	HW_MISEGMENT_USED,
	HW_MISEGMENT_BYTES,
	HW_MISEGMENT_FREE,
	HW_MISEGMENT_CELLS
};
enum {
	HW_MISIZE_BYTES,
	HW_MISIZE_PAGES,
	HW_MISIZE_USED,
	HW_MISIZE_FREE,
	HW_MISIZE_UNCARVED,
	HW_MISIZE_CELLS
};

static const struct hw_column hw_mi_heap_columns[HW_MIHEAP_CELLS] = {
	[HW_MIHEAP_ADDRESS] = { "mi_heap_t*", "heap" },
	[HW_MIHEAP_THREAD] = { "Thread", "thread_id" },
	[HW_MIHEAP_WHOSE] = { "Whose", "whose" },
	[HW_MIHEAP_TAG] = { "Tag", "tag" },
	[HW_MIHEAP_TSTATE] = { "PyThreadState*", "thread_state" },
	[HW_MIHEAP_INTERPRETER] = { "Interpreter", "interpreter" },
	[HW_MIHEAP_PAGES] = { "Pages", "pages" },
	[HW_MIHEAP_USED] = { "Blocks used", "blocks_used" },
	[HW_MIHEAP_BYTES] = { "Bytes used", "bytes_used" },
	[HW_MIHEAP_COMMITTED] = { "Committed", "committed_bytes" },
	[HW_MIHEAP_RESERVED] = { "Reserved", "reserved_bytes" },
};
static const struct hw_column hw_mi_segment_columns[HW_MISEGMENT_CELLS] = {
	[HW_MISEGMENT_START] = { "Segment", "start" },
	[HW_MISEGMENT_END] = { "End", "end" },
	[HW_MISEGMENT_KIND] = { "Kind", "kind" },
	[HW_MISEGMENT_THREAD] = { "Thread", "thread_id" },
	[HW_MISEGMENT_PAGES] = { "Pages", "pages" },
	[HW_MISEGMENT_USED] = { "Blocks used", "blocks_used" },
	[HW_MISEGMENT_BYTES] = { "Bytes used", "bytes_used" },
	[HW_MISEGMENT_FREE] = { "Free slices' bytes", "free_slice_bytes" },
};
static const struct hw_column hw_mi_size_columns[HW_MISIZE_CELLS] = {
	[HW_MISIZE_BYTES] = { "Block size", "size" },
	[HW_MISIZE_PAGES] = { "Num pages", "pages" },
	[HW_MISIZE_USED] = { "Blocks used", "blocks_used" },
	[HW_MISIZE_FREE] = { "Avail blocks", "blocks_free" },
	[HW_MISIZE_UNCARVED] = { "Never carved", "blocks_never_carved" },
};

// ---- rows ----

static bool hw_mi_heap_row(const struct hw_mimalloc *mi, struct hw_rows *rows,
			   const struct hw_mi_heap *heap)
{
	// Pages of ended threads are no heap's.
	const char *tag = heap->address || mi->has_tags ? hw_mi_tag_word(heap->tag) : "";
	const char *whose = heap->is_main ? "main thread" : heap->address ? "thread" : "abandoned";
	bool has_thread = heap->address && heap->is_readable;
	const struct hw_cell cells[HW_MIHEAP_CELLS] = {
		[HW_MIHEAP_ADDRESS] = heap->address ? hw_cell_address(heap->address)
						    : hw_cell_none(),
		[HW_MIHEAP_THREAD] = has_thread ? hw_cell_address(heap->thread_id) : hw_cell_none(),
		[HW_MIHEAP_WHOSE] = hw_cell_text(whose),
		[HW_MIHEAP_TAG] = *tag ? hw_cell_text(tag) : hw_cell_none(),
		[HW_MIHEAP_TSTATE] = heap->tstate ? hw_cell_address(heap->tstate) : hw_cell_none(),
		[HW_MIHEAP_INTERPRETER] = heap->tstate
						  ? hw_cell_number((uint64_t)heap->interpreter_id)
						  : hw_cell_none(),
		[HW_MIHEAP_PAGES] = hw_cell_number(heap->pages),
		[HW_MIHEAP_USED] = hw_cell_number(heap->blocks),
		[HW_MIHEAP_BYTES] = hw_cell_number(heap->block_bytes),
		[HW_MIHEAP_COMMITTED] = hw_cell_number(heap->committed_bytes),
		[HW_MIHEAP_RESERVED] = hw_cell_number(heap->reserved_bytes),
	};
	return hw_rows_push(rows, cells);
}

static bool hw_mi_heap_rows(const struct hw_mimalloc *mi, struct hw_rows *rows)
{
	struct hw_mi_heap abandoned[HW_MI_TAG_COUNT + 1] = { 0 };
	hw_vec_foreach(page, &mi->pages)
	{
		if (hw_mi_page_has_blocks(page) && !page->heap)
			hw_mi_heap_count(&abandoned[page->tag], page);
	}
	hw_vec_foreach(heap, &mi->heaps)
	{
		if (!hw_mi_heap_row(mi, rows, heap))
			return false;
	}
	for (unsigned tag = 0; tag <= HW_MI_TAG_COUNT; tag++) {
		abandoned[tag].tag = (uint8_t)tag;
		if (abandoned[tag].pages && !hw_mi_heap_row(mi, rows, &abandoned[tag]))
			return false;
	}
	return true;
}

static bool hw_mi_segment_rows(const struct hw_mimalloc *mi, struct hw_rows *rows)
{
	hw_vec_foreach(segment, &mi->segments)
	{
		struct hw_mi_heap sum = { 0 };
		uint64_t free_bytes = 0;
		for (uint32_t i = 0; i < segment->page_count; i++) {
			const struct hw_mi_page *page = &mi->pages.data[segment->page_first + i];
			if (hw_mi_page_has_blocks(page))
				hw_mi_heap_count(&sum, page);
			else if (page->is_free)
				free_bytes += page->bytes;
		}
		const struct hw_cell cells[HW_MISEGMENT_CELLS] = {
			[HW_MISEGMENT_START] = hw_cell_address(segment->start),
			[HW_MISEGMENT_END] = hw_cell_address(segment->end - 1),
			[HW_MISEGMENT_KIND] = hw_cell_text(!segment->thread_id ? "abandoned"
							   : segment->is_huge  ? "huge"
									       : "normal"),
			[HW_MISEGMENT_THREAD] = segment->thread_id
							? hw_cell_address(segment->thread_id)
							: hw_cell_none(),
			[HW_MISEGMENT_PAGES] = hw_cell_number(sum.pages),
			[HW_MISEGMENT_USED] = hw_cell_number(sum.blocks),
			[HW_MISEGMENT_BYTES] = hw_cell_number(sum.block_bytes),
			[HW_MISEGMENT_FREE] = hw_cell_number(free_bytes),
		};
		if (!hw_rows_push(rows, cells))
			return false;
	}
	return true;
}

static int hw_mi_size_order(const void *a, const void *b)
{
	const struct hw_mi_page *const *x = a, *const *y = b;
	return (*x)->block_bytes < (*y)->block_bytes ? -1 : (*x)->block_bytes > (*y)->block_bytes;
}

static bool hw_mi_size_rows(const struct hw_mimalloc *mi, struct hw_rows *rows)
{
	hw_cleanup_free const struct hw_mi_page **pages = calloc(mi->pages.count + 1,
								 sizeof(const struct hw_mi_page *));
	size_t count = 0, i = 0;
	if (!pages)
		return false;
	hw_vec_foreach(page, &mi->pages)
	{
		if (hw_mi_page_has_blocks(page))
			pages[count++] = page;
	}
	qsort(pages, count, sizeof(*pages), hw_mi_size_order);
	while (i < count) {
		uint64_t bytes = pages[i]->block_bytes, used = 0, free = 0, uncarved = 0;
		size_t first = i;
		for (; i < count && pages[i]->block_bytes == bytes; i++) {
			used += pages[i]->used;
			free += pages[i]->capacity - pages[i]->used;
			uncarved += pages[i]->reserved - pages[i]->capacity;
		}
		const struct hw_cell cells[HW_MISIZE_CELLS] = {
			[HW_MISIZE_BYTES] = hw_cell_number(bytes),
			[HW_MISIZE_PAGES] = hw_cell_number(i - first),
			[HW_MISIZE_USED] = hw_cell_number(used),
			[HW_MISIZE_FREE] = hw_cell_number(free),
			[HW_MISIZE_UNCARVED] = hw_cell_number(uncarved),
		};
		if (!hw_rows_push(rows, cells))
			return false;
	}
	return true;
}

struct hw_error *hw_mi_tables_gather(const struct hw_session *session, struct hw_mi_tables *ret)
{
	const struct hw_mimalloc *mi = &session->mimalloc;
	*ret = (struct hw_mi_tables){
		.heaps = { .columns = hw_mi_heap_columns, .column_count = HW_MIHEAP_CELLS },
		.segments = { .columns = hw_mi_segment_columns,
			      .column_count = HW_MISEGMENT_CELLS },
		.sizes = { .columns = hw_mi_size_columns, .column_count = HW_MISIZE_CELLS },
	};
	return hw_mi_heap_rows(mi, &ret->heaps) && hw_mi_segment_rows(mi, &ret->segments) &&
			       hw_mi_size_rows(mi, &ret->sizes)
		       ? NULL
		       : &hw_enomem;
}

void hw_mi_tables_deinit(struct hw_mi_tables *tables)
{
	hw_rows_deinit(&tables->heaps);
	hw_rows_deinit(&tables->segments);
	hw_rows_deinit(&tables->sizes);
}

// ---- printing ----

static void hw_mi_table_print(struct hw_report *report, const char *key, const struct hw_rows *rows,
			      uint64_t top)
{
	hw_table_begin(report, key, rows->columns, rows->column_count);
	hw_rows_print(rows, report, top);
	hw_table_end(report);
}

void hw_mi_tables_text(struct hw_report *report, const struct hw_mi_tables *tables)
{
	size_t count = hw_rows_count(&tables->segments);
	if (hw_report_shows(report, "arenas")) {
		hw_report_line(report, "Objects/mimalloc: %zu segments, %zu heaps", count,
			       report->session->mimalloc.heaps.count);
		hw_mi_table_print(report, "heaps", &tables->heaps, report->top);
		hw_report_line(report, "%s", "");
		hw_mi_table_print(report, "segments", &tables->segments, report->top);
		if (count > report->top)
			hw_report_styled_line(report, HW_STYLE_METADATA, "(%zu more segments)",
					      count - (size_t)report->top);
		hw_report_line(report, "%s", "");
	}
	if (hw_report_shows(report, "classes")) {
		hw_mi_table_print(report, "page_sizes", &tables->sizes, UINT64_MAX);
		hw_report_line(report, "%s", "");
	}
}

void hw_mi_tables_csv(struct hw_report *report, const struct hw_mi_tables *tables)
{
	const char *show = hw_argument(report->arguments, "show");
	if (show && !strcmp(show, "classes"))
		hw_mi_table_print(report, "page_sizes", &tables->sizes, UINT64_MAX);
	else
		hw_mi_table_print(report, "segments", &tables->segments, report->top);
}

static struct json_object *hw_mi_json_rows(struct hw_report *report, const struct hw_rows *rows,
					   uint64_t top)
{
	struct json_object *array = json_object_new_array();
	size_t count = hw_rows_count(rows);
	for (size_t i = 0; array && i < count && i < top; i++)
		json_object_array_add(array,
				      hw_json_row(report, rows->columns, rows->column_count,
						  rows->cells.data + i * rows->column_count));
	return array;
}

struct json_object *hw_mi_tables_json(struct hw_report *report, const struct hw_mi_tables *tables)
{
	struct json_object *object = hw_mi_tables_are_empty(tables) ? NULL
								    : json_object_new_object();
	if (!object)
		return NULL;
	if (hw_report_shows(report, "arenas")) {
		hw_json_add(object, "heaps", hw_mi_json_rows(report, &tables->heaps, report->top));
		hw_json_add(object, "segments",
			    hw_mi_json_rows(report, &tables->segments, report->top));
	}
	if (hw_report_shows(report, "classes"))
		hw_json_add(object, "page_sizes",
			    hw_mi_json_rows(report, &tables->sizes, UINT64_MAX));
	return object;
}
