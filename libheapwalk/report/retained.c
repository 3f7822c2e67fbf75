/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `retained [QUERY]`: what would be freed if an object went.
#include <inttypes.h>
#include <string.h>

#include "analysis/query.h"
#include "analysis/retained.h"
#include "base/bytes.h"
#include "report/report.h"

enum { HW_RETAINED_SHOWN = 20 };

enum {
	HW_RETAINED_BYTES,
	HW_RETAINED_BLOCKS,
	HW_RETAINED_SIZE,
	HW_RETAINED_OBJECT,
	HW_RETAINED_START,
	HW_RETAINED_KIND,
	HW_RETAINED_DETAIL,
	HW_RETAINED_ABOVE,
	HW_RETAINED_ABOVE_KIND,
	HW_RETAINED_ABOVE_DETAIL,
	HW_RETAINED_CELLS
};

static const struct hw_column hw_retained_columns[HW_RETAINED_CELLS] = {
	[HW_RETAINED_BYTES] = { "Retained", "retained_bytes" },
	[HW_RETAINED_BLOCKS] = { "Blocks", "retained_blocks" },
	[HW_RETAINED_SIZE] = { "Size", "size" },
	[HW_RETAINED_OBJECT] = { "Object", "object" },
	[HW_RETAINED_START] = { NULL, "start" },
	[HW_RETAINED_KIND] = { "Kind", "kind" },
	[HW_RETAINED_DETAIL] = { "Detail", "detail" },
	[HW_RETAINED_ABOVE] = { "Retained by", "dominator" },
	[HW_RETAINED_ABOVE_KIND] = { "Its kind", "dominator_kind" },
	[HW_RETAINED_ABOVE_DETAIL] = { NULL, "dominator_detail" },
};

static const struct hw_column hw_retained_type_columns[] = {
	{ "Retained", "retained_bytes" },
	{ "Blocks", "retained_blocks" },
	{ "Count", "count" },
	{ "Bytes", "bytes" },
	{ "Kind", "kind" },
	{ NULL, "type" },
};

struct hw_retained_report {
	struct hw_report *report;
	struct hw_retained retained;
	struct hw_chosen chosen;
	struct hw_rows rows;
	HW_VEC(uint32_t) biggest; // numbers: a heap, the least on top
	uint64_t together_blocks, together_bytes;
};

// ---- the biggest ---------------------------------------------------------------------------------

// Of equals the one with the higher address is the lesser, so that the choice does not depend on the order.
static bool hw_retains_less(const struct hw_retained *r, uint32_t a, uint32_t b)
{
	if (r->bytes[a] != r->bytes[b])
		return r->bytes[a] < r->bytes[b];
	return r->dominators.node[a] > r->dominators.node[b];
}

static void hw_biggest_sink(struct hw_retained_report *r)
{
	uint32_t *heap = r->biggest.data;
	const size_t count = r->biggest.count;
	for (size_t at = 0, least; 2 * at + 1 < count; at = least) {
		least = 2 * at + 1;
		if (least + 1 < count &&
		    hw_retains_less(&r->retained, heap[least + 1], heap[least]))
			least++;
		if (!hw_retains_less(&r->retained, heap[least], heap[at]))
			return;
		uint32_t swapped = heap[at];
		heap[at] = heap[least];
		heap[least] = swapped;
	}
}

static bool hw_biggest_take(struct hw_retained_report *r, uint32_t number, uint64_t top)
{
	if (r->biggest.count >= top) {
		if (hw_retains_less(&r->retained, r->biggest.data[0], number)) {
			r->biggest.data[0] = number;
			hw_biggest_sink(r);
		}
		return true;
	}
	if (!hw_vec_push(&r->biggest, number))
		return false;
	uint32_t *heap = r->biggest.data;
	for (size_t at = r->biggest.count - 1, up; at; at = up) {
		up = (at - 1) / 2;
		if (!hw_retains_less(&r->retained, number, heap[up]))
			break;
		heap[at] = heap[up];
		heap[up] = number;
	}
	return true;
}

enum { HW_CHAIN_STEPS = 4 };

// Of a chain (a linked list, a class with its dict in between) the first tells all: is another of its
// category near above it, and retains little more?
static bool hw_retained_is_link(const struct hw_retained *r, uint32_t number)
{
	const uint32_t *node = r->dominators.node;
	const uint32_t category = hw_graph_category(r->graph, node[number]);
	uint32_t above = number;
	for (unsigned i = 0; i < HW_CHAIN_STEPS; i++) {
		above = r->dominators.above[above];
		if (!above || r->bytes[above] - r->bytes[number] > r->bytes[number] / 10)
			return false;
		if (hw_graph_category(r->graph, node[above]) == category)
			return true;
	}
	return false;
}

static bool hw_retained_push(struct hw_retained_report *r, uint32_t number)
{
	const struct hw_retained *retained = &r->retained;
	const struct hw_heap *heap = r->report->session->heap;
	const uint32_t *node = retained->dominators.node;
	struct hw_row row;
	hw_graph_row(retained->graph, node[number], &row);
	const struct hw_category *category = hw_heap_category(heap, row.category), *above = NULL;
	uint32_t by = hw_retained_above(retained, number);
	if (by)
		above = hw_heap_category(heap, hw_graph_category(retained->graph, node[by]));
	const struct hw_cell cells[HW_RETAINED_CELLS] = {
		[HW_RETAINED_BYTES] = hw_cell_number(retained->bytes[number]),
		[HW_RETAINED_BLOCKS] = hw_cell_number(retained->blocks[number]),
		[HW_RETAINED_SIZE] = hw_cell_number(row.size_bytes),
		[HW_RETAINED_OBJECT] =
			hw_cell_address(hw_graph_object(retained->graph, node[number])),
		[HW_RETAINED_START] = hw_cell_address(row.start),
		[HW_RETAINED_KIND] = hw_cell_text(category->kind),
		[HW_RETAINED_DETAIL] = hw_cell_text(category->detail),
		[HW_RETAINED_ABOVE] =
			by ? hw_cell_address(hw_graph_object(retained->graph, node[by]))
			   : hw_cell_none(),
		[HW_RETAINED_ABOVE_KIND] = hw_cell_text(above ? above->kind : NULL),
		[HW_RETAINED_ABOVE_DETAIL] = hw_cell_text(above ? above->detail : NULL),
	};
	return hw_rows_push(&r->rows, cells);
}

static struct hw_error *hw_retained_objects(struct hw_retained_report *r)
{
	const struct hw_dominators *d = &r->retained.dominators;
	const uint64_t top = r->report->top == UINT64_MAX ? HW_RETAINED_SHOWN : r->report->top;
	const bool all = *r->report->arguments->text;
	r->rows = (struct hw_rows){ hw_retained_columns, HW_RETAINED_CELLS, { 0 } };
	for (uint32_t i = 1; i < d->count; i++) {
		if (!hw_chosen_has(&r->chosen, d->node[i]) ||
		    (r->biggest.count == top &&
		     r->retained.bytes[i] < r->retained.bytes[r->biggest.data[0]]) ||
		    (!all && hw_retained_is_link(&r->retained, i)))
			continue;
		if (!hw_biggest_take(r, i, top))
			return &hw_enomem;
	}
	hw_vec_foreach(number, &r->biggest) if (!hw_retained_push(r, *number)) return &hw_enomem;
	return NULL;
}

static struct hw_error *hw_retained_types_rows(struct hw_retained_report *r)
{
	const struct hw_session *session = r->report->session;
	hw_retained_types types = { 0 };
	struct hw_error *err = hw_retained_by_type(session, &r->retained, &r->chosen, &types);
	r->rows = (struct hw_rows){ hw_retained_type_columns,
				    HW_ARRAY_COUNT(hw_retained_type_columns),
				    { 0 } };
	hw_vec_foreach(type, &types)
	{
		const struct hw_category *category = hw_heap_category(session->heap,
								      type->category);
		const struct hw_cell cells[] = {
			hw_cell_number(type->bytes),
			hw_cell_number(type->blocks),
			hw_cell_number(type->count),
			hw_cell_number(type->own_bytes),
			hw_cell_text(category->kind),
			hw_cell_address(hw_heap_type_address(session->heap, category->type)),
		};
		if (!err && !hw_rows_push(&r->rows, cells))
			err = &hw_enomem;
	}
	hw_vec_deinit(&types);
	return err;
}

// ---- printing ------------------------------------------------------------------------------------

static void hw_retained_say(struct hw_retained_report *r)
{
	struct hw_report *report = r->report;
	const struct hw_retained *retained = &r->retained;
	char a[32], b[32], c[32], d[32];
	hw_report_line(report, "%s", "");
	hw_report_line(report,
		       "%s objects: if all of them went, %s bytes in %s blocks would be freed",
		       hw_commas(r->chosen.count, a), hw_commas(r->together_bytes, b),
		       hw_commas(r->together_blocks, c));
	hw_report_line(
		report,
		"of %s blocks and %s bytes of objects and their buffers; %s objects are held "
		"from outside as well",
		hw_commas(retained->node_blocks, a), hw_commas(retained->node_bytes, b),
		hw_commas(retained->root_count, c));
	if (retained->garbage_blocks)
		hw_report_line(report,
			       "%s blocks, %s bytes, are led to by nothing: cycles that the "
			       "collector has not met",
			       hw_commas(retained->garbage_blocks, a),
			       hw_commas(retained->garbage_bytes, b));
	hw_report_line(report,
		       "dominators of %s counted references; what C memory holds stays; took %s "
		       "bytes, %s a block",
		       hw_commas(hw_graph_link_count(retained->graph), a),
		       hw_commas(retained->peak_bytes, b),
		       hw_commas(retained->peak_bytes / hw_max(retained->node_blocks, 1), d));
}

static void hw_retained_members(struct hw_retained_report *r)
{
	struct hw_report *report = r->report;
	const struct hw_retained *retained = &r->retained;
	struct json_object *total = json_object_new_object(), *graph = json_object_new_object();
	hw_json_add_number(total, "count", r->chosen.count);
	hw_json_add_number(total, "bytes", r->chosen.bytes);
	hw_json_add_number(total, "retained_blocks", r->together_blocks);
	hw_json_add_number(total, "retained_bytes", r->together_bytes);
	hw_report_member(report, "total", total);
	hw_json_add_number(graph, "blocks", retained->node_blocks);
	hw_json_add_number(graph, "bytes", retained->node_bytes);
	hw_json_add_number(graph, "links", hw_graph_link_count(retained->graph));
	hw_json_add_number(graph, "roots", retained->root_count);
	hw_json_add_number(graph, "garbage_blocks", retained->garbage_blocks);
	hw_json_add_number(graph, "garbage_bytes", retained->garbage_bytes);
	hw_json_add_number(graph, "memory_bytes", retained->peak_bytes);
	hw_report_member(report, "graph", graph);
}

static struct hw_error *hw_retained_print(struct hw_retained_report *r)
{
	struct hw_report *report = r->report;
	const char *sort = hw_argument(report->arguments, "sort");
	const char *by = hw_argument(report->arguments, "by");
	const bool by_type = by && !strcmp(by, "type");
	HW_TRY(hw_retained_together(&r->retained, &r->chosen, &r->together_blocks,
				    &r->together_bytes));
	HW_TRY(by_type ? hw_retained_types_rows(r) : hw_retained_objects(r));
	hw_rows_sort(&r->rows, sort ? sort : "retained_bytes");
	hw_report_begin(report, "retained");
	hw_table_begin(report, "rows", r->rows.columns, r->rows.column_count);
	hw_rows_print(&r->rows, report, report->top);
	hw_table_end(report);
	hw_retained_members(r);
	hw_retained_say(r);
	return NULL;
}

static struct hw_error *hw_retained_run(struct hw_report *report, struct hw_query *query)
{
	struct hw_retained_report r = { .report = report };
	HW_TRY(hw_retained_make(report->session, &r.retained));
	struct hw_error *err = hw_chosen_make(report->session, r.retained.graph, query, &r.chosen);
	if (!err)
		err = hw_retained_print(&r);
	hw_retained_deinit(&r.retained);
	hw_chosen_deinit(&r.chosen);
	hw_rows_deinit(&r.rows);
	hw_vec_deinit(&r.biggest);
	return err;
}

struct hw_error *hw_report_retained(struct hw_report *report)
{
	hw_cleanup_query struct hw_query *query = NULL;
	HW_TRY(hw_query_parse(report->arguments->text, &query));
	return hw_retained_run(report, query);
}
