/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A malloc whose numbers are known: malloc_target INFO NUMBERS. Threads with arenas of their own, caches, bins,
// mmapped chunks; writes malloc_info(3) and mallinfo2's numbers into these files, says "ready", waits.
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS = 3, OWN = 5000, THEIRS = 500 };

static atomic_int done;
static char *own[OWN], *theirs[THREADS][THEIRS], output[1 << 16];

static void *run(void *arg)
{
	char **chunks = arg;
	for (int i = 0; i < THEIRS; i++)
		snprintf(chunks[i] = malloc(10 + i * 7), 10, "their %d", i);
	for (int i = 0; i < THEIRS; i += 3)
		free(chunks[i]);
	atomic_fetch_add(&done, 1);
	for (;;)
		pause();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	FILE *file = argc > 1 ? fopen(argv[1], "w") : NULL;
	int numbers = argc > 2 ? open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;
	if (!file || numbers < 0)
		return 1;
	setvbuf(file, output, _IOFBF, sizeof(output));
	for (int i = 0; i < OWN; i++)
		snprintf(own[i] = malloc(8 + i % 3000), 8, "own %d", i % 1000);
	for (int i = 0; i < OWN; i += 2)
		free(own[i]);
	// mapped each on its own: as it is, and at an alignment that leaves room in front
	volatile void *mapped[] = { malloc(1000000), memalign(1 << 16, 300000) };
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, run, theirs[i]))
			return 1;
	while (done < THREADS)
		usleep(1000);
	malloc_info(0, file);
	fflush(file);
	struct mallinfo2 m = mallinfo2();
	char line[256];
	int n = snprintf(line, sizeof(line), "%zu %zu %zu %zu %zu %zu %zu\n", m.arena, m.ordblks,
			 m.hblks, m.hblkhd, m.uordblks, m.fordblks, m.keepcost);
	if (write(numbers, line, (size_t)n) != n || write(1, "ready\n", 6) != 6)
		return 1;
	for (;;)
		pause();
	return mapped[0] == mapped[1];
}
