/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A live process, in three parts: live.c (reads, stops, opens), live_maps.c (what /proc says of its mappings
// and threads), live_copy.c (a copy of its memory).
#ifndef HW_TARGET_LIVE_PRIVATE_H
#define HW_TARGET_LIVE_PRIVATE_H

#include "target/live_copy.h"
#include "target/target.h"
#include "target/tracer.h"

struct hw_live {
	struct hw_target target;
	int proc_fd; // /proc/PID
	int task_fd; // /proc/PID/task/TASK: the memory is reached through a thread that lives
	pid_t task;  // the main thread, or when that has ended before the others, one of these
	int mem_fd;  // "mem" below task_fd
	bool no_stop;
	bool has_no_readv; // process_vm_readv is missing or forbidden (seccomp): use mem_fd
	unsigned stop_count;
	struct hw_tracer *tracer; // NULL: not stopped by us
	bool copies;              // it runs on as soon as its memory was copied
	struct hw_issues *issues; // of copies, borrowed
	struct hw_copy *copy;     // while it is "stopped"; NULL: none
};

// live_maps.c
// The whole of a file below task_fd, NUL-terminated; owned. NULL: errno says why.
char *hw_live_slurp(const struct hw_live *live, const char *name);
// Into live->target; what was there is replaced.
struct hw_error *hw_live_read_maps(struct hw_live *live) HW_MUST_USE;
struct hw_error *hw_live_read_threads(struct hw_live *live) HW_MUST_USE;

#endif
