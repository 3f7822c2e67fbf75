// SPDX-License-Identifier: LGPL-2.1-or-later
// malloc without Python: recipes/threads.c, run as PROGRAM DIRECTORY. A main arena and three threads with
// arenas of their own; chunks in use, in tcaches, fastbins, bins and mapped by themselves. Writes what
// it holds ("chunks": ADDRESS SIZE STATE) and malloc_info(3) last, says "ready", pauses.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 3 };

static FILE *chunks;
static char chunks_buffer[1 << 20], info_buffer[1 << 20];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t done;

static void note(const void *mem, size_t size, const char *state)
{
	pthread_mutex_lock(&lock);
	fprintf(chunks, "%#lx %zu %s\n", (unsigned long)(uintptr_t)mem, size, state);
	pthread_mutex_unlock(&lock);
}

static void use_malloc(void)
{
	static const size_t sizes[] = { 24, 100, 500, 1016, 3000, 9000 };
	void *cached[7], *fast[3], *binned[20];
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (size_t k = 0; k < 20; k++)
			note(malloc(sizes[i] + k), sizes[i] + k, "in use");
	}
	note(malloc(400000), 400000, "in use");
	for (size_t i = 0; i < 7; i++)
		cached[i] = malloc(72);
	for (size_t i = 0; i < 3; i++)
		fast[i] = malloc(72);
	for (size_t i = 0; i < 20; i++)
		binned[i] = malloc(2000 + 16 * i);
	note(malloc(72), 72, "in use");
	for (size_t i = 0; i < 7; i++) {
		note(cached[i], 72, "tcache");
		free(cached[i]);
	}
	for (size_t i = 0; i < 3; i++) { // the tcache holds seven
		note(fast[i], 72, "fastbin");
		free(fast[i]);
	}
	for (size_t i = 0; i < 20; i++) {
		if (i % 2)
			note(binned[i], 2000 + 16 * i, "in use");
		else
			free(binned[i]);
	}
}

static void *run(void *unused)
{
	(void)unused;
	use_malloc();
	pthread_barrier_wait(&done);
	pause();
	return NULL;
}

int main(int argc, char **argv)
{
	char path[4096];
	if (argc != 2)
		return 2;
	snprintf(path, sizeof(path), "%s/chunks", argv[1]);
	chunks = fopen(path, "w");
	snprintf(path, sizeof(path), "%s/malloc_info", argv[1]);
	FILE *info = fopen(path, "w");
	if (!chunks || !info)
		return 1;
	setvbuf(chunks, chunks_buffer, _IOFBF, sizeof(chunks_buffer));
	setvbuf(info, info_buffer, _IOFBF, sizeof(info_buffer));
	pthread_barrier_init(&done, NULL, THREADS + 1);
	use_malloc();
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, run, NULL))
			return 1;
	}
	pthread_barrier_wait(&done);
	fflush(chunks);
	malloc_info(0, info);
	fflush(info);
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	pause();
	return 0;
}
