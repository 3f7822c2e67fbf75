/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The walker of CPython's mimalloc, and its dear checks, over the segment that tests/unit forges, with words
// written over. First byte: bit 0, are links encoded; bit 1, is the block size in the wide member of 2.5; bit 2,
// is the heap one of a thread state, without the GIL, whose words are written over, too.
#include "patches.h"

#define main test_main
#include "../unit/test_mimalloc.c"
#undef main

enum { VARIANTS = 8, PAGE_HEADERS = 6 };

// What the walker relies on later, whatever the image says.
static void check_pages(const struct hw_mimalloc *mi)
{
	hw_vec_foreach(page, &mi->pages)
	{
		if (!hw_mi_page_has_blocks(page))
			continue;
		if (page->tag > HW_MI_TAG_COUNT || page->used > page->capacity ||
		    page->capacity > page->reserved ||
		    page->first + page->reserved * page->block_bytes > page->start + page->bytes)
			__builtin_trap();
	}
	for (size_t i = 1; i < mi->areas.count; i++)
		if (mi->areas.data[i - 1].end > mi->areas.data[i].start)
			__builtin_trap();
}

static void make_variant(struct world *w, unsigned variant)
{
	if (variant & 4)
		make_tagged(w);
	else
		make_healthy(w);
	struct hw_python_layout *l = &w->python.layout;
	if (variant & 1)
		l->mi_page_keys = 64;
	if (variant & 2) {
		l->mi_page_xblock_size = HW_ABSENT;
		l->mi_page_block_size = 56;
		l->mi_page_page_start = 80;
		put64(slice(w, 1) + 56, BLOCK);
		put64(slice(w, 1) + 80, FIRST);
	}
	// A second page, of the other shape, and an abandoned one.
	put32(slice(w, 2), 1);
	memcpy(slice(w, 2) + 8, slice(w, 1) + 8, MI_PAGE_BYTES - 8);
	put64(slice(w, 2) + 48, 0);
	put64(slice(w, 2) + 80, FIRST + SLICE);
	for (unsigned at = 16; at <= 40; at += at == 16 ? 16 : 8)
		put64(slice(w, 2) + at, 0);
	put32(slice(w, 2) + 24, BLOCKS);
	put32(slice(w, 3), HW_MI_SLICES - 3);
	put64(w->segment, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world worlds[VARIANTS];
	static const uint64_t words[] = { SEGMENT,
					  SEGMENT + HW_MI_SEGMENT_BYTES,
					  HEAP,
					  FIRST,
					  FIRST + BLOCK,
					  FIRST + 5 * BLOCK,
					  FIRST + (BLOCKS - 1) * BLOCK,
					  FIRST + SLICE,
					  SECRET,
					  SECRET ^ SEGMENT,
					  SEGMENT + MI_SLICES + MI_PAGE_BYTES,
					  HW_MI_SLICES,
					  THREADS,
					  TSTATE };
	enum { WORDS = sizeof(words) / sizeof(*words) };
	if (!size)
		return 0;
	const size_t part_count = data[0] & 4 ? 5 : 4;
	struct world *w = &worlds[data[0] % VARIANTS];
	if (!w->segment)
		make_variant(w, data[0] % VARIANTS);
	const struct {
		uint8_t *bytes;
		size_t len;
	} parts[] = {
		{ w->segment, MI_SLICES },
		{ w->segment + MI_SLICES, PAGE_HEADERS * MI_PAGE_BYTES },
		{ w->segment + SLICE, BLOCKS * BLOCK },
		{ w->heap, sizeof(w->heap) },
		{ w->threads, sizeof(w->threads) },
	};
	for (size_t i = 1; i + PATCH_BYTES < size; i += PATCH_BYTES + 1)
		patch_apply(parts[data[i] % part_count].bytes, parts[data[i] % part_count].len,
			    words, WORDS, data + i + 1, PATCH_BYTES);
	struct hw_image_piece pieces[] = {
		{ THREADS, w->threads, sizeof(w->threads), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ HEAP, w->heap, sizeof(w->heap), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ SEGMENT, w->segment, READABLE, HW_MAP_READ | HW_MAP_WRITE, "" },
	};
	struct hw_error *err = hw_target_open_image(pieces, sizeof(pieces) / sizeof(*pieces),
						    &w->target);
	if (!err)
		err = hw_mimalloc_walk(w->target, &w->python, &w->issues, &w->progress, &w->mi);
	if (!err) {
		check_pages(&w->mi);
		err = hw_mimalloc_check(&w->mi, &w->issues, &w->progress);
	}
	hw_error_destroy(err);
	hw_mimalloc_deinit(&w->mi);
	hw_target_close(w->target);
	w->target = NULL;
	hw_issues_clear(&w->issues);
	patch_undo();
	return 0;
}
