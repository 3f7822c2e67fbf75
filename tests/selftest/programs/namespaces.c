// SPDX-License-Identifier: LGPL-2.1-or-later
// A process with two glibcs: namespaces ROUNDS. Each round asks both for memory. Prints what mallinfo2(3) of each says,
// "mallinfo ARENA HBLKS HBLKHD", "freed ADDRESS" a block that was given back, and the live set, then "stop".
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCKS = 400, ROUNDS_MAX = 32, LARGE = 300000 };

// struct mallinfo2, which glibc's headers have since 2.33
struct counts {
	size_t arena, ordblks, smblks, hblks, hblkhd, rest[5];
};

struct libc {
	void *(*malloc)(size_t size);
	void (*free)(void *mem);
	struct counts (*mallinfo)(void);
	void *mem[ROUNDS_MAX * BLOCKS];
	struct counts info;
};

static struct libc libcs[2];

static size_t size_of(size_t i)
{
	return i % BLOCKS == 0 ? LARGE : 24 + i % 57 * 40;
}

int main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? (size_t)atoi(argv[1]) : 1;
	void *other = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
	static char output[1 << 20];
	setvbuf(stdout, output, _IOFBF, sizeof(output));
	if (!other || rounds > ROUNDS_MAX)
		return 3;
	for (int n = 0; n < 2; n++) {
		void *from = n ? other : RTLD_DEFAULT;
		libcs[n].malloc = (void *(*)(size_t))dlsym(from, "malloc");
		libcs[n].free = (void (*)(void *))dlsym(from, "free");
		libcs[n].mallinfo = (struct counts(*)(void))dlsym(from, "mallinfo2");
		if (!libcs[n].mallinfo)
			return 3;
	}
	for (size_t i = 0; i < rounds * BLOCKS; i++)
		for (int n = 0; n < 2; n++)
			if ((rounds == 1 || i / BLOCKS % 2 == (size_t)n) && libcs[n].malloc)
				libcs[n].mem[i] = libcs[n].malloc(size_of(i));
	for (int n = 0; n < 2; n++)
		for (size_t i = 5; i < rounds * BLOCKS; i += 7)
			libcs[n].free(libcs[n].mem[i]);
	for (int n = 0; n < 2; n++)
		libcs[n].info = libcs[n].mallinfo();
	for (int n = 0; n < 2; n++) {
		printf("mallinfo %zu %zu %zu\n", libcs[n].info.arena, libcs[n].info.hblks,
		       libcs[n].info.hblkhd);
		for (size_t i = 0; i < rounds * BLOCKS; i++) {
			if (i >= 5 && i % 7 == 5)
				printf("freed %p\n", libcs[n].mem[i]);
			else if (libcs[n].mem[i])
				printf("%p %zu\n", libcs[n].mem[i], size_of(i));
		}
	}
	printf("stop\n");
	fflush(stdout);
	char byte; // getchar() would ask malloc for a buffer
	return read(STDIN_FILENO, &byte, 1) != 1;
}
