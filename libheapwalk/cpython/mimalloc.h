/* SPDX-License-Identifier: LGPL-2.1-or-later */
// CPython's own mimalloc from outside: segments, their pages, and which blocks of a page are free.
// Upstream: Objects/mimalloc/segment.c, page.c, arena.c, init.c, Include/internal/mimalloc/mimalloc/types.h,
// CPython 3.13 – 3.15 (mimalloc 2.1 and 2.5).
//
// A segment is aligned to 32 MiB and cut into slices of 64 KiB; a page is a run of slices that holds blocks
// of one size. Segments are found by looking at every aligned address of the private writable mappings, so
// that those of every thread, and abandoned ones, are found alike. A segment's cookie is its own address
// combined with one secret of the process: it proves itself. Without the GIL (3.13t) each thread state has a
// heap for each kind of thing, and a page says of which kind its blocks are.
//
// Invariants, checked by hw_mimalloc_check():
//   per page: capacity - used == blocks on its own two lists, and the blocks on other threads' are in `used`;
//   per segment: its pages in use are `used`; per heap: its pages are page_count.
#ifndef HW_CPYTHON_MIMALLOC_H
#define HW_CPYTHON_MIMALLOC_H

#include "base/issues.h"
#include "base/progress.h"
#include "layout/python.h"
#include "target/window.h"

#define HW_MI_SEGMENT_BYTES ((uint64_t)32 << 20)
#define HW_MI_SLICE_BYTES ((uint64_t)64 << 10)
enum { HW_MI_SLICES = 512, HW_MI_BLOCKS_MAX = 65535, HW_MI_BINS = 73 };

// What a heap is for, in builds without the GIL: Include/internal/pycore_mimalloc.h _Py_mimalloc_heap_id.
enum hw_mi_tag {
	HW_MI_TAG_MEM,    // PyMem_Malloc()
	HW_MI_TAG_OBJECT, // objects that the collector does not know
	HW_MI_TAG_GC,
	HW_MI_TAG_GC_PRE, // objects behind a pre-header
	HW_MI_TAG_COUNT,  // no such tag: all kinds, or not known
};

// A run of slices.
struct hw_mi_page {
	hw_addr_t start, header;                 // of its slices; of struct mi_page_s
	hw_addr_t first;                         // the first block
	hw_addr_t heap;                          // 0: abandoned
	hw_addr_t free, local_free, thread_free; // heads of the lists, 0: none
	uint64_t bytes;                          // of its slices
	uint64_t block_bytes;
	uint64_t keys[2];            // of encoded links: hw_mimalloc.has_keys
	uint32_t capacity, reserved; // blocks that were carved, that there is room for
	uint32_t used;               // as mimalloc counts: with what other threads have freed
	uint8_t tag;                 // enum hw_mi_tag
	bool is_free;                // no page: a free run
	bool is_bad;                 // contradicts itself; an issue was added
	bool is_missing;             // its blocks can't be read
};

struct hw_mi_segment {
	hw_addr_t start, end;
	uint64_t header_bytes;           // before the first page
	uint64_t thread_id;              // 0: abandoned by a thread that has ended
	uint64_t used;                   // pages in use
	uint64_t secret;                 // its cookie without its address: the same for all
	uint32_t page_first, page_count; // into hw_mimalloc.pages, by address
	bool is_huge;                    // one page, larger than 16 MiB
};

// A thread's heap: pages.heap leads here. Without the GIL each thread state has one a tag.
struct hw_mi_heap {
	hw_addr_t address;
	hw_addr_t tstate;       // PyThreadState, 0: of no one's
	int64_t interpreter_id; // of that thread state
	uint8_t tag;            // enum hw_mi_tag
	uint64_t thread_id;     // the thread's pointer to its control block
	uint64_t page_count;    // as it says
	uint64_t pages, blocks, block_bytes, reserved_bytes, committed_bytes; // of pages found
	bool is_main;                                                         // _mi_heap_main
	bool is_readable;
};

// mimalloc's memory outside of segments.
enum hw_mi_area_kind {
	HW_MI_AREA_FREE,          // of an arena: blocks that no segment has
	HW_MI_AREA_PADDING,       // of an arena: behind a huge segment
	HW_MI_AREA_MISSING,       // of an arena: in use, but no header can be read
	HW_MI_AREA_ARENA_HEADER,  // struct mi_arena_s and its bitmaps
	HW_MI_AREA_THREAD_DATA,   // struct mi_thread_data_s: a thread's heap and statistics
	HW_MI_AREA_CACHED_THREAD, // the same, kept for the next thread
};
struct hw_mi_area {
	hw_addr_t start, end;
	enum hw_mi_area_kind kind;
};

struct hw_mimalloc {
	struct hw_target *target;
	const struct hw_python_layout *layout;
	bool has_keys;
	bool has_tags;                         // heaps are one a tag, of thread states
	uint64_t secret;                       // _mi_heap_main.cookie, or what most segments have
	hw_addr_t main_heap;                   // _mi_heap_main, 0: not found
	HW_VEC(struct hw_mi_segment) segments; // by address
	HW_VEC(struct hw_mi_page) pages;       // segment by segment, by address, free runs too
	HW_VEC(struct hw_mi_heap) heaps;       // by address
	HW_VEC(struct hw_mi_area) areas;       // by address, disjoint, outside of segments
	// Blocks that another thread has freed and that wait in their heap's own list; sorted.
	HW_VEC(hw_addr_t) delayed;
};

// Finds everything. No segment: success, empty. Damage is an issue, and what it is found in is left out.
// Fails only on out of memory and when interrupted.
struct hw_error *hw_mimalloc_walk(struct hw_target *target, const struct hw_python *python,
				  struct hw_issues *issues, struct hw_progress *progress,
				  struct hw_mimalloc *ret) HW_MUST_USE;
// "mem", "object", "gc", "gc_pre"; "" where heaps have no tags.
const char *hw_mi_tag_word(enum hw_mi_tag tag);
// The same for a layout that may be from heapwalk's table: of the shapes that mimalloc's structures had, the one that
// the process proves, which python->layout has from then on. A build that has no other allocator and no segment of
// mimalloc's is an issue.
struct hw_error *hw_mimalloc_find(struct hw_target *target, struct hw_python *python,
				  struct hw_issues *issues, struct hw_progress *progress,
				  struct hw_mimalloc *ret) HW_MUST_USE;
void hw_mimalloc_deinit(struct hw_mimalloc *mimalloc);
// Checks the invariants above: each one broken is an issue.
struct hw_error *hw_mimalloc_check(const struct hw_mimalloc *mimalloc, struct hw_issues *issues,
				   struct hw_progress *progress) HW_MUST_USE;

// NULL: addr is in none. A page or a free run.
const struct hw_mi_segment *hw_mimalloc_find_segment(const struct hw_mimalloc *mimalloc,
						     hw_addr_t addr);
const struct hw_mi_page *hw_mimalloc_find_page(const struct hw_mimalloc *mimalloc, hw_addr_t addr);
// NULL: `address` is no heap's.
const struct hw_mi_heap *hw_mimalloc_find_heap(const struct hw_mimalloc *mimalloc,
					       hw_addr_t address);
// Is addr in memory of mimalloc's, and where does that stretch of it end?
bool hw_mimalloc_claims(const struct hw_mimalloc *mimalloc, hw_addr_t addr, hw_addr_t *ret_end);

static inline bool hw_mi_page_has_blocks(const struct hw_mi_page *page)
{
	return !page->is_free && !page->is_bad;
}

// Adds a page to the sums of a heap, or of anything else that has pages.
static inline void hw_mi_heap_count(struct hw_mi_heap *heap, const struct hw_mi_page *page)
{
	heap->pages++;
	heap->blocks += page->used;
	heap->block_bytes += page->used * page->block_bytes;
	heap->reserved_bytes += page->reserved * page->block_bytes;
	heap->committed_bytes += page->capacity * page->block_bytes;
}

enum hw_mi_block {
	HW_MI_BLOCK_USED,
	HW_MI_BLOCK_FREE,         // on the list that malloc takes from
	HW_MI_BLOCK_LOCAL_FREE,   // freed by its own thread, not yet on that list
	HW_MI_BLOCK_THREAD_FREE,  // freed by another thread
	HW_MI_BLOCK_DELAYED_FREE, // the same, on its heap's list
};
struct hw_mi_lists {
	uint32_t free, local_free, thread_free, delayed; // how many blocks
};
// Where `block` stands on the list of its page that `what` is, from the list's head on. False: the list has
// no such block, or is damaged before it; also of delayed ones, whose list is the heap's.
bool hw_mi_page_position(const struct hw_mimalloc *mimalloc, const struct hw_mi_page *page,
			 struct hw_pages *pages, enum hw_mi_block what, hw_addr_t block,
			 uint32_t *ret);
// What each block of a page is, into blocks[page->capacity]. Damage (a link out of the page or into the
// middle of a block, a cycle) ends the list and is an issue. Reads through `pages`: one thread's.
void hw_mi_page_mark_free(const struct hw_mimalloc *mimalloc, const struct hw_mi_page *page,
			  struct hw_pages *pages, struct hw_issues *issues, uint8_t *blocks,
			  struct hw_mi_lists *ret);

#endif
