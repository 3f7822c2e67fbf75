/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `sizes`: blocks in use by size. Sizes are whole blocks: a chunk with its header, a size class.
#include "analysis/census.h"
#include "report/report.h"

enum { HW_SIZES_ALLOCATOR, HW_SIZES_SIZE, HW_SIZES_COUNT, HW_SIZES_BYTES, HW_SIZES_CELLS };

static const struct hw_column hw_sizes_columns[HW_SIZES_CELLS] = {
	[HW_SIZES_ALLOCATOR] = { "Allocator", "allocator" },
	[HW_SIZES_SIZE] = { "Chunk size", "size" },
	[HW_SIZES_COUNT] = { "Num chunks", "count" },
	[HW_SIZES_BYTES] = { "Allocated size", "bytes" },
};

static void hw_sizes_print(struct hw_report *report, struct hw_rows *rows, uint64_t count,
			   uint64_t bytes)
{
	const char *sort = hw_argument(report->arguments, "sort");
	hw_rows_sort(rows, sort ? sort : "bytes");
	hw_report_begin(report, "sizes");
	hw_table_begin(report, "rows", hw_sizes_columns, HW_SIZES_CELLS);
	hw_rows_print(rows, report, report->top);
	const struct hw_cell total[HW_SIZES_CELLS] = {
		[HW_SIZES_SIZE] = hw_cell_text("TOTALS"),
		[HW_SIZES_COUNT] = hw_cell_number(count),
		[HW_SIZES_BYTES] = hw_cell_number(bytes),
	};
	hw_table_total(report, total);
	hw_table_end(report);
	struct json_object *object = json_object_new_object();
	hw_json_add_number(object, "count", count);
	hw_json_add_number(object, "bytes", bytes);
	hw_json_add_number(object, "rows", hw_rows_count(rows));
	hw_report_member(report, "total", object);
}

struct hw_error *hw_report_sizes(struct hw_report *report)
{
	struct hw_session *session = report->session;
	HW_TRY(hw_session_need_heap(session));
	struct hw_group_rows groups;
	HW_TRY(hw_census_group(session->heap, session->target, HW_GROUP_USED_SIZE,
			       &session->progress, &groups));
	struct hw_rows rows = { .columns = hw_sizes_columns, .column_count = HW_SIZES_CELLS };
	uint64_t count = 0, bytes = 0;
	bool ok = true;
	for (size_t i = 0; ok && i < groups.list.count; i++) {
		const struct hw_group_row *group = &groups.list.data[i];
		const struct hw_cell cells[HW_SIZES_CELLS] = {
			[HW_SIZES_ALLOCATOR] = hw_cell_text(group->allocator),
			[HW_SIZES_SIZE] = hw_cell_number(group->size_bytes),
			[HW_SIZES_COUNT] = hw_cell_number(group->count),
			[HW_SIZES_BYTES] = hw_cell_number(group->bytes),
		};
		count += group->count;
		bytes += group->bytes;
		ok = hw_rows_push(&rows, cells);
	}
	if (ok)
		hw_sizes_print(report, &rows, count, bytes);
	hw_rows_deinit(&rows);
	hw_group_rows_deinit(&groups);
	return ok ? NULL : &hw_enomem;
}
