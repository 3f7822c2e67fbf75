/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "native/strings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *bytes;
	size_t block; // bytes in the block
	int expected; // length, -1: no string
} cases[] = {
	{ "hello\0\xff\xff", 8, 5 },
	{ "abc", 4, 3 },
	{ "ab\0\0", 4, -1 }, // too short
	{ "abcd", 4, -1 },   // not terminated inside the block
	{ "a\x01"
	  "bc\0",
	  5, -1 }, // a control character
	{ "tab\tline\nend\0", 13, 12 },
	{ "\xc3\xa4\xc3\xb6\xc3\xbc\0", 7, 6 },
	{ "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\0", 10, 9 },
	{ "\xf0\x9f\x90\x8d\xf0\x9f\x90\x8d\xf0\x9f\x90\x8d\0", 13, 12 },
	{ "abc\xc3", 4, -1 }, // a sequence cut off by the block's end
	{ "abc\xc3\0", 5, -1 },
	{ "abc\x80\0", 5, -1 },
	{ "abc\xff\0", 5, -1 },
	{ "\0abc", 4, -1 },
	{ "", 0, -1 },
};

// ---- against the rule, byte by byte ----

// Characters in front of the first NUL, or -1: a byte is no text's, or there is no NUL.
static int spell(const uint8_t *bytes, size_t len, size_t *ret_len)
{
	static const struct {
		uint8_t low, high;
		int more;
	} leads[] = { { '\t', '\r', 0 }, { 0x20, 0x7e, 0 }, { 0xc2, 0xdf, 1 },
		      { 0xe0, 0xef, 2 }, { 0xf0, 0xf4, 3 }, { 0, 0, -1 } };
	int characters = 0;
	for (size_t i = 0; i < len; characters++) {
		size_t k = 0;
		if (!bytes[i]) {
			*ret_len = i;
			return characters;
		}
		while (leads[k].more >= 0 && (bytes[i] < leads[k].low || bytes[i] > leads[k].high))
			k++;
		if (leads[k].more < 0)
			return -1;
		i++;
		for (int n = leads[k].more; n; n--, i++)
			if (i == len || bytes[i] < 0x80 || bytes[i] > 0xbf)
				return -1;
	}
	return -1;
}

static int compare_random(void)
{
	static const char *const pieces[] = { "a",
					      "~",
					      " ",
					      "words of text, ",
					      "\t",
					      "\n",
					      "\xc3\xa4",
					      "\xe2\x82\xac",
					      "\xf0\x9f\x90\x8d" };
	static const char odd[] = { 0,          0,          0,          1,          '\b',
				    0x0e,       0x1f,       0x7f,       (char)0x80, (char)0xc1,
				    (char)0xc3, (char)0xe2, (char)0xf5, (char)0xff };
	int failures = 0, texts = 0;
	srand(1);
	for (int turn = 0; turn < 200000; turn++) {
		uint8_t *bytes = malloc(256);
		size_t len = 1 + (size_t)rand() % 120, at = 0, expected_len = 0, got_len = 0;
		int variety = 1 + rand() % 9;
		if (!bytes)
			return 1;
		while (at < len) {
			const char *piece = pieces[rand() % variety];
			memcpy(bytes + at, piece, strlen(piece));
			at += strlen(piece);
		}
		for (int n = rand() % 3; n; n--)
			bytes[(size_t)rand() % len] = (uint8_t)odd[(size_t)rand() % sizeof(odd)];
		// At the end of what was asked for: a byte too many is a sanitizer's to find.
		uint8_t *exact = malloc(len);
		if (!exact)
			return 1;
		memcpy(exact, bytes, len);
		int characters = spell(exact, len, &expected_len);
		bool expected = characters >= 3, got = hw_is_c_string(exact, len, &got_len);
		texts += expected;
		if (got != expected || (got && got_len != expected_len)) {
			fprintf(stderr, "turn %d: %d of %zu, expected %d of %zu\n", turn, got,
				got_len, expected, expected_len);
			failures++;
		}
		free(exact);
		free(bytes);
	}
	if (texts < 20000) {
		fprintf(stderr, "only %d of the turns had a text\n", texts);
		failures++;
	}
	return failures;
}

int main(void)
{
	int failures = compare_random();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t len;
		bool found = hw_is_c_string((const uint8_t *)cases[i].bytes, cases[i].block, &len);
		int result = found ? (int)len : -1;
		if (result != cases[i].expected) {
			fprintf(stderr, "case %zu: %d, expected %d\n", i, result,
				cases[i].expected);
			failures++;
		}
	}
	return failures != 0;
}
