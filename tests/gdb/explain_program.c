/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Blocks of malloc of each kind, and addresses that are none. hw_release() is where a debugger asks about
// the block that is about to be freed.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"

enum { HW_CACHED = 16, HW_RELEASED = 12 }; // a tcache bin holds 7, from glibc 2.43 on 16

int hw_static_number = 5;
char *hw_in_use, *hw_tcache, *hw_fastbin, *hw_unsorted, *hw_large, *hw_small, *hw_mmapped,
	*hw_thread_block;
volatile long hw_counter;
void *hw_released;

__attribute__((noinline)) static void hw_release(void *block, int number)
{
	hw_released = block;
	__asm__ volatile("" : : "r"(number) : "memory");
	free(block);
}

static void *hw_thread(void *ready)
{
	hw_thread_block = malloc(3000);
	pthread_barrier_wait(ready);
	for (;;)
		hw_counter++;
	return NULL;
}

// Between two others that stay, so that it is merged with nobody.
static char *hw_fenced(size_t bytes)
{
	char *block = malloc(bytes);
	if (!malloc(24))
		abort();
	return block;
}

static void hw_free_each_kind(void)
{
	char *small[HW_CACHED + 1], *cached[HW_CACHED + 1];
	for (int i = 0; i <= HW_CACHED; i++) {
		small[i] = hw_fenced(40);
		cached[i] = hw_fenced(600);
	}
	hw_large = hw_fenced(5000);
	hw_unsorted = hw_fenced(3000);
	for (int i = 0; i <= HW_CACHED; i++)
		free(cached[i]);
	free(hw_large);
	// A request that nothing free fits sorts what is unsorted into its bins, and fastbins too.
	if (!malloc(20000))
		abort();
	for (int i = 0; i <= HW_CACHED; i++)
		free(small[i]);
	free(hw_unsorted);
	hw_tcache = small[0];
	hw_fastbin = small[HW_CACHED];
	hw_small = cached[HW_CACHED];
}

int main(int argc, char **argv)
{
	(void)argv;
	hw_in_use = malloc(100);
	strcpy(hw_in_use, "some text");
	hw_mmapped = malloc(1 << 20);
	if (argc > 1) {
		pthread_t thread;
		pthread_barrier_t ready;
		pthread_barrier_init(&ready, NULL, 2);
		pthread_create(&thread, NULL, hw_thread, &ready);
		pthread_barrier_wait(&ready);
	}
	for (int i = 0; i < HW_RELEASED; i++)
		hw_release(malloc(2000 + 16 * (size_t)i), i);
	hw_free_each_kind();
	return hw_ready();
}
