/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Makes 1000 blocks of 1500 bytes more for each byte it reads, and says when it has. A program of its own:
// the test may be built with a sanitizer, whose malloc is not glibc's.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HW_BLOCK_COUNT = 1000, HW_BLOCK_BYTES = 1500 };

char *hw_blocks[HW_BLOCK_COUNT];

int main(void)
{
	char byte;
	while (read(STDIN_FILENO, &byte, 1) == 1) {
		for (int i = 0; i < HW_BLOCK_COUNT; i++) {
			hw_blocks[i] = malloc(HW_BLOCK_BYTES);
			if (!hw_blocks[i])
				return 1;
			memset(hw_blocks[i], 'x', HW_BLOCK_BYTES);
		}
		if (write(STDOUT_FILENO, "r", 1) != 1)
			return 1;
	}
	return 0;
}
