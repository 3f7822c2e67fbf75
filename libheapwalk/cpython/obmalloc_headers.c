/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The headers of all carved pools, read in bulk and judged, and the statistics that they add up to.
//
// Reading 48 bytes of a page costs a live process nearly what reading the page does: the kernel pins
// it first. Hence several workers, each with its own share of the sums, where the source allows it.
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/parallel.h"
#include "cpython/obmalloc_internal.h"

enum {
	HW_POOL_BATCH = 4096, // headers read at once, decoded while they are in the cache
	HW_POOL_WORKERS_MAX = 8,
	HW_POOLS_PER_WORKER = 256, // fewer are not worth a thread
};

// What every pool of a size class has in common: no division per pool.
struct hw_size_class {
	uint32_t block_bytes;
	uint16_t capacity;
};

struct hw_pool_reader {
	struct hw_target *target;
	const struct hw_python_layout *layout;
	struct hw_issues *issues;
	struct hw_progress *progress;
	struct hw_pymalloc *pm;
	struct hw_size_class classes[HW_PYMALLOC_SIZE_CLASSES_MAX];
	size_t step; // arenas read at once
	atomic_size_t next_arena;
};

// One thread's buffers and sums.
struct hw_pool_worker {
	struct hw_pool_reader *reader;
	bool is_caller; // its progress may be shown
	bool is_out_of_memory;
	struct hw_span *spans;          // HW_POOL_BATCH
	uint8_t *headers;               // the same number of headers
	struct hw_pymalloc_state *sums; // one a state
	size_t bad_pools, missing_pools;
};

static void hw_init_classes(struct hw_pool_reader *reader)
{
	for (uint32_t i = 0; i < reader->pm->size_class_count; i++) {
		uint32_t block = (i + 1) * reader->pm->alignment;
		reader->classes[i] = (struct hw_size_class){
			.block_bytes = block,
			.capacity = (uint16_t)((reader->pm->pool_bytes - reader->pm->header_bytes) /
					       block),
		};
	}
}

// Everything that a header says, without judging it; a szidx that is none leaves capacity 0.
static struct hw_pool hw_decode_pool(const struct hw_pool_reader *reader, hw_addr_t start,
				     const uint8_t *header)
{
	const struct hw_python_layout *layout = reader->layout;
	uint32_t szidx = hw_u32(header + layout->pool_szidx);
	struct hw_pool pool = {
		.start = start,
		.freeblock = hw_word(header + layout->pool_freeblock, reader->pm->word_bytes),
		.ref_count = hw_u32(header + layout->pool_ref_count),
		.next_offset = hw_u32(header + layout->pool_nextoffset),
		.is_bad = szidx >= reader->pm->size_class_count,
	};
	if (!pool.is_bad) {
		pool.szidx = (uint8_t)szidx;
		pool.capacity = reader->classes[szidx].capacity;
	}
	return pool;
}

// A pool in use must lead back to its arena and stay inside itself.
static bool hw_pool_is_sound(const struct hw_pool_reader *reader, const struct hw_arena *arena,
			     const struct hw_pool *pool, const uint8_t *header)
{
	const struct hw_size_class *class = &reader->classes[pool->szidx];
	const uint32_t header_bytes = reader->pm->header_bytes;
	if (pool->is_bad || pool->ref_count > pool->capacity ||
	    hw_u32(header + reader->layout->pool_arenaindex) != arena->index ||
	    hw_u32(header + reader->layout->pool_maxnextoffset) + class->block_bytes !=
		    reader->pm->pool_bytes)
		return false;
	if (pool->next_offset < header_bytes ||
	    pool->next_offset > header_bytes + (uint32_t)pool->capacity * class->block_bytes ||
	    (pool->next_offset - header_bytes) % class->block_bytes)
		return false;
	return !pool->freeblock || (pool->freeblock >= pool->start + header_bytes &&
				    pool->freeblock < pool->start + pool->next_offset);
}

// Marks the pools on the arena's list of empty ones; how many.
static uint32_t hw_mark_empty_pools(struct hw_pool_reader *reader, struct hw_arena *arena,
				    struct hw_pool *pools, const uint8_t *headers)
{
	uint32_t count = 0;
	hw_addr_t link = arena->freepools;
	while (link) {
		uint64_t offset = link - arena->first_pool;
		uint64_t index = offset / reader->pm->pool_bytes;
		if (index >= arena->pool_count || offset % reader->pm->pool_bytes ||
		    pools[index].is_empty) {
			hw_issues_add(reader->issues, HW_ERROR_CORRUPT, arena->arena_object,
				      "the list of empty pools of the arena at 0x%" PRIx64
				      " leads to 0x%" PRIx64 ", %s",
				      arena->start, link,
				      index < arena->pool_count && pools[index].is_empty
					      ? "which it has been to"
					      : "which is no pool of it");
			break;
		}
		pools[index].is_empty = true;
		count++;
		link = hw_word(headers + index * reader->pm->header_bytes +
				       reader->layout->pool_nextpool,
			       reader->pm->word_bytes);
	}
	return count;
}

static void hw_count_pool(const struct hw_pool_reader *reader, struct hw_pymalloc_state *state,
			  const struct hw_pool *pool)
{
	const struct hw_size_class *class = &reader->classes[pool->szidx];
	struct hw_size_class_stats *stats = &state->classes[pool->szidx];
	uint64_t used = (uint64_t)pool->ref_count * class->block_bytes;
	uint64_t blocks = (uint64_t)pool->capacity * class->block_bytes;
	stats->pools++;
	stats->blocks_in_use += pool->ref_count;
	stats->blocks_free += pool->capacity - pool->ref_count;
	state->allocated_bytes += used;
	state->available_bytes += blocks - used;
	state->pool_header_bytes += reader->pm->header_bytes;
	state->quantization_bytes += reader->pm->pool_bytes - reader->pm->header_bytes - blocks;
}

static void hw_decode_arena_pools(struct hw_pool_worker *worker, struct hw_arena *arena,
				  const struct hw_span *spans, const uint8_t *headers)
{
	struct hw_pool_reader *reader = worker->reader;
	struct hw_pymalloc *pm = reader->pm;
	struct hw_pymalloc_state *state = &worker->sums[arena->interpreter];
	// No arena may have a pool: then there is no array.
	struct hw_pool *pools = arena->pool_count ? pm->pools.data + arena->pool_first : NULL;
	uint32_t missing = 0, bad = 0, unlisted = 0;
	hw_addr_t first_bad = 0;
	for (uint32_t i = 0; i < arena->pool_count; i++) {
		pools[i] = hw_decode_pool(reader, arena->first_pool + (uint64_t)i * pm->pool_bytes,
					  headers + (size_t)i * pm->header_bytes);
		if (spans[i].is_missing) {
			pools[i] = (struct hw_pool){ .start = pools[i].start, .is_bad = true };
			missing++;
		}
	}
	uint32_t empty = hw_mark_empty_pools(reader, arena, pools, headers);
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
		if (!hw_pool_is_sound(reader, arena, pool,
				      headers + (size_t)i * pm->header_bytes)) {
			pool->is_bad = true;
			if (!bad++)
				first_bad = pool->start;
			continue;
		}
		hw_count_pool(reader, state, pool);
	}
	arena->is_missing = arena->pool_count && missing == arena->pool_count;
	state->arena_count++;
	state->unused_pools += arena->pools_free;
	state->unused_pool_bytes += (uint64_t)arena->pools_free * pm->pool_bytes;
	if (arena->first_pool != arena->start)
		state->arena_alignment_bytes += pm->pool_bytes;
	worker->missing_pools += missing;
	worker->bad_pools += bad;
	if (missing)
		hw_issues_add(reader->issues, HW_ERROR_FAULT, arena->start,
			      "%" PRIu32 " of %" PRIu32 " pools of the arena at 0x%" PRIx64
			      " can't be read",
			      missing, arena->pool_count, arena->start);
	if (bad)
		hw_issues_add(reader->issues, HW_ERROR_CORRUPT, first_bad,
			      "%" PRIu32 " of %" PRIu32 " pool headers of the arena at 0x%" PRIx64
			      " contradict themselves, the first at 0x%" PRIx64,
			      bad, arena->pool_count, arena->start, first_bad);
	if (!missing &&
	    (unlisted || empty + arena->pools_total - arena->pool_count != arena->pools_free))
		hw_issues_add(reader->issues, HW_ERROR_INVARIANT, arena->arena_object,
			      "the arena at 0x%" PRIx64 " counts %" PRIu32 " free pools, but lists "
			      "%" PRIu32 ", never carved %" PRIu32 " and has %" PRIu32
			      " empty ones on no list",
			      arena->start, arena->pools_free, empty,
			      arena->pools_total - arena->pool_count, unlisted);
}

// Arenas [from, to): their pools fit the worker's buffers.
static void hw_read_batch(struct hw_pool_worker *worker, size_t from, size_t to)
{
	struct hw_pymalloc *pm = worker->reader->pm;
	size_t count = 0;
	for (size_t i = from; i < to; i++) {
		const struct hw_arena *arena = &pm->arenas.data[i];
		for (uint32_t k = 0; k < arena->pool_count; k++)
			worker->spans[count++] = (struct hw_span){
				.addr = arena->first_pool + (uint64_t)k * pm->pool_bytes,
				.len = pm->header_bytes,
			};
	}
	hw_target_read_many(worker->reader->target, worker->spans, count, worker->headers);
	count = 0;
	for (size_t i = from; i < to; i++) {
		hw_decode_arena_pools(worker, &pm->arenas.data[i], worker->spans + count,
				      worker->headers + count * pm->header_bytes);
		count += pm->arenas.data[i].pool_count;
	}
}

static void hw_pool_worker_run(void *payload, unsigned index)
{
	struct hw_pool_worker *worker = (struct hw_pool_worker *)payload + index;
	struct hw_pool_reader *reader = worker->reader;
	struct hw_pymalloc *pm = reader->pm;
	hw_cleanup_free struct hw_span *spans = malloc(HW_POOL_BATCH * sizeof(*spans));
	hw_cleanup_free uint8_t *headers = malloc((size_t)HW_POOL_BATCH * pm->header_bytes);
	worker->spans = spans;
	worker->headers = headers;
	worker->is_out_of_memory = !spans || !headers;
	while (!worker->is_out_of_memory) {
		size_t from = atomic_fetch_add(&reader->next_arena, reader->step);
		if (from >= pm->arenas.count)
			break;
		hw_read_batch(worker, from, hw_min(from + reader->step, pm->arenas.count));
		if (reader->progress && (worker->is_caller ? hw_progress_poll(reader->progress)
							   : hw_progress_stopped(reader->progress)))
			break;
	}
}

// What a worker counted is added to the states.
static void hw_add_sums(struct hw_pymalloc *pm, const struct hw_pool_worker *worker)
{
	for (size_t i = 0; i < pm->states.count; i++) {
		struct hw_pymalloc_state *to = &pm->states.data[i];
		const struct hw_pymalloc_state *from = &worker->sums[i];
		to->arena_count += from->arena_count;
		to->unused_pools += from->unused_pools;
		to->allocated_bytes += from->allocated_bytes;
		to->available_bytes += from->available_bytes;
		to->unused_pool_bytes += from->unused_pool_bytes;
		to->pool_header_bytes += from->pool_header_bytes;
		to->quantization_bytes += from->quantization_bytes;
		to->arena_alignment_bytes += from->arena_alignment_bytes;
		for (uint32_t k = 0; k < pm->size_class_count; k++) {
			to->classes[k].pools += from->classes[k].pools;
			to->classes[k].blocks_in_use += from->classes[k].blocks_in_use;
			to->classes[k].blocks_free += from->classes[k].blocks_free;
		}
	}
}

static size_t hw_worker_count(const struct hw_pool_reader *reader)
{
	cpu_set_t processors;
	size_t most = 1;
	if (reader->target->ops->is_thread_safe &&
	    !sched_getaffinity(0, sizeof(processors), &processors))
		most = hw_min((uint64_t)CPU_COUNT(&processors), HW_POOL_WORKERS_MAX);
	return hw_min(most, 1 + reader->pm->pools.count / HW_POOLS_PER_WORKER);
}

static struct hw_error *hw_run_workers(struct hw_pool_reader *reader, size_t *ret_bad,
				       size_t *ret_missing)
{
	struct hw_pymalloc *pm = reader->pm;
	struct hw_pool_worker workers[HW_POOL_WORKERS_MAX] = { 0 };
	size_t count = hw_worker_count(reader);
	size_t most = HW_POOL_BATCH / (pm->arena_bytes / pm->pool_bytes);
	reader->step = hw_min(most, (pm->arenas.count + count - 1) / count);
	reader->step = hw_max(reader->step, 1);
	hw_cleanup_free struct hw_pymalloc_state *sums = calloc(count * pm->states.count + 1,
								sizeof(*sums));
	if (!sums)
		return &hw_enomem;
	for (size_t i = 0; i < count; i++)
		workers[i] = (struct hw_pool_worker){ .reader = reader,
						      .is_caller = i == 0,
						      .sums = sums + i * pm->states.count };
	hw_parallel((unsigned)count, hw_pool_worker_run, workers);
	bool is_done = atomic_load(&reader->next_arena) >= pm->arenas.count;
	for (size_t i = 0; i < count; i++) {
		if (workers[i].is_out_of_memory && !is_done)
			return &hw_enomem;
		hw_add_sums(pm, &workers[i]);
		*ret_bad += workers[i].bad_pools;
		*ret_missing += workers[i].missing_pools;
	}
	if (reader->progress && hw_progress_stopped(reader->progress))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted while pool headers were read");
	return NULL;
}

struct hw_error *hw_obmalloc_read_pools(struct hw_target *target,
					const struct hw_python_layout *layout,
					struct hw_issues *issues, struct hw_progress *progress,
					struct hw_pymalloc *pm, size_t *ret_bad,
					size_t *ret_missing)
{
	struct hw_pool_reader reader = {
		.target = target, .layout = layout, .issues = issues, .progress = progress, .pm = pm
	};
	uint64_t total = 0;
	*ret_bad = *ret_missing = 0;
	hw_vec_foreach(arena, &pm->arenas)
	{
		arena->pool_first = (uint32_t)total;
		total += arena->pool_count;
	}
	if (total > UINT32_MAX)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "%" PRIu64 " pools are more than heapwalk can number",
				       total);
	if (!hw_vec_reserve(&pm->pools, total))
		return &hw_enomem;
	pm->pools.count = total;
	hw_init_classes(&reader);
	return hw_run_workers(&reader, ret_bad, ret_missing);
}
