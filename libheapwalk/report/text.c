/* SPDX-License-Identifier: LGPL-2.1-or-later */
// gdb-heap's tables: cells to the right, as wide as the widest, two blanks between, a dashed rule.
#include <stdio.h>
#include <string.h>

#include "report/report.h"

const char *hw_commas(uint64_t number, char *buf)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
	char *to = buf;
	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = 0;
	return buf;
}

const char *hw_percent(uint64_t part, uint64_t whole, char *buf)
{
	// Tenths, rounded down: a thing that lacks a byte is not 100 %.
	uint64_t tenths = !whole ? 1000 : (uint64_t)((unsigned __int128)part * 1000 / whole);
	snprintf(buf, 32, tenths % 10 ? "%llu.%llu %%" : "%llu %%",
		 (unsigned long long)(tenths / 10), (unsigned long long)(tenths % 10));
	return buf;
}

// Length of the UTF-8 character at s, 0 when it is none, or one that controls a terminal.
static size_t hw_printable_len(const unsigned char *s)
{
	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f;
	size_t len = s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
	if (s[0] > 0xf4 || !len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
	bool surrogate = s[0] == 0xed && s[1] >= 0xa0;
	bool beyond = s[0] == 0xf4 && s[1] >= 0x90;
	bool control = s[0] == 0xc2 && s[1] < 0xa0; // U+0080 … U+009F
	return overlong || surrogate || beyond || control ? 0 : len;
}

const char *hw_clean_text(struct hw_report *report, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len;
	while (*s && (len = hw_printable_len(s)))
		s += len;
	if (!*s)
		return text;
	if (!hw_vec_reserve(&report->scratch, strlen(text) * 4 + 1))
		return "";
	char *to = report->scratch.data;
	for (s = (const unsigned char *)text; *s; s += len ? len : 1) {
		len = hw_printable_len(s);
		if (len) {
			memcpy(to, s, len);
			to += len;
		} else {
			to += sprintf(to, "\\x%02x", *s);
		}
	}
	*to = 0;
	return report->scratch.data;
}

static size_t hw_display_width(const char *text)
{
	size_t width = 0;
	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

static const char *hw_cell_render(struct hw_report *report, const struct hw_cell *cell, char *buf)
{
	switch (cell->kind) {
	case HW_CELL_TEXT:
		return hw_clean_text(report, cell->text);
	case HW_CELL_NUMBER:
		return hw_commas(cell->number, buf);
	case HW_CELL_CHANGE:
	case HW_CELL_SIGNED:
		if (cell->integer >= 0 && cell->kind == HW_CELL_SIGNED)
			return hw_commas((uint64_t)cell->integer, buf);
		*buf = cell->integer < 0 ? '-' : '+';
		hw_commas(cell->integer < 0 ? 0 - (uint64_t)cell->integer : (uint64_t)cell->integer,
			  buf + 1);
		return buf;
	case HW_CELL_ADDRESS:
		snprintf(buf, 32, "0x%016llx", (unsigned long long)cell->number);
		return buf;
	case HW_CELL_BOOL:
		return cell->boolean ? "yes" : "no";
	case HW_CELL_NONE:
		break;
	}
	return "";
}

static void hw_text_pad(struct hw_sink *sink, size_t width, char with)
{
	char pad[64];
	memset(pad, with, sizeof(pad));
	for (size_t n; width; width -= n) {
		n = width < sizeof(pad) ? width : sizeof(pad);
		hw_sink_write(sink, pad, n);
	}
}

static const char *hw_style_begin(const struct hw_styles *styles, enum hw_style style)
{
	const char *begin = NULL;
	switch (style) {
	case HW_STYLE_TITLE:
		begin = styles->title;
		break;
	case HW_STYLE_ADDRESS:
		begin = styles->address;
		break;
	case HW_STYLE_METADATA:
		begin = styles->metadata;
		break;
	case HW_STYLE_HIGHLIGHT:
		begin = styles->highlight;
		break;
	case HW_STYLE_NONE:
		break;
	}
	return begin ? begin : "";
}

void hw_text_put_styled(struct hw_report *report, enum hw_style style, const char *text)
{
	const char *begin = report->styles ? hw_style_begin(report->styles, style) : "";
	hw_sink_puts(&report->sink, begin);
	hw_sink_puts(&report->sink, text);
	if (*begin)
		hw_sink_puts(&report->sink, "\033[m");
}

static enum hw_style hw_cell_style(const struct hw_table *table, const struct hw_cell *cell)
{
	if (cell->kind == HW_CELL_ADDRESS)
		return HW_STYLE_ADDRESS;
	return table->is_total ? HW_STYLE_TITLE : HW_STYLE_NONE;
}

static void hw_text_cell(struct hw_table *table, size_t column, enum hw_style style,
			 const char *text, bool *is_first)
{
	struct hw_sink *sink = &table->report->sink;
	size_t width = hw_display_width(text);
	if (!*is_first)
		hw_sink_write(sink, "  ", 2);
	*is_first = false;
	if (width < table->widths[column])
		hw_text_pad(sink, table->widths[column] - width, ' ');
	hw_text_put_styled(table->report, *text ? style : HW_STYLE_NONE, text);
}

static void hw_text_head(struct hw_table *table)
{
	struct hw_sink *sink = &table->report->sink;
	bool is_first = true;
	for (size_t i = 0; i < table->column_count; i++) {
		if (table->columns[i].title)
			hw_text_cell(table, i, HW_STYLE_TITLE, table->columns[i].title, &is_first);
	}
	hw_sink_write(sink, "\n", 1);
	is_first = true;
	for (size_t i = 0; i < table->column_count; i++) {
		if (!table->columns[i].title)
			continue;
		if (!is_first)
			hw_sink_write(sink, "  ", 2);
		is_first = false;
		hw_text_pad(sink, table->widths[i], '-');
	}
	hw_sink_write(sink, "\n", 1);
}

// From here on the widths are what they are.
static void hw_text_release(struct hw_table *table)
{
	if (table->is_streaming)
		return;
	table->is_streaming = true;
	hw_text_head(table);
	const char *text = table->held.data;
	for (size_t row = 0; row < table->held_rows; row++) {
		bool is_first = true;
		for (size_t i = 0; i < table->column_count; i++) {
			if (!table->columns[i].title)
				continue;
			enum hw_style style = (enum hw_style) * text++;
			hw_text_cell(table, i, style, text, &is_first);
			text += strlen(text) + 1;
		}
		hw_sink_write(&table->report->sink, "\n", 1);
	}
	hw_vec_deinit(&table->held);
	table->held_rows = 0;
}

static bool hw_text_hold_cell(struct hw_table *table, size_t column, enum hw_style style,
			      const char *text)
{
	size_t len = strlen(text) + 1, width = hw_display_width(text);
	// Grown by halves, not by one cell.
	if (!hw_vec_reserve(&table->held, table->held.count + 1 + len))
		return false;
	table->held.data[table->held.count++] = (char)style;
	memcpy(table->held.data + table->held.count, text, len);
	table->held.count += len;
	if (width > table->widths[column])
		table->widths[column] = width;
	return true;
}

static bool hw_text_hold(struct hw_table *table, const struct hw_cell *cells)
{
	size_t before = table->held.count;
	for (size_t i = 0; i < table->column_count; i++) {
		char buf[32];
		if (!table->columns[i].title)
			continue;
		const char *text = hw_cell_render(table->report, &cells[i], buf);
		if (!hw_text_hold_cell(table, i, hw_cell_style(table, &cells[i]), text)) {
			table->held.count = before;
			return false;
		}
	}
	return true;
}

static void hw_text_begin(struct hw_table *table, const char *key)
{
	(void)key;
	for (size_t i = 0; i < table->column_count; i++)
		table->widths[i] = table->columns[i].title
					   ? hw_display_width(table->columns[i].title)
					   : 0;
}

static void hw_text_row(struct hw_table *table, const struct hw_cell *cells)
{
	if (!table->is_streaming) {
		if (table->held_rows < HW_TABLE_HELD_ROWS && hw_text_hold(table, cells)) {
			table->held_rows++;
			return;
		}
		hw_text_release(table);
	}
	bool is_first = true;
	for (size_t i = 0; i < table->column_count; i++) {
		char buf[32];
		if (table->columns[i].title)
			hw_text_cell(table, i, hw_cell_style(table, &cells[i]),
				     hw_cell_render(table->report, &cells[i], buf), &is_first);
	}
	hw_sink_write(&table->report->sink, "\n", 1);
}

static void hw_text_end(struct hw_table *table)
{
	hw_text_release(table);
}

const struct hw_writer_ops hw_text_writer = {
	.begin = hw_text_begin,
	.row = hw_text_row,
	.end = hw_text_end,
};
