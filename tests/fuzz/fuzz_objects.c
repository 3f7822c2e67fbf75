/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Types, objects and what they own, out of the image that tests/unit forges, with words written over.
#include "patches.h"

#define main test_main
#include "../unit/test_objects.c"
#undef main

static void nothing(struct hw_claim_sink *sink, const struct hw_claim *claim)
{
	(void)sink;
	if (claim->kind >= HW_CLAIM_KIND_COUNT)
		__builtin_trap();
}

enum { INSTANCES = BASE + 0x9000, INSTANCES_END = INSTANCES + 0x400, STEP = 64 };

// Some with what an object of the type has.
static void make_instances(const uint64_t *words)
{
	for (hw_addr_t at = INSTANCES; at < INSTANCES_END; at += STEP) {
		put(at, 2);
		put(at + 8, words[at / STEP % 6]);
		put(at + 16, 3);
		put(at + 24, at + STEP);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t words[] = { TYPE, META, PLAIN, BOX, MANAGED, LIST, NAMES, INSTANCES };
	enum { WORDS = sizeof(words) / sizeof(*words) };
	if (!target) {
		start();
		make_instances(words);
	}
	forget();
	patch_apply(image, BYTES, words, WORDS, data, size);
	struct hw_claim_sink sink = { .claim = nothing, .cache = &cache, .links_left = 1000 };
	for (size_t i = 0; i < WORDS; i++)
		hw_type_at(&cache, words[i]);
	for (hw_addr_t at = INSTANCES; at < INSTANCES_END; at += STEP) {
		struct hw_object object;
		const uint8_t *bytes = image + (at - BASE);
		if (!hw_object_prove(&prover, &cache, bytes, STEP, STEP, &object))
			continue;
		if (object.offset >= STEP)
			__builtin_trap();
		sink.block = at;
		sink.block_end = at + STEP;
		hw_owners_visit(&python.layout, &object, at, bytes, STEP, &sink);
	}
	patch_undo();
	return 0;
}
