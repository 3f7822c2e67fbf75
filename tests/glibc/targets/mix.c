/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A heap of every kind of chunk, and what malloc itself says of it. Arguments are words: "threads" or
// "fastbins" (first), "mmapped", "foreign", "noncontiguous", "long". At the end it writes mallinfo2(),
// malloc_info() and where its list of expectations is, then "ready", and sleeps for ever without
// touching the heap again.
#include <gnu/libc-version.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "expectations.h"

enum { THREADS = 4, BLOCKS = 20000, SPECIALS = 20, MANY = 30000 };

static struct expectation expectations[EXPECTATIONS_MAX];
static size_t expectation_count;
static pthread_mutex_t expectation_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static char report[1 << 20], stream_buffer[1 << 16];

// 2.43 has no fastbins, and a tcache for 16 of a size.
static int tcache_count = 7;
static bool has_fastbins = true;

static void expect(void *mem, enum expected_state state)
{
	pthread_mutex_lock(&expectation_lock);
	if (expectation_count < EXPECTATIONS_MAX)
		expectations[expectation_count++] = (struct expectation){ (uintptr_t)mem, state };
	pthread_mutex_unlock(&expectation_lock);
}

static void *allocate(size_t size)
{
	void *mem = malloc(size);
	if (!mem)
		_exit(1);
	memset(mem, 0x5a, size < 64 ? size : 64);
	return mem;
}

// A reproducible mess. Sizes leave alone the bins that special_free() fills.
static void random_mix(unsigned seed)
{
	void **blocks = calloc(BLOCKS, sizeof(*blocks));
	if (!blocks)
		_exit(1);
	expect(blocks, EXPECT_IN_USE);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < BLOCKS; i++) {
			unsigned r = (unsigned)rand_r(&seed);
			if (blocks[i] && r % 3)
				continue;
			free(blocks[i]);
			size_t size = r % 7 ? 64 + r % 200 : 64 + r % 3000;
			blocks[i] = allocate(size >= 0x1c8 && size <= 0x1f8 ? 0x200 : size);
		}
	for (unsigned i = 0; i < BLOCKS; i++) {
		unsigned r = (unsigned)rand_r(&seed);
		if (r % 4 == 0) {
			expect(blocks[i], EXPECT_NOT_IN_USE);
			free(blocks[i]);
		} else {
			expect(blocks[i], EXPECT_IN_USE);
		}
	}
}

// A heap long enough to be walked in pieces, in the second half of which most bytes look like a chain
// of chunks and are none.
static void long_heap(void)
{
	enum { BYTES = 120 << 10, FAKE = 0x30 };
	for (unsigned seed = 20; seed < 24; seed++)
		random_mix(seed);
	for (unsigned i = 0; i < 400; i++) {
		char *mem = allocate(BYTES);
		uint64_t size = FAKE | 1;
		for (size_t at = 8; at + 8 <= BYTES; at += FAKE)
			memcpy(mem + at, &size, sizeof(size));
		expect(mem, EXPECT_IN_USE);
		expect(allocate(64 + i), EXPECT_IN_USE);
	}
}

struct special {
	void *small[SPECIALS], *large[3], *unsorted[2], *fast[SPECIALS];
};

// Known members of every list: allocated before all else, so that nothing is in their bins' tcaches.
// Separators keep freed neighbours apart.
static void special_allocate(struct special *s)
{
	for (int i = 0; i < SPECIALS; i++) {
		s->small[i] = allocate(0x1e8);
		expect(allocate(0x58), EXPECT_IN_USE);
	}
	for (int i = 0; i < 3; i++) {
		s->large[i] = allocate(0x5e8 + 0x100 * (size_t)i);
		expect(allocate(0x58), EXPECT_IN_USE);
	}
	for (int i = 0; i < 2; i++) {
		s->unsorted[i] = allocate(0x7e8);
		expect(allocate(0x58), EXPECT_IN_USE);
	}
	for (int i = 0; i < SPECIALS; i++) {
		s->fast[i] = allocate(0x28);
		expect(allocate(0x18), EXPECT_IN_USE);
	}
}

// A small top that is left behind is freed into the tcache, perhaps into one of these bins.
static void special_free(struct special *s, bool top_has_moved)
{
	for (int i = 0; i < SPECIALS; i++) {
		expect(s->small[i], i < tcache_count ? EXPECT_TCACHE : EXPECT_SMALL);
		free(s->small[i]);
	}
	for (int i = 0; i < 3; i++) {
		expect(s->large[i], EXPECT_LARGE);
		free(s->large[i]);
	}
	// larger than all that is free: sorts the unsorted bin
	expect(allocate(100000), EXPECT_IN_USE);
	for (int i = 0; i < 2; i++) {
		expect(s->unsorted[i], EXPECT_UNSORTED);
		free(s->unsorted[i]);
	}
	for (int i = 0; i < 12; i++) {
		expect(s->fast[i], top_has_moved      ? EXPECT_NOT_IN_USE
				   : i < tcache_count ? EXPECT_TCACHE
				   : has_fastbins     ? EXPECT_FASTBIN
						      : EXPECT_SMALL);
		free(s->fast[i]);
	}
}

static void *thread_main(void *payload)
{
	unsigned seed = (unsigned)(uintptr_t)payload;
	if (seed == 1) {
		expect(allocate(24), EXPECT_IN_USE); // makes a tcache, leaves it empty
	} else {
		struct special special;
		special_allocate(&special);
		random_mix(seed);
		// more than one heap of 64 MiB
		for (int i = 0; seed == 2 && i < 900; i++)
			expect(allocate(100000), EXPECT_IN_USE);
		special_free(&special, false);
	}
	pthread_barrier_wait(&barrier);
	for (;;)
		pause();
	return NULL;
}

static void start_threads(void)
{
	pthread_barrier_init(&barrier, NULL, THREADS + 1);
	for (uintptr_t t = 1; t <= THREADS; t++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, thread_main, (void *)t))
			_exit(1);
	}
	pthread_barrier_wait(&barrier);
}

static void mmapped(void)
{
	void *mem[24];
	for (int i = 0; i < 12; i++)
		mem[i] = allocate(200000 + 70001 * (size_t)i);
	for (int i = 12; i < 20; i++)
		mem[i] = memalign((size_t)16 << (i - 12) * 2, 300000 + 4096 * (size_t)i);
	for (int i = 20; i < 24; i++)
		mem[i] = memalign(64 << (i - 20) * 3, 400000);
	for (int i = 20; i < 24; i++)
		mem[i] = realloc(mem[i], i % 2 ? 3000000 : 150000);
	for (int i = 0; i < 24; i++) {
		bool is_freed = i == 3 || i == 15;
		if (is_freed)
			free(mem[i]);
		else
			expect(mem[i], EXPECT_MMAPPED);
	}
}

static int write_all(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(1, text, len);
		if (n <= 0)
			return 1;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

// Long fastbins, in an order that leads all over the heap.
static void *many[MANY];

static void many_allocate(void)
{
	for (int i = 0; i < MANY; i++)
		many[i] = allocate(0x38);
}

static void many_free(void)
{
	unsigned seed = 5;
	for (int i = MANY - 1; i > 0; i--) {
		int k = rand_r(&seed) % (i + 1);
		void *mem = many[i];
		many[i] = many[k];
		many[k] = mem;
	}
	for (int i = 0; i < MANY; i++) {
		// without fastbins, neighbours merge
		expect(many[i], i < tcache_count ? EXPECT_TCACHE
				: has_fastbins   ? EXPECT_FASTBIN
						 : EXPECT_NOT_IN_USE);
		free(many[i]);
	}
}

int main(int argc, char **argv)
{
	unsigned tcaches = 1;
	if (atoi(gnu_get_libc_version() + 2) >= 43) {
		tcache_count = 16;
		has_fastbins = false;
	}
	bool top_has_moved = false;
	FILE *stream = fmemopen(report, sizeof(report), "w");
	if (!stream || setvbuf(stream, stream_buffer, _IOFBF, sizeof(stream_buffer)))
		return 1;
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	struct special special;
	special_allocate(&special);
	// first, so that what pthread_create() allocates does not go where something was freed
	if (argc > 1 && strcmp(argv[1], "threads") == 0) {
		start_threads();
		// one of them frees nothing: 2.43 makes the tcache at the first free
		tcaches += has_fastbins ? THREADS : THREADS - 1;
	}
	random_mix(100);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "mmapped") == 0) {
			mmapped();
		} else if (strcmp(argv[i], "foreign") == 0) {
			top_has_moved = true;
			for (int n = 0; n < 3; n++) {
				char *foreign = sbrk(70003);
				memset(foreign, 0x11 + 0x10 * n, 70003);
				for (int k = 0; k < 40; k++)
					expect(allocate(20000), EXPECT_IN_USE);
			}
		} else if (strcmp(argv[i], "long") == 0) {
			top_has_moved = true;
			long_heap();
		} else if (strcmp(argv[i], "noncontiguous") == 0) {
			top_has_moved = true;
			char *end = sbrk(0);
			end = (char *)(((uintptr_t)end + 4095) & ~(uintptr_t)4095);
			if (mmap(end, 4096, PROT_NONE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != end)
				return 1;
			random_mix(7);
			for (int k = 0; k < 60; k++)
				expect(allocate(100000), EXPECT_IN_USE);
		}
	}
	bool has_many = argc > 1 && strcmp(argv[1], "fastbins") == 0;
	if (has_many)
		many_allocate();
	special_free(&special, top_has_moved);
	if (has_many)
		many_free();

#if __GLIBC_PREREQ(2, 33)
	struct mallinfo2 info = mallinfo2();
#else
	struct mallinfo info = mallinfo();
#endif
	malloc_info(0, stream);
	fflush(stream);
	static char line[1024];
	int n = snprintf(line, sizeof(line),
			 "mallinfo2 %zu %zu %zu %zu %zu %zu %zu %zu %zu\nexpectations %zu %zu\n"
			 "tcaches %u\n",
			 (size_t)info.arena, (size_t)info.ordblks, (size_t)info.smblks,
			 (size_t)info.hblks, (size_t)info.hblkhd, (size_t)info.fsmblks,
			 (size_t)info.uordblks, (size_t)info.fordblks, (size_t)info.keepcost,
			 (size_t)(uintptr_t)expectations, expectation_count, tcaches);
	if (write_all(line, (size_t)n) || write_all(report, strlen(report)) ||
	    write_all("ready\n", 6))
		return 1;
	for (;;)
		pause();
}
