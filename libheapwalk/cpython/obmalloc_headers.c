/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The headers of carved pools, judged, and the statistics that they add up to.
//
// Reading 48 bytes of a page costs a live process nearly what reading the page does: the kernel pins
// it first. Hence who reads the arenas' bytes anyway gives them (hw_pymalloc_read_arena()); the headers
// of other arenas are read in bulk, by several workers where the source allows it.
#include <inttypes.h>
#include <pthread.h>
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
	const struct hw_python_layout *layout;
	struct hw_pymalloc *pm;
	struct hw_size_class classes[HW_PYMALLOC_SIZE_CLASSES_MAX];
	pthread_mutex_t lock; // of pm->states' sums, and of
	size_t bad_pools, missing_pools;
};

// The headers of an arena: in a buffer of their own, or in the arena's bytes.
struct hw_pool_headers {
	const uint8_t *first;
	size_t stride;
	const struct hw_span *spans; // what could be read; NULL: all
};

// Reading all that is left.
struct hw_pool_readers {
	struct hw_pool_reader *reader;
	struct hw_progress *progress; // may be NULL
	size_t step;                  // arenas read at once
	atomic_size_t next_arena;
	atomic_bool is_out_of_memory;
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
static uint32_t hw_mark_empty_pools(const struct hw_pool_reader *reader,
				    const struct hw_arena *arena, struct hw_pool *pools,
				    const struct hw_pool_headers *headers)
{
	uint32_t count = 0;
	hw_addr_t link = arena->freepools;
	while (link) {
		uint64_t offset = link - arena->first_pool;
		uint64_t index = offset / reader->pm->pool_bytes;
		if (index >= arena->pool_count || offset % reader->pm->pool_bytes ||
		    pools[index].is_empty) {
			hw_issues_add(reader->pm->issues, HW_ERROR_CORRUPT, arena->arena_object,
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
		link = hw_word(headers->first + index * headers->stride +
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

// What was counted in one arena is added to its state.
static void hw_add_sums(struct hw_pymalloc_state *to, const struct hw_pymalloc_state *from,
			uint32_t classes)
{
	to->arena_count++;
	to->unused_pools += from->unused_pools;
	to->allocated_bytes += from->allocated_bytes;
	to->available_bytes += from->available_bytes;
	to->unused_pool_bytes += from->unused_pool_bytes;
	to->pool_header_bytes += from->pool_header_bytes;
	to->quantization_bytes += from->quantization_bytes;
	to->arena_alignment_bytes += from->arena_alignment_bytes;
	for (uint32_t i = 0; i < classes; i++) {
		to->classes[i].pools += from->classes[i].pools;
		to->classes[i].blocks_in_use += from->classes[i].blocks_in_use;
		to->classes[i].blocks_free += from->classes[i].blocks_free;
	}
}

// Objects/obmalloc.c, PyObject_Free() and insert_to_freepool(): the last block of an arena is freed, the arena is
// unmapped, then its object loses the address. A process is likely to be met there: on its way out of munmap().
static bool hw_arena_is_given_back(const struct hw_pymalloc *pm, const struct hw_arena *arena,
				   uint32_t missing)
{
	const struct hw_target *target = pm->target;
	return missing && missing == arena->pool_count && arena->pools_free == arena->pools_total &&
	       (target->ops->is_live || !hw_target_find_mapping(target, arena->start));
}

static void hw_decode_arena_pools(struct hw_pool_reader *reader, struct hw_arena *arena,
				  const struct hw_pool_headers *headers)
{
	struct hw_pymalloc *pm = reader->pm;
	struct hw_pymalloc_state sums = { 0 };
	// No arena may have a pool: then there is no array.
	struct hw_pool *pools = arena->pool_count ? pm->pools.data + arena->pool_first : NULL;
	uint32_t missing = 0, bad = 0, unlisted = 0;
	hw_addr_t first_bad = 0;
	for (uint32_t i = 0; i < arena->pool_count; i++) {
		pools[i] = hw_decode_pool(reader, arena->first_pool + (uint64_t)i * pm->pool_bytes,
					  headers->first + i * headers->stride);
		if (headers->spans && headers->spans[i].is_missing) {
			pools[i] = (struct hw_pool){ .start = pools[i].start, .is_bad = true };
			missing++;
		}
	}
	arena->is_given_back = hw_arena_is_given_back(pm, arena, missing);
	uint32_t empty;
	if (arena->is_given_back) {
		// Nothing to read, and nothing wrong with that.
		missing = 0;
		empty = arena->pool_count;
		for (uint32_t i = 0; i < arena->pool_count; i++)
			pools[i] = (struct hw_pool){ .start = pools[i].start, .is_empty = true };
	} else {
		empty = hw_mark_empty_pools(reader, arena, pools, headers);
	}
	for (uint32_t i = 0; i < arena->pool_count; i++) {
		struct hw_pool *pool = &pools[i];
		if (arena->is_given_back || (headers->spans && headers->spans[i].is_missing))
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
		if (!hw_pool_is_sound(reader, arena, pool, headers->first + i * headers->stride)) {
			pool->is_bad = true;
			if (!bad++)
				first_bad = pool->start;
			continue;
		}
		hw_count_pool(reader, &sums, pool);
	}
	arena->is_missing = arena->pool_count && missing == arena->pool_count;
	arena->is_read = true;
	sums.unused_pools = arena->pools_free;
	sums.unused_pool_bytes = (uint64_t)arena->pools_free * pm->pool_bytes;
	if (arena->first_pool != arena->start)
		sums.arena_alignment_bytes = pm->pool_bytes;
	pthread_mutex_lock(&reader->lock);
	hw_add_sums(&pm->states.data[arena->interpreter], &sums, pm->size_class_count);
	reader->missing_pools += missing;
	reader->bad_pools += bad;
	pthread_mutex_unlock(&reader->lock);
	if (missing)
		hw_issues_add(reader->pm->issues, HW_ERROR_FAULT, arena->start,
			      "%" PRIu32 " of %" PRIu32 " pools of the arena at 0x%" PRIx64
			      " can't be read",
			      missing, arena->pool_count, arena->start);
	if (bad)
		hw_issues_add(reader->pm->issues, HW_ERROR_CORRUPT, first_bad,
			      "%" PRIu32 " of %" PRIu32 " pool headers of the arena at 0x%" PRIx64
			      " contradict themselves, the first at 0x%" PRIx64,
			      bad, arena->pool_count, arena->start, first_bad);
	if (!missing &&
	    (unlisted || empty + arena->pools_total - arena->pool_count != arena->pools_free))
		hw_issues_add(reader->pm->issues, HW_ERROR_INVARIANT, arena->arena_object,
			      "the arena at 0x%" PRIx64 " counts %" PRIu32 " free pools, but lists "
			      "%" PRIu32 ", never carved %" PRIu32 " and has %" PRIu32
			      " empty ones on no list",
			      arena->start, arena->pools_free, empty,
			      arena->pools_total - arena->pool_count, unlisted);
}

// ---- reading them --------------------------------------------------------------------------------

// Arenas [from, to) that were not read yet: their pools fit the buffers, of HW_POOL_BATCH headers.
static void hw_read_batch(struct hw_pool_reader *reader, size_t from, size_t to,
			  struct hw_span *spans, uint8_t *bytes)
{
	struct hw_pymalloc *pm = reader->pm;
	size_t count = 0;
	for (size_t i = from; i < to; i++) {
		const struct hw_arena *arena = &pm->arenas.data[i];
		for (uint32_t k = 0; !arena->is_read && k < arena->pool_count; k++)
			spans[count++] = (struct hw_span){
				.addr = arena->first_pool + (uint64_t)k * pm->pool_bytes,
				.len = pm->header_bytes,
			};
	}
	hw_target_read_many(pm->target, spans, count, bytes);
	count = 0;
	for (size_t i = from; i < to; i++) {
		struct hw_arena *arena = &pm->arenas.data[i];
		if (arena->is_read)
			continue;
		const struct hw_pool_headers headers = { bytes + count * pm->header_bytes,
							 pm->header_bytes, spans + count };
		hw_decode_arena_pools(reader, arena, &headers);
		count += arena->pool_count;
	}
}

void hw_pymalloc_read_arena(struct hw_pymalloc *pm, struct hw_arena *arena, const uint8_t *bytes)
{
	struct hw_span spans[HW_ARENA_POOLS_MAX];
	uint8_t headers[HW_ARENA_POOLS_MAX * HW_POOL_HEADER_BYTES_MAX];
	size_t index = (size_t)(arena - pm->arenas.data);
	if (!bytes) {
		hw_read_batch(pm->reader, index, index + 1, spans, headers);
		return;
	}
	hw_decode_arena_pools(pm->reader, arena,
			      &(struct hw_pool_headers){ bytes, pm->pool_bytes, NULL });
}

static void hw_pool_worker_run(void *payload, unsigned index)
{
	struct hw_pool_readers *readers = payload;
	struct hw_pool_reader *reader = readers->reader;
	struct hw_pymalloc *pm = reader->pm;
	hw_cleanup_free struct hw_span *spans = malloc(HW_POOL_BATCH * sizeof(*spans));
	hw_cleanup_free uint8_t *headers = malloc((size_t)HW_POOL_BATCH * pm->header_bytes);
	if (!spans || !headers) {
		atomic_store(&readers->is_out_of_memory, true);
		return; // the others may do it all
	}
	for (;;) {
		size_t from = atomic_fetch_add(&readers->next_arena, readers->step);
		if (from >= pm->arenas.count)
			break;
		hw_read_batch(reader, from, hw_min(from + readers->step, pm->arenas.count), spans,
			      headers);
		// The caller's thread alone may show progress.
		if (readers->progress && (index ? hw_progress_stopped(readers->progress)
						: hw_progress_poll(readers->progress)))
			break;
	}
}

static size_t hw_worker_count(const struct hw_pool_reader *reader)
{
	cpu_set_t processors;
	size_t most = 1;
	if (reader->pm->target->ops->is_thread_safe &&
	    !sched_getaffinity(0, sizeof(processors), &processors))
		most = hw_min((uint64_t)CPU_COUNT(&processors), HW_POOL_WORKERS_MAX);
	return hw_min(most, 1 + reader->pm->pools.count / HW_POOLS_PER_WORKER);
}

struct hw_error *hw_obmalloc_read_rest(struct hw_pymalloc *pm, struct hw_progress *progress)
{
	struct hw_pool_readers readers = { .reader = pm->reader, .progress = progress };
	size_t left = 0;
	hw_vec_foreach(arena, &pm->arenas) left += !arena->is_read;
	if (!left)
		return NULL;
	size_t count = hw_worker_count(pm->reader);
	size_t most = HW_POOL_BATCH / (pm->arena_bytes / pm->pool_bytes);
	readers.step = hw_min(most, (pm->arenas.count + count - 1) / count);
	readers.step = hw_max(readers.step, 1);
	hw_parallel((unsigned)count, hw_pool_worker_run, &readers);
	if (progress && hw_progress_stopped(progress))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted while pool headers were read");
	if (atomic_load(&readers.is_out_of_memory) &&
	    atomic_load(&readers.next_arena) < pm->arenas.count)
		return &hw_enomem;
	return NULL;
}

void hw_obmalloc_count_damage(const struct hw_pymalloc *pm, size_t *ret_bad, size_t *ret_missing)
{
	*ret_bad = pm->reader->bad_pools;
	*ret_missing = pm->reader->missing_pools;
}

struct hw_error *hw_obmalloc_make_reader(const struct hw_python_layout *layout,
					 struct hw_pymalloc *pm)
{
	uint64_t total = 0;
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
	struct hw_pool_reader *reader = calloc(1, sizeof(*reader));
	if (!reader)
		return &hw_enomem;
	reader->layout = layout;
	reader->pm = pm;
	pthread_mutex_init(&reader->lock, NULL);
	hw_init_classes(reader);
	pm->reader = reader;
	return NULL;
}

void hw_obmalloc_free_reader(struct hw_pymalloc *pm)
{
	if (!pm->reader)
		return;
	pthread_mutex_destroy(&pm->reader->lock);
	free(pm->reader);
	pm->reader = NULL;
}
