/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "native/strings.h"

#include <stdio.h>
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

int main(void)
{
	int failures = 0;
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
