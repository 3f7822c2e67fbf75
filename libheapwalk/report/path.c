/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `path ADDR`: the shortest ways from a root to an object.
#include <inttypes.h>
#include <stdio.h>

#include "analysis/paths.h"
#include "report/report.h"

enum { HW_PATHS_SHOWN = 3 };

static const struct hw_column hw_path_columns[] = {
	{ "Path", "path" },     { "Step", "step" },
	{ "Object", "object" }, { NULL, "start" },
	{ NULL, "size" },       { "Kind", "kind" },
	{ "Detail", "detail" }, { "Holds the next as", "holds" },
};

// Step 0 is the root, which is no object.
static void hw_path_root_row(struct hw_report *report, uint64_t number, const struct hw_path *path)
{
	char more[HW_HOLDING_TEXT_MAX] = "";
	if (path->root == HW_PATH_UNSEEN)
		snprintf(more, sizeof(more), "%" PRIu64 " references from outside, no word found",
			 path->unexplained);
	else if (path->more)
		snprintf(more, sizeof(more), "and from %" PRIu64 " other place%s", path->more,
			 path->more == 1 ? "" : "s");
	const struct hw_cell cells[] = {
		hw_cell_number(number),   hw_cell_number(0),
		hw_cell_none(),           path->at ? hw_cell_address(path->at) : hw_cell_none(),
		hw_cell_none(),           hw_cell_text(hw_path_root_word(path->root)),
		hw_cell_text(path->text), hw_cell_text(more),
	};
	hw_table_row(report, cells);
}

static void hw_path_rows(struct hw_report *report, uint64_t number, const struct hw_path *path)
{
	hw_path_root_row(report, number, path);
	for (size_t i = 0; i < path->steps.count; i++) {
		const struct hw_path_step *step = &path->steps.data[i];
		const struct hw_cell cells[] = {
			hw_cell_number(number),
			hw_cell_number(i + 1),
			step->block.object ? hw_cell_address(step->block.object) : hw_cell_none(),
			hw_cell_address(step->block.start),
			hw_cell_number(step->block.size_bytes),
			hw_cell_text(step->block.kind),
			hw_cell_text(step->block.detail),
			hw_cell_text(step->how),
		};
		hw_table_row(report, cells);
	}
}

struct hw_error *hw_report_path(struct hw_report *report)
{
	hw_addr_t addr;
	HW_TRY(hw_argument_address(report->arguments, &addr));
	const uint64_t top = report->top == UINT64_MAX ? HW_PATHS_SHOWN : report->top;
	if (top > HW_PATHS_MAX)
		return hw_error_create(HW_ERROR_INVALID,
				       "%" PRIu64 " paths are too many: at most %d are looked for",
				       top, HW_PATHS_MAX);
	struct hw_paths paths;
	HW_TRY(hw_paths_find(report->session, addr, (unsigned)top, &paths));
	char bytes[32];
	hw_report_begin(report, "path");
	hw_report_member(report, "garbage", json_object_new_boolean(paths.is_garbage));
	hw_table_begin(report, "rows", hw_path_columns, HW_ARRAY_COUNT(hw_path_columns));
	for (size_t i = 0; i < paths.list.count && !hw_report_is_stopped(report); i++)
		hw_path_rows(report, i + 1, &paths.list.data[i]);
	hw_table_end(report);
	if (paths.is_garbage)
		hw_report_line(report,
			       "no root leads to 0x%" PRIx64 ": it is garbage, held by what it "
			       "holds, and the next collection frees it",
			       addr);
	else
		hw_report_line(report, "%zu path%s; roots were looked for in %s bytes",
			       paths.list.count, paths.list.count == 1 ? "" : "s",
			       hw_commas(paths.bytes_read, bytes));
	hw_paths_deinit(&paths);
	return NULL;
}
