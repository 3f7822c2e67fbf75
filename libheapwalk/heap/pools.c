/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Slots of pymalloc's blocks, made arena by arena when somebody asks for the first of them: the scan, which
// has the arena's bytes and reads the pools' headers out of them, or a claim on an arena that no thread has
// come to. To read all headers first takes a live process as long as to read all pages.
#include "heap/pools.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "heap/heap_internal.h"

enum {
	HW_ARENA_LOCKS = 64,
	HW_SLAB_BYTES = 4 << 20, // of slots, taken from the system at once: two huge pages
};

struct hw_slab {
	void *slots;
	size_t bytes;
};

struct hw_pool_slots {
	struct hw_pymalloc *pm;
	uint32_t **of_pool;     // NULL: the pool has no blocks, or its arena isn't ready
	_Atomic bool *is_ready; // by arena
	_Atomic bool is_out_of_memory;
	pthread_mutex_t arena_locks[HW_ARENA_LOCKS];
	pthread_mutex_t lock; // of what follows
	HW_VEC(struct hw_slab) slabs;
	size_t used_bytes; // of the last slab
};

struct hw_error *hw_pool_slots_create(struct hw_pymalloc *pm, struct hw_pool_slots **ret)
{
	struct hw_pool_slots *slots = calloc(1, sizeof(*slots));
	if (!slots)
		return &hw_enomem;
	slots->pm = pm;
	for (size_t i = 0; i < HW_ARENA_LOCKS; i++)
		pthread_mutex_init(&slots->arena_locks[i], NULL);
	pthread_mutex_init(&slots->lock, NULL);
	slots->of_pool = calloc(pm->pools.count + 1, sizeof(*slots->of_pool));
	slots->is_ready = calloc(pm->arenas.count + 1, sizeof(*slots->is_ready));
	if (!slots->of_pool || !slots->is_ready) {
		hw_pool_slots_destroy(slots);
		return &hw_enomem;
	}
	*ret = slots;
	return NULL;
}

void hw_pool_slots_destroy(struct hw_pool_slots *slots)
{
	if (!slots)
		return;
	for (size_t i = 0; i < HW_ARENA_LOCKS; i++)
		pthread_mutex_destroy(&slots->arena_locks[i]);
	pthread_mutex_destroy(&slots->lock);
	hw_vec_foreach(slab, &slots->slabs) hw_unmap(slab->slots, slab->bytes);
	hw_vec_deinit(&slots->slabs);
	free(slots->of_pool);
	free(slots->is_ready);
	free(slots);
}

// `count` zeroes; NULL: out of memory.
static uint32_t *hw_take_slots(struct hw_pool_slots *slots, size_t count)
{
	const struct hw_pymalloc *pm = slots->pm;
	const size_t bytes = count * sizeof(uint32_t);
	uint32_t *taken = NULL;
	pthread_mutex_lock(&slots->lock);
	struct hw_slab *slab = slots->slabs.count ? &slots->slabs.data[slots->slabs.count - 1]
						  : NULL;
	if (!slab || slab->bytes - slots->used_bytes < bytes) {
		// A small process has few arenas, and none has more blocks than of the smallest size.
		uint64_t most = pm->pools.count * (pm->pool_bytes / pm->alignment) *
				sizeof(uint32_t);
		struct hw_slab more = { .bytes = hw_max(hw_min(most, HW_SLAB_BYTES), bytes) };
		more.slots = hw_map_zeroed(more.bytes);
		slab = NULL;
		if (more.slots && hw_vec_push(&slots->slabs, more)) {
			slab = &slots->slabs.data[slots->slabs.count - 1];
			slots->used_bytes = 0;
		} else {
			hw_unmap(more.slots, more.bytes);
		}
	}
	if (slab) {
		taken = (uint32_t *)((uint8_t *)slab->slots + slots->used_bytes);
		slots->used_bytes += bytes;
	}
	pthread_mutex_unlock(&slots->lock);
	return taken;
}

static bool hw_pool_has_blocks(const struct hw_pool *pool)
{
	return !pool->is_empty && !pool->is_bad;
}

static bool hw_make_arena_slots(struct hw_pool_slots *slots, const struct hw_arena *arena)
{
	const struct hw_pymalloc *pm = slots->pm;
	size_t count = 0;
	for (uint32_t i = arena->pool_first; i < arena->pool_first + arena->pool_count; i++)
		if (hw_pool_has_blocks(&pm->pools.data[i]))
			count += pm->pools.data[i].capacity;
	if (!count)
		return true;
	uint32_t *next = hw_take_slots(slots, count);
	for (uint32_t i = arena->pool_first; next && i < arena->pool_first + arena->pool_count; i++)
		if (hw_pool_has_blocks(&pm->pools.data[i])) {
			slots->of_pool[i] = next;
			next += pm->pools.data[i].capacity;
		}
	return next;
}

bool hw_pool_slots_need_arena(struct hw_pool_slots *slots, struct hw_arena *arena,
			      const uint8_t *bytes)
{
	size_t index = (size_t)(arena - slots->pm->arenas.data);
	if (atomic_load_explicit(&slots->is_ready[index], memory_order_acquire))
		return true;
	pthread_mutex_t *lock = &slots->arena_locks[index % HW_ARENA_LOCKS];
	pthread_mutex_lock(lock);
	bool is_ready = atomic_load_explicit(&slots->is_ready[index], memory_order_relaxed);
	if (!is_ready) {
		if (!arena->is_read)
			hw_pymalloc_read_arena(slots->pm, arena, bytes);
		is_ready = hw_make_arena_slots(slots, arena);
		if (is_ready)
			atomic_store_explicit(&slots->is_ready[index], true, memory_order_release);
		else
			atomic_store(&slots->is_out_of_memory, true);
	}
	pthread_mutex_unlock(lock);
	return is_ready;
}

uint32_t *hw_pool_slots_of(const struct hw_pool_slots *slots, const struct hw_pool *pool)
{
	return slots->of_pool[pool - slots->pm->pools.data];
}

struct hw_pool *hw_pool_slots_find(struct hw_pool_slots *slots, hw_addr_t addr)
{
	struct hw_arena *arena = hw_pymalloc_find_arena(slots->pm, addr);
	return arena && hw_pool_slots_need_arena(slots, arena, NULL)
		       ? hw_arena_find_pool(slots->pm, arena, addr)
		       : NULL;
}

struct hw_error *hw_pool_slots_finish(struct hw_pool_slots *slots)
{
	struct hw_pymalloc *pm = slots->pm;
	// Not the work's own progress: after Ctrl-C what was seen is shown, with the headers of the rest.
	struct hw_error *err = hw_pymalloc_finish(pm, NULL);
	if (err && err->code == HW_ERROR_NO_MEMORY)
		return err;
	if (err)
		hw_issues_take(pm->issues, err);
	hw_vec_foreach(arena, &pm->arenas) hw_pool_slots_need_arena(slots, arena, NULL);
	return atomic_load(&slots->is_out_of_memory) ? &hw_enomem : NULL;
}
