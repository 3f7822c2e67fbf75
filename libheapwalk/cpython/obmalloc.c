/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/obmalloc.h"

#include <inttypes.h>

#include "base/cleanup.h"
#include "cpython/obmalloc_internal.h"

// Pool headers read at once: they are decoded while they are in the cache.
enum { HW_POOL_BATCH = 4096 };

struct hw_pool_batch {
	struct hw_span *spans; // HW_POOL_BATCH
	uint8_t *headers;      // the same number of headers
};

// What every pool of a size class has in common: no division per pool.
struct hw_size_class {
	uint32_t block_bytes;
	uint16_t capacity;
};

struct hw_walk {
	struct hw_target *target;
	const struct hw_python_layout *layout;
	struct hw_issues *issues;
	struct hw_pymalloc *pm;
	struct hw_size_class classes[HW_PYMALLOC_SIZE_CLASSES_MAX];
	size_t bad_pools, missing_pools;
	hw_addr_t first_bad;
};

// The debug information may be of a damaged file: nothing is indexed by it before this.
static struct hw_error *hw_check_layout(const struct hw_python *python)
{
	const struct hw_python_layout *l = &python->layout;
	const int32_t pool_words[] = { l->pool_ref_count,   l->pool_freeblock, l->pool_nextpool,
				       l->pool_arenaindex,  l->pool_szidx,     l->pool_nextoffset,
				       l->pool_maxnextoffset };
	const int32_t arena_words[] = { l->arena_address, l->arena_pool_address, l->arena_nfreepools,
					l->arena_ntotalpools, l->arena_freepools };
	bool is_known = l->pool_header_size != HW_ABSENT && l->arena_object_size != HW_ABSENT;
	bool is_sound = l->pool_header_size == HW_POOL_HEADER_BYTES && l->arena_object_size >= 8 &&
			l->arena_object_size <= HW_ARENA_OBJECT_BYTES_MAX;
	for (size_t i = 0; i < sizeof(pool_words) / sizeof(pool_words[0]); i++) {
		is_known &= pool_words[i] != HW_ABSENT;
		// The last members are four bytes wide and end the structure.
		is_sound &= pool_words[i] <= HW_POOL_HEADER_BYTES - 4;
	}
	is_sound &= l->pool_freeblock <= HW_POOL_HEADER_BYTES - 8 &&
		    l->pool_nextpool <= HW_POOL_HEADER_BYTES - 8;
	for (size_t i = 0; i < sizeof(arena_words) / sizeof(arena_words[0]); i++) {
		is_known &= arena_words[i] != HW_ABSENT;
		is_sound &= arena_words[i] <= l->arena_object_size - 8;
	}
	if (!is_known)
		return hw_error_create(HW_ERROR_NO_DEBUG_INFO,
				       "%s does not describe obmalloc's struct pool_header and "
				       "struct arena_object; install CPython %s's complete debug "
				       "information", python->facts, python->version);
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
		state->has_arenas_allocated = hw_obmalloc_read_u64(
			target, roots->arenas_allocated, &state->arenas_allocated);
	state->has_arena_totals =
		roots->arenas_total && roots->arenas_highwater &&
		hw_obmalloc_read_u64(target, roots->arenas_total, &state->arenas_allocated_total) &&
		hw_obmalloc_read_u64(target, roots->arenas_highwater, &state->arenas_highwater);
	if (roots->raw_blocks)
		state->has_raw_allocated_blocks = hw_obmalloc_read_u64(
			target, roots->raw_blocks, &state->raw_allocated_blocks);
}

// States, their counters and their arena objects. One state's damage leaves the others.
static struct hw_error *hw_collect_states(struct hw_walk *walk, const struct hw_python *python)
{
	struct hw_pymalloc *pm = walk->pm;
	struct hw_obmalloc_states states = { .facts = NULL };
	hw_cleanup_error struct hw_error *first_err = NULL;
	struct hw_error *err =
		hw_obmalloc_find_states(walk->target, python, walk->issues, &states);
	size_t failed = 0;
	pm->facts = states.facts;
	for (size_t i = 0; !err && i < states.roots.count; i++) {
		const struct hw_obmalloc_roots *roots = &states.roots.data[i];
		uint32_t classes = hw_obmalloc_prove_usedpools(walk->target, walk->layout,
							       roots->used, roots->used_count);
		struct hw_pymalloc_state state = { .interpreter_id = roots->interpreter_id,
						   .address = roots->state };
		hw_read_counters(walk->target, roots, &state);
		if (!hw_vec_push(&pm->states, state)) {
			err = &hw_enomem;
			break;
		}
		size_t arenas_before = pm->arenas.count;
		struct hw_error *damage = hw_obmalloc_read_arenas(
			walk->target, walk->layout, roots, (uint32_t)i, walk->issues, pm);
		if (!damage && pm->arenas.count == arenas_before && !classes)
			// No arena, and no proof either that this is where they would be.
			damage = hw_error_at(HW_ERROR_CORRUPT, roots->used,
					     "obmalloc has no arenas, but its usedpools at 0x%" PRIx64
					     " are not the empty ones that prove it", roots->used);
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
				      "arena object %" PRIu32 " at 0x%" PRIx64 " contradicts itself; "
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
		arena.pool_count = (uint32_t)((arena.pool_address - arena.first_pool) /
					      pm->pool_bytes);
		pm->arenas.data[kept++] = arena;
	}
	pm->arenas.count = kept;
}

static void hw_init_classes(struct hw_walk *walk)
{
	for (uint32_t i = 0; i < walk->pm->size_class_count; i++) {
		uint32_t block = (i + 1) * walk->pm->alignment;
		walk->classes[i] = (struct hw_size_class){
			.block_bytes = block,
			.capacity = (uint16_t)((walk->pm->pool_bytes - HW_POOL_HEADER_BYTES) / block),
		};
	}
}

// Everything that a header says, without judging it; a szidx that is none leaves capacity 0.
static struct hw_pool hw_decode_pool(const struct hw_walk *walk, hw_addr_t start,
				     const uint8_t *header)
{
	const struct hw_python_layout *layout = walk->layout;
	uint32_t szidx = hw_u32(header + layout->pool_szidx);
	struct hw_pool pool = {
		.start = start,
		.freeblock = hw_u64(header + layout->pool_freeblock),
		.ref_count = hw_u32(header + layout->pool_ref_count),
		.next_offset = hw_u32(header + layout->pool_nextoffset),
		.is_bad = szidx >= walk->pm->size_class_count,
	};
	if (!pool.is_bad) {
		pool.szidx = (uint8_t)szidx;
		pool.capacity = walk->classes[szidx].capacity;
	}
	return pool;
}

// A pool in use must lead back to its arena and stay inside itself.
static bool hw_pool_is_sound(const struct hw_walk *walk, const struct hw_arena *arena,
			     const struct hw_pool *pool, const uint8_t *header)
{
	const struct hw_size_class *class = &walk->classes[pool->szidx];
	if (pool->is_bad || pool->ref_count > pool->capacity ||
	    hw_u32(header + walk->layout->pool_arenaindex) != arena->index ||
	    hw_u32(header + walk->layout->pool_maxnextoffset) + class->block_bytes !=
		    walk->pm->pool_bytes)
		return false;
	if (pool->next_offset < HW_POOL_HEADER_BYTES ||
	    pool->next_offset > HW_POOL_HEADER_BYTES + (uint32_t)pool->capacity * class->block_bytes)
		return false;
	return !pool->freeblock || (pool->freeblock >= pool->start + HW_POOL_HEADER_BYTES &&
				    pool->freeblock < pool->start + pool->next_offset);
}

// Marks the pools on the arena's list of empty ones; how many.
static uint32_t hw_mark_empty_pools(struct hw_walk *walk, struct hw_arena *arena,
				    struct hw_pool *pools, const uint8_t *headers)
{
	uint32_t count = 0;
	hw_addr_t link = arena->freepools;
	while (link) {
		uint64_t offset = link - arena->first_pool;
		uint64_t index = offset / walk->pm->pool_bytes;
		if (index >= arena->pool_count || offset % walk->pm->pool_bytes ||
		    pools[index].is_empty) {
			hw_issues_add(walk->issues, HW_ERROR_CORRUPT, arena->arena_object,
				      "the list of empty pools of the arena at 0x%" PRIx64
				      " leads to 0x%" PRIx64 ", %s", arena->start, link,
				      index < arena->pool_count && pools[index].is_empty ?
					      "which it has been to" : "which is no pool of it");
			break;
		}
		pools[index].is_empty = true;
		count++;
		link = hw_u64(headers + index * HW_POOL_HEADER_BYTES + walk->layout->pool_nextpool);
	}
	return count;
}

static void hw_count_pool(const struct hw_walk *walk, struct hw_pymalloc_state *state,
			  const struct hw_pool *pool)
{
	const struct hw_size_class *class = &walk->classes[pool->szidx];
	struct hw_size_class_stats *stats = &state->classes[pool->szidx];
	uint64_t used = (uint64_t)pool->ref_count * class->block_bytes;
	uint64_t blocks = (uint64_t)pool->capacity * class->block_bytes;
	stats->pools++;
	stats->blocks_in_use += pool->ref_count;
	stats->blocks_free += pool->capacity - pool->ref_count;
	state->allocated_bytes += used;
	state->available_bytes += blocks - used;
	state->pool_header_bytes += HW_POOL_HEADER_BYTES;
	state->quantization_bytes += walk->pm->pool_bytes - HW_POOL_HEADER_BYTES - blocks;
}

static void hw_decode_arena_pools(struct hw_walk *walk, struct hw_arena *arena,
				  const struct hw_span *spans, const uint8_t *headers)
{
	struct hw_pymalloc *pm = walk->pm;
	struct hw_pymalloc_state *state = &pm->states.data[arena->interpreter];
	struct hw_pool *pools = pm->pools.data + arena->pool_first;
	uint32_t missing = 0, bad = 0, unlisted = 0;
	hw_addr_t first_bad = 0;
	for (uint32_t i = 0; i < arena->pool_count; i++) {
		pools[i] = hw_decode_pool(walk, arena->first_pool + (uint64_t)i * pm->pool_bytes,
					  headers + (size_t)i * HW_POOL_HEADER_BYTES);
		if (spans[i].is_missing) {
			pools[i] = (struct hw_pool){ .start = pools[i].start, .is_bad = true };
			missing++;
		}
	}
	uint32_t empty = hw_mark_empty_pools(walk, arena, pools, headers);
	for (uint32_t i = 0; i < arena->pool_count; i++) {
		struct hw_pool *pool = &pools[i];
		if (spans[i].is_missing)
			continue;
		if (!pool->is_empty && !pool->ref_count && !pool->is_bad) {
			// Stopped between two steps of malloc: off the list, not yet in use.
			pool->is_empty = true;
			unlisted++;
		}
		if (pool->is_empty) {
			pool->is_bad = false;
			continue;
		}
		if (!hw_pool_is_sound(walk, arena, pool, headers + (size_t)i * HW_POOL_HEADER_BYTES)) {
			pool->is_bad = true;
			if (!bad++)
				first_bad = pool->start;
			continue;
		}
		hw_count_pool(walk, state, pool);
	}
	arena->is_missing = arena->pool_count && missing == arena->pool_count;
	state->arena_count++;
	state->unused_pools += arena->pools_free;
	state->unused_pool_bytes += (uint64_t)arena->pools_free * pm->pool_bytes;
	if (arena->first_pool != arena->start)
		state->arena_alignment_bytes += pm->pool_bytes;
	walk->missing_pools += missing;
	walk->bad_pools += bad;
	if (missing)
		hw_issues_add(walk->issues, HW_ERROR_FAULT, arena->start,
			      "%" PRIu32 " of %" PRIu32 " pools of the arena at 0x%" PRIx64
			      " can't be read", missing, arena->pool_count, arena->start);
	if (bad)
		hw_issues_add(walk->issues, HW_ERROR_CORRUPT, first_bad,
			      "%" PRIu32 " of %" PRIu32 " pool headers of the arena at 0x%" PRIx64
			      " contradict themselves, the first at 0x%" PRIx64,
			      bad, arena->pool_count, arena->start, first_bad);
	if (!missing && (unlisted ||
			 empty + arena->pools_total - arena->pool_count != arena->pools_free))
		hw_issues_add(walk->issues, HW_ERROR_INVARIANT, arena->arena_object,
			      "the arena at 0x%" PRIx64 " counts %" PRIu32 " free pools, but lists "
			      "%" PRIu32 ", never carved %" PRIu32 " and has %" PRIu32
			      " empty ones on no list", arena->start, arena->pools_free, empty,
			      arena->pools_total - arena->pool_count, unlisted);
}

// Arenas [from, to), whose pools fit one batch.
static void hw_read_batch(struct hw_walk *walk, struct hw_pool_batch *batch, size_t from, size_t to)
{
	struct hw_pymalloc *pm = walk->pm;
	size_t count = 0;
	for (size_t i = from; i < to; i++) {
		for (uint32_t k = 0; k < pm->arenas.data[i].pool_count; k++)
			batch->spans[count++] = (struct hw_span){
				.addr = pm->arenas.data[i].first_pool + (uint64_t)k * pm->pool_bytes,
				.len = HW_POOL_HEADER_BYTES,
			};
	}
	hw_target_read_many(walk->target, batch->spans, count, batch->headers);
	count = 0;
	for (size_t i = from; i < to; i++) {
		hw_decode_arena_pools(walk, &pm->arenas.data[i], batch->spans + count,
				      batch->headers + count * HW_POOL_HEADER_BYTES);
		count += pm->arenas.data[i].pool_count;
	}
}

static struct hw_error *hw_read_pools(struct hw_walk *walk, struct hw_progress *progress)
{
	struct hw_pymalloc *pm = walk->pm;
	uint64_t total = 0;
	hw_vec_foreach(arena, &pm->arenas) {
		arena->pool_first = (uint32_t)total;
		total += arena->pool_count;
	}
	if (total > UINT32_MAX)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "%" PRIu64 " pools are more than heapwalk can number", total);
	hw_cleanup_free struct hw_span *spans = malloc(HW_POOL_BATCH * sizeof(*spans));
	hw_cleanup_free uint8_t *headers = malloc((size_t)HW_POOL_BATCH * HW_POOL_HEADER_BYTES);
	if (!spans || !headers || !hw_vec_reserve(&pm->pools, total))
		return &hw_enomem;
	struct hw_pool_batch batch = { spans, headers };
	pm->pools.count = total;
	for (size_t from = 0, to; from < pm->arenas.count; from = to) {
		size_t count = 0;
		for (to = from; to < pm->arenas.count; to++) {
			count += pm->arenas.data[to].pool_count;
			if (count > HW_POOL_BATCH)
				break;
		}
		hw_read_batch(walk, &batch, from, to);
		if (progress && hw_progress_poll(progress))
			return hw_error_create(HW_ERROR_INTERRUPTED,
					       "interrupted while the pool headers were read");
	}
	return NULL;
}

static struct hw_error *hw_prove_pools(const struct hw_walk *walk)
{
	const struct hw_pymalloc *pm = walk->pm;
	size_t read = pm->pools.count - walk->missing_pools;
	if (read && walk->bad_pools * 2 > read)
		return hw_error_at(HW_ERROR_CORRUPT, pm->arenas.data[0].start,
				   "%zu of %zu pool headers contradict themselves: either the heap "
				   "is damaged or its geometry is not %" PRIu32 " KiB arenas of %"
				   PRIu32 " KiB pools", walk->bad_pools, read,
				   pm->arena_bytes >> 10, pm->pool_bytes >> 10);
	for (size_t i = 0; i < pm->states.count; i++) {
		const struct hw_pymalloc_state *state = &pm->states.data[i];
		if (state->has_arenas_allocated && state->arenas_allocated != state->arena_count)
			hw_issues_add(walk->issues, HW_ERROR_INVARIANT, state->address,
				      "obmalloc of interpreter %" PRId64 " counts %" PRIu64
				      " arenas, but %" PRIu64 " were found", state->interpreter_id,
				      state->arenas_allocated, state->arena_count);
	}
	return NULL;
}

static struct hw_error *hw_walk_all(struct hw_walk *walk, const struct hw_python *python,
				    struct hw_progress *progress)
{
	HW_TRY(hw_check_layout(python));
	HW_TRY(hw_collect_states(walk, python));
	HW_TRY(hw_obmalloc_prove_geometry(walk->target, walk->layout, walk->pm));
	hw_keep_sound_arenas(walk);
	hw_init_classes(walk);
	HW_TRY(hw_read_pools(walk, progress));
	HW_TRY(hw_prove_pools(walk));
	return hw_obmalloc_index_arenas(walk->pm);
}

struct hw_error *hw_pymalloc_walk(struct hw_target *target, struct hw_modules *modules,
				  const struct hw_python *python, struct hw_issues *issues,
				  struct hw_progress *progress, struct hw_pymalloc *ret)
{
	(void)modules; // the statics are in python->module
	*ret = (struct hw_pymalloc){ .target = target };
	struct hw_walk walk = {
		.target = target, .layout = &python->layout, .issues = issues, .pm = ret,
	};
	struct hw_error *err = hw_walk_all(&walk, python, progress);
	if (err)
		hw_pymalloc_deinit(ret);
	return err;
}

void hw_pymalloc_deinit(struct hw_pymalloc *pymalloc)
{
	hw_vec_deinit(&pymalloc->states);
	hw_vec_deinit(&pymalloc->arenas);
	hw_vec_deinit(&pymalloc->pools);
	free(pymalloc->arena_slots);
	*pymalloc = (struct hw_pymalloc){ 0 };
}
