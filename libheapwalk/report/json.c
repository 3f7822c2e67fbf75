/* SPDX-License-Identifier: LGPL-2.1-or-later */
// json-c makes one row at a time; the document around the rows is written here, so that ten million
// rows are never in memory together.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report/report.h"

enum { HW_JSON_FLAGS = JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE };

void hw_json_add(struct json_object *object, const char *key, struct json_object *value)
{
	if (!object || json_object_object_add(object, key, value))
		json_object_put(value);
}

void hw_json_add_number(struct json_object *object, const char *key, uint64_t number)
{
	hw_json_add(object, key, json_object_new_uint64(number));
}

void hw_json_add_bool(struct json_object *object, const char *key, bool value)
{
	hw_json_add(object, key, json_object_new_boolean(value));
}

void hw_json_add_text(struct hw_report *report, struct json_object *object, const char *key,
		      const char *text)
{
	hw_json_add(object, key, text ? json_object_new_string(hw_clean_text(report, text)) : NULL);
}

struct json_object *hw_json_address(hw_addr_t addr)
{
	char text[32];
	snprintf(text, sizeof(text), "0x%" PRIx64, addr);
	return json_object_new_string(text);
}

void hw_json_add_address(struct json_object *object, const char *key, hw_addr_t addr)
{
	hw_json_add(object, key, hw_json_address(addr));
}

static void hw_json_cell(struct hw_report *report, struct json_object *object, const char *key,
			 const struct hw_cell *cell)
{
	switch (cell->kind) {
	case HW_CELL_TEXT:
		hw_json_add_text(report, object, key, cell->text);
		break;
	case HW_CELL_NUMBER:
		hw_json_add_number(object, key, cell->number);
		break;
	case HW_CELL_CHANGE:
	case HW_CELL_SIGNED:
		hw_json_add(object, key, json_object_new_int64(cell->integer));
		break;
	case HW_CELL_ADDRESS:
		hw_json_add_address(object, key, cell->number);
		break;
	case HW_CELL_BOOL:
		hw_json_add_bool(object, key, cell->boolean);
		break;
	case HW_CELL_NONE:
		hw_json_add(object, key, NULL);
		break;
	}
}

static void hw_json_fill(struct hw_report *report, struct json_object *object,
			 const struct hw_column *columns, size_t column_count,
			 const struct hw_cell *cells)
{
	for (size_t i = 0; i < column_count; i++) {
		if (columns[i].key)
			hw_json_cell(report, object, columns[i].key, &cells[i]);
	}
}

struct json_object *hw_json_row(struct hw_report *report, const struct hw_column *columns,
				size_t column_count, const struct hw_cell *cells)
{
	struct json_object *object = json_object_new_object();
	hw_json_fill(report, object, columns, column_count, cells);
	return object;
}

static void hw_json_begin(struct hw_table *table, const char *key)
{
	hw_sink_printf(&table->report->sink, ",\n \"%s\": [", key);
}

static void hw_json_print_row(struct hw_table *table, const struct hw_cell *cells)
{
	struct hw_report *report = table->report;
	// One object for all rows: its members are replaced, not added anew.
	if (!report->row)
		report->row = json_object_new_object();
	hw_json_fill(report, report->row, table->columns, table->column_count, cells);
	size_t len = 0;
	const char *text = report->row ? json_object_to_json_string_length(report->row,
									   HW_JSON_FLAGS, &len)
				       : NULL;
	hw_sink_puts(&report->sink, table->row_count ? ",\n  " : "\n  ");
	if (text)
		hw_sink_write(&report->sink, text, len);
	else
		hw_sink_puts(&report->sink, "null");
}

static void hw_json_end(struct hw_table *table)
{
	hw_sink_puts(&table->report->sink, table->row_count ? "\n ]" : "]");
	json_object_put(table->report->row); // the next table has other members
	table->report->row = NULL;
}

const struct hw_writer_ops hw_json_writer = {
	.begin = hw_json_begin,
	.row = hw_json_print_row,
	.end = hw_json_end,
};

void hw_report_member(struct hw_report *report, const char *key, struct json_object *value)
{
	if (report->format == HW_FORMAT_JSON && !report->sink.is_closed) {
		hw_sink_printf(&report->sink, ",\n \"%s\": ", key);
		hw_sink_puts(&report->sink,
			     value ? json_object_to_json_string_ext(value, HW_JSON_FLAGS) : "null");
	}
	json_object_put(value);
}
