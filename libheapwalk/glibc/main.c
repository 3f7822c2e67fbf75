/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The main arena's regions: the one that starts at mp_.sbrk_base, those behind somebody else's sbrk(),
// and the mapped ones that sysmalloc() falls back to when brk can't grow. Nothing in memory lists the
// later ones: each is known by a chain of chunks that ends exactly at top or at a fence.
#include "base/bytes.h"
#include "glibc/walker.h"

static bool hw_is_brk_mapping(const struct hw_mapping *m)
{
	return hw_mapping_is_private_writable(m) &&
	       (strcmp(m->path, "[heap]") == 0 || hw_glibc_is_anonymous(m));
}

// The end of the writable memory that goes on without a gap from addr; 0: nothing there.
static hw_addr_t hw_run_end(struct hw_glibc_walker *w, hw_addr_t addr)
{
	const struct hw_mapping *m = hw_target_find_mapping(w->in.target, addr);
	const struct hw_mapping *last = w->in.target->mappings.data + w->in.target->mappings.count;
	if (!m || !hw_is_brk_mapping(m))
		return 0;
	while (m + 1 < last && m[1].start == m->end && hw_is_brk_mapping(m + 1))
		m++;
	return m->end;
}

struct hw_main_walk {
	struct hw_glibc_walker *w;
	hw_addr_t top;
	bool saw_top;
	uint64_t found_bytes;
};

static struct hw_error *hw_walk_main_region(struct hw_main_walk *walk, hw_addr_t first,
					    hw_addr_t limit, enum hw_region_ending *ret_ending,
					    hw_addr_t *ret_end)
{
	struct hw_region_plan plan = {
		.kind = HW_REGION_MAIN,
		.start = first,
		.first = first,
		.limit = limit,
		.top_is_lost = !walk->top,
	};
	if (!walk->saw_top && walk->top > first && walk->top < limit) {
		// In one run of mappings there may be several regions: is top at the end of this one?
		// Regions end at fences before that, and a fence lets the walk stop in front of top,
		// so it's right to expect it here.
		plan.top = walk->top;
	}
	hw_addr_t start = first;
	HW_TRY(hw_glibc_walk_long_region(walk->w, &plan, ret_ending, ret_end));
	walk->saw_top |= *ret_ending == HW_ENDING_TOP ||
			 (plan.top && *ret_ending == HW_ENDING_DAMAGE);
	walk->found_bytes += *ret_end - start;
	return NULL;
}

// The next chain in [from, limit), in steps of `step`; 0: none.
static hw_addr_t hw_next_chain(struct hw_main_walk *walk, hw_addr_t from, hw_addr_t limit,
			       uint64_t step)
{
	struct hw_glibc_walker *w = walk->w;
	for (hw_addr_t addr = hw_align_up(from + HW_GLIBC_HEADER, step) - HW_GLIBC_HEADER;
	     addr < limit && limit - addr >= HW_GLIBC_MIN_CHUNK; addr += step) {
		const uint8_t *header = hw_window_get(&w->window, addr, HW_GLIBC_HEADER);
		if (!header) {
			addr = hw_align_up(addr + 1, HW_GLIBC_PAGE) + HW_GLIBC_FRONT - step;
			continue;
		}
		uint64_t size_field = hw_glibc_word(header + HW_GLIBC_WORD);
		uint64_t size = size_field & ~(uint64_t)HW_GLIBC_FLAGS;
		hw_addr_t end;
		if ((size_field & 0xf) != HW_GLIBC_PREV_INUSE || size < HW_GLIBC_MIN_CHUNK ||
		    size > limit - addr)
			continue;
		if (hw_glibc_is_chain(w, addr, limit, walk->top, &end))
			return addr;
	}
	return 0;
}

// All regions in [first, limit), of which the first starts right there.
static struct hw_error *hw_walk_main_run(struct hw_main_walk *walk, hw_addr_t first,
					 hw_addr_t limit, uint64_t step)
{
	while (first) {
		enum hw_region_ending ending;
		hw_addr_t end;
		HW_TRY(hw_walk_main_region(walk, first, limit, &ending, &end));
		if (end >= limit || limit - end < HW_GLIBC_MIN_CHUNK)
			return NULL;
		first = hw_next_chain(walk, end, limit, step);
		if (hw_glibc_poll(walk->w, first ? first - end : limit - end))
			return hw_glibc_interrupted();
	}
	return NULL;
}

// The first `sorted` regions are in address order; those found since lie behind the search.
static bool hw_is_taken(struct hw_glibc_walker *w, size_t sorted, hw_addr_t addr,
			hw_addr_t *ret_end)
{
	const struct hw_region *regions = w->glibc->regions.data;
	size_t low = 0, high = sorted;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (regions[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	if (low < sorted && addr >= regions[low].start) {
		*ret_end = regions[low].end;
		return true;
	}
	return w->in.claimed && w->in.claimed(w->in.claimed_payload, addr, ret_end) &&
	       *ret_end > addr;
}

// Mapped regions are at least 1 MiB (2.35 to 2.37: 132 KiB), page-aligned, and merge with their
// neighbours. Stops as soon as system_mem is accounted for.
static struct hw_error *hw_walk_mapped_regions(struct hw_main_walk *walk)
{
	struct hw_glibc_walker *w = walk->w;
	uint64_t system_bytes = w->glibc->arenas.data[0].system_bytes;
	hw_glibc_sort_regions(w);
	size_t sorted = w->glibc->regions.count;
	for (size_t i = 0; i < w->in.target->mappings.count; i++) {
		const struct hw_mapping *m = &w->in.target->mappings.data[i];
		if (!hw_is_brk_mapping(m))
			continue;
		hw_addr_t limit = hw_run_end(w, m->start);
		for (hw_addr_t addr = m->start; addr < m->end;) {
			hw_addr_t taken_end;
			if (walk->found_bytes >= system_bytes && walk->saw_top)
				return NULL;
			if (hw_is_taken(w, sorted, addr, &taken_end)) {
				addr = hw_target_next_page(w->in.target, taken_end - 1, m->end);
				continue;
			}
			hw_addr_t end;
			const hw_addr_t first = addr + HW_GLIBC_FRONT;
			if (hw_glibc_is_chain(w, first, limit, walk->top, &end)) {
				enum hw_region_ending ending;
				HW_TRY(hw_walk_main_region(walk, first, limit, &ending, &end));
				addr = hw_target_next_page(w->in.target, hw_max(addr, end - 1),
							   m->end);
			} else {
				addr = hw_target_next_page(w->in.target, addr, m->end);
			}
			if (hw_glibc_poll(w, HW_GLIBC_PAGE))
				return hw_glibc_interrupted();
		}
	}
	return NULL;
}

// The brk area between the regions, and what sbrk_base was rounded up by, count in system_mem as long
// as the arena is contiguous (sysmalloc: system_mem += brk - old_end).
static uint64_t hw_foreign_bytes(struct hw_glibc_walker *w, hw_addr_t limit)
{
	struct hw_glibc *glibc = w->glibc;
	uint64_t foreign = 0;
	hw_addr_t seen = w->sbrk_base;
	hw_glibc_sort_regions(w);
	hw_vec_foreach(region, &glibc->regions)
	{
		if (region->kind != HW_REGION_MAIN || region->start < w->sbrk_base ||
		    region->end > limit)
			continue;
		foreign += region->start - seen;
		seen = region->end;
	}
	return foreign;
}

struct hw_error *hw_glibc_walk_main(struct hw_glibc_walker *w)
{
	struct hw_glibc_arena *arena = &w->glibc->arenas.data[0];
	if (!arena->system_bytes)
		return NULL;
	struct hw_main_walk walk = { .w = w, .top = w->states.data[0]->top };
	if (!hw_glibc_is_chunk_place(walk.top) || !hw_run_end(w, walk.top)) {
		hw_issues_add(w->in.issues, HW_ERROR_CORRUPT, walk.top,
			      "main_arena's top 0x%llx is outside of writable memory",
			      (unsigned long long)walk.top);
		walk.top = 0;
	}
	hw_addr_t first = hw_glibc_chunk_up(w->sbrk_base);
	hw_addr_t limit = w->sbrk_base ? hw_run_end(w, first) : 0;
	if (limit) {
		HW_TRY(hw_walk_main_run(&walk, first, limit, 16));
		arena->foreign_bytes = hw_foreign_bytes(w, limit);
	}
	uint64_t foreign_bytes = arena->is_noncontiguous ? 0 : arena->foreign_bytes;
	if (!walk.saw_top || walk.found_bytes + foreign_bytes < arena->system_bytes)
		HW_TRY(hw_walk_mapped_regions(&walk));
	return NULL;
}
