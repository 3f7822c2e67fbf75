/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/bins.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "glibc/layout.h"
#include "heap/category.h"

// A place for each bin that there can be, in the order of the report.
enum {
	HW_AT_TCACHE = 0,
	HW_AT_FASTBIN = HW_AT_TCACHE + HW_GLIBC_TCACHE_MAX_BINS,
	HW_AT_BIN = HW_AT_FASTBIN + HW_GLIBC_FASTBINS_MAX, // unsorted, small, large: by index
	HW_AT_FREE = HW_AT_BIN + HW_GLIBC_BINS,
	HW_AT_TOP,
	HW_BIN_PLACES
};

static int hw_tcache_bin_of(unsigned word, uint64_t size)
{
	int bin = 0;
	while (bin < HW_GLIBC_TCACHE_MAX_BINS - 1 &&
	       !hw_glibc_tcache_bin_holds(word, (unsigned)bin, size))
		bin++;
	return bin;
}

// -1: in no bin.
static int hw_bin_place(unsigned word, uint32_t state, uint64_t size, int *ret_index)
{
	uint64_t least = hw_glibc_fastbin_bytes(word, 0),
		 step = hw_glibc_fastbin_bytes(word, 1) - least;
	*ret_index = -1;
	switch (state) {
	case HW_CHUNK_TCACHE:
		*ret_index = hw_tcache_bin_of(word, size);
		return HW_AT_TCACHE + *ret_index;
	case HW_CHUNK_FASTBIN:
		*ret_index = (int)hw_min((size - least) / step, HW_GLIBC_FASTBINS_MAX - 1);
		return HW_AT_FASTBIN + *ret_index;
	case HW_CHUNK_UNSORTED:
		*ret_index = 1;
		return HW_AT_BIN + *ret_index;
	case HW_CHUNK_SMALL:
	case HW_CHUNK_LARGE:
		*ret_index = (int)hw_glibc_bin_of(word, size);
		return HW_AT_BIN + *ret_index;
	case HW_CHUNK_FREE:
		return HW_AT_FREE;
	case HW_CHUNK_TOP:
		return HW_AT_TOP;
	default:
		return -1;
	}
}

static void hw_bins_add(struct hw_bin *places, unsigned word, uint32_t state, uint64_t size)
{
	int index, place = hw_bin_place(word, state, size, &index);
	if (place < 0)
		return;
	struct hw_bin *bin = &places[place];
	if (!bin->count)
		*bin = (struct hw_bin){ .state = state, .index = index, .from_size = size };
	bin->from_size = hw_min(bin->from_size, size);
	bin->to_size = hw_max(bin->to_size, size);
	bin->count++;
	bin->bytes += size;
}

static bool hw_region_is_of(const struct hw_region *region, uint32_t arena_index)
{
	return region->arena_index == arena_index && region->kind != HW_REGION_MMAPPED;
}

struct hw_error *hw_bins_make(const struct hw_glibc *glibc, uint32_t arena_index,
			      struct hw_bins *ret)
{
	struct hw_bin places[HW_BIN_PLACES] = { 0 };
	struct hw_bins bins = { 0 };
	hw_vec_foreach(region, &glibc->regions)
	{
		if (!hw_region_is_of(region, arena_index))
			continue;
		for (uint32_t i = 0; i < region->count; i++)
			hw_bins_add(
				places, glibc->header_bytes / 2, HW_SLOT_CATEGORY(region->state[i]),
				hw_region_chunk_end(region, i) - hw_region_chunk_start(region, i));
		bins.chunk_count += region->count;
		bins.chunk_bytes += region->end - region->start;
	}
	for (size_t i = 0; i < HW_BIN_PLACES; i++) {
		if (places[i].count && !hw_vec_push(&bins.list, places[i])) {
			hw_bins_deinit(&bins);
			return &hw_enomem;
		}
	}
	*ret = bins;
	return NULL;
}

void hw_bins_deinit(struct hw_bins *bins)
{
	hw_vec_deinit(&bins->list);
}

bool hw_arena_visit(const struct hw_heap *heap, const struct hw_glibc *glibc, uint32_t arena_index,
		    bool (*visit)(void *payload, const struct hw_row *row), void *payload)
{
	hw_vec_foreach(region, &glibc->regions)
	{
		if (hw_region_is_of(region, arena_index) &&
		    !hw_heap_visit(heap, region->start, region->end, visit, payload))
			return false;
	}
	return true;
}
