// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory that touches the main thread's variables, so that the kernel makes one mapping of both. Says where they
// are: "thread ADDRESS ADDRESS" (control block, a variable), "neighbour START END"; no neighbour: there was no room.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "stop.h"

enum { NEIGHBOUR_BYTES = 512 << 10 };

static __thread char variable[9000] = "of the thread";

// The mapping that has `addr`.
static int mapping(uintptr_t addr, uintptr_t *ret_start, uintptr_t *ret_end)
{
	char line[512];
	int is_found = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	while (maps && !is_found && fgets(line, sizeof(line), maps))
		is_found = sscanf(line, "%lx-%lx", ret_start, ret_end) == 2 && addr >= *ret_start &&
			   addr < *ret_end;
	if (maps)
		fclose(maps);
	return is_found;
}

int main(void)
{
	uintptr_t thread = (uintptr_t)pthread_self(), start, end, at[3];
	if (!mapping(thread, &start, &end))
		return 1;
	printf("thread %lx %lx\n", thread, (uintptr_t)variable);
	// Where the kernel likes it, below, above.
	at[0] = 0;
	at[1] = start - NEIGHBOUR_BYTES;
	at[2] = end;
	for (int i = 0; i < 3; i++) {
		int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at[i] ? MAP_FIXED_NOREPLACE : 0);
		void *memory = mmap((void *)at[i], NEIGHBOUR_BYTES, PROT_READ | PROT_WRITE, flags,
				    -1, 0);
		if (memory == MAP_FAILED)
			continue;
		mapping(thread, &start, &end);
		if ((uintptr_t)memory >= start && (uintptr_t)memory < end) {
			memset(memory, 0x11, NEIGHBOUR_BYTES);
			printf("neighbour %lx %lx\n", (uintptr_t)memory,
			       (uintptr_t)memory + NEIGHBOUR_BYTES);
			break;
		}
		munmap(memory, NEIGHBOUR_BYTES);
	}
	fflush(stdout);
	stop_here();
	return 0;
}
