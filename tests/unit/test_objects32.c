/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Types, objects and owners of a 32-bit program, forged in an image: words of four bytes, heads of eight.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cpython/owners.h"
#include "cpython/value.h"
#include "forged_python.h"

// One writable mapping; the layout is that of 3.11 on i386.
enum {
	BASE = 0x100000,
	BYTES = 0x10000,
	TYPE = BASE, // PyType_Type
	PLAIN = BASE + 0x1000,
	MANAGED = BASE + 0x2000, // a class with GC and pre-header
	INT = BASE + 0x3000,
	LIST = BASE + 0x4004, // aligned to a word of four bytes, no more
	WIDE = BASE + 0x5000, // with a dict at the end of variable-sized instances
	OBJECT = BASE + 0x8000,
	NAMES = BASE + 0xf000,
};

static uint8_t image[BYTES];
static struct hw_python python;
static struct hw_types types;
static struct hw_pages pages;
static struct hw_type_cache cache;
static struct hw_target *target;
static struct hw_object_prover prover;

static void put(hw_addr_t at, uint32_t value)
{
	put32(image + (at - BASE), value);
}

static void forge_layout(struct hw_python_layout *l)
{
	forged_layout(l);
	l->word_bytes = 4;
	l->object_size = 8;
	l->ob_refcnt = 0;
	l->ob_type = 4;
	l->ob_size = 8;
	l->gc_head_size = 8;
	l->type_size = 208;
	l->tp_name = 12;
	l->tp_basicsize = 16;
	l->tp_itemsize = 20;
	l->tp_flags = 84;
	l->tp_base = 128;
	l->tp_dictoffset = 144;
	l->ht_tpname = 412; // of a version with pre-headers
	l->list_ob_item = 12;
}

static void make_type(hw_addr_t at, const char *name, uint32_t flags, uint32_t basicsize,
		      uint32_t itemsize)
{
	static hw_addr_t next_name = NAMES;
	const struct hw_python_layout *l = &python.layout;
	memcpy(image + (next_name - BASE), name, strlen(name) + 1);
	put(at + (hw_addr_t)l->ob_type, TYPE);
	put(at + (hw_addr_t)l->tp_name, (uint32_t)next_name);
	put(at + (hw_addr_t)l->tp_basicsize, basicsize);
	put(at + (hw_addr_t)l->tp_itemsize, itemsize);
	put(at + (hw_addr_t)l->tp_flags, flags | HW_TPFLAGS_READY);
	next_name += strlen(name) + 1;
}

static void start(void)
{
	static struct hw_module module = { .start = BASE, .end = BASE + BYTES };
	forge_layout(&python.layout);
	python.type_type = TYPE;
	python.module = &module;
	make_type(TYPE, "type", HW_TPFLAGS_TYPE_SUBCLASS | HW_TPFLAGS_HAVE_GC, 440, 0);
	make_type(PLAIN, "Plain", 0, 12, 0);
	make_type(MANAGED, "Managed",
		  HW_TPFLAGS_HAVE_GC | HW_TPFLAGS_HEAPTYPE | HW_TPFLAGS_MANAGED_DICT, 8, 0);
	make_type(INT, "int", HW_TPFLAGS_LONG_SUBCLASS, 12, 4);
	make_type(LIST, "list", HW_TPFLAGS_HAVE_GC, 20, 0);
	make_type(WIDE, "Wide", HW_TPFLAGS_LONG_SUBCLASS | HW_TPFLAGS_HEAPTYPE, 16, 4);
	put(WIDE + (hw_addr_t)python.layout.tp_dictoffset, (uint32_t)-4);
	struct hw_error *err = forged_open(BASE, image, BYTES, &target);
	if (!err)
		err = hw_types_init(&types, &python, NULL, NULL);
	if (err) {
		fprintf(stderr, "%s\n", hw_error_message(err));
		exit(1);
	}
	target->machine = hw_machine_find(EM_386, ELFCLASS32);
	hw_pages_init(&pages, target);
	cache = (struct hw_type_cache){ .types = &types, .pages = &pages };
	hw_object_prover_init(&prover, &python, target);
}

// A block of `count` words, all of which the application has.
static bool prove(const uint32_t *block, size_t count, struct hw_object *ret)
{
	return hw_object_prove(&prover, &cache, (const uint8_t *)block, count * 4, count * 4, ret);
}

static void test_types(void)
{
	const struct hw_type *type = hw_type_at(&cache, LIST);
	CHECK(type && !strcmp(type->name, "list") && type->basicsize == 20 &&
	      type->head_bytes == 8);
	type = hw_type_at(&cache, MANAGED);
	CHECK(type && type->has_preheader && type->head_bytes == 16);
	type = hw_type_at(&cache, WIDE);
	CHECK(type && type->dictoffset == -4);
	CHECK(!hw_type_at(&cache, PLAIN + 2) && !hw_type_at(&cache, PLAIN + 4));
}

static void test_objects(void)
{
	struct hw_object object;
	const uint32_t plain[] = { 1, PLAIN, 7, 0 };
	CHECK(prove(plain, 4, &object) && object.offset == 0 && object.refcount == 1);
	const uint32_t list[] = { 0, 0, 2, LIST, 1, 0x5000, 4, 0 };
	CHECK(prove(list, 8, &object) && object.offset == 8 && object.refcount == 2);
	const uint32_t managed[] = { 0, 0, BASE, BASE, 3, MANAGED };
	CHECK(prove(managed, 6, &object) && object.offset == 16 && object.refcount == 3);
	// The low bits of a GC head's first word are no address's.
	const uint32_t no_head[] = { 2, 0, 2, LIST, 1, 0x5000, 4, 0 };
	CHECK(!prove(no_head, 8, &object));
	// No room for it; no type; a count that is an address.
	CHECK(!prove(list, 4, &object));
	const uint32_t no_type[] = { 1, NAMES, 7, 0 };
	CHECK(!prove(no_type, 4, &object));
	const uint32_t no_count[] = { OBJECT, PLAIN, 7, 0 };
	CHECK(!prove(no_count, 4, &object));
	// On a free list.
	const uint32_t dead[] = { 0, PLAIN, 7, 0 };
	CHECK(prove(dead, 4, &object) && object.is_dead);
}

static void test_sizes(void)
{
	struct hw_object object;
	uint32_t number[32] = { 1, INT, (uint32_t)-2, 5, 1 };
	CHECK(prove(number, 6, &object));
	CHECK_EQUAL(hw_object_bytes(&python.layout, object.type, (const uint8_t *)number, 24), 20);
	number[2] = (uint32_t)-30; // more digits than the block has room for
	CHECK(!prove(number, 6, &object));
	number[2] = 0x7fffffff;
	CHECK(!prove(number, 6, &object));
}

static void test_debug_hooks(void)
{
	struct hw_object object;
	uint64_t requested;
	uint32_t block[] = { htobe32(12), 0xfdfdfd00u | 'o', 1, PLAIN, 7, 0xfdfdfdfd };
	CHECK(prove(block, 6, &object) && object.offset == 8 && object.debug_bytes == 8);
	CHECK_EQUAL(hw_debug_head((const uint8_t *)block, 24, 24, 4, &requested), 8);
	CHECK_EQUAL(requested, 12);
	block[0] = htobe32(4096); // no room for that
	CHECK(!prove(block, 6, &object));
	// The raw domain's, then the object domain's.
	const uint32_t twice[] = {
		htobe32(20), 0xfdfdfd00u | 'r', htobe32(12), 0xfdfdfd00u | 'o', 1, PLAIN, 0
	};
	CHECK(prove(twice, 7, &object) && object.offset == 16 && object.debug_bytes == 16);
}

static struct hw_claim claims[8];
static unsigned claim_count;

static void take_claim(struct hw_claim_sink *sink, const struct hw_claim *claim)
{
	(void)sink;
	if (claim_count < 8)
		claims[claim_count++] = *claim;
}

static void visit(hw_addr_t block, const uint32_t *words, size_t count)
{
	struct hw_claim_sink sink = {
		.claim = take_claim, .cache = &cache, .block = block, .block_end = block + count * 4
	};
	struct hw_object object;
	claim_count = 0;
	memcpy(image + (block - BASE), words, count * 4);
	hw_pages_drop(&pages);
	CHECK(prove(words, count, &object));
	hw_owners_visit(&python.layout, &object, block, (const uint8_t *)words, count * 4, &sink);
}

static void test_owners(void)
{
	const uint32_t list[] = { 0, 0, 2, LIST, 1, 0x5000, 4, 0 };
	visit(OBJECT, list, 8);
	CHECK(claim_count == 1 && claims[0].address == 0x5000 &&
	      claims[0].kind == HW_CLAIM_LIST_ITEMS);
	// {values, dict}, the GC head, the object.
	const uint32_t managed[] = { 0x6000, 0x7000, BASE, BASE, 3, MANAGED };
	visit(OBJECT, managed, 6);
	CHECK(claim_count == 2 && claims[0].address == 0x7000 &&
	      claims[0].kind == HW_CLAIM_OBJECT && claims[1].address == 0x6000 &&
	      claims[1].kind == HW_CLAIM_DICT_VALUES && claims[1].is_interior);
	// Two digits, of a negative number, then the dict.
	const uint32_t wide[] = { 1, WIDE, (uint32_t)-2, 5, 1, 0x9000, 0x7700 };
	visit(OBJECT, wide, 7);
	CHECK(claim_count == 1 && claims[0].address == 0x9000);
}

static void test_ast_arena(void)
{
	uint32_t block[8] = { 16, 8, 0, 0x4000 + 16 };
	CHECK(hw_is_ast_arena_block(0x4000, (const uint8_t *)block, 32, 32, 4));
	CHECK(!hw_is_ast_arena_block(0x4000, (const uint8_t *)block, 32, 32, 8));
	block[1] = 20; // used beyond its size
	CHECK(!hw_is_ast_arena_block(0x4000, (const uint8_t *)block, 32, 32, 4));
}

static void test_values(void)
{
	char text[HW_VALUE_TEXT_MAX];
	const uint32_t number[] = { 1, INT, (uint32_t)-2, 5, 1 };
	memcpy(image + (OBJECT - BASE), number, sizeof(number));
	hw_pages_drop(&pages);
	CHECK(hw_value_text(&cache, OBJECT, text));
	CHECK(!strcmp(text, "-1073741829"));
}

int main(void)
{
	start();
	test_types();
	test_objects();
	test_sizes();
	test_debug_hooks();
	test_owners();
	test_ast_arena();
	test_values();
	hw_types_deinit(&types);
	hw_pages_deinit(&pages);
	hw_target_close(target);
	return check_finish();
}
