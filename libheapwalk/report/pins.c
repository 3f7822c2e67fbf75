/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `pins`: free memory that an allocator keeps, and what it is kept for.
#include "analysis/pins.h"
#include "analysis/query.h"

#include <stdio.h>
#include <string.h>

#include "report/report.h"

enum { HW_PINS_SHOWN = 20 };

enum {
	HW_PINS_ALLOCATOR,
	HW_PINS_START,
	HW_PINS_END,
	HW_PINS_ARENA,
	HW_PINS_FREE,
	HW_PINS_FREE_RESIDENT,
	HW_PINS_USED_COUNT,
	HW_PINS_USED,
	HW_PINS_PIN,
	HW_PINS_DOMAIN,
	HW_PINS_KIND,
	HW_PINS_DETAIL,
	HW_PINS_COUNT,
	HW_PINS_BYTES,
	HW_PINS_FREED,
	HW_PINS_TRIM,
	HW_PINS_CELLS
};

static const struct hw_column hw_pins_columns[HW_PINS_CELLS] = {
	[HW_PINS_ALLOCATOR] = { "Allocator", "allocator" },
	[HW_PINS_START] = { "Start", "start" },
	[HW_PINS_END] = { NULL, "end" },
	[HW_PINS_ARENA] = { NULL, "arena" },
	[HW_PINS_FREE] = { "Free", "free_bytes" },
	[HW_PINS_FREE_RESIDENT] = { "Resident", "free_resident_bytes" },
	[HW_PINS_USED_COUNT] = { "Blocks in use", "used_count" },
	[HW_PINS_USED] = { "Bytes", "used_bytes" },
	[HW_PINS_PIN] = { "Pin", "pin_start" },
	[HW_PINS_DOMAIN] = { "Domain", "pin_domain" },
	[HW_PINS_KIND] = { "Kind", "pin_kind" },
	[HW_PINS_DETAIL] = { "Detail", "pin_detail" },
	[HW_PINS_COUNT] = { "Pins", "pin_count" },
	[HW_PINS_BYTES] = { "Pin bytes", "pin_bytes" },
	[HW_PINS_FREED] = { "Goes with it", "freed_bytes" },
	[HW_PINS_TRIM] = { NULL, "trim_bytes" },
};

enum {
	HW_HOLD_DOMAIN,
	HW_HOLD_KIND,
	HW_HOLD_DETAIL,
	HW_HOLD_COUNT,
	HW_HOLD_BYTES,
	HW_HOLD_ARENAS,
	HW_HOLD_ALONE,
	HW_HOLD_CELLS
};

static const struct hw_column hw_hold_columns[HW_HOLD_CELLS] = {
	[HW_HOLD_DOMAIN] = { "Domain", "domain" }, [HW_HOLD_KIND] = { "Kind", "kind" },
	[HW_HOLD_DETAIL] = { "Detail", "detail" }, [HW_HOLD_COUNT] = { "Count", "count" },
	[HW_HOLD_BYTES] = { "Bytes", "bytes" },    [HW_HOLD_ARENAS] = { "Arenas", "arenas" },
	[HW_HOLD_ALONE] = { "Alone in", "alone" },
};

struct hw_pins_report {
	struct hw_report *report;
	const struct hw_pins *pins;
	struct hw_rows rows, holders;
	uint64_t free_bytes, free_resident_bytes;
};

static struct hw_cell hw_resident_cell(const struct hw_pins_report *r, uint64_t bytes)
{
	return r->pins->knows_resident ? hw_cell_number(bytes) : hw_cell_none();
}

static bool hw_pins_push(struct hw_pins_report *r, const struct hw_pinned *row)
{
	const struct hw_category *category = hw_heap_category(r->report->session->heap,
							      row->pin_category);
	const struct hw_cell none = hw_cell_none();
	bool has_pin = row->pin_count > 0, is_malloc = row->allocator == HW_ALLOCATOR_GLIBC;
	const struct hw_cell cells[HW_PINS_CELLS] = {
		[HW_PINS_ALLOCATOR] = hw_cell_text(hw_allocator_word(row->allocator)),
		[HW_PINS_START] = hw_cell_address(row->start),
		[HW_PINS_END] = hw_cell_address(row->end - 1),
		[HW_PINS_ARENA] = hw_cell_number(row->arena),
		[HW_PINS_FREE] = hw_cell_number(row->free_bytes),
		[HW_PINS_FREE_RESIDENT] = hw_resident_cell(r, row->free_resident_bytes),
		[HW_PINS_USED_COUNT] = hw_cell_number(row->used_count),
		[HW_PINS_USED] = hw_cell_number(row->used_bytes),
		[HW_PINS_PIN] = is_malloc ? hw_cell_address(row->pin_start) : none,
		[HW_PINS_DOMAIN] = has_pin ? hw_cell_text(category->domain) : none,
		[HW_PINS_KIND] = has_pin ? hw_cell_text(category->kind) : none,
		[HW_PINS_DETAIL] = has_pin ? hw_cell_text(category->detail) : none,
		[HW_PINS_COUNT] = hw_cell_number(row->pin_count),
		[HW_PINS_BYTES] = hw_cell_number(row->pin_bytes),
		[HW_PINS_FREED] = hw_resident_cell(r, row->freed_resident_bytes),
		[HW_PINS_TRIM] = is_malloc ? hw_resident_cell(r, row->trim_resident_bytes) : none,
	};
	r->free_bytes += row->free_bytes;
	r->free_resident_bytes += row->free_resident_bytes;
	return hw_rows_push(&r->rows, cells);
}

static bool hw_pins_push_holder(struct hw_pins_report *r, const struct hw_holder *holder)
{
	const struct hw_category *category = hw_heap_category(r->report->session->heap,
							      holder->category);
	const struct hw_cell cells[HW_HOLD_CELLS] = {
		[HW_HOLD_DOMAIN] = hw_cell_text(category->domain),
		[HW_HOLD_KIND] = hw_cell_text(category->kind),
		[HW_HOLD_DETAIL] = hw_cell_text(category->detail),
		[HW_HOLD_COUNT] = hw_cell_number(holder->count),
		[HW_HOLD_BYTES] = hw_cell_number(holder->bytes),
		[HW_HOLD_ARENAS] = hw_cell_number(holder->arenas),
		[HW_HOLD_ALONE] = hw_cell_number(holder->alone),
	};
	return hw_rows_push(&r->holders, cells);
}

static void hw_pins_table(struct hw_pins_report *r, const char *key, const struct hw_rows *rows,
			  const char *what)
{
	struct hw_report *report = r->report;
	size_t count = hw_rows_count(rows);
	// People see the biggest; programs all, unless they ask otherwise.
	uint64_t top = report->top;
	if (report->format == HW_FORMAT_TEXT && !hw_argument(report->arguments, "top"))
		top = HW_PINS_SHOWN;
	hw_table_begin(report, key, rows->columns, rows->column_count);
	hw_rows_print(rows, report, top);
	hw_table_end(report);
	if (count > top)
		hw_report_line(report, "(%llu more %s)", (unsigned long long)(count - top), what);
}

static void hw_json_add_resident(const struct hw_pins_report *r, struct json_object *object,
				 const char *key, uint64_t bytes)
{
	hw_json_add(object, key, r->pins->knows_resident ? json_object_new_uint64(bytes) : NULL);
}

static void hw_pins_totals(struct hw_pins_report *r)
{
	const struct hw_pins *pins = r->pins;
	struct json_object *total = json_object_new_object();
	hw_json_add_number(total, "free_bytes", r->free_bytes);
	hw_json_add_resident(r, total, "free_resident_bytes", r->free_resident_bytes);
	hw_json_add_number(total, "mostly_free_arenas", pins->mostly_free_arenas);
	hw_json_add_number(total, "mostly_free_used_bytes", pins->mostly_free_used_bytes);
	hw_json_add_resident(r, total, "mostly_free_resident_bytes",
			     pins->mostly_free_resident_bytes);
	hw_json_add_resident(r, total, "trim_bytes", pins->trim_resident_bytes);
	hw_report_member(r->report, "total", total);
}

static void hw_pins_lines(struct hw_pins_report *r)
{
	struct hw_report *report = r->report;
	const struct hw_pins *pins = r->pins;
	char a[32], b[32], c[32];
	hw_report_line(report, "%s", "");
	hw_report_line(report, "pinned: %s free bytes, %s of them resident",
		       hw_commas(r->free_bytes, a),
		       pins->knows_resident ? hw_commas(r->free_resident_bytes, b)
					    : "can't tell how many");
	if (pins->mostly_free_arenas)
		hw_report_line(
			report,
			"pymalloc: %s arenas are at least half free; without the %s bytes in "
			"use there, %s resident bytes would be given back",
			hw_commas(pins->mostly_free_arenas, a),
			hw_commas(pins->mostly_free_used_bytes, b),
			pins->knows_resident ? hw_commas(pins->mostly_free_resident_bytes, c)
					     : "their");
	if (pins->knows_resident)
		hw_report_line(report,
			       "malloc: malloc_trim(0), called in the process, would give back %s "
			       "resident bytes",
			       hw_commas(pins->trim_resident_bytes, a));
}

static struct hw_error *hw_pins_print(struct hw_pins_report *r)
{
	struct hw_report *report = r->report;
	const char *sort = hw_argument(report->arguments, "sort");
	// CSV is one table.
	bool has_pins = hw_report_shows(report, "pins");
	bool has_holders = hw_report_shows(report, "holders") &&
			   (report->format != HW_FORMAT_CSV || !has_pins);
	bool ok = true;
	for (size_t i = 0; ok && i < r->pins->list.count; i++)
		ok = hw_pins_push(r, &r->pins->list.data[i]);
	for (size_t i = 0; ok && i < r->pins->holders.count; i++)
		ok = hw_pins_push_holder(r, &r->pins->holders.data[i]);
	if (!ok)
		return &hw_enomem;
	hw_rows_sort(&r->rows, sort                      ? sort
			       : r->pins->knows_resident ? "free_resident_bytes"
							 : "free_bytes");
	hw_rows_sort(&r->holders, "bytes");
	hw_report_begin(report, "pins");
	if (has_pins)
		hw_pins_table(r, "rows", &r->rows, "arenas and regions");
	if (has_holders && hw_rows_count(&r->holders)) {
		hw_report_line(report, "%sin use in pymalloc arenas that are at least half free:",
			       has_pins ? "\n" : "");
		hw_pins_table(r, "holders", &r->holders, "categories");
	} else if (has_holders && report->format != HW_FORMAT_TEXT) {
		hw_pins_table(r, "holders", &r->holders, "categories");
	}
	hw_pins_totals(r);
	hw_pins_lines(r);
	return NULL;
}

struct hw_error *hw_report_pins(struct hw_report *report)
{
	struct hw_session *session = report->session;
	struct hw_pins pins;
	HW_TRY(hw_session_need_residency(session));
	HW_TRY(hw_pins_make(session->heap, &session->pymalloc, &session->glibc, &session->residency,
			    &session->progress, &pins));
	struct hw_pins_report r = {
		.report = report,
		.pins = &pins,
		.rows = { .columns = hw_pins_columns, .column_count = HW_PINS_CELLS },
		.holders = { .columns = hw_hold_columns, .column_count = HW_HOLD_CELLS },
	};
	struct hw_error *err = hw_pins_print(&r);
	hw_rows_deinit(&r.rows);
	hw_rows_deinit(&r.holders);
	hw_pins_deinit(&pins);
	return err;
}
