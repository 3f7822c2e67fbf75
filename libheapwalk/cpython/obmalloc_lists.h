/* SPDX-License-Identifier: LGPL-2.1-or-later */
// obmalloc's structures one by one, and its lists as the allocator itself follows them: usedpools (a ring
// of pools for each size class), freepools (of each arena), usable_arenas, unused_arena_objects, and the
// free blocks of a pool. Read from the target when they are asked for: nothing of the walk is trusted but
// which pools and arenas there are.
//
// Every list is bounded by what can be in it and checked link by link. Damage ends it: an issue says
// where, and the visit returns false. Upstream: Objects/obmalloc.c, 2.7, 3.6 – 3.13.
#ifndef HW_CPYTHON_OBMALLOC_LISTS_H
#define HW_CPYTHON_OBMALLOC_LISTS_H

#include "cpython/obmalloc.h"

// struct pool_header, every member.
struct hw_pool_header {
	uint32_t ref_count;
	hw_addr_t freeblock, nextpool, prevpool;
	uint32_t arenaindex, szidx, nextoffset, maxnextoffset;
};

// struct arena_object, every member.
struct hw_arena_object {
	hw_addr_t address; // 0: the slot has no arena
	hw_addr_t pool_address;
	uint32_t nfreepools, ntotalpools;
	hw_addr_t freepools, nextarena, prevarena;
};

struct hw_obmalloc_view {
	const struct hw_pymalloc *pymalloc;
	const struct hw_python_layout *layout;
	struct hw_pages *pages;
	struct hw_issues *issues;
};

// False: it can't be read, or the layout lacks a member.
bool hw_pool_header_read(const struct hw_obmalloc_view *view, hw_addr_t pool,
			 struct hw_pool_header *ret);
bool hw_arena_object_read(const struct hw_obmalloc_view *view, hw_addr_t object,
			  struct hw_arena_object *ret);

// The slot of a state's array of arena objects that contains addr; NULL: none does.
const struct hw_pymalloc_state *hw_arena_object_at(const struct hw_obmalloc_view *view,
						   hw_addr_t addr, uint32_t *ret_index,
						   hw_addr_t *ret_object);
// The arena that an arena object has, NULL: none, or one that was left out of the walk.
const struct hw_arena *hw_arena_of_object(const struct hw_pymalloc *pymalloc, hw_addr_t object);

// Return false to stop; that is no damage.
typedef bool hw_member_fn(void *payload, hw_addr_t member);

// Can this list be followed at all: is its head known?
bool hw_has_usedpools(const struct hw_pymalloc_state *state);
bool hw_has_usable_arenas(const struct hw_obmalloc_view *view,
			  const struct hw_pymalloc_state *state);
bool hw_has_unused_arena_objects(const struct hw_obmalloc_view *view,
				 const struct hw_pymalloc_state *state);

bool hw_usedpools_visit(const struct hw_obmalloc_view *view, const struct hw_pymalloc_state *state,
			uint32_t size_class, hw_member_fn *visit, void *payload);
bool hw_freepools_visit(const struct hw_obmalloc_view *view, const struct hw_arena *arena,
			hw_member_fn *visit, void *payload);
bool hw_usable_arenas_visit(const struct hw_obmalloc_view *view,
			    const struct hw_pymalloc_state *state, hw_member_fn *visit,
			    void *payload);
bool hw_unused_arena_objects_visit(const struct hw_obmalloc_view *view,
				   const struct hw_pymalloc_state *state, hw_member_fn *visit,
				   void *payload);
// Free blocks of a pool in use, the one that is given out next first.
bool hw_freeblocks_visit(const struct hw_obmalloc_view *view, const struct hw_pool *pool,
			 hw_member_fn *visit, void *payload);

#endif
