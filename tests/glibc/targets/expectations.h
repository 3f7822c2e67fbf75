/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What a target knows of its own blocks; test_glibc_live.c reads it out of the target.
#ifndef EXPECTATIONS_H
#define EXPECTATIONS_H

#include <stdint.h>

enum { EXPECTATIONS_MAX = 200000 };

enum expected_state {
	EXPECT_IN_USE,
	EXPECT_NOT_IN_USE, // on whichever list
	EXPECT_TCACHE,
	EXPECT_FASTBIN,
	EXPECT_UNSORTED,
	EXPECT_SMALL,
	EXPECT_LARGE,
	EXPECT_MMAPPED, // in use, in a mapping of its own
};

struct expectation {
	uint64_t mem;
	uint64_t state;
};

#endif
