/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "glibc/malloc.h"

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/parallel.h"
#include "glibc/walker.h"

enum { HW_TRIAL_STEPS = 1 << 26, HW_CHUNKS_A_SHARE = 1 << 18 };

void hw_glibc_walker_deinit(struct hw_glibc_walker *w)
{
	hw_window_deinit(&w->window);
	hw_pages_deinit(&w->pages);
	hw_vec_foreach(state, &w->states) free(*state);
	hw_vec_deinit(&w->states);
	hw_vec_foreach(links, &w->free_links) hw_free_links_deinit(links);
	hw_vec_deinit(&w->free_links);
	hw_vec_foreach(links, &w->candidate_links) hw_free_links_deinit(links);
	hw_vec_deinit(&w->candidate_links);
	hw_vec_deinit(&w->tcache_candidates);
	hw_vec_foreach(other, &w->others) hw_glibc_deinit(other);
	hw_vec_deinit(&w->others);
}

static void hw_read_mp(struct hw_glibc_walker *w)
{
	uint8_t bytes[HW_GLIBC_MP_BYTES];
	struct hw_glibc *glibc = w->glibc;
	if (!glibc->mp || !hw_pages_read(&w->pages, glibc->mp, bytes, w->mp_layout->size)) {
		glibc->mp = 0;
		hw_issues_add(
			w->in.issues, HW_ERROR_NOT_FOUND, glibc->main_arena,
			"malloc's parameters (mp_) were not found beside main_arena 0x%llx: the "
			"main heap is looked for by its shape, and mmapped chunks can't be counted",
			(unsigned long long)glibc->main_arena);
		return;
	}
	const struct hw_glibc_mp_layout *layout = w->mp_layout;
	glibc->n_mmaps = hw_u32(bytes + layout->n_mmaps);
	glibc->mmapped_mem = hw_glibc_word(bytes + layout->mmapped_mem);
	w->sbrk_base = hw_glibc_word(bytes + layout->sbrk_base);
	if (layout->hp_pagesize)
		w->hp_pagesize = hw_glibc_word(bytes + layout->hp_pagesize);
	if (layout->tcache_count)
		w->tcache_count = hw_min(hw_glibc_word(bytes + layout->tcache_count), UINT16_MAX);
}

// What chunks [from, to) of a region add to its arena.
struct hw_share {
	uint32_t region, from, to;
	uint64_t bytes[HW_CHUNK_STATE_COUNT], chunks[HW_CHUNK_STATE_COUNT];
};

struct hw_shares {
	struct hw_glibc *glibc;
	HW_VEC(struct hw_share) list;
};

static void hw_shares_deinit(struct hw_shares *shares)
{
	hw_vec_deinit(&shares->list);
}

static void hw_shares_add_up(void *payload, size_t i)
{
	struct hw_shares *shares = payload;
	struct hw_share *share = &shares->list.data[i];
	const struct hw_region *region = &shares->glibc->regions.data[share->region];
	uint64_t bytes[HW_CHUNK_STATE_COUNT] = { 0 }, chunks[HW_CHUNK_STATE_COUNT] = { 0 };
	uint64_t in_use_bytes = hw_region_chunk_end(region, share->to - 1) -
				hw_region_chunk_start(region, share->from);
	uint64_t in_use_chunks = share->to - share->from;
	// Most are in use: what the others are is taken from the whole.
	for (uint32_t k = share->from; k < share->to; k++) {
		enum hw_chunk_state state = hw_region_state(region, k);
		if (state == HW_CHUNK_IN_USE)
			continue;
		uint64_t size = hw_region_chunk_size(region, k);
		bytes[state] += size;
		chunks[state]++;
		in_use_bytes -= size;
		in_use_chunks--;
	}
	bytes[HW_CHUNK_IN_USE] = in_use_bytes;
	chunks[HW_CHUNK_IN_USE] = in_use_chunks;
	memcpy(share->bytes, bytes, sizeof(bytes));
	memcpy(share->chunks, chunks, sizeof(chunks));
}

// An mmapped chunk belongs to no arena: its bytes are in mmapped_bytes.
static struct hw_error *hw_add_up(struct hw_glibc *glibc, unsigned threads)
{
	hw_cleanup_with(hw_shares_deinit) struct hw_shares shares = { .glibc = glibc };
	for (uint32_t r = 0; r < glibc->regions.count; r++) {
		const struct hw_region *region = &glibc->regions.data[r];
		if (region->kind == HW_REGION_MMAPPED)
			continue;
		glibc->arenas.data[region->arena_index].region_bytes += region->end - region->start;
		for (uint64_t from = 0; from < region->count; from += HW_CHUNKS_A_SHARE) {
			struct hw_share share = { r,
						  (uint32_t)from,
						  (uint32_t)hw_min(from + HW_CHUNKS_A_SHARE,
								   region->count),
						  { 0 },
						  { 0 } };
			if (!hw_vec_push(&shares.list, share))
				return &hw_enomem;
		}
	}
	hw_parallel_each(threads, shares.list.count, hw_shares_add_up, &shares);
	hw_vec_foreach(share, &shares.list)
	{
		const struct hw_region *region = &glibc->regions.data[share->region];
		struct hw_glibc_arena *arena = &glibc->arenas.data[region->arena_index];
		const uint64_t *bytes = share->bytes, *chunks = share->chunks;
		arena->in_use_bytes += bytes[HW_CHUNK_IN_USE];
		arena->in_use_chunks += chunks[HW_CHUNK_IN_USE];
		arena->tcache_bytes += bytes[HW_CHUNK_TCACHE];
		arena->tcache_chunks += chunks[HW_CHUNK_TCACHE];
		arena->fastbin_bytes += bytes[HW_CHUNK_FASTBIN];
		arena->fastbin_chunks += chunks[HW_CHUNK_FASTBIN];
		for (unsigned s = HW_CHUNK_UNSORTED; s <= HW_CHUNK_LARGE; s++) {
			arena->bin_bytes += bytes[s];
			arena->bin_chunks += chunks[s];
		}
		arena->top_bytes += bytes[HW_CHUNK_TOP];
		arena->overhead_bytes += bytes[HW_CHUNK_FENCE] + bytes[HW_CHUNK_ARENA] +
					 bytes[HW_CHUNK_TCACHE_STRUCT];
		arena->unlisted_bytes += bytes[HW_CHUNK_FREE];
		arena->unlisted_chunks += chunks[HW_CHUNK_FREE];
		arena->unknown_bytes += bytes[HW_CHUNK_FREE] + bytes[HW_CHUNK_UNKNOWN] +
					bytes[HW_CHUNK_MISSING];
	}
	return NULL;
}

static hw_addr_t hw_first_unlisted(const struct hw_glibc *glibc)
{
	hw_vec_foreach(
		region,
		&glibc->regions) for (uint32_t i = 0; i < region->count;
				      i++) if (region->state[i] ==
					       HW_CHUNK_FREE) return hw_region_chunk_start(region,
											   i);
	return 0;
}

// Free chunks that are on no list: one sentence, with the first of them.
static void hw_report_unlisted(struct hw_glibc_walker *w)
{
	uint64_t count = 0, bytes = 0;
	hw_vec_foreach(arena, &w->glibc->arenas)
	{
		count += arena->unlisted_chunks;
		bytes += arena->unlisted_bytes;
	}
	if (!count)
		return;
	hw_addr_t first = hw_first_unlisted(w->glibc);
	hw_issues_add(w->in.issues, HW_ERROR_CORRUPT, first,
		      "%llu free chunks with %llu bytes are on no bin's list, the first at 0x%llx",
		      (unsigned long long)count, (unsigned long long)bytes,
		      (unsigned long long)first);
}

// Is all there that adjoins `addr` and may be of the same heap? What is kept out of a core on purpose
// (MADV_DONTDUMP) is a mapping of its own between two others.
static bool hw_is_whole(struct hw_target *target, hw_addr_t addr)
{
	const struct hw_mapping *m = hw_target_find_mapping(target, addr);
	const struct hw_mapping *last = target->mappings.data + target->mappings.count;
	hw_addr_t end = addr, readable_end;
	for (; m && m < last && m->start <= end && hw_mapping_is_private_writable(m) &&
	       *m->path != '/';
	     m++)
		end = m->end;
	for (; addr < end; addr = readable_end)
		if (target->ops->next_readable(target, addr, &readable_end) != addr)
			return false;
	return true;
}

// Caches and lists lie in the chunks themselves, a thread's way to its cache beside its thread pointer.
static bool hw_has_gaps(struct hw_glibc_walker *w)
{
	struct hw_target *target = w->in.target;
	if (!target->ops->next_readable)
		return false;
	hw_vec_foreach(region, &w->glibc->regions)
	{
		if (region->kind != HW_REGION_MMAPPED && !hw_is_whole(target, region->start))
			return true;
	}
	if (!hw_is_whole(target, w->sbrk_base))
		return true;
	hw_vec_foreach(thread, &target->threads)
	{
		uint64_t self;
		if (thread->tp && !hw_glibc_read_word(&w->pages, thread->tp, &self))
			return true;
	}
	return false;
}

static struct hw_error *hw_walk_all(struct hw_glibc_walker *w)
{
	struct hw_glibc *glibc = w->glibc;
	HW_TRY(hw_glibc_find(w));
	if (!glibc->main_arena) {
		hw_glibc_find_other(w);
		return NULL;
	}
	glibc->layout = w->layout;
	hw_read_mp(w);
	HW_TRY(hw_glibc_read_arenas(w));
	glibc->is_initialized = w->sbrk_base != 0;
	hw_vec_foreach(arena, &glibc->arenas) glibc->is_initialized |= arena->system_bytes != 0;
	hw_glibc_find_other(w);
	if (!glibc->arenas.count)
		return NULL;
	hw_glibc_plan_picks(w);
	// thread heaps first: where they are, no region of the main arena is looked for
	for (uint32_t i = 1; i < glibc->arenas.count; i++)
		HW_TRY(hw_glibc_walk_heaps(w, i));
	HW_TRY(hw_glibc_walk_main(w));
	HW_TRY(hw_glibc_walk_others(w));
	if (!w->libc)
		HW_TRY(hw_glibc_find_mmapped(w));
	hw_glibc_sort_regions(w);
	hw_glibc_detect_safe_linking(w);
	HW_TRY(hw_glibc_mark_tcaches(w));
	HW_TRY(hw_glibc_mark_bins(w));
	glibc->has_gaps |= hw_has_gaps(w);
	HW_TRY(hw_add_up(glibc, w->in.threads));
	hw_report_unlisted(w);
	return hw_glibc_take_others(w);
}

struct hw_error *HW_GLIBC_NAME(hw_glibc_walk)(const struct hw_glibc_inputs *inputs,
					      struct hw_glibc *ret)
{
	return hw_glibc_walk_libc(inputs, NULL, ret);
}

struct hw_error *hw_glibc_walk_libc(const struct hw_glibc_inputs *inputs, struct hw_module *libc,
				    struct hw_glibc *ret)
{
	struct hw_target *target = inputs->target;
	struct hw_glibc glibc = { .target = target, .header_bytes = HW_GLIBC_HEADER };
	hw_cleanup_with(hw_glibc_walker_deinit) struct hw_glibc_walker w = {
		.in = *inputs,
		.libc = libc,
		.glibc = &glibc,
		.trial_steps_left = HW_TRIAL_STEPS,
	};
	if (!target->ops->is_thread_safe)
		w.in.threads = 1;
	hw_window_init(&w.window, target);
	hw_pages_init(&w.pages, target);
	struct hw_error *err = hw_walk_all(&w);
	if (err) {
		hw_glibc_deinit(&glibc);
		return err;
	}
	*ret = glibc;
	return NULL;
}
