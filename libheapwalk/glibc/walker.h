/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the files of this folder share while one walk is under way. Not for other folders.
#ifndef HW_GLIBC_WALKER_H
#define HW_GLIBC_WALKER_H

#include "base/cleanup.h"
#include "base/vector.h"
#include "glibc/layout.h"
#include "glibc/malloc.h"

// A malloc_state as it was read.
struct hw_glibc_state {
	uint8_t bytes[HW_GLIBC_LARGEST_STATE];
	hw_addr_t top;
	hw_addr_t heap; // thread arenas: the heap_info in front of it
	uint64_t heap_max;
	uint32_t flags;
};

// The links of a region's free chunks, picked up as the walk passes them: following lists through the
// target instead would cost a read for each member.
struct hw_free_links {
	hw_addr_t region_start;
	// Of each HW_CHUNK_FREE, or of each candidate, in address order. Owned.
	uint64_t *fd;    // as stored
	uint32_t *chunk; // index in the region
	uint32_t count, capacity;
	uint64_t back_sum; // of hw_link_hash(chunk, bk)
};

typedef HW_VEC(struct hw_free_links) hw_free_links_vec;

static inline void hw_free_links_deinit(struct hw_free_links *links)
{
	free(links->fd);
	free(links->chunk);
	*links = (struct hw_free_links){ 0 };
}

// Members of fastbins keep the in-use bit, so the walk can't tell whose links to pick up: it takes those
// of every small chunk whose first word reads as a link that leads to [low, high) or nowhere. Until the
// lists have been followed, which say who is a member, such a chunk's state has HW_CHUNK_CANDIDATE.
#define HW_CHUNK_CANDIDATE 0x80000000u

struct hw_glibc_picks {
	bool is_on;
	bool is_mangled; // links are stored with safe-linking
	hw_addr_t low, high;
};

// malloc.c: hw_glibc_walk() of either width.
struct hw_error *hw_glibc_walk_64(const struct hw_glibc_inputs *inputs,
				  struct hw_glibc *ret) HW_MUST_USE;
struct hw_error *hw_glibc_walk_32(const struct hw_glibc_inputs *inputs,
				  struct hw_glibc *ret) HW_MUST_USE;

// Lists are whole when the edges that fd says and those that bk says are the same set: their hashes add
// up to the same sum.
static inline uint64_t hw_link_hash(hw_addr_t from, hw_addr_t to)
{
	uint64_t h = from / HW_GLIBC_HEADER * 0x9e3779b97f4a7c15u ^
		     to / HW_GLIBC_HEADER * 0xc2b2ae3d27d4eb4fu;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return h ^ h >> 32;
}

struct hw_glibc_walker {
	struct hw_glibc_inputs in;
	struct hw_module *libc;   // the one to walk, of several; NULL: any, and the others after it
	struct hw_module *module; // that holds main_arena; NULL: found in memory alone
	unsigned worker;          // 0: the caller's thread
	struct hw_glibc *glibc;

	struct hw_pages pages;
	struct hw_window window;
	uint64_t polled_bytes;

	const struct hw_glibc_layout *layout;
	const struct hw_glibc_mp_layout *mp_layout; // NULL: mp_ was not found
	uint32_t heap_info_bytes;                   // 0: no thread arena seen yet
	hw_addr_t sbrk_base;
	uint64_t hp_pagesize;
	uint64_t tcache_count;

	HW_VEC(struct hw_glibc_state *) states; // one an arena, same index; owned
	hw_free_links_vec free_links;           // one a region that has free chunks
	struct hw_glibc_picks picks;
	hw_free_links_vec candidate_links;   // one a region that has candidates
	HW_VEC(hw_addr_t) tcache_candidates; // mem of in-use chunks that look like a tcache
	uint64_t trial_steps_left;           // bounds all searches for chains together
	HW_VEC(struct hw_glibc) others;      // of other namespaces; owned
	unsigned unseen_links;               // of free lists, to where no chunks could be seen
	hw_addr_t first_unseen;              // what the first of them leads to
};

static inline const char *hw_glibc_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

// malloc.c: one glibc of several, without mmapped chunks.
struct hw_error *hw_glibc_walk_libc(const struct hw_glibc_inputs *inputs, struct hw_module *libc,
				    struct hw_glibc *ret) HW_MUST_USE;

// namespaces.c
// Walks the other glibcs of the process; what they count of mmapped chunks is added to our own count.
struct hw_error *hw_glibc_walk_others(struct hw_glibc_walker *w) HW_MUST_USE;
// Puts their arenas and regions into our table, when that is complete.
struct hw_error *hw_glibc_take_others(struct hw_glibc_walker *w) HW_MUST_USE;

// find.c
bool hw_glibc_is_libc_path(const char *path);
// Fills glibc->main_arena, mp, layout, facts. Success with main_arena 0: no glibc malloc here.
struct hw_error *hw_glibc_find(struct hw_glibc_walker *w) HW_MUST_USE;
// Does a malloc_state of that layout stand at addr? Reads it, and follows the ring back to it.
bool hw_glibc_proves_main_arena(struct hw_glibc_walker *w, const struct hw_glibc_layout *layout,
				hw_addr_t addr);

// scan.c: main_arena and mp_ by what they look like in memory
hw_addr_t hw_glibc_scan_main_arena(struct hw_glibc_walker *w, hw_addr_t start, hw_addr_t end,
				   const struct hw_glibc_layout **ret_layout);
hw_addr_t hw_glibc_scan_mp(struct hw_glibc_walker *w, hw_addr_t start, hw_addr_t end,
			   const struct hw_glibc_mp_layout **ret_layout);
bool hw_glibc_plausible_mp(struct hw_glibc_walker *w, const struct hw_glibc_mp_layout *layout,
			   const uint8_t *bytes);

// other.c: fills glibc->other, once it is known whether glibc's own is at work.
void hw_glibc_find_other(struct hw_glibc_walker *w);

// arena.c
struct hw_error *hw_glibc_read_arenas(struct hw_glibc_walker *w) HW_MUST_USE;
struct hw_error *hw_glibc_walk_heaps(struct hw_glibc_walker *w, uint32_t arena_index) HW_MUST_USE;

// main.c
struct hw_error *hw_glibc_walk_main(struct hw_glibc_walker *w) HW_MUST_USE;

// region.c
enum hw_region_ending { HW_ENDING_TOP, HW_ENDING_FENCE, HW_ENDING_DAMAGE, HW_ENDING_JOIN };

struct hw_region_plan {
	uint32_t arena_index;
	enum hw_region_kind kind;
	hw_addr_t start;  // start … first is one HW_CHUNK_ARENA chunk, if any
	hw_addr_t first;  // chunk
	hw_addr_t limit;  // no chunk reaches beyond it
	hw_addr_t top;    // 0: not in this region
	hw_addr_t join;   // the walk ends at the first chunk from there on; 0: at the region's end
	bool top_is_lost; // the arena's top is damaged: a chunk that ends at limit is taken for it
};

struct hw_error *hw_glibc_walk_region(struct hw_glibc_walker *w, const struct hw_region_plan *plan,
				      enum hw_region_ending *ret_ending,
				      hw_addr_t *ret_end) HW_MUST_USE;
// pieces.c: the same on several threads, where it is long.
struct hw_error *hw_glibc_walk_long_region(struct hw_glibc_walker *w,
					   const struct hw_region_plan *plan,
					   enum hw_region_ending *ret_ending,
					   hw_addr_t *ret_end) HW_MUST_USE;
// regions.c
// Would a walk from there end at top or at a fence, with nothing wrong on the way?
bool hw_glibc_is_chain(struct hw_glibc_walker *w, hw_addr_t first, hw_addr_t limit, hw_addr_t top,
		       hw_addr_t *ret_end);
// Takes the arrays. An mmapped chunk is a region of one chunk.
struct hw_error *hw_glibc_add_region(struct hw_glibc_walker *w,
				     struct hw_region *region) HW_MUST_USE;
void hw_glibc_sort_regions(struct hw_glibc_walker *w);
// The chunk that starts exactly there. *region is a hint and an answer; false: none.
bool hw_glibc_find_exact(const struct hw_glibc *glibc, hw_addr_t chunk, struct hw_region **region,
			 uint32_t *ret_index);
static inline uint64_t hw_region_chunk_size(const struct hw_region *region, uint32_t i)
{
	return hw_region_chunk_end(region, i) - hw_region_chunk_start(region, i);
}

static inline enum hw_chunk_state hw_region_state(const struct hw_region *region, uint32_t i)
{
	uint32_t state = region->state[i] & ~HW_CHUNK_CANDIDATE;
	return state < HW_CHUNK_STATE_COUNT ? (enum hw_chunk_state)state : HW_CHUNK_IN_USE;
}
// A list has said what an in-use chunk is.
static inline void hw_region_mark(const struct hw_region *region, uint32_t i,
				  enum hw_chunk_state state)
{
	region->state[i] = (region->state[i] & HW_CHUNK_CANDIDATE) | state;
}

// malloc.c: frees what the walk itself holds, not its result.
void hw_glibc_walker_deinit(struct hw_glibc_walker *w);

// mmapped.c
struct hw_error *hw_glibc_find_mmapped(struct hw_glibc_walker *w) HW_MUST_USE;
bool hw_glibc_is_anonymous(const struct hw_mapping *mapping);

// tcache.c
bool hw_glibc_looks_like_tcache(const struct hw_glibc_walker *w,
				const struct hw_glibc_tcache_layout *layout, const uint8_t *mem,
				bool *ret_is_empty);
struct hw_error *hw_glibc_mark_tcaches(struct hw_glibc_walker *w) HW_MUST_USE;

// links.c
// All bins of an arena at once from the links that were picked up. False: something does not fit
// together, nothing is marked, and the lists are to be followed one by one in the target.
struct hw_error *hw_glibc_mark_by_links(struct hw_glibc_walker *w, uint32_t arena_index,
					bool *ret_is_whole) HW_MUST_USE;
// The same for its fastbins, from the candidates' links. In any case no candidate of it is left.
struct hw_error *hw_glibc_mark_fastbins_by_links(struct hw_glibc_walker *w, uint32_t arena_index,
						 bool *ret_is_whole) HW_MUST_USE;

// bins.c
// Sets w->picks, before any region is walked.
void hw_glibc_plan_picks(struct hw_glibc_walker *w);
// Last of all that follows lists: it says how many lead to what could not be seen.
struct hw_error *hw_glibc_mark_bins(struct hw_glibc_walker *w) HW_MUST_USE;
// Is `chunk` where no chunks could be seen, because memory is missing or damaged? Counts it then: a list
// that leads there is not damaged itself.
bool hw_glibc_leads_to_unseen(struct hw_glibc_walker *w, hw_addr_t chunk);
// Sets glibc->safe_linking from the links that fastbins and tcaches hold.
void hw_glibc_detect_safe_linking(struct hw_glibc_walker *w);
static inline hw_addr_t hw_glibc_decode_link(const struct hw_glibc *glibc, hw_addr_t field,
					     uint64_t stored)
{
	return glibc->safe_linking ? stored ^ (field >> 12) : stored;
}

// Interruption asked for? Call once a megabyte or so.
bool hw_glibc_poll(struct hw_glibc_walker *w, uint64_t bytes);
struct hw_error *hw_glibc_interrupted(void);

#endif
