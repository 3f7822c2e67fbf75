/* SPDX-License-Identifier: LGPL-2.1-or-later */
// core_target READY GO: memory of all kinds, three threads that sleep. Writes the address of a block whose
// bytes are known to READY (its threads write 1 there), and waits for GO.
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

enum { BLOCK_BYTES = 5 << 20 };

static int ready;
static char untouched[1 << 18];

static void report(uint64_t value)
{
	if (write(ready, &value, sizeof(value)) != (ssize_t)sizeof(value))
		_exit(3);
}

static void *sleep_for_ever(void *arg)
{
	report(1);
	for (;;)
		pause();
	return arg;
}

int main(int argc, char **argv)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char byte = 0;
	if (argc != 3)
		return 2;
	ready = atoi(argv[1]);
	uint8_t *block = malloc(BLOCK_BYTES);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		block[i] = (uint8_t)(i * 13 ^ i >> 9);
	int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = open("data", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (setrlimit(RLIMIT_CORE, &unlimited) || fd < 0 || ftruncate(fd, 8192))
		return 3;
	int *data = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*shared = *data = 42;
	free(malloc(100)); // brk's heap exists
	for (int i = 0; i < 3; i++) {
		pthread_t thread;
		pthread_create(&thread, NULL, sleep_for_ever, NULL);
	}
	report((uintptr_t)block);
	while (read(atoi(argv[2]), &byte, 1) != 1)
		;
	return untouched[(unsigned char)byte];
}
