/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/obmalloc.h"

#include <inttypes.h>

#include "base/cleanup.h"
#include "cpython/obmalloc_internal.h"

// So many arenas' headers are read to prove the geometry.
enum { HW_ARENAS_PROVED = 32 };

struct hw_walk {
	struct hw_target *target;
	const struct hw_python_layout *layout;
	struct hw_issues *issues;
	struct hw_pymalloc *pm;
};

// The debug information may be of a damaged file: nothing is indexed by it before this.
static struct hw_error *hw_check_layout(const struct hw_python *python)
{
	const struct hw_python_layout *l = &python->layout;
	const int32_t word = (int32_t)l->word_bytes, header = hw_obmalloc_header_bytes(l);
	const int32_t pool_words[] = { l->pool_ref_count,    l->pool_freeblock, l->pool_nextpool,
				       l->pool_arenaindex,   l->pool_szidx,     l->pool_nextoffset,
				       l->pool_maxnextoffset };
	const int32_t arena_words[] = { l->arena_address, l->arena_pool_address,
					l->arena_nfreepools, l->arena_ntotalpools,
					l->arena_freepools };
	bool is_known = l->pool_header_size != HW_ABSENT && l->arena_object_size != HW_ABSENT;
	bool is_sound = l->pool_header_size == header && l->arena_object_size >= word &&
			l->arena_object_size <= HW_ARENA_OBJECT_BYTES_MAX;
	for (size_t i = 0; i < sizeof(pool_words) / sizeof(pool_words[0]); i++) {
		is_known &= pool_words[i] != HW_ABSENT;
		// The last members are four bytes wide and end the structure.
		is_sound &= pool_words[i] <= header - 4;
	}
	is_sound &= l->pool_freeblock <= header - word && l->pool_nextpool <= header - word;
	for (size_t i = 0; i < sizeof(arena_words) / sizeof(arena_words[0]); i++) {
		is_known &= arena_words[i] != HW_ABSENT;
		is_sound &= arena_words[i] <= l->arena_object_size - word;
	}
	if (!is_known)
		return hw_error_create(HW_ERROR_NO_DEBUG_INFO,
				       "%s does not describe obmalloc's struct pool_header and "
				       "struct arena_object; install CPython %s's complete debug "
				       "information",
				       python->facts, python->version);
	if (!is_sound)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "CPython %s has obmalloc structures of unknown shape (%s)",
				       python->version, python->facts);
	return NULL;
}

static void hw_read_counters(struct hw_target *target, const struct hw_obmalloc_roots *roots,
			     struct hw_pymalloc_state *state)
{
	if (roots->arenas_allocated)
		state->has_arenas_allocated = hw_target_read_word(target, roots->arenas_allocated,
								  &state->arenas_allocated);
	state->has_arena_totals =
		roots->arenas_total && roots->arenas_highwater &&
		hw_target_read_word(target, roots->arenas_total, &state->arenas_allocated_total) &&
		hw_target_read_word(target, roots->arenas_highwater, &state->arenas_highwater);
	uint32_t mid, bot;
	if (roots->map_mid_count && roots->map_bot_count &&
	    hw_obmalloc_read_u32(target, roots->map_mid_count, &mid) &&
	    hw_obmalloc_read_u32(target, roots->map_bot_count, &bot)) {
		state->has_arena_map = true;
		state->arena_map_mid_count = mid;
		state->arena_map_bot_count = bot;
	}
	if (roots->serial)
		state->has_malloc_calls = hw_target_read_word(target, roots->serial,
							      &state->malloc_calls);
	if (roots->raw_blocks)
		state->has_raw_allocated_blocks = hw_target_read_word(target, roots->raw_blocks,
								      &state->raw_allocated_blocks);
}

// States, their counters and their arena objects. One state's damage leaves the others.
static struct hw_error *hw_collect_states(struct hw_walk *walk, const struct hw_python *python)
{
	struct hw_pymalloc *pm = walk->pm;
	struct hw_obmalloc_states states = { .facts = NULL };
	hw_cleanup_error struct hw_error *first_err = NULL;
	struct hw_error *err = hw_obmalloc_find_states(walk->target, python, walk->issues, &states);
	size_t failed = 0;
	pm->facts = states.facts;
	for (size_t i = 0; !err && i < states.roots.count; i++) {
		const struct hw_obmalloc_roots *roots = &states.roots.data[i];
		uint32_t classes = hw_obmalloc_prove_usedpools(walk->target, walk->layout,
							       roots->used, roots->used_count);
		struct hw_pymalloc_state state = { .interpreter_id = roots->interpreter_id,
						   .address = roots->state,
						   .used = classes ? roots->used : 0,
						   .usable = roots->usable,
						   .unused = roots->unused };
		hw_read_counters(walk->target, roots, &state);
		if (!hw_vec_push(&pm->states, state)) {
			err = &hw_enomem;
			break;
		}
		size_t arenas_before = pm->arenas.count;
		struct hw_error *damage = hw_obmalloc_read_arenas(walk->target, walk->layout, roots,
								  (uint32_t)i, walk->issues, pm);
		if (!damage && pm->arenas.count == arenas_before && !classes)
			// No arena, and no proof either that this is where they would be.
			damage = hw_error_at(
				HW_ERROR_CORRUPT, roots->used,
				"obmalloc has no arenas, but its usedpools at 0x%" PRIx64
				" are not the empty ones that prove it",
				roots->used);
		if (!pm->alignment && classes)
			pm->alignment = HW_SMALL_REQUEST_THRESHOLD / classes;
		if (damage && damage->code == HW_ERROR_NO_MEMORY) {
			err = damage;
		} else if (damage) {
			failed++;
			if (first_err)
				hw_issues_take(walk->issues, damage);
			else
				first_err = damage;
		}
	}
	if (!err && failed && failed == states.roots.count)
		err = hw_no_cleanup(first_err);
	else if (!err)
		hw_issues_take(walk->issues, hw_no_cleanup(first_err));
	hw_vec_deinit(&states.roots);
	return err;
}

static int hw_compare_arenas(const void *a, const void *b)
{
	const struct hw_arena *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

// Sorted, disjoint, without those that contradict themselves.
static void hw_keep_sound_arenas(struct hw_walk *walk)
{
	struct hw_pymalloc *pm = walk->pm;
	size_t kept = 0;
	if (!pm->arenas.count)
		return;
	qsort(pm->arenas.data, pm->arenas.count, sizeof(*pm->arenas.data), hw_compare_arenas);
	for (size_t i = 0; i < pm->arenas.count; i++) {
		struct hw_arena arena = pm->arenas.data[i];
		if (!hw_obmalloc_arena_is_sound(pm, &arena)) {
			hw_issues_add(walk->issues, HW_ERROR_CORRUPT, arena.arena_object,
				      "arena object %" PRIu32 " at 0x%" PRIx64
				      " contradicts itself; "
				      "its arena at 0x%" PRIx64 " is left out",
				      arena.index, arena.arena_object, arena.start);
			continue;
		}
		if (kept && pm->arenas.data[kept - 1].start + pm->arena_bytes > arena.start) {
			hw_issues_add(walk->issues, HW_ERROR_CORRUPT, arena.arena_object,
				      "two arenas overlap: 0x%" PRIx64 " and 0x%" PRIx64
				      "; the second is left out",
				      pm->arenas.data[kept - 1].start, arena.start);
			continue;
		}
		arena.first_pool = hw_align_up(arena.start, pm->pool_bytes);
		arena.pool_count =
			(uint32_t)((arena.pool_address - arena.first_pool) / pm->pool_bytes);
		pm->arenas.data[kept++] = arena;
	}
	pm->arenas.count = kept;
}

// Of the headers that were read up to now, of `pools` pools.
static struct hw_error *hw_prove_pools(const struct hw_pymalloc *pm, size_t pools)
{
	size_t bad, missing;
	hw_obmalloc_count_damage(pm, &bad, &missing);
	if (bad * 2 <= pools - missing)
		return NULL;
	return hw_error_at(HW_ERROR_CORRUPT, pm->arenas.data[0].start,
			   "%zu of %zu pool headers contradict themselves: either the heap "
			   "is damaged or its geometry is not %" PRIu32 " KiB arenas of %" PRIu32
			   " KiB pools",
			   bad, pools - missing, pm->arena_bytes >> 10, pm->pool_bytes >> 10);
}

// Before anything is made of them: some arenas' headers, from the first to the last.
static struct hw_error *hw_prove_some_pools(struct hw_pymalloc *pm)
{
	size_t step = (pm->arenas.count + HW_ARENAS_PROVED - 1) / HW_ARENAS_PROVED, pools = 0;
	for (size_t i = 0; i < pm->arenas.count; i += step) {
		hw_pymalloc_read_arena(pm, &pm->arenas.data[i], NULL);
		pools += pm->arenas.data[i].pool_count;
	}
	return hw_prove_pools(pm, pools);
}

static struct hw_error *hw_find_arenas(struct hw_walk *walk, const struct hw_python *python)
{
	HW_TRY(hw_check_layout(python));
	HW_TRY(hw_collect_states(walk, python));
	HW_TRY(hw_obmalloc_prove_geometry(walk->target, walk->layout, walk->pm));
	hw_keep_sound_arenas(walk);
	hw_obmalloc_find_in_force(walk->target, python, walk->pm);
	HW_TRY(hw_obmalloc_make_reader(walk->layout, walk->pm));
	return hw_obmalloc_index_arenas(walk->pm);
}

static struct hw_error *hw_find_only(struct hw_target *target, const struct hw_python *python,
				     struct hw_issues *issues, struct hw_pymalloc *ret)
{
	*ret = (struct hw_pymalloc){ .target = target,
				     .issues = issues,
				     .header_bytes =
					     (uint32_t)hw_obmalloc_header_bytes(&python->layout),
				     .word_bytes = python->layout.word_bytes };
	struct hw_walk walk = {
		.target = target,
		.layout = &python->layout,
		.issues = issues,
		.pm = ret,
	};
	return hw_find_arenas(&walk, python);
}

struct hw_error *hw_pymalloc_find(struct hw_target *target, const struct hw_python *python,
				  struct hw_issues *issues, struct hw_pymalloc *ret)
{
	struct hw_error *err = hw_find_only(target, python, issues, ret);
	if (!err)
		err = hw_prove_some_pools(ret);
	if (err)
		hw_pymalloc_deinit(ret);
	return err;
}

struct hw_error *hw_pymalloc_finish(struct hw_pymalloc *pymalloc, struct hw_progress *progress)
{
	if (!pymalloc->reader)
		return NULL;
	HW_TRY(hw_obmalloc_read_rest(pymalloc, progress));
	HW_TRY(hw_prove_pools(pymalloc, pymalloc->pools.count));
	for (size_t i = 0; i < pymalloc->states.count; i++) {
		const struct hw_pymalloc_state *state = &pymalloc->states.data[i];
		if (state->has_arenas_allocated && state->arenas_allocated != state->arena_count)
			hw_issues_add(pymalloc->issues, HW_ERROR_INVARIANT, state->address,
				      "obmalloc of interpreter %" PRId64 " counts %" PRIu64
				      " arenas, but %" PRIu64 " were found",
				      state->interpreter_id, state->arenas_allocated,
				      state->arena_count);
	}
	hw_obmalloc_free_reader(pymalloc);
	return NULL;
}

struct hw_error *hw_pymalloc_walk(struct hw_target *target, const struct hw_python *python,
				  struct hw_issues *issues, struct hw_progress *progress,
				  struct hw_pymalloc *ret)
{
	struct hw_error *err = hw_find_only(target, python, issues, ret);
	if (!err)
		err = hw_pymalloc_finish(ret, progress);
	if (err)
		hw_pymalloc_deinit(ret);
	return err;
}

void hw_pymalloc_deinit(struct hw_pymalloc *pymalloc)
{
	hw_vec_deinit(&pymalloc->states);
	hw_vec_deinit(&pymalloc->arenas);
	hw_vec_deinit(&pymalloc->pools);
	hw_obmalloc_free_reader(pymalloc);
	free(pymalloc->arena_slots);
	*pymalloc = (struct hw_pymalloc){ 0 };
}
