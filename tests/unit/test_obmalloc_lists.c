/* SPDX-License-Identifier: LGPL-2.1-or-later */
// obmalloc's lists forged in an image, whole and damaged in every way that following them must survive.
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cpython/obmalloc_lists.h"
#include "forged_python.h"

enum {
	INTERP = 0x100000,
	INTERP_BYTES = 0x1000,
	STATE = INTERP + OFF_OBMALLOC,
	OBJECTS = 0x200000, // the array of arena objects
	OBJECT_COUNT = 16,
	HEAP = 0x1000000,
	CARVED = 6, // pools: 0 and 1 of class 0 in use, 2 full, 3 and 4 empty, 5 of class 3 in use
};

struct world {
	struct hw_python python;
	uint8_t interp[INTERP_BYTES], objects[OBJECT_COUNT * ARENA_OBJECT];
	uint8_t *heap; // two arenas
	hw_addr_t interpreter;
	struct hw_target *target;
	struct hw_issues issues;
	struct hw_pymalloc pm;
	struct hw_pages pages;
	struct hw_obmalloc_view view;
	uint64_t count; // members met
	hw_addr_t members[64];
};

static uint8_t *at(struct world *w, hw_addr_t addr)
{
	return addr >= HEAP      ? w->heap + (addr - HEAP)
	       : addr >= OBJECTS ? w->objects + (addr - OBJECTS)
				 : w->interp + (addr - INTERP);
}

static void set64(struct world *w, hw_addr_t addr, uint64_t value)
{
	put64(at(w, addr), value);
}

static void set32(struct world *w, hw_addr_t addr, uint32_t value)
{
	put32(at(w, addr), value);
}

static hw_addr_t pool_at(unsigned index)
{
	return HEAP + (hw_addr_t)index * POOL;
}

static hw_addr_t object_at(unsigned index)
{
	return OBJECTS + (hw_addr_t)index * ARENA_OBJECT;
}

static hw_addr_t used_head(unsigned size_class)
{
	return STATE + (hw_addr_t)size_class * 16 - 16;
}

static void make_layout(struct hw_python_layout *l)
{
	forged_layout(l);
	forged_layout_obmalloc(l);
	l->arena_nextarena = 32;
	l->arena_prevarena = 40;
	l->obmalloc_unused_arena_objects = 528;
	l->obmalloc_usable_arenas = 536;
}

static void make_pool(struct world *w, unsigned index, unsigned szidx, unsigned carved,
		      unsigned freed)
{
	forged_pool(at(w, pool_at(index)), pool_at(index), 0, szidx, carved, freed);
}

static void link_pools(struct world *w, hw_addr_t before, hw_addr_t after)
{
	set64(w, before + 16, after);
	set64(w, after + 24, before);
}

static void make_arenas(struct world *w)
{
	for (unsigned i = 0; i < OBJECT_COUNT; i++) // the last one ends the list
		set64(w, object_at(i) + 32, i + 1 < OBJECT_COUNT ? object_at(i + 1) : 0);
	for (unsigned i = 0; i < 2; i++) {
		set64(w, object_at(i), HEAP + (hw_addr_t)i * ARENA);
		set64(w, object_at(i) + 8, HEAP + (hw_addr_t)i * ARENA + (i ? 0 : CARVED * POOL));
		set32(w, object_at(i) + 16, i ? 64 : 64 - CARVED + 2);
		set32(w, object_at(i) + 20, 64);
	}
	set64(w, object_at(0) + 24, pool_at(4)); // freepools
	set64(w, object_at(0) + 32, object_at(1));
	set64(w, object_at(1) + 32, 0);
	set64(w, object_at(1) + 40, object_at(0));
	set64(w, STATE + 512, OBJECTS);
	set32(w, STATE + 520, OBJECT_COUNT);
	set64(w, STATE + 528, object_at(2));
	set64(w, STATE + 536, object_at(0));
	set64(w, STATE + 1064, 2);
}

static void make_world(struct world *w)
{
	memset(w, 0, sizeof(*w));
	make_layout(&w->python.layout);
	w->interpreter = INTERP;
	w->python.interpreters.data = &w->interpreter;
	w->python.interpreters.count = 1;
	w->heap = calloc(2, ARENA);
	hw_issues_init(&w->issues);
	for (unsigned i = 0; i < 32; i++) {
		set64(w, STATE + i * 16, used_head(i));
		set64(w, STATE + i * 16 + 8, used_head(i));
	}
	make_pool(w, 0, 0, 10, 3);
	make_pool(w, 1, 0, 20, 1);
	make_pool(w, 2, 1, 126, 0);
	make_pool(w, 3, 2, 5, 5);
	make_pool(w, 4, 2, 5, 5);
	make_pool(w, 5, 3, 9, 2);
	link_pools(w, used_head(0), pool_at(1));
	link_pools(w, pool_at(1), pool_at(0));
	link_pools(w, pool_at(0), used_head(0));
	link_pools(w, used_head(3), pool_at(5));
	link_pools(w, pool_at(5), used_head(3));
	set64(w, pool_at(4) + 16, pool_at(3));
	make_arenas(w);
}

static void walk(struct world *w)
{
	struct hw_image_piece pieces[] = {
		{ INTERP, w->interp, sizeof(w->interp), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ OBJECTS, w->objects, sizeof(w->objects), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ HEAP, w->heap, 2 * ARENA, HW_MAP_READ | HW_MAP_WRITE, "" },
	};
	CHECK_OK(hw_target_open_image(pieces, 3, &w->target));
	CHECK_OK(hw_pymalloc_walk(w->target, &w->python, &w->issues, NULL, &w->pm));
	hw_pages_init(&w->pages, w->target);
	w->view = (struct hw_obmalloc_view){ .pymalloc = &w->pm,
					     .layout = &w->python.layout,
					     .pages = &w->pages,
					     .issues = &w->issues };
	CHECK(w->pm.states.count == 1 && w->pm.pools.count == CARVED && w->pm.arenas.count == 2);
}

static void end_world(struct world *w)
{
	hw_pages_deinit(&w->pages);
	hw_pymalloc_deinit(&w->pm);
	hw_target_close(w->target);
	hw_issues_deinit(&w->issues);
	free(w->heap);
}

static bool take(void *payload, hw_addr_t member)
{
	struct world *w = payload;
	if (w->count < 64)
		w->members[w->count] = member;
	w->count++;
	return true;
}

enum list { USED, FREEPOOLS, USABLE, UNUSED, BLOCKS };

static bool visit(struct world *w, enum list list)
{
	const struct hw_pymalloc_state *state = &w->pm.states.data[0];
	w->count = 0;
	hw_pages_drop(&w->pages);
	switch (list) {
	case USED:
		return hw_usedpools_visit(&w->view, state, 0, take, w);
	case FREEPOOLS:
		return hw_freepools_visit(&w->view, &w->pm.arenas.data[0], take, w);
	case USABLE:
		return hw_usable_arenas_visit(&w->view, state, take, w);
	case UNUSED:
		return hw_unused_arena_objects_visit(&w->view, state, take, w);
	case BLOCKS:
		break;
	}
	return hw_freeblocks_visit(&w->view, &w->pm.pools.data[0], take, w);
}

static void test_whole(void)
{
	struct world w;
	make_world(&w);
	walk(&w);
	CHECK(hw_has_usedpools(&w.pm.states.data[0]));
	CHECK(visit(&w, USED) && w.count == 2);
	CHECK(w.members[0] == pool_at(1) && w.members[1] == pool_at(0));
	CHECK(visit(&w, FREEPOOLS) && w.count == 2);
	CHECK(w.members[0] == pool_at(4) && w.members[1] == pool_at(3));
	CHECK(visit(&w, USABLE) && w.count == 2);
	CHECK(w.members[0] == object_at(0) && w.members[1] == object_at(1));
	CHECK(visit(&w, UNUSED) && w.count == OBJECT_COUNT - 2 && w.members[0] == object_at(2));
	CHECK(visit(&w, BLOCKS) && w.count == 3);
	CHECK(w.members[0] == pool_at(0) + 48 + 7 * 16 && w.members[2] == pool_at(0) + 48 + 9 * 16);
	CHECK(w.issues.list.count == 0);
	uint32_t index;
	hw_addr_t object;
	CHECK(hw_arena_object_at(&w.view, object_at(1) + 47, &index, &object) && index == 1 &&
	      object == object_at(1));
	CHECK(!hw_arena_object_at(&w.view, OBJECTS - 1, &index, &object));
	CHECK(!hw_arena_object_at(&w.view, object_at(OBJECT_COUNT), &index, &object));
	CHECK(hw_arena_of_object(&w.pm, object_at(1)) == &w.pm.arenas.data[1]);
	CHECK(!hw_arena_of_object(&w.pm, object_at(2)));
	end_world(&w);
}

// A word of a walked heap is changed: the list ends there, and an issue says why.
static void damage(enum list list, hw_addr_t where, uint64_t value, uint64_t count_max,
		   const char *issue)
{
	struct world w;
	make_world(&w);
	walk(&w);
	if (where == OBJECTS + 24) // the walk keeps the list's head
		w.pm.arenas.data[0].freepools = value;
	else if (where == HEAP + 8)
		w.pm.pools.data[0].freeblock = value;
	else
		set64(&w, where, value);
	CHECK(!visit(&w, list), "%s", issue);
	CHECK(w.count <= count_max, "%s: %llu members", issue, (unsigned long long)w.count);
	CHECK(w.issues.list.count == 1 && strstr(hw_error_message(w.issues.list.data[0]), issue),
	      "%s, not %s", issue,
	      w.issues.list.count ? hw_error_message(w.issues.list.data[0]) : "no issue");
	end_world(&w);
}

static void test_damaged(void)
{
	damage(USED, STATE, 0x5000, 0, "to no pool");
	damage(USED, STATE, pool_at(1) + 16, 0, "to no pool");
	damage(USED, STATE, pool_at(5), 0, "a pool of another class");
	damage(USED, pool_at(0) + 16, pool_at(1), 6, "another one precedes");
	damage(USED, pool_at(1) + 24, 0, 6, "another one precedes");
	damage(FREEPOOLS, OBJECTS + 24, 0x5000, 0, "to no pool of its arena");
	damage(FREEPOOLS, OBJECTS + 24, HEAP + ARENA, 0, "to no pool of its arena");
	damage(FREEPOOLS, pool_at(3) + 16, pool_at(4), 64, "round in a ring");
	damage(USABLE, STATE + 536, object_at(2), 0, "without an arena");
	damage(USABLE, STATE + 536, object_at(0) + 8, 0, "to no arena object");
	damage(USABLE, STATE + 536, object_at(OBJECT_COUNT), 0, "to no arena object");
	damage(USABLE, object_at(1) + 32, object_at(0), 2, "another one precedes");
	damage(UNUSED, STATE + 528, object_at(0), 0, "that has an arena");
	damage(UNUSED, object_at(5) + 32, object_at(3), OBJECT_COUNT, "round in a ring");
	damage(BLOCKS, HEAP + 8, pool_at(0) + 50, 0, "to no block of it");
	damage(BLOCKS, HEAP + 8, pool_at(0) + 48 + 20 * 16, 0, "to no block of it");
	damage(BLOCKS, HEAP + 8, 16, 0, "to no block of it");
	damage(BLOCKS, pool_at(0) + 48 + 9 * 16, pool_at(0) + 48 + 7 * 16, 253, "round in a ring");
}

// A layout that lacks a member, a state whose roots nothing tells.
static void test_unknown(void)
{
	struct world w;
	make_world(&w);
	w.python.layout.arena_nextarena = HW_ABSENT;
	walk(&w);
	const struct hw_pymalloc_state *state = &w.pm.states.data[0];
	CHECK(!hw_has_usable_arenas(&w.view, state) &&
	      !hw_has_unused_arena_objects(&w.view, state));
	struct hw_arena_object object;
	CHECK(!hw_arena_object_read(&w.view, object_at(0), &object));
	w.python.layout.arena_nextarena = 45; // beyond the end of it
	CHECK(!hw_has_usable_arenas(&w.view, state));
	end_world(&w);
}

int main(void)
{
	test_whole();
	test_damaged();
	test_unknown();
	return check_finish();
}
