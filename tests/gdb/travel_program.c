// SPDX-License-Identifier: LGPL-2.1-or-later
// Blocks are made, then half of them given back: a place before and one after to stop at.
#include <stdlib.h>

enum { BLOCKS = 200 };

static void *volatile blocks[BLOCKS];

__attribute__((noinline)) static void here(void)
{
	__asm__ volatile("");
}

int main(void)
{
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = malloc(64 + (size_t)i);
	here();
	for (int i = 0; i < BLOCKS; i += 2)
		free(blocks[i]);
	here();
	return 0;
}
