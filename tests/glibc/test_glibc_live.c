/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The walk against mallinfo2(3), malloc_info(3) and the target's own list of its blocks, with equality.
// usage: test_glibc_live [--no-symbols | --every-look] [--root DIR] PROGRAM [WORD …]
//   --no-symbols  without libc's detached debug information
//   --every-look  with and without it, at the process and at a core of it that gcore makes
//   --root DIR    PROGRAM, and gcore, run in that root directory (of another glibc)
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "glibc/layout.h"
#include "glibc/malloc.h"
#include "symbols/dwarf.h"
#include "targets/expectations.h"

enum { OUTPUT_BYTES = 2 << 20 };

static unsigned failures;

static void fail(const char *fmt, ...) HW_PRINTF(1, 2);
static void fail(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	if (failures++ < 40) {
		vfprintf(stderr, fmt, ap);
		fputc('\n', stderr);
	}
	va_end(ap);
}

static void equal(const char *what, uint64_t found, uint64_t expected)
{
	if (found != expected)
		fail("%s: %llu, expected %llu", what, (unsigned long long)found,
		     (unsigned long long)expected);
}

// 2.43's mmapped_mem has 16 too much for each mremap, of which the target makes four.
static void equal_mmapped(const char *what, const struct hw_glibc *glibc, uint64_t expected)
{
	uint64_t slip = expected - glibc->mmapped_bytes;
	bool may_slip = !glibc->arenas.data[0].fastbin_chunks && slip <= 64 && slip % 16 == 0;
	equal(what, glibc->mmapped_bytes + (may_slip ? slip : 0), expected);
}

static void check_error(struct hw_error *err)
{
	if (!err)
		return;
	fprintf(stderr, "error: %s\n", hw_error_message(err));
	exit(1);
}

static void enter(const char *root)
{
	if (root && (chroot(root) || chdir("/"))) {
		perror(root);
		_exit(127);
	}
}

static pid_t start(const char *root, char **argv, char *output)
{
	int fds[2];
	if (pipe(fds))
		exit(1);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		close(fds[0]);
		close(fds[1]);
		enter(root);
		execv(argv[0], argv);
		_exit(127);
	}
	close(fds[1]);
	size_t len = 0;
	for (;;) {
		ssize_t n = read(fds[0], output + len, OUTPUT_BYTES - 1 - len);
		if (n <= 0) {
			fprintf(stderr, "%s ended before it was ready\n", argv[0]);
			exit(1);
		}
		len += (size_t)n;
		output[len] = 0;
		if (len >= 6 && strcmp(output + len - 6, "ready\n") == 0)
			break;
	}
	close(fds[0]);
	return pid;
}

// <total type="TYPE" count="…" size="…"/> in the text up to `end`.
static bool total(const char *text, const char *end, const char *type, uint64_t *count,
		  uint64_t *size)
{
	char tag[64];
	snprintf(tag, sizeof(tag), "<total type=\"%s\"", type);
	const char *at = strstr(text, tag);
	unsigned long long c, s;
	if (!at || at > end ||
	    sscanf(at + strlen(tag), " count=\"%llu\" size=\"%llu\"", &c, &s) != 2)
		return false;
	*count = c;
	*size = s;
	return true;
}

static void compare_arena(const struct hw_glibc_arena *arena, const char *xml, const char *end,
			  unsigned nr)
{
	uint64_t count, size;
	char what[64];
	fprintf(stderr,
		"arena %u: in use %llu/%llu tcache %llu/%llu fast %llu bins %llu top %llu\n", nr,
		(unsigned long long)arena->in_use_chunks, (unsigned long long)arena->in_use_bytes,
		(unsigned long long)arena->tcache_chunks, (unsigned long long)arena->tcache_bytes,
		(unsigned long long)arena->fastbin_bytes, (unsigned long long)arena->bin_bytes,
		(unsigned long long)arena->top_bytes);
	if (total(xml, end, "fast", &count, &size)) {
		snprintf(what, sizeof(what), "arena %u: fast count", nr);
		equal(what, arena->fastbin_chunks, count);
		snprintf(what, sizeof(what), "arena %u: fast size", nr);
		equal(what, arena->fastbin_bytes, size);
	} else {
		equal("fastbins where malloc_info knows none", arena->fastbin_chunks, 0);
	}
	if (!total(xml, end, "rest", &count, &size)) {
		fail("malloc_info: heap %u has no total", nr);
		return;
	}
	// sizes are summed with the P bit of each binned chunk; top counts as one more
	snprintf(what, sizeof(what), "arena %u: rest count", nr);
	equal(what, arena->bin_chunks + 1, count);
	snprintf(what, sizeof(what), "arena %u: rest size", nr);
	equal(what, arena->bin_bytes + arena->bin_chunks + arena->top_bytes, size);
	unsigned long long current;
	const char *system = strstr(xml, "<system type=\"current\" size=\"");
	if (!system || sscanf(system, "<system type=\"current\" size=\"%llu\"", &current) != 1)
		fail("malloc_info: heap %u has no system size", nr);
	else
		equal("system current", arena->system_bytes, current);
	equal("unknown bytes", arena->unknown_bytes, 0);
}

static void compare_totals(const struct hw_glibc *glibc, const char *output)
{
	unsigned long long m[9];
	if (sscanf(output, "mallinfo2 %llu %llu %llu %llu %llu %llu %llu %llu %llu", &m[0], &m[1],
		   &m[2], &m[3], &m[4], &m[5], &m[6], &m[7], &m[8]) != 9) {
		fail("no mallinfo2 line");
		return;
	}
	uint64_t system = 0, bins = 0, fast = 0, fast_bytes = 0, free_bytes = 0, used = 0;
	hw_vec_foreach(arena, &glibc->arenas)
	{
		system += arena->system_bytes;
		bins += arena->bin_chunks + 1;
		fast += arena->fastbin_chunks;
		fast_bytes += arena->fastbin_bytes;
		free_bytes += arena->fastbin_bytes + arena->bin_bytes + arena->top_bytes;
		used += arena->in_use_bytes + arena->tcache_bytes + arena->overhead_bytes +
			(arena->system_bytes - arena->region_bytes);
	}
	equal("mallinfo2 arena", system, m[0]);
	equal("mallinfo2 ordblks", bins, m[1]);
	equal("mallinfo2 smblks", fast, m[2]);
	equal("mallinfo2 hblks", glibc->mmapped_count, m[3]);
	equal_mmapped("mallinfo2 hblkhd", glibc, m[4]);
	equal("mallinfo2 fsmblks", fast_bytes, m[5]);
	equal("mallinfo2 uordblks", used, m[6]);
	equal("mallinfo2 fordblks", free_bytes, m[7]);
	equal("mallinfo2 keepcost", glibc->arenas.data[0].top_bytes, m[8]);
}

static void compare_malloc_info(const struct hw_glibc *glibc, const char *output)
{
	const char *xml = output;
	for (unsigned nr = 0;; nr++) {
		char tag[32];
		snprintf(tag, sizeof(tag), "<heap nr=\"%u\">", nr);
		xml = strstr(xml, tag);
		if (!xml) {
			equal("arenas", glibc->arenas.count, nr);
			break;
		}
		if (nr < glibc->arenas.count)
			compare_arena(&glibc->arenas.data[nr], xml, strstr(xml, "</heap>"), nr);
		xml += strlen(tag);
	}
	const char *last = output;
	for (const char *heap; (heap = strstr(last, "</heap>"));)
		last = heap + 7;
	uint64_t count, size;
	if (total(last, last + strlen(last), "mmap", &count, &size)) {
		equal("malloc_info mmap count", glibc->mmapped_count, count);
		equal_mmapped("malloc_info mmap size", glibc, size);
	}
}

static bool is_expected(uint64_t expected, const struct hw_region *region,
			enum hw_chunk_state state)
{
	switch (expected) {
	case EXPECT_IN_USE:
		return state == HW_CHUNK_IN_USE;
	case EXPECT_NOT_IN_USE:
		return state != HW_CHUNK_IN_USE && state != HW_CHUNK_TCACHE_STRUCT;
	case EXPECT_TCACHE:
		return state == HW_CHUNK_TCACHE;
	case EXPECT_FASTBIN: // 2.43 has none
		return state == HW_CHUNK_FASTBIN;
	case EXPECT_UNSORTED:
		return state == HW_CHUNK_UNSORTED;
	case EXPECT_SMALL:
		return state == HW_CHUNK_SMALL;
	case EXPECT_LARGE:
		return state == HW_CHUNK_LARGE;
	case EXPECT_MMAPPED:
		return state == HW_CHUNK_IN_USE && region->kind == HW_REGION_MMAPPED;
	}
	return false;
}

static int compare_mem(const void *a, const void *b)
{
	const struct expectation *x = a, *y = b;
	return x->mem < y->mem ? -1 : x->mem > y->mem;
}

// What was freed may have been handed out again since, but only as a block that is listed too.
static bool is_listed_in_use(const struct expectation *list, size_t count, uint64_t mem)
{
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (list[middle].mem < mem)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < count && list[low].mem == mem; low++)
		if (list[low].state == EXPECT_IN_USE)
			return true;
	return false;
}

static void compare_expectations(struct hw_target *target, const struct hw_glibc *glibc,
				 const char *output)
{
	unsigned long long addr, count, tcaches;
	const char *line = strstr(output, "expectations ");
	if (!line ||
	    sscanf(line, "expectations %llu %llu tcaches %llu", &addr, &count, &tcaches) != 3) {
		fail("no expectations line");
		return;
	}
	struct expectation *list = calloc(count, sizeof(*list));
	check_error(hw_target_read(target, addr, list, count * sizeof(*list)));
	qsort(list, count, sizeof(*list), compare_mem);
	for (size_t i = 0; i < count; i++) {
		hw_addr_t chunk = list[i].mem - 16;
		struct hw_region *region = hw_glibc_find_region(glibc, chunk);
		if (!region) {
			fail("0x%llx: in no region", (unsigned long long)chunk);
			continue;
		}
		uint32_t index = hw_region_find_chunk(region, chunk);
		hw_addr_t start = hw_region_chunk_start(region, index);
		if (region->kind == HW_REGION_MMAPPED)
			start = region->mmapped_chunk;
		// what was freed may have been merged with its neighbours
		if (start != chunk && list[i].state != EXPECT_NOT_IN_USE)
			fail("0x%llx: no chunk starts there", (unsigned long long)chunk);
		if (list[i].state == EXPECT_NOT_IN_USE && is_listed_in_use(list, count, start + 16))
			continue;
		if (!is_expected(list[i].state, region, region->state[index]))
			fail("0x%llx: %s, expected kind %llu", (unsigned long long)chunk,
			     hw_chunk_state_word(region->state[index]),
			     (unsigned long long)list[i].state);
	}
	fprintf(stderr, "%llu expectations compared\n", count);
	free(list);
	uint64_t structs = 0;
	hw_vec_foreach(region, &glibc->regions) for (uint32_t i = 0; i < region->count; i++)
		structs += region->state[i] == HW_CHUNK_TCACHE_STRUCT;
	equal("tcache structs", structs, tcaches);
}

// The layout's row rebuilt from libc's debug information, where there is some.
static void compare_dwarf(const struct hw_glibc *glibc, struct hw_modules *modules)
{
	struct hw_module *module = hw_modules_at(modules, glibc->main_arena);
	const struct hw_glibc_layout *l = glibc->layout;
	const struct {
		const char *member;
		uint64_t offset;
	} facts[] = {
		{ "fastbinsY", l->fastbins },
		{ "top", l->top },
		{ "bins", l->bins },
		{ "next", l->next },
		{ "system_mem", l->system_mem },
		{ "max_system_mem", l->max_system_mem },
		{ "attached_threads", l->attached_threads },
	};
	enum { COUNT = sizeof(facts) / sizeof(facts[0]) };
	struct hw_dwarf_query queries[COUNT + 1];
	for (size_t i = 0; i < COUNT; i++)
		queries[i] = (struct hw_dwarf_query){ .unit = "malloc.c",
						      .type = "malloc_state",
						      .member = facts[i].member };
	queries[COUNT] = (struct hw_dwarf_query){ .unit = "malloc.c", .type = "malloc_state" };
	if (!module || !hw_dwarf_resolve(module, queries, COUNT + 1))
		return;
	for (size_t i = 0; i < COUNT; i++)
		if (queries[i].found)
			equal(facts[i].member, facts[i].offset, queries[i].offset);
	equal("sizeof(struct malloc_state)", l->size, queries[COUNT].size);
	fprintf(stderr, "layout compared with %s\n", hw_dwarf_source(module));
}

// The chunk at position *i of the region *r; false: behind the last.
static bool chunk_at(const struct hw_glibc *glibc, size_t *r, uint32_t *i)
{
	while (*r < glibc->regions.count && *i == glibc->regions.data[*r].count) {
		++*r;
		*i = 0;
	}
	return *r < glibc->regions.count;
}

// Several threads find what one finds, though regions may be split elsewhere.
static void compare_walks(const struct hw_glibc *one, const struct hw_glibc *several)
{
	size_t r1 = 0, r2 = 0;
	uint32_t i1 = 0, i2 = 0;
	for (;; i1++, i2++) {
		bool has1 = chunk_at(one, &r1, &i1), has2 = chunk_at(several, &r2, &i2);
		if (!has1 || !has2) {
			if (has1 != has2)
				fail("one walk has more chunks than the other");
			break;
		}
		const struct hw_region *a = &one->regions.data[r1], *b = &several->regions.data[r2];
		if (hw_region_chunk_start(a, i1) == hw_region_chunk_start(b, i2) &&
		    hw_region_chunk_end(a, i1) == hw_region_chunk_end(b, i2) &&
		    a->state[i1] == b->state[i2])
			continue;
		fail("chunk 0x%llx of one walk is not 0x%llx of the other",
		     (unsigned long long)hw_region_chunk_start(a, i1),
		     (unsigned long long)hw_region_chunk_start(b, i2));
		break;
	}
	fprintf(stderr, "regions of one thread's walk: %zu, of four threads': %zu\n",
		one->regions.count, several->regions.count);
}

enum { PATH_BYTES = 512 };

// A core that the gdb of that root makes; path: its name out here.
static void make_core(const char *root, pid_t pid, char path[static PATH_BYTES])
{
	char prefix[64], number[32];
	snprintf(prefix, sizeof(prefix), "/tmp/heapwalk-%d", (int)getpid());
	snprintf(number, sizeof(number), "%d", (int)pid);
	snprintf(path, PATH_BYTES, "%s%s.%s", root ? root : "", prefix, number);
	pid_t gcore = fork();
	if (gcore == 0) {
		enter(root);
		int null = open("/dev/null", O_RDWR);
		for (int fd = 0; fd < 3; fd++)
			dup2(null, fd);
		execlp("gcore", "gcore", "-o", prefix, number, (char *)NULL);
		_exit(127);
	}
	int status;
	if (waitpid(gcore, &status, 0) != gcore || status || access(path, R_OK)) {
		fprintf(stderr, "gcore made no core of %s in %s\n", number, root ? root : "/");
		kill(pid, SIGKILL);
		exit(1);
	}
}

struct look {
	const char *source, *debug_dirs;
	bool is_static;
};

static void compare(struct hw_target *target, struct hw_modules *modules, struct hw_issues *issues,
		    const struct look *look, const char *output)
{
	struct hw_glibc glibc, alone;
	struct hw_glibc_inputs inputs = {
		.target = target, .modules = modules, .issues = issues, .threads = 4
	};
	check_error(hw_glibc_walk(&inputs, &glibc));
	inputs.threads = 1;
	check_error(hw_glibc_walk(&inputs, &alone));
	compare_walks(&alone, &glibc);
	hw_glibc_deinit(&alone);
	if (!glibc.main_arena) {
		fail("main_arena was not found");
		return;
	}
	fprintf(stderr, "%s: main_arena 0x%llx by %s\n", look->source,
		(unsigned long long)glibc.main_arena, glibc.facts);
	if (look->debug_dirs && strcmp(glibc.facts, "symbols") == 0 && !look->is_static)
		fail("the symbols were to be hidden");
	hw_glibc_check(&glibc, issues);
	compare_dwarf(&glibc, modules);
	compare_malloc_info(&glibc, output);
	compare_totals(&glibc, output);
	compare_expectations(target, &glibc, output);
	hw_glibc_deinit(&glibc);
}

static void look_at(struct hw_target *target, struct hw_issues *issues, const struct look *look,
		    const char *output)
{
	struct hw_modules *modules;
	unsigned before = failures;
	check_error(hw_modules_open(target, NULL, look->debug_dirs, issues, &modules));
	compare(target, modules, issues, look, output);
	hw_vec_foreach(issue, &issues->list) fail("issue: %s", hw_error_message(*issue));
	hw_modules_close(modules);
	if (failures != before)
		fprintf(stderr, "%s, %s: %u failures\n", look->source,
			look->debug_dirs ? "without symbols" : "with symbols", failures - before);
}

static void look_at_process(pid_t pid, const struct look *look, const char *output)
{
	struct hw_target *target;
	struct hw_issues issues;
	hw_issues_init(&issues);
	check_error(hw_target_open_live(pid, NULL, false, &target));
	check_error(hw_target_stop(target));
	check_error(hw_target_refresh(target));
	look_at(target, &issues, look, output);
	hw_target_resume(target);
	hw_target_close(target);
	hw_issues_deinit(&issues);
}

static void look_at_core(const char *path, const char *root, const struct look *look,
			 const char *output)
{
	struct hw_target *target;
	struct hw_issues issues;
	hw_issues_init(&issues);
	check_error(hw_target_open_core(path, NULL, root, &issues, NULL, &target));
	look_at(target, &issues, look, output);
	hw_target_close(target);
	hw_issues_deinit(&issues);
}

int main(int argc, char **argv)
{
	bool no_symbols = false, every_look = false;
	const char *root = NULL;
	for (argc--, argv++; argc && strncmp(*argv, "--", 2) == 0; argc--, argv++) {
		no_symbols |= strcmp(*argv, "--no-symbols") == 0;
		every_look |= strcmp(*argv, "--every-look") == 0;
		if (strcmp(*argv, "--root") == 0 && argc > 1) {
			root = *++argv;
			argc--;
		}
	}
	if (!argc)
		return 2;
	hw_cleanup_free char *output = malloc(OUTPUT_BYTES);
	pid_t pid = start(root, argv, output);
	struct look look = { .source = "process", .is_static = strstr(argv[0], "static") };
	for (int hidden = no_symbols; hidden <= (no_symbols || every_look); hidden++) {
		look.debug_dirs = hidden ? "/nonexistent" : NULL;
		look_at_process(pid, &look, output);
	}
	if (every_look) {
		char path[PATH_BYTES];
		make_core(root, pid, path);
		look.source = "core";
		for (int hidden = 0; hidden < 2; hidden++) {
			look.debug_dirs = hidden ? "/nonexistent" : NULL;
			look_at_core(path, root, &look, output);
		}
		unlink(path);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (failures)
		fprintf(stderr, "%u failures\n", failures);
	return failures != 0;
}
