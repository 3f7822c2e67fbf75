/* SPDX-License-Identifier: LGPL-2.1-or-later */
// More than one glibc in a process: dlmopen(3) loads a libc of its own into each namespace, which has a
// main_arena, thread arenas and caches of its own. Each is walked like the first, and then they are one
// table. Only mmapped chunks are found once: nothing in them tells whose they are.
#include "base/bytes.h"
#include "glibc/walker.h"

enum { HW_NAMESPACES_MAX = 16 }; // glibc's DL_NNS

static bool hw_claims_of_first(void *payload, hw_addr_t addr, hw_addr_t *ret_end)
{
	const struct hw_glibc_walker *first = payload;
	const struct hw_region *region = hw_glibc_find_region(first->glibc, addr);
	if (region) {
		*ret_end = region->end;
		return true;
	}
	return first->in.claimed && first->in.claimed(first->in.claimed_payload, addr, ret_end);
}

// One that was never asked for memory is left out.
static struct hw_error *hw_walk_other(struct hw_glibc_walker *first, struct hw_module *libc)
{
	struct hw_glibc_inputs inputs = first->in;
	struct hw_glibc glibc;
	inputs.claimed = hw_claims_of_first;
	inputs.claimed_payload = first;
	HW_TRY(hw_glibc_walk_libc(&inputs, libc, &glibc));
	if (glibc.is_initialized && hw_vec_push(&first->others, glibc))
		return NULL;
	struct hw_error *err = glibc.is_initialized ? &hw_enomem : NULL;
	hw_glibc_deinit(&glibc);
	return err;
}

struct hw_error *hw_glibc_walk_others(struct hw_glibc_walker *w)
{
	size_t count = w->in.modules && !w->libc ? hw_modules_count(w->in.modules) : 0;
	bool is_sorted = false;
	for (size_t i = 0; i < count && w->others.count < HW_NAMESPACES_MAX; i++) {
		struct hw_module *module = hw_modules_get(w->in.modules, i);
		if (module == w->module || !hw_glibc_is_libc_path(module->path))
			continue;
		if (!is_sorted)
			hw_glibc_sort_regions(w);
		is_sorted = true;
		HW_TRY(hw_walk_other(w, module));
	}
	hw_vec_foreach(other, &w->others)
	{
		w->glibc->n_mmaps += other->n_mmaps;
		w->glibc->mmapped_mem += other->mmapped_mem;
	}
	return NULL;
}

// The other's arenas and regions behind our own; its arrays are ours then.
static struct hw_error *hw_take_other(struct hw_glibc_walker *w, struct hw_glibc *other)
{
	struct hw_glibc *glibc = w->glibc;
	uint32_t before = (uint32_t)glibc->arenas.count;
	hw_vec_foreach(arena,
		       &other->arenas) if (!hw_vec_push(&glibc->arenas, *arena)) return &hw_enomem;
	hw_vec_foreach(region, &other->regions)
	{
		struct hw_region moved = *region;
		region->offset8 = region->state = NULL;
		moved.arena_index += before;
		HW_TRY(hw_glibc_add_region(w, &moved));
	}
	glibc->has_gaps |= other->has_gaps;
	return NULL;
}

struct hw_error *hw_glibc_take_others(struct hw_glibc_walker *w)
{
	if (!w->others.count)
		return NULL;
	hw_vec_foreach(other, &w->others) HW_TRY(hw_take_other(w, other));
	hw_glibc_sort_regions(w);
	return NULL;
}
