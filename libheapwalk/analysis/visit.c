/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Blocks one by one, for a visitor.
#include "analysis/query.h"
#include "analysis/session.h"

void hw_session_block(struct hw_session *session, const struct hw_row *row, struct hw_pages *pages,
		      struct hw_block *ret)
{
	const struct hw_category *category = hw_heap_category(session->heap, row->category);
	hw_addr_t object = 0;
	int64_t refcount = -1;
	if (!pages || !category->type ||
	    !hw_heap_object(session->heap, row, pages, &object, &refcount)) {
		object = 0;
		refcount = -1;
	}
	*ret = (struct hw_block){
		.start = row->start,
		.size_bytes = row->size_bytes,
		.allocator = hw_allocator_word(row->allocator),
		.state = category->state,
		.state_word = category->state_word,
		.domain = category->domain,
		.kind = category->kind,
		.detail = category->detail,
		.object = object,
		.refcount = refcount,
	};
}

struct hw_block_visit {
	struct hw_session *session;
	struct hw_pages pages;
	hw_block_fn *visit;
	void *payload;
};

static bool hw_visit_row(void *payload, const struct hw_row *row)
{
	struct hw_block_visit *visit = payload;
	struct hw_block block;
	hw_session_block(visit->session, row, &visit->pages, &block);
	return visit->visit(visit->payload, &block);
}

static struct hw_error *hw_session_visit(struct hw_session *session, struct hw_query *query,
					 hw_block_fn *visit, void *payload)
{
	HW_TRY(hw_session_need_heap(session));
	struct hw_block_visit state = { .session = session, .visit = visit, .payload = payload };
	hw_pages_init(&state.pages, session->target);
	struct hw_error *err = hw_query_run(query, session->heap, &session->progress, hw_visit_row,
					    &state);
	hw_pages_deinit(&state.pages);
	if (!err && hw_progress_stopped(&session->progress))
		err = hw_error_create(HW_ERROR_INTERRUPTED,
				      "interrupted: not all blocks were visited");
	return err ? err : hw_session_shortfall(session);
}

struct hw_error *hw_session_visit_blocks(struct hw_session *session, const char *query_text,
					 hw_block_fn *visit, void *payload)
{
	hw_cleanup_query struct hw_query *query = NULL;
	HW_TRY(hw_query_parse(query_text, &query));
	HW_TRY(hw_session_use_rules(session, NULL));
	HW_TRY(hw_session_stop(session)); // objects are read while blocks are visited
	struct hw_error *err = hw_session_visit(session, query, visit, payload);
	hw_session_resume(session);
	hw_session_settle(session);
	return err;
}
