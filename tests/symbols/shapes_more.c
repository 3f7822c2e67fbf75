/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shapes.h"

struct shape_opaque {
	long a, b;
	short c;
};

static uint64_t shape_counter = 9; // another one of that name
struct shape_opaque shape_opaque_value;

uint64_t shape_more(void)
{
	return shape_counter++ + (uint64_t)shape_opaque_value.c;
}
