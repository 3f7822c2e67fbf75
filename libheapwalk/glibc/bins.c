/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Free lists of an arena: unsorted, small and large bins, fastbins. Each member must be a chunk of the
// walk's, free by its neighbour's P bit (fastbins: in use), and on no other list.
#include "base/bytes.h"
#include "glibc/walker.h"

enum {
	HW_FD = 16,
	HW_POLL_EVERY = 1 << 16,
	// A fastbin of more members is cheaper to take from one pass over the arena: following it costs
	// a read of the target for each member.
	HW_LONG_FASTBIN = 1 << 13,
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

static void hw_report_bin(const struct hw_bin_walk *walk, hw_addr_t chunk, const char *what)
{
	hw_issues_add(walk->w->issues, HW_ERROR_CORRUPT, chunk,
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
	const size_t at = w->layout->bins + 16 * (size_t)(walk->bin - 1);
	hw_addr_t before = walk->head;
	hw_addr_t chunk = hw_u64(state->bytes + at + (forward ? 0 : 8));
	struct hw_region *region = NULL;
	uint32_t index;
	*ret_is_whole = false;
	while (chunk != walk->head) {
		if (!hw_glibc_find_exact(w->glibc, chunk, &region, &index) ||
		    region->kind == HW_REGION_MMAPPED) {
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
		if (walk->bin > 1 && hw_glibc_bin_of(size) != walk->bin) {
			hw_report_bin(walk, chunk, "which has not the size of that bin");
			return NULL;
		}
		uint8_t links[16];
		if (!hw_pages_read(&w->pages, chunk + HW_FD, links, sizeof(links))) {
			hw_report_bin(walk, chunk, "which can't be read");
			return NULL;
		}
		region->state[index] = walk->state;
		if (hw_u64(links + (forward ? 8 : 0)) != before) {
			hw_report_bin(walk, chunk, "which does not lead back");
			return NULL;
		}
		before = chunk;
		chunk = hw_u64(links + (forward ? 0 : 8));
		if (++walk->steps % HW_POLL_EVERY == 0 && hw_glibc_poll(w, 0))
			return hw_glibc_interrupted();
	}
	*ret_is_whole = true;
	return NULL;
}

static struct hw_error *hw_mark_bin(struct hw_glibc_walker *w, uint32_t arena_index, unsigned bin)
{
	const size_t at = w->layout->bins + 16 * (size_t)(bin - 1);
	struct hw_bin_walk walk = {
		.w = w,
		.arena_index = arena_index,
		.bin = bin,
		.head = w->glibc->arenas.data[arena_index].address + at - HW_FD,
		.state = bin == 1   ? HW_CHUNK_UNSORTED
			 : bin < 64 ? HW_CHUNK_SMALL
				    : HW_CHUNK_LARGE,
	};
	if (!hw_u64(w->states.data[arena_index]->bytes + at))
		return NULL; // never initialised
	bool is_whole;
	HW_TRY(hw_mark_along(&walk, true, &is_whole));
	if (!is_whole)
		HW_TRY(hw_mark_along(&walk, false, &is_whole));
	return NULL;
}

// False: it has more than `limit` members, and some of them are marked.
static bool hw_mark_fastbin(struct hw_glibc_walker *w, uint32_t arena_index, unsigned bin,
			    uint32_t limit)
{
	struct hw_glibc *glibc = w->glibc;
	hw_addr_t arena = glibc->arenas.data[arena_index].address;
	hw_addr_t chunk =
		hw_u64(w->states.data[arena_index]->bytes + w->layout->fastbins + 8 * (size_t)bin);
	struct hw_region *region = NULL;
	uint32_t index;
	for (uint32_t seen = 0; chunk; seen++) {
		const char *what = NULL;
		if (seen == limit)
			return false;
		uint64_t stored;
		if (!hw_glibc_find_exact(glibc, chunk, &region, &index) ||
		    region->kind == HW_REGION_MMAPPED)
			what = "which is no chunk";
		else if (region->state[index] == HW_CHUNK_FASTBIN)
			what = "which is on a list already";
		else if (region->state[index] != HW_CHUNK_IN_USE)
			what = "which is free otherwise";
		else if (hw_region_chunk_size(region, index) != 32 + 16 * (uint64_t)bin)
			what = "which has not the size of that bin";
		else if (!hw_pages_read_u64(&w->pages, chunk + HW_FD, &stored))
			what = "which can't be read";
		if (what) {
			hw_issues_add(w->issues, HW_ERROR_CORRUPT, chunk,
				      "fastbin %u of arena 0x%llx leads to 0x%llx, %s", bin,
				      (unsigned long long)arena, (unsigned long long)chunk, what);
			return true;
		}
		region->state[index] = HW_CHUNK_FASTBIN;
		chunk = hw_glibc_decode_link(glibc, chunk + HW_FD, stored);
	}
	return true;
}

static struct hw_error *hw_mark_fastbins(struct hw_glibc_walker *w, uint32_t arena_index)
{
	bool is_whole = true;
	unsigned bin = 0;
	while (bin < HW_GLIBC_FASTBINS && hw_mark_fastbin(w, arena_index, bin, HW_LONG_FASTBIN))
		bin++;
	if (bin < HW_GLIBC_FASTBINS)
		HW_TRY(hw_glibc_mark_fastbins_by_links(w, arena_index, &is_whole));
	for (bin = 0; !is_whole && bin < HW_GLIBC_FASTBINS; bin++)
		hw_mark_fastbin(w, arena_index, bin, UINT32_MAX);
	return NULL;
}

struct hw_error *hw_glibc_mark_bins(struct hw_glibc_walker *w)
{
	for (uint32_t i = 0; i < w->glibc->arenas.count; i++) {
		if (!w->glibc->arenas.data[i].system_bytes)
			continue;
		if (w->layout->fastbins)
			HW_TRY(hw_mark_fastbins(w, i));
		bool is_whole;
		HW_TRY(hw_glibc_mark_by_links(w, i, &is_whole));
		for (unsigned bin = 1; !is_whole && bin < HW_GLIBC_BINS; bin++)
			HW_TRY(hw_mark_bin(w, i, bin));
	}
	return NULL;
}
