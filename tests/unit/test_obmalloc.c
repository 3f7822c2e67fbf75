/* SPDX-License-Identifier: LGPL-2.1-or-later */
// pymalloc forged in an image, healthy and damaged in every way that a walk must survive.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpython/obmalloc.h"
#include "check.h"
#include "forged_python.h"

enum {
	INTERP = 0x100000, // interpreters, each with an embedded state
	INTERP_BYTES = 0x1000,
	OBJECTS = 0x200000, // the array of arena objects
	OBJECT_COUNT = 16,
	HEAP = 0x1000000,
	HEAP_BYTES = 4 << 20,
};

struct world {
	struct hw_python python;
	uint8_t interps[2 * INTERP_BYTES];
	uint8_t objects[OBJECT_COUNT * ARENA_OBJECT];
	uint8_t *heap;
	size_t heap_readable;
	struct hw_target *target;
	struct hw_issues issues;
	struct hw_pymalloc pm;
	hw_addr_t interpreters[2];
};

static void make_layout(struct hw_python_layout *l)
{
	forged_layout(l);
	forged_layout_obmalloc(l);
	l->interp_id = 8;
	l->interp_feature_flags = 16;
}

static uint8_t *state_of(struct world *w, unsigned interp)
{
	return w->interps + interp * INTERP_BYTES + OFF_OBMALLOC;
}
static uint8_t *object_of(struct world *w, unsigned index)
{
	return w->objects + index * ARENA_OBJECT;
}
static uint8_t *heap_at(struct world *w, hw_addr_t addr)
{
	return w->heap + (addr - HEAP);
}

static void make_usedpools(struct world *w, unsigned interp)
{
	hw_addr_t used = INTERP + interp * INTERP_BYTES + OFF_OBMALLOC + OFF_USED;
	for (unsigned i = 0; i < 32; i++) {
		put64(state_of(w, interp) + OFF_USED + i * 16, used + i * 16 - 16);
		put64(state_of(w, interp) + OFF_USED + i * 16 + 8, used + i * 16 - 16);
	}
}

// One interpreter, no arena.
static void make_world(struct world *w)
{
	memset(w, 0, sizeof(*w));
	make_layout(&w->python.layout);
	snprintf(w->python.version, sizeof(w->python.version), "3.12.1");
	w->interpreters[0] = INTERP;
	w->interpreters[1] = INTERP + INTERP_BYTES;
	w->python.interpreters.data = w->interpreters;
	w->python.interpreters.count = 1;
	put64(w->interps + INTERP_BYTES + 8, 1);
	make_usedpools(w, 0);
	make_usedpools(w, 1);
	w->heap = calloc(1, HEAP_BYTES);
	w->heap_readable = HEAP_BYTES;
	hw_issues_init(&w->issues);
}

static void make_array(struct world *w, unsigned interp, uint32_t slots, uint64_t narenas)
{
	put64(state_of(w, interp) + OFF_ARENAS, OBJECTS);
	put32(state_of(w, interp) + OFF_MAXARENAS, slots);
	put64(state_of(w, interp) + OFF_NARENAS, narenas);
}

static void make_arena(struct world *w, unsigned index, hw_addr_t start, unsigned carved,
		       unsigned empty)
{
	uint8_t *object = object_of(w, index);
	put64(object, start);
	put64(object + 8, start + (hw_addr_t)carved * POOL);
	put32(object + 16, ARENA / POOL - carved + empty);
	put32(object + 20, ARENA / POOL);
}

static uint8_t *make_pool(struct world *w, unsigned arena, hw_addr_t start, unsigned szidx,
			  unsigned carved, unsigned freed)
{
	uint8_t *pool = heap_at(w, start);
	forged_pool(pool, start, arena, szidx, carved, freed);
	return pool;
}

static struct hw_error *walk(struct world *w)
{
	struct hw_image_piece pieces[] = {
		{ INTERP, w->interps, sizeof(w->interps), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ OBJECTS, w->objects, sizeof(w->objects), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ HEAP, w->heap, w->heap_readable, HW_MAP_READ | HW_MAP_WRITE, "" },
	};
	struct hw_error *err = hw_target_open_image(pieces, 3, &w->target);
	if (err)
		return err;
	return hw_pymalloc_walk(w->target, &w->python, &w->issues, NULL, &w->pm);
}

static void end_world(struct world *w)
{
	hw_pymalloc_deinit(&w->pm);
	hw_target_close(w->target);
	hw_issues_deinit(&w->issues);
	free(w->heap);
}

static bool has_issue(const struct world *w, enum hw_error_code code, const char *text)
{
	for (size_t i = 0; i < w->issues.list.count; i++) {
		const struct hw_error *err = w->issues.list.data[i];
		if (hw_error_code(err) == code && strstr(hw_error_message(err), text))
			return true;
	}
	return false;
}

static bool fails_with(struct hw_error *err, enum hw_error_code code, const char *text)
{
	bool ok = err && hw_error_code(err) == code && strstr(hw_error_message(err), text);
	if (err && !ok)
		fprintf(stderr, "got: %s\n", hw_error_message(err));
	hw_error_destroy(err);
	return ok;
}

// Two arenas in slots 1 and 3: four pools in use and one empty; one pool.
static void make_healthy(struct world *w)
{
	make_world(w);
	make_array(w, 0, OBJECT_COUNT, 2);
	make_arena(w, 3, HEAP + ARENA, 1, 0);
	make_arena(w, 1, HEAP, 5, 1);
	make_pool(w, 1, HEAP, 0, 10, 3);
	make_pool(w, 1, HEAP + POOL, 0, 253, 0);
	make_pool(w, 1, HEAP + 2 * POOL, 31, 7, 6);
	uint8_t *empty = make_pool(w, 1, HEAP + 3 * POOL, 7, 4, 4);
	put64(empty + 16, 0);
	put64(object_of(w, 1) + 24, HEAP + 3 * POOL);
	make_pool(w, 1, HEAP + 4 * POOL, 2, 84, 10);
	make_pool(w, 3, HEAP + ARENA, 2, 1, 0);
}

static void test_healthy(void)
{
	struct world w;
	make_healthy(&w);
	struct hw_error *err = walk(&w);
	CHECK(!err);
	CHECK(w.issues.list.count == 0);
	CHECK(w.pm.arena_bytes == ARENA && w.pm.pool_bytes == POOL && w.pm.alignment == 16);
	CHECK(w.pm.states.count == 1 && w.pm.arenas.count == 2 && w.pm.pools.count == 6);
	const struct hw_pymalloc_state *state = &w.pm.states.data[0];
	CHECK(state->arena_count == 2 && state->arenas_allocated == 2);
	CHECK(!state->has_arena_totals && !state->has_raw_allocated_blocks);
	CHECK(state->classes[0].pools == 2 && state->classes[0].blocks_in_use == 7 + 253);
	CHECK(state->classes[0].blocks_free == 253 - 7);
	CHECK(state->classes[2].pools == 2 && state->classes[2].blocks_in_use == 74 + 1);
	CHECK(state->classes[31].blocks_in_use == 1 && state->classes[31].blocks_free == 6);
	CHECK(state->classes[7].pools == 0);
	CHECK(state->unused_pools == 64 - 5 + 1 + 64 - 1);
	CHECK(state->pool_header_bytes == 5 * 48);
	CHECK(state->quantization_bytes == 4048 - 7 * 512 + 2 * (4048 - 84 * 48));
	CHECK(state->allocated_bytes + state->available_bytes + state->unused_pool_bytes +
		      state->pool_header_bytes + state->quantization_bytes +
		      state->arena_alignment_bytes ==
	      2 * ARENA);
	CHECK(w.pm.pools.data[3].is_empty && !w.pm.pools.data[2].is_empty);
	CHECK(hw_pymalloc_find_arena(&w.pm, HEAP)->index == 1);
	CHECK(hw_pymalloc_find_arena(&w.pm, HEAP + ARENA - 1)->index == 1);
	CHECK(hw_pymalloc_find_arena(&w.pm, HEAP + ARENA)->index == 3);
	CHECK(!hw_pymalloc_find_arena(&w.pm, HEAP - 1));
	CHECK(!hw_pymalloc_find_arena(&w.pm, HEAP + 2 * ARENA));
	CHECK(hw_pymalloc_find_pool(&w.pm, HEAP + 2 * POOL - 1) == &w.pm.pools.data[1]);
	CHECK(hw_pymalloc_find_pool(&w.pm, HEAP + ARENA) == &w.pm.pools.data[5]);
	CHECK(!hw_pymalloc_find_pool(&w.pm, HEAP + 5 * POOL)); // never carved
	err = hw_pymalloc_check(&w.pm, &w.issues, NULL);
	CHECK(!err && w.issues.list.count == 0);
	end_world(&w);
}

// Unaligned arenas of 1 MiB with pools of 16 KiB: one pool less, and the arena meets two areas.
static void test_large_geometry(void)
{
	struct world w;
	hw_addr_t start = HEAP + 0x3000, first = HEAP + 0x4000;
	make_world(&w);
	make_array(&w, 0, OBJECT_COUNT, 1);
	uint8_t *object = object_of(&w, 0);
	put64(object, start);
	put64(object + 8, first + 0x4000);
	put32(object + 16, 62);
	put32(object + 20, 63);
	uint8_t *pool = make_pool(&w, 0, first, 5, 100, 1);
	put32(pool + 44, 0x4000 - 96);
	CHECK(!walk(&w));
	CHECK(w.issues.list.count == 0);
	CHECK(w.pm.arena_bytes == 1 << 20 && w.pm.pool_bytes == 16 << 10);
	CHECK(w.pm.states.data[0].arena_alignment_bytes == 16 << 10);
	CHECK(w.pm.states.data[0].classes[5].blocks_in_use == 99);
	CHECK(w.pm.states.data[0].classes[5].blocks_free == (16384 - 48) / 96 - 99);
	CHECK(hw_pymalloc_find_arena(&w.pm, start) && !hw_pymalloc_find_arena(&w.pm, start - 1));
	CHECK(hw_pymalloc_find_arena(&w.pm, start + (1 << 20) - 1));
	CHECK(!hw_pymalloc_find_arena(&w.pm, start + (1 << 20)));
	CHECK(!hw_pymalloc_find_pool(&w.pm, start));
	CHECK(hw_pymalloc_find_pool(&w.pm, first) == w.pm.pools.data);
	end_world(&w);
}

static void test_no_arenas(void)
{
	struct world w;
	make_world(&w);
	CHECK(!walk(&w));
	CHECK(w.pm.states.count == 1 && w.pm.arenas.count == 0 && w.issues.list.count == 0);
	CHECK(!hw_pymalloc_find_arena(&w.pm, HEAP));
	end_world(&w);

	make_world(&w); // the same, but nothing proves that this is where the arenas would be
	put64(state_of(&w, 0) + OFF_USED + 8, 0);
	CHECK(fails_with(walk(&w), HW_ERROR_CORRUPT, "usedpools"));
	end_world(&w);
}

// One bad header is an issue; the other pools are still counted.
static void check_one_bad(struct world *w, const char *text)
{
	struct hw_error *err = walk(w);
	CHECK(!err);
	hw_error_destroy(err);
	CHECK(has_issue(w, HW_ERROR_CORRUPT, text));
	CHECK(w->pm.pools.count == 6 && w->pm.pools.data[0].is_bad);
	CHECK(w->pm.states.data[0].classes[0].pools == 1);
	CHECK(w->pm.states.data[0].classes[0].blocks_in_use == 253);
	uint64_t bitmap[HW_POOL_BITMAP_WORDS];
	uint32_t listed;
	hw_pool_mark_free(&w->pm, &w->pm.pools.data[0], w->heap, &w->issues, bitmap, &listed);
	CHECK(listed == 0 && bitmap[0] == 0);
	end_world(w);
}

static void test_bad_headers(void)
{
	struct world w;
	make_healthy(&w);
	put32(w.heap + 36, 32); // szidx
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put32(w.heap + 36, 0x80000001);
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put32(w.heap + 32, 3); // arenaindex: another arena's
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put64(w.heap + 8, HEAP + POOL); // freeblock in the next pool
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put64(w.heap + 8, HEAP + 16); // freeblock in the header
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put32(w.heap + 40, POOL + 16); // nextoffset
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put32(w.heap + 40, 0);
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put32(w.heap + 40, 48 + 10 * 16 + 4); // in the middle of a block
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put32(w.heap + 44, 17); // maxnextoffset
	check_one_bad(&w, "contradict themselves");
	make_healthy(&w);
	put32(w.heap, 254); // ref.count
	check_one_bad(&w, "contradict themselves");
}

static void test_all_headers_bad(void)
{
	struct world w;
	make_healthy(&w);
	memset(w.heap, 0xff, 3 * POOL);
	memset(w.heap + 4 * POOL, 0xff, POOL);
	CHECK(fails_with(walk(&w), HW_ERROR_CORRUPT, "pool headers contradict themselves"));
	end_world(&w);
}

// A damaged list of free blocks ends there; what was found before stays marked.
static void test_bad_freelists(void)
{
	static const struct {
		hw_addr_t link;
		const char *text;
	} cases[] = {
		{ HEAP + 48 + 9 * 16, "listed before" },
		{ HEAP + 48 + 8 * 16 + 8, "middle of a block" },
		{ HEAP + 48 + 10 * 16, "outside" }, // virgin
		{ HEAP + 40, "outside" },
		{ HEAP + POOL + 48, "outside" },
		{ UINT64_MAX, "outside" },
		{ 8, "outside" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world w;
		uint64_t bitmap[HW_POOL_BITMAP_WORDS];
		uint32_t listed;
		make_healthy(&w);
		// the list of the first pool is 7, 8, 9: let 8 lead elsewhere
		put64(w.heap + 48 + 8 * 16, cases[i].link);
		if (i == 0)
			put64(w.heap + 48 + 9 * 16, HEAP + 48 + 9 * 16);
		CHECK(!walk(&w));
		CHECK(w.issues.list.count == 0);
		hw_pool_mark_free(&w.pm, &w.pm.pools.data[0], w.heap, &w.issues, bitmap, &listed);
		CHECK(w.issues.list.count == 1 && has_issue(&w, HW_ERROR_CORRUPT, cases[i].text));
		CHECK(listed == (i == 0 ? 3 : 2));
		CHECK((bitmap[0] & 0x3ff) == (i == 0 ? 0x380u : 0x180u));
		CHECK(bitmap[0] >> 10 == UINT64_MAX >> 10 && bitmap[3] == ((uint64_t)1 << 61) - 1);
		if (i) {
			struct hw_error *err = hw_pymalloc_check(&w.pm, &w.issues, NULL);
			CHECK(!err && has_issue(&w, HW_ERROR_INVARIANT, "8 of its 253"));
		}
		end_world(&w);
	}
}

// Every block of every class, both geometries: the reciprocal is exact.
static void test_every_offset(void)
{
	for (unsigned pool_bytes = 4096; pool_bytes <= 16384; pool_bytes *= 4) {
		for (unsigned alignment = 8; alignment <= 16; alignment *= 2) {
			for (unsigned szidx = 0; szidx < 512 / alignment; szidx++) {
				struct hw_pymalloc pm = { .header_bytes = HW_POOL_HEADER_BYTES_MAX,
							  .word_bytes = 8,
							  .pool_bytes = pool_bytes,
							  .alignment = alignment };
				unsigned size = (szidx + 1) * alignment;
				unsigned capacity = (pool_bytes - 48) / size;
				static uint8_t bytes[16384];
				struct hw_pool pool = {
					.start = HEAP,
					.capacity = (uint16_t)capacity,
					.szidx = (uint8_t)szidx,
					.next_offset = 48 + capacity * size,
				};
				hw_addr_t head = 0;
				for (unsigned i = 0; i < capacity; i += 2) { // every other block
					put64(bytes + 48 + i * size, head);
					head = HEAP + 48 + i * size;
				}
				pool.freeblock = head;
				struct hw_issues issues;
				hw_issues_init(&issues);
				uint64_t bitmap[HW_POOL_BITMAP_WORDS];
				uint32_t listed;
				hw_pool_mark_free(&pm, &pool, bytes, &issues, bitmap, &listed);
				CHECK(issues.list.count == 0 && listed == (capacity + 1) / 2);
				bool exact = true;
				for (unsigned i = 0; i < capacity; i++)
					exact &= (bitmap[i / 64] >> i % 64 & 1) == (i % 2 == 0);
				CHECK(exact);
				hw_issues_deinit(&issues);
			}
		}
	}
}

static void test_bad_arenas(void)
{
	struct world w;
	make_healthy(&w);
	put64(state_of(&w, 0) + OFF_ARENAS, 0x7000);
	CHECK(fails_with(walk(&w), HW_ERROR_FAULT, "can't be read"));
	end_world(&w);

	make_healthy(&w);
	put32(state_of(&w, 0) + OFF_MAXARENAS, UINT32_MAX);
	CHECK(fails_with(walk(&w), HW_ERROR_CORRUPT, "maxarenas 4294967295"));
	end_world(&w);

	make_healthy(&w); // more than the array's mapping holds: what is there counts
	put32(state_of(&w, 0) + OFF_MAXARENAS, 1 << 20);
	CHECK(!walk(&w));
	CHECK(has_issue(&w, HW_ERROR_FAULT, "only 16 of the 1048576"));
	CHECK(w.pm.arenas.count == 2);
	end_world(&w);

	make_healthy(&w); // a second arena inside the first
	put64(object_of(&w, 3), HEAP + POOL);
	put64(object_of(&w, 3) + 8, HEAP + 2 * POOL);
	CHECK(!walk(&w));
	CHECK(has_issue(&w, HW_ERROR_CORRUPT, "overlap"));
	CHECK(has_issue(&w, HW_ERROR_INVARIANT, "counts 2 arenas, but 1"));
	CHECK(w.pm.arenas.count == 1);
	end_world(&w);

	make_healthy(&w);
	put32(object_of(&w, 3) + 20, 65); // ntotalpools
	CHECK(!walk(&w));
	CHECK(has_issue(&w, HW_ERROR_CORRUPT, "arena object 3"));
	CHECK(w.pm.arenas.count == 1);
	end_world(&w);

	make_healthy(&w); // no geometry at all
	put32(object_of(&w, 1) + 20, 65);
	put32(object_of(&w, 3) + 20, 3);
	CHECK(fails_with(walk(&w), HW_ERROR_CORRUPT, "no known size"));
	end_world(&w);

	make_healthy(&w); // the list of empty pools leads back
	put64(heap_at(&w, HEAP + 3 * POOL) + 16, HEAP + 3 * POOL);
	CHECK(!walk(&w));
	CHECK(has_issue(&w, HW_ERROR_CORRUPT, "which it has been to"));
	end_world(&w);

	make_healthy(&w); // and away
	put64(object_of(&w, 1) + 24, HEAP + ARENA);
	CHECK(!walk(&w));
	CHECK(has_issue(&w, HW_ERROR_CORRUPT, "no pool of it"));
	CHECK(has_issue(&w, HW_ERROR_INVARIANT, "free pools"));
	end_world(&w);
}

static void test_missing_memory(void)
{
	struct world w;
	make_healthy(&w);
	w.heap_readable = ARENA; // the second arena is not in the image
	CHECK(!walk(&w));
	CHECK(has_issue(&w, HW_ERROR_FAULT, "1 of 1 pools"));
	CHECK(w.pm.arenas.count == 2 && w.pm.arenas.data[1].is_missing);
	CHECK(!w.pm.arenas.data[0].is_missing && w.pm.pools.data[5].is_bad);
	CHECK(w.pm.states.data[0].classes[2].blocks_in_use == 74);
	end_world(&w);
}

// Stopped between munmap() and the line that forgets the arena: nothing is missing.
static void test_given_back(void)
{
	struct world w;
	make_healthy(&w);
	make_arena(&w, 3, HEAP + ARENA, 1, 1);
	w.heap_readable = ARENA;
	CHECK(!walk(&w));
	CHECK(!w.issues.list.count && w.pm.arenas.count == 2);
	CHECK(w.pm.arenas.data[1].is_given_back && !w.pm.arenas.data[1].is_missing);
	CHECK(w.pm.pools.data[5].is_empty && !w.pm.pools.data[5].is_bad);
	CHECK(w.pm.states.data[0].arena_count == 2);
	CHECK(w.pm.states.data[0].unused_pools == ARENA / POOL - 4 + ARENA / POOL);
	end_world(&w);
}

static void test_interpreters(void)
{
	struct world w;
	make_healthy(&w); // a second interpreter with slot 3's arena
	w.python.interpreters.count = 2;
	make_array(&w, 0, 2, 1);
	make_array(&w, 1, 2, 1);
	put64(state_of(&w, 1) + OFF_ARENAS, OBJECTS + 2 * 48);
	put32(heap_at(&w, HEAP + ARENA) + 32, 1);
	CHECK(!walk(&w));
	CHECK(w.issues.list.count == 0);
	CHECK(w.pm.states.count == 2 && w.pm.states.data[1].interpreter_id == 1);
	CHECK(w.pm.states.data[0].classes[2].blocks_in_use == 74);
	CHECK(w.pm.states.data[1].classes[2].blocks_in_use == 1);
	CHECK(w.pm.arenas.data[1].interpreter == 1);
	end_world(&w);

	make_healthy(&w); // one that uses the main one's: its own embedded state means nothing
	w.python.interpreters.count = 2;
	put64(w.interps + INTERP_BYTES + 16, 1 << 5);
	memset(state_of(&w, 1), 0, 1200);
	CHECK(!walk(&w));
	CHECK(w.issues.list.count == 0 && w.pm.states.count == 1);
	end_world(&w);

	make_healthy(&w); // pointers, both to the main one's
	w.python.interpreters.count = 2;
	w.python.layout.obmalloc_is_pointer = true;
	w.python.layout.interp_obmalloc = 24;
	put64(w.interps + 24, INTERP + OFF_OBMALLOC);
	put64(w.interps + INTERP_BYTES + 24, INTERP + OFF_OBMALLOC);
	CHECK(!walk(&w));
	CHECK(w.issues.list.count == 0 && w.pm.states.count == 1 && w.pm.arenas.count == 2);
	end_world(&w);

	make_healthy(&w); // one state's damage leaves the other
	w.python.interpreters.count = 2;
	make_array(&w, 1, 16, 1);
	put64(state_of(&w, 1) + OFF_ARENAS, 0x7000);
	CHECK(!walk(&w));
	CHECK(has_issue(&w, HW_ERROR_FAULT, "can't be read") && w.pm.arenas.count == 2);
	end_world(&w);
}

static void test_hostile_layout(void)
{
	struct world w;
	make_healthy(&w);
	w.python.layout.pool_szidx = 1 << 20;
	CHECK(fails_with(walk(&w), HW_ERROR_UNSUPPORTED, "unknown shape"));
	end_world(&w);
	make_healthy(&w);
	w.python.layout.arena_object_size = 1 << 30;
	CHECK(fails_with(walk(&w), HW_ERROR_UNSUPPORTED, "unknown shape"));
	end_world(&w);
	make_healthy(&w);
	w.python.layout.pool_szidx = HW_ABSENT;
	CHECK(fails_with(walk(&w), HW_ERROR_NO_DEBUG_INFO, "pool_header"));
	end_world(&w);
}

int main(void)
{
	test_healthy();
	test_large_geometry();
	test_no_arenas();
	test_bad_headers();
	test_all_headers_bad();
	test_bad_freelists();
	test_every_offset();
	test_bad_arenas();
	test_missing_memory();
	test_given_back();
	test_interpreters();
	test_hostile_layout();
	return check_finish();
}
