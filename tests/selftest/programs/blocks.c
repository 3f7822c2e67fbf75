// SPDX-License-Identifier: LGPL-2.1-or-later
// A process whose malloc is known: blocks MODE [SEED]. At each stop it prints its own live set, a line
// "ADDRESS SIZE" a block, then "stop"; it goes on when a line comes in on stdin and ends at its end.
// Nothing but the mode under test calls malloc: output goes through write(2).
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIVE_MAX = 4096, KEPT_MAX = 64 };

static struct {
	void *mem;
	size_t size;
} live[LIVE_MAX];
static size_t live_count;

static void put(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(STDOUT_FILENO, text, len);
		if (n <= 0)
			_exit(3);
		text += n;
		len -= (size_t)n;
	}
}

// Print the live set and wait. False at the end of stdin.
static bool stop(void)
{
	char line[64];
	for (size_t i = 0; i < live_count; i++)
		put(line, (size_t)snprintf(line, sizeof(line), "%#lx %zu\n",
					   (unsigned long)(uintptr_t)live[i].mem, live[i].size));
	put("stop\n", 5);
	char c = 0;
	do {
		if (read(STDIN_FILENO, &c, 1) != 1)
			return false;
	} while (c != '\n');
	return true;
}

static void *take(size_t size)
{
	void *mem = malloc(size);
	if (!mem || live_count == LIVE_MAX)
		_exit(4);
	live[live_count].mem = mem;
	live[live_count++].size = size;
	return mem;
}

static void give(size_t i)
{
	free(live[i].mem);
	live[i] = live[--live_count];
}

static void no_allocations(void)
{
	stop();
}

static void small(void)
{
	for (size_t size = 1; size <= 15; size++)
		for (int i = 0; i < 100; i++)
			take(size);
	stop();
}

static void large(void)
{
	for (size_t i = 1; i <= 10; i++)
		memset(take(i << 20), (int)i, i << 20);
	stop();
}

static void mixed(void)
{
	for (int i = 0; i < 100; i++)
		take(256);
	take(1000);
	take(1000);
	take(256000);
	give(17);
	stop();
}

static uint64_t random_state;

static uint32_t random_below(uint32_t limit)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((random_state >> 33) % limit);
}

static size_t random_size(void)
{
	switch (random_below(10)) {
	case 0:
		return 1024 + random_below(64 << 10);
	case 1:
		return 128 << 10 << random_below(4);
	default:
		return random_below(1024);
	}
}

static void random_calls(void)
{
	do {
		for (int i = 0; i < 300; i++) {
			uint32_t what = random_below(10);
			if (live_count && (what < 3 || live_count > 1500)) {
				give(random_below((uint32_t)live_count));
			} else if (live_count && what < 5) {
				size_t at = random_below((uint32_t)live_count);
				size_t size = random_size() + 1;
				void *mem = realloc(live[at].mem, size);
				if (!mem)
					_exit(4);
				live[at].mem = mem;
				live[at].size = size;
			} else if (what == 5) {
				void *mem = NULL;
				size_t align = (size_t)32 << random_below(8), size = random_size();
				if (posix_memalign(&mem, align, size) || live_count == LIVE_MAX)
					_exit(4);
				live[live_count].mem = mem;
				live[live_count++].size = size;
			} else {
				take(random_size());
			}
		}
	} while (stop());
}

static void random_buffers(void)
{
	for (int i = 0; i < 100; i++) {
		uint8_t *mem = take(256);
		for (int k = 0; k < 256; k++)
			mem[k] = (uint8_t)random_below(256);
	}
	stop();
}

// 55 blocks: 1 of 1 KiB, 2 of 2 KiB, … 10 of 10 KiB.
static void stairs(void)
{
	for (size_t i = 1; i <= 10; i++)
		for (size_t k = 0; k < i; k++)
			take((i << 10) - 16);
	stop();
}

static void three(void)
{
	strcpy(take(1000), "the first of three");
	take(2000);
	take(3000);
	stop();
}

// Three new blocks at the second stop.
static void growing(void)
{
	for (int i = 0; i < 50; i++)
		take(100);
	if (!stop())
		return;
	take(5000);
	take(6000);
	take(7000);
	stop();
}

static void big(void)
{
	for (int i = 0; i < 300; i++)
		memset(take(1 << 20), i, 1 << 20);
	for (int i = 0; i < 3000; i++)
		take(3000);
	stop();
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = {
		{ "no_allocations", no_allocations },
		{ "small", small },
		{ "large", large },
		{ "mixed", mixed },
		{ "random", random_calls },
		{ "random_buffers", random_buffers },
		{ "stairs", stairs },
		{ "three", three },
		{ "growing", growing },
		{ "big", big },
	};
	random_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	for (size_t i = 0; argc > 1 && i < sizeof(modes) / sizeof(*modes); i++) {
		if (!strcmp(argv[1], modes[i].name)) {
			modes[i].run();
			return 0;
		}
	}
	put("usage: blocks MODE [SEED]\n", 26);
	return 2;
}
