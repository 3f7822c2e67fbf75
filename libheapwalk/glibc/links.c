/* SPDX-License-Identifier: LGPL-2.1-or-later */
// An arena's bins without reading the target again. The walk has picked up every free chunk's fd, and a
// sum over its bk; here fds become ordinals of free chunks, the edges of fd and bk are compared as sets,
// and the lists are followed in this process's memory. Anything odd: bins.c follows them with care.
#include "base/bytes.h"
#include "base/parallel.h"
#include "glibc/walker.h"

enum { HW_CHUNKS_PER_BUCKET = 2, HW_MARKED_UNSORTED = 254, HW_MARKED_SORTED = 255 };

// Ordinals from here on are bin heads: hw_ordinal_heads + bin.
static const uint32_t hw_ordinal_heads = UINT32_MAX - HW_GLIBC_BINS;
static const uint32_t hw_ordinal_none = UINT32_MAX;

// The free chunks of one region: ordinals first … first + count - 1, in address order.
struct hw_free_span {
	struct hw_region *region;
	struct hw_free_links *links;
	uint32_t first;
	uint32_t *offset16; // of each; owned
	uint32_t *bucket;   // first local ordinal at or behind the bucket's start; owned
	unsigned shift;     // offset16 to bucket
	// The bin that its size belongs to; HW_MARKED_* once a list was found to hold it. Owned. Lists
	// lead all over memory: a byte a chunk stays in cache where the table itself would not.
	uint8_t *bin;
};

struct hw_free_table {
	HW_VEC(struct hw_free_span) spans; // by address
	uint32_t count;
	hw_addr_t bins; // address of bin 1's head
	const uint8_t *state;
	size_t state_bins; // offset of bins[] in state
};

static void hw_free_table_deinit(struct hw_free_table *table)
{
	hw_vec_foreach(span, &table->spans)
	{
		free(span->offset16);
		free(span->bucket);
		free(span->bin);
	}
	hw_vec_deinit(&table->spans);
}

static struct hw_free_links *hw_links_of(struct hw_glibc_walker *w, hw_addr_t region_start)
{
	hw_vec_foreach(links, &w->free_links) if (links->region_start == region_start) return links;
	return NULL;
}

// False in *ret_fits: more or fewer free chunks than links (a region left out, two that start alike).
static struct hw_error *hw_add_span(struct hw_free_table *table, struct hw_region *region,
				    struct hw_free_links *links, uint32_t state, bool *ret_fits)
{
	struct hw_free_span span = { .region = region, .links = links, .first = table->count };
	uint64_t extent = (region->end - region->start) / 16;
	uint64_t buckets = links->count / HW_CHUNKS_PER_BUCKET + 1;
	while (extent >> span.shift >= buckets)
		span.shift++;
	buckets = (extent >> span.shift) + 2;
	span.offset16 = malloc(links->count * sizeof(*span.offset16));
	span.bucket = malloc(buckets * sizeof(*span.bucket));
	span.bin = malloc(links->count);
	if (!hw_vec_push(&table->spans, span)) {
		free(span.offset16);
		free(span.bucket);
		free(span.bin);
		return &hw_enomem;
	}
	if (!span.offset16 || !span.bucket || !span.bin)
		return &hw_enomem;
	uint32_t found = 0;
	uint64_t filled = 0;
	for (uint32_t i = 0; i < region->count; i++) {
		if (region->state[i] != state)
			continue;
		if (found == links->count) {
			*ret_fits = false;
			return NULL;
		}
		while (filled <= (uint64_t)region->offset16[i] >> span.shift)
			span.bucket[filled++] = found;
		span.offset16[found] = region->offset16[i];
		span.bin[found++] = (uint8_t)hw_glibc_bin_of(hw_region_chunk_size(region, i));
	}
	while (filled < buckets)
		span.bucket[filled++] = found;
	*ret_fits = found == links->count;
	table->count += found;
	return NULL;
}

static const struct hw_free_span *hw_span_at(const struct hw_free_table *table, hw_addr_t addr)
{
	size_t low = 0, high = table->spans.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct hw_free_span *span = &table->spans.data[middle];
		if (addr < span->region->start)
			high = middle;
		else if (addr >= span->region->end)
			low = middle + 1;
		else
			return span;
	}
	return NULL;
}

// The free chunk, or bin head, at addr.
static uint32_t hw_ordinal_of(const struct hw_free_table *table, const struct hw_free_span **hint,
			      hw_addr_t addr)
{
	uint64_t from_bins = addr - table->bins;
	if (from_bins < 16 * (HW_GLIBC_BINS - 1))
		return from_bins & 15 ? hw_ordinal_none
				      : hw_ordinal_heads + 1 + (uint32_t)(from_bins / 16);
	const struct hw_free_span *span = *hint;
	if (addr & 15)
		return hw_ordinal_none;
	if (addr < span->region->start || addr >= span->region->end) {
		span = hw_span_at(table, addr);
		if (!span)
			return hw_ordinal_none;
		*hint = span;
	}
	uint64_t offset16 = (addr - span->region->start) / 16;
	const uint32_t *bucket = &span->bucket[offset16 >> span->shift];
	for (uint32_t i = bucket[0]; i < bucket[1]; i++)
		if (span->offset16[i] == offset16)
			return span->first + i;
	return hw_ordinal_none;
}

static const struct hw_free_span *hw_span_of(const struct hw_free_table *table, uint32_t ordinal)
{
	size_t low = 0, high = table->spans.count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (table->spans.data[middle].first <= ordinal)
			low = middle;
		else
			high = middle;
	}
	return &table->spans.data[low];
}

static hw_addr_t hw_bin_link(const struct hw_free_table *table, unsigned bin, bool forward)
{
	return hw_u64(table->state + table->state_bins + 16 * (size_t)(bin - 1) +
		      (forward ? 0 : 8));
}

// An fd that was turned into an ordinal, packed into the front half of the array.
static uint32_t hw_next_ordinal(const struct hw_free_span *span, uint32_t i)
{
	uint32_t next;
	memcpy(&next, (const char *)span->links->fd + sizeof(next) * (size_t)i, sizeof(next));
	return next;
}

static void hw_set_next_ordinal(const struct hw_free_span *span, uint32_t i, uint32_t next)
{
	memcpy((char *)span->links->fd + sizeof(next) * (size_t)i, &next, sizeof(next));
}

// Turns each fd into an ordinal, in place, and compares what fd and bk say.
static bool hw_resolve_links(const struct hw_free_table *table)
{
	uint64_t forward_sum = 0, back_sum = 0;
	for (unsigned bin = 1; bin < HW_GLIBC_BINS; bin++) {
		hw_addr_t head = table->bins + 16 * (hw_addr_t)(bin - 1);
		hw_addr_t fd = hw_bin_link(table, bin, true), bk = hw_bin_link(table, bin, false);
		if (!fd && !bk)
			continue; // never initialised
		forward_sum += hw_link_hash(fd, head);
		back_sum += hw_link_hash(head, bk);
	}
	hw_vec_foreach(span, &table->spans)
	{
		const struct hw_free_span *hint = span;
		const struct hw_region *region = span->region;
		for (uint32_t i = 0; i < span->links->count; i++) {
			hw_addr_t fd = span->links->fd[i];
			uint32_t next = hw_ordinal_of(table, &hint, fd);
			if (next == hw_ordinal_none)
				return false;
			hw_set_next_ordinal(span, i, next);
			forward_sum +=
				hw_link_hash(fd, region->start + 16 * (hw_addr_t)span->offset16[i]);
		}
		back_sum += span->links->back_sum;
	}
	return forward_sum == back_sum;
}

// What the lists have shown, into the table.
static void hw_write_states(const struct hw_free_table *table)
{
	hw_vec_foreach(span, &table->spans)
	{
		struct hw_region *region = span->region;
		for (uint32_t i = 0, found = 0; i < region->count; i++) {
			if (region->state[i] != HW_CHUNK_FREE)
				continue;
			uint8_t mark = span->bin[found++];
			if (mark == HW_MARKED_UNSORTED)
				region->state[i] = HW_CHUNK_UNSORTED;
			else if (mark == HW_MARKED_SORTED)
				region->state[i] = hw_region_chunk_size(region, i) < 1024
							   ? HW_CHUNK_SMALL
							   : HW_CHUNK_LARGE;
		}
	}
}

// True: the list ends at its own head, and every member is a free chunk of the right size, once.
static bool hw_mark_list(const struct hw_free_table *table, unsigned bin)
{
	const struct hw_free_span *hint = table->spans.data, *span = hint;
	hw_addr_t fd = hw_bin_link(table, bin, true);
	if (!fd)
		return true;
	uint32_t ordinal = hw_ordinal_of(table, &hint, fd);
	while (ordinal < table->count) {
		if (ordinal - span->first >= span->links->count)
			span = hw_span_of(table, ordinal);
		uint32_t i = ordinal - span->first;
		ordinal = hw_next_ordinal(span, i);
		if (span->bin[i] >= HW_MARKED_UNSORTED || (bin > 1 && span->bin[i] != bin))
			return false;
		span->bin[i] = bin == 1 ? HW_MARKED_UNSORTED : HW_MARKED_SORTED;
	}
	return ordinal == hw_ordinal_heads + bin;
}

struct hw_error *hw_glibc_mark_by_links(struct hw_glibc_walker *w, uint32_t arena_index,
					bool *ret_is_whole)
{
	struct hw_glibc *glibc = w->glibc;
	hw_cleanup_with(hw_free_table_deinit) struct hw_free_table table = {
		.bins = glibc->arenas.data[arena_index].address + w->layout->bins - HW_GLIBC_HEADER,
		.state = w->states.data[arena_index]->bytes,
		.state_bins = w->layout->bins,
	};
	*ret_is_whole = false;
	hw_vec_foreach(region, &glibc->regions)
	{
		if (region->arena_index != arena_index || region->kind == HW_REGION_MMAPPED)
			continue;
		struct hw_free_links *links = hw_links_of(w, region->start);
		bool fits = true;
		if (!links)
			continue;
		if ((uint64_t)table.count + links->count >= hw_ordinal_heads)
			return NULL;
		HW_TRY(hw_add_span(&table, region, links, HW_CHUNK_FREE, &fits));
		if (!fits)
			return NULL;
	}
	bool is_whole = table.spans.count == 0;
	for (unsigned bin = 1; is_whole && bin < HW_GLIBC_BINS; bin++) {
		// no free chunk: every list must be empty
		hw_addr_t fd = hw_bin_link(&table, bin, true);
		is_whole = !fd || fd == table.bins + 16 * (hw_addr_t)(bin - 1);
	}
	if (table.spans.count) {
		is_whole = hw_resolve_links(&table);
		if (hw_glibc_poll(w, 0))
			return hw_glibc_interrupted();
		for (unsigned bin = 1; is_whole && bin < HW_GLIBC_BINS; bin++)
			is_whole = hw_mark_list(&table, bin);
		if (is_whole)
			hw_write_states(&table);
	}
	hw_vec_foreach(span, &table.spans)
	{
		free(span->links->fd); // not needed any more
		span->links->fd = NULL;
		span->links->count = 0;
	}
	*ret_is_whole = is_whole;
	return NULL;
}

// ---- fastbins ---------------------------------------------------------------------------------
// Their members keep the in-use bit, so the walk can't tell whose links to pick up. Where a fastbin is
// long, the regions are passed once more, and every small chunk whose first word reads as a link is a
// candidate; the lists then say which of them are members.

enum {
	HW_CHUNK_CANDIDATE = HW_CHUNK_STATE_COUNT,
	HW_LARGEST_FASTBIN_CHUNK = 0xb0,
	HW_CHUNKS_A_PICK = 1 << 16
};

struct hw_candidates {
	HW_VEC(struct hw_free_links) links; // one a region of the arena
	hw_addr_t low, high;                // of the arena's regions
};

static void hw_candidates_deinit(struct hw_candidates *candidates)
{
	hw_vec_foreach(links, &candidates->links) free(links->fd);
	hw_vec_deinit(&candidates->links);
}

// The candidates of chunks [from, to) of a region.
struct hw_pick {
	struct hw_region *region;
	uint32_t from, to;
	HW_VEC(uint64_t) fd; // decoded
};

// Regions of one arena, cut into picks that several threads work at.
struct hw_picks {
	struct hw_glibc_walker *w;
	const struct hw_candidates *all;
	HW_VEC(struct hw_pick) picks;
	atomic_size_t next;
	atomic_bool is_out_of_memory;
};

static void hw_picks_deinit(struct hw_picks *picks)
{
	hw_vec_foreach(pick, &picks->picks) hw_vec_deinit(&pick->fd);
	hw_vec_deinit(&picks->picks);
}

static bool hw_pick_up(const struct hw_picks *picks, struct hw_window *window, struct hw_pick *pick)
{
	const struct hw_candidates *all = picks->all;
	struct hw_region *region = pick->region;
	for (uint32_t i = pick->from; i < pick->to; i++) {
		hw_addr_t field = hw_region_chunk_start(region, i) + HW_GLIBC_HEADER;
		if ((region->state[i] != HW_CHUNK_IN_USE && region->state[i] != HW_CHUNK_FASTBIN) ||
		    hw_region_chunk_size(region, i) > HW_LARGEST_FASTBIN_CHUNK)
			continue;
		const uint8_t *word = hw_window_get(window, field, 8);
		if (!word)
			continue;
		hw_addr_t to = hw_glibc_decode_link(picks->w->glibc, field, hw_u64(word));
		if (to && (to & 15 || to < all->low || to >= all->high))
			continue;
		if (!hw_vec_push(&pick->fd, to))
			return false;
		region->state[i] = HW_CHUNK_CANDIDATE;
	}
	return true;
}

static void hw_picks_run(void *payload, unsigned worker)
{
	struct hw_picks *picks = payload;
	struct hw_progress *progress = picks->w->progress;
	struct hw_window window;
	size_t i;
	hw_window_init(&window, picks->w->target);
	while ((i = atomic_fetch_add(&picks->next, 1)) < picks->picks.count) {
		if (!hw_pick_up(picks, &window, &picks->picks.data[i])) {
			atomic_store(&picks->is_out_of_memory, true);
			break;
		}
		if (progress &&
		    (worker ? hw_progress_stopped(progress) : hw_progress_poll(progress)))
			break;
	}
	hw_window_deinit(&window);
}

static struct hw_error *hw_pick_up_all(struct hw_glibc_walker *w, uint32_t arena_index,
				       struct hw_picks *picks)
{
	hw_vec_foreach(region, &w->glibc->regions)
	{
		if (region->arena_index != arena_index || region->kind == HW_REGION_MMAPPED)
			continue;
		for (uint64_t from = 0; from < region->count; from += HW_CHUNKS_A_PICK) {
			uint64_t to = hw_min(from + HW_CHUNKS_A_PICK, region->count);
			struct hw_pick pick = { region, (uint32_t)from, (uint32_t)to, { 0 } };
			if (!hw_vec_push(&picks->picks, pick))
				return &hw_enomem;
		}
	}
	hw_parallel(w->threads, hw_picks_run, picks);
	if (picks->is_out_of_memory)
		return &hw_enomem;
	return hw_glibc_poll(w, 0) ? hw_glibc_interrupted() : NULL;
}

// What was picked up in one region, as its links. *next: the first pick of the region, then of the one
// behind it.
static struct hw_error *hw_join_picks(struct hw_picks *picks, size_t *next,
				      const struct hw_region *region, struct hw_free_links *links)
{
	uint64_t count = 0;
	size_t end = *next;
	for (; end < picks->picks.count && picks->picks.data[end].region == region; end++)
		count += picks->picks.data[end].fd.count;
	*links = (struct hw_free_links){ .region_start = region->start };
	if (count > UINT32_MAX || !(links->fd = malloc(count * sizeof(*links->fd) + 1)))
		return &hw_enomem;
	links->capacity = (uint32_t)count;
	for (; *next < end; ++*next) {
		struct hw_pick *pick = &picks->picks.data[*next];
		if (pick->fd.count)
			memcpy(links->fd + links->count, pick->fd.data,
			       pick->fd.count * sizeof(*links->fd));
		links->count += (uint32_t)pick->fd.count;
		hw_vec_deinit(&pick->fd);
	}
	return NULL;
}

static void hw_resolve_candidates(const struct hw_free_table *table)
{
	hw_vec_foreach(span, &table->spans)
	{
		const struct hw_free_span *hint = span;
		for (uint32_t i = 0; i < span->links->count; i++) {
			hw_addr_t to = span->links->fd[i];
			hw_set_next_ordinal(
				span, i, to ? hw_ordinal_of(table, &hint, to) : hw_ordinal_heads);
		}
	}
}

static bool hw_mark_fast_list(const struct hw_free_table *table, unsigned bin, hw_addr_t head)
{
	const struct hw_free_span *hint = table->spans.data, *span = hint;
	if (!head)
		return true;
	uint32_t ordinal = hw_ordinal_of(table, &hint, head);
	while (ordinal < table->count) {
		if (ordinal - span->first >= span->links->count)
			span = hw_span_of(table, ordinal);
		uint32_t i = ordinal - span->first;
		if (span->bin[i] != bin + 2) // fastbin 0 and small bin 2 hold chunks of 32 bytes
			return false;
		span->bin[i] = HW_MARKED_SORTED;
		ordinal = hw_next_ordinal(span, i);
	}
	return ordinal == hw_ordinal_heads;
}

// Candidates become members or are in use after all; of a list that is not whole, none is a member.
static void hw_settle_candidates(const struct hw_free_table *table, struct hw_glibc *glibc,
				 uint32_t arena_index, bool is_whole)
{
	const struct hw_free_span *span = table->spans.data;
	hw_vec_foreach(region, &glibc->regions)
	{
		if (region->arena_index != arena_index || region->kind == HW_REGION_MMAPPED)
			continue;
		const uint8_t *bin = NULL;
		if (is_whole && span < table->spans.data + table->spans.count &&
		    span->region == region)
			bin = span++->bin;
		for (uint32_t i = 0; i < region->count; i++)
			if (region->state[i] == HW_CHUNK_CANDIDATE)
				region->state[i] = bin && *bin++ == HW_MARKED_SORTED
							   ? HW_CHUNK_FASTBIN
							   : HW_CHUNK_IN_USE;
	}
}

struct hw_error *hw_glibc_mark_fastbins_by_links(struct hw_glibc_walker *w, uint32_t arena_index,
						 bool *ret_is_whole)
{
	struct hw_glibc *glibc = w->glibc;
	const uint8_t *heads = w->states.data[arena_index]->bytes + w->layout->fastbins;
	hw_cleanup_with(hw_candidates_deinit) struct hw_candidates all = { .low = UINT64_MAX };
	hw_cleanup_with(hw_free_table_deinit) struct hw_free_table table = {
		.bins = glibc->arenas.data[arena_index].address, // no chunk is there
	};
	size_t regions = 0;
	*ret_is_whole = false;
	hw_vec_foreach(region, &glibc->regions)
	{
		if (region->arena_index != arena_index || region->kind == HW_REGION_MMAPPED)
			continue;
		all.low = hw_min(all.low, region->start);
		all.high = hw_max(all.high, region->end);
		regions++;
	}
	// spans point into the list: it must not move
	if (!hw_vec_reserve(&all.links, regions))
		return &hw_enomem;
	hw_cleanup_with(hw_picks_deinit) struct hw_picks picks = { .w = w, .all = &all };
	struct hw_error *err = hw_pick_up_all(w, arena_index, &picks);
	size_t next_pick = 0;
	bool fits = true;
	for (size_t r = 0; r < glibc->regions.count && !err && fits; r++) {
		struct hw_region *region = &glibc->regions.data[r];
		if (region->arena_index != arena_index || region->kind == HW_REGION_MMAPPED)
			continue;
		struct hw_free_links *links = &all.links.data[all.links.count++];
		err = hw_join_picks(&picks, &next_pick, region, links);
		fits = (uint64_t)table.count + links->count < hw_ordinal_heads;
		if (!err && fits && links->count)
			err = hw_add_span(&table, region, links, HW_CHUNK_CANDIDATE, &fits);
	}
	bool is_whole = !err && fits && table.spans.count;
	if (is_whole) {
		hw_resolve_candidates(&table);
		for (unsigned bin = 0; is_whole && bin < HW_GLIBC_FASTBINS; bin++)
			is_whole = hw_mark_fast_list(&table, bin, hw_u64(heads + 8 * (size_t)bin));
	}
	hw_settle_candidates(&table, glibc, arena_index, is_whole);
	*ret_is_whole = is_whole;
	return err;
}
