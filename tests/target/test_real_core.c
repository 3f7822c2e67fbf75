/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A process and the cores that the kernel and gdb make of it show the same: mappings, names, threads, and
// every byte of private writable memory and of ELF files.
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "child.h"
#include "base/bytes.h"
#include "target/window.h"

enum { BLOCK_BYTES = 5 << 20, MAPPINGS = 512 };

static char directory[] = "/tmp/heapwalk-core-XXXXXX";

// A program of its own, without a sanitizer's terabytes of shadow.
static void body(int ready, int go)
{
	char ready_text[16], go_text[16];
	snprintf(ready_text, sizeof(ready_text), "%d", ready);
	snprintf(go_text, sizeof(go_text), "%d", go);
	execl(CORE_TARGET, CORE_TARGET, ready_text, go_text, (char *)NULL);
	_exit(3);
}

// ---- what a target shows ----

struct shown {
	hw_addr_t start, end;
	uint64_t hash, missing_bytes;
	bool is_zero;
	uint32_t flags;
	char path[256];
};

struct view {
	struct shown mappings[MAPPINGS];
	size_t count;
	struct hw_thread threads[16];
	size_t thread_count;
	char exe[256];
};

static uint64_t hash_of(struct hw_window *window, const struct hw_mapping *m, uint64_t *missing,
			bool *is_zero)
{
	uint64_t hash = 0xcbf29ce484222325u;
	*missing = 0;
	*is_zero = true;
	for (hw_addr_t at = m->start; at < m->end; at += HW_PAGE_BYTES) {
		const uint8_t *page = hw_window_get(window, at, HW_PAGE_BYTES);
		if (!page)
			*missing += HW_PAGE_BYTES;
		for (size_t i = 0; page && i < HW_PAGE_BYTES; i += 8) {
			uint64_t word;
			memcpy(&word, page + i, 8);
			*is_zero &= !word;
			hash = (hash ^ word) * 0x100000001b3u;
			hash ^= hash >> 31;
		}
	}
	return hash;
}

static void look(struct hw_target *target, struct view *view)
{
	struct hw_window window;
	memset(view, 0, sizeof(*view));
	hw_window_init(&window, target);
	hw_vec_foreach(m, &target->mappings)
	{
		struct shown *shown = &view->mappings[view->count];
		if (view->count < MAPPINGS - 1)
			view->count++;
		shown->start = m->start;
		shown->end = m->end;
		shown->flags = m->flags;
		snprintf(shown->path, sizeof(shown->path), "%s", m->path);
		shown->hash = hash_of(&window, m, &shown->missing_bytes, &shown->is_zero);
	}
	hw_window_deinit(&window);
	hw_vec_foreach(thread, &target->threads) if (view->thread_count < 16)
		view->threads[view->thread_count++] = *thread;
	snprintf(view->exe, sizeof(view->exe), "%s", target->exe ? target->exe : "");
}

static bool is_elf_path(const char *path)
{
	return *path == '/' && (strstr(path, ".so") || strstr(path, "core_target"));
}

static void compare(const struct view *live, const struct view *core)
{
	size_t compared = 0, files = 0, heaps = 0, stacks = 0;
	CHECK_TEXT(core->exe, live->exe);
	for (size_t i = 0; i < live->count; i++) {
		const struct shown *a = &live->mappings[i], *b = NULL;
		for (size_t j = 0; j < core->count; j++)
			if (core->mappings[j].start == a->start)
				b = &core->mappings[j];
		bool is_private = (a->flags & (HW_MAP_WRITE | HW_MAP_SHARED)) == HW_MAP_WRITE;
		if (!is_private && !(is_elf_path(a->path) && a->flags & HW_MAP_READ))
			continue;
		CHECK(b && b->end == a->end);
		if (!b)
			continue;
		CHECK_TEXT(b->path, a->path);
		if (is_private)
			CHECK_EQUAL(b->flags & ~HW_MAP_EXEC, a->flags & ~HW_MAP_EXEC);
		// Anonymous memory that was never written is not in a core.
		if (!*a->path && a->is_zero && b->missing_bytes == b->end - b->start)
			continue;
		CHECK_EQUAL(b->missing_bytes, 0);
		CHECK_EQUAL(b->hash, a->hash);
		if (b->hash != a->hash)
			printf("that was %llx %s\n", (unsigned long long)a->start, a->path);
		compared += is_private;
		files += !is_private;
		heaps += !strcmp(b->path, "[heap]");
		stacks += !strcmp(b->path, "[stack]");
	}
	// and nothing private and writable that the process has not
	for (size_t j = 0; j < core->count; j++) {
		const struct shown *b = &core->mappings[j];
		bool is_there = false;
		for (size_t i = 0; i < live->count; i++)
			is_there |= live->mappings[i].start == b->start &&
				    (live->mappings[i].flags & (HW_MAP_WRITE | HW_MAP_SHARED)) ==
					    (b->flags & (HW_MAP_WRITE | HW_MAP_SHARED));
		CHECK(is_there || !(b->flags & HW_MAP_WRITE));
	}
	CHECK(compared > 5 && files > 5);
	CHECK_EQUAL(heaps, 1);
	CHECK_EQUAL(stacks, 1);
	CHECK_EQUAL(core->thread_count, 4);
	for (size_t i = 0; i < core->thread_count; i++) {
		CHECK_EQUAL(core->threads[i].tid, live->threads[i].tid);
		CHECK_EQUAL(core->threads[i].sp, live->threads[i].sp);
		CHECK_EQUAL(core->threads[i].tp, live->threads[i].tp);
	}
}

static struct view live_view, core_view;

static void check_core(const char *path, pid_t pid, hw_addr_t block)
{
	struct hw_target *target = NULL;
	struct hw_issues issues;
	hw_issues_init(&issues);
	CHECK_OK(hw_target_open_core(path, NULL, NULL, &issues, NULL, &target));
	if (!target)
		return;
	hw_vec_foreach(issue, &issues.list) printf("issue: %s\n", hw_error_message(*issue));
	CHECK_EQUAL(issues.list.count, 0);
	CHECK_EQUAL(target->pid, pid);
	look(target, &core_view);
	compare(&live_view, &core_view);
	const uint8_t *bytes = hw_target_map(target, block, BLOCK_BYTES);
	bool is_same = bytes;
	for (size_t i = 0; is_same && i < BLOCK_BYTES; i++)
		is_same = bytes[i] == (uint8_t)(i * 13 ^ i >> 9);
	CHECK(is_same);
	hw_target_close(target);
	// the executable named: the right one, a wrong one
	CHECK_OK(hw_target_open_core(path, CORE_TARGET, NULL, &issues, NULL, &target));
	CHECK_TEXT(target->exe, live_view.exe);
	hw_target_close(target);
	target = NULL;
	CHECK_ERROR(hw_target_open_core(path, "/bin/sh", NULL, &issues, NULL, &target),
		    HW_ERROR_INVALID, "/bin/sh");
	CHECK_ERROR(hw_target_open_core(path, path, NULL, &issues, NULL, &target), HW_ERROR_INVALID,
		    "was not made from");
	hw_issues_deinit(&issues);
}

// Cut at shares of its length: opens, says how much is there, reads what is there.
static void check_cut(const char *path, const char *cut_path)
{
	struct stat st;
	static const unsigned shares[] = { 90, 50, 10 };
	uint64_t last_missing = 0;
	CHECK(!stat(path, &st) && !rename(path, cut_path));
	for (size_t i = 0; i < 3; i++) {
		struct hw_target *target = NULL;
		struct hw_issues issues;
		char words[64];
		uint64_t missing = 0;
		hw_issues_init(&issues);
		CHECK(!truncate(cut_path, st.st_size / 100 * shares[i]));
		CHECK_OK(hw_target_open_core(cut_path, NULL, NULL, &issues, NULL, &target));
		snprintf(words, sizeof(words), "(%u.0 %%)", shares[i]);
		CHECK(issues.list.count == 1 &&
		      strstr(hw_error_message(issues.list.data[0]), "cut short"));
		if (issues.list.count)
			printf("%s\n", hw_error_message(issues.list.data[0]));
		if (target) {
			look(target, &core_view);
			CHECK_EQUAL(core_view.thread_count, 4);
			CHECK_EQUAL(core_view.count, live_view.count);
			for (size_t m = 0; m < core_view.count; m++) {
				const struct shown *shown = &core_view.mappings[m];
				if ((shown->flags & (HW_MAP_WRITE | HW_MAP_SHARED)) != HW_MAP_WRITE)
					continue;
				missing += shown->missing_bytes;
				// what is there is right: never a file's bytes for lost ones
				CHECK(shown->missing_bytes ||
				      shown->hash == live_view.mappings[m].hash);
			}
			CHECK(missing > last_missing);
			last_missing = missing;
			hw_target_close(target);
		}
		hw_issues_deinit(&issues);
	}
}

// Until all threads are where they stay: in read(2), call 0, or pause(2), call 34.
static void wait_until_asleep(pid_t pid)
{
	for (bool is_asleep = false; !is_asleep;) {
		char path[300];
		snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
		DIR *tasks = opendir(path);
		is_asleep = tasks;
		for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
			char text[16] = "";
			snprintf(path, sizeof(path), "/proc/%d/task/%s/syscall", (int)pid,
				 entry->d_name);
			FILE *file = *entry->d_name == '.' ? NULL : fopen(path, "re");
			if (!file)
				continue;
			if (!fgets(text, sizeof(text), file) ||
			    (strncmp(text, "0 ", 2) && strncmp(text, "34 ", 3)))
				is_asleep = false;
			fclose(file);
		}
		if (tasks)
			closedir(tasks);
	}
}

static bool find_file(const char *prefix, char *path, size_t size)
{
	DIR *dir = opendir(directory);
	bool found = false;
	for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
		found = !strncmp(entry->d_name, prefix, strlen(prefix));
		if (found)
			snprintf(path, size, "%s/%s", directory, entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

static void remove_directory(void)
{
	char path[512];
	while (find_file("core", path, sizeof(path)) || find_file("gdb", path, sizeof(path)) ||
	       find_file("data", path, sizeof(path)))
		unlink(path);
	rmdir(directory);
}

// Memory is compared between stops: the kernel must not write into it meanwhile. It does where glibc has
// registered restartable sequences, whenever a thread goes on on another processor.
static void without_rseq(char **argv)
{
	static const char setting[] = "glibc.pthread.rseq=0";
	const char *tunables = getenv("GLIBC_TUNABLES");
	if (tunables && strstr(tunables, setting))
		return;
	setenv("GLIBC_TUNABLES", setting, 1);
	execv("/proc/self/exe", argv);
	perror("/proc/self/exe");
}

int main(int argc, char **argv)
{
	(void)argc;
	without_rseq(argv);
	if (!mkdtemp(directory) || chdir(directory)) {
		perror("mkdtemp");
		return 1;
	}
	atexit(remove_directory);
	struct child child = child_start(body);
	hw_addr_t block = 0;
	for (int i = 0; i < 4; i++) // three threads say 1
		block = hw_max(block, child_receive(&child));
	wait_until_asleep(child.pid);
	struct hw_target *target = NULL;
	CHECK_OK(hw_target_open_live(child.pid, NULL, false, &target));
	if (!target)
		return check_finish();
	CHECK_OK(hw_target_stop(target));
	look(target, &live_view);
	hw_target_resume(target);
	hw_target_close(target);

	char path[512], command[1024];
	bool has_core = false;
	snprintf(command, sizeof(command),
		 "gdb -nx -batch -p %d -ex 'gcore %s/gdb' >gdb.log 2>&1 </dev/null", (int)child.pid,
		 directory);
	if (system("gdb --version >/dev/null 2>&1"))
		printf("gdb is not installed: its cores are not tested\n");
	else if (system(command))
		CHECK(!"gcore");
	else {
		has_core = true;
		unlink("gdb.log");
		snprintf(path, sizeof(path), "%s/gdb", directory);
		check_core(path, child.pid, block);
	}
	kill(child.pid, SIGABRT);
	pid_t pid = child.pid;
	int status = child_wait(&child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	if (find_file("core", path, sizeof(path))) {
		has_core = true;
		check_core(path, pid, block);
		snprintf(command, sizeof(command), "%s/core-cut", directory);
		check_cut(path, command);
	} else {
		printf("the kernel leaves no core file in the working directory "
		       "(/proc/sys/kernel/core_pattern): its cores are not tested\n");
	}
	int result = check_finish();
	return result ? result : has_core ? 0 : 77;
}
