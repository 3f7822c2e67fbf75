/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A long region walked by several threads. Only the chunk before says where a chunk starts, so pieces
// begin at guesses: places from where a good many headers make a chain. A guess is used when the walk of
// the piece before it, which is right, arrives exactly there; else its walk is thrown away and that part
// walked again. So the result never depends on a guess, and no byte is walked more than twice.
#include "base/bytes.h"
#include "base/parallel.h"
#include "glibc/walker.h"

enum {
	HW_PIECE_BYTES_MIN = 8 << 20,
	HW_PIECES_A_THREAD = 4,   // so that no thread waits long for the last one
	HW_GUESS_BYTES = 1 << 16, // from where a piece should begin: how far a start is looked for
	HW_GUESS_HOPS = 24,       // headers that fit each other by chance: never seen
};

struct hw_piece {
	struct hw_region_plan plan;
	struct hw_glibc_walker w; // its own window, links and issues
	struct hw_glibc glibc;    // its regions; the arenas are borrowed
	struct hw_issues issues;
	struct hw_error *err;
	bool is_walked;
	enum hw_region_ending ending;
	hw_addr_t end;
};

struct hw_pieces {
	struct hw_piece *pieces; // by address
	unsigned count, threads;
	atomic_uint next;
};

static void hw_pieces_deinit(struct hw_pieces *all)
{
	for (unsigned i = 0; i < all->count; i++) {
		struct hw_piece *piece = &all->pieces[i];
		hw_glibc_walker_deinit(&piece->w);
		memset(&piece->glibc.arenas, 0, sizeof(piece->glibc.arenas)); // borrowed
		hw_glibc_deinit(&piece->glibc);
		hw_issues_deinit(&piece->issues);
		hw_error_destroy(piece->err);
	}
	free(all->pieces);
}

// Does a chain of ordinary chunks begin at `addr`?
static bool hw_is_plausible_start(struct hw_glibc_walker *w, hw_addr_t addr, hw_addr_t top)
{
	uint64_t before = 0;
	for (unsigned hop = 0; hop < HW_GUESS_HOPS; hop++) {
		uint8_t header[HW_GLIBC_HEADER];
		if (addr == top)
			return true;
		if (!hw_pages_read(&w->pages, addr, header, sizeof(header)))
			return false;
		uint64_t size_field = hw_glibc_word(header + HW_GLIBC_WORD);
		uint64_t size = size_field & ~(uint64_t)HW_GLIBC_FLAGS;
		if (size < HW_GLIBC_MIN_CHUNK || size > top - addr ||
		    size_field & (HW_GLIBC_ODD | HW_GLIBC_IS_MMAPPED | HW_GLIBC_NON_MAIN_ARENA))
			return false;
		if (before && !(size_field & HW_GLIBC_PREV_INUSE) &&
		    hw_glibc_word(header) != before)
			return false;
		before = size;
		addr += size;
	}
	return true;
}

static hw_addr_t hw_guess_start(struct hw_glibc_walker *w, hw_addr_t from, hw_addr_t top)
{
	for (hw_addr_t addr = hw_glibc_chunk_up(from); addr < from + HW_GUESS_BYTES; addr += 16)
		if (hw_is_plausible_start(w, addr, top))
			return addr;
	return 0;
}

// A walker of its own for each piece: what it collects is its, the facts are w's.
static void hw_piece_begin(struct hw_piece *piece, const struct hw_glibc_walker *w,
			   const struct hw_region_plan *plan, hw_addr_t start, hw_addr_t join)
{
	piece->plan = *plan;
	piece->plan.start = piece->plan.first = start;
	piece->plan.join = join;
	hw_issues_init(&piece->issues);
	piece->glibc = (struct hw_glibc){ .target = w->in.target, .arenas = w->glibc->arenas };
	piece->w = (struct hw_glibc_walker){
		.in = w->in,
		.glibc = &piece->glibc,
		.layout = w->layout,
		.mp_layout = w->mp_layout,
		.tcache_count = w->tcache_count,
		.picks = w->picks,
	};
	piece->w.in.issues = &piece->issues;
	piece->w.in.threads = 1;
	hw_window_init(&piece->w.window, w->in.target);
	hw_pages_init(&piece->w.pages, w->in.target);
}

static struct hw_error *hw_plan_pieces(struct hw_glibc_walker *w, const struct hw_region_plan *plan,
				       struct hw_pieces *all)
{
	uint64_t bytes = plan->top - plan->first;
	uint64_t count = hw_min(bytes / HW_PIECE_BYTES_MIN,
				HW_PIECES_A_THREAD * (uint64_t)all->threads);
	hw_addr_t start = plan->first;
	all->pieces = calloc(count + 1, sizeof(*all->pieces));
	if (!all->pieces)
		return &hw_enomem;
	for (uint64_t i = 1; start;) {
		hw_addr_t next = 0;
		for (; i < count && !next; i++)
			next = hw_guess_start(w, plan->first + bytes / count * i, plan->top);
		hw_piece_begin(&all->pieces[all->count++], w, plan, start, next);
		start = next;
	}
	return NULL;
}

static void hw_pieces_run(void *payload, unsigned worker)
{
	struct hw_pieces *all = payload;
	unsigned i;
	while ((i = atomic_fetch_add(&all->next, 1)) < all->count) {
		struct hw_piece *piece = &all->pieces[i];
		piece->w.worker = worker;
		piece->err = hw_glibc_walk_region(&piece->w, &piece->plan, &piece->ending,
						  &piece->end);
		piece->is_walked = true;
		hw_window_deinit(&piece->w.window);
		hw_pages_deinit(&piece->w.pages);
		if (piece->err)
			break;
	}
}

// What the piece found becomes w's.
static struct hw_error *hw_piece_adopt(struct hw_piece *piece, struct hw_glibc_walker *w)
{
	if (piece->err) {
		struct hw_error *err = piece->err;
		piece->err = NULL;
		return err;
	}
	if (!hw_vec_append(&w->glibc->regions, &piece->glibc.regions))
		return &hw_enomem;
	piece->glibc.regions.count = 0; // their arrays have a new owner, so do those below
	if (!hw_vec_append(&w->free_links, &piece->w.free_links))
		return &hw_enomem;
	piece->w.free_links.count = 0;
	if (!hw_vec_append(&w->candidate_links, &piece->w.candidate_links))
		return &hw_enomem;
	piece->w.candidate_links.count = 0;
	if (!hw_vec_append(&w->tcache_candidates, &piece->w.tcache_candidates))
		return &hw_enomem;
	hw_vec_foreach(issue, &piece->issues.list) hw_issues_take(w->in.issues, *issue);
	piece->issues.list.count = 0;
	return NULL;
}

struct hw_error *hw_glibc_walk_long_region(struct hw_glibc_walker *w,
					   const struct hw_region_plan *plan,
					   enum hw_region_ending *ret_ending, hw_addr_t *ret_end)
{
	hw_cleanup_with(hw_pieces_deinit) struct hw_pieces all = {
		.threads = (unsigned)hw_min(w->in.threads, HW_PARALLEL_MAX),
	};
	bool is_long = plan->top > plan->first && plan->top < plan->limit &&
		       plan->top - plan->first >= 2 * HW_PIECE_BYTES_MIN;
	if (all.threads > 1 && is_long)
		HW_TRY(hw_plan_pieces(w, plan, &all));
	if (all.count < 2)
		return hw_glibc_walk_region(w, plan, ret_ending, ret_end);
	hw_parallel(all.threads, hw_pieces_run, &all);

	unsigned i = 0;
	*ret_ending = HW_ENDING_JOIN;
	*ret_end = plan->first;
	while (*ret_ending == HW_ENDING_JOIN) {
		while (i < all.count &&
		       (!all.pieces[i].is_walked || all.pieces[i].plan.first < *ret_end))
			i++;
		struct hw_piece *piece = i < all.count ? &all.pieces[i] : NULL;
		if (piece && piece->plan.first == *ret_end) {
			HW_TRY(hw_piece_adopt(piece, w));
			*ret_ending = piece->ending;
			*ret_end = piece->end;
			i++;
			continue;
		}
		struct hw_region_plan again = *plan;
		again.start = again.first = *ret_end;
		again.join = piece ? piece->plan.first : 0;
		HW_TRY(hw_glibc_walk_region(w, &again, ret_ending, ret_end));
	}
	return NULL;
}
