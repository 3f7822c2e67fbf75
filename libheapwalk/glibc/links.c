/* SPDX-License-Identifier: LGPL-2.1-or-later */
// An arena's bins without reading the target again. The walk has picked up every free chunk's fd, and a
// sum over its bk; here fds become ordinals of free chunks, the edges of fd and bk are compared as sets,
// and the lists are followed in this process's memory. Anything odd: bins.c follows them with care.
#include "base/bytes.h"
#include "base/parallel.h"
#include "glibc/walker.h"

enum {
	HW_CHUNKS_PER_BUCKET = 2,
	HW_MARKED_UNSORTED = 254,
	HW_MARKED_SORTED = 255,
	HW_LINKS_A_THREAD = 1 << 14, // fewer are done before a thread has started
};

// Ordinals from here on are bin heads: hw_ordinal_heads + bin.
static const uint32_t hw_ordinal_heads = UINT32_MAX - HW_GLIBC_BINS;
static const uint32_t hw_ordinal_none = UINT32_MAX;

// The free chunks of one region: ordinals first … first + count - 1, in address order.
struct hw_free_span {
	struct hw_region *region;
	struct hw_free_links *links;
	uint32_t first;
	uint32_t *offset8; // of each; owned
	uint32_t *bucket;  // first local ordinal at or behind the bucket's start; owned
	uint64_t bucket_count;
	unsigned shift; // offset8 to bucket
	// The bin that its size belongs to; HW_MARKED_* once a list was found to hold it. Owned. Lists
	// lead all over memory: a byte a chunk stays in cache where the table itself would not.
	uint8_t *bin;
	uint64_t forward_sum; // of hw_link_hash(fd, chunk)
	bool is_odd;          // what it says can't be
};

// Spans are filled and resolved by several threads, each span by one.
struct hw_free_table {
	HW_VEC(struct hw_free_span) spans; // by address
	uint32_t count;
	const struct hw_glibc *glibc;
	bool of_candidates;
	bool is_whole; // candidates: every list has been followed to its end
	unsigned threads;
	// Address of bin 1's head; of a table of candidates the arena's: no chunk is there.
	hw_addr_t bins;
	const uint8_t *state;
	size_t state_bins; // offset of bins[] in state
};

static void hw_free_table_deinit(struct hw_free_table *table)
{
	hw_vec_foreach(span, &table->spans)
	{
		free(span->offset8);
		free(span->bucket);
		free(span->bin);
	}
	hw_vec_deinit(&table->spans);
}

// They are not needed any more.
static void hw_drop_links(const struct hw_free_table *table)
{
	hw_vec_foreach(span, &table->spans) hw_free_links_deinit(span->links);
}

static struct hw_free_links *hw_links_of(hw_free_links_vec *list, hw_addr_t region_start)
{
	hw_vec_foreach(links, list) if (links->region_start == region_start) return links;
	return NULL;
}

// What the links of a table belong to: free chunks, or candidates.
static bool hw_is_linked(uint32_t state, bool is_candidate)
{
	return is_candidate ? state & HW_CHUNK_CANDIDATE : state == HW_CHUNK_FREE;
}

// An empty span of the region, for hw_fill_span().
static struct hw_error *hw_add_span(struct hw_free_table *table, struct hw_region *region,
				    struct hw_free_links *links)
{
	struct hw_free_span span = { .region = region, .links = links, .first = table->count };
	uint64_t extent = (region->end - region->start) / HW_CHUNK_UNIT;
	uint64_t buckets = links->count / HW_CHUNKS_PER_BUCKET + 1;
	while (extent >> span.shift >= buckets)
		span.shift++;
	span.bucket_count = (extent >> span.shift) + 2;
	span.offset8 = malloc(links->count * sizeof(*span.offset8));
	span.bucket = malloc(span.bucket_count * sizeof(*span.bucket));
	span.bin = malloc(links->count);
	table->count += links->count;
	if (hw_vec_push(&table->spans, span))
		return span.offset8 && span.bucket && span.bin ? NULL : &hw_enomem;
	free(span.offset8);
	free(span.bucket);
	free(span.bin);
	return &hw_enomem;
}

// is_odd: a chunk is not free any more, or no candidate (a region left out, and another that starts alike).
static void hw_fill_span(const struct hw_free_table *table, struct hw_free_span *span)
{
	const struct hw_region *region = span->region;
	const struct hw_free_links *links = span->links;
	uint64_t filled = 0;
	for (uint32_t i = 0; i < links->count; i++) {
		uint32_t chunk = links->chunk[i];
		if (chunk >= region->count ||
		    !hw_is_linked(region->state[chunk], table->of_candidates)) {
			span->is_odd = true;
			return;
		}
		while (filled <= (uint64_t)region->offset8[chunk] >> span->shift)
			span->bucket[filled++] = i;
		span->offset8[i] = region->offset8[chunk];
		// what a thread's cache holds is on no list: of no bin
		span->bin[i] =
			table->of_candidates && hw_region_state(region, chunk) != HW_CHUNK_IN_USE
				? 0
				: (uint8_t)hw_glibc_bin_of(HW_GLIBC_WORD,
							   hw_region_chunk_size(region, chunk));
	}
	while (filled < span->bucket_count)
		span->bucket[filled++] = links->count;
}

typedef void hw_span_step(const struct hw_free_table *table, struct hw_free_span *span);

struct hw_span_work {
	const struct hw_free_table *table;
	hw_span_step *step;
};

static void hw_span_work_run(void *payload, size_t i)
{
	const struct hw_span_work *work = payload;
	work->step(work->table, &work->table->spans.data[i]);
}

static unsigned hw_table_threads(const struct hw_free_table *table)
{
	return hw_min(table->threads, 1 + table->count / HW_LINKS_A_THREAD);
}

// False: of some span is_odd.
static bool hw_each_span(const struct hw_free_table *table, hw_span_step *step)
{
	struct hw_span_work work = { .table = table, .step = step };
	bool is_odd = false;
	hw_parallel_each(hw_table_threads(table), table->spans.count, hw_span_work_run, &work);
	hw_vec_foreach(span, &table->spans) is_odd |= span->is_odd;
	return !is_odd;
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
	if (from_bins < 2 * HW_GLIBC_WORD * (HW_GLIBC_BINS - 1))
		return from_bins % (2 * HW_GLIBC_WORD)
			       ? hw_ordinal_none
			       : hw_ordinal_heads + 1 + (uint32_t)(from_bins / (2 * HW_GLIBC_WORD));
	const struct hw_free_span *span = *hint;
	if (!hw_glibc_is_chunk_place(addr))
		return hw_ordinal_none;
	if (addr < span->region->start || addr >= span->region->end) {
		span = hw_span_at(table, addr);
		if (!span)
			return hw_ordinal_none;
		*hint = span;
	}
	uint64_t offset8 = (addr - span->region->start) / HW_CHUNK_UNIT;
	const uint32_t *bucket = &span->bucket[offset8 >> span->shift];
	for (uint32_t i = bucket[0]; i < bucket[1]; i++)
		if (span->offset8[i] == offset8)
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
	return hw_glibc_word(table->state + table->state_bins +
			     2 * HW_GLIBC_WORD * (size_t)(bin - 1) + (forward ? 0 : HW_GLIBC_WORD));
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

// Turns each fd into an ordinal, in place. is_odd: one leads to what is no free chunk.
static void hw_resolve_span(const struct hw_free_table *table, struct hw_free_span *span)
{
	const struct hw_free_span *hint = span;
	const struct hw_region *region = span->region;
	for (uint32_t i = 0; i < span->links->count; i++) {
		hw_addr_t fd = span->links->fd[i];
		uint32_t next = hw_ordinal_of(table, &hint, fd);
		if (next == hw_ordinal_none) {
			span->is_odd = true;
			return;
		}
		hw_set_next_ordinal(span, i, next);
		span->forward_sum += hw_link_hash(
			fd, region->start + HW_CHUNK_UNIT * (hw_addr_t)span->offset8[i]);
	}
}

// Resolves all links, and compares what fd and bk say.
static bool hw_resolve_links(const struct hw_free_table *table)
{
	uint64_t forward_sum = 0, back_sum = 0;
	for (unsigned bin = 1; bin < HW_GLIBC_BINS; bin++) {
		hw_addr_t head = table->bins + 2 * HW_GLIBC_WORD * (hw_addr_t)(bin - 1);
		hw_addr_t fd = hw_bin_link(table, bin, true), bk = hw_bin_link(table, bin, false);
		if (!fd && !bk)
			continue; // never initialised
		forward_sum += hw_link_hash(fd, head);
		back_sum += hw_link_hash(head, bk);
	}
	if (!hw_each_span(table, hw_resolve_span))
		return false;
	hw_vec_foreach(span, &table->spans)
	{
		forward_sum += span->forward_sum;
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
		for (uint32_t i = 0; i < span->links->count; i++) {
			uint32_t chunk = span->links->chunk[i];
			if (span->bin[i] == HW_MARKED_UNSORTED)
				region->state[chunk] = HW_CHUNK_UNSORTED;
			else if (span->bin[i] == HW_MARKED_SORTED)
				region->state[chunk] = hw_region_chunk_size(region, chunk) <
								       HW_GLIBC_LARGE
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
		.glibc = glibc,
		.threads = w->in.threads,
		.bins = glibc->arenas.data[arena_index].address + w->layout->bins - HW_GLIBC_HEADER,
		.state = w->states.data[arena_index]->bytes,
		.state_bins = w->layout->bins,
	};
	*ret_is_whole = false;
	hw_vec_foreach(region, &glibc->regions)
	{
		if (region->arena_index != arena_index || region->kind == HW_REGION_MMAPPED)
			continue;
		struct hw_free_links *links = hw_links_of(&w->free_links, region->start);
		if (!links)
			continue;
		if ((uint64_t)table.count + links->count >= hw_ordinal_heads)
			return NULL;
		HW_TRY(hw_add_span(&table, region, links));
	}
	if (!hw_each_span(&table, hw_fill_span))
		return NULL;
	bool is_whole = table.spans.count == 0;
	for (unsigned bin = 1; is_whole && bin < HW_GLIBC_BINS; bin++) {
		// no free chunk: every list must be empty
		hw_addr_t fd = hw_bin_link(&table, bin, true);
		is_whole = !fd || fd == table.bins + 2 * HW_GLIBC_WORD * (hw_addr_t)(bin - 1);
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
	hw_drop_links(&table);
	*ret_is_whole = is_whole;
	return NULL;
}

// ---- fastbins ---------------------------------------------------------------------------------

static void hw_resolve_candidates(const struct hw_free_table *table, struct hw_free_span *span)
{
	const struct hw_free_span *hint = span;
	for (uint32_t i = 0; i < span->links->count; i++) {
		hw_addr_t field = span->region->start +
				  HW_CHUNK_UNIT * (hw_addr_t)span->offset8[i] + HW_GLIBC_HEADER;
		hw_addr_t to = hw_glibc_decode_link(table->glibc, field, span->links->fd[i]);
		hw_set_next_ordinal(span, i,
				    to ? hw_ordinal_of(table, &hint, to) : hw_ordinal_heads);
	}
}

static bool hw_mark_fast_list(const struct hw_free_table *table, unsigned bin, hw_addr_t head)
{
	const struct hw_free_span *hint = table->spans.data, *span = hint;
	if (!head)
		return true;
	if (!hint)
		return false;
	// the small bin that holds chunks of the same size
	const unsigned small_bin = hw_glibc_bin_of(HW_GLIBC_WORD,
						   hw_glibc_fastbin_bytes(HW_GLIBC_WORD, bin));
	uint32_t ordinal = hw_ordinal_of(table, &hint, head);
	while (ordinal < table->count) {
		if (ordinal - span->first >= span->links->count)
			span = hw_span_of(table, ordinal);
		uint32_t i = ordinal - span->first;
		// Of a damaged list another thread may be there, too: not the one whose chunk it is.
		if (__atomic_load_n(&span->bin[i], __ATOMIC_RELAXED) != small_bin)
			return false;
		__atomic_store_n(&span->bin[i], HW_MARKED_SORTED, __ATOMIC_RELAXED);
		ordinal = hw_next_ordinal(span, i);
	}
	return ordinal == hw_ordinal_heads;
}

struct hw_fast_lists {
	const struct hw_free_table *table;
	const uint8_t *heads;
	atomic_bool is_odd;
};

static void hw_fast_lists_run(void *payload, size_t bin)
{
	struct hw_fast_lists *lists = payload;
	hw_addr_t head = hw_glibc_word(lists->heads + HW_GLIBC_WORD * bin);
	if (!hw_mark_fast_list(lists->table, (unsigned)bin, head))
		atomic_store(&lists->is_odd, true);
}

// No two lists have chunks of one size: each is followed by a thread of its own. True: all are whole.
static bool hw_mark_fast_lists(const struct hw_free_table *table, const uint8_t *heads)
{
	struct hw_fast_lists lists = { .table = table, .heads = heads };
	hw_parallel_each(hw_table_threads(table), HW_GLIBC_FASTBINS, hw_fast_lists_run, &lists);
	return !lists.is_odd;
}

// Candidates become members or are in use after all; of a list that is not whole, none is a member.
static void hw_settle_links(struct hw_region *region, const struct hw_free_links *links,
			    const uint8_t *bin)
{
	for (uint32_t i = 0; i < links->count && links->chunk[i] < region->count; i++) {
		uint32_t *state = &region->state[links->chunk[i]];
		*state = bin && bin[i] == HW_MARKED_SORTED ? HW_CHUNK_FASTBIN
							   : *state & ~HW_CHUNK_CANDIDATE;
	}
}

static void hw_settle_span(const struct hw_free_table *table, struct hw_free_span *span)
{
	hw_settle_links(span->region, span->links, table->is_whole ? span->bin : NULL);
}

static void hw_settle_candidates(struct hw_glibc_walker *w, const struct hw_free_table *table,
				 uint32_t arena_index)
{
	const struct hw_free_span *span = table->spans.data;
	const struct hw_free_span *end = span ? span + table->spans.count : NULL;
	hw_each_span(table, hw_settle_span);
	// Those that are in no span, and of a region that was left out, too, when it starts at the same place.
	hw_vec_foreach(region, &w->glibc->regions)
	{
		hw_vec_foreach(links, &w->candidate_links)
		{
			if (links->region_start != region->start ||
			    region->arena_index != arena_index)
				continue;
			if (span < end && span->links == links)
				span++;
			else
				hw_settle_links(region, links, NULL);
		}
	}
}

struct hw_error *hw_glibc_mark_fastbins_by_links(struct hw_glibc_walker *w, uint32_t arena_index,
						 bool *ret_is_whole)
{
	struct hw_glibc *glibc = w->glibc;
	const uint8_t *heads = w->states.data[arena_index]->bytes + w->layout->fastbins;
	hw_cleanup_with(hw_free_table_deinit) struct hw_free_table table = {
		.glibc = glibc,
		.of_candidates = true,
		.threads = w->in.threads,
		.bins = glibc->arenas.data[arena_index].address,
	};
	struct hw_error *err = NULL;
	bool fits = w->picks.is_mangled == glibc->safe_linking;
	for (size_t r = 0; r < glibc->regions.count && !err && fits; r++) {
		struct hw_region *region = &glibc->regions.data[r];
		if (region->arena_index != arena_index || region->kind == HW_REGION_MMAPPED)
			continue;
		struct hw_free_links *links = hw_links_of(&w->candidate_links, region->start);
		if (!links)
			continue;
		fits = (uint64_t)table.count + links->count < hw_ordinal_heads;
		if (fits)
			err = hw_add_span(&table, region, links);
	}
	if (!err && fits && hw_each_span(&table, hw_fill_span)) {
		hw_each_span(&table, hw_resolve_candidates);
		table.is_whole = hw_mark_fast_lists(&table, heads);
	}
	hw_settle_candidates(w, &table, arena_index);
	hw_drop_links(&table);
	*ret_is_whole = table.is_whole;
	return err;
}
