/* SPDX-License-Identifier: LGPL-2.1-or-later */
// CPython's mimalloc forged in an image, healthy and damaged in every way that a walk must survive.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "forged_python.h"

enum {
	SEGMENT = 0x40000000, // aligned to 32 MiB
	SLICE = 64 << 10,
	READABLE = 3 * SLICE,  // of the segment
	HEAP = 0x10000,        // the main thread's
	THREADS = HEAP - 4096, // an interpreter and a thread state, where there is no GIL
	TSTATE = HEAP - HW_MI_TAG_GC * MI_HEAP_BYTES - 0x100,
	BLOCK = 1024,
	FIRST = SEGMENT + SLICE, // blocks of more than 512 bytes begin with their page
	BLOCKS = 10,
	SECRET = 0x5ec7e7,
};

struct world {
	struct hw_python python;
	uint8_t *segment;
	uint8_t heap[MI_HEAP_BYTES];
	uint8_t threads[4096];
	struct hw_target *target;
	struct hw_issues issues;
	struct hw_progress progress;
	struct hw_pages pages;
	struct hw_mimalloc mi;
	uint8_t blocks[HW_MI_BLOCKS_MAX];
	struct hw_mi_lists lists;
};

static void put16(void *at, uint16_t v)
{
	memcpy(at, &v, sizeof(v));
}

static void make_layout(struct hw_python_layout *l)
{
	forged_layout(l);
	forged_layout_mimalloc(l);
}

static uint8_t *slice(struct world *w, unsigned index)
{
	return w->segment + MI_SLICES + (size_t)index * MI_PAGE_BYTES;
}

static void link_block(struct world *w, unsigned from, uint64_t to)
{
	put64(w->segment + SLICE + (size_t)from * BLOCK, to);
}

static uint64_t block(unsigned index)
{
	return FIRST + (uint64_t)index * BLOCK;
}

// Header, one page of a slice with ten blocks carved, and the rest free. Blocks 1, 4 and 2 are free, 5 is
// local free, 7 was freed by another thread, 8 is on its heap's list.
static void make_healthy(struct world *w)
{
	memset(w, 0, sizeof(*w));
	make_layout(&w->python.layout);
	hw_issues_init(&w->issues);
	w->segment = calloc(1, READABLE);
	if (!w->segment)
		exit(1);
	put64(w->segment, 1);
	put64(w->segment + 8, SECRET ^ SEGMENT);
	put64(w->segment + 16, HW_MI_SLICES);
	put64(w->segment + 24, 1);
	put64(w->segment + 40, HW_MI_SLICES);
	put64(w->segment + 48, 0x7000);
	put32(slice(w, 0), 1);
	uint8_t *page = slice(w, 1);
	put32(page, 1);
	put16(page + 10, BLOCKS);
	put16(page + 12, SLICE / BLOCK);
	put64(page + 16, block(1));
	put32(page + 24, BLOCKS - 4);
	put32(page + 28, BLOCK);
	put64(page + 32, block(5));
	put64(page + 40, block(7) | 2);
	put64(page + 48, HEAP);
	link_block(w, 1, block(4));
	link_block(w, 4, block(2));
	put32(slice(w, 2), HW_MI_SLICES - 2);
	put64(w->heap, block(8));
	put64(w->heap + 8, 0x7000);
	put64(w->heap + 16, SECRET);
	put64(w->heap + 40, 1);
}

static void walk(struct world *w)
{
	struct hw_image_piece pieces[] = {
		{ THREADS, w->threads, sizeof(w->threads), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ HEAP, w->heap, sizeof(w->heap), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ SEGMENT, w->segment, READABLE, HW_MAP_READ | HW_MAP_WRITE, "" },
	};
	struct hw_error *err = hw_target_open_image(pieces, sizeof(pieces) / sizeof(pieces[0]),
						    &w->target);
	if (!err)
		err = hw_mimalloc_walk(w->target, &w->python, &w->issues, &w->progress, &w->mi);
	if (err) {
		fprintf(stderr, "%s\n", hw_error_message(err));
		exit(1);
	}
	hw_pages_init(&w->pages, w->target);
	const struct hw_mi_page *page = hw_mimalloc_find_page(&w->mi, FIRST);
	if (page && hw_mi_page_has_blocks(page))
		hw_mi_page_mark_free(&w->mi, page, &w->pages, &w->issues, w->blocks, &w->lists);
}

static void end_world(struct world *w)
{
	hw_vec_deinit(&w->python.interpreters);
	hw_pages_deinit(&w->pages);
	hw_mimalloc_deinit(&w->mi);
	hw_target_close(w->target);
	hw_issues_deinit(&w->issues);
	free(w->segment);
}

static bool has_issue(const struct world *w, const char *text)
{
	for (size_t i = 0; i < w->issues.list.count; i++)
		if (strstr(hw_error_message(w->issues.list.data[i]), text))
			return true;
	return false;
}

static void check_marks(const struct world *w)
{
	static const uint8_t wanted[BLOCKS] = {
		[1] = HW_MI_BLOCK_FREE,        [2] = HW_MI_BLOCK_FREE,
		[4] = HW_MI_BLOCK_FREE,        [5] = HW_MI_BLOCK_LOCAL_FREE,
		[7] = HW_MI_BLOCK_THREAD_FREE, [8] = HW_MI_BLOCK_DELAYED_FREE,
	};
	CHECK(!memcmp(w->blocks, wanted, sizeof(wanted)));
	CHECK(!w->issues.list.count, "%s", hw_error_message(w->issues.list.data[0]));
}

static void check_healthy(void)
{
	struct world w;
	make_healthy(&w);
	walk(&w);
	CHECK_EQUAL(w.mi.segments.count, 1);
	CHECK_EQUAL(w.mi.pages.count, 2);
	CHECK_EQUAL(w.mi.heaps.count, 1);
	CHECK_EQUAL(w.mi.main_heap, HEAP);
	check_marks(&w);
	CHECK(!hw_mimalloc_check(&w.mi, &w.issues, &w.progress) && !w.issues.list.count);
	CHECK(!hw_mimalloc_find_page(&w.mi, SEGMENT));
	CHECK(!hw_mimalloc_find_segment(&w.mi, SEGMENT + HW_MI_SEGMENT_BYTES));
	end_world(&w);
	// Given back: the header is stale.
	make_healthy(&w);
	put64(w.segment, 0);
	walk(&w);
	CHECK_EQUAL(w.mi.segments.count, 0);
	end_world(&w);
}

// mimalloc/internal.h mi_ptr_encode()
static uint64_t encode(uint64_t link, uint64_t null, const uint64_t keys[2])
{
	uint64_t x = (link ? link : null) ^ keys[1];
	unsigned shift = keys[0] & 63;
	return (x << shift | x >> (-shift & 63)) + keys[0];
}

static void check_encoded(void)
{
	const uint64_t keys[2] = { 0x123456789abcdef5, 0xfedcba9876543210 };
	const uint64_t header = SEGMENT + MI_SLICES + MI_PAGE_BYTES;
	struct world w;
	make_healthy(&w);
	w.python.layout.mi_page_keys = 64;
	memcpy(slice(&w, 1) + 64, keys, sizeof(keys));
	memcpy(w.heap + 24, keys, sizeof(keys));
	link_block(&w, 1, encode(block(4), header, keys));
	link_block(&w, 4, encode(block(2), header, keys));
	for (unsigned last = 2; last <= 7; last += last == 2 ? 3 : 2)
		link_block(&w, last, encode(0, header, keys));
	link_block(&w, 8, encode(0, HEAP, keys));
	walk(&w);
	check_marks(&w);
	end_world(&w);
}

// The heap is the one for objects of the collector of the only thread state.
static void make_tagged(struct world *w)
{
	struct hw_python_layout *l = &w->python.layout;
	make_healthy(w);
	l->ob_gc_bits = 11;
	l->interp_threads_head = 0;
	l->interp_id = 8;
	l->tstate_next = 8;
	l->tstate_mimalloc_heaps = 0x100;
	l->mi_heap_tag = 48;
	l->mi_page_tag_bit = 8 * 8 + 3;
	put64(w->threads, TSTATE);
	put64(w->threads + 8, 3);
	w->heap[48] = HW_MI_TAG_GC;
	slice(w, 1)[8] = 1 | HW_MI_TAG_GC << 3;
	if (!hw_vec_push(&w->python.interpreters, (hw_addr_t)THREADS))
		exit(1);
}

static void check_bound(const struct world *w)
{
	const struct hw_mi_heap *heap = hw_mimalloc_find_heap(&w->mi, HEAP);
	CHECK(heap && heap->tag == HW_MI_TAG_GC && heap->tstate == TSTATE && heap->is_main);
	CHECK_EQUAL(heap ? heap->interpreter_id : 0, 3);
	CHECK_EQUAL(w->mi.pages.data[0].tag, HW_MI_TAG_GC);
	check_marks(w);
}

static void check_tags(void)
{
	struct world w;
	make_tagged(&w);
	walk(&w);
	check_bound(&w);
	CHECK(!hw_mimalloc_find_heap(&w.mi, HEAP + 1));
	end_world(&w);
	// Nothing says where in the thread state its heaps are.
	make_tagged(&w);
	w.python.layout.tstate_mimalloc_heaps = HW_ABSENT;
	walk(&w);
	check_bound(&w);
	end_world(&w);
	// 2.5 has a byte for the tag.
	make_tagged(&w);
	w.python.layout.mi_page_tag_bit = HW_ABSENT;
	w.python.layout.mi_page_heap_tag = 9;
	slice(&w, 1)[9] = HW_MI_TAG_GC;
	walk(&w);
	check_bound(&w);
	end_world(&w);
	// A tag that there is not; a heap that says it is another's.
	make_tagged(&w);
	slice(&w, 1)[8] = 7 << 3;
	w.heap[48] = HW_MI_TAG_MEM;
	walk(&w);
	CHECK_EQUAL(w.mi.pages.data[0].tag, HW_MI_TAG_COUNT);
	CHECK(has_issue(&w, "has the tag 0"));
	end_world(&w);
	// Thread states in a ring.
	make_tagged(&w);
	put64(w.threads + (TSTATE - THREADS) + 8, TSTATE);
	walk(&w);
	CHECK_EQUAL(w.mi.heaps.count, 1);
	end_world(&w);
}

static void check_positions(void)
{
	struct world w;
	uint32_t position = 99;
	make_healthy(&w);
	walk(&w);
	const struct hw_mi_page *page = hw_mimalloc_find_page(&w.mi, FIRST);
	CHECK(hw_mi_page_position(&w.mi, page, &w.pages, HW_MI_BLOCK_FREE, block(2), &position));
	CHECK_EQUAL(position, 2);
	CHECK(hw_mi_page_position(&w.mi, page, &w.pages, HW_MI_BLOCK_THREAD_FREE, block(7),
				  &position));
	CHECK_EQUAL(position, 0);
	CHECK(!hw_mi_page_position(&w.mi, page, &w.pages, HW_MI_BLOCK_FREE, block(3), &position));
	end_world(&w);
	make_healthy(&w);
	link_block(&w, 4, block(1)); // a ring
	walk(&w);
	page = hw_mimalloc_find_page(&w.mi, FIRST);
	CHECK(!hw_mi_page_position(&w.mi, page, &w.pages, HW_MI_BLOCK_FREE, block(3), &position));
	end_world(&w);
}

static void check_list_damage(uint64_t link, const char *issue)
{
	struct world w;
	make_healthy(&w);
	link_block(&w, 4, link);
	walk(&w);
	CHECK_EQUAL(w.lists.free, 2);
	CHECK(has_issue(&w, issue), "%s", issue);
	CHECK(!hw_mimalloc_check(&w.mi, &w.issues, &w.progress) && has_issue(&w, "counts 6 of 10"));
	end_world(&w);
}

// A word of the page that contradicts the others.
static void check_page_damage(size_t offset, uint32_t value)
{
	struct world w;
	make_healthy(&w);
	put32(slice(&w, 1) + offset, value);
	walk(&w);
	CHECK(w.mi.pages.count && w.mi.pages.data[0].is_bad, "offset %zu", offset);
	CHECK(has_issue(&w, "contradicts itself"));
	end_world(&w);
}

static void check_delayed_cycle(void)
{
	struct world w;
	make_healthy(&w);
	link_block(&w, 8, block(8));
	walk(&w);
	CHECK(has_issue(&w, "delayed frees"));
	CHECK_EQUAL(w.lists.delayed, 1);
	CHECK_EQUAL(w.mi.delayed.count, 1); // not as many as there are blocks
	end_world(&w);
	// A ring that the list leads into: 8, 7, 6, 7, …
	make_healthy(&w);
	link_block(&w, 8, block(7));
	link_block(&w, 7, block(6));
	link_block(&w, 6, block(7));
	walk(&w);
	CHECK(has_issue(&w, "delayed frees") && w.mi.delayed.count < 2 * BLOCKS / 3);
	end_world(&w);
}

int main(void)
{
	check_healthy();
	check_encoded();
	check_tags();
	check_positions();
	check_list_damage(block(1), "back to a block");
	check_list_damage(block(3) + 8, "into the middle");
	check_list_damage(block(BLOCKS), "outside of its blocks");
	check_list_damage(8, "outside of its blocks");
	check_page_damage(0, 0);           // no length
	check_page_damage(0, UINT32_MAX);  // past the segment
	check_page_damage(4, 80);          // no page's first slice
	check_page_damage(12, 0xffff);     // more room than bytes; flags too
	check_page_damage(24, BLOCKS + 1); // more used than carved
	check_page_damage(28, 12);         // no size of a block
	check_delayed_cycle();
	return check_finish();
}
