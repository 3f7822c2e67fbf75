/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/tracer.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "target/rest.h"

enum {
	// A program that makes threads faster than they are stopped: give up after so many passes.
	HW_TRACER_PASSES = 1000,
	// A thread that sleeps in the kernel does not stop before it returns from there. It can't run
	// the program's code meanwhile, so after this it counts as stopped.
	HW_TRACER_ASLEEP_MS = 200,
	// Most stop at once: so long it is not worth it to sleep, for the kernel may sleep 50 us longer.
	HW_TRACER_SPIN_US = 100,
	// A thread that neither stops nor sleeps.
	HW_TRACER_DEADLINE_MS = 10000,
	HW_TRACER_SLEEPERS_MAX = 256, // each has a descriptor
	HW_REGISTERS_BYTES = 1024,    // more than any NT_PRSTATUS that hw_machine has
};

struct hw_tracee {
	pid_t tid;
	bool is_stopped; // false: asleep in the kernel, its stop is pending
	bool is_gone;
	int signal; // met on its way in, delivered when let go; 0: none
};

struct hw_tracer {
	pid_t pid;
	int proc_fd; // borrowed
	const struct hw_machine *machine;
	pthread_t thread;
	sem_t is_settled, may_resume;
	struct hw_error *err;
	uint64_t began, ended; // of the stop: hw_tracer_began(), hw_tracer_resume()
	void (*rehearse)(void *payload), (*run)(void *payload);
	void *payload;
	HW_VEC(struct hw_tracee) tracees;
	HW_VEC(struct hw_thread) threads;
	HW_VEC(struct hw_sleeper) sleepers;
};

char hw_proc_state(int proc_fd, pid_t tid)
{
	char path[64], text[512];
	snprintf(path, sizeof(path), "task/%d/stat", (int)tid);
	hw_cleanup_close int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return 0;
	text[n] = 0;
	char *end = strrchr(text, ')'); // the name before it may hold anything, ')' too
	return end && end[1] == ' ' ? end[2] : 0;
}

pid_t hw_proc_next_task(DIR *tasks)
{
	for (struct dirent *entry; (entry = readdir(tasks));) {
		long tid = strtol(entry->d_name, NULL, 10);
		if (tid > 0)
			return (pid_t)tid;
	}
	return 0;
}

static bool hw_tracer_has(const struct hw_tracer *tracer, pid_t tid)
{
	for (size_t i = tracer->tracees.count; i-- > 0;)
		if (tracer->tracees.data[i].tid == tid && !tracer->tracees.data[i].is_gone)
			return true;
	for (size_t i = tracer->sleepers.count; i-- > 0;)
		if (tracer->sleepers.data[i].tid == tid)
			return true;
	return false;
}

// Those that have run since; `all`: the others too. False: there was none.
static bool hw_tracer_drop_sleepers(struct hw_tracer *tracer, bool all)
{
	size_t kept = 0, count = tracer->sleepers.count;
	hw_vec_foreach(sleeper, &tracer->sleepers)
	{
		if (all || !hw_sleeper_has_slept(sleeper))
			hw_sleeper_close(sleeper);
		else
			tracer->sleepers.data[kept++] = *sleeper;
	}
	tracer->sleepers.count = kept;
	return kept < count;
}

static struct hw_error *hw_tracer_refused(const struct hw_tracer *tracer, pid_t tid, int os_errno)
{
	char path[64], line[256];
	snprintf(path, sizeof(path), "task/%d/status", (int)tid);
	hw_cleanup_close int fd = openat(tracer->proc_fd, path, O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(dup(fd), "re");
	long owner = 0;
	while (file && fgets(line, sizeof(line), file))
		if (!strncmp(line, "TracerPid:", 10))
			owner = strtol(line + 10, NULL, 10);
	if (file)
		fclose(file);
	if (owner > 0)
		return hw_error_create(
			HW_ERROR_OS,
			"can't stop process %d: process %ld traces it already; detach "
			"that one, run the command inside it when it is gdb, or look without a "
			"stop (no-stop)",
			(int)tracer->pid, owner);
	if (os_errno == EPERM || os_errno == EACCES)
		return hw_error_create(
			HW_ERROR_OS,
			"no permission to stop process %d: run as root, or with CAP_SYS_PTRACE, "
			"or as the process's own user with "
			"/proc/sys/kernel/yama/ptrace_scope at 0",
			(int)tracer->pid);
	return hw_error_os(os_errno, "can't stop thread %d of process %d", (int)tid,
			   (int)tracer->pid);
}

// Seize one thread, which runs on.
static struct hw_error *hw_tracer_seize(struct hw_tracer *tracer, pid_t tid)
{
	if (!hw_vec_reserve(&tracer->tracees, tracer->tracees.count + 1))
		return &hw_enomem;
	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL)) {
		int os_errno = errno;
		char state = hw_proc_state(tracer->proc_fd, tid);
		if (os_errno == ESRCH || !state || state == 'Z' || state == 'X')
			return NULL; // it ended: a leader may be a zombie while its threads live
		return hw_tracer_refused(tracer, tid, os_errno);
	}
	hw_vec_push(&tracer->tracees, ((struct hw_tracee){ .tid = tid }));
	return NULL;
}

// One look at a thread that was told to stop.
static void hw_tracee_poll(struct hw_tracee *tracee)
{
	int status;
	pid_t got;
	do
		got = waitpid(tracee->tid, &status, __WALL | WNOHANG);
	while (got < 0 && errno == EINTR);
	if (got < 0) { // ECHILD: gone with another thread's execve
		tracee->is_gone = true;
	} else if (got == 0) {
		return;
	} else if (!WIFSTOPPED(status)) {
		tracee->is_gone = true;
	} else {
		tracee->is_stopped = true;
		// An event is our own interrupt or a group stop; else a signal is on its way in.
		if (!(status >> 16))
			tracee->signal = WSTOPSIG(status);
	}
}

static struct hw_error *hw_tracer_wait(struct hw_tracer *tracer, struct hw_tracee *tracee)
{
	long waited_us = 0;
	const uint64_t began = hw_now_nanoseconds();
	for (long pause_us = 0;;) {
		hw_tracee_poll(tracee);
		if (tracee->is_stopped || tracee->is_gone)
			return NULL;
		if (!pause_us && hw_now_nanoseconds() - began < HW_TRACER_SPIN_US * 1000u) {
			sched_yield();
			continue;
		}
		if (waited_us > HW_TRACER_ASLEEP_MS * 1000L) {
			char state = hw_proc_state(tracer->proc_fd, tracee->tid);
			if (!state || state == 'Z' || state == 'X') {
				tracee->is_gone = true;
				return NULL;
			}
			if (state == 'D')
				return NULL;
		}
		if (waited_us > HW_TRACER_DEADLINE_MS * 1000L)
			return hw_error_create(
				HW_ERROR_OS, "thread %d of process %d does not stop within %d s",
				(int)tracee->tid, (int)tracer->pid, HW_TRACER_DEADLINE_MS / 1000);
		pause_us = pause_us ? pause_us * 2 : 10;
		if (pause_us > 5000)
			pause_us = 5000;
		nanosleep(&(struct timespec){ .tv_nsec = pause_us * 1000 }, NULL);
		waited_us += pause_us + 1;
	}
}

// Before anybody is stopped: it takes longer than to stop one.
static struct hw_error *hw_tracer_find_sleepers(struct hw_tracer *tracer, DIR *tasks)
{
	struct hw_sleeper sleeper;
	for (pid_t tid;
	     tracer->sleepers.count < HW_TRACER_SLEEPERS_MAX && (tid = hw_proc_next_task(tasks));) {
		if (!hw_vec_reserve(&tracer->sleepers, tracer->sleepers.count + 1))
			return &hw_enomem;
		if (hw_sleeper_find(tracer->proc_fd, tid, &sleeper))
			hw_vec_push(&tracer->sleepers, sleeper);
	}
	return NULL;
}

// Those that are listed and were not yet, and sleepers that woke.
static struct hw_error *hw_tracer_seize_new(struct hw_tracer *tracer, DIR *tasks)
{
	hw_tracer_drop_sleepers(tracer, false);
	rewinddir(tasks);
	for (pid_t tid; (tid = hw_proc_next_task(tasks));)
		if (!hw_tracer_has(tracer, tid))
			HW_TRY(hw_tracer_seize(tracer, tid));
	return NULL;
}

static struct hw_error *hw_tracer_stop_listed(struct hw_tracer *tracer, DIR *tasks)
{
	// A thread made meanwhile is not ours by itself: look until a pass finds nobody new.
	for (unsigned pass = 0; pass < HW_TRACER_PASSES; pass++) {
		size_t first_new = tracer->tracees.count;
		HW_TRY(hw_tracer_seize_new(tracer, tasks));
		if (!tracer->began)
			tracer->began = hw_now_nanoseconds();
		// fails only for one that is ending: wait sees that
		for (size_t i = first_new; i < tracer->tracees.count; i++)
			ptrace(PTRACE_INTERRUPT, tracer->tracees.data[i].tid, NULL, NULL);
		for (size_t i = first_new; i < tracer->tracees.count; i++)
			HW_TRY(hw_tracer_wait(tracer, &tracer->tracees.data[i]));
		if (first_new == tracer->tracees.count)
			return tracer->tracees.count + tracer->sleepers.count
				       ? NULL
				       : hw_error_create(HW_ERROR_NOT_FOUND,
							 "process %d has exited", (int)tracer->pid);
	}
	return hw_error_create(HW_ERROR_OS,
			       "process %d makes threads faster than they can be stopped",
			       (int)tracer->pid);
}

// `leaves_sleepers`: those that sleep are not stopped, but watched.
static struct hw_error *hw_tracer_stop_all(struct hw_tracer *tracer, bool leaves_sleepers)
{
	int fd = openat(tracer->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd < 0 ? NULL : fdopendir(fd);
	if (!tasks) {
		if (fd >= 0)
			close(fd);
		return hw_error_create(HW_ERROR_NOT_FOUND, "process %d has exited",
				       (int)tracer->pid);
	}
	struct hw_error *err = leaves_sleepers ? hw_tracer_find_sleepers(tracer, tasks) : NULL;
	if (!err)
		err = hw_tracer_stop_listed(tracer, tasks);
	closedir(tasks);
	return err;
}

static struct hw_error *hw_tracer_read_registers(struct hw_tracer *tracer)
{
	const struct hw_machine *machine = tracer->machine;
	hw_vec_foreach(tracee, &tracer->tracees)
	{
		// of the tracee's kind, which need not be ours
		uint8_t regs[HW_REGISTERS_BYTES], tls[HW_REGISTERS_BYTES];
		struct iovec iov = { regs, sizeof(regs) }, tls_iov = { tls, sizeof(tls) };
		struct hw_machine_thread registers;
		struct hw_thread thread = { .tid = tracee->tid };
		if (tracee->is_gone)
			continue;
		if (tracee->is_stopped &&
		    !ptrace(PTRACE_GETREGSET, tracee->tid, NT_PRSTATUS, &iov)) {
			hw_machine_registers(machine, regs, iov.iov_len, &registers);
			if (machine->tls_note &&
			    !ptrace(PTRACE_GETREGSET, tracee->tid, machine->tls_note, &tls_iov))
				hw_machine_tls(machine, tls, tls_iov.iov_len, &registers);
			thread.sp = registers.sp;
			thread.tp = registers.tp;
		}
		if (!hw_vec_push(&tracer->threads, thread))
			return &hw_enomem;
	}
	return NULL;
}

static void hw_tracer_let_go(struct hw_tracer *tracer)
{
	hw_vec_foreach(tracee, &tracer->tracees)
	{
		if (!tracee->is_stopped && !tracee->is_gone)
			hw_tracee_poll(tracee); // it may have come back from the kernel
		if (tracee->is_stopped && !tracee->is_gone)
			ptrace(PTRACE_DETACH, tracee->tid, NULL, (void *)(long)tracee->signal);
	}
}

static void *hw_tracer_run(void *arg)
{
	struct hw_tracer *tracer = arg;
	tracer->err = hw_tracer_stop_all(tracer, false);
	if (!tracer->err)
		tracer->err = hw_tracer_read_registers(tracer);
	bool failed = tracer->err != NULL;
	if (failed)
		hw_tracer_let_go(tracer);
	sem_post(&tracer->is_settled);
	if (failed)
		return NULL;
	while (sem_wait(&tracer->may_resume) && errno == EINTR)
		;
	hw_tracer_let_go(tracer);
	tracer->ended = hw_now_nanoseconds();
	return NULL;
}

// The whole stop on one thread: to hand over to another one and back takes longer than a short look.
static void *hw_tracer_run_stopped_thread(void *arg)
{
	struct hw_tracer *tracer = arg;
	tracer->rehearse(tracer->payload);
	tracer->err = hw_tracer_stop_all(tracer, true);
	if (!tracer->err)
		tracer->run(tracer->payload);
	if (!tracer->err && hw_tracer_drop_sleepers(tracer, false)) {
		// Somebody woke meanwhile: again, and everybody stops.
		hw_tracer_drop_sleepers(tracer, true);
		tracer->err = hw_tracer_stop_all(tracer, false);
		if (!tracer->err)
			tracer->run(tracer->payload);
	}
	hw_tracer_let_go(tracer);
	tracer->ended = hw_now_nanoseconds();
	return NULL;
}

static void hw_tracer_destroy(struct hw_tracer *tracer)
{
	sem_destroy(&tracer->is_settled);
	sem_destroy(&tracer->may_resume);
	hw_tracer_drop_sleepers(tracer, true);
	hw_vec_deinit(&tracer->sleepers);
	hw_vec_deinit(&tracer->tracees);
	hw_vec_deinit(&tracer->threads);
	free(tracer);
}

static struct hw_error *hw_tracer_start(struct hw_tracer *tracer, pid_t pid, int proc_fd,
					const struct hw_machine *machine,
					void *(*thread)(void *arg))
{
	tracer->pid = pid;
	tracer->machine = machine;
	tracer->proc_fd = proc_fd;
	sem_init(&tracer->is_settled, 0, 0);
	sem_init(&tracer->may_resume, 0, 0);
	// Signals to this program are for its own threads.
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int os_errno = pthread_create(&tracer->thread, NULL, thread, tracer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return os_errno ? hw_error_os(os_errno, "can't make a thread to stop process %d with",
				      (int)pid)
			: NULL;
}

struct hw_error *hw_tracer_stop(pid_t pid, int proc_fd, const struct hw_machine *machine,
				struct hw_tracer **ret)
{
	struct hw_tracer *tracer = calloc(1, sizeof(*tracer));
	if (!tracer)
		return &hw_enomem;
	struct hw_error *err = hw_tracer_start(tracer, pid, proc_fd, machine, hw_tracer_run);
	if (!err) {
		while (sem_wait(&tracer->is_settled) && errno == EINTR)
			;
		err = tracer->err;
		if (err)
			pthread_join(tracer->thread, NULL);
	}
	if (err)
		hw_tracer_destroy(tracer);
	else
		*ret = tracer;
	return err;
}

struct hw_error *hw_tracer_run_stopped(pid_t pid, int proc_fd, const struct hw_machine *machine,
				       void (*rehearse)(void *payload), void (*run)(void *payload),
				       void *payload, uint64_t *ret_nanoseconds)
{
	struct hw_tracer *tracer = calloc(1, sizeof(*tracer));
	if (!tracer)
		return &hw_enomem;
	tracer->rehearse = rehearse;
	tracer->run = run;
	tracer->payload = payload;
	struct hw_error *err = hw_tracer_start(tracer, pid, proc_fd, machine,
					       hw_tracer_run_stopped_thread);
	if (!err) {
		pthread_join(tracer->thread, NULL);
		err = tracer->err;
		*ret_nanoseconds = tracer->began ? tracer->ended - tracer->began : 0;
	}
	hw_tracer_destroy(tracer);
	return err;
}

uint64_t hw_tracer_resume(struct hw_tracer *tracer)
{
	if (!tracer)
		return hw_now_nanoseconds();
	sem_post(&tracer->may_resume);
	pthread_join(tracer->thread, NULL);
	uint64_t ended = tracer->ended;
	hw_tracer_destroy(tracer);
	return ended;
}

uint64_t hw_tracer_began(const struct hw_tracer *tracer)
{
	return tracer->began;
}

const struct hw_thread *hw_tracer_threads(const struct hw_tracer *tracer, size_t *ret_count)
{
	*ret_count = tracer->threads.count;
	return tracer->threads.data;
}
