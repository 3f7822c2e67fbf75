/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The query language: what matches, what binds tighter, and every error with its caret.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/query.h"
#include "base/bytes.h"
#include "check.h"

// Five blocks, A to E.
static const struct hw_category categories[] = {
	{ .domain = "python",
	  .kind = "str",
	  .detail = "",
	  .state = HW_STATE_IN_USE,
	  .state_word = "in use" },
	{ .domain = "python",
	  .kind = "dict",
	  .detail = "Foo.__dict__",
	  .state = HW_STATE_IN_USE,
	  .state_word = "in use" },
	{ .domain = "glibc",
	  .kind = "tcache",
	  .detail = "",
	  .state = HW_STATE_FREE,
	  .state_word = "tcache" },
	{ .domain = "uncategorized",
	  .kind = "",
	  .detail = "",
	  .state = HW_STATE_IN_USE,
	  .state_word = "in use" },
	{ .domain = "C",
	  .kind = "string \"data\"",
	  .detail = "it's",
	  .state = HW_STATE_UNKNOWN,
	  .state_word = "unknown" },
};

static const struct hw_row rows[] = {
	{ .start = 0x1000, .size_bytes = 64, .allocator = HW_ALLOCATOR_PYMALLOC, .category = 0 },
	{ .start = 0x2000, .size_bytes = 1024, .allocator = HW_ALLOCATOR_PYMALLOC, .category = 1 },
	{ .start = 0x3000, .size_bytes = 32, .allocator = HW_ALLOCATOR_GLIBC, .category = 2 },
	{ .start = 0x4000, .size_bytes = 3145728, .allocator = HW_ALLOCATOR_GLIBC, .category = 3 },
	{ .start = 0xbf70ffff, .size_bytes = 16, .allocator = HW_ALLOCATOR_NONE, .category = 4 },
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void matching(struct hw_query *query, char *ret)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (hw_query_matches(query, &rows[i], &categories[rows[i].category]))
			*ret++ = (char)('A' + i);
	}
	*ret = 0;
}

// Three ways: without a memory of verdicts, filling it, and from it.
static void expect(const char *text, const char *want)
{
	struct hw_query *query = NULL;
	struct hw_error *err = hw_query_parse(text, &query);
	CHECK(!err, "%s: %s", text, err ? hw_error_message(err) : "");
	hw_error_destroy(err);
	for (int i = 0; query && i < 3; i++) {
		char got[ROWS + 1];
		if (i == 1)
			hw_query_reserve_memo(query, ROWS);
		matching(query, got);
		CHECK(!strcmp(got, want), "%s: got %s, want %s (pass %d)", text, got, want, i);
	}
	hw_query_destroy(query);
}

// `head`: the first line without its colon. `caret`: column of the caret. `hint`: in the last one.
static void expect_error(const char *text, const char *head, size_t caret, const char *hint)
{
	struct hw_query *query = NULL;
	struct hw_error *err = hw_query_parse(text, &query);
	CHECK(err, "%s: parsed", text);
	if (!err) {
		hw_query_destroy(query);
		return;
	}
	CHECK(hw_error_code(err) == HW_ERROR_INVALID, "%s: code %s", text,
	      hw_error_code_word(hw_error_code(err)));
	char first[512];
	snprintf(first, sizeof(first), "%s:\n%s\n", head, text);
	const char *message = hw_error_message(err);
	CHECK(!strncmp(message, first, strlen(first)), "%s:\ngot  %s\nwant %s", text, message,
	      first);
	const char *caret_line = message + hw_min(strlen(first), strlen(message));
	size_t width = strspn(caret_line, " ");
	CHECK(width == caret && caret_line[width] == '^', "%s: caret at %zu, want %zu:\n%s", text,
	      width, caret, message);
	const char *last = strrchr(message, '\n') + 1;
	CHECK(strstr(last, hint), "%s: no \"%s\" in: %s", text, hint, last);
	hw_error_destroy(err);
}

static void test_comparisons(void)
{
	expect(NULL, "ABCDE");
	expect("", "ABCDE");
	expect(" \t\n", "ABCDE");
	expect("size >= 1024", "BD");
	expect("size > 1024", "D");
	expect("size < 32", "E");
	expect("size <= 32", "CE");
	expect("size = 64", "A");
	expect("size == 64", "A");
	expect("size != 64", "BCDE");
	expect("1024 < size", "D");
	expect("addr > 0xbf70fffe", "E");
	expect("addr = start", "ABCDE");
	expect("start=0x2000", "B");
	expect("end = 0x103f", "A");
	expect("kind == \"str\"", "A");
	expect("kind = 'dict'", "B");
	expect("kind != 'dict'", "ACDE");
	expect("detail > 'F'", "BE");
	expect("detail = \"it's\"", "E");
	expect("kind = 'string \"data\"'", "E");
	expect("domain = kind", "");
	expect("allocator = 'pymalloc'", "AB");
	expect("allocator = 'none' or allocator = 'glibc'", "CDE");
	expect("1 = 1", "ABCDE");
	expect("'a' = 'b'", "");
}

static void test_states(void)
{
	expect("state = 'in use'", "ABD");
	expect("state = 'free'", "C");   // the class
	expect("state = 'tcache'", "C"); // which kind of free
	expect("state != 'free'", "ABDE");
	expect("state ~ '^free$'", "C");
	expect("state !~ 'cache'", "ABDE");
	expect("'free' = state", "C");
}

static void test_units(void)
{
	expect("size = 1K", "B");
	expect("size = 1k", "B");
	expect("size = 3M", "D");
	expect("size < 1G", "ABCDE");
	expect("size = 0x400", "B");
	expect("size = 0X400", "B");
	expect("size = 0x1K", "B");
	expect("size < 18446744073709551615", "ABCDE");
}

static void test_precedence(void)
{
	// AND before OR, whichever comes first.
	expect("kind='str' or kind='dict' and size < 100", "A");
	expect("size < 100 and kind='dict' or kind='str'", "A");
	expect("(kind='str' or kind='dict') and size > 100", "B");
	expect("not kind='str' and size < 100", "CE");
	expect("not (kind='str' or size < 40)", "BD");
	expect("not not kind='str'", "A");
	expect("not not not kind='str'", "BCDE");
}

static void test_keywords(void)
{
	expect("NOT kind='str' AnD size <= 32", "CE");
	expect("kind='str' OR kind='dict'", "AB");
	expect("((((size = 64))))", "A");
}

static void test_regex(void)
{
	expect("kind ~ '^(dict|str)$'", "AB");
	expect("kind !~ '^(dict|str)$'", "CDE");
	expect("domain ~ 'c'", "CD");
	expect("detail ~ '^$'", "ACD");
}

static void expect_tail(const char *text, size_t orders, enum hw_attribute first, bool descending,
			uint64_t limit)
{
	struct hw_query *query = NULL;
	struct hw_error *err = hw_query_parse(text, &query);
	CHECK(!err, "%s: %s", text, err ? hw_error_message(err) : "");
	hw_error_destroy(err);
	if (!query)
		return;
	CHECK(query->order_count == orders, "%s: %zu orders", text, query->order_count);
	CHECK(!orders || (query->order[0].attribute == first &&
			  query->order[0].descending == descending),
	      "%s: order by %s", text, hw_attribute_name(query->order[0].attribute));
	CHECK(query->limit == limit, "%s: limit %llu", text, (unsigned long long)query->limit);
	hw_query_destroy(query);
}

static void test_tail(void)
{
	expect_tail("size > 1", 0, 0, false, UINT64_MAX);
	expect_tail("limit 5", 0, 0, false, 5);
	expect_tail("order by size", 1, HW_ATTRIBUTE_SIZE, false, UINT64_MAX);
	expect_tail("ORDER BY size DESC LIMIT 1K", 1, HW_ATTRIBUTE_SIZE, true, 1024);
	expect_tail("size > 1 order by kind asc, size desc limit 3", 2, HW_ATTRIBUTE_KIND, false,
		    3);
}

static void test_parse_errors(void)
{
	expect_error("size AM 5", "Parse error at \"AM\"", 5, "expected one of < <=");
	expect_error("size >", "Parse error at the end of the query", 6, "expected an attribute");
	expect_error("size", "Parse error at the end of the query", 4, "expected one of");
	expect_error("size & 4", "Parse error at \"&\"", 5, "no query has this character");
	expect_error("size > 4 size < 5", "Parse error at \"size\"", 9, "expected \"and\"");
	expect_error("(size > 4", "Parse error at the end of the query", 9, "expected \")\"");
	expect_error("size > 4)", "Parse error at \")\"", 8, "expected \"and\"");
	expect_error("and size > 4", "Parse error at \"and\"", 0, "expected an attribute");
	expect_error("size > 4 or", "Parse error at the end of the query", 11,
		     "expected an attribute");
	expect_error("not", "Parse error at the end of the query", 3, "expected an attribute");
	expect_error("()", "Parse error at \")\"", 1, "expected an attribute");
	expect_error("1 < size < 3", "Parse error at \"<\"", 9, "comparisons do not chain");
	expect_error("(kind = 'a' = 'b')", "Parse error at \"=\"", 12, "do not chain");
	expect_error("size > 4 order size", "Parse error at \"size\"", 15, "expected \"by\"");
	expect_error("order by 4", "Parse error at \"4\"", 9, "expected an attribute");
	expect_error("order by size, ", "Parse error at the end of the query", 15, "an attribute");
	expect_error("order by size up", "Parse error at \"up\"", 14, "\"desc\"");
	expect_error("limit", "Parse error at the end of the query", 5,
		     "expected a number of rows");
	expect_error("limit x", "Parse error at \"x\"", 6, "expected a number of rows");
	expect_error("limit 3 order by size", "Parse error at \"order\"", 8, "nothing follows");
	expect_error("kind = 'päck' & 1", "Parse error at \"&\"", 14, "no query has");
}

static void test_literal_errors(void)
{
	expect_error("size > -5", "Parse error at \"-5\"", 7, "not negative");
	expect_error("size > 5 -format json", "Parse error at \"-\"", 9, "options go before");
	expect_error("size > 12abc", "Parse error at \"12abc\"", 7, "a number is decimal");
	expect_error("size > 1.5K", "Parse error at \"1.5K\"", 7, "a number is decimal");
	expect_error("size > 0x", "Parse error at \"0x\"", 7, "a number is decimal");
	expect_error("size > 1KB", "Parse error at \"1KB\"", 7, "a number is decimal");
	expect_error("size > 18446744073709551616", "Parse error at \"18446744073709551616\"", 7,
		     "64 bits");
	expect_error("size > 99999999999999999G", "Parse error at \"99999999999999999G\"", 7,
		     "64 bits");
	expect_error("kind = 'str", "Parse error at \"'str\"", 7, "no closing quote");
	expect_error("kind ~ '['", "Bad regular expression at '['", 7, "egular expression");
	expect_error("kind ~ domain", "A regular expression is a string in quotes", 7, "a string");
}

static void test_type_errors(void)
{
	expect_error("size > \"x\"",
		     "Type error: size is a number and \"x\" is a text, at \"\"x\"\"", 7, "");
	expect_error("detail > 5", "Type error: detail is a text and 5 is a number, at \"5\"", 9,
		     "");
	expect_error("size ~ '5'", "Type error: size is a number and '5' is a text, at \"'5'\"", 7,
		     "");
	expect_error("domain = size",
		     "Type error: domain is a text and size is a number, at \"size\"", 9, "");
}

static void test_unknown_attributes(void)
{
	static const char supported[] =
		"(supported are domain,kind,detail,state,allocator,addr,start,end,size)";
	char head[200];
	snprintf(head, sizeof(head), "Unknown attribute \"foo\" %s at \"foo\"", supported);
	expect_error("foo > 5", head, 0, "");
	expect_error("5 < foo", head, 4, "");
	expect_error("order by foo", head, 9, "");
	snprintf(head, sizeof(head), "Unknown attribute \"Size\" %s at \"Size\"", supported);
	expect_error("Size > 5", head, 0, ""); // names are in lower case
}

// Depth is bounded: a long chain is no depth, many parentheses are an error and not a crash.
static void test_depth(void)
{
	size_t n = 200;
	char *text = malloc(n * 20 + 1), *p = text;
	for (size_t i = 0; i < n; i++)
		p += sprintf(p, "%ssize = 64", i ? " or " : "");
	expect(text, "A");
	memset(text, '(', n);
	strcpy(text + n, "size = 1");
	struct hw_query *query;
	struct hw_error *err = hw_query_parse(text, &query);
	CHECK(err && strstr(hw_error_message(err), "nested more than 100 deep"),
	      "depth is not bounded");
	hw_error_destroy(err);
	for (size_t i = 0; i < n; i++)
		memcpy(text + 4 * i, "not ", 4);
	strcpy(text + 4 * n, "size = 64");
	expect(text, "A");
	free(text);
	char *huge = malloc(HW_QUERY_LENGTH_MAX + 2);
	memset(huge, ' ', HW_QUERY_LENGTH_MAX + 1);
	huge[HW_QUERY_LENGTH_MAX + 1] = 0;
	err = hw_query_parse(huge, &query);
	CHECK(err && hw_error_code(err) == HW_ERROR_INVALID, "length is not bounded");
	hw_error_destroy(err);
	free(huge);
}

int main(void)
{
	test_comparisons();
	test_states();
	test_units();
	test_keywords();
	test_regex();
	test_tail();
	test_parse_errors();
	test_literal_errors();
	test_type_errors();
	test_unknown_attributes();
	test_depth();
	test_precedence();
	return check_finish();
}
