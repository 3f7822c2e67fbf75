/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shapes.h"

static uint64_t shape_counter = 7;   // also in shapes_more.c
static ShapeObject shape_statics[3]; // .bss
const ShapeAlias *const shape_pointer = &shape_statics[1];
__thread int shape_tls = 5;
int shape_global = 11;
enum shape_state shape_state = SHAPE_READY;
static void *shape_table[4] = { &shape_counter, &shape_global, shape_statics, 0 };

__attribute__((noinline)) static int shape_helper(int x)
{
	return x + (int)shape_counter++;
}

int shape_function(int x)
{
	shape_statics[0].tag++;
	shape_table[3] = &shape_tls;
	return shape_helper(x) + shape_tls + shape_global + (shape_table[x & 3] != 0);
}
