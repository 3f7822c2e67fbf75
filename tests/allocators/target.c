/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Compiled by test_allocators.py with another libc: blocks of malloc, their addresses, then silence.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
	for (int i = 0; i < 400; i++) {
		char *block = malloc(100 + 37 * (size_t)i * (i % 3 ? 1 : 30));
		if (!block)
			return 1;
		memset(block, 0x5a, 64);
		printf("%p\n", (void *)block);
		void *volatile gone = malloc(5000);
#ifdef NEVER_FREES // then musl links a simpler malloc
		(void)gone;
#else
		free(gone);
#endif
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
