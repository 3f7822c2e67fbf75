// SPDX-License-Identifier: LGPL-2.1-or-later
// A C process with as many malloc blocks as it is told, a tenth of them freed again: malloc_target BLOCKS.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
	char **blocks = calloc(count, sizeof(*blocks));
	if (!blocks)
		return 1;
	for (size_t i = 0; i < count; i++) {
		size_t size = 16 + i * 7919 % 113;
		blocks[i] = malloc(size);
		if (!blocks[i])
			return 1;
		memset(blocks[i], (int)i, size);
	}
	for (size_t i = 0; i < count; i += 10)
		free(blocks[i]);
	if (write(1, "ready\n", 6) != 6)
		return 1;
	pause();
	return 0;
}
