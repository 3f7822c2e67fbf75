/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Free lists of an arena: unsorted, small and large bins, fastbins. Each member must be a chunk of the
// walk's, free by its neighbour's P bit (fastbins: in use), and on no other list.
#include "base/bytes.h"
#include "glibc/walker.h"

enum {
	HW_POLL_EVERY = 1 << 16,
	// A fastbin of more members is cheaper to take from links that the walk picks up: following it
	// costs a read of the target for each member.
	HW_LONG_FASTBIN = 1 << 10,
};

struct hw_bin_walk {
	struct hw_glibc_walker *w;
	uint32_t arena_index;
	unsigned bin;
	hw_addr_t head;
	enum hw_chunk_state state;
	uint64_t steps;
};

static const char *hw_bin_name(unsigned bin)
{
	return bin == 1 ? "unsorted bin" : bin < 64 ? "small bin" : "large bin";
}

bool hw_glibc_leads_to_unseen(struct hw_glibc_walker *w, hw_addr_t chunk)
{
	const struct hw_region *region = hw_glibc_find_region(w->glibc, chunk);
	uint32_t state = region ? hw_region_state(region, hw_region_find_chunk(region, chunk))
				: HW_CHUNK_IN_USE;
	uint64_t word;
	if (state != HW_CHUNK_MISSING && state != HW_CHUNK_UNKNOWN &&
	    hw_glibc_read_word(&w->pages, chunk, &word))
		return false;
	if (!w->unseen_links++)
		w->first_unseen = chunk;
	return true;
}

static void hw_report_unseen(struct hw_glibc_walker *w)
{
	if (w->unseen_links)
		hw_issues_add(w->in.issues, HW_ERROR_FAULT, w->first_unseen,
			      "%u lists of free chunks lead to where no chunks could be seen, the "
			      "first to 0x%llx: what is on them from there on is not known",
			      w->unseen_links, (unsigned long long)w->first_unseen);
}

static void hw_report_bin(const struct hw_bin_walk *walk, hw_addr_t chunk, const char *what)
{
	hw_issues_add(walk->w->in.issues, HW_ERROR_CORRUPT, chunk,
		      "%s %u of arena 0x%llx leads to 0x%llx, %s", hw_bin_name(walk->bin),
		      walk->bin,
		      (unsigned long long)walk->w->glibc->arenas.data[walk->arena_index].address,
		      (unsigned long long)chunk, what);
}

// Along fd (forward) or bk. True: the list ended at its head, as it should.
static struct hw_error *hw_mark_along(struct hw_bin_walk *walk, bool forward, bool *ret_is_whole)
{
	struct hw_glibc_walker *w = walk->w;
	const struct hw_glibc_state *state = w->states.data[walk->arena_index];
	const size_t at = w->layout->bins + 2 * HW_GLIBC_WORD * (size_t)(walk->bin - 1);
	hw_addr_t before = walk->head;
	hw_addr_t chunk = hw_glibc_word(state->bytes + at + (forward ? 0 : HW_GLIBC_WORD));
	struct hw_region *region = NULL;
	uint32_t index;
	*ret_is_whole = false;
	while (chunk != walk->head) {
		if (!hw_glibc_find_exact(w->glibc, chunk, &region, &index) ||
		    region->kind == HW_REGION_MMAPPED) {
			if (!hw_glibc_leads_to_unseen(w, chunk))
				hw_report_bin(walk, chunk, "which is no chunk");
			return NULL;
		}
		if (region->state[index] == walk->state) {
			// met from the other end after damage, or a cycle
			if (forward)
				hw_report_bin(walk, chunk, "which is on the list already");
			return NULL;
		}
		if (region->state[index] != HW_CHUNK_FREE) {
			hw_report_bin(walk, chunk, "which is not free");
			return NULL;
		}
		uint64_t size = hw_region_chunk_size(region, index);
		if (walk->bin > 1 && hw_glibc_bin_of(HW_GLIBC_WORD, size) != walk->bin) {
			hw_report_bin(walk, chunk, "which has not the size of that bin");
			return NULL;
		}
		uint8_t links[2 * HW_GLIBC_WORD];
		if (!hw_pages_read(&w->pages, chunk + HW_GLIBC_FD, links, sizeof(links))) {
			hw_report_bin(walk, chunk, "which can't be read");
			return NULL;
		}
		region->state[index] = walk->state;
		if (hw_glibc_word(links + (forward ? HW_GLIBC_WORD : 0)) != before) {
			hw_report_bin(walk, chunk, "which does not lead back");
			return NULL;
		}
		before = chunk;
		chunk = hw_glibc_word(links + (forward ? 0 : HW_GLIBC_WORD));
		if (++walk->steps % HW_POLL_EVERY == 0 && hw_glibc_poll(w, 0))
			return hw_glibc_interrupted();
	}
	*ret_is_whole = true;
	return NULL;
}

static struct hw_error *hw_mark_bin(struct hw_glibc_walker *w, uint32_t arena_index, unsigned bin)
{
	const size_t at = w->layout->bins + 2 * HW_GLIBC_WORD * (size_t)(bin - 1);
	struct hw_bin_walk walk = {
		.w = w,
		.arena_index = arena_index,
		.bin = bin,
		.head = w->glibc->arenas.data[arena_index].address + at - HW_GLIBC_FD,
		.state = bin == 1   ? HW_CHUNK_UNSORTED
			 : bin < 64 ? HW_CHUNK_SMALL
				    : HW_CHUNK_LARGE,
	};
	if (!hw_glibc_word(w->states.data[arena_index]->bytes + at))
		return NULL; // never initialised
	bool is_whole;
	HW_TRY(hw_mark_along(&walk, true, &is_whole));
	if (!is_whole)
		HW_TRY(hw_mark_along(&walk, false, &is_whole));
	return NULL;
}

static hw_addr_t hw_fastbin_head(const struct hw_glibc_state *state,
				 const struct hw_glibc_layout *layout, unsigned bin)
{
	return hw_glibc_word(state->bytes + layout->fastbins + HW_GLIBC_WORD * (size_t)bin);
}

static uint64_t hw_fastbin_chunk_bytes(unsigned bin)
{
	return hw_glibc_fastbin_bytes(HW_GLIBC_WORD, bin);
}

// How many members follow each other, if that is how links are stored. No chunk is known yet: a member is
// what has a header of the bin's size.
static uint32_t hw_peek_fastbin(struct hw_glibc_walker *w, hw_addr_t chunk, unsigned bin,
				bool is_mangled)
{
	uint32_t seen = 0;
	while (chunk && hw_glibc_is_chunk_place(chunk) && seen < HW_LONG_FASTBIN) {
		uint8_t bytes[HW_GLIBC_FD + HW_GLIBC_WORD];
		// They are on a page each: not worth a page's bytes.
		if (hw_target_read_some(w->in.target, chunk, bytes, sizeof(bytes)) <
			    sizeof(bytes) ||
		    (hw_glibc_word(bytes + HW_GLIBC_WORD) & ~(uint64_t)HW_GLIBC_FLAGS) !=
			    hw_fastbin_chunk_bytes(bin))
			break;
		chunk = hw_glibc_word(bytes + HW_GLIBC_FD) ^
			(is_mangled ? (chunk + HW_GLIBC_FD) >> 12 : 0);
		seen++;
	}
	return seen;
}

void hw_glibc_plan_picks(struct hw_glibc_walker *w)
{
	struct hw_glibc_picks *picks = &w->picks;
	hw_vec_foreach(state, &w->states)
	{
		for (unsigned bin = 0; w->layout->fastbins && bin < HW_GLIBC_FASTBINS; bin++) {
			hw_addr_t head = hw_fastbin_head(*state, w->layout, bin);
			for (int mangled = 0; mangled < 2 && !picks->is_on; mangled++) {
				picks->is_mangled = mangled;
				picks->is_on = hw_peek_fastbin(w, head, bin, mangled) ==
					       HW_LONG_FASTBIN;
			}
		}
	}
	if (!picks->is_on)
		return;
	picks->low = UINT64_MAX;
	hw_vec_foreach(m, &w->in.target->mappings)
	{
		if (!hw_mapping_is_private_writable(m))
			continue;
		picks->low = hw_min(picks->low, m->start);
		picks->high = hw_max(picks->high, m->end);
	}
}

static void hw_mark_fastbin(struct hw_glibc_walker *w, uint32_t arena_index, unsigned bin)
{
	struct hw_glibc *glibc = w->glibc;
	hw_addr_t arena = glibc->arenas.data[arena_index].address;
	hw_addr_t chunk = hw_fastbin_head(w->states.data[arena_index], w->layout, bin);
	struct hw_region *region = NULL;
	uint32_t index;
	while (chunk) {
		const char *what = NULL;
		uint64_t stored;
		if (!hw_glibc_find_exact(glibc, chunk, &region, &index) ||
		    region->kind == HW_REGION_MMAPPED)
			what = "which is no chunk";
		else if (region->state[index] == HW_CHUNK_FASTBIN)
			what = "which is on a list already";
		else if (hw_region_state(region, index) != HW_CHUNK_IN_USE)
			what = "which is free otherwise";
		else if (hw_region_chunk_size(region, index) != hw_fastbin_chunk_bytes(bin))
			what = "which has not the size of that bin";
		else if (!hw_glibc_read_word(&w->pages, chunk + HW_GLIBC_FD, &stored))
			what = "which can't be read";
		if (what && hw_glibc_leads_to_unseen(w, chunk))
			return;
		if (what) {
			hw_issues_add(w->in.issues, HW_ERROR_CORRUPT, chunk,
				      "fastbin %u of arena 0x%llx leads to 0x%llx, %s", bin,
				      (unsigned long long)arena, (unsigned long long)chunk, what);
			return;
		}
		region->state[index] = HW_CHUNK_FASTBIN;
		chunk = hw_glibc_decode_link(glibc, chunk + HW_GLIBC_FD, stored);
	}
}

static struct hw_error *hw_mark_fastbins(struct hw_glibc_walker *w, uint32_t arena_index)
{
	bool is_whole = false;
	if (w->picks.is_on)
		HW_TRY(hw_glibc_mark_fastbins_by_links(w, arena_index, &is_whole));
	for (unsigned bin = 0; !is_whole && bin < HW_GLIBC_FASTBINS; bin++)
		hw_mark_fastbin(w, arena_index, bin);
	return NULL;
}

struct hw_error *hw_glibc_mark_bins(struct hw_glibc_walker *w)
{
	for (uint32_t i = 0; i < w->glibc->arenas.count; i++) {
		if (w->layout->fastbins)
			HW_TRY(hw_mark_fastbins(w, i));
		if (!w->glibc->arenas.data[i].system_bytes)
			continue;
		bool is_whole;
		HW_TRY(hw_glibc_mark_by_links(w, i, &is_whole));
		for (unsigned bin = 1; !is_whole && bin < HW_GLIBC_BINS; bin++)
			HW_TRY(hw_mark_bin(w, i, bin));
	}
	hw_report_unseen(w);
	return NULL;
}
