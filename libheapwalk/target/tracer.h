/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Stops every thread of a process by ptrace, without a signal that it could see, and lets it go as it
// was: a signal on its way in is delivered when it is let go, a process that was stopped stays stopped.
//
// The kernel ties tracees to the thread that seized them, so a stop has a thread of its own, which lives
// as long as the stop does: any thread may end it, and a thread that can't be let go (it sleeps in the
// kernel, in vfork(2) say) is let go by the kernel when that thread ends.
#ifndef HW_TARGET_TRACER_H
#define HW_TARGET_TRACER_H

#include <dirent.h>

#include "target/target.h"

struct hw_tracer;

// Stops all threads of `pid`; `proc_fd` is its /proc directory. *ret is owned: hw_tracer_resume().
struct hw_error *hw_tracer_stop(pid_t pid, int proc_fd, const struct hw_machine *machine,
				struct hw_tracer **ret) HW_MUST_USE;
// Frees it. Returns when the last thread had been let go (CLOCK_MONOTONIC, nanoseconds); accepts NULL.
uint64_t hw_tracer_resume(struct hw_tracer *tracer);
// When the first thread was about to be told to stop; the same clock.
uint64_t hw_tracer_began(const struct hw_tracer *tracer);

// Calls rehearse(payload), stops all threads, calls run(payload), lets them go: all of it on another thread than
// the caller's. Threads that sleep are left alone (rest.h): should one wake, all are stopped and run() is called once
// more. *ret_nanoseconds: how long they stood still. An error: what run() has seen, if it was called, is worth nothing.
struct hw_error *hw_tracer_run_stopped(pid_t pid, int proc_fd, const struct hw_machine *machine,
				       void (*rehearse)(void *payload), void (*run)(void *payload),
				       void *payload, uint64_t *ret_nanoseconds) HW_MUST_USE;

// The threads that are stopped with their registers; borrowed until hw_tracer_resume().
const struct hw_thread *hw_tracer_threads(const struct hw_tracer *tracer, size_t *ret_count);

// State letter of /proc/PID/task/TID/stat ('R', 'S', 'D', 'Z', …), 0 when it is gone.
char hw_proc_state(int proc_fd, pid_t tid);
// The next thread id of an open /proc/PID/task; 0 at the end.
pid_t hw_proc_next_task(DIR *tasks);

#endif
