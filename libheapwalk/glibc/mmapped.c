/* SPDX-License-Identifier: LGPL-2.1-or-later */
// mmapped chunks: malloc keeps no list of them, only their number and their bytes. Each starts with a
// header that tells its whole mapping; neighbours merge into one mapping of the kernel's, so a mapping
// is a sequence of them. First only such sequences are followed, from the start of each anonymous
// mapping; where number and bytes don't come out, every page is looked at.
#include "base/bytes.h"
#include "glibc/walker.h"

enum {
	HW_LARGEST_ALIGNMENT = 40, // memalign: bits
	HW_PROBES_MAX = 1 << 24,
};

bool hw_glibc_is_anonymous(const struct hw_mapping *m)
{
	return hw_mapping_is_private_writable(m) &&
	       (!*m->path || strncmp(m->path, "[anon:", 6) == 0 ||
		strncmp(m->path, "/anon_hugepage", 14) == 0);
}

struct hw_mmapped_search {
	struct hw_glibc_walker *w;
	HW_VEC(struct hw_region) found;
	uint64_t bytes;
	uint64_t n_mmaps, mmapped_mem;
	bool every_page;
	bool may_stop; // as soon as number and bytes come out
	bool is_done;
	uint32_t probes_left; // of every page behind a header: a forged heap has one on each
};

static void hw_mmapped_search_clear(struct hw_mmapped_search *search)
{
	hw_vec_foreach(region, &search->found)
	{
		free(region->offset8);
		free(region->state);
	}
	search->found.count = 0;
	search->bytes = 0;
}

static void hw_mmapped_search_deinit(struct hw_mmapped_search *search)
{
	hw_mmapped_search_clear(search);
	hw_vec_deinit(&search->found);
}

// The whole mapping's bytes if a header at base + offset describes one, else 0.
static uint64_t hw_mmapped_total(const struct hw_glibc_walker *w, const uint8_t *header,
				 uint64_t offset)
{
	uint64_t prev_size = hw_glibc_word(header),
		 size_field = hw_glibc_word(header + HW_GLIBC_WORD);
	uint64_t size = size_field & ~(uint64_t)HW_GLIBC_FLAGS;
	if ((size_field & HW_GLIBC_IF_64(0xf, 7)) != HW_GLIBC_IS_MMAPPED || size < 16 || size >> 48)
		return 0;
	if (w->layout->mmapped_tail)
		prev_size &= ~1ull; // bit 0: huge pages
	if (prev_size != offset)
		return 0;
	uint64_t total = offset + size + (w->layout->mmapped_tail ? 16 : 0);
	return total % HW_GLIBC_PAGE ? 0 : total;
}

static uint64_t hw_probe_at(struct hw_glibc_walker *w, hw_addr_t base, hw_addr_t limit,
			    uint64_t offset)
{
	uint8_t header[HW_GLIBC_HEADER];
	if (offset >= limit - base || limit - base - offset < HW_GLIBC_HEADER ||
	    !hw_pages_read(&w->pages, base + offset, header, sizeof(header)))
		return 0;
	uint64_t total = hw_mmapped_total(w, header, offset);
	return total <= limit - base ? total : 0;
}

// A chunk whose mapping starts at `base`. memalign() leaves the header of the unaligned chunk at the
// base, and realloc() (mremap) makes that one stale: the aligned places come first. A mapping that
// mremap has moved is aligned no longer, but its header is where it was in it: with `every_page` all
// places are tried that an alignment of a page or more can lead to.
static uint64_t hw_probe(struct hw_mmapped_search *search, hw_addr_t base, hw_addr_t limit,
			 hw_addr_t *ret_chunk)
{
	struct hw_glibc_walker *w = search->w;
	uint8_t header[HW_GLIBC_HEADER];
	const hw_addr_t first = base + HW_GLIBC_FRONT;
	if (!hw_pages_read(&w->pages, first, header, sizeof(header)))
		return 0;
	uint64_t stale_total = hw_mmapped_total(w, header, HW_GLIBC_FRONT);
	if (!stale_total)
		return 0;
	uint64_t tried = HW_GLIBC_FRONT, total = 0;
	for (unsigned bits = 5; bits <= HW_LARGEST_ALIGNMENT && !total; bits++) {
		uint64_t offset = hw_align_up(base + HW_GLIBC_HEADER, 1ull << bits) -
				  HW_GLIBC_HEADER - base;
		if (offset == tried || !offset)
			continue;
		tried = offset;
		total = hw_probe_at(w, base, limit, offset);
	}
	// the header at the base is of the time before: the mapping was as long as that
	uint64_t offset_end = search->every_page ? hw_min(stale_total, limit - base) : 0;
	for (uint64_t offset = HW_GLIBC_PAGE - HW_GLIBC_HEADER;
	     !total && offset < offset_end && search->probes_left; search->probes_left--) {
		tried = offset;
		total = hw_probe_at(w, base, limit, offset);
		// The header lies at the end of its page; pages of zeroes have none.
		hw_addr_t page = base + offset - (HW_GLIBC_PAGE - HW_GLIBC_HEADER);
		offset += hw_target_next_page(w->in.target, page, limit) - page;
	}
	if (total) {
		*ret_chunk = base + tried;
		return total;
	}
	*ret_chunk = first;
	return stale_total <= limit - base ? stale_total : 0;
}

static struct hw_error *hw_add_mmapped(struct hw_mmapped_search *search, hw_addr_t base,
				       uint64_t total, hw_addr_t chunk)
{
	hw_cleanup_free uint32_t *offset8 = calloc(1, sizeof(*offset8));
	hw_cleanup_free uint32_t *state = calloc(1, sizeof(*state));
	if (!offset8 || !state)
		return &hw_enomem;
	struct hw_region region = {
		.start = base,
		.end = base + total,
		.kind = HW_REGION_MMAPPED,
		.count = 1,
		.offset8 = offset8,
		.state = state,
		.mmapped_chunk = chunk,
	};
	if (!hw_vec_push(&search->found, region))
		return &hw_enomem;
	offset8 = state = NULL;
	search->bytes += total;
	return NULL;
}

// malloc's regions, what others claim, and the stacks of threads.
static bool hw_is_elsewhere(struct hw_mmapped_search *search, const struct hw_mapping *m,
			    hw_addr_t addr, hw_addr_t *ret_end)
{
	struct hw_glibc_walker *w = search->w;
	const struct hw_region *region = hw_glibc_find_region(w->glibc, addr);
	if (region) {
		*ret_end = region->end;
		// behind the live part of a thread heap there may be a tail that was not unmapped
		uint64_t mprotect_size;
		if (region->kind == HW_REGION_HEAP &&
		    hw_glibc_read_word(&w->pages, region->start + 3 * HW_GLIBC_WORD,
				       &mprotect_size) &&
		    mprotect_size <= (1ull << 40))
			*ret_end = hw_max(*ret_end, region->start + mprotect_size);
		return true;
	}
	if (w->in.claimed && w->in.claimed(w->in.claimed_payload, addr, ret_end) && *ret_end > addr)
		return true;
	// A thread's stack reaches from its guard, here the mapping's start, up to the thread pointer.
	hw_vec_foreach(thread, &w->in.target->threads) if (thread->sp > m->start &&
							   thread->sp < m->end &&
							   addr < thread->sp && addr == m->start)
	{
		*ret_end = thread->tp > thread->sp && thread->tp < m->end ? thread->tp : thread->sp;
		return true;
	}
	return false;
}

// 2.43 and 2.44 add 16 too much for each mremap: below a page that is certain. From 256 of them on it
// looks like a total that is wrong (a stale header's), and only a look at every page tells.
static bool hw_is_accounted_for(const struct hw_mmapped_search *search)
{
	uint64_t slip = search->mmapped_mem - search->bytes;
	uint64_t slip_max = search->every_page ? 1 << 30 : HW_GLIBC_PAGE;
	return search->found.count == search->n_mmaps &&
	       (!slip || (search->w->layout->mmapped_tail && slip < slip_max && slip % 16 == 0));
}

static struct hw_error *hw_search_mapping(struct hw_mmapped_search *search, hw_addr_t start,
					  const struct hw_mapping *m, hw_addr_t limit,
					  hw_addr_t *ret_end)
{
	struct hw_glibc_walker *w = search->w;
	hw_addr_t addr = start;
	while (addr < m->end) {
		hw_addr_t end, chunk;
		if (hw_is_elsewhere(search, m, addr, &end)) {
			addr = hw_target_next_page(w->in.target, end - 1, hw_max(end, m->end));
			continue;
		}
		uint64_t total = hw_probe(search, addr, limit, &chunk);
		if (total) {
			HW_TRY(hw_add_mmapped(search, addr, total, chunk));
			addr += total;
			if (search->may_stop && hw_is_accounted_for(search)) {
				search->is_done = true;
				break;
			}
		} else if (search->every_page) {
			addr = hw_target_next_page(w->in.target, addr, m->end);
		} else {
			break;
		}
		if (hw_glibc_poll(w, HW_GLIBC_PAGE))
			return hw_glibc_interrupted();
	}
	*ret_end = addr;
	return NULL;
}

static struct hw_error *hw_search_all(struct hw_mmapped_search *search)
{
	const struct hw_target *target = search->w->in.target;
	hw_addr_t seen = 0; // a chunk may reach over several mappings (huge pages split them)
	for (size_t i = 0; i < target->mappings.count && !search->is_done; i++) {
		const struct hw_mapping *m = &target->mappings.data[i];
		if (!hw_glibc_is_anonymous(m))
			continue;
		hw_addr_t limit = m->end;
		for (size_t j = i + 1;
		     j < target->mappings.count && target->mappings.data[j].start == limit &&
		     hw_glibc_is_anonymous(&target->mappings.data[j]);
		     j++)
			limit = target->mappings.data[j].end;
		if (hw_max(m->start, seen) < m->end)
			HW_TRY(hw_search_mapping(search, hw_max(m->start, seen), m, limit, &seen));
	}
	return NULL;
}

struct hw_error *hw_glibc_find_mmapped(struct hw_glibc_walker *w)
{
	struct hw_glibc *glibc = w->glibc;
	hw_cleanup_with(hw_mmapped_search_deinit) struct hw_mmapped_search search = {
		.w = w,
		.n_mmaps = glibc->mp ? glibc->n_mmaps : UINT64_MAX,
		.mmapped_mem = glibc->mmapped_mem,
		.probes_left = HW_PROBES_MAX,
	};
	if (glibc->mp && !glibc->n_mmaps)
		return NULL;
	hw_glibc_sort_regions(w);
	HW_TRY(hw_search_all(&search));
	if (!hw_is_accounted_for(&search)) {
		search.may_stop = search.found.count <= search.n_mmaps;
		hw_mmapped_search_clear(&search);
		search.every_page = true;
		HW_TRY(hw_search_all(&search));
	}
	hw_vec_foreach(region, &search.found)
	{
		struct hw_region moved = *region;
		region->offset8 = region->state = NULL;
		HW_TRY(hw_glibc_add_region(w, &moved));
	}
	glibc->mmapped_count = search.found.count;
	glibc->mmapped_bytes = search.bytes;
	return NULL;
}
