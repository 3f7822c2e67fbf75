/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The walk along a region's chunk headers, and the table it makes.
#include "base/bytes.h"
#include "base/memory.h"
#include "glibc/walker.h"

enum {
	// A hop beyond what is in the window by more than this is read alone, not with all between.
	HW_SPARSE_BYTES = 32 << 10,
	HW_LARGEST_FASTBIN_CHUNK = HW_GLIBC_IF_64(0xb0, 0x60),
	HW_POLL_BYTES = 16 << 20,
	HW_TCACHE_CHUNK_MIN = HW_GLIBC_IF_64(0x250, 0x150),
	HW_TCACHE_CHUNK_MAX = HW_GLIBC_IF_64(0x310, 0x1a0),
	HW_LIKELY_CHUNK_BYTES = 64,
};

bool hw_glibc_poll(struct hw_glibc_walker *w, uint64_t bytes)
{
	w->polled_bytes += bytes;
	if (!w->in.progress)
		return false;
	if (w->polled_bytes < HW_POLL_BYTES)
		return hw_progress_stopped(w->in.progress);
	atomic_fetch_add_explicit(&w->in.progress->done, w->polled_bytes, memory_order_relaxed);
	w->polled_bytes = 0;
	return w->worker ? hw_progress_stopped(w->in.progress) : hw_progress_poll(w->in.progress);
}

struct hw_error *hw_glibc_interrupted(void)
{
	return hw_error_create(HW_ERROR_INTERRUPTED, "interrupted while walking glibc's malloc");
}

// A region under construction. Arrays grow geometrically and are trimmed at the end; pages that were
// never written cost nothing meanwhile.
struct hw_region_builder {
	struct hw_glibc_walker *w;
	struct hw_region region;
	uint32_t capacity;
	uint64_t bytes; // that the walk may cover
	bool footer_reported;
	bool is_sighting; // chunks are looked at as they are passed
	struct hw_free_links links, candidate_links;
};

static void hw_region_builder_deinit(struct hw_region_builder *b)
{
	free(b->region.offset8);
	free(b->region.state);
	hw_free_links_deinit(&b->links);
	hw_free_links_deinit(&b->candidate_links);
}

static bool hw_region_builder_reserve(struct hw_region_builder *b, uint64_t capacity)
{
	capacity = hw_min(capacity, UINT32_MAX);
	if (capacity <= b->capacity)
		return false;
	uint32_t *offset8 = realloc(b->region.offset8, capacity * sizeof(*offset8));
	if (!offset8)
		return false;
	b->region.offset8 = offset8;
	uint32_t *state = realloc(b->region.state, capacity * sizeof(*state));
	if (!state)
		return false;
	b->region.state = state;
	hw_advise_huge(offset8, capacity * sizeof(*offset8));
	hw_advise_huge(state, capacity * sizeof(*state));
	b->capacity = (uint32_t)capacity;
	return true;
}

// To twice as many; at first to as many as there may well be in what the walk covers.
static bool hw_region_builder_grow(struct hw_region_builder *b)
{
	uint64_t want = b->capacity ? 2 * (uint64_t)b->capacity
				    : hw_max(b->bytes / HW_LIKELY_CHUNK_BYTES, 64);
	return hw_region_builder_reserve(b, want);
}

static void *hw_trim(void *array, size_t bytes)
{
	void *trimmed = realloc(array, bytes);
	return trimmed ? trimmed : array;
}

static bool hw_free_links_push(struct hw_free_links *links, uint32_t chunk, uint64_t fd)
{
	if (links->count == links->capacity) {
		uint64_t capacity = links->capacity ? 2 * (uint64_t)links->capacity : 64;
		if (capacity > UINT32_MAX)
			return false;
		uint64_t *fds = realloc(links->fd, capacity * sizeof(*fds));
		if (!fds)
			return false;
		links->fd = fds;
		uint32_t *chunks = realloc(links->chunk, capacity * sizeof(*chunks));
		if (!chunks)
			return false;
		links->chunk = chunks;
		links->capacity = (uint32_t)capacity;
	}
	links->chunk[links->count] = chunk;
	links->fd[links->count++] = fd;
	return true;
}

static bool hw_free_links_finish(struct hw_free_links *links, hw_addr_t region_start,
				 hw_free_links_vec *list)
{
	links->region_start = region_start;
	if (links->count && !hw_vec_push(list, *links))
		return false;
	if (links->count)
		*links = (struct hw_free_links){ 0 };
	return true;
}

static struct hw_error *hw_region_builder_finish(struct hw_region_builder *b, hw_addr_t end)
{
	struct hw_region *region = &b->region;
	if (!region->count)
		return NULL;
	region->end = end;
	region->offset8 = hw_trim(region->offset8, region->count * sizeof(*region->offset8));
	region->state = hw_trim(region->state, region->count * sizeof(*region->state));
	b->capacity = region->count;
	if (!hw_free_links_finish(&b->links, region->start, &b->w->free_links) ||
	    !hw_free_links_finish(&b->candidate_links, region->start, &b->w->candidate_links))
		return &hw_enomem;
	struct hw_region done = *region;
	region->offset8 = region->state = NULL;
	region->count = b->capacity = 0;
	return hw_glibc_add_region(b->w, &done);
}

// The slow way to append: grows, and splits what 32 bits of units can't reach.
static struct hw_error *hw_region_builder_add(struct hw_region_builder *b, hw_addr_t addr,
					      uint32_t state)
{
	struct hw_region *region = &b->region;
	if (!region->count) {
		region->start = addr;
	} else if ((addr - region->start) / HW_CHUNK_UNIT > UINT32_MAX ||
		   region->count == UINT32_MAX) {
		HW_TRY(hw_region_builder_finish(b, addr));
		region->start = addr;
	}
	if (region->count == b->capacity && !hw_region_builder_grow(b))
		return &hw_enomem;
	region->offset8[region->count] = (uint32_t)((addr - region->start) / HW_CHUNK_UNIT);
	region->state[region->count++] = state;
	return NULL;
}

// Target bytes at hand: the window's, or one header read alone.
struct hw_view {
	const uint8_t *data;
	hw_addr_t start;
	size_t len;
	uint8_t header[HW_GLIBC_HEADER];
};

static void hw_view_show(struct hw_view *view, const struct hw_window *window)
{
	view->data = window->data;
	view->start = window->start;
	view->len = window->len;
}

static bool hw_view_load(struct hw_glibc_walker *w, struct hw_view *view, hw_addr_t addr)
{
	hw_addr_t seen = view->start + view->len;
	if (addr - seen > HW_SPARSE_BYTES && view->len) {
		if (!hw_pages_read(&w->pages, addr, view->header, sizeof(view->header)))
			return false;
		view->data = view->header;
		view->start = addr;
		view->len = sizeof(view->header);
		return true;
	}
	if (!hw_window_get(&w->window, addr, HW_GLIBC_HEADER))
		return false;
	hw_view_show(view, &w->window);
	return true;
}

static bool hw_view_has(const struct hw_view *view, hw_addr_t addr, size_t len)
{
	return addr >= view->start && view->len >= len && addr - view->start <= view->len - len;
}

// Moves the view so that the first `len` bytes of the chunk at `addr` are in it, if it can.
static void hw_view_extend(struct hw_glibc_walker *w, struct hw_view *view, hw_addr_t addr,
			   size_t len)
{
	size_t got;
	bool is_all = view->data != view->header &&
		      view->start >= hw_align_down(addr, HW_GLIBC_PAGE);
	if (!is_all && hw_window_get_some(&w->window, addr, len, &got))
		hw_view_show(view, &w->window);
}

// It has moved on from `was`. True: interrupted.
static bool hw_view_poll(struct hw_glibc_walker *w, const struct hw_view *view, hw_addr_t was)
{
	return hw_glibc_poll(w, view->start > was ? hw_min(view->start - was, view->len) : 0);
}

// The chunk before the header at `next` is free.
static struct hw_error *hw_mark_free(struct hw_region_builder *b, const struct hw_view *view,
				     hw_addr_t next)
{
	struct hw_region *region = &b->region;
	struct hw_free_links *links = &b->links;
	hw_addr_t chunk = hw_region_chunk_start(region, region->count - 1);
	uint8_t copy[2 * HW_GLIBC_WORD]; // fd, bk
	const uint8_t *link = copy;
	if (hw_view_has(view, chunk, next - chunk))
		link = view->data + (chunk - view->start) + HW_GLIBC_HEADER;
	else if (!hw_pages_read(&b->w->pages, chunk + HW_GLIBC_HEADER, copy, sizeof(copy)))
		memset(copy, 0, sizeof(copy));
	if (!hw_free_links_push(links, region->count - 1, hw_glibc_word(link)))
		return &hw_enomem;
	if (region->state[region->count - 1] & HW_CHUNK_CANDIDATE)
		b->candidate_links.count--;
	region->state[region->count - 1] = HW_CHUNK_FREE;
	links->back_sum += hw_link_hash(chunk, hw_glibc_word(link + HW_GLIBC_WORD));
	return NULL;
}

// The header at `addr` says that the chunk before it is free: `footer` is that chunk's size then.
static struct hw_error *hw_note_free_before(struct hw_region_builder *b, const struct hw_view *view,
					    hw_addr_t addr)
{
	uint64_t footer = hw_glibc_word(view->data + (addr - view->start));
	uint64_t before = addr - hw_region_chunk_start(&b->region, b->region.count - 1);
	HW_TRY(hw_mark_free(b, view, addr));
	if (footer == before || b->footer_reported)
		return NULL;
	b->footer_reported = true;
	hw_issues_add(b->w->in.issues, HW_ERROR_CORRUPT, addr,
		      "chunk 0x%llx says the one before is free and has 0x%llx bytes, but that has "
		      "0x%llx",
		      (unsigned long long)addr, (unsigned long long)footer,
		      (unsigned long long)before);
	return NULL;
}

static struct hw_error *hw_note_tcache_candidate(struct hw_glibc_walker *w,
						 const struct hw_view *view, hw_addr_t chunk,
						 uint64_t size)
{
	const struct hw_glibc_tcache_layout *layout = hw_glibc_tcache_layout_of(size);
	if (!layout)
		return NULL;
	uint8_t copy[1024];
	const uint8_t *mem;
	size_t len = hw_glibc_tcache_bytes(layout);
	if (hw_view_has(view, chunk, HW_GLIBC_HEADER + len)) {
		mem = view->data + (chunk - view->start) + HW_GLIBC_HEADER;
	} else {
		if (len > sizeof(copy) ||
		    !hw_pages_read(&w->pages, chunk + HW_GLIBC_HEADER, copy, len))
			return NULL;
		mem = copy;
	}
	bool is_empty;
	if (hw_glibc_looks_like_tcache(w, layout, mem, &is_empty) && !is_empty &&
	    !hw_vec_push(&w->tcache_candidates, chunk + HW_GLIBC_HEADER))
		return &hw_enomem;
	return NULL;
}

// What is seen of a chunk in passing: the look that the caller asked for, and whether a fastbin may hold
// it. Sets the state of chunk `i`, which holds unless the header behind says that it is free.
static inline __attribute__((always_inline)) struct hw_error *
hw_sight_chunk(struct hw_region_builder *b, struct hw_view *view, uint32_t i, hw_addr_t addr,
	       uint64_t size)
{
	uint32_t *state = &b->region.state[i];
	struct hw_glibc_walker *w = b->w;
	const struct hw_glibc_picks *picks = &w->picks;
	const hw_addr_t mem = addr + HW_GLIBC_HEADER;
	// its data runs on over the next chunk's prev_size
	const uint64_t capacity = size - HW_GLIBC_WORD;
	size_t len = (size_t)hw_min(capacity, HW_CHUNK_LOOK_BYTES);
	if (!hw_view_has(view, addr, HW_GLIBC_HEADER + len)) {
		hw_addr_t was = view->start;
		if (size > HW_SPARSE_BYTES)
			return NULL;
		hw_view_extend(w, view, addr, HW_GLIBC_HEADER + len);
		if (hw_view_poll(w, view, was))
			return hw_glibc_interrupted();
		if (!hw_view_has(view, addr, HW_GLIBC_HEADER + len))
			return NULL;
	}
	const uint8_t *bytes = view->data + (mem - view->start);
	if (w->in.look)
		*state = w->in.look(w->in.look_payload, w->worker, mem, bytes, len, capacity);
	if (picks->is_on && size <= HW_LARGEST_FASTBIN_CHUNK) {
		hw_addr_t to = hw_glibc_word(bytes) ^ (picks->is_mangled ? mem >> 12 : 0);
		if (to && (!hw_glibc_is_chunk_place(to) || to < picks->low || to >= picks->high))
			return NULL;
		if (!hw_free_links_push(&b->candidate_links, i, hw_glibc_word(bytes)))
			return &hw_enomem;
		*state |= HW_CHUNK_CANDIDATE;
	}
	return NULL;
}

// The chain breaks at `addr`: what follows is one chunk of that state, up to top where that is known. Where
// memory is missing, what is behind it has headers too, but an old header that nobody wrote over looks like
// one in use: nothing there proves where the chain goes on.
static struct hw_error *hw_region_broken(struct hw_region_builder *b,
					 const struct hw_region_plan *plan, hw_addr_t addr,
					 enum hw_chunk_state state, hw_addr_t *ret_end)
{
	*ret_end = plan->limit;
	bool has_top = plan->top && addr <= plan->top;
	hw_addr_t end = has_top ? plan->top : plan->limit;
	if (addr < end)
		HW_TRY(hw_region_builder_add(b, addr, state));
	if (has_top && plan->top < plan->limit) {
		uint8_t header[HW_GLIBC_HEADER];
		uint64_t size = 0;
		if (hw_pages_read(&b->w->pages, plan->top, header, sizeof(header)))
			size = hw_glibc_word(header + HW_GLIBC_WORD) & ~(uint64_t)HW_GLIBC_FLAGS;
		bool is_sane = size >= HW_GLIBC_HEADER && size % HW_GLIBC_HEADER == 0 &&
			       size <= plan->limit - plan->top;
		HW_TRY(hw_region_builder_add(b, plan->top, is_sane ? HW_CHUNK_TOP : state));
		if (is_sane)
			*ret_end = plan->top + size;
	}
	return hw_region_builder_finish(b, *ret_end);
}

static void hw_report_chunk(struct hw_glibc_walker *w, const struct hw_region_plan *plan,
			    hw_addr_t addr, uint64_t size_field)
{
	uint64_t size = size_field & ~(uint64_t)HW_GLIBC_FLAGS;
	hw_addr_t arena = w->glibc->arenas.data[plan->arena_index].address;
	if (plan->top && addr < plan->top && size > plan->top - addr)
		hw_issues_add(
			w->in.issues, HW_ERROR_CORRUPT, addr,
			"chunk 0x%llx of arena 0x%llx: size 0x%llx reaches beyond top 0x%llx; "
			"the rest of the region is shown as unknown",
			(unsigned long long)addr, (unsigned long long)arena,
			(unsigned long long)size, (unsigned long long)plan->top);
	else
		hw_issues_add(
			w->in.issues, HW_ERROR_CORRUPT, addr,
			"chunk 0x%llx of arena 0x%llx: size field 0x%llx, expected a multiple of "
			"16 from %d to %llu; the rest of the region is shown as unknown",
			(unsigned long long)addr, (unsigned long long)arena,
			(unsigned long long)size_field, HW_GLIBC_MIN_CHUNK,
			(unsigned long long)(plan->limit - addr));
}

// malloc/malloc.c sysmalloc: a top that is left behind ends in two chunks of a header, or three when
// it was so small that what was left of it has 16 bytes too. A thread heap's ends in one of a header
// and one of size 0. 32-bit ones have 8 bytes left then: a top ends where a page does, a chunk does not.
//
// Handles the header at `addr` when it is such a mark. *ret_is_end: the region ends at *addr then.
static struct hw_error *hw_region_fence(struct hw_region_builder *b,
					const struct hw_region_plan *plan, uint64_t size_field,
					unsigned *fences, hw_addr_t *addr, bool *ret_is_mark,
					bool *ret_is_end)
{
	struct hw_region *region = &b->region;
	uint64_t size = size_field & ~(uint64_t)HW_GLIBC_FLAGS;
	*ret_is_mark = *ret_is_end = false;
	if (plan->kind == HW_REGION_HEAP && size == 0 && plan->limit - *addr == 16) {
		// A remainder too small for a chunk is merged into the mark before: nobody was handed
		// it out, so its non-main-arena bit is clear.
		uint8_t header[HW_GLIBC_HEADER];
		hw_addr_t before = *addr - 32;
		if (HW_GLIBC_WORD == 8 && region->count > 1 && !*fences &&
		    hw_region_chunk_start(region, region->count - 1) == before &&
		    hw_region_state(region, region->count - 1) == HW_CHUNK_IN_USE &&
		    hw_pages_read(&b->w->pages, before, header, sizeof(header)) &&
		    !(hw_glibc_word(header + HW_GLIBC_WORD) & HW_GLIBC_NON_MAIN_ARENA))
			hw_region_mark(region, region->count - 1, HW_CHUNK_FENCE);
		*ret_is_mark = *ret_is_end = true;
	} else if (size == HW_GLIBC_HEADER && plan->limit - *addr >= HW_GLIBC_HEADER) {
		*ret_is_mark = true;
	}
	if (!*ret_is_mark)
		return NULL;
	HW_TRY(hw_region_builder_add(b, *addr, HW_CHUNK_FENCE));
	*addr = *ret_is_end ? plan->limit : *addr + HW_GLIBC_HEADER;
	++*fences;
	if (plan->kind != HW_REGION_HEAP && *fences >= 2) {
		uint8_t next[HW_GLIBC_HEADER];
		*ret_is_end = *fences == 3 || *addr % HW_GLIBC_PAGE == 0 ||
			      plan->limit - *addr < HW_GLIBC_HEADER ||
			      !hw_pages_read(&b->w->pages, *addr, next, sizeof(next)) ||
			      (hw_glibc_word(next + HW_GLIBC_WORD) & ~(uint64_t)HW_GLIBC_FLAGS) !=
				      HW_GLIBC_HEADER;
		if (*ret_is_end)
			*addr = hw_min(hw_align_up(*addr, HW_GLIBC_ALIGNMENT), plan->limit);
	}
	return NULL;
}

struct hw_error *hw_glibc_walk_region(struct hw_glibc_walker *w, const struct hw_region_plan *plan,
				      enum hw_region_ending *ret_ending, hw_addr_t *ret_end)
{
	hw_cleanup_with(hw_region_builder_deinit) struct hw_region_builder b = {
		.w = w,
		.region = { .arena_index = plan->arena_index, .kind = plan->kind },
		.is_sighting = w->in.look || w->picks.is_on,
	};
	struct hw_region *region = &b.region;
	struct hw_view view = { 0 };
	hw_addr_t addr = plan->first;
	// A chunk that reaches beyond top is as wrong as one that reaches beyond the region.
	hw_addr_t stop = plan->top ? plan->top : plan->limit;
	hw_addr_t fast_stop = plan->join ? hw_min(stop, plan->join) : stop;
	b.bytes = fast_stop > plan->first ? fast_stop - plan->first : 0;
	bool is_first = true;
	unsigned fences = 0;

	if (plan->start < plan->first)
		HW_TRY(hw_region_builder_add(&b, plan->start, HW_CHUNK_ARENA));
	*ret_ending = HW_ENDING_DAMAGE;
	for (;;) {
		if (addr == plan->limit) {
			if (plan->top_is_lost && region->count > 1)
				hw_region_mark(region, region->count - 1, HW_CHUNK_TOP);
			else
				hw_issues_add(
					w->in.issues, HW_ERROR_CORRUPT, addr,
					"the chunks of arena 0x%llx end at 0x%llx without top or "
					"a fence",
					(unsigned long long)w->glibc->arenas.data[plan->arena_index]
						.address,
					(unsigned long long)addr);
			*ret_end = addr;
			return hw_region_builder_finish(&b, addr);
		}
		hw_addr_t was = view.start;
		if (!hw_view_has(&view, addr, HW_GLIBC_HEADER)) {
			if (plan->limit - addr < HW_GLIBC_HEADER || !hw_view_load(w, &view, addr)) {
				hw_issues_add(
					w->in.issues, HW_ERROR_FAULT, addr,
					"header of chunk 0x%llx can't be read: where chunks begin "
					"behind it is not known, up to the end of the region or "
					"its top",
					(unsigned long long)addr);
				return hw_region_broken(&b, plan, addr, HW_CHUNK_MISSING, ret_end);
			}
			if (hw_view_poll(w, &view, was))
				return hw_glibc_interrupted();
		}
		if (region->count == b.capacity && !hw_region_builder_grow(&b))
			return &hw_enomem;

		// The fast way: ordinary chunks whose headers are in view.
		uint64_t size_field = 0, size = 0;
		const hw_addr_t last_reachable =
			region->count ? region->start + HW_CHUNK_UNIT * (hw_addr_t)UINT32_MAX : 0;
		uint32_t count = region->count;
		while (hw_view_has(&view, addr, HW_GLIBC_HEADER) && addr < fast_stop) {
			size_field = hw_glibc_word(view.data + (addr - view.start) + HW_GLIBC_WORD);
			size = size_field & ~(uint64_t)HW_GLIBC_FLAGS;
			if (size < HW_GLIBC_MIN_CHUNK ||
			    size_field & (HW_GLIBC_ODD | HW_GLIBC_IS_MMAPPED) ||
			    size > stop - addr || count == b.capacity || addr > last_reachable)
				break;
			if (!(size_field & HW_GLIBC_PREV_INUSE) && !is_first) {
				region->count = count;
				HW_TRY(hw_note_free_before(&b, &view, addr));
			}
			region->offset8[count] = (uint32_t)((addr - region->start) / HW_CHUNK_UNIT);
			region->state[count] = HW_CHUNK_IN_USE;
			is_first = false;
			if (b.is_sighting)
				HW_TRY(hw_sight_chunk(&b, &view, count, addr, size));
			count++;
			// every tcache_perthread_struct's size is in this range
			if (size - HW_TCACHE_CHUNK_MIN <=
			    HW_TCACHE_CHUNK_MAX - HW_TCACHE_CHUNK_MIN) {
				region->count = count;
				HW_TRY(hw_note_tcache_candidate(w, &view, addr, size));
			}
			addr += size;
		}
		region->count = count;
		if (!hw_view_has(&view, addr, HW_GLIBC_HEADER))
			continue;
		if (count == b.capacity)
			continue;

		// The rest: top, fences, the first chunk of a region or of its next half, damage.
		size_field = hw_glibc_word(view.data + (addr - view.start) + HW_GLIBC_WORD);
		size = size_field & ~(uint64_t)HW_GLIBC_FLAGS;
		bool is_odd = size_field & HW_GLIBC_ODD &&
			      (HW_GLIBC_WORD == 8 || addr != plan->top);
		bool is_ordinary = size >= HW_GLIBC_MIN_CHUNK && !is_odd &&
				   !(size_field & HW_GLIBC_IS_MMAPPED) &&
				   size <= plan->limit - addr;
		bool is_mark = false, is_end = false;
		if (plan->join && addr >= plan->join && !fences) {
			if (!(size_field & HW_GLIBC_PREV_INUSE) && !is_first)
				HW_TRY(hw_note_free_before(&b, &view, addr));
			*ret_ending = HW_ENDING_JOIN;
			*ret_end = addr;
			return hw_region_builder_finish(&b, addr);
		}
		// a header that is damaged is believed only where it agrees with the size before
		if (!(size_field & HW_GLIBC_PREV_INUSE) && !is_first && region->count &&
		    hw_glibc_word(view.data + (addr - view.start)) ==
			    addr - hw_region_chunk_start(region, region->count - 1))
			HW_TRY(hw_mark_free(&b, &view, addr));
		if (addr == plan->top) {
			if (!is_ordinary) {
				hw_report_chunk(w, plan, addr, size_field);
				return hw_region_broken(&b, plan, addr, HW_CHUNK_UNKNOWN, ret_end);
			}
			HW_TRY(hw_region_builder_add(&b, addr, HW_CHUNK_TOP));
			*ret_ending = HW_ENDING_TOP;
			*ret_end = addr + size;
			return hw_region_builder_finish(&b, addr + size);
		}
		if (is_ordinary && size <= stop - addr) {
			HW_TRY(hw_region_builder_add(&b, addr, HW_CHUNK_IN_USE));
			if (b.is_sighting)
				HW_TRY(hw_sight_chunk(&b, &view, region->count - 1, addr, size));
			HW_TRY(hw_note_tcache_candidate(w, &view, addr, size));
			is_first = false;
			addr += size;
			continue;
		}
		if (!is_first)
			HW_TRY(hw_region_fence(&b, plan, size_field, &fences, &addr, &is_mark,
					       &is_end));
		if (is_end) {
			*ret_ending = HW_ENDING_FENCE;
			*ret_end = addr;
			return hw_region_builder_finish(&b, addr);
		}
		if (!is_mark) {
			hw_report_chunk(w, plan, addr, size_field);
			return hw_region_broken(&b, plan, addr, HW_CHUNK_UNKNOWN, ret_end);
		}
	}
}
