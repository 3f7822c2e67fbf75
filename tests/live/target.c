// SPDX-License-Identifier: LGPL-2.1-or-later
// A process of an unusual kind: live_target MODE [COUNT]. Has 2000 blocks, says "stop", and waits.
//   threads COUNT  so many threads that sleep
//   headless       the main thread has ended, another one waits
//   vfork          waits for a child made by vfork(2), which sleeps in its memory
//   churn          never rests: maps and unmaps, makes threads and children that end at once
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 2000, STACK_BYTES = 64 << 10, CHURN_BYTES = 1 << 20 };

static void *volatile blocks[BLOCKS]; // or the compiler does without

static void say_stop(void)
{
	if (write(STDOUT_FILENO, "stop\n", 5) != 5)
		_exit(3);
}

static void *sleep_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void *outlive(void *leader)
{
	pthread_join(*(pthread_t *)leader, NULL);
	say_stop();
	return sleep_on(leader);
}

static void *end_at_once(void *arg)
{
	void *volatile mem = malloc(100);
	free(mem);
	return arg;
}

static void make_threads(int count)
{
	pthread_attr_t attributes;
	pthread_t thread;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (int i = 0; i < count; i++)
		if (pthread_create(&thread, &attributes, sleep_on, NULL))
			_exit(4);
}

static void churn(void)
{
	pthread_t thread;
	for (;;) {
		char *memory = mmap(NULL, CHURN_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(memory, 1, 4096);
		void *volatile mem = malloc(CHURN_BYTES / 4);
		free(mem);
		if (!pthread_create(&thread, NULL, end_at_once, NULL))
			pthread_join(thread, NULL);
		pid_t child = fork();
		if (!child)
			_exit(0);
		waitpid(child, NULL, 0);
		munmap(memory, CHURN_BYTES);
	}
}

int main(int argc, char **argv)
{
	static pthread_t leader, other;
	const char *mode = argc > 1 ? argv[1] : "";
	for (int i = 0; i < BLOCKS; i++)
		blocks[i] = malloc(100 + (size_t)i % 50);
	if (!strcmp(mode, "threads"))
		make_threads(argc > 2 ? atoi(argv[2]) : 1);
	if (!strcmp(mode, "headless")) {
		leader = pthread_self();
		if (!pthread_create(&other, NULL, outlive, &leader))
			pthread_exit(NULL);
	}
	if (!strcmp(mode, "vfork") && !vfork()) { // NOLINT: the point of it
		say_stop();
		for (;;)
			pause();
	}
	say_stop();
	if (!strcmp(mode, "churn"))
		churn();
	sleep_on(NULL);
	return blocks[0] != NULL;
}
