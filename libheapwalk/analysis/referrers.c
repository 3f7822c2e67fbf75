/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/referrers.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/parallel.h"
#include "target/window.h"

enum {
	HW_PIECE_BYTES = 4 << 20,
	HW_PAGE_BITS = 1 << 16,
	HW_PAGES_MARKED_MAX = 1 << 20, // of all ranges together; beyond, every page may be one
};

// A word of the target that leads to something looked for.
struct hw_found {
	hw_addr_t at, target;
};

struct hw_search_piece {
	hw_addr_t start, end;
};

// One pass over the memory.
struct hw_search {
	struct hw_session *session;
	const struct hw_referred *referred; // sorted, disjoint
	size_t count;
	hw_addr_t low, high;               // of them all
	uint64_t pages[HW_PAGE_BITS / 64]; // hashed: a page without its bit has none of them
	HW_VEC(struct hw_search_piece) pieces;
	atomic_size_t next;
	HW_VEC(struct hw_found) found[HW_PARALLEL_MAX]; // one a thread
	atomic_size_t found_count;
	atomic_bool is_cut, is_out_of_memory;
};

static void hw_search_deinit(struct hw_search *search)
{
	for (size_t i = 0; i < HW_PARALLEL_MAX; i++)
		hw_vec_deinit(&search->found[i]);
	hw_vec_deinit(&search->pieces);
}

static uint32_t hw_page_bit(hw_addr_t addr)
{
	return (uint32_t)((addr >> 12) * 0x9e3779b97f4a7c15u >> 48) % HW_PAGE_BITS;
}

static void hw_search_mark_pages(struct hw_search *search)
{
	uint64_t marked = 0;
	memset(search->pages, 0, sizeof(search->pages));
	for (size_t i = 0; i < search->count; i++) {
		const struct hw_referred *r = &search->referred[i];
		marked += ((r->end - 1) >> 12) - (r->start >> 12) + 1;
		if (marked > HW_PAGES_MARKED_MAX) {
			memset(search->pages, 0xff, sizeof(search->pages));
			return;
		}
		for (hw_addr_t page = r->start >> 12; page <= (r->end - 1) >> 12; page++) {
			uint32_t bit = hw_page_bit(page << 12);
			search->pages[bit / 64] |= UINT64_C(1) << bit % 64;
		}
	}
}

// What the word leads to, or NULL.
static const struct hw_referred *hw_search_at(const struct hw_search *search, hw_addr_t word)
{
	uint32_t bit = hw_page_bit(word);
	if (!(search->pages[bit / 64] >> bit % 64 & 1))
		return NULL;
	size_t low = 0, high = search->count; // low: those before start at or before word
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (search->referred[middle].start <= word)
			low = middle + 1;
		else
			high = middle;
	}
	return low && word < search->referred[low - 1].end ? &search->referred[low - 1] : NULL;
}

static bool hw_search_take(struct hw_search *search, unsigned worker, struct hw_found found)
{
	if (atomic_fetch_add(&search->found_count, 1) >= HW_REFERRERS_MAX) {
		atomic_store(&search->is_cut, true);
		return false;
	}
	if (hw_vec_push(&search->found[worker], found))
		return true;
	atomic_store(&search->is_out_of_memory, true);
	return false;
}

// Two of it, one for each width of a word: this is the loop over all writable memory.
static inline __attribute__((always_inline)) bool
hw_search_words(struct hw_search *search, unsigned worker, struct hw_window *window,
		const struct hw_search_piece *piece, const unsigned word_bytes)
{
	const hw_addr_t low = search->low, span = search->high - search->low;
	for (hw_addr_t at = piece->start; at < piece->end;) {
		size_t len;
		const uint8_t *bytes = hw_window_get_some(
			window, at, (size_t)hw_min(piece->end - at, HW_WINDOW_BYTES), &len);
		if (!bytes || len < word_bytes) { // a hole
			at = hw_align_down(at, HW_PAGE_BYTES) + HW_PAGE_BYTES;
			continue;
		}
		for (size_t i = 0; i + word_bytes <= len; i += word_bytes) {
			hw_addr_t word = hw_word(bytes + i, word_bytes);
			if (word - low < span && hw_search_at(search, word) &&
			    !hw_search_take(search, worker,
					    (struct hw_found){ .at = at + i, .target = word }))
				return false;
		}
		at += hw_align_down(len, word_bytes);
	}
	return true;
}

static bool hw_search_piece(struct hw_search *search, unsigned worker, struct hw_window *window,
			    const struct hw_search_piece *piece)
{
	return search->session->target->machine->word_bytes == 8
		       ? hw_search_words(search, worker, window, piece, 8)
		       : hw_search_words(search, worker, window, piece, 4);
}

static void hw_search_run(void *payload, unsigned worker)
{
	struct hw_search *search = payload;
	struct hw_progress *progress = &search->session->progress;
	struct hw_window window;
	size_t i;
	hw_window_init(&window, search->session->target);
	while ((i = atomic_fetch_add(&search->next, 1)) < search->pieces.count) {
		const struct hw_search_piece *piece = &search->pieces.data[i];
		if (!hw_search_piece(search, worker, &window, piece))
			break;
		atomic_fetch_add(&progress->done, piece->end - piece->start);
		if (worker ? hw_progress_stopped(progress) : hw_progress_poll(progress))
			break;
	}
	hw_window_deinit(&window);
}

// Private writable memory in pieces; its bytes.
static bool hw_search_cut_pieces(struct hw_search *search, uint64_t *ret_bytes)
{
	*ret_bytes = 0;
	hw_vec_foreach(m, &search->session->target->mappings)
	{
		if (!hw_mapping_is_private_writable(m))
			continue;
		*ret_bytes += m->end - m->start;
		for (hw_addr_t at = m->start; at < m->end; at += HW_PIECE_BYTES) {
			struct hw_search_piece piece = { at,
							 at + hw_min(m->end - at, HW_PIECE_BYTES) };
			if (!hw_vec_push(&search->pieces, piece))
				return false;
		}
	}
	return true;
}

static struct hw_error *hw_search_pass(struct hw_search *search, uint64_t bytes)
{
	struct hw_session *session = search->session;
	unsigned threads = session->target->ops->is_thread_safe ? session->options.threads : 1;
	search->low = search->referred[0].start;
	search->high = search->referred[search->count - 1].end;
	hw_search_mark_pages(search);
	session->progress.what = "referrers";
	session->progress.total = bytes;
	atomic_store(&session->progress.done, 0);
	atomic_store(&search->next, 0);
	hw_parallel((unsigned)hw_min(threads, HW_PARALLEL_MAX), hw_search_run, search);
	if (search->is_out_of_memory)
		return &hw_enomem;
	if (hw_progress_stopped(&session->progress))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted while referrers were looked for");
	return NULL;
}

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

static int hw_compare_found(const void *a, const void *b)
{
	const struct hw_found *x = a, *y = b;
	return (x->at > y->at) - (x->at < y->at);
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
	for (size_t i = 1; i < HW_PARALLEL_MAX; i++) {
		if (!search->found[i].count)
			continue;
		if (!hw_vec_reserve(&search->found[0],
				    search->found[0].count + search->found[i].count))
			return &hw_enomem;
		memcpy(search->found[0].data + search->found[0].count, search->found[i].data,
		       search->found[i].count * sizeof(*search->found[i].data));
		search->found[0].count += search->found[i].count;
		search->found[i].count = 0;
	}
	if (search->found[0].count)
		qsort(search->found[0].data, search->found[0].count, sizeof(*search->found[0].data),
		      hw_compare_found);
	hw_vec_foreach(found, &search->found[0]) HW_TRY(hw_climb_take(climb, level, found));
	search->found[0].count = 0;
	atomic_store(&search->found_count, 0);
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
