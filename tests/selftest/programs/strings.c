// SPDX-License-Identifier: LGPL-2.1-or-later
// Texts of every length, each in a block that just holds it, and as many blocks that are filled to their last byte
// without an end. Says "ADDRESS LENGTH" of each text.
#include <malloc.h>
#include <stdint.h>

#include "stop.h"

enum { SHORTEST = 3, LONGEST = 300 };

static char *fill(size_t bytes, unsigned seed)
{
	char *block = malloc(bytes);
	if (!block)
		_exit(1);
	size_t usable = malloc_usable_size(block);
	for (size_t i = 0; i < usable; i++)
		block[i] = (char)('!' + (i + seed) % 90);
	return block;
}

static char *text(size_t len)
{
	char name[32], *block = fill(len + 1, (unsigned)len);
	block[len] = '\0';
	snprintf(name, sizeof(name), "%lx", (unsigned long)(uintptr_t)block);
	say(name, (long)len);
	return block;
}

// Characters of two bytes, so that pieces of any even length end inside one when one byte is before them.
static void wide_text(size_t len)
{
	char *block = text(len);
	for (size_t i = 1; i + 1 < len; i += 2)
		memcpy(block + i, "\xc3\xa4", 2);
}

int main(void)
{
	for (size_t len = SHORTEST; len <= LONGEST; len++) {
		text(len);
		fill(len + 1, (unsigned)len);
	}
	for (size_t len = 4080; len <= 4104; len++) {
		text(len);
		wide_text(len);
		fill(len + 1, (unsigned)len);
	}
	text(1 << 16);
	wide_text(1 << 16);
	text(1 << 20); // mmapped
	fill(1 << 20, 0);
	// A long text that is none after all.
	fill(1 << 16, 1)[(1 << 16) - 9] = '\x01';
	stop_here();
	return 0;
}
