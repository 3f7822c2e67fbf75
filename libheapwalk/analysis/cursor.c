/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Blocks some at a time. A cursor remembers where it is by address, not by a place in the table: the
// table is asked again from there. It belongs to one walk, and says so when that was forgotten.
#include "analysis/query.h"
#include "analysis/session.h"
#include "base/bytes.h"

enum { HW_POLL_ROWS = 1 << 16 };

struct hw_cursor {
	struct hw_session *session; // NULL: it was closed
	struct hw_cursor *next;     // of the session
	uint64_t walk;              // session->forgotten when it was opened
	struct hw_query *query;
	hw_addr_t from; // no order: where the next row is looked for
	uint64_t left;  // of the query's limit
	bool is_done;
	HW_VEC(struct hw_row) rows; // all of them with an order, else one batch
	size_t at;                  // the next of them
};

void hw_cursors_detach(struct hw_session *session)
{
	for (struct hw_cursor *cursor = session->cursors; cursor; cursor = cursor->next)
		cursor->session = NULL;
	session->cursors = NULL;
}

void hw_cursor_close(struct hw_cursor *cursor)
{
	if (!cursor)
		return;
	struct hw_cursor **link = cursor->session ? &cursor->session->cursors : NULL;
	while (link && *link && *link != cursor)
		link = &(*link)->next;
	if (link && *link)
		*link = cursor->next;
	hw_query_destroy(cursor->query);
	hw_vec_deinit(&cursor->rows);
	free(cursor);
}

// ---- rows ----

struct hw_cursor_fill {
	struct hw_cursor *cursor;
	size_t max;
	uint64_t seen;
	bool is_stopped, out_of_memory;
};

static bool hw_cursor_keep(void *payload, const struct hw_row *row)
{
	struct hw_cursor_fill *fill = payload;
	fill->out_of_memory = !hw_vec_push(&fill->cursor->rows, *row);
	return !fill->out_of_memory;
}

static bool hw_cursor_row(void *payload, const struct hw_row *row)
{
	struct hw_cursor_fill *fill = payload;
	struct hw_cursor *cursor = fill->cursor;
	struct hw_session *session = cursor->session;
	if (!(++fill->seen & (HW_POLL_ROWS - 1)) && hw_progress_poll(&session->progress)) {
		fill->is_stopped = true;
		return false;
	}
	if (!hw_query_matches(cursor->query, row, hw_heap_category(session->heap, row->category)))
		return true;
	return hw_cursor_keep(fill, row) && cursor->rows.count < fill->max;
}

static struct hw_error *hw_cursor_interrupted(void)
{
	return hw_error_create(HW_ERROR_INTERRUPTED, "interrupted: not all blocks were visited");
}

// The next rows in address order. The cursor moves on only when they are all there.
static struct hw_error *hw_cursor_fill(struct hw_cursor *cursor, size_t max)
{
	struct hw_cursor_fill fill = { .cursor = cursor, .max = (size_t)hw_min(max, cursor->left) };
	cursor->rows.count = cursor->at = 0;
	bool went_to_end = hw_heap_visit(cursor->session->heap, cursor->from, UINT64_MAX,
					 hw_cursor_row, &fill);
	if (fill.out_of_memory || fill.is_stopped) {
		cursor->rows.count = 0;
		return fill.out_of_memory ? &hw_enomem : hw_cursor_interrupted();
	}
	cursor->left -= cursor->rows.count;
	cursor->is_done = went_to_end || !cursor->left;
	if (cursor->rows.count) {
		const struct hw_row *last = &cursor->rows.data[cursor->rows.count - 1];
		cursor->from = last->start + last->size_bytes;
		cursor->is_done |= cursor->from <= last->start; // the last byte there is
	}
	return NULL;
}

// With an order: all rows that match, sorted by the query.
static struct hw_error *hw_cursor_collect(struct hw_cursor *cursor)
{
	struct hw_session *session = cursor->session;
	struct hw_cursor_fill fill = { .cursor = cursor };
	HW_TRY(hw_query_run(cursor->query, session->heap, &session->progress, hw_cursor_keep,
			    &fill));
	if (fill.out_of_memory)
		return &hw_enomem;
	cursor->is_done = true;
	return hw_progress_stopped(&session->progress) ? hw_cursor_interrupted() : NULL;
}

// ---- the interface ----

static struct hw_error *hw_cursor_start(struct hw_cursor *cursor)
{
	struct hw_session *session = cursor->session;
	HW_TRY(hw_session_need_heap(session));
	if (hw_heap_is_partial(session->heap))
		return hw_cursor_interrupted();
	cursor->walk = session->forgotten;
	cursor->left = cursor->query->limit;
	cursor->is_done = !cursor->left;
	hw_query_reserve_memo(cursor->query, hw_heap_category_count(session->heap));
	return cursor->query->order_count ? hw_cursor_collect(cursor) : NULL;
}

struct hw_error *hw_cursor_open(struct hw_session *session, const char *query,
				struct hw_cursor **ret)
{
	struct hw_cursor *cursor = calloc(1, sizeof(*cursor));
	if (!cursor)
		return &hw_enomem;
	cursor->session = session;
	cursor->next = session->cursors;
	session->cursors = cursor;
	struct hw_error *err = hw_query_parse(query, &cursor->query);
	if (!err)
		err = hw_cursor_start(cursor);
	hw_session_settle(session);
	if (err)
		hw_cursor_close(cursor);
	else
		*ret = cursor;
	return err;
}

static struct hw_error *hw_cursor_check(const struct hw_cursor *cursor)
{
	if (cursor->session && cursor->session->forgotten == cursor->walk)
		return NULL;
	return hw_error_create(
		HW_ERROR_STALE,
		"the blocks are of a moment that has passed: the target ran on, or its "
		"session was closed, since they were asked for");
}

// Objects are read from the target, which is stopped.
static void hw_cursor_blocks(struct hw_cursor *cursor, struct hw_block *blocks, size_t count)
{
	struct hw_pages pages;
	hw_pages_init(&pages, cursor->session->target);
	for (size_t i = 0; i < count; i++)
		hw_session_block(cursor->session, &cursor->rows.data[cursor->at++], &pages,
				 &blocks[i]);
	hw_pages_deinit(&pages);
}

struct hw_error *hw_cursor_next(struct hw_cursor *cursor, struct hw_block *blocks, size_t max,
				size_t *ret_count)
{
	HW_TRY(hw_cursor_check(cursor));
	struct hw_session *session = cursor->session;
	HW_TRY(hw_session_stop(session));
	struct hw_error *err = NULL;
	if (cursor->at == cursor->rows.count && !cursor->is_done && max)
		err = hw_cursor_fill(cursor, max);
	if (!err) {
		size_t count = (size_t)hw_min(cursor->rows.count - cursor->at, max);
		hw_cursor_blocks(cursor, blocks, count);
		*ret_count = count;
	}
	hw_session_resume(session);
	hw_session_settle(session);
	return err;
}
