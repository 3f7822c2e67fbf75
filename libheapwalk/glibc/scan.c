/* SPDX-License-Identifier: LGPL-2.1-or-later */
// main_arena and mp_ by what they look like, where no symbol and no relocation tells.
#include "base/bytes.h"
#include "glibc/walker.h"

enum {
	HW_SCAN_BYTES_MAX =
		64 << 20,       // libc's writable data is below 1 MiB; a static program's is not
	HW_EMPTY_BINS_MIN = 60, // of 127: a bin that is empty points at itself
};

static bool hw_copy(struct hw_glibc_walker *w, hw_addr_t start, hw_addr_t end, uint8_t **ret,
		    size_t *ret_len)
{
	if (end <= start)
		return false;
	size_t len = (size_t)hw_min(end - start, HW_SCAN_BYTES_MAX);
	uint8_t *bytes = malloc(len);
	if (!bytes)
		return false;
	len = hw_target_read_some(w->in.target, start, bytes, len);
	*ret = bytes;
	*ret_len = len;
	return true;
}

// Bins that are empty point at themselves: fd and bk of bin i are &bins[2 i] - 16.
hw_addr_t hw_glibc_scan_main_arena(struct hw_glibc_walker *w, hw_addr_t start, hw_addr_t end,
				   const struct hw_glibc_layout **ret_layout)
{
	hw_cleanup_free uint8_t *bytes = NULL;
	size_t len;
	start = hw_align_up(start, HW_GLIBC_WORD);
	if (!hw_copy(w, start, end, &bytes, &len))
		return 0;
	size_t words = len / HW_GLIBC_WORD;
	// run[i]: self-pointing pairs at i, i + 2, i + 4, …, at most HW_GLIBC_BINS of them
	hw_cleanup_free uint32_t *sum = calloc(words + 2, sizeof(*sum));
	if (!sum)
		return 0;
	for (size_t i = words; i-- > 0;) {
		hw_addr_t self = start + HW_GLIBC_WORD * i - HW_GLIBC_FD;
		bool is_empty_bin = i + 1 < words &&
				    hw_glibc_word(bytes + HW_GLIBC_WORD * i) == self &&
				    hw_glibc_word(bytes + HW_GLIBC_WORD * (i + 1)) == self;
		sum[i] = sum[i + 2 < words ? i + 2 : words] + is_empty_bin;
	}
	const size_t span = 2 * HW_GLIBC_BINS;
	for (size_t i = 0; i + span <= words; i++) {
		if (sum[i] - (i + span < words ? sum[i + span] : 0) < HW_EMPTY_BINS_MIN)
			continue;
		for (const struct hw_glibc_layout *layout = hw_glibc_layouts; layout->since;
		     layout++) {
			hw_addr_t addr = start + HW_GLIBC_WORD * i - layout->bins;
			if (hw_glibc_proves_main_arena(w, layout, addr)) {
				*ret_layout = layout;
				return addr;
			}
		}
	}
	return 0;
}

bool hw_glibc_plausible_mp(struct hw_glibc_walker *w, const struct hw_glibc_mp_layout *layout,
			   const uint8_t *bytes)
{
	uint64_t sbrk_base = hw_glibc_word(bytes + layout->sbrk_base);
	uint64_t mmapped_mem = hw_glibc_word(bytes + layout->mmapped_mem);
	uint64_t max_mmapped_mem = hw_glibc_word(bytes + layout->mmapped_mem + HW_GLIBC_WORD);
	uint32_t n_mmaps = hw_u32(bytes + layout->n_mmaps);
	uint32_t max_n_mmaps = hw_u32(bytes + layout->n_mmaps_max + 4);
	uint64_t arena_max = hw_glibc_word(bytes + 4 * HW_GLIBC_WORD);
	if (n_mmaps > max_n_mmaps || mmapped_mem > max_mmapped_mem + (1 << 20) ||
	    (n_mmaps == 0 && mmapped_mem >= HW_GLIBC_PAGE) ||
	    (n_mmaps != 0 && mmapped_mem / HW_GLIBC_PAGE < n_mmaps) || arena_max > (1 << 20))
		return false;
	if (layout->hp_pagesize) {
		uint64_t huge = hw_glibc_word(bytes + layout->hp_pagesize);
		if (huge & (huge - 1) || huge > (1ull << 40))
			return false;
	}
	if (!sbrk_base)
		return true;
	const struct hw_mapping *m = hw_target_find_mapping(w->in.target, sbrk_base);
	return m && hw_mapping_is_private_writable(m);
}

// trim_threshold, top_pad, mmap_threshold, arena_test come first in every version. arena_test is 8 (2 in 32
// bits: NARENAS_FROM_NCORES) unless a tunable says otherwise; of the other two defaults one may have been
// changed by mallopt().
hw_addr_t hw_glibc_scan_mp(struct hw_glibc_walker *w, hw_addr_t start, hw_addr_t end,
			   const struct hw_glibc_mp_layout **ret_layout)
{
	hw_cleanup_free uint8_t *bytes = NULL;
	size_t len;
	start = hw_align_up(start, HW_GLIBC_WORD);
	if (!hw_copy(w, start, end, &bytes, &len))
		return 0;
	hw_addr_t best = 0;
	int best_score = 0;
	bool is_43 = w->layout->mmapped_tail;
	for (size_t at = 0; at + HW_GLIBC_MP_BYTES <= len; at += HW_GLIBC_WORD) {
		const uint8_t *mp = bytes + at;
		if (hw_glibc_word(mp + 3 * HW_GLIBC_WORD) != HW_GLIBC_IF_64(8, 2) ||
		    hw_glibc_word(mp) >> 48 || hw_glibc_word(mp + HW_GLIBC_WORD) >> 48 ||
		    hw_glibc_word(mp + 2 * HW_GLIBC_WORD) >> 48)
			continue;
		for (const struct hw_glibc_mp_layout *layout = hw_glibc_mp_layouts; layout->since;
		     layout++) {
			// 2.43 changed malloc_state and malloc_par together
			if (layout->mmapped_tail != is_43)
				continue;
			int score = 2 * (hw_u32(mp + layout->n_mmaps_max) == 65536) +
				    (hw_glibc_word(mp + HW_GLIBC_WORD) == 0x20000) +
				    (hw_glibc_word(mp + 2 * HW_GLIBC_WORD) >= 0x20000) +
				    2 * (hw_glibc_word(mp + layout->sbrk_base) != 0);
			if (score < 3 || score <= best_score ||
			    !hw_glibc_plausible_mp(w, layout, mp))
				continue;
			best = start + at;
			best_score = score;
			*ret_layout = layout;
		}
	}
	return best;
}
