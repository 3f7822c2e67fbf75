/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/referrers.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "analysis/search.h"
#include "target/window.h"

// ---- levels ----

struct hw_climb {
	struct hw_session *session;
	struct hw_referrers *ret;
	struct hw_pages pages;
	struct hw_search search;
	HW_VEC(struct hw_referred) frontier; // sorted
	HW_VEC(hw_addr_t) seen;              // blocks that were looked for, sorted
};

static void hw_climb_deinit(struct hw_climb *climb)
{
	hw_pages_deinit(&climb->pages);
	hw_search_deinit(&climb->search);
	hw_vec_deinit(&climb->frontier);
	hw_vec_deinit(&climb->seen);
}

// What leads to a block: to its object, or anywhere into one without.
static struct hw_referred hw_referred_of(const struct hw_python_layout *layout,
					 const struct hw_row *row, const struct hw_block *block)
{
	hw_addr_t data = row->start + (row->allocator == HW_ALLOCATOR_GLIBC ? 16 : 0);
	struct hw_referred referred = { .start = data,
					.end = row->start + row->size_bytes,
					.block = row->start,
					.has_object = block->object != 0,
					.refcount = block->refcount };
	if (block->object) {
		referred.start = block->object;
		referred.end = block->object + 1;
		// A frame's reference that is not counted has its lowest bit set (3.14).
		if (layout->stackref_size != HW_ABSENT)
			referred.end++;
	}
	return referred;
}

// The block whose data has the word at `at`: a chunk's first word is its neighbour's as long as that one
// is in use.
static bool hw_climb_row(struct hw_climb *climb, hw_addr_t at, struct hw_row *row,
			 struct hw_block *block)
{
	const struct hw_heap *heap = climb->session->heap;
	struct hw_row before;
	if (!hw_heap_find(heap, at, row))
		return false;
	if (row->allocator == HW_ALLOCATOR_GLIBC &&
	    at - row->start < climb->session->target->machine->word_bytes && row->start &&
	    hw_heap_find(heap, row->start - 1, &before) && before.allocator == HW_ALLOCATOR_GLIBC)
		*row = before;
	hw_session_block(climb->session, row, &climb->pages, block);
	return true;
}

static int hw_compare_addresses(const void *a, const void *b)
{
	const hw_addr_t *x = a, *y = b;
	return (*x > *y) - (*x < *y);
}

static int hw_compare_referred(const void *a, const void *b)
{
	const struct hw_referred *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

// What is free, and an object on a free list, hold nothing, whatever is left in them.
static bool hw_may_hold(const struct hw_block *block)
{
	return block->state != HW_STATE_FREE && block->state != HW_STATE_OVERHEAD &&
	       strncmp(block->kind, "free-listed", strlen("free-listed")) != 0;
}

// A pointer in a block in use, or in memory of nobody's, becomes a referrer.
static struct hw_error *hw_climb_take(struct hw_climb *climb, unsigned level,
				      const struct hw_found *found)
{
	struct hw_referrer referrer = { .level = level, .at = found->at, .target = found->target };
	referrer.referred = hw_search_at(&climb->search, found->target)->block;
	if (!hw_climb_row(climb, found->at, &referrer.row, &referrer.block) ||
	    referrer.row.start == referrer.referred || !hw_may_hold(&referrer.block))
		return NULL;
	if (climb->ret->list.count == HW_REFERRERS_MAX) {
		climb->ret->is_cut = true;
		return NULL;
	}
	return hw_vec_push(&climb->ret->list, referrer) ? NULL : &hw_enomem;
}

// What the threads found, in address order, as referrers of that level.
static struct hw_error *hw_climb_gather(struct hw_climb *climb, unsigned level)
{
	struct hw_search *search = &climb->search;
	HW_TRY(hw_search_gather(search));
	hw_vec_foreach(found, &search->found[0]) HW_TRY(hw_climb_take(climb, level, found));
	search->found[0].count = 0;
	climb->ret->is_cut |= atomic_load(&search->is_cut);
	return NULL;
}

// The blocks of the last level's referrers, those that were not looked for yet.
static struct hw_error *hw_climb_next(struct hw_climb *climb, size_t first)
{
	climb->frontier.count = 0;
	size_t seen_count = climb->seen.count;
	for (size_t i = first; i < climb->ret->list.count; i++) {
		const struct hw_referrer *referrer = &climb->ret->list.data[i];
		// a stack, a file's data: nothing holds it
		if (referrer->row.allocator == HW_ALLOCATOR_NONE)
			continue;
		if (seen_count && bsearch(&referrer->row.start, climb->seen.data, seen_count,
					  sizeof(hw_addr_t), hw_compare_addresses))
			continue;
		if (climb->frontier.count == HW_REFERRERS_FRONTIER) {
			climb->ret->is_cut = true;
			break;
		}
		if (!hw_vec_push(&climb->frontier,
				 hw_referred_of(&climb->session->python.layout, &referrer->row,
						&referrer->block)))
			return &hw_enomem;
	}
	if (!climb->frontier.count)
		return NULL;
	qsort(climb->frontier.data, climb->frontier.count, sizeof(*climb->frontier.data),
	      hw_compare_referred);
	size_t kept = 1; // each block once
	for (size_t i = 1; i < climb->frontier.count; i++)
		if (climb->frontier.data[i].block != climb->frontier.data[kept - 1].block)
			climb->frontier.data[kept++] = climb->frontier.data[i];
	climb->frontier.count = kept;
	hw_vec_foreach(referred,
		       &climb->frontier) if (!hw_vec_push(&climb->seen,
							  referred->block)) return &hw_enomem;
	qsort(climb->seen.data, climb->seen.count, sizeof(*climb->seen.data), hw_compare_addresses);
	return NULL;
}

static struct hw_error *hw_climb_start(struct hw_climb *climb, hw_addr_t addr)
{
	struct hw_referrers *ret = climb->ret;
	if (!hw_target_find_mapping(climb->session->target, addr))
		return hw_error_at(HW_ERROR_NOT_FOUND, addr,
				   "0x%" PRIx64 " is in no mapping of the target: it is no address "
				   "there",
				   addr);
	ret->referred = (struct hw_referred){ addr, addr + 1, addr, false, -1 };
	ret->has_row = hw_climb_row(climb, addr, &ret->row, &ret->block);
	if (ret->has_row && ret->row.allocator != HW_ALLOCATOR_NONE)
		ret->referred = hw_referred_of(&climb->session->python.layout, &ret->row,
					       &ret->block);
	if (!hw_vec_push(&climb->frontier, ret->referred) ||
	    !hw_vec_push(&climb->seen, ret->referred.block))
		return &hw_enomem;
	return NULL;
}

static struct hw_error *hw_climb_all(struct hw_climb *climb, hw_addr_t addr, unsigned depth)
{
	struct hw_search *search = &climb->search;
	HW_TRY(hw_session_need_heap(climb->session));
	HW_TRY(hw_climb_start(climb, addr));
	if (!hw_search_cut_pieces(search, &climb->ret->bytes_read))
		return &hw_enomem;
	for (unsigned level = 1; level <= depth && climb->frontier.count; level++) {
		size_t first = climb->ret->list.count;
		search->referred = climb->frontier.data;
		search->count = climb->frontier.count;
		HW_TRY(hw_search_pass(search, climb->ret->bytes_read));
		HW_TRY(hw_climb_gather(climb, level));
		HW_TRY(hw_climb_next(climb, first));
	}
	return NULL;
}

struct hw_error *hw_referrers_find(struct hw_session *session, hw_addr_t addr, unsigned depth,
				   struct hw_referrers *ret)
{
	*ret = (struct hw_referrers){ 0 };
	struct hw_climb *climb = calloc(1, sizeof(*climb));
	if (!climb)
		return &hw_enomem;
	climb->session = climb->search.session = session;
	climb->ret = ret;
	struct hw_error *err = hw_session_stop(session);
	if (!err) {
		hw_pages_init(&climb->pages, session->target);
		err = hw_climb_all(climb, addr, depth);
		hw_climb_deinit(climb);
		hw_session_resume(session);
	}
	free(climb);
	if (err)
		hw_referrers_deinit(ret);
	return err;
}

void hw_referrers_deinit(struct hw_referrers *referrers)
{
	hw_vec_deinit(&referrers->list);
}
