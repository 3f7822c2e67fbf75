// SPDX-License-Identifier: LGPL-2.1-or-later
// A heap whose last block holds all that is free below it. Prints the block's address, says "ready" and
// waits for a word: "t" calls malloc_trim(0), "f" frees the block; then "ready" again.
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCKS = 3000, BLOCK = 3000 };

static void say(const char *text)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		_exit(1);
}

int main(void)
{
	static void *blocks[BLOCKS];
	char line[64], word;
	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(BLOCK);
		memset(blocks[i], 1, BLOCK);
	}
	void *pin = malloc(BLOCK);
	memset(pin, 2, BLOCK);
	// Every hundredth stays, of the lower half.
	for (int i = 0; i < BLOCKS; i++)
		if (i % 100 || i > BLOCKS / 2)
			free(blocks[i]);
	snprintf(line, sizeof(line), "%#lx\n", (unsigned long)(uintptr_t)pin);
	say(line);
	for (;;) {
		say("ready\n");
		if (read(STDIN_FILENO, &word, 1) != 1)
			return 0;
		if (word == 't')
			malloc_trim(0);
		else
			free(pin);
	}
}
