/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The list of regions: what begins a chain that may become one, what is on the list, and in which order.
#include "base/bytes.h"
#include "glibc/walker.h"

bool hw_glibc_is_chain(struct hw_glibc_walker *w, hw_addr_t first, hw_addr_t limit, hw_addr_t top,
		       hw_addr_t *ret_end)
{
	unsigned fences = 0;
	uint64_t before = 0;
	for (hw_addr_t addr = first; limit - addr >= HW_GLIBC_HEADER;) {
		uint8_t header[HW_GLIBC_HEADER];
		if (!w->trial_steps_left || !hw_pages_read(&w->pages, addr, header, sizeof(header)))
			return false;
		w->trial_steps_left--;
		uint64_t size_field = hw_glibc_word(header + HW_GLIBC_WORD);
		uint64_t size = size_field & ~(uint64_t)HW_GLIBC_FLAGS;
		bool may_be_odd = HW_GLIBC_WORD == 4 && (addr == top || size == HW_GLIBC_HEADER);
		if (!(size_field & HW_GLIBC_PREV_INUSE) &&
		    (!before || hw_glibc_word(header) != before))
			return false;
		if (size_field & HW_GLIBC_IS_MMAPPED || size < HW_GLIBC_HEADER ||
		    (size_field & HW_GLIBC_ODD && !may_be_odd) || size > limit - addr)
			return false;
		if (addr == top) {
			*ret_end = addr + size;
			return true;
		}
		if (size == HW_GLIBC_HEADER) {
			if (!before)
				return false;
			if (++fences >= 2) {
				*ret_end = hw_min(limit, hw_align_up(addr + HW_GLIBC_HEADER,
								     HW_GLIBC_ALIGNMENT));
				return true;
			}
		} else if (fences) {
			return false;
		}
		before = size;
		addr += size;
	}
	return false;
}

static void hw_region_deinit(struct hw_region *region)
{
	free(region->offset8);
	free(region->state);
	*region = (struct hw_region){ 0 };
}

struct hw_error *hw_glibc_add_region(struct hw_glibc_walker *w, struct hw_region *region)
{
	if (hw_vec_push(&w->glibc->regions, *region))
		return NULL;
	hw_region_deinit(region);
	return &hw_enomem;
}

static int hw_region_compare(const void *a, const void *b)
{
	const struct hw_region *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

// Sorts, and drops what overlaps its predecessor: two arenas that claim one heap, a chain that was
// found twice in a damaged process.
void hw_glibc_sort_regions(struct hw_glibc_walker *w)
{
	struct hw_glibc *glibc = w->glibc;
	if (!glibc->regions.count)
		return;
	qsort(glibc->regions.data, glibc->regions.count, sizeof(*glibc->regions.data),
	      hw_region_compare);
	size_t kept = 1;
	for (size_t i = 1; i < glibc->regions.count; i++) {
		struct hw_region *region = &glibc->regions.data[i];
		struct hw_region *before = &glibc->regions.data[kept - 1];
		if (region->start < before->end) {
			hw_issues_add(
				w->in.issues, HW_ERROR_CONFLICT, region->start,
				"malloc region 0x%llx-0x%llx overlaps 0x%llx-0x%llx and is left "
				"out",
				(unsigned long long)region->start, (unsigned long long)region->end,
				(unsigned long long)before->start, (unsigned long long)before->end);
			hw_region_deinit(region);
			continue;
		}
		glibc->regions.data[kept++] = *region;
	}
	glibc->regions.count = kept;
}

bool hw_glibc_find_exact(const struct hw_glibc *glibc, hw_addr_t chunk, struct hw_region **region,
			 uint32_t *ret_index)
{
	struct hw_region *r = *region;
	if (!r || chunk < r->start || chunk >= r->end) {
		r = hw_glibc_find_region(glibc, chunk);
		if (!r)
			return false;
		*region = r;
	}
	if (r->kind == HW_REGION_MMAPPED) {
		*ret_index = 0;
		return chunk == r->mmapped_chunk;
	}
	if (!hw_glibc_is_chunk_place(chunk))
		return false;
	uint32_t i = hw_region_find_chunk(r, chunk);
	*ret_index = i;
	return hw_region_chunk_start(r, i) == chunk;
}
