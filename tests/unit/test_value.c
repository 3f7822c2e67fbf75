/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Values of objects forged in an image: what is told, and what a hostile object can't do.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cpython/value.h"
#include "cpython/value_text.h"
#include "forged_python.h"

// One writable mapping, the interpreter's own file; the layout is that of a GIL build of 3.12.
enum {
	BASE = 0x100000,
	BYTES = 0x20000,
	TYPE = BASE,
	LIST = BASE + 0x1000,
	TUPLE = BASE + 0x2000,
	DICT = BASE + 0x3000,
	SET = BASE + 0x4000,
	INT = BASE + 0x5000,
	STR = BASE + 0x6000,
	FLOAT = BASE + 0x7000,
	NONE = BASE + 0x8000,
	BYTEARRAY = BASE + 0x9000,
	NAMES = BASE + 0xf000,
	OBJECTS = BASE + 0x10000,
	NOWHERE = BASE + BYTES + 0x1000,
};

static uint8_t image[BYTES];
static struct hw_python python;
static struct hw_module module = { .path = "python", .start = BASE, .end = BASE + BYTES };
static struct hw_types types;
static struct hw_pages pages;
static struct hw_type_cache cache;
static struct hw_target *target;

static void put(hw_addr_t at, uint64_t value)
{
	put64(image + (at - BASE), value);
}

static void put_bytes(hw_addr_t at, const void *bytes, size_t len)
{
	memcpy(image + (at - BASE), bytes, len);
}

static void make_type(hw_addr_t at, const char *name, uint64_t flags, uint64_t basicsize,
		      uint64_t itemsize)
{
	static hw_addr_t next_name = NAMES;
	put_bytes(next_name, name, strlen(name) + 1);
	forged_type(image + (at - BASE), TYPE, next_name, flags, basicsize, itemsize);
	next_name += strlen(name) + 1;
}

static void make_layout(struct hw_python_layout *l)
{
	forged_layout(l);
	forged_layout_objects(l);
	forged_layout_containers(l);
	l->bytes_ob_sval = 32;
	l->bytearray_ob_start = 40;
}

static void start(void)
{
	make_layout(&python.layout);
	python.type_type = TYPE;
	python.module = &module;
	make_type(TYPE, "type", HW_TPFLAGS_TYPE_SUBCLASS, 920, 0);
	make_type(LIST, "list", 0, 40, 0);
	make_type(TUPLE, "tuple", 0, 24, 8);
	make_type(DICT, "dict", HW_TPFLAGS_DICT_SUBCLASS, 48, 0);
	make_type(SET, "set", 0, 200, 0);
	make_type(INT, "int", HW_TPFLAGS_LONG_SUBCLASS, 24, 4);
	make_type(STR, "str", HW_TPFLAGS_UNICODE_SUBCLASS, 64, 0);
	make_type(FLOAT, "float", 0, 24, 0);
	make_type(NONE, "NoneType", 0, 16, 0);
	make_type(BYTEARRAY, "bytearray", 0, 56, 0);
	CHECK_OK(forged_open(BASE, image, BYTES, &target));
	CHECK_OK(hw_types_init(&types, &python, NULL, NULL));
	hw_pages_init(&pages, target);
	cache = (struct hw_type_cache){ .types = &types, .pages = &pages };
}

static hw_addr_t next_object = OBJECTS;

static hw_addr_t make(hw_addr_t type, uint64_t size)
{
	hw_addr_t at = next_object;
	next_object += 256;
	put(at, 1);
	put(at + 8, type);
	put(at + 16, size);
	return at;
}

static bool is_exact;

static const char *value(hw_addr_t object)
{
	static char text[HW_VALUE_TEXT_MAX];
	memset(text, 'x', sizeof(text));
	hw_pages_drop(&pages);
	is_exact = hw_value_text(&cache, object, text);
	CHECK(memchr(text, 0, sizeof(text)), "no end");
	for (const unsigned char *s = (const unsigned char *)text; *s; s++)
		CHECK(*s >= 0x20 && *s != 0x7f, "a control character, %#x", *s);
	return text;
}

static hw_addr_t make_int(uint32_t number)
{
	hw_addr_t at = make(INT, 1 << 3);
	put(at + 24, number);
	return at;
}

static void test_cycles(void)
{
	hw_addr_t list = make(LIST, 2), items = make(NONE, 0);
	put(list + 24, items);
	put(items, make_int(7));
	put(items + 8, list);
	CHECK_TEXT(value(list), "[7, [...]]");
	CHECK(is_exact);
	// A hundred lists in each other: as deep as is told.
	hw_addr_t outer = make(LIST, 1), inner = outer;
	for (unsigned i = 0; i < 100; i++) {
		hw_addr_t next = make(LIST, 1);
		put(inner + 24, inner + 64);
		put(inner + 64, next);
		inner = next;
	}
	CHECK_TEXT(value(outer), "[[[[…]]]]");
	CHECK(!is_exact);
	// Each level names the next sixteen times: no more than the text has room for.
	for (unsigned level = 0; level < 6; level++) {
		hw_addr_t wide = outer + 256 * (hw_addr_t)level;
		put(wide + 16, 16);
		for (unsigned i = 0; i < 16; i++)
			put(wide + 64 + 8 * i, wide + 256);
	}
	CHECK(strlen(value(outer)) < HW_VALUE_TEXT_MAX && !is_exact);
	CHECK(strstr(value(outer), "…"));
}

static void test_sizes(void)
{
	hw_addr_t list = make(LIST, (uint64_t)1 << 60);
	put(list + 24, NOWHERE);
	CHECK_TEXT(value(list), "[?]");
	put(list + 24, list + 64);
	put(list + 64, make_int(1));
	CHECK(strstr(value(list), "[1, <NULL>, ") && strstr(value(list), ", …]"));
	hw_addr_t tuple = make(TUPLE, UINT64_MAX);
	CHECK(value(tuple)[0] == '(' && !is_exact);
	hw_addr_t number = make(INT, UINT64_MAX);
	CHECK(strstr(value(number), "int of about") && !is_exact);
	hw_addr_t text = make(STR, (uint64_t)1 << 50);
	put(text + 32, 1 << 2 | 1 << 5 | 1 << 6); // one byte each, compact, ASCII
	put_bytes(text + 40, "\x1b[31m", 5);
	CHECK(strstr(value(text), "'\\x1b[31m") && strstr(value(text), "'…") && !is_exact);
	put(text + 32, 7 << 2 | 1 << 5);
	CHECK_TEXT(value(text), "<str that is not ready>");
	put(text + 32, 1 << 2); // not compact: elsewhere
	put(text + 56, NOWHERE);
	CHECK_TEXT(value(text), "?");
	hw_addr_t bytes = make(BYTEARRAY, 4);
	put(bytes + 40, NOWHERE);
	CHECK_TEXT(value(bytes), "bytearray(?)");
}

static void test_tables(void)
{
	hw_addr_t dict = make(DICT, 3), keys = make(NONE, 0);
	put(dict + 32, keys);
	put(keys + 8, 60 << 8); // an index of 2^60 bytes
	put(keys + 24, 1);
	CHECK_TEXT(value(dict), "{?}");
	put(keys + 8, 3 << 8);
	put(keys + 24, UINT64_MAX); // entries without end, all empty
	memset(image + (keys - BASE) + 40, 0, 200);
	CHECK(value(dict)[0] == '{' && !is_exact);
	put(keys + 40 + 8, make_int(5));
	put(keys + 40 + 16, dict);
	CHECK(strstr(value(dict), "{5: {...}") && !is_exact);
	put(dict + 40, NOWHERE); // split, its values nowhere
	CHECK_TEXT(value(dict), "{?}");
	put(dict + 32, NOWHERE);
	CHECK_TEXT(value(dict), "{?}");
	hw_addr_t set = make(SET, 0);
	put(set + 24, 1000);
	put(set + 32, UINT64_MAX >> 1); // a table without end
	put(set + 40, set + 64);
	put(set + 64, make_int(3));
	put(set + 80, make_int(4));
	put(set + 88, UINT64_MAX); // was removed
	CHECK(strstr(value(set), "{3, ") && !strstr(value(set), "4") && !is_exact);
}

static void test_no_objects(void)
{
	CHECK_TEXT(value(0), "<NULL>");
	CHECK_TEXT(value(NOWHERE), "<no object at 0x121000>");
	CHECK(strstr(value(make(NOWHERE, 0)), "<no object at 0x"));
	hw_addr_t plain = make(NONE, 0);
	CHECK_TEXT(value(plain), "None");
	CHECK(is_exact);
}

static void test_doubles(void)
{
	static const struct {
		double number;
		const char *text;
	} cases[] = {
		{ 0.1, "0.1" },
		{ 1e16, "1e+16" },
		{ 9999999999999998.0, "9999999999999998.0" },
		{ 0.0001, "0.0001" },
		{ 0.00001, "1e-05" },
		{ 1.5e300, "1.5e+300" },
		{ 5e-324, "5e-324" },
		{ 1.7976931348623157e308, "1.7976931348623157e+308" },
		{ 2.0 / 3, "0.6666666666666666" },
		{ -0.0, "-0.0" },
		{ 100, "100.0" },
		{ INFINITY, "inf" },
		{ -INFINITY, "-inf" },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint64_t bits;
		hw_addr_t number = make(FLOAT, 0);
		memcpy(&bits, &cases[i].number, sizeof(bits));
		put(number + 16, bits);
		CHECK_TEXT(value(number), cases[i].text);
		CHECK(is_exact);
	}
}

int main(void)
{
	start();
	test_doubles();
	test_sizes();
	test_tables();
	test_no_objects();
	test_cycles();
	hw_types_deinit(&types);
	hw_pages_deinit(&pages);
	hw_target_close(target);
	return check_finish();
}
