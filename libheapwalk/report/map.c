/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `map`: the ledger of the whole process, beside the kernel's own sums.
#include "analysis/process_map.h"

#include <stdio.h>

#include "base/bytes.h"
#include "report/report.h"

enum {
	HW_MAPS_WHAT,
	HW_MAPS_VIRTUAL,
	HW_MAPS_RESIDENT,
	HW_MAPS_SWAPPED,
	HW_MAPS_HUGE,
	HW_MAPS_MISSING,
	HW_MAPS_CELLS
};

static const struct hw_column hw_map_live_columns[HW_MAPS_CELLS] = {
	[HW_MAPS_WHAT] = { "What", "what" },
	[HW_MAPS_VIRTUAL] = { "Virtual", "virtual_bytes" },
	[HW_MAPS_RESIDENT] = { "Resident", "resident_bytes" },
	[HW_MAPS_SWAPPED] = { "Swapped", "swapped_bytes" },
	[HW_MAPS_HUGE] = { "Huge pages", "huge_bytes" },
	[HW_MAPS_MISSING] = { NULL, "missing_bytes" },
};
static const struct hw_column hw_map_core_columns[HW_MAPS_CELLS] = {
	[HW_MAPS_WHAT] = { "What", "what" },
	[HW_MAPS_VIRTUAL] = { "Virtual", "virtual_bytes" },
	[HW_MAPS_RESIDENT] = { "Pages with data", "resident_bytes" },
	[HW_MAPS_SWAPPED] = { NULL, "swapped_bytes" },
	[HW_MAPS_HUGE] = { NULL, "huge_bytes" },
	[HW_MAPS_MISSING] = { "Can't tell", "missing_bytes" },
};

// What is not known is no number, never 0.
static void hw_map_cells(const struct hw_process_map *map, const char *what,
			 const struct hw_map_sum *sum, bool is_elsewhere, struct hw_cell *cells)
{
	const struct hw_cell none = hw_cell_none();
	bool has_pages = map->source != HW_RESIDENCY_NONE &&
			 (!sum->virtual_bytes || sum->pages.missing_bytes < sum->virtual_bytes);
	// A huge page that is not anonymous is no AnonHugePages: smaps has no sum of those.
	bool has_huge = is_elsewhere ? map->source == HW_RESIDENCY_KERNEL : map->knows_huge;
	cells[HW_MAPS_WHAT] = hw_cell_text(what);
	cells[HW_MAPS_VIRTUAL] = hw_cell_number(sum->virtual_bytes);
	cells[HW_MAPS_RESIDENT] = has_pages ? hw_cell_number(sum->pages.resident_bytes) : none;
	cells[HW_MAPS_SWAPPED] = map->knows_swapped ? hw_cell_number(sum->pages.swapped_bytes)
						    : none;
	cells[HW_MAPS_HUGE] = has_huge ? hw_cell_number(sum->pages.huge_bytes) : none;
	cells[HW_MAPS_MISSING] = map->source == HW_RESIDENCY_NONE
					 ? none
					 : hw_cell_number(sum->pages.missing_bytes);
}

static struct hw_cell hw_known_cell(uint64_t bytes)
{
	return bytes == HW_UNKNOWN_BYTES ? hw_cell_none() : hw_cell_number(bytes);
}

// ours - theirs
static struct hw_cell hw_difference_cell(uint64_t ours, uint64_t theirs)
{
	return theirs == HW_UNKNOWN_BYTES ? hw_cell_none()
					  : hw_cell_signed((int64_t)(ours - theirs));
}

struct hw_map_report {
	struct hw_report *report;
	const struct hw_column *columns;
	const struct hw_process_map *map;
	const struct hw_process_counts *counts;
	struct hw_map_sum process;
};

static struct json_object *hw_map_json(struct hw_map_report *r, const struct hw_cell *cells,
				       bool has_what)
{
	return hw_json_row(r->report, r->columns + !has_what, HW_MAPS_CELLS - !has_what,
			   cells + !has_what);
}

static struct json_object *hw_map_json_sum(struct hw_map_report *r, const struct hw_map_sum *sum)
{
	struct hw_cell cells[HW_MAPS_CELLS];
	hw_map_cells(r->map, "", sum, false, cells);
	return hw_map_json(r, cells, false);
}

static void hw_map_json_elsewhere(struct hw_map_report *r)
{
	struct json_object *array = json_object_new_array();
	for (unsigned i = HW_LINE_FIRST_ELSEWHERE; i < HW_LINE_COUNT; i++) {
		struct hw_cell cells[HW_MAPS_CELLS];
		hw_map_cells(r->map, hw_map_line_word(r->map, i), &r->map->lines[i], true, cells);
		struct json_object *row = hw_map_json(r, cells, true);
		if (!array || json_object_array_add(array, row))
			json_object_put(row);
	}
	hw_report_member(r->report, "elsewhere", array);
}

static void hw_json_add_known(struct json_object *object, const char *key, uint64_t bytes)
{
	if (bytes == HW_UNKNOWN_BYTES)
		hw_json_add(object, key, NULL);
	else
		hw_json_add_number(object, key, bytes);
}

static void hw_json_add_difference(struct json_object *object, const char *key, uint64_t ours,
				   uint64_t theirs)
{
	struct hw_cell cell = hw_difference_cell(ours, theirs);
	hw_json_add(object, key,
		    cell.kind == HW_CELL_NONE ? NULL : json_object_new_int64(cell.integer));
}

static uint64_t hw_map_counted_resident(const struct hw_map_report *r)
{
	return r->process.pages.resident_bytes -
	       hw_min(r->map->hugetlb_bytes, r->process.pages.resident_bytes);
}

static void hw_map_members(struct hw_map_report *r)
{
	static const char *const sources[] = { NULL, "kernel", "core" };
	const char *source = sources[r->map->source];
	hw_report_member(r->report, "total", hw_map_json_sum(r, &r->map->private_writable));
	hw_map_json_elsewhere(r);
	hw_report_member(r->report, "process", hw_map_json_sum(r, &r->process));
	hw_report_member(r->report, "resident_from",
			 source ? json_object_new_string(source) : NULL);
	struct json_object *kernel = json_object_new_object();
#define HW_X(name, key) hw_json_add_known(kernel, #name, r->counts->name);
	HW_PROCESS_COUNTS(HW_X)
#undef HW_X
	hw_json_add_known(kernel, "smaps_rss", r->map->smaps_resident_bytes);
	hw_report_member(r->report, "kernel", kernel);
	struct json_object *difference = json_object_new_object();
	hw_json_add_difference(difference, "virtual_bytes", r->process.virtual_bytes,
			       r->counts->vm_size);
	hw_json_add_difference(difference, "resident_bytes", hw_map_counted_resident(r),
			       r->counts->vm_rss);
	hw_report_member(r->report, "difference", difference);
}

static void hw_map_text_sum(struct hw_map_report *r, const char *what, const struct hw_map_sum *sum,
			    bool is_elsewhere)
{
	struct hw_cell cells[HW_MAPS_CELLS];
	hw_map_cells(r->map, what, sum, is_elsewhere, cells);
	hw_table_total(r->report, cells);
}

static void hw_map_text_rest(struct hw_map_report *r)
{
	const struct hw_process_counts *counts = r->counts;
	hw_map_text_sum(r, "TOTAL, private and writable", &r->map->private_writable, false);
	for (unsigned i = HW_LINE_FIRST_ELSEWHERE; i < HW_LINE_COUNT; i++)
		if (r->map->lines[i].virtual_bytes)
			hw_map_text_sum(r, hw_map_line_word(r->map, i), &r->map->lines[i], true);
	hw_map_text_sum(r, "TOTAL, the process", &r->process, false);
	if (r->map->source != HW_RESIDENCY_KERNEL)
		return;
	const struct hw_cell kernel[HW_MAPS_CELLS] = {
		[HW_MAPS_WHAT] = hw_cell_text("the kernel's VmSize, VmRSS, VmSwap"),
		[HW_MAPS_VIRTUAL] = hw_known_cell(counts->vm_size),
		[HW_MAPS_RESIDENT] = hw_known_cell(counts->vm_rss),
		[HW_MAPS_SWAPPED] = hw_known_cell(counts->vm_swap),
	};
	hw_table_total(r->report, kernel);
	const struct hw_cell difference[HW_MAPS_CELLS] = {
		[HW_MAPS_WHAT] = hw_cell_text("difference"),
		[HW_MAPS_VIRTUAL] = hw_difference_cell(r->process.virtual_bytes, counts->vm_size),
		[HW_MAPS_RESIDENT] = hw_difference_cell(hw_map_counted_resident(r), counts->vm_rss),
		[HW_MAPS_SWAPPED] = hw_difference_cell(r->process.pages.swapped_bytes,
						       counts->vm_swap),
	};
	hw_table_total(r->report, difference);
}

static void hw_map_notes(struct hw_map_report *r)
{
	struct hw_report *report = r->report;
	const struct hw_map_sum *unknown = &r->map->lines[HW_LINE_UNKNOWN];
	const struct hw_map_sum *total = &r->map->private_writable;
	char share[32], digits[32];
	hw_report_line(report, "%s", "");
	if (r->map->source == HW_RESIDENCY_NONE)
		hw_report_line(report, "which pages are resident can't be told of this target");
	if (r->map->source == HW_RESIDENCY_CORE)
		hw_report_line(report, "a core does not say which pages were resident or swapped: "
				       "these are its pages that are not all zeros, and those "
				       "that it does not have");
	uint64_t missing = total->pages.missing_bytes;
	if (r->map->source != HW_RESIDENCY_NONE && total->pages.resident_bytes)
		hw_report_line(report, "unknown: %s of private and writable resident memory%s%s%s",
			       hw_percent(unknown->pages.resident_bytes,
					  total->pages.resident_bytes, share),
			       missing ? "; of " : "", missing ? hw_commas(missing, digits) : "",
			       missing ? " bytes it can't be told" : "");
	else if (missing)
		hw_report_line(report, "unknown: of all %s bytes it can't be told",
			       hw_commas(missing, digits));
	if (*r->map->other_malloc)
		hw_report_line(report, "%s: anonymous mappings that nothing else explains",
			       r->map->other_malloc);
	if (r->map->hugetlb_bytes)
		hw_report_line(report, "hugetlbfs: %s resident bytes that VmRSS leaves out",
			       hw_commas(r->map->hugetlb_bytes, digits));
	if (r->counts->page_tables != HW_UNKNOWN_BYTES)
		hw_report_line(report, "page tables: %s bytes, in no line above",
			       hw_commas(r->counts->page_tables, digits));
}

static struct hw_error *hw_map_print(struct hw_map_report *r)
{
	struct hw_report *report = r->report;
	struct hw_rows rows = { .columns = r->columns, .column_count = HW_MAPS_CELLS };
	const char *sort = hw_argument(report->arguments, "sort");
	bool ok = true;
	for (unsigned i = 0; ok && i < HW_LINE_FIRST_ELSEWHERE; i++) {
		struct hw_cell cells[HW_MAPS_CELLS];
		const char *word = hw_map_line_word(r->map, i);
		if (!word)
			continue;
		// Few processes have mimalloc: the others' readers need no word of it.
		if (report->format == HW_FORMAT_TEXT && i >= HW_LINE_MIMALLOC_USED &&
		    i <= HW_LINE_MIMALLOC_OVERHEAD && !r->map->lines[i].virtual_bytes)
			continue;
		hw_map_cells(r->map, word, &r->map->lines[i], false, cells);
		ok = hw_rows_push(&rows, cells);
	}
	if (!ok) {
		hw_rows_deinit(&rows);
		return &hw_enomem;
	}
	if (sort)
		hw_rows_sort(&rows, sort);
	hw_report_begin(report, "map");
	hw_table_begin(report, "rows", r->columns, HW_MAPS_CELLS);
	hw_rows_print(&rows, report, report->top);
	hw_map_text_rest(r);
	hw_table_end(report);
	hw_map_members(r);
	hw_map_notes(r);
	hw_rows_deinit(&rows);
	return NULL;
}

struct hw_error *hw_report_map(struct hw_report *report)
{
	struct hw_session *session = report->session;
	struct hw_process_map map;
	HW_TRY(hw_session_need_residency(session));
	HW_TRY(hw_process_map_make(session->heap, session->target, &session->glibc.other,
				   &session->residency, &session->progress, &map));
	struct hw_map_report r = {
		.report = report,
		.columns = map.source == HW_RESIDENCY_CORE ? hw_map_core_columns
							   : hw_map_live_columns,
		.map = &map,
		.counts = &session->residency.counts,
		.process = map.private_writable,
	};
	r.process.virtual_bytes += map.elsewhere.virtual_bytes;
	r.process.pages.resident_bytes += map.elsewhere.pages.resident_bytes;
	r.process.pages.swapped_bytes += map.elsewhere.pages.swapped_bytes;
	r.process.pages.huge_bytes += map.elsewhere.pages.huge_bytes;
	r.process.pages.missing_bytes += map.elsewhere.pages.missing_bytes;
	return hw_map_print(&r);
}
