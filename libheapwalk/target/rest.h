/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef HW_TARGET_REST_H
#define HW_TARGET_REST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

// `proc_fd` is the process's /proc directory.

// hw_target_rest() of a process.
char *hw_proc_rest(int proc_fd);

// A thread that sleeps. It has not run since as long as its turns on a processor are as many.
struct hw_sleeper {
	pid_t tid;
	int turns_fd; // owned
	uint64_t turns;
};
// False: it does not sleep, or nothing tells.
bool hw_sleeper_find(int proc_fd, pid_t tid, struct hw_sleeper *ret);
bool hw_sleeper_has_slept(const struct hw_sleeper *sleeper);
void hw_sleeper_close(struct hw_sleeper *sleeper);

#endif
