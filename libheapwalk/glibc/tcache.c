/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Threads' caches. Their chunks keep the in-use bit, so a walk along headers takes them for used.
//
// A tcache_perthread_struct is a chunk like any other; two things find it. Its shape: an in-use chunk
// of the right size whose counts and heads agree, each head an in-use chunk of exactly that bin's size.
// And libc's thread-local `tcache`: the word at one and the same distance from every thread's thread
// pointer that leads to such chunks, with `thread_arena` close by; it also finds a cache that is empty.
// Shape alone finds the caches that a fork's other threads left behind.
#include "base/bytes.h"
#include "glibc/walker.h"

enum {
	HW_TLS_BYTES = 16 << 10,       // of static TLS beside the thread pointer that are looked at
	HW_THREAD_ARENA_WITHIN = 0x40, // bytes behind `tcache` (2.31 to 2.44: 0x10 or 0x30)
	HW_TCACHE_BYTES = 768,
	HW_CHAIN_MAX = 1 << 16, // counts are 16 bits at most
};

static unsigned hw_count_of(const struct hw_glibc_tcache_layout *layout, const uint8_t *mem,
			    unsigned bin)
{
	return layout->count_bytes == 1 ? mem[bin] : hw_u16(mem + 2 * (size_t)bin);
}

static hw_addr_t hw_entry_of(const struct hw_glibc_tcache_layout *layout, const uint8_t *mem,
			     unsigned bin)
{
	return hw_glibc_word(mem + layout->entries + HW_GLIBC_WORD * (size_t)bin);
}

bool hw_glibc_looks_like_tcache(const struct hw_glibc_walker *w,
				const struct hw_glibc_tcache_layout *layout, const uint8_t *mem,
				bool *ret_is_empty)
{
	bool has_entries = false;
	unsigned empty_count = layout->counts_left ? (unsigned)w->tcache_count : 0;
	for (unsigned i = 0; i < layout->bins; i++) {
		hw_addr_t entry = hw_entry_of(layout, mem, i);
		unsigned count = hw_count_of(layout, mem, i);
		if (entry & 15 || (entry == 0) != (count == empty_count) ||
		    (layout->counts_left && count > empty_count))
			return false;
		has_entries |= entry != 0;
	}
	// Slots that are all left are a mark of their own; counts that are all zero are just zeros.
	*ret_is_empty = !has_entries && !(layout->counts_left && empty_count);
	return true;
}

// The chunk of a cached block, if it is one that this bin may hold and that nobody else has marked.
static bool hw_find_cached(const struct hw_glibc *glibc, hw_addr_t mem, unsigned bin,
			   struct hw_region **region, uint32_t *ret_index)
{
	if (mem & 15 || !hw_glibc_find_exact(glibc, mem - HW_GLIBC_HEADER, region, ret_index))
		return false;
	uint64_t size = hw_region_chunk_size(*region, *ret_index);
	if ((*region)->kind == HW_REGION_MMAPPED)
		size = (*region)->end - (*region)->mmapped_chunk - 16;
	return hw_region_state(*region, *ret_index) == HW_CHUNK_IN_USE &&
	       hw_glibc_tcache_bin_holds(HW_GLIBC_WORD, bin, size);
}

// Votes of one link for and against safe-linking (2.32, and late RHEL 8): the end of a list is stored
// as 0, or as the field's own address shifted; elsewhere only one reading leads to a chunk of the size.
static void hw_vote(struct hw_glibc_walker *w, hw_addr_t field, uint64_t size, bool to_mem,
		    unsigned votes[2])
{
	uint64_t stored;
	if (!hw_glibc_read_word(&w->pages, field, &stored))
		return;
	bool is_possible[2];
	for (int mangled = 0; mangled < 2; mangled++) {
		hw_addr_t to = mangled ? stored ^ (field >> 12) : stored;
		struct hw_region *region = NULL;
		uint32_t index;
		is_possible[mangled] = to == 0;
		if (to && hw_glibc_is_chunk_place(to_mem ? to - HW_GLIBC_HEADER : to) &&
		    hw_glibc_find_exact(w->glibc, to_mem ? to - HW_GLIBC_HEADER : to, &region,
					&index))
			is_possible[mangled] = hw_region_chunk_size(region, index) == size;
	}
	if (is_possible[0] != is_possible[1])
		votes[is_possible[1]]++;
}

void hw_glibc_detect_safe_linking(struct hw_glibc_walker *w)
{
	unsigned votes[2] = { 0, 0 };
	hw_vec_foreach(state, &w->states) for (unsigned i = 0;
					       w->layout->fastbins && i < HW_GLIBC_FASTBINS; i++)
	{
		hw_addr_t chunk =
			hw_glibc_word((*state)->bytes + w->layout->fastbins + HW_GLIBC_WORD * i);
		struct hw_region *region = NULL;
		uint32_t index;
		if (chunk && hw_glibc_find_exact(w->glibc, chunk, &region, &index))
			hw_vote(w, chunk + HW_GLIBC_HEADER,
				hw_glibc_fastbin_bytes(HW_GLIBC_WORD, i), false, votes);
	}
	hw_vec_foreach(mem, &w->tcache_candidates)
	{
		uint8_t bytes[HW_TCACHE_BYTES];
		struct hw_region *region = NULL;
		uint32_t index;
		if (!hw_glibc_find_exact(w->glibc, *mem - HW_GLIBC_HEADER, &region, &index))
			continue;
		const struct hw_glibc_tcache_layout *layout =
			hw_glibc_tcache_layout_of(hw_region_chunk_size(region, index));
		if (!layout ||
		    !hw_pages_read(&w->pages, *mem, bytes, hw_glibc_tcache_bytes(layout)))
			continue;
		for (unsigned i = 0; i < HW_GLIBC_TCACHE_SMALL_BINS; i++) {
			hw_addr_t entry = hw_entry_of(layout, bytes, i);
			if (entry && hw_find_cached(w->glibc, entry, i, &region, &index))
				hw_vote(w, entry, HW_GLIBC_MIN_CHUNK + 16 * (uint64_t)i, true,
					votes);
		}
	}
	// No list at all: nothing to decode either. 2.43 has it for certain.
	w->glibc->safe_linking = votes[1] > votes[0] || (votes[0] == 0 && w->layout->mmapped_tail);
}

// Heads are plain pointers. Every one must be a chunk that its bin may hold; a chain that breaks
// later is damage, not proof against.
static bool hw_proves_tcache(struct hw_glibc_walker *w, const struct hw_glibc_tcache_layout *layout,
			     const uint8_t *mem)
{
	unsigned good = 0, bad = 0;
	struct hw_region *region = NULL;
	uint32_t index;
	for (unsigned i = 0; i < layout->bins; i++) {
		hw_addr_t entry = hw_entry_of(layout, mem, i);
		if (!entry)
			continue;
		if (hw_find_cached(w->glibc, entry, i, &region, &index))
			good++;
		else
			bad++;
	}
	return bad <= good / 4;
}

static void hw_mark_tcache_bin(struct hw_glibc_walker *w,
			       const struct hw_glibc_tcache_layout *layout, hw_addr_t tcache,
			       const uint8_t *mem, unsigned bin)
{
	hw_addr_t entry = hw_entry_of(layout, mem, bin);
	unsigned count = hw_count_of(layout, mem, bin);
	if (layout->counts_left)
		count = (unsigned)w->tcache_count - count;
	struct hw_region *region = NULL;
	uint32_t index, seen = 0;
	while (entry && seen < HW_CHAIN_MAX) {
		uint64_t stored;
		if (!hw_find_cached(w->glibc, entry, bin, &region, &index)) {
			if (hw_glibc_leads_to_unseen(w, entry))
				return;
			bool is_cycle = !(entry & 15) &&
					hw_glibc_find_exact(w->glibc, entry - HW_GLIBC_HEADER,
							    &region, &index) &&
					hw_region_state(region, index) == HW_CHUNK_TCACHE;
			hw_issues_add(w->in.issues, HW_ERROR_CORRUPT, entry,
				      "tcache 0x%llx: bin %u leads to 0x%llx, %s",
				      (unsigned long long)tcache, bin, (unsigned long long)entry,
				      is_cycle ? "which is cached already"
					       : "which is no chunk of that bin");
			return;
		}
		hw_region_mark(region, index, HW_CHUNK_TCACHE);
		seen++;
		if (!hw_glibc_read_word(&w->pages, entry, &stored))
			return;
		entry = hw_glibc_decode_link(w->glibc, entry, stored);
	}
	if (seen != count)
		hw_issues_add(w->in.issues, HW_ERROR_CORRUPT, tcache,
			      "tcache 0x%llx: bin %u holds %u chunks, its count says %u",
			      (unsigned long long)tcache, bin, seen, count);
}

// `mem` is a tcache_perthread_struct if its content agrees, or, when it is empty, if is_known.
static void hw_mark_tcache(struct hw_glibc_walker *w, hw_addr_t tcache, bool is_known)
{
	uint8_t bytes[HW_TCACHE_BYTES];
	struct hw_region *region = NULL;
	uint32_t index;
	bool is_empty;
	if (!hw_glibc_find_exact(w->glibc, tcache - HW_GLIBC_HEADER, &region, &index) ||
	    hw_region_state(region, index) != HW_CHUNK_IN_USE)
		return;
	const struct hw_glibc_tcache_layout *layout =
		hw_glibc_tcache_layout_of(hw_region_chunk_size(region, index));
	if (!layout || !hw_pages_read(&w->pages, tcache, bytes, hw_glibc_tcache_bytes(layout)) ||
	    !hw_glibc_looks_like_tcache(w, layout, bytes, &is_empty) || (is_empty && !is_known) ||
	    !hw_proves_tcache(w, layout, bytes))
		return;
	hw_region_mark(region, index, HW_CHUNK_TCACHE_STRUCT);
	for (unsigned i = 0; i < layout->bins; i++)
		hw_mark_tcache_bin(w, layout, tcache, bytes, i);
}

// What a word of static TLS may be.
enum hw_tls_word { HW_TLS_OTHER, HW_TLS_EMPTY_TCACHE, HW_TLS_FULL_TCACHE, HW_TLS_ARENA };

static enum hw_tls_word hw_tls_word_kind(struct hw_glibc_walker *w, uint64_t word)
{
	uint8_t bytes[HW_TCACHE_BYTES];
	struct hw_region *region = NULL;
	uint32_t index;
	bool is_empty;
	if (!word)
		return HW_TLS_OTHER;
	hw_vec_foreach(arena, &w->glibc->arenas) if (arena->address == word) return HW_TLS_ARENA;
	if (word & 15 || !hw_glibc_find_exact(w->glibc, word - HW_GLIBC_HEADER, &region, &index) ||
	    region->kind == HW_REGION_MMAPPED || hw_region_state(region, index) != HW_CHUNK_IN_USE)
		return HW_TLS_OTHER;
	const struct hw_glibc_tcache_layout *layout =
		hw_glibc_tcache_layout_of(hw_region_chunk_size(region, index));
	if (!layout || !hw_pages_read(&w->pages, word, bytes, hw_glibc_tcache_bytes(layout)) ||
	    !hw_glibc_looks_like_tcache(w, layout, bytes, &is_empty) ||
	    !hw_proves_tcache(w, layout, bytes))
		return HW_TLS_OTHER;
	return is_empty ? HW_TLS_EMPTY_TCACHE : HW_TLS_FULL_TCACHE;
}

struct hw_tls_votes {
	uint32_t full, empty;
	bool has_arena_behind;
};

// Where static TLS of a thread is: below its thread pointer or, on other machines, from there on.
static hw_addr_t hw_tls_start(const struct hw_glibc_walker *w, const struct hw_thread *thread)
{
	bool has_room = thread->tp >= HW_TLS_BYTES;
	return !w->in.target->machine->has_tls_below ? thread->tp
	       : has_room                            ? thread->tp - HW_TLS_BYTES
						     : 0;
}

// As far as there is memory, away from the thread pointer; what is not there reads as 0.
static void hw_read_tls(struct hw_glibc_walker *w, const struct hw_thread *thread, uint8_t *words)
{
	hw_addr_t start = hw_tls_start(w, thread);
	bool is_below = w->in.target->machine->has_tls_below;
	memset(words, 0, HW_TLS_BYTES);
	for (size_t done = 0; done < HW_TLS_BYTES;) {
		hw_addr_t at = is_below ? start + HW_TLS_BYTES - done : start + done;
		size_t into = at % HW_GLIBC_PAGE;
		size_t step = !is_below ? HW_GLIBC_PAGE - into : into ? into : HW_GLIBC_PAGE;
		step = (size_t)hw_min(step, HW_TLS_BYTES - done);
		at -= is_below ? step : 0;
		if (!hw_pages_read(&w->pages, at, words + (at - start), step))
			return;
		done += step;
	}
}

static struct hw_error *hw_mark_by_tls(struct hw_glibc_walker *w, bool *ret_is_found)
{
	enum { WORDS = HW_TLS_BYTES / HW_GLIBC_WORD };
	hw_cleanup_free uint8_t *words = malloc(HW_TLS_BYTES);
	hw_cleanup_free struct hw_tls_votes *votes = calloc(WORDS, sizeof(*votes));
	if (!words || !votes)
		return &hw_enomem;
	*ret_is_found = false;
	hw_vec_foreach(thread, &w->in.target->threads)
	{
		if (thread->tp % HW_GLIBC_WORD || !hw_tls_start(w, thread))
			continue;
		size_t arena_at = WORDS; // the nearest one behind
		hw_read_tls(w, thread, words);
		for (size_t i = WORDS; i-- > 0;) {
			enum hw_tls_word kind =
				hw_tls_word_kind(w, hw_glibc_word(words + HW_GLIBC_WORD * i));
			if (kind == HW_TLS_ARENA)
				arena_at = i;
			if (kind != HW_TLS_EMPTY_TCACHE && kind != HW_TLS_FULL_TCACHE)
				continue;
			votes[i].full += kind == HW_TLS_FULL_TCACHE;
			votes[i].empty += kind == HW_TLS_EMPTY_TCACHE;
			votes[i].has_arena_behind |= arena_at < WORDS &&
						     (arena_at - i) * HW_GLIBC_WORD <=
							     HW_THREAD_ARENA_WITHIN;
		}
	}
	size_t best = WORDS;
	for (size_t i = 0; i < WORDS; i++)
		if (votes[i].has_arena_behind &&
		    (best == WORDS || votes[i].full > votes[best].full ||
		     (votes[i].full == votes[best].full && votes[i].empty > votes[best].empty)))
			best = i;
	if (best == WORDS)
		return NULL;
	*ret_is_found = true;
	hw_vec_foreach(thread, &w->in.target->threads)
	{
		uint64_t tcache;
		if (hw_tls_start(w, thread) &&
		    hw_glibc_read_word(&w->pages, hw_tls_start(w, thread) + HW_GLIBC_WORD * best,
				       &tcache) &&
		    tcache && !(tcache & 15))
			hw_mark_tcache(w, tcache, true);
	}
	return NULL;
}

struct hw_error *hw_glibc_mark_tcaches(struct hw_glibc_walker *w)
{
	bool is_found;
	HW_TRY(hw_mark_by_tls(w, &is_found));
	hw_vec_foreach(mem, &w->tcache_candidates) hw_mark_tcache(w, *mem, false);
	// Up to 2.41 the first malloc of a process makes the tcache first of all: the first chunk of the
	// main arena is the main thread's for as long as it lives, empty or not.
	hw_addr_t first = w->sbrk_base ? hw_glibc_chunk_up(w->sbrk_base) : 0;
	struct hw_region *region = NULL;
	uint32_t index;
	if (!is_found && first && hw_glibc_find_exact(w->glibc, first, &region, &index) &&
	    region->kind == HW_REGION_MAIN)
		hw_mark_tcache(w, first + HW_GLIBC_HEADER, true);
	return NULL;
}
