/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Did a thread run? The kernel counts how often it put each on a processor: the third number of
// /proc/PID/task/TID/schedstat (Documentation/scheduler/sched-stats.rst), which goes up as the thread gets
// there. A thread that is off its processor after that number was read, and has the same number later, has
// not run in between. That it is off tells /proc/PID/task/TID/syscall, which the kernel
// fills only for a thread that it finds switched out (lib/syscall.c, task_current_syscall()), and else
// says "running".
//
// New threads are made by threads: when those that were there did not run, there is no other. They are
// listed before and after they are looked at, because one that ran then may have made another.
#include "target/rest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "target/tracer.h"

enum {
	HW_REST_THREADS_MAX = 256, // more are stopped in less time than they are looked at
	HW_REST_LINE_BYTES = 96,
};

static ssize_t hw_rest_read(int proc_fd, pid_t tid, const char *name, char *buf, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "task/%d/%s", (int)tid, name);
	hw_cleanup_close int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);
	buf[n > 0 ? n : 0] = 0;
	return n;
}

// What `fd`, a thread's schedstat, says; 0: nothing.
static uint64_t hw_rest_turns(int fd)
{
	char stat[HW_REST_LINE_BYTES];
	unsigned long long ran, waited, turns;
	ssize_t n = pread(fd, stat, sizeof(stat) - 1, 0);
	stat[n > 0 ? n : 0] = 0;
	// A kernel without these numbers has zeros.
	return sscanf(stat, "%llu %llu %llu", &ran, &waited, &turns) == 3 ? turns : 0;
}

// After its turns were read.
static bool hw_rest_is_off(int proc_fd, pid_t tid)
{
	char where[256];
	// An uninterruptible sleep may be vfork(2)'s, and its child runs in the same memory.
	char state = hw_proc_state(proc_fd, tid);
	return (state == 'S' || state == 'T') &&
	       hw_rest_read(proc_fd, tid, "syscall", where, sizeof(where)) > 0 &&
	       strncmp(where, "running", 7) != 0;
}

bool hw_sleeper_find(int proc_fd, pid_t tid, struct hw_sleeper *ret)
{
	char path[64];
	snprintf(path, sizeof(path), "task/%d/schedstat", (int)tid);
	struct hw_sleeper sleeper = { .tid = tid };
	sleeper.turns_fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (sleeper.turns_fd < 0)
		return false;
	sleeper.turns = hw_rest_turns(sleeper.turns_fd);
	if (!sleeper.turns || !hw_rest_is_off(proc_fd, tid)) {
		hw_sleeper_close(&sleeper);
		return false;
	}
	*ret = sleeper;
	return true;
}

bool hw_sleeper_has_slept(const struct hw_sleeper *sleeper)
{
	return hw_rest_turns(sleeper->turns_fd) == sleeper->turns;
}

void hw_sleeper_close(struct hw_sleeper *sleeper)
{
	close(sleeper->turns_fd);
	sleeper->turns_fd = -1;
}

// The thread sleeps, and `line` says since which of its turns; false: it runs, or nothing tells.
static bool hw_rest_of_thread(int proc_fd, pid_t tid, char *line)
{
	struct hw_sleeper sleeper;
	if (!hw_sleeper_find(proc_fd, tid, &sleeper))
		return false;
	hw_sleeper_close(&sleeper);
	snprintf(line, HW_REST_LINE_BYTES, "%d %llu\n", (int)tid,
		 (unsigned long long)sleeper.turns);
	return true;
}

// Numbers of all threads, at most HW_REST_THREADS_MAX; 0: none, or too many.
static size_t hw_rest_list(int proc_fd, pid_t *ret)
{
	size_t count = 0;
	int fd = openat(proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd < 0 ? NULL : fdopendir(fd);
	if (!tasks) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	for (pid_t tid; (tid = hw_proc_next_task(tasks));) {
		if (count == HW_REST_THREADS_MAX) {
			count = 0;
			break;
		}
		ret[count++] = tid;
	}
	closedir(tasks);
	return count;
}

char *hw_proc_rest(int proc_fd)
{
	pid_t before[HW_REST_THREADS_MAX], after[HW_REST_THREADS_MAX];
	size_t count = hw_rest_list(proc_fd, before), used = 0;
	hw_cleanup_free char *text = count ? malloc(count * HW_REST_LINE_BYTES) : NULL;
	if (!text)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		if (!hw_rest_of_thread(proc_fd, before[i], text + used))
			return NULL;
		used += strlen(text + used);
	}
	if (hw_rest_list(proc_fd, after) != count ||
	    memcmp(before, after, count * sizeof(before[0])) != 0)
		return NULL;
	return hw_no_cleanup(text);
}
