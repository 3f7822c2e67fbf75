/* SPDX-License-Identifier: LGPL-2.1-or-later */
// RFC 4180: a line of names, CRLF ends lines, quotes where a cell needs them.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report/report.h"

static void hw_csv_text(struct hw_sink *sink, const char *text)
{
	if (!text[strcspn(text, ",\"\r\n")]) {
		hw_sink_puts(sink, text);
		return;
	}
	hw_sink_write(sink, "\"", 1);
	for (const char *quote; (quote = strchr(text, '"')); text = quote + 1) {
		hw_sink_write(sink, text, (size_t)(quote - text));
		hw_sink_write(sink, "\"\"", 2);
	}
	hw_sink_puts(sink, text);
	hw_sink_write(sink, "\"", 1);
}

static void hw_csv_cell(struct hw_report *report, const struct hw_cell *cell)
{
	char buf[32];
	switch (cell->kind) {
	case HW_CELL_TEXT:
		hw_csv_text(&report->sink, hw_clean_text(report, cell->text));
		return;
	case HW_CELL_NUMBER:
		snprintf(buf, sizeof(buf), "%" PRIu64, cell->number);
		break;
	case HW_CELL_CHANGE:
	case HW_CELL_SIGNED:
		snprintf(buf, sizeof(buf), "%" PRId64, cell->integer);
		break;
	case HW_CELL_ADDRESS:
		snprintf(buf, sizeof(buf), "0x%" PRIx64, cell->number);
		break;
	case HW_CELL_BOOL:
		snprintf(buf, sizeof(buf), "%s", cell->boolean ? "true" : "false");
		break;
	case HW_CELL_NONE:
		return;
	}
	hw_sink_puts(&report->sink, buf);
}

static void hw_csv_begin(struct hw_table *table, const char *key)
{
	(void)key;
	const char *separator = "";
	for (size_t i = 0; i < table->column_count; i++) {
		if (!table->columns[i].key)
			continue;
		hw_sink_puts(&table->report->sink, separator);
		hw_csv_text(&table->report->sink, table->columns[i].key);
		separator = ",";
	}
	hw_sink_puts(&table->report->sink, "\r\n");
}

static void hw_csv_row(struct hw_table *table, const struct hw_cell *cells)
{
	const char *separator = "";
	for (size_t i = 0; i < table->column_count; i++) {
		if (!table->columns[i].key)
			continue;
		hw_sink_puts(&table->report->sink, separator);
		hw_csv_cell(table->report, &cells[i]);
		separator = ",";
	}
	hw_sink_puts(&table->report->sink, "\r\n");
}

static void hw_csv_end(struct hw_table *table)
{
	(void)table;
}

const struct hw_writer_ops hw_csv_writer = {
	.begin = hw_csv_begin,
	.row = hw_csv_row,
	.end = hw_csv_end,
};
