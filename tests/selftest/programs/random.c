/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A program that has all the libraries loaded and uses none of them: blocks of random bytes, of small
// numbers, of pointers to blocks and into everything that is mapped. No classifier may claim one.
#include "stop.h"

static unsigned long long state = 88172645463325252ull;

static unsigned long long next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static struct {
	unsigned long start, end;
} mappings[512];
static unsigned mapping_count;

static void read_mappings(void)
{
	static char text[1 << 16];
	FILE *maps = fopen("/proc/self/maps", "r");
	if (!maps || setvbuf(maps, text, _IOFBF, sizeof(text)))
		_exit(4);
	char line[512];
	while (mapping_count < 512 && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx r", &mappings[mapping_count].start,
			   &mappings[mapping_count].end) == 2 &&
		    strstr(line, ".so") && strstr(line, " r"))
			mapping_count++;
	fclose(maps);
}

// Not where a vtable begins: who writes that into a block's first word makes an object of a class.
static unsigned long into_a_library(void)
{
	for (;;) {
		unsigned i = (unsigned)(next_random() % mapping_count);
		unsigned long start = mappings[i].start, end = mappings[i].end;
		unsigned long at = (start + next_random() % (end - start)) & ~7ul;
		const unsigned long *before = (const unsigned long *)at - 2;
		if (at - start < 16 || before[0] || !before[1])
			return at;
	}
}

int main(int argc, char **argv)
{
	enum { COUNT = 20000 };
	static unsigned long *blocks[COUNT];
	static size_t words[COUNT];
	if (argc > 1)
		state += strtoul(argv[1], NULL, 10);
	read_mappings();
	for (int i = 0; i < COUNT; i++) {
		words[i] = 1 + next_random() % (i % 100 ? 40 : 2000);
		blocks[i] = calloc(words[i], 8);
	}
	for (int i = 0; i < COUNT; i++)
		for (size_t k = 0; k < words[i]; k++) {
			unsigned long any = next_random();
			switch (i % 6) {
			case 0:
				blocks[i][k] = any;
				break;
			case 1: // to blocks, itself among them
				blocks[i][k] =
					(unsigned long)blocks[k % 3 ? any % COUNT : (unsigned)i];
				break;
			case 2:
				blocks[i][k] = any % (k % 2 ? 32 : 70000);
				break;
			case 3:
				blocks[i][k] = into_a_library();
				break;
			case 4: // some of each
				blocks[i][k] = any & 1   ? into_a_library()
					       : any & 2 ? (unsigned long)blocks[any % COUNT]
							 : any % 700;
				break;
			default: // zeros
				break;
			}
		}
	say("blocks", COUNT);
	stop_here();
	return 0;
}
