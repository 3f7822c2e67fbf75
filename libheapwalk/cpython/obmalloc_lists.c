/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/obmalloc_lists.h"

#include <inttypes.h>
#include <stdio.h>

#include "cpython/obmalloc_internal.h"

// ---- structures ----

bool hw_pool_header_read(const struct hw_obmalloc_view *view, hw_addr_t pool,
			 struct hw_pool_header *ret)
{
	const struct hw_python_layout *l = view->layout;
	uint8_t bytes[HW_POOL_HEADER_BYTES_MAX];
	const unsigned word = l->word_bytes;
	const int32_t header = hw_obmalloc_header_bytes(l);
	// The walk has checked that the other members are there and inside.
	if (l->pool_prevpool < 0 || l->pool_prevpool > header - (int32_t)word ||
	    !hw_pages_read(view->pages, pool, bytes, (size_t)header))
		return false;
	*ret = (struct hw_pool_header){
		.ref_count = hw_u32(bytes + l->pool_ref_count),
		.freeblock = hw_word(bytes + l->pool_freeblock, word),
		.nextpool = hw_word(bytes + l->pool_nextpool, word),
		.prevpool = hw_word(bytes + l->pool_prevpool, word),
		.arenaindex = hw_u32(bytes + l->pool_arenaindex),
		.szidx = hw_u32(bytes + l->pool_szidx),
		.nextoffset = hw_u32(bytes + l->pool_nextoffset),
		.maxnextoffset = hw_u32(bytes + l->pool_maxnextoffset),
	};
	return true;
}

static bool hw_arena_links_are_known(const struct hw_python_layout *l)
{
	return l->arena_nextarena >= 0 && l->arena_prevarena >= 0 &&
	       l->arena_nextarena <= l->arena_object_size - (int32_t)l->word_bytes &&
	       l->arena_prevarena <= l->arena_object_size - (int32_t)l->word_bytes;
}

bool hw_arena_object_read(const struct hw_obmalloc_view *view, hw_addr_t object,
			  struct hw_arena_object *ret)
{
	const struct hw_python_layout *l = view->layout;
	uint8_t bytes[HW_ARENA_OBJECT_BYTES_MAX];
	const unsigned word = l->word_bytes;
	if (!hw_arena_links_are_known(l) ||
	    !hw_pages_read(view->pages, object, bytes, (size_t)l->arena_object_size))
		return false;
	*ret = (struct hw_arena_object){
		.address = hw_word(bytes + l->arena_address, word),
		.pool_address = hw_word(bytes + l->arena_pool_address, word),
		.nfreepools = hw_u32(bytes + l->arena_nfreepools),
		.ntotalpools = hw_u32(bytes + l->arena_ntotalpools),
		.freepools = hw_word(bytes + l->arena_freepools, word),
		.nextarena = hw_word(bytes + l->arena_nextarena, word),
		.prevarena = hw_word(bytes + l->arena_prevarena, word),
	};
	return true;
}

static bool hw_state_has_object(const struct hw_obmalloc_view *view,
				const struct hw_pymalloc_state *state, hw_addr_t addr)
{
	return state->arena_objects &&
	       addr - state->arena_objects <
		       state->max_arenas * (uint64_t)view->layout->arena_object_size;
}

const struct hw_pymalloc_state *hw_arena_object_at(const struct hw_obmalloc_view *view,
						   hw_addr_t addr, uint32_t *ret_index,
						   hw_addr_t *ret_object)
{
	hw_vec_foreach(state, &view->pymalloc->states)
	{
		uint64_t size = (uint64_t)view->layout->arena_object_size;
		if (!hw_state_has_object(view, state, addr))
			continue;
		*ret_index = (uint32_t)((addr - state->arena_objects) / size);
		*ret_object = state->arena_objects + *ret_index * size;
		return state;
	}
	return NULL;
}

const struct hw_arena *hw_arena_of_object(const struct hw_pymalloc *pymalloc, hw_addr_t object)
{
	hw_vec_foreach(arena, &pymalloc->arenas)
	{
		if (arena->arena_object == object)
			return arena;
	}
	return NULL;
}

// ---- lists ----

static bool hw_list_damage(const struct hw_obmalloc_view *view, hw_addr_t at, const char *list,
			   const char *wrong, uint64_t count, hw_addr_t member)
{
	hw_issues_add(view->issues, HW_ERROR_CORRUPT, at,
		      "%s leads %s, to 0x%" PRIx64 ", after %" PRIu64 " members", list, wrong,
		      member, count);
	return false;
}

bool hw_has_usedpools(const struct hw_pymalloc_state *state)
{
	return state->used != 0;
}

bool hw_has_usable_arenas(const struct hw_obmalloc_view *view,
			  const struct hw_pymalloc_state *state)
{
	return state->usable && hw_arena_links_are_known(view->layout);
}

bool hw_has_unused_arena_objects(const struct hw_obmalloc_view *view,
				 const struct hw_pymalloc_state *state)
{
	return state->unused && hw_arena_links_are_known(view->layout);
}

bool hw_usedpools_visit(const struct hw_obmalloc_view *view, const struct hw_pymalloc_state *state,
			uint32_t size_class, hw_member_fn *visit, void *payload)
{
	const struct hw_pymalloc *pm = view->pymalloc;
	hw_addr_t entry = state->used + size_class * 2 * view->layout->word_bytes;
	// A fake pool header whose nextpool and prevpool are the entry's two words.
	hw_addr_t head = entry - (hw_addr_t)view->layout->pool_nextpool, at, before = head;
	struct hw_pool_header header;
	char list[64];
	snprintf(list, sizeof(list), "usedpools of size class %" PRIu32, size_class);
	if (!hw_pages_read_word(view->pages, entry, &at))
		return hw_list_damage(view, entry, list, "nowhere that can be read", 0, entry);
	for (uint64_t count = 0; at != head; count++) {
		const struct hw_pool *pool = hw_pymalloc_find_pool(pm, at);
		const char *wrong = NULL;
		if (!pool || pool->start != at)
			wrong = "to no pool";
		else if (!hw_pool_header_read(view, at, &header))
			wrong = "to a pool that can't be read";
		else if (header.szidx != size_class)
			wrong = "to a pool of another class";
		else if (header.prevpool != before)
			wrong = "to a pool that another one precedes";
		else if (count == pm->pools.count)
			wrong = "round in a ring";
		if (wrong)
			return hw_list_damage(view, entry, list, wrong, count, at);
		if (!visit(payload, at))
			return true;
		before = at;
		at = header.nextpool;
	}
	return true;
}

bool hw_freepools_visit(const struct hw_obmalloc_view *view, const struct hw_arena *arena,
			hw_member_fn *visit, void *payload)
{
	const struct hw_pymalloc *pm = view->pymalloc;
	hw_addr_t at = arena->freepools;
	struct hw_pool_header header;
	for (uint64_t count = 0; at; count++) {
		const struct hw_pool *pool = hw_pymalloc_find_pool(pm, at);
		const char *wrong = NULL;
		if (!pool || pool->start != at || hw_pymalloc_find_arena(pm, at) != arena)
			wrong = "to no pool of its arena";
		else if (!hw_pool_header_read(view, at, &header))
			wrong = "to a pool that can't be read";
		else if (count == arena->pools_total)
			wrong = "round in a ring";
		if (wrong)
			return hw_list_damage(view, arena->arena_object, "freepools", wrong, count,
					      at);
		if (!visit(payload, at))
			return true;
		at = header.nextpool;
	}
	return true;
}

// A list of arena objects. `is_usable`: of those that have an arena, linked both ways.
static bool hw_arena_list_visit(const struct hw_obmalloc_view *view,
				const struct hw_pymalloc_state *state, hw_addr_t head,
				bool is_usable, hw_member_fn *visit, void *payload)
{
	const char *list = is_usable ? "usable_arenas" : "unused_arena_objects";
	hw_addr_t at, before = 0;
	struct hw_arena_object object;
	if (!hw_pages_read_word(view->pages, head, &at))
		return hw_list_damage(view, head, list, "nowhere that can be read", 0, head);
	for (uint64_t count = 0; at; count++) {
		const char *wrong = NULL;
		if (!hw_state_has_object(view, state, at) ||
		    (at - state->arena_objects) % (uint64_t)view->layout->arena_object_size)
			wrong = "to no arena object";
		else if (!hw_arena_object_read(view, at, &object))
			wrong = "to an arena object that can't be read";
		else if (is_usable && !object.address)
			wrong = "to an arena object without an arena";
		else if (!is_usable && object.address)
			wrong = "to an arena object that has an arena";
		else if (is_usable && object.prevarena != before)
			wrong = "to an arena object that another one precedes";
		else if (count == state->max_arenas)
			wrong = "round in a ring";
		if (wrong)
			return hw_list_damage(view, head, list, wrong, count, at);
		if (!visit(payload, at))
			return true;
		before = at;
		at = object.nextarena;
	}
	return true;
}

bool hw_usable_arenas_visit(const struct hw_obmalloc_view *view,
			    const struct hw_pymalloc_state *state, hw_member_fn *visit,
			    void *payload)
{
	return hw_arena_list_visit(view, state, state->usable, true, visit, payload);
}

bool hw_unused_arena_objects_visit(const struct hw_obmalloc_view *view,
				   const struct hw_pymalloc_state *state, hw_member_fn *visit,
				   void *payload)
{
	return hw_arena_list_visit(view, state, state->unused, false, visit, payload);
}

bool hw_freeblocks_visit(const struct hw_obmalloc_view *view, const struct hw_pool *pool,
			 hw_member_fn *visit, void *payload)
{
	const uint32_t size = hw_pool_block_bytes(view->pymalloc, pool);
	const hw_addr_t first = pool->start + view->pymalloc->header_bytes;
	hw_addr_t at = pool->freeblock;
	if (pool->is_bad || pool->is_empty)
		return true;
	for (uint32_t count = 0; at; count++) {
		const char *wrong = NULL;
		uint64_t next;
		if (at < first || at - pool->start >= pool->next_offset || (at - first) % size)
			wrong = "to no block of it";
		else if (!hw_pages_read_word(view->pages, at, &next))
			wrong = "to a block that can't be read";
		else if (count == pool->capacity)
			wrong = "round in a ring";
		if (wrong)
			return hw_list_damage(view, pool->start, "the pool's list of free blocks",
					      wrong, count, at);
		if (!visit(payload, at))
			return true;
		at = next;
	}
	return true;
}
