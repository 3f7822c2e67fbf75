/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The dear checks: every pool is read whole and its free list followed.
#include <inttypes.h>

#include "cpython/obmalloc_internal.h"

static void hw_check_pool(const struct hw_pymalloc *pm, const struct hw_pool *pool,
			  const uint8_t *bytes, struct hw_issues *issues)
{
	uint64_t bitmap[HW_POOL_BITMAP_WORDS];
	uint32_t listed, free_count = 0;
	hw_pool_mark_free(pm, pool, bytes, issues, bitmap, &listed);
	for (size_t i = 0; i < HW_POOL_BITMAP_WORDS; i++)
		free_count += (uint32_t)__builtin_popcountll(bitmap[i]);
	// allocated + free + virgin == capacity: what is neither on the list nor virgin is in use.
	if (pool->ref_count + free_count != pool->capacity)
		hw_issues_add(issues, HW_ERROR_INVARIANT, pool->start,
			      "the pool at 0x%" PRIx64 " counts %" PRIu32
			      " blocks in use, but %" PRIu32
			      " of its %u are neither on its free list (%" PRIu32 ") nor virgin",
			      pool->start, pool->ref_count, pool->capacity - free_count,
			      (unsigned)pool->capacity, listed);
}

struct hw_error *hw_pymalloc_check(const struct hw_pymalloc *pymalloc, struct hw_issues *issues,
				   struct hw_progress *progress)
{
	struct hw_window window;
	struct hw_error *err = NULL;
	hw_window_init(&window, pymalloc->target);
	for (size_t i = 0; i < pymalloc->arenas.count && !err; i++) {
		const struct hw_arena *arena = &pymalloc->arenas.data[i];
		for (uint32_t k = 0; k < arena->pool_count; k++) {
			const struct hw_pool *pool = &pymalloc->pools.data[arena->pool_first + k];
			if (pool->is_empty || pool->is_bad)
				continue;
			const uint8_t *bytes = hw_window_get(&window, pool->start,
							     pymalloc->pool_bytes);
			if (bytes)
				hw_check_pool(pymalloc, pool, bytes, issues);
			else
				hw_issues_add(issues, HW_ERROR_FAULT, pool->start,
					      "the pool at 0x%" PRIx64 " can't be read whole",
					      pool->start);
		}
		if (progress && hw_progress_poll(progress))
			err = hw_error_create(HW_ERROR_INTERRUPTED,
					      "interrupted while the pools were checked");
	}
	hw_window_deinit(&window);
	return err;
}
