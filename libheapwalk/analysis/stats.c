/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/stats.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

struct hw_stats_reading {
	const char *interpreter; // what the user said; NULL: the main one
	struct hw_stats *stats;
};

int64_t hw_stats_interpreter_id(struct hw_session *session, size_t index)
{
	const struct hw_python *python = &session->python;
	uint8_t word[8];
	hw_addr_t addr = python->interpreters.data[index] + (hw_addr_t)python->layout.interp_id;
	if (python->layout.interp_id == HW_ABSENT ||
	    hw_target_read_some(session->target, addr, word, sizeof(word)) != sizeof(word))
		return (int64_t)index;
	return (int64_t)hw_u64(word);
}

static struct hw_error *hw_stats_no_interpreter(struct hw_session *session, const char *wanted)
{
	char known[200] = "";
	size_t used = 0, count = session->python.interpreters.count;
	for (size_t i = 0; i < count && used < sizeof(known) - 32; i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%" PRId64,
					 i ? ", " : "", hw_stats_interpreter_id(session, i));
	return hw_error_create(HW_ERROR_NOT_FOUND,
			       "there is no interpreter %.40s in this process: there %s %s", wanted,
			       count == 1 ? "is" : "are", count ? known : "none");
}

static struct hw_error *hw_stats_choose(struct hw_session *session, const char *wanted,
					struct hw_stats *stats)
{
	const struct hw_python *python = &session->python;
	size_t count = python->interpreters.count, index = 0, state;
	while (wanted && index < count) {
		char number[32];
		snprintf(number, sizeof(number), "%" PRId64,
			 hw_stats_interpreter_id(session, index));
		if (!strcmp(number, wanted))
			break;
		index++;
	}
	if (wanted && index >= count)
		return hw_stats_no_interpreter(session, wanted);
	if (!hw_pymalloc_state_of(&session->pymalloc, python, index, &state))
		return hw_error_create(HW_ERROR_NOT_FOUND,
				       "the allocator of interpreter %s can't be read",
				       wanted ? wanted : "0");
	stats->interpreter = index;
	stats->interpreter_id = index < count ? hw_stats_interpreter_id(session, index) : 0;
	stats->state = &session->pymalloc.states.data[state];
	return NULL;
}

// ---- mimalloc ----

enum { HW_STATS_THREADS_MAX = 1 << 16 };

// The heap of the thread that runs an interpreter: the main thread's, or that of the newest of its thread
// states that has one. 0: not found.
static hw_addr_t hw_stats_heap_of(struct hw_session *session, size_t index)
{
	const struct hw_python_layout *l = &session->python.layout;
	const struct hw_mimalloc *mi = &session->mimalloc;
	uint8_t word[8];
	if (!index)
		return mi->main_heap;
	if (l->tstate_thread_id == HW_ABSENT || l->tstate_next == HW_ABSENT)
		return 0;
	hw_addr_t at = session->python.interpreters.data[index] + (hw_addr_t)l->interp_threads_head;
	for (unsigned i = 0; i < HW_STATS_THREADS_MAX; i++) {
		if (hw_target_read_some(session->target, at, word, sizeof(word)) != sizeof(word) ||
		    !hw_u64(word))
			return 0;
		hw_addr_t tstate = hw_u64(word);
		at = tstate + (hw_addr_t)l->tstate_thread_id;
		if (hw_target_read_some(session->target, at, word, sizeof(word)) != sizeof(word))
			return 0;
		hw_vec_foreach(heap, &mi->heaps)
		{
			if (heap->is_readable && heap->thread_id && heap->thread_id == hw_u64(word))
				return heap->address;
		}
		at = tstate + (hw_addr_t)l->tstate_next;
	}
	return 0;
}

// Constants of Include/internal/mimalloc/mimalloc/types.h: slices of 64 KiB, medium pages of 8 of them.
static void hw_stats_read_heap(struct hw_session *session, struct hw_stats *stats)
{
	const struct hw_mimalloc *mi = &session->mimalloc;
	const uint64_t parts = session->python.layout.mi_page_page_start == HW_ABSENT ? 4 : 8;
	hw_addr_t address = hw_stats_heap_of(session, stats->interpreter);
	stats->has_heap_lines = true;
	stats->heap = (struct hw_stats_heap){ .small_max = HW_MI_SLICE_BYTES / parts,
					      .medium_max = HW_MI_SLICE_BYTES * 8 / parts,
					      .large_max = HW_MI_SEGMENT_BYTES / 2,
					      .bins = HW_MI_BINS };
	// Without the GIL the call looks at the default heap, from which nothing is allocated.
	stats->heap.is_known = stats->has_tags = mi->has_tags;
	hw_vec_foreach(page, &mi->pages)
	{
		if (hw_mi_page_has_blocks(page) && page->tag < HW_MI_TAG_COUNT)
			hw_mi_heap_count(&stats->tags[page->tag], page);
	}
	hw_vec_foreach(heap, &mi->heaps)
	{
		if (!address || heap->address != address || mi->has_tags)
			continue;
		stats->heap.is_known = true;
		stats->heap.blocks = heap->blocks;
		stats->heap.full_bytes = heap->block_bytes;
		// A debug build's blocks end with 8 bytes of padding.
		stats->heap.bytes = heap->block_bytes - (mi->has_keys ? 8 * heap->blocks : 0);
		stats->heap.reserved_bytes = heap->reserved_bytes;
		stats->heap.committed_bytes = heap->committed_bytes;
	}
}

static struct hw_error *hw_stats_read(struct hw_session *session, void *payload)
{
	struct hw_stats_reading *reading = payload;
	const struct hw_python *python = &session->python;
	struct hw_stats *stats = reading->stats;
	hw_stats_deinit(stats); // of an earlier try
	HW_TRY(hw_session_python_shortfall(session));
	if (!python->module)
		return hw_error_create(HW_ERROR_NOT_FOUND,
				       "no CPython was found in this process: none "
				       "of its files defines PyType_Type");
	HW_TRY(hw_stats_choose(session, reading->interpreter, stats));
	if (session->pymalloc.in_force == HW_IN_FORCE_MIMALLOC)
		hw_stats_read_heap(session, stats);
	return hw_stats_free_lists(session, stats->interpreter, &stats->free_lists);
}

// The interpreter's oldest thread state: new ones are put in front. 0: none, or the list can't be read.
static hw_addr_t hw_stats_first_thread(struct hw_session *session, size_t index)
{
	const struct hw_python_layout *l = &session->python.layout;
	hw_addr_t at = session->python.interpreters.data[index] + (hw_addr_t)l->interp_threads_head;
	hw_addr_t tstate = 0;
	uint8_t word[8];
	if (l->tstate_next == HW_ABSENT)
		return 0;
	for (unsigned i = 0; i < HW_STATS_THREADS_MAX; i++) {
		if (hw_target_read_some(session->target, at, word, sizeof(word)) != sizeof(word))
			return 0;
		if (!hw_u64(word))
			return tstate;
		tstate = hw_u64(word);
		at = tstate + (hw_addr_t)l->tstate_next;
	}
	return 0;
}

struct hw_error *hw_stats_free_lists(struct hw_session *session, size_t index,
				     struct hw_free_lists *ret)
{
	const struct hw_python *python = &session->python;
	// Where each thread has its own, those of the interpreter's first: the caller's, most likely.
	if (python->layout.tstate_freelists != HW_ABSENT) {
		hw_addr_t tstate = python->interpreters.count
					   ? hw_stats_first_thread(session, index)
					   : 0;
		return hw_free_lists_read(session->target, python, tstate, ret);
	}
	// After Py_Finalize() no interpreter is listed; the main one's counters are still there.
	hw_addr_t interpreter = 0;
	if (python->interpreters.count)
		interpreter = python->interpreters.data[index];
	else if (python->runtime && python->layout.runtime_main_interpreter != HW_ABSENT)
		interpreter = python->runtime + (hw_addr_t)python->layout.runtime_main_interpreter;
	return hw_free_lists_read(session->target, python, interpreter, ret);
}

// ---- conclusions ----

static void hw_stats_count_arena(const struct hw_pymalloc *pm, const struct hw_arena *arena,
				 struct hw_stats *stats)
{
	uint64_t blocks = 0, bytes = 0;
	for (uint32_t i = 0; i < arena->pool_count; i++) {
		const struct hw_pool *pool = &pm->pools.data[arena->pool_first + i];
		stats->bad_pools += pool->is_bad;
		if (pool->is_empty || pool->is_bad)
			continue;
		stats->pools_in_use++;
		blocks += pool->ref_count;
		bytes += (uint64_t)pool->ref_count * hw_pool_block_bytes(pm, pool);
	}
	size_t bin = (size_t)(bytes * HW_STATS_BINS / pm->arena_bytes);
	struct hw_stats_bin *to = &stats->bins[hw_min(bin, HW_STATS_BINS - 1)];
	to->arenas++;
	to->blocks += blocks;
	to->bytes += bytes;
	to->free_pools += arena->pools_free;
	stats->blocks_in_use += blocks;
}

static void hw_stats_pack(const struct hw_pymalloc *pm, uint32_t state, struct hw_stats *stats)
{
	const struct hw_size_class_stats *classes = stats->state->classes;
	for (uint32_t i = 0; i < pm->size_class_count; i++) {
		uint64_t block = (uint64_t)(i + 1) * pm->alignment;
		uint64_t capacity = (pm->pool_bytes - pm->header_bytes) / block;
		stats->packed_pools += (classes[i].blocks_in_use + capacity - 1) / capacity;
	}
	// An arena that is pool aligned has a pool more than one that is not: these first.
	uint64_t most = pm->arena_bytes / pm->pool_bytes, aligned = 0;
	hw_vec_foreach(arena, &pm->arenas)
		aligned += arena->interpreter == state && arena->pools_total == most;
	uint64_t first = hw_min(aligned, (stats->packed_pools + most - 1) / most);
	uint64_t rest = stats->packed_pools - hw_min(stats->packed_pools, first * most);
	stats->packed_arenas = first + (rest + most - 2) / (most - 1);
}

static void hw_stats_conclude(const struct hw_session *session, struct hw_stats *stats)
{
	const struct hw_pymalloc *pm = &session->pymalloc;
	const struct hw_pymalloc_state *s = stats->state;
	uint32_t state = (uint32_t)(s - pm->states.data);
	stats->has_type_lines = session->python.layout.str_ascii_size != HW_ABSENT; // 3.3
	stats->has_pool_lines = pm->in_force == HW_IN_FORCE_PYMALLOC;
	stats->total_bytes = s->allocated_bytes + s->available_bytes + s->unused_pool_bytes +
			     s->pool_header_bytes + s->quantization_bytes +
			     s->arena_alignment_bytes;
	hw_vec_foreach(arena, &pm->arenas)
	{
		if (arena->interpreter == state)
			hw_stats_count_arena(pm, arena, stats);
	}
	hw_stats_pack(pm, state, stats);
	hw_vec_foreach(list, &stats->free_lists.list)
	{
		if (list->count <= 0)
			continue;
		uint64_t block = hw_align_up(list->block_bytes, pm->alignment);
		stats->free_list_objects += (uint64_t)list->count;
		stats->free_list_bytes += (uint64_t)list->count * block;
	}
}

struct hw_error *hw_session_stats(struct hw_session *session, const char *interpreter,
				  struct hw_stats *ret)
{
	*ret = (struct hw_stats){ 0 };
	struct hw_stats_reading reading = { .interpreter = interpreter, .stats = ret };
	struct hw_error *err = hw_session_need_pymalloc(session, hw_stats_read, &reading);
	if (err)
		hw_stats_deinit(ret);
	else
		hw_stats_conclude(session, ret);
	return err;
}

void hw_stats_deinit(struct hw_stats *stats)
{
	hw_free_lists_deinit(&stats->free_lists);
	*stats = (struct hw_stats){ 0 };
}
