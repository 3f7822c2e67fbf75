/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The ring of arenas, and the heaps of thread arenas (malloc/arena.c).
#include "base/bytes.h"
#include "glibc/walker.h"

enum {
	HW_ARENAS_MAX = 1 << 16,
	HW_HEAPS_MAX = 1 << 21, // 128 TiB of them
};

static const uint64_t hw_heap_max_default = HW_GLIBC_IF_64(64ull, 1ull) << 20; // HEAP_MAX_SIZE

// malloc/arena.c glibc-2.35 to 2.41: with huge pages HEAP_MAX_SIZE is four of them.
static void hw_heap_max_candidates(const struct hw_glibc_walker *w, uint64_t ret[2])
{
	ret[0] = hw_heap_max_default;
	uint64_t huge = w->hp_pagesize;
	bool is_sane = huge >= HW_GLIBC_PAGE && huge <= (1ull << 32) && !(huge & (huge - 1));
	ret[1] = is_sane ? 4 * huge : 0;
}

// The heap_info in front of a thread arena's malloc_state: it says that the arena is its own.
static bool hw_find_first_heap(struct hw_glibc_walker *w, hw_addr_t arena,
			       struct hw_glibc_state *state)
{
	uint64_t maxima[2];
	hw_heap_max_candidates(w, maxima);
	for (int m = 0; m < 2; m++) {
		if (!maxima[m])
			continue;
		hw_addr_t base = hw_align_down(arena, maxima[m]);
		for (const uint16_t *size = hw_glibc_heap_info_sizes; *size; size++) {
			uint64_t owner;
			if (arena - base != *size || !hw_glibc_read_word(&w->pages, base, &owner) ||
			    owner != arena)
				continue;
			state->heap = base;
			state->heap_max = maxima[m];
			w->heap_info_bytes = *size;
			return true;
		}
	}
	return false;
}

static struct hw_error *hw_add_arena(struct hw_glibc_walker *w, hw_addr_t addr, bool is_main)
{
	const struct hw_glibc_layout *layout = w->layout;
	hw_cleanup_free struct hw_glibc_state *state = calloc(1, sizeof(*state));
	if (!state)
		return &hw_enomem;
	if (!hw_pages_read(&w->pages, addr, state->bytes, layout->size)) {
		w->glibc->has_gaps = true;
		hw_issues_add(w->in.issues, HW_ERROR_FAULT, addr,
			      "malloc_state 0x%llx can't be read; its arena is left out",
			      (unsigned long long)addr);
		return NULL;
	}
	state->top = hw_glibc_word(state->bytes + layout->top);
	state->flags = hw_u32(state->bytes + 4);
	if (!is_main && !hw_find_first_heap(w, addr, state)) {
		hw_issues_add(
			w->in.issues, HW_ERROR_CORRUPT, addr,
			"arena 0x%llx does not stand behind a heap_info that belongs to it; it "
			"is left out",
			(unsigned long long)addr);
		return NULL;
	}
	struct hw_glibc_arena arena = {
		.address = addr,
		.is_main = is_main,
		.system_bytes = hw_glibc_word(state->bytes + layout->system_mem),
		.max_system_bytes = hw_glibc_word(state->bytes + layout->max_system_mem),
		.is_noncontiguous = state->flags & HW_GLIBC_NONCONTIGUOUS,
	};
	if (!hw_vec_push(&w->glibc->arenas, arena))
		return &hw_enomem;
	if (!hw_vec_push(&w->states, state)) {
		w->glibc->arenas.count--;
		return &hw_enomem;
	}
	state = NULL;
	return NULL;
}

static bool hw_has_arena(const struct hw_glibc_walker *w, hw_addr_t addr)
{
	hw_vec_foreach(arena, &w->glibc->arenas) if (arena->address == addr) return true;
	return false;
}

// Every heap_info stands at a multiple of HEAP_MAX_SIZE: all of them, in mapped memory.
static struct hw_error *hw_visit_heaps(struct hw_glibc_walker *w,
				       struct hw_error *(*visit)(struct hw_glibc_walker *w,
								 hw_addr_t base, hw_addr_t owner,
								 void *payload),
				       void *payload)
{
	uint64_t maxima[2];
	hw_heap_max_candidates(w, maxima);
	for (int m = 0; m < 2; m++) {
		for (size_t i = 0; maxima[m] && i < w->in.target->mappings.count; i++) {
			const struct hw_mapping *mapping = &w->in.target->mappings.data[i];
			if (!hw_mapping_is_private_writable(mapping))
				continue;
			for (hw_addr_t base = hw_align_up(mapping->start, maxima[m]);
			     base >= mapping->start && base < mapping->end; base += maxima[m]) {
				uint64_t owner;
				if (hw_glibc_read_word(&w->pages, base, &owner))
					HW_TRY(visit(w, base, owner, payload));
			}
		}
	}
	return NULL;
}

static struct hw_error *hw_add_lost_arena(struct hw_glibc_walker *w, hw_addr_t base,
					  hw_addr_t owner, void *payload)
{
	(void)payload;
	uint64_t next;
	if (owner - base > 2 * HW_GLIBC_LARGEST_STATE || owner % HW_GLIBC_WORD ||
	    hw_has_arena(w, owner) ||
	    !hw_glibc_read_word(&w->pages, owner + w->layout->next, &next) ||
	    w->glibc->arenas.count >= HW_ARENAS_MAX)
		return NULL;
	struct hw_glibc_state state = { 0 };
	if (!hw_find_first_heap(w, owner, &state))
		return NULL;
	return hw_add_arena(w, owner, false);
}

struct hw_error *hw_glibc_read_arenas(struct hw_glibc_walker *w)
{
	hw_addr_t main_arena = w->glibc->main_arena;
	HW_TRY(hw_add_arena(w, main_arena, true));
	if (!w->glibc->arenas.count)
		return NULL;
	hw_addr_t addr = main_arena;
	bool is_broken = true;
	// Brent: `mark` is left behind at powers of two, a cycle that leaves main_arena out meets it
	hw_addr_t mark = main_arena;
	size_t until_mark = 1, steps = 0;
	for (size_t i = 0; i < HW_ARENAS_MAX; i++) {
		uint64_t next;
		if (!hw_glibc_read_word(&w->pages, addr + w->layout->next, &next))
			break;
		addr = next;
		if (addr == main_arena) {
			is_broken = false;
			break;
		}
		if (addr == mark)
			break;
		if (++steps == until_mark) {
			mark = addr;
			until_mark *= 2;
			steps = 0;
		}
		size_t before = w->glibc->arenas.count;
		if (!hw_has_arena(w, addr))
			HW_TRY(hw_add_arena(w, addr, false));
		if (w->glibc->arenas.count == before)
			break;
	}
	if (!is_broken)
		return NULL;
	hw_issues_add(w->in.issues, HW_ERROR_CORRUPT, addr,
		      "the ring of arenas breaks at 0x%llx instead of leading back to main_arena "
		      "0x%llx; further arenas are looked for by their heaps",
		      (unsigned long long)addr, (unsigned long long)main_arena);
	return hw_visit_heaps(w, hw_add_lost_arena, NULL);
}

struct hw_heap_list {
	HW_VEC(hw_addr_t) heaps;
	hw_addr_t arena;
};

static void hw_heap_list_deinit(struct hw_heap_list *list)
{
	hw_vec_deinit(&list->heaps);
}

static struct hw_error *hw_add_heap(struct hw_glibc_walker *w, hw_addr_t base, hw_addr_t owner,
				    void *payload)
{
	(void)w;
	struct hw_heap_list *list = payload;
	if (owner != list->arena)
		return NULL;
	return hw_vec_push(&list->heaps, base) ? NULL : &hw_enomem;
}

// From the newest heap, top's, back to the first. False: the list is damaged.
static struct hw_error *hw_list_heaps(struct hw_glibc_walker *w, const struct hw_glibc_state *state,
				      struct hw_heap_list *list, bool *ret_is_whole)
{
	hw_addr_t base = hw_align_down(state->top, state->heap_max);
	hw_addr_t mark = base;
	size_t until_mark = 1, steps = 0;
	*ret_is_whole = false;
	while (base && list->heaps.count < HW_HEAPS_MAX) {
		uint8_t info[2 * HW_GLIBC_WORD]; // ar_ptr, prev
		if (!hw_pages_read(&w->pages, base, info, sizeof(info)) ||
		    hw_glibc_word(info) != list->arena || base % state->heap_max)
			return NULL;
		if (!hw_vec_push(&list->heaps, base))
			return &hw_enomem;
		if (base == state->heap) {
			*ret_is_whole = hw_glibc_word(info + HW_GLIBC_WORD) == 0;
			return NULL;
		}
		base = hw_glibc_word(info + HW_GLIBC_WORD);
		if (base == mark)
			return NULL;
		if (++steps == until_mark) {
			mark = base;
			until_mark *= 2;
			steps = 0;
		}
	}
	return NULL;
}

struct hw_error *hw_glibc_walk_heaps(struct hw_glibc_walker *w, uint32_t arena_index)
{
	struct hw_glibc_arena *arena = &w->glibc->arenas.data[arena_index];
	const struct hw_glibc_state *state = w->states.data[arena_index];
	hw_cleanup_with(hw_heap_list_deinit) struct hw_heap_list list = { .arena = arena->address };
	bool is_whole;
	HW_TRY(hw_list_heaps(w, state, &list, &is_whole));
	if (!is_whole) {
		hw_issues_add(
			w->in.issues, HW_ERROR_CORRUPT, state->top,
			"arena 0x%llx: top 0x%llx or the list of its heaps is damaged; heaps are "
			"looked for in memory",
			(unsigned long long)arena->address, (unsigned long long)state->top);
		list.heaps.count = 0;
		HW_TRY(hw_visit_heaps(w, hw_add_heap, &list));
	}
	hw_vec_foreach(base, &list.heaps)
	{
		uint8_t info[3 * HW_GLIBC_WORD]; // ar_ptr, prev, size
		if (!hw_pages_read(&w->pages, *base, info, sizeof(info)))
			continue;
		uint64_t size = hw_glibc_word(info + 2 * HW_GLIBC_WORD);
		hw_addr_t first = *base + w->heap_info_bytes;
		if (*base == state->heap)
			first = arena->address + w->layout->size;
		first = hw_glibc_chunk_up(first); // mem, not the chunk, is what is aligned
		if (size % 16 || size > state->heap_max || size < first - *base) {
			hw_issues_add(
				w->in.issues, HW_ERROR_CORRUPT, *base,
				"heap 0x%llx of arena 0x%llx: size 0x%llx, expected at most 0x%llx",
				(unsigned long long)*base, (unsigned long long)arena->address,
				(unsigned long long)size, (unsigned long long)state->heap_max);
			const struct hw_mapping *mapping = hw_target_find_mapping(w->in.target,
										  *base);
			if (!mapping || mapping->end - first < HW_GLIBC_MIN_CHUNK ||
			    mapping->end < first)
				continue;
			size = hw_min(mapping->end - *base, state->heap_max);
		}
		struct hw_region_plan plan = {
			.arena_index = arena_index,
			.kind = HW_REGION_HEAP,
			.start = *base,
			.first = first,
			.limit = *base + size,
			.top_is_lost = !is_whole,
		};
		if (state->top >= first && state->top < plan.limit &&
		    hw_glibc_is_chunk_place(state->top))
			plan.top = state->top;
		enum hw_region_ending ending;
		hw_addr_t end;
		HW_TRY(hw_glibc_walk_region(w, &plan, &ending, &end));
		w->glibc->arenas.data[arena_index].heaps++;
	}
	return NULL;
}
