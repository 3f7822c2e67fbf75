/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Types, objects and owners forged in an image: what proves itself, what must not.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpython/owners.h"
#include "check.h"
#include "layout/python_internal.h"
#include "forged_python.h"

// One writable mapping; the layout is that of a GIL build of 3.12.
enum {
	BASE = 0x100000,
	BYTES = 0x10000,
	TYPE = BASE,             // PyType_Type
	META = BASE + 0x1000,    // a metaclass: its instances are types
	PLAIN = BASE + 0x2000,   // a class without GC
	BOX = BASE + 0x3000,     // a class with GC
	MANAGED = BASE + 0x4000, // a class with GC and pre-header
	LIST = BASE + 0x5000,
	NAMES = BASE + 0xf000,
};

static uint8_t image[BYTES];
static struct hw_python python;
static struct hw_types types;
static struct hw_pages pages;
static struct hw_type_cache cache;
static struct hw_target *target;
static struct hw_object_prover prover;

static void put(hw_addr_t at, uint64_t value)
{
	put64(image + (at - BASE), value);
}

static void make_type(hw_addr_t at, const char *name, hw_addr_t metatype, uint64_t flags,
		      uint64_t basicsize)
{
	static hw_addr_t next_name = NAMES;
	memcpy(image + (next_name - BASE), name, strlen(name) + 1);
	forged_type(image + (at - BASE), metatype, next_name, flags, basicsize, 0);
	next_name += strlen(name) + 1;
}

static void start(void)
{
	forged_layout(&python.layout);
	forged_layout_objects(&python.layout);
	python.type_type = TYPE;
	make_type(TYPE, "type", TYPE, HW_TPFLAGS_TYPE_SUBCLASS | HW_TPFLAGS_HAVE_GC, 920);
	make_type(META, "Meta", TYPE, HW_TPFLAGS_TYPE_SUBCLASS | HW_TPFLAGS_HAVE_GC, 920);
	make_type(PLAIN, "Plain", META, 0, 24);
	make_type(BOX, "Box", TYPE, HW_TPFLAGS_HAVE_GC, 24);
	put(BOX + OFF_ITEMSIZE, 8);
	make_type(MANAGED, "Managed", TYPE,
		  HW_TPFLAGS_HAVE_GC | HW_TPFLAGS_HEAPTYPE | HW_TPFLAGS_MANAGED_DICT, 16);
	make_type(LIST, "list", TYPE, HW_TPFLAGS_HAVE_GC, 40);
	struct hw_error *err = forged_open(BASE, image, BYTES, &target);
	if (!err)
		err = hw_types_init(&types, &python, NULL, NULL);
	if (err) {
		fprintf(stderr, "%s\n", hw_error_message(err));
		exit(1);
	}
	hw_pages_init(&pages, target);
	cache = (struct hw_type_cache){ .types = &types, .pages = &pages };
	hw_object_prover_init(&prover, &python, target);
}

static void forget(void)
{
	hw_types_deinit(&types);
	hw_pages_drop(&pages);
	memset(cache.slots, 0, sizeof(cache.slots));
	struct hw_error *err = hw_types_init(&types, &python, NULL, NULL);
	if (err)
		exit(1);
}

static void test_types(void)
{
	const struct hw_type *type = hw_type_at(&cache, PLAIN);
	CHECK(type && !strcmp(type->name, "Plain") && type->basicsize == 24 && !type->head_bytes);
	CHECK(hw_type_at(&cache, PLAIN) == type);
	CHECK(hw_type_at(&cache, TYPE) && hw_type_at(&cache, META));
	type = hw_type_at(&cache, MANAGED);
	CHECK(type && type->has_preheader && type->head_bytes == GC_HEAD + 16);
	// Addresses that are none: null, unaligned, nowhere, the kernel's, an instance, plain data.
	CHECK(!hw_type_at(&cache, 0));
	CHECK(!hw_type_at(&cache, PLAIN + 4));
	CHECK(!hw_type_at(&cache, BASE + BYTES));
	CHECK(!hw_type_at(&cache, 0xffffffff80000000u));
	CHECK(!hw_type_at(&cache, BASE + 0x8000));
}

// Objects of builds without the GIL, as Include/object.h of 3.13t has them.
static struct hw_split_count split_of(uint32_t local, int64_t shared, uint8_t gc_bits,
				      uint64_t *ret_sum)
{
	struct hw_python_layout layout;
	struct hw_split_count count;
	uint8_t object[32] = { 0 };
	forged_layout(&layout);
	layout.ob_tid = 0;
	layout.ob_gc_bits = 11;
	layout.ob_ref_local = 12;
	layout.ob_ref_shared = 16;
	put64(object, 0x7000);
	object[11] = gc_bits;
	memcpy(object + 12, &local, sizeof(local));
	put64(object + 16, (uint64_t)shared);
	hw_split_count_read(&layout, object, &count);
	*ret_sum = hw_refcount_split(&layout, object);
	return count;
}

static void test_split_counts(void)
{
	enum { MERGED = 3, QUEUED = 2 };
	const int64_t deferred = INT64_MAX / 8;
	uint64_t sum;
	struct hw_split_count count = split_of(2, 3 << 2, HW_GC_TRACKED, &sum);
	CHECK(sum == 5 && count.local == 2 && count.shared == 3 && count.owner == 0x7000);
	CHECK(!count.is_immortal && !count.is_deferred && count.gc_bits == HW_GC_TRACKED);
	split_of(3, -2 * 4, 0, &sum); // another thread dropped more than it took
	CHECK_EQUAL(sum, 1);
	split_of(0, 2 << 2 | MERGED, 0, &sum);
	CHECK_EQUAL(sum, 2);
	count = split_of(UINT32_MAX, 0, 0, &sum);
	CHECK(count.is_immortal && sum == UINT32_MAX);
	// Dead: a free list has them.
	split_of(0, 0, 0, &sum);
	CHECK_EQUAL(sum, 0);
	split_of(0, MERGED, 0, &sum);
	CHECK_EQUAL(sum, 0);
	// Waits for its owner; what the collector alone frees.
	split_of(1, (-1 * 4) | QUEUED, 0, &sum);
	CHECK_EQUAL(sum, 1);
	count = split_of(1, deferred * 4, HW_GC_TRACKED | HW_GC_DEFERRED, &sum);
	CHECK(count.is_deferred && !count.shared && sum == 1);
	count = split_of(0, (deferred - 1) * 4 | MERGED, HW_GC_DEFERRED, &sum);
	CHECK(count.is_deferred && count.shared == -1 && sum == 1);
	split_of(7, INT64_MIN, 0, &sum);
	CHECK_EQUAL(sum, 0);
}

// A row has no count where only some references are counted.
static void test_part_counts(void)
{
	const hw_addr_t at = BASE + 0xe000;
	struct hw_python_layout layout;
	uint64_t count;
	bool is_part = true;
	forged_layout(&layout);
	layout.ob_tid = 0;
	layout.ob_gc_bits = 11;
	layout.ob_ref_local = 12;
	layout.ob_ref_shared = 16;
	const struct hw_object_prover split = { .layout = &layout,
						.object_size = 32,
						.word_bytes = 8,
						.refcount_bits = { .is_split = true } };
	put(at + 8, (uint64_t)2 << 32 | HW_GC_TRACKED << 24);
	put(at + 16, 3 << 2);
	CHECK(hw_object_refcount(&split, &pages, at, &count, &is_part) && count == 5 && !is_part);
	put(at + 8, (uint64_t)2 << 32 | (HW_GC_TRACKED | HW_GC_DEFERRED) << 24);
	CHECK(hw_object_refcount(&split, &pages, at, &count, &is_part) && count == 5 && is_part);
	put(at + 8, (uint64_t)UINT32_MAX << 32 | HW_GC_DEFERRED << 24); // immortal: that is known
	CHECK(hw_object_refcount(&split, &pages, at, &count, &is_part) && !is_part);
	CHECK(!hw_object_refcount(&split, &pages, BASE + BYTES, &count, &is_part));
	CHECK(hw_object_refcount(&prover, &pages, at, &count, &is_part) && !is_part);
	memset(image + (at - BASE), 0, 32);
}

// Where 3.14t has what a string says of its text: a byte further on.
static void test_moved_state(void)
{
	enum { KIND_1 = 1, COMPACT = 1 << 3, ASCII = 1 << 4 };
	struct hw_python_layout layout;
	forged_layout(&layout);
	layout.str_state = 48;
	layout.str_kind_bit = 48 * 8 + 2;
	hw_layout_conclude(&layout);
	CHECK_EQUAL(hw_str_state(&layout, 1 << 2 | 1 << 5 | 1 << 6), 1 << 2 | 1 << 5 | 1 << 6);
	layout.str_kind_bit = 48 * 8 + 8;
	hw_layout_conclude(&layout);
	uint32_t state = hw_str_state(&layout, 3 | (KIND_1 | COMPACT | ASCII) << 8);
	CHECK(state >> 2 == (KIND_1 | COMPACT | ASCII));
	CHECK_EQUAL(layout.gc_head_size, HW_ABSENT);
	layout.ob_gc_bits = 11;
	layout.gc_head_size = 16;
	hw_layout_conclude(&layout);
	CHECK_EQUAL(layout.gc_head_size, 0);
}

static void test_damaged_types(void)
{
	const hw_addr_t at = BASE + 0x6000;
	make_type(at, "Odd", TYPE, 0, 24);
	CHECK(hw_type_at(&cache, at));
	forget();
	put(at + 8, PLAIN); // an instance of a class that makes no types
	CHECK(!hw_type_at(&cache, at));
	forget();
	put(at + 8, at); // its own type, and not PyType_Type
	CHECK(!hw_type_at(&cache, at));
	forget();
	put(at + 8, at + 0x800); // two that are each other's metatype
	put(at + 0x800 + 8, at);
	CHECK(!hw_type_at(&cache, at));
	forget();
	put(at + 8, TYPE);
	put(at + OFF_BASICSIZE, UINT64_MAX);
	CHECK(!hw_type_at(&cache, at));
	forget();
	put(at + OFF_BASICSIZE, 24);
	put(at + OFF_NAME, 0x10); // a name that can't be read
	CHECK(!hw_type_at(&cache, at));
	forget();
	put(at + OFF_NAME, NAMES + 0xf00); // an empty one
	CHECK(!hw_type_at(&cache, at));
	forget();
	put(at + OFF_NAME, NAMES);
	put(at + OFF_BASE, at + 0x800); // bases in a ring
	make_type(at + 0x800, "Other", TYPE, 0, 24);
	put(at + 0x800 + OFF_BASE, at);
	CHECK(hw_type_at(&cache, at));
	memset(image + (at - BASE), 0, 0x1000);
	forget();
}

// The verdict on a type is that on its memory: the same, whichever type is asked about first.
static void test_long_ways(void)
{
	enum { COUNT = 20, STEP = 0x200, KNOWN_MAX = 8 };
	const hw_addr_t first = BASE + 0x9000;
	for (unsigned i = 0; i < COUNT; i++) // each the metatype of the next
		make_type(first + i * STEP, "M", i ? first + (i - 1) * STEP : TYPE,
			  HW_TPFLAGS_TYPE_SUBCLASS, 24);
	for (unsigned asked = 0; asked < COUNT; asked++) {
		forget();
		CHECK(!hw_type_at(&cache, first + asked * STEP) == (asked >= KNOWN_MAX));
		for (unsigned i = 0; i < COUNT; i++)
			CHECK(!hw_type_at(&cache, first + i * STEP) == (i >= KNOWN_MAX));
	}
	for (unsigned i = 0; i < COUNT; i++) { // each a base of the next
		put(first + i * STEP + 8, TYPE);
		put(first + i * STEP + OFF_BASE, i ? first + (i - 1) * STEP : LIST);
	}
	forget();
	const struct hw_type *last = hw_type_at(&cache, first + (COUNT - 1) * STEP);
	CHECK(last && last->rule_count == 1);
	for (unsigned i = COUNT; last && i-- > 0; last = last->base)
		CHECK(last->address == first + i * STEP);
	CHECK(last && last->address == LIST);
	// Bases in a ring: nobody in it or behind it has a base, whoever is asked first.
	put(first + OFF_BASE, first + (COUNT / 2) * STEP);
	for (unsigned asked = 0; asked < COUNT; asked++) {
		forget();
		CHECK(hw_type_at(&cache, first + asked * STEP));
		for (unsigned i = 0; i < COUNT; i++) {
			const struct hw_type *type = hw_type_at(&cache, first + i * STEP);
			CHECK(type && !type->base && !type->rule_count);
		}
	}
	memset(image + (first - BASE), 0, COUNT * STEP);
	forget();
}

static void test_links(void)
{
	struct hw_claim_sink sink = { .links_left = 1000 };
	struct hw_links ring = { 0 };
	unsigned n = 0;
	// 7 elements, the last of which leads to the fourth.
	for (hw_addr_t at = 1; hw_links_enter(&ring, &sink, at); at = at == 7 ? 4 : at + 1)
		n++;
	CHECK(n >= 7 && n < 40);
	struct hw_links list = { 0 };
	CHECK(!hw_links_enter(&list, &sink, 0));
	// What is left is for all lists together.
	uint64_t left = sink.links_left, followed = 0;
	for (unsigned k = 0; k < 10; k++) {
		struct hw_links tail = { 0 };
		for (hw_addr_t at = 1; at <= 200 && hw_links_enter(&tail, &sink, at); at++)
			followed++;
	}
	CHECK(left < 2000 && followed == left && !sink.links_left);
}

static bool prove(const uint64_t *words, size_t count, struct hw_object *ret)
{
	return hw_object_prove(&prover, &cache, (const uint8_t *)words, count * 8, count * 8, ret);
}

static void test_objects(void)
{
	struct hw_object object;
	const uint64_t plain[] = { 3, PLAIN, 77, 0 };
	CHECK(prove(plain, 4, &object) && object.offset == 0 && object.refcount == 3 &&
	      !object.is_dead && !strcmp(object.type->name, "Plain"));
	// More references than any 16-bit count: still an object.
	const uint64_t popular[] = { 70000, PLAIN, 0, 0 };
	CHECK(prove(popular, 4, &object) && object.refcount == 70000);
	const uint64_t immortal[] = { UINT32_MAX, PLAIN, 0, 0 };
	CHECK(prove(immortal, 4, &object));
	// A pointer is no count.
	const uint64_t pointer[] = { 0x7f0000001000, PLAIN, 0, 0 };
	CHECK(!prove(pointer, 4, &object));
	const uint64_t dead[] = { 0, PLAIN, 0, 0 };
	CHECK(prove(dead, 4, &object) && object.is_dead);
	// A type with GC is not where one without is, nor the other way round.
	const uint64_t box_at_0[] = { 1, BOX, 0, 0 };
	CHECK(!prove(box_at_0, 4, &object));
	const uint64_t plain_at_16[] = { 0, 0, 1, PLAIN, 0, 0 };
	CHECK(!prove(plain_at_16, 6, &object));
	const uint64_t box[] = { 0, 0, 1, BOX, 2, 0, 0, 0 };
	CHECK(prove(box, 8, &object) && object.offset == 16);
	const uint64_t managed[] = { 0, 0, 0, 0, 1, MANAGED };
	CHECK(prove(managed, 6, &object) && object.offset == 32);
	// More items than the block has room for, and so many that the product overflows.
	const uint64_t too_long[] = { 0, 0, 1, BOX, 20, 0, 0, 0 };
	CHECK(!prove(too_long, 8, &object));
	const uint64_t absurd[] = { 0, 0, 1, BOX, (uint64_t)1 << 61, 0, 0, 0 };
	CHECK(!prove(absurd, 8, &object));
	// A block far larger than such an object ever gets.
	static const uint64_t roomy[64] = { 1, PLAIN };
	CHECK(!prove(roomy, 64, &object));
	// A tuple of classes also reads as an instance of its first item, its length as the count.
	const uint64_t of_classes[] = { 0, 0, 1, BOX, 3, MANAGED, PLAIN, PLAIN };
	CHECK(prove(of_classes, 8, &object) && !strcmp(object.type->name, "Box"));
	// No GC head: insertion order of values of attributes, which then look like an object.
	const uint64_t values[] = { 0, 0x0802010000000000, 1, BOX, 2, 0, 0, 0 };
	CHECK(!prove(values, 8, &object));
	// Tracked, and in the middle of a collection.
	const uint64_t tracked[] = { BASE + 0x100, BASE + 0x201, 1, BOX, 2, 0, 0, 0 };
	CHECK(prove(tracked, 8, &object) && object.offset == 16);
	const uint64_t collected[] = { BASE + 0x101, 3 << 2 | 2, 1, BOX, 2, 0, 0, 0 };
	CHECK(prove(collected, 8, &object) && object.offset == 16);
	// A head that was never linked keeps a zero and a type of the one before: the living one counts.
	const uint64_t stale[] = { 0, PLAIN, 1, BOX, 2, 0, 0, 0 };
	CHECK(prove(stale, 8, &object) && object.offset == 16 && !object.is_dead);
	// A mimalloc page whose tag says where objects are, or that there are none.
	struct hw_object_prover elsewhere = prover, none = prover;
	hw_object_prover_at(&elsewhere, GC_HEAD, 1);
	hw_object_prover_at(&none, 0, 0);
	CHECK(prove(plain, sizeof(plain) / 8, &object));
	CHECK(!hw_object_prove(&elsewhere, &cache, (const uint8_t *)plain, sizeof(plain),
			       sizeof(plain), &object));
	CHECK(!hw_object_prove(&none, &cache, (const uint8_t *)plain, sizeof(plain), sizeof(plain),
			       &object));
	CHECK(hw_object_prove(&elsewhere, &cache, (const uint8_t *)tracked, sizeof(tracked),
			      sizeof(tracked), &object));
	// Too short to hold a header.
	CHECK(!prove(plain, 1, &object));
	CHECK(!hw_object_prove(&prover, &cache, (const uint8_t *)plain, 0, 0, &object));
}

static void test_debug_hooks(void)
{
	struct hw_object object;
	uint64_t block[] = { 0, 0xfdfdfdfdfdfdfd00u | 'o', 1, PLAIN, 0, 0xfdfdfdfdfdfdfdfdu };
	block[0] = htobe64(24);
	CHECK(prove(block, 6, &object) && object.offset == 16 && object.debug_bytes == 16);
	// 2.7's and 3.6's forbidden byte.
	block[1] = 0xfbfbfbfbfbfbfb00u | 'o';
	CHECK(prove(block, 6, &object) && object.offset == 16);
	// A size that the block has no room for is no header of the hooks.
	block[0] = htobe64(4096);
	CHECK(!prove(block, 6, &object));
	// An object too large for a pool: the raw domain's header, then the object domain's.
	uint64_t twice[] = {
		0, 0xfdfdfdfdfdfdfd00u | 'r', 0, 0xfdfdfdfdfdfdfd00u | 'o', 1, PLAIN, 0, 0, 0
	};
	twice[0] = htobe64(48);
	twice[2] = htobe64(24);
	CHECK(prove(twice, 9, &object) && object.offset == 32 && object.debug_bytes == 32);
	uint64_t requested;
	CHECK(hw_debug_head((const uint8_t *)twice, sizeof(twice), sizeof(twice), 8, &requested) ==
		      32 &&
	      requested == 24);
	CHECK(!hw_debug_head((const uint8_t *)twice, 8, 8, 8, &requested) && requested == 8);
}

static struct hw_claim claims[8];
static unsigned claim_count;

static void take_claim(struct hw_claim_sink *sink, const struct hw_claim *claim)
{
	(void)sink;
	if (claim_count < 8)
		claims[claim_count++] = *claim;
}

static void test_owners(void)
{
	struct hw_claim_sink sink = { .claim = take_claim, .cache = &cache };
	struct hw_object object;
	const uint64_t list[] = { 0, 0, 1, LIST, 4, 0x5000, 8, 0 };
	CHECK(prove(list, 8, &object));
	sink.block = 0x1000;
	sink.block_end = 0x1040;
	hw_owners_visit(&python.layout, &object, 0x1000, (const uint8_t *)list, sizeof(list),
			&sink);
	CHECK(claim_count == 1 && claims[0].address == 0x5000 &&
	      claims[0].kind == HW_CLAIM_LIST_ITEMS);
	// A pointer into the owner's own block is no buffer, and null is none.
	claim_count = 0;
	sink.block = 0x5000 - 8;
	sink.block_end = 0x5000 + 8;
	hw_owners_visit(&python.layout, &object, 0x1000, (const uint8_t *)list, sizeof(list),
			&sink);
	CHECK(claim_count == 0);
	// A user's class of the name "list" has no ob_item.
	const hw_addr_t mine = BASE + 0x7000;
	make_type(mine, "list", TYPE, HW_TPFLAGS_HAVE_GC | HW_TPFLAGS_HEAPTYPE, 40);
	CHECK(hw_type_at(&cache, mine) && hw_type_at(&cache, mine)->rule_count == 0);
	// A subclass has it.
	const hw_addr_t sub = BASE + 0x8000;
	make_type(sub, "Mine", TYPE, HW_TPFLAGS_HAVE_GC | HW_TPFLAGS_HEAPTYPE, 40);
	put(sub + OFF_BASE, LIST);
	CHECK(hw_type_at(&cache, sub) && hw_type_at(&cache, sub)->rule_count == 1);
}

static void test_ast_arena(void)
{
	uint64_t block[8] = { 32, 16, 0, 0x4000 + 32 };
	CHECK(hw_is_ast_arena_block(0x4000, (const uint8_t *)block, 64, 64, 8));
	CHECK(!hw_is_ast_arena_block(0x4010, (const uint8_t *)block, 64, 64, 8));
	block[1] = 40; // used beyond its size
	CHECK(!hw_is_ast_arena_block(0x4000, (const uint8_t *)block, 64, 64, 8));
	block[0] = 1024; // larger than the block
	CHECK(!hw_is_ast_arena_block(0x4000, (const uint8_t *)block, 64, 64, 8));
	CHECK(!hw_is_ast_arena_block(0x4000, (const uint8_t *)block, 24, 24, 8));
}

int main(void)
{
	start();
	test_types();
	test_split_counts();
	test_part_counts();
	test_moved_state();
	test_damaged_types();
	test_long_ways();
	test_links();
	test_objects();
	test_debug_hooks();
	test_owners();
	test_ast_arena();
	hw_types_deinit(&types);
	hw_pages_deinit(&pages);
	hw_target_close(target);
	return check_finish();
}
