/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A category id for every block of pymalloc's pools, and the pools' headers with them.
#ifndef HW_HEAP_POOLS_H
#define HW_HEAP_POOLS_H

#include "cpython/obmalloc.h"

struct hw_pool_slots;

// `pm` is borrowed, and is only found, or read whole (hw_pymalloc_find(), hw_pymalloc_walk()).
struct hw_error *hw_pool_slots_create(struct hw_pymalloc *pm,
				      struct hw_pool_slots **ret) HW_MUST_USE;
void hw_pool_slots_destroy(struct hw_pool_slots *slots); // NULL: nothing

// The arena's pools are known from here on, and have slots. `bytes` as in hw_pymalloc_read_arena(). Any
// thread. False: out of memory, which hw_pool_slots_finish() will say.
bool hw_pool_slots_need_arena(struct hw_pool_slots *slots, struct hw_arena *arena,
			      const uint8_t *bytes);

// The category ids of the blocks of a pool whose arena is ready; NULL: it has none.
uint32_t *hw_pool_slots_of(const struct hw_pool_slots *slots, const struct hw_pool *pool);

// The carved pool that contains addr, its arena made ready, or NULL. Any thread.
struct hw_pool *hw_pool_slots_find(struct hw_pool_slots *slots, hw_addr_t addr);

// All arenas are ready from here on; the pools are judged as hw_pymalloc_finish() does, and what it fails
// with is an issue. Fails when it is out of memory.
struct hw_error *hw_pool_slots_finish(struct hw_pool_slots *slots) HW_MUST_USE;

#endif
