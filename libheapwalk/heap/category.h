/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Categories: what a block is, interned, so that a block costs its 4-byte id. Workers intern side by
// side; entries never move, so an id that was seen can be looked up without a lock.
#ifndef HW_HEAP_CATEGORY_H
#define HW_HEAP_CATEGORY_H

#include <pthread.h>

#include "cpython/owners.h"
#include "heap/heap.h"

// Ids that are known beforehand. The first are malloc's chunk states, number for number: a region's
// states are category ids as they stand. 0 is a block in use that nobody has looked at yet.
enum hw_fixed_category {
	HW_CATEGORY_NONE = 0,
	HW_CATEGORY_CHUNK_LAST = HW_CHUNK_STATE_COUNT - 1,
	HW_CATEGORY_FREED_BLOCK,
	HW_CATEGORY_VIRGIN_BLOCK,
	HW_CATEGORY_POOL_HEADER,
	HW_CATEGORY_POOL_FREED, // an empty pool
	HW_CATEGORY_POOL_NEVER_USED,
	HW_CATEGORY_ALIGNMENT_ARENA,
	HW_CATEGORY_ALIGNMENT_POOL, // what no whole block fits into
	HW_CATEGORY_POOL_BAD,       // a header that contradicts itself
	HW_CATEGORY_MISSING,        // bytes that can't be read
	HW_CATEGORY_MAYBE_FREE,     // a chunk whose list, if it is on one, can't be read
	HW_CATEGORY_FREE_LIST_MISSING,
	HW_CATEGORY_MI_HEADER,      // of a segment: what is before its first page
	HW_CATEGORY_MI_FREE_SLICES, // of a segment: a run without a page
	HW_CATEGORY_MI_BAD,
	HW_CATEGORY_MI_OFFSET,   // of a page: before its first block
	HW_CATEGORY_MI_UNCARVED, // of a page: blocks that were never given out
	HW_CATEGORY_MI_TAIL,     // of a page: what no whole block fits into
	HW_CATEGORY_MI_FREE_BLOCK,
	HW_CATEGORY_MI_LOCAL_FREE_BLOCK,
	HW_CATEGORY_MI_THREAD_FREE_BLOCK,
	HW_CATEGORY_MI_DELAYED_FREE_BLOCK,
	HW_CATEGORY_MI_ARENA_FREE,
	HW_CATEGORY_MI_ARENA_PADDING,
	HW_CATEGORY_MI_ARENA_MISSING,
	HW_CATEGORY_MI_ARENA_HEADER,
	HW_CATEGORY_MI_THREAD_DATA,
	HW_CATEGORY_MI_CACHED_THREAD,
	HW_CATEGORY_MMAP_PADDING, // an mmapped chunk's mapping around the chunk
	HW_CATEGORY_UNCATEGORIZED,
	HW_CATEGORY_C_STRING,
	HW_CATEGORY_SLOT_FREE,    // 2.7: a free slot of an int or float block
	HW_CATEGORY_SLOT_HEADER,  // 2.7: such a block's own header
	HW_CATEGORY_SLOT_PADDING, // 2.7: what is left at its end
	HW_CATEGORY_STACK,
	HW_CATEGORY_THREAD_STACK,
	HW_CATEGORY_CACHED_STACK,   // of a thread that has ended: libc keeps it for the next one
	HW_CATEGORY_HEAP_TAIL,      // of a thread heap: behind what malloc has now
	HW_CATEGORY_BRK_OTHER,      // of the brk area: somebody else's sbrk()
	HW_CATEGORY_TLS,            // a thread's control block and variables, outside its stack
	HW_CATEGORY_LOADER,         // ld.so's own
	HW_CATEGORY_GETRANDOM,      // libc's, for getrandom()
	HW_CATEGORY_CODE,           // anonymous, writable and executable
	HW_CATEGORY_UNLISTED_ARENA, // of an interpreter that has ended: no list leads to it
	HW_CATEGORY_ANONYMOUS,
	HW_CATEGORY_FIXED_COUNT
};

// Set in a slot whose category comes from an owner's claim; it beats what the block's header says.
#define HW_SLOT_CLAIMED 0x80000000u
#define HW_SLOT_CATEGORY(slot) ((slot) & ~HW_SLOT_CLAIMED)

struct hw_category_entry {
	struct hw_category category;
	uint8_t claim_kind; // enum hw_claim_kind of a claimed one: lower wins
	// categories of the same detail for what belongs to this object
	_Atomic uint32_t companions[HW_CLAIM_KIND_COUNT];
};

enum { HW_CATEGORY_SEGMENT = 1024, HW_CATEGORY_SEGMENTS = 1024 };

struct hw_categories {
	pthread_mutex_t lock;
	struct hw_strtab strings;
	struct hw_category_entry *segments[HW_CATEGORY_SEGMENTS];
	_Atomic uint32_t count;
	uint32_t *slots; // ids + 1 by content, open addressing
	size_t slot_count;
	bool is_exhausted; // out of memory or of ids: some blocks are uncategorized for that alone
};

struct hw_error *hw_categories_init(struct hw_categories *categories) HW_MUST_USE;
void hw_categories_deinit(struct hw_categories *categories);

static inline struct hw_category_entry *hw_category_entry(const struct hw_categories *categories,
							  uint32_t id)
{
	return &categories->segments[id / HW_CATEGORY_SEGMENT][id % HW_CATEGORY_SEGMENT];
}

// Strings are copied. Out of memory or out of ids: HW_CATEGORY_UNCATEGORIZED, and is_exhausted is set.
uint32_t hw_category_intern(struct hw_categories *categories, const struct hw_category *category,
			    enum hw_claim_kind claim_kind);

// A copy that lives as long as the categories; "" when out of memory.
const char *hw_categories_intern_text(struct hw_categories *categories, const char *text);

// A claimed block's category: `kind` text from HW_CLAIM_KINDS.
uint32_t hw_category_of_claim(struct hw_categories *categories, enum hw_claim_kind kind,
			      const char *detail);
// The same with the detail of category `owner`, cached there.
uint32_t hw_category_companion(struct hw_categories *categories, uint32_t owner,
			       enum hw_claim_kind kind);

const char *hw_claim_kind_word(enum hw_claim_kind kind);

#endif
