/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `select`, `used`, `free`, `all`: blocks one by one.
//
// A live target is stopped while bytes are read and let go while they are printed: a slow reader of
// the output must not hold it. The first batch is read at the walk's own stop.
#include <stdio.h>
#include <string.h>

#include "analysis/query.h"
#include "base/bytes.h"
#include "report/report.h"

enum { HW_BATCH_ROWS = 16384, HW_FIRST_BYTES = 20 };

enum {
	HW_BLOCK_START,
	HW_BLOCK_END,
	HW_BLOCK_SIZE,
	HW_BLOCK_ALLOCATOR,
	HW_BLOCK_STATE,
	HW_BLOCK_DOMAIN,
	HW_BLOCK_KIND,
	HW_BLOCK_DETAIL,
	HW_BLOCK_OBJECT,
	HW_BLOCK_REFCOUNT,
	HW_BLOCK_BYTES,
	HW_BLOCK_HEXDUMP,
	HW_BLOCK_CELLS
};

#define HW_BLOCK_COLUMNS(size, state)                                                              \
	{                                                                                          \
		[HW_BLOCK_START] = { "Start", "start" }, [HW_BLOCK_END] = { "End", "end" },        \
		[HW_BLOCK_SIZE] = { size, "size" }, [HW_BLOCK_ALLOCATOR] = { NULL, "allocator" },  \
		[HW_BLOCK_STATE] = { state, "state" }, [HW_BLOCK_DOMAIN] = { "Domain", "domain" }, \
		[HW_BLOCK_KIND] = { "Kind", "kind" }, [HW_BLOCK_DETAIL] = { "Detail", "detail" },  \
		[HW_BLOCK_OBJECT] = { NULL, "object" },                                            \
		[HW_BLOCK_REFCOUNT] = { NULL, "refcount" },                                        \
		[HW_BLOCK_BYTES] = { NULL, "first_bytes" },                                        \
		[HW_BLOCK_HEXDUMP] = { "Hexdump", NULL },                                          \
	}

static const struct hw_column hw_select_columns[HW_BLOCK_CELLS] = HW_BLOCK_COLUMNS(NULL, NULL);
static const struct hw_column hw_list_columns[HW_BLOCK_CELLS] = HW_BLOCK_COLUMNS("Size", "State");

struct hw_gathered {
	struct hw_row row;
	hw_addr_t object;
	int64_t refcount;
	uint8_t bytes[HW_FIRST_BYTES];
	uint8_t len;
};

struct hw_block_list {
	struct hw_report *report;
	const struct hw_column *columns;
	bool is_ordered; // rows come in any order
	bool is_held;    // the target is stopped
	struct hw_pages pages;
	struct hw_window window;
	HW_VEC(struct hw_row) rows;
	struct hw_gathered *gathered;
	uint64_t count, bytes;
	struct hw_error *err;
};

static void hw_gather(struct hw_block_list *list, const struct hw_row *row, struct hw_gathered *ret)
{
	struct hw_block block;
	*ret = (struct hw_gathered){ .row = *row };
	hw_session_block(list->report->session, row, &list->pages, &block);
	ret->object = block.object;
	ret->refcount = block.refcount;
	// A chunk's first bytes are malloc's: what the program was given begins behind them.
	uint64_t header = row->allocator == HW_ALLOCATOR_GLIBC
				  ? hw_min(row->size_bytes,
					   2u * list->report->session->target->machine->word_bytes)
				  : 0;
	hw_addr_t start = row->start + header;
	size_t len = hw_min(row->size_bytes - header, HW_FIRST_BYTES);
	if (list->is_ordered) {
		if (hw_pages_read(&list->pages, start, ret->bytes, len))
			ret->len = (uint8_t)len;
		return;
	}
	const uint8_t *bytes = len ? hw_window_get(&list->window, start, len) : NULL;
	if (bytes) {
		memcpy(ret->bytes, bytes, len);
		ret->len = (uint8_t)len;
	}
}

// "68 65 6c 6c 6f |hello|" and "68656c6c6f".
static void hw_render_bytes(const struct hw_gathered *from, char *hexdump, char *hex)
{
	static const char digits[] = "0123456789abcdef";
	char *dump = hexdump;
	for (size_t i = 0; i < from->len; i++) {
		*dump++ = *hex++ = digits[from->bytes[i] >> 4];
		*dump++ = *hex++ = digits[from->bytes[i] & 15];
		*dump++ = ' ';
	}
	*hex = 0;
	*dump++ = '|';
	for (size_t i = 0; i < from->len; i++)
		*dump++ = from->bytes[i] >= 0x20 && from->bytes[i] < 0x7f ? (char)from->bytes[i]
									  : '.';
	*dump++ = '|';
	*dump = 0;
	if (!from->len)
		*hexdump = 0;
}

static void hw_print_block(struct hw_block_list *list, const struct hw_gathered *from)
{
	struct hw_block block;
	char hexdump[HW_FIRST_BYTES * 4 + 4], hex[HW_FIRST_BYTES * 2 + 1];
	hw_session_block(list->report->session, &from->row, NULL, &block);
	hw_render_bytes(from, hexdump, hex);
	const struct hw_cell cells[HW_BLOCK_CELLS] = {
		[HW_BLOCK_START] = hw_cell_address(block.start),
		[HW_BLOCK_END] = hw_cell_address(hw_row_last(&from->row)),
		[HW_BLOCK_SIZE] = hw_cell_number(block.size_bytes),
		[HW_BLOCK_ALLOCATOR] = hw_cell_text(block.allocator),
		[HW_BLOCK_STATE] = hw_cell_text(block.state_word),
		[HW_BLOCK_DOMAIN] = hw_cell_text(block.domain),
		[HW_BLOCK_KIND] = hw_cell_text(block.kind),
		[HW_BLOCK_DETAIL] = hw_cell_text(block.detail),
		[HW_BLOCK_OBJECT] = from->object ? hw_cell_address(from->object) : hw_cell_none(),
		[HW_BLOCK_REFCOUNT] = from->object && from->refcount >= 0
					      ? hw_cell_signed(from->refcount)
					      : hw_cell_none(),
		[HW_BLOCK_BYTES] = from->len ? hw_cell_text(hex) : hw_cell_none(),
		[HW_BLOCK_HEXDUMP] = hw_cell_text(hexdump),
	};
	hw_table_row(list->report, cells);
	list->count++;
	list->bytes += block.size_bytes;
}

static void hw_block_list_release(struct hw_block_list *list)
{
	if (list->is_held)
		hw_session_resume(list->report->session);
	list->is_held = false;
}

static struct hw_error *hw_block_list_flush(struct hw_block_list *list)
{
	struct hw_session *session = list->report->session;
	if (!list->is_held) {
		HW_TRY(hw_session_stop(session));
		list->is_held = true;
		hw_pages_drop(&list->pages);
		hw_window_deinit(&list->window);
		hw_window_init(&list->window, session->target);
	}
	for (size_t i = 0; i < list->rows.count; i++)
		hw_gather(list, &list->rows.data[i], &list->gathered[i]);
	hw_block_list_release(list);
	for (size_t i = 0; i < list->rows.count && !list->report->sink.is_closed; i++)
		hw_print_block(list, &list->gathered[i]);
	list->rows.count = 0;
	return NULL;
}

static bool hw_block_list_row(void *payload, const struct hw_row *row)
{
	struct hw_block_list *list = payload;
	list->rows.data[list->rows.count++] = *row; // room for a batch is there
	if (list->rows.count < HW_BATCH_ROWS)
		return true;
	list->err = hw_block_list_flush(list);
	return !list->err && !hw_report_is_stopped(list->report);
}

static struct hw_error *hw_block_list_run(struct hw_block_list *list, struct hw_query *query)
{
	struct hw_report *report = list->report;
	struct hw_session *session = report->session;
	HW_TRY(hw_session_stop(session));
	list->is_held = true;
	HW_TRY(hw_session_need_heap(session));
	hw_report_begin(report, report->arguments->command->name);
	hw_table_begin(report, "rows", list->columns, HW_BLOCK_CELLS);
	struct hw_error *err = hw_query_run(query, session->heap, &session->progress,
					    hw_block_list_row, list);
	if (!err)
		err = list->err;
	if (!err && !hw_report_is_stopped(report))
		err = hw_block_list_flush(list);
	HW_TRY(err);
	hw_table_end(report);
	struct json_object *total = json_object_new_object();
	hw_json_add_number(total, "count", list->count);
	hw_json_add_number(total, "bytes", list->bytes);
	hw_report_member(report, "total", total);
	char count[32], bytes[32];
	hw_report_line(report, "%s block%s, %s bytes", hw_commas(list->count, count),
		       list->count == 1 ? "" : "s", hw_commas(list->bytes, bytes));
	return NULL;
}

// The options' order and limit go into the query: an order that it has itself comes first.
static struct hw_error *hw_apply_options(const struct hw_report *report, struct hw_query *query)
{
	const char *sort = hw_argument(report->arguments, "sort");
	// What the query says itself beats a setting, not an option.
	if (query->limit == UINT64_MAX || !hw_argument_is_default(report->arguments, "top"))
		query->limit = hw_min(query->limit, report->top);
	if (!sort || query->order_count == HW_ORDER_MAX)
		return NULL;
	size_t len = strcspn(sort, ":");
	struct hw_order order = { .attribute = hw_attribute_find(sort, len) };
	if (order.attribute == HW_ATTRIBUTE_NONE)
		return hw_error_create(HW_ERROR_INVALID,
				       "%s lists blocks one by one, which have no %.*s: group them "
				       "with the option by",
				       report->arguments->command->name, (int)len, sort);
	bool natural_down = order.attribute == HW_ATTRIBUTE_SIZE;
	order.descending = sort[len] ? !strcmp(sort + len, ":desc") : natural_down;
	query->order[query->order_count++] = order;
	return NULL;
}

static struct hw_error *hw_report_blocks(struct hw_report *report, const char *text,
					 const struct hw_column *columns)
{
	struct hw_session *session = report->session;
	hw_cleanup_query struct hw_query *query = NULL;
	HW_TRY(hw_query_parse(text, &query));
	if (hw_argument(report->arguments, "by"))
		return hw_report_groups(report, query);
	HW_TRY(hw_apply_options(report, query));
	struct hw_block_list list = { .report = report,
				      .columns = columns,
				      .is_ordered = query->order_count > 0 };
	list.gathered = malloc(HW_BATCH_ROWS * sizeof(*list.gathered));
	bool ok = list.gathered && hw_vec_reserve(&list.rows, HW_BATCH_ROWS);
	hw_pages_init(&list.pages, session->target);
	hw_window_init(&list.window, session->target);
	struct hw_error *err = ok ? hw_block_list_run(&list, query) : &hw_enomem;
	hw_block_list_release(&list);
	hw_window_deinit(&list.window);
	hw_pages_deinit(&list.pages);
	hw_vec_deinit(&list.rows);
	free(list.gathered);
	return err;
}

struct hw_error *hw_report_select(struct hw_report *report)
{
	return hw_report_blocks(report, report->arguments->text, hw_select_columns);
}

struct hw_error *hw_report_used(struct hw_report *report)
{
	return hw_report_blocks(report, "state = 'in use'", hw_list_columns);
}

struct hw_error *hw_report_free(struct hw_report *report)
{
	return hw_report_blocks(report, "state = 'free'", hw_list_columns);
}

struct hw_error *hw_report_all(struct hw_report *report)
{
	return hw_report_blocks(report, "", hw_list_columns);
}
