/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "report/report.h"

bool hw_rows_push(struct hw_rows *rows, const struct hw_cell *cells)
{
	if (!hw_vec_reserve(&rows->cells, rows->cells.count + rows->column_count))
		return false;
	memcpy(rows->cells.data + rows->cells.count, cells, rows->column_count * sizeof(*cells));
	rows->cells.count += rows->column_count;
	return true;
}

size_t hw_rows_count(const struct hw_rows *rows)
{
	return rows->cells.count / rows->column_count;
}

static int hw_cell_compare(const struct hw_cell *a, const struct hw_cell *b)
{
	if (a->kind != b->kind) // of one column: one of them is none
		return (a->kind > b->kind) - (a->kind < b->kind);
	switch (a->kind) {
	case HW_CELL_TEXT:
		return strcmp(a->text, b->text);
	case HW_CELL_NUMBER:
	case HW_CELL_ADDRESS:
		return (a->number > b->number) - (a->number < b->number);
	case HW_CELL_CHANGE:
	case HW_CELL_SIGNED:
		return (a->integer > b->integer) - (a->integer < b->integer);
	case HW_CELL_BOOL:
		return a->boolean - b->boolean;
	case HW_CELL_NONE:
		break;
	}
	return 0;
}

struct hw_rows_order {
	size_t column, column_count;
	int direction; // 1 up, -1 down, 0: by the kind of the cells
};

static uint64_t hw_magnitude(int64_t number)
{
	return number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
}

// Without a way of its own a change is ordered by how big it is: what shrank may matter as much.
static int hw_change_compare(const struct hw_cell *a, const struct hw_cell *b)
{
	uint64_t x = hw_magnitude(a->integer), y = hw_magnitude(b->integer);
	return x == y ? (a->integer < b->integer) - (a->integer > b->integer) : x < y ? 1 : -1;
}

static int hw_rows_compare(const void *left, const void *right, void *payload)
{
	const struct hw_rows_order *order = payload;
	const struct hw_cell *a = left, *b = right;
	int direction = order->direction;
	if (!direction) {
		enum hw_cell_kind kind = a[order->column].kind;
		direction = kind == HW_CELL_NUMBER || kind == HW_CELL_SIGNED ? -1 : 1;
	}
	int ordering = direction * hw_cell_compare(&a[order->column], &b[order->column]);
	if (!order->direction && a[order->column].kind == HW_CELL_CHANGE)
		ordering = hw_change_compare(&a[order->column], &b[order->column]);
	for (size_t i = 0; !ordering && i < order->column_count; i++)
		ordering = hw_cell_compare(&a[i], &b[i]);
	return ordering;
}

void hw_rows_sort(struct hw_rows *rows, const char *sort)
{
	struct hw_rows_order order = { .column_count = rows->column_count };
	size_t len = strcspn(sort, ":");
	for (size_t i = 0; i < rows->column_count; i++) {
		const char *key = rows->columns[i].key;
		if (key && strlen(key) == len && !strncmp(key, sort, len))
			order.column = i;
	}
	if (sort[len])
		order.direction = !strcmp(sort + len, ":desc") ? -1 : 1;
	if (rows->cells.count)
		qsort_r(rows->cells.data, hw_rows_count(rows),
			rows->column_count * sizeof(struct hw_cell), hw_rows_compare, &order);
}

void hw_rows_print(const struct hw_rows *rows, struct hw_report *report, uint64_t top)
{
	size_t count = hw_rows_count(rows);
	for (size_t i = 0; i < count && i < top && !report->sink.is_closed; i++)
		hw_table_row(report, rows->cells.data + i * rows->column_count);
}

void hw_rows_deinit(struct hw_rows *rows)
{
	hw_vec_deinit(&rows->cells);
}
