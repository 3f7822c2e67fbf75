/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The block at an address: no row but its own is made.
#include "analysis/session.h"

static struct hw_error *hw_session_find(struct hw_session *session, hw_addr_t addr,
					struct hw_block *ret, bool *ret_found)
{
	HW_TRY(hw_session_need_heap(session));
	if (hw_heap_is_partial(session->heap))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted: the block at 0x%llx was not looked for",
				       (unsigned long long)addr);
	struct hw_row row;
	bool is_found = hw_heap_find(session->heap, addr, &row);
	if (is_found) {
		session->point_pages.target = session->target;
		hw_pages_drop(&session->point_pages);
		hw_session_block(session, &row, &session->point_pages, ret);
	}
	*ret_found = is_found;
	return NULL;
}

struct hw_error *hw_session_find_block(struct hw_session *session, hw_addr_t addr,
				       struct hw_block *ret, bool *ret_found)
{
	HW_TRY(hw_session_stop(session));
	struct hw_error *err = hw_session_find(session, addr, ret, ret_found);
	hw_session_resume(session);
	hw_session_settle(session);
	return err;
}
