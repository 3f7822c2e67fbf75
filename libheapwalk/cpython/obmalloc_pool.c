/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Look-ups by address, and the free list inside a pool.
#include <inttypes.h>

#include "cpython/obmalloc_internal.h"

// An arena is only page aligned, so it reaches into at most two aligned areas of its own size; each
// area meets at most two arenas. A slot for each pair, hashed by the area's number.
static inline uint32_t hw_area_hash(uint64_t area)
{
	return (uint32_t)((area * 0x9e3779b97f4a7c15u) >> 32);
}

static inline unsigned hw_arena_shift(const struct hw_pymalloc *pm)
{
	return (unsigned)__builtin_ctz(pm->arena_bytes);
}

static void hw_index_area(struct hw_pymalloc *pm, uint64_t area, uint32_t index)
{
	uint32_t mask = pm->arena_slot_count - 1, i = hw_area_hash(area) & mask;
	while (pm->arena_slots[i])
		i = (i + 1) & mask;
	pm->arena_slots[i] = index + 1;
}

struct hw_error *hw_obmalloc_index_arenas(struct hw_pymalloc *pm)
{
	uint32_t slots = 8;
	if (pm->arenas.count > UINT32_MAX / 16)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "%zu arenas are more than heapwalk can number",
				       pm->arenas.count);
	while (slots < pm->arenas.count * 4)
		slots *= 2;
	pm->arena_slots = calloc(slots, sizeof(*pm->arena_slots));
	if (!pm->arena_slots)
		return &hw_enomem;
	pm->arena_slot_count = slots;
	for (uint32_t i = 0; i < pm->arenas.count; i++) {
		hw_addr_t start = pm->arenas.data[i].start;
		uint64_t first = start >> hw_arena_shift(pm);
		uint64_t last = (start + pm->arena_bytes - 1) >> hw_arena_shift(pm);
		hw_index_area(pm, first, i);
		if (last != first)
			hw_index_area(pm, last, i);
	}
	return NULL;
}

struct hw_arena *hw_pymalloc_find_arena(const struct hw_pymalloc *pymalloc, hw_addr_t addr)
{
	if (!pymalloc->arena_slot_count)
		return NULL;
	uint32_t mask = pymalloc->arena_slot_count - 1;
	uint32_t i = hw_area_hash(addr >> hw_arena_shift(pymalloc)) & mask;
	for (; pymalloc->arena_slots[i]; i = (i + 1) & mask) {
		struct hw_arena *arena = &pymalloc->arenas.data[pymalloc->arena_slots[i] - 1];
		if (addr - arena->start < pymalloc->arena_bytes)
			return arena;
	}
	return NULL;
}

struct hw_pool *hw_pymalloc_find_pool(const struct hw_pymalloc *pymalloc, hw_addr_t addr)
{
	const struct hw_arena *arena = hw_pymalloc_find_arena(pymalloc, addr);
	return arena ? hw_arena_find_pool(pymalloc, arena, addr) : NULL;
}

// Sets bits [from, to).
static void hw_set_bits(uint64_t *bitmap, uint32_t from, uint32_t to)
{
	while (from < to) {
		uint32_t bit = from % 64, n = 64 - bit;
		if (n > to - from)
			n = to - from;
		bitmap[from / 64] |= (n == 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1) << bit;
		from += n;
	}
}

static inline __attribute__((always_inline)) void
hw_mark_free_words(const struct hw_pymalloc *pymalloc, const struct hw_pool *pool,
		   const uint8_t *bytes, struct hw_issues *issues, uint64_t *bitmap,
		   uint32_t *ret_listed, const uint32_t header_bytes, const unsigned word_bytes)
{
	memset(bitmap, 0, HW_POOL_BITMAP_WORDS * sizeof(*bitmap));
	*ret_listed = 0;
	if (pool->is_bad || !pool->capacity)
		return;
	if (pool->is_empty) {
		hw_set_bits(bitmap, 0, pool->capacity);
		return;
	}
	// x / size is x * reciprocal >> 32, exactly: x < 2^14 and size <= 2^9, so that the rounded-up
	// reciprocal is off by less than x * size / 2^32 of the quotient.
	const uint32_t size = hw_pool_block_bytes(pymalloc, pool);
	const uint64_t reciprocal = UINT32_MAX / size + 1;
	const uint32_t carved = (uint32_t)(((pool->next_offset - header_bytes) * reciprocal) >> 32);
	const uint64_t carved_bytes = (uint64_t)carved * size;
	const hw_addr_t blocks = pool->start + header_bytes;
	uint32_t listed = 0;
	hw_addr_t link = pool->freeblock;
	while (link) {
		const uint64_t offset = link - blocks;
		const char *wrong = NULL;
		if (offset >= carved_bytes) {
			wrong = "outside of its blocks";
		} else {
			const uint32_t index = (uint32_t)((offset * reciprocal) >> 32);
			const uint64_t bit = (uint64_t)1 << index % 64;
			if (index * size != offset)
				wrong = "into the middle of a block";
			else if (bitmap[index / 64] & bit)
				wrong = "back to a block that it listed before";
			else
				bitmap[index / 64] |= bit;
		}
		if (wrong) {
			hw_issues_add(issues, HW_ERROR_CORRUPT, pool->start,
				      "the list of free blocks of the pool at 0x%" PRIx64
				      " leads %s, "
				      "to 0x%" PRIx64 ", after %" PRIu32 " blocks",
				      pool->start, wrong, link, listed);
			break;
		}
		listed++;
		link = hw_word(bytes + header_bytes + offset, word_bytes);
	}
	*ret_listed = listed;
	hw_set_bits(bitmap, carved, pool->capacity);
}

// Two of it: this is what a walk over many blocks does.
void hw_pool_mark_free(const struct hw_pymalloc *pymalloc, const struct hw_pool *pool,
		       const uint8_t *bytes, struct hw_issues *issues, uint64_t *bitmap,
		       uint32_t *ret_listed)
{
	if (pymalloc->word_bytes == 8)
		hw_mark_free_words(pymalloc, pool, bytes, issues, bitmap, ret_listed,
				   HW_POOL_HEADER_BYTES_MAX, 8);
	else
		hw_mark_free_words(pymalloc, pool, bytes, issues, bitmap, ret_listed,
				   pymalloc->header_bytes, pymalloc->word_bytes);
}
