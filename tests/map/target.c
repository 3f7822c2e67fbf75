// SPDX-License-Identifier: LGPL-2.1-or-later
// A process with memory of every kind: threads and threads that have ended, thread heaps that were
// trimmed, mmapped chunks, pages that were only read, memory shared with a fork. MODE is "plain",
// "zeros" (pages that were only read) or "fork". Says "ready" and sits in pause(2).
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { THREADS = 3, BLOCKS = 400, BLOCK = 30000, BIG = 8 << 20, PAGE = 4096 };

static pthread_barrier_t barrier;
static volatile unsigned char sink;

// Fills a thread heap and empties it from its end, so that malloc trims it.
static void *work(void *stay)
{
	void *blocks[BLOCKS];
	for (int i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(BLOCK);
		memset(blocks[i], 1, BLOCK);
	}
	for (int i = BLOCKS; i-- > 0;)
		free(blocks[i]);
	if (stay) {
		pthread_barrier_wait(&barrier);
		pause();
	}
	return NULL;
}

static void start(pthread_t *thread, void *stay)
{
	if (pthread_create(thread, NULL, work, stay))
		_exit(1);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "plain";
	pthread_t threads[THREADS];
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (int i = 0; i < THREADS; i++)
		start(&threads[i], &barrier);
	for (int i = 0; i < 2; i++) {
		pthread_t ended;
		start(&ended, NULL);
		pthread_join(ended, NULL);
	}
	pthread_barrier_wait(&barrier);
	unsigned char *big = malloc(BIG), *small = malloc(1000);
	memset(small, 1, 1000);
	if (!strcmp(mode, "zeros"))
		for (int at = 0; at < BIG / 2; at += PAGE)
			sink = big[at];
	else
		memset(big, 2, BIG / 2);
	if (!strcmp(mode, "fork") && !fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		_exit(1);
	for (;;)
		pause();
}
