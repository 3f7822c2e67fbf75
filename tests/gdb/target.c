/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A process without Python. hw_stage() is where a debugger stops it, each time with more blocks.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"

enum { HW_BLOCK_COUNT = 1000, HW_BLOCK_BYTES = 1500 };

char *hw_blocks[2 * HW_BLOCK_COUNT];
int hw_stage_number;

__attribute__((noinline)) static void hw_stage(int number)
{
	hw_stage_number = number;
	__asm__ volatile("" ::: "memory");
}

static void hw_fill(int from, int to)
{
	for (int i = from; i < to; i++) {
		hw_blocks[i] = malloc(HW_BLOCK_BYTES);
		if (hw_blocks[i])
			memset(hw_blocks[i], 'a' + i % 26, HW_BLOCK_BYTES);
	}
}

int main(void)
{
	hw_fill(0, HW_BLOCK_COUNT);
	hw_stage(1);
	hw_fill(HW_BLOCK_COUNT, 2 * HW_BLOCK_COUNT);
	hw_stage(2);
	return hw_ready();
}
