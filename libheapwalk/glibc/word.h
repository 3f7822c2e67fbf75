/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The walk is compiled twice: once for 64-bit targets, and in walk32.c for 32-bit ones. In either, the width of
// a word is a constant, and the other one costs nothing. What is not static has a name for each.
#ifndef HW_GLIBC_WORD_H
#define HW_GLIBC_WORD_H

#include "target/window.h"

#ifndef HW_GLIBC_WORD
#define HW_GLIBC_WORD 8 // bytes of a pointer and of INTERNAL_SIZE_T
#endif

#if HW_GLIBC_WORD == 8
#define HW_GLIBC_NAME(name) name##_64
#define HW_GLIBC_IF_64(yes, no) (yes)
#else
#define HW_GLIBC_NAME(name) name##_32
#define HW_GLIBC_IF_64(yes, no) (no)
#endif

#define hw_glibc_layouts HW_GLIBC_NAME(hw_glibc_layouts)
#define hw_glibc_mp_layouts HW_GLIBC_NAME(hw_glibc_mp_layouts)
#define hw_glibc_tcache_layouts HW_GLIBC_NAME(hw_glibc_tcache_layouts)
#define hw_glibc_heap_info_sizes HW_GLIBC_NAME(hw_glibc_heap_info_sizes)
#define hw_glibc_tcache_layout_of HW_GLIBC_NAME(hw_glibc_tcache_layout_of)
#define hw_glibc_walk_libc HW_GLIBC_NAME(hw_glibc_walk_libc)
#define hw_glibc_walk_others HW_GLIBC_NAME(hw_glibc_walk_others)
#define hw_glibc_take_others HW_GLIBC_NAME(hw_glibc_take_others)
#define hw_glibc_is_libc_path HW_GLIBC_NAME(hw_glibc_is_libc_path)
#define hw_glibc_find HW_GLIBC_NAME(hw_glibc_find)
#define hw_glibc_proves_main_arena HW_GLIBC_NAME(hw_glibc_proves_main_arena)
#define hw_glibc_scan_main_arena HW_GLIBC_NAME(hw_glibc_scan_main_arena)
#define hw_glibc_scan_mp HW_GLIBC_NAME(hw_glibc_scan_mp)
#define hw_glibc_plausible_mp HW_GLIBC_NAME(hw_glibc_plausible_mp)
#define hw_glibc_find_other HW_GLIBC_NAME(hw_glibc_find_other)
#define hw_glibc_read_arenas HW_GLIBC_NAME(hw_glibc_read_arenas)
#define hw_glibc_walk_heaps HW_GLIBC_NAME(hw_glibc_walk_heaps)
#define hw_glibc_walk_main HW_GLIBC_NAME(hw_glibc_walk_main)
#define hw_glibc_walk_region HW_GLIBC_NAME(hw_glibc_walk_region)
#define hw_glibc_walk_long_region HW_GLIBC_NAME(hw_glibc_walk_long_region)
#define hw_glibc_is_chain HW_GLIBC_NAME(hw_glibc_is_chain)
#define hw_glibc_add_region HW_GLIBC_NAME(hw_glibc_add_region)
#define hw_glibc_sort_regions HW_GLIBC_NAME(hw_glibc_sort_regions)
#define hw_glibc_find_exact HW_GLIBC_NAME(hw_glibc_find_exact)
#define hw_glibc_walker_deinit HW_GLIBC_NAME(hw_glibc_walker_deinit)
#define hw_glibc_find_mmapped HW_GLIBC_NAME(hw_glibc_find_mmapped)
#define hw_glibc_is_anonymous HW_GLIBC_NAME(hw_glibc_is_anonymous)
#define hw_glibc_looks_like_tcache HW_GLIBC_NAME(hw_glibc_looks_like_tcache)
#define hw_glibc_mark_tcaches HW_GLIBC_NAME(hw_glibc_mark_tcaches)
#define hw_glibc_mark_by_links HW_GLIBC_NAME(hw_glibc_mark_by_links)
#define hw_glibc_mark_fastbins_by_links HW_GLIBC_NAME(hw_glibc_mark_fastbins_by_links)
#define hw_glibc_mark_bins HW_GLIBC_NAME(hw_glibc_mark_bins)
#define hw_glibc_plan_picks HW_GLIBC_NAME(hw_glibc_plan_picks)
#define hw_glibc_leads_to_unseen HW_GLIBC_NAME(hw_glibc_leads_to_unseen)
#define hw_glibc_detect_safe_linking HW_GLIBC_NAME(hw_glibc_detect_safe_linking)
#define hw_glibc_poll HW_GLIBC_NAME(hw_glibc_poll)
#define hw_glibc_interrupted HW_GLIBC_NAME(hw_glibc_interrupted)

static inline uint64_t hw_glibc_word(const void *p)
{
	return hw_word(p, HW_GLIBC_WORD);
}
static inline bool hw_glibc_read_word(struct hw_pages *pages, hw_addr_t addr, uint64_t *ret)
{
	uint8_t raw[HW_GLIBC_WORD];
	if (HW_GLIBC_WORD == 8)
		return hw_pages_read_u64(pages, addr, ret);
	if (!hw_pages_read(pages, addr, raw, sizeof(raw)))
		return false;
	*ret = hw_glibc_word(raw);
	return true;
}

#endif
