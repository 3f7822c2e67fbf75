/* SPDX-License-Identifier: LGPL-2.1-or-later */
// malloc's walker over the heaps that tests/unit forges, with words written over. First byte: which glibc.
#include "patches.h"

#define main test_main
#include "../unit/test_glibc_forged.c"
#undef main

enum { FLAVOURS = sizeof(flavours) / sizeof(*flavours) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct forge whole[FLAVOURS];
	static const struct {
		size_t offset, bytes;
	} parts[] = {
		{ offsetof(struct forge, libc), LIBC_BYTES },
		{ offsetof(struct forge, heap), HEAP_BYTES },
		{ offsetof(struct forge, heap2), ARENA_BYTES },
		{ offsetof(struct forge, mapped), 0x40 },
		{ offsetof(struct forge, mapped) + 0x22000, 0x80 },
	};
	enum { PARTS = sizeof(parts) / sizeof(*parts) };
	if (!size)
		return 0;
	unsigned flavour = data[0] % FLAVOURS;
	if (!whole[flavour].flavour)
		forge(&whole[flavour], &flavours[flavour]);
	struct forge *f = &whole[flavour];
	uint64_t words[CHUNKS_MAX + 8];
	size_t count = 0;
	for (size_t i = 0; i < f->count; i++)
		words[count++] = f->chunks[i].addr;
	words[count++] = f->main_arena;
	words[count++] = f->thread_arena;
	words[count++] = arena_at;
	words[count++] = mapped_at;
	words[count++] = f->tcache_mem;
	// A part after the other, so that the small ones are not lost beside the large one.
	for (size_t i = 1; i + PATCH_BYTES < size; i += PATCH_BYTES + 1) {
		size_t part = data[i] % PARTS;
		patch_apply((uint8_t *)f + parts[part].offset, parts[part].bytes, words, count,
			    data + i + 1, PATCH_BYTES);
	}
	struct hw_issues issues;
	struct hw_target *target = NULL;
	struct hw_glibc glibc = { 0 };
	hw_issues_init(&issues);
	struct hw_error *err = walk(f, &issues, &target, &glibc);
	if (!err) {
		failures = 0;
		check_shape("fuzz", &glibc);
		if (failures)
			abort();
		hw_glibc_check(&glibc, &issues);
	}
	hw_error_destroy(err);
	hw_glibc_deinit(&glibc);
	hw_target_close(target);
	hw_issues_deinit(&issues);
	patch_undo();
	return 0;
}
