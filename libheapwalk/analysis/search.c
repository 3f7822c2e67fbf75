/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/search.h"

#include <string.h>

#include "base/bytes.h"
#include "target/window.h"

enum {
	HW_PIECE_BYTES = 4 << 20,
	HW_PAGES_MARKED_MAX = 1 << 20, // of all ranges together; beyond, every page may be one
};

void hw_search_deinit(struct hw_search *search)
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
const struct hw_referred *hw_search_at(const struct hw_search *search, hw_addr_t word)
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
bool hw_search_cut_pieces(struct hw_search *search, uint64_t *ret_bytes)
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

struct hw_error *hw_search_pass(struct hw_search *search, uint64_t bytes)
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

static int hw_compare_found(const void *a, const void *b)
{
	const struct hw_found *x = a, *y = b;
	return (x->at > y->at) - (x->at < y->at);
}

struct hw_error *hw_search_gather(struct hw_search *search)
{
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
	atomic_store(&search->found_count, 0);
	return NULL;
}
