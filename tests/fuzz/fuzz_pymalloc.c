/* SPDX-License-Identifier: LGPL-2.1-or-later */
// pymalloc's walker and its dear checks over the arenas that tests/unit forges, with words written over.
#include "patches.h"

#define main test_main
#include "../unit/test_obmalloc.c"
#undef main

static void make_arenas(struct world *w)
{
	make_world(w);
	w->heap_readable = 2 * ARENA;
	make_array(w, 0, OBJECT_COUNT, 2);
	make_arena(w, 0, HEAP, 6, 1);
	make_arena(w, 1, HEAP + ARENA, 2, 0);
	make_pool(w, 0, HEAP, 1, 100, 40);
	make_pool(w, 0, HEAP + POOL, 3, 20, 0);
	make_pool(w, 0, HEAP + 2 * POOL, 31, 5, 5);
	make_pool(w, 0, HEAP + 3 * POOL, 0, 200, 199);
	make_pool(w, 0, HEAP + 4 * POOL, 7, 31, 1);
	make_pool(w, 1, HEAP + ARENA, 2, 60, 10);
	make_pool(w, 1, HEAP + ARENA + POOL, 2, 84, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	static const uint64_t words[] = { INTERP,
					  INTERP + OFF_OBMALLOC,
					  OBJECTS,
					  OBJECTS + 48,
					  HEAP,
					  HEAP + POOL,
					  HEAP + 5 * POOL,
					  HEAP + ARENA,
					  HEAP + 48,
					  HEAP + HEAP_BYTES,
					  HEAP + 3 * POOL + 48 };
	enum { WORDS = sizeof(words) / sizeof(*words) };
	if (!size)
		return 0;
	if (!w.heap)
		make_arenas(&w);
	w.python.interpreters.count = 1 + (data[0] & 1);
	for (size_t i = 1; i + PATCH_BYTES < size; i += PATCH_BYTES + 1) {
		uint8_t part = data[i] % 4;
		patch_apply(part == 0   ? w.interps
			    : part == 1 ? w.objects
					: w.heap + (part == 3 ? ARENA : 0),
			    part == 0   ? sizeof(w.interps)
			    : part == 1 ? sizeof(w.objects)
					: 8 * POOL,
			    words, WORDS, data + i + 1, PATCH_BYTES);
	}
	struct hw_error *err = walk(&w);
	struct hw_progress progress = { 0 };
	if (!err)
		hw_error_destroy(hw_pymalloc_check(&w.pm, &w.issues, &progress));
	hw_error_destroy(err);
	hw_pymalloc_deinit(&w.pm);
	hw_target_close(w.target);
	hw_issues_clear(&w.issues);
	w.target = NULL;
	patch_undo();
	return 0;
}
