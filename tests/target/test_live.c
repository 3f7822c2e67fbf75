/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Live processes: maps, reads, stops that leave no trace, and every refusal.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "child.h"
#include "target/window.h"

enum { BLOCK_BYTES = 3 << 20, THREADS = 5 };

// State letter in /proc/PID/stat.
static char state_of(pid_t pid)
{
	char path[64], text[512] = "";
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "re");
	if (!file || !fgets(text, sizeof(text), file))
		text[0] = 0;
	if (file)
		fclose(file);
	char *end = strrchr(text, ')');
	return end ? end[2] : 0;
}

// Let go, a stopped process runs in the kernel for a moment, into its stop again.
static bool comes_to_state(pid_t pid, char state)
{
	time_t limit = time(NULL) + 30;
	while (state_of(pid) != state && time(NULL) < limit)
		sched_yield();
	return state_of(pid) == state;
}

static volatile sig_atomic_t signals_seen;

static void count_signal(int number)
{
	(void)number;
	signals_seen++;
}

static void *count_up(void *arg)
{
	for (volatile uint64_t *counter = arg;;)
		++*counter;
	return NULL;
}

// Memory with a pattern and a hole in it, threads that write a counter each without end, a handler that
// counts SIGUSR1.
static void body_busy(int ready, int go)
{
	uint8_t *block = mmap(NULL, BLOCK_BYTES + 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t *counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				  -1, 0);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		block[i] = (uint8_t)(i ^ i >> 8);
	munmap(block + BLOCK_BYTES, 4096);
	signal(SIGUSR1, count_signal);
	sigset_t usr1, old;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, &old);
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, count_up, counters + i))
			_exit(3);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	child_report(ready, (uintptr_t)block);
	child_report(ready, (uintptr_t)counters);
	char byte;
	for (;;) {
		if (read(go, &byte, 1) != 1)
			continue; // EINTR
		if (byte == 'q')
			_exit(0);
		child_report(ready, (uint64_t)signals_seen);
	}
}

static struct hw_target *open_child(const struct child *child)
{
	struct hw_target *target = NULL;
	CHECK_OK(hw_target_open_live(child->pid, NULL, false, &target));
	if (!target)
		exit(check_finish());
	return target;
}

static void test_reads_and_stops(void)
{
	struct child child = child_start(body_busy);
	hw_addr_t block = child_receive(&child), counters = child_receive(&child);
	struct hw_target *target = open_child(&child);
	CHECK_EQUAL(target->machine->word_bytes, 8);
	CHECK_TEXT(target->file_root, "");
	CHECK_OK(hw_target_stop(target));
	CHECK_OK(hw_target_stop(target)); // nested
	CHECK_EQUAL(target->threads.count, THREADS + 1);
	hw_vec_foreach(thread, &target->threads)
	{
		CHECK(thread->tp && hw_target_find_mapping(target, thread->sp));
	}
	const struct hw_mapping *stack = hw_target_find_mapping(target, target->threads.data[0].sp);
	CHECK(stack && !strcmp(stack->path, "[stack]"));
	const struct hw_mapping *m = hw_target_find_mapping(target, block);
	CHECK(m && hw_mapping_is_private_writable(m));

	// nothing moves while it is stopped
	uint64_t before[THREADS], after[THREADS];
	CHECK_OK(hw_target_read(target, counters, before, sizeof(before)));
	hw_target_resume(target);
	for (int i = 0; i < 100; i++)
		CHECK_OK(hw_target_read(target, counters, after, sizeof(after)));
	CHECK(!memcmp(before, after, sizeof(before)));

	uint8_t *copy = malloc(BLOCK_BYTES + 4096);
	CHECK_EQUAL(hw_target_read_some(target, block, copy, BLOCK_BYTES + 4096), BLOCK_BYTES);
	bool is_same = true;
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		is_same &= copy[i] == (uint8_t)(i ^ i >> 8);
	CHECK(is_same);
	struct hw_window window;
	hw_window_init(&window, target);
	is_same = true;
	for (size_t i = 0; i + 1000 <= BLOCK_BYTES; i += 1000) {
		const uint8_t *p = hw_window_get(&window, block + i, 1000);
		is_same &= p && !memcmp(p, copy + i, 1000);
	}
	CHECK(is_same);
	size_t len;
	hw_window_get_some(&window, block + BLOCK_BYTES - 10, 20, &len);
	CHECK_EQUAL(len, 10);
	hw_window_deinit(&window);
	free(copy);
	CHECK_ERROR(hw_target_read(target, block + BLOCK_BYTES - 8, before, 16), HW_ERROR_FAULT,
		    "nothing readable");

	// and all threads run on
	hw_target_resume(target);
	bool has_moved[THREADS] = { false };
	for (size_t moved = 0; moved < THREADS;) {
		CHECK_OK(hw_target_read(target, counters, after, sizeof(after)));
		for (size_t i = 0; i < THREADS; i++) {
			moved += !has_moved[i] && after[i] != before[i];
			has_moved[i] |= after[i] != before[i];
		}
	}
	hw_target_close(target);
	child_kill(&child);
}

// Signals sent before, while and after it is stopped: each arrives, none twice.
static void test_signals(void)
{
	struct child child = child_start(body_busy);
	child_receive(&child);
	child_receive(&child);
	struct hw_target *target = open_child(&child);
	for (uint64_t round = 1; round <= 100; round++) {
		if (round % 2)
			kill(child.pid, SIGUSR1);
		CHECK_OK(hw_target_stop(target));
		CHECK(state_of(child.pid) == 't');
		if (round % 2 == 0)
			kill(child.pid, SIGUSR1);
		hw_target_resume(target);
		child_send(&child, 's');
		uint64_t seen = child_receive(&child);
		CHECK(seen == round || seen == round - 1); // it may still be on its way
		while (seen != round) {
			child_send(&child, 's');
			seen = child_receive(&child);
		}
	}
	hw_target_close(target);
	child_send(&child, 'q');
	int status = child_wait(&child);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

// A process that was stopped stays stopped; one that is told to stop meanwhile is stopped after.
static void test_group_stop(void)
{
	struct child child = child_start(body_busy);
	child_receive(&child);
	child_receive(&child);
	int status;
	kill(child.pid, SIGSTOP);
	CHECK(waitpid(child.pid, &status, WUNTRACED) == child.pid && WIFSTOPPED(status));
	struct hw_target *target = open_child(&child);
	CHECK_OK(hw_target_stop(target));
	CHECK_EQUAL(target->threads.count, THREADS + 1);
	hw_target_resume(target);
	CHECK(comes_to_state(child.pid, 'T'));
	kill(child.pid, SIGCONT);
	CHECK(waitpid(child.pid, &status, WCONTINUED) == child.pid && WIFCONTINUED(status));
	CHECK_OK(hw_target_stop(target));
	kill(child.pid, SIGSTOP);
	hw_target_resume(target);
	CHECK(waitpid(child.pid, &status, WUNTRACED) == child.pid && WIFSTOPPED(status));
	CHECK_EQUAL(WSTOPSIG(status), SIGSTOP);
	kill(child.pid, SIGCONT);
	hw_target_close(target); // while it is not stopped by us
	child_send(&child, 'q');
	status = child_wait(&child);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

// Closing a stopped target lets it go.
static void test_close_while_stopped(void)
{
	struct child child = child_start(body_busy);
	child_receive(&child);
	child_receive(&child);
	struct hw_target *target = open_child(&child);
	CHECK_OK(hw_target_stop(target));
	hw_target_close(target);
	child_send(&child, 'q');
	int status = child_wait(&child);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

// ---- threads that come and go ----

static void *spawn_next(void *arg)
{
	(void)arg;
	pthread_t thread;
	pthread_detach(pthread_self());
	while (pthread_create(&thread, NULL, spawn_next, NULL))
		;
	return NULL;
}

static void body_spawning(int ready, int go)
{
	pthread_t thread;
	for (int i = 0; i < 4; i++)
		pthread_create(&thread, NULL, spawn_next, NULL);
	child_report(ready, 1);
	char byte;
	while (read(go, &byte, 1) != 1)
		;
	_exit(0);
}

static void test_spawning(void)
{
	struct child child = child_start(body_spawning);
	child_receive(&child);
	struct hw_target *target = open_child(&child);
	for (int round = 0; round < 30; round++) {
		CHECK_OK(hw_target_stop(target));
		// every task of it is in tracing stop, or already dead
		hw_vec_foreach(thread, &target->threads)
		{
			char state = state_of(thread->tid);
			CHECK(state == 't' || state == 'X' || state == 'Z' || state == 0);
		}
		CHECK_OK(hw_target_refresh(target));
		hw_target_resume(target);
	}
	hw_target_close(target);
	child_kill(&child);
}

// The main thread has ended, its threads live on: a zombie leader.
static void *report_later(void *arg)
{
	int *fds = arg;
	char byte;
	while (read(fds[1], &byte, 1) != 1)
		;
	_exit(0);
	return NULL;
}

static void body_headless(int ready, int go)
{
	static int fds[2];
	fds[0] = ready;
	fds[1] = go;
	pthread_t thread;
	pthread_create(&thread, NULL, report_later, fds);
	child_report(ready, (uintptr_t)fds);
	pthread_exit(NULL);
}

static void test_headless(void)
{
	struct child child = child_start(body_headless);
	hw_addr_t fds = child_receive(&child);
	CHECK(comes_to_state(child.pid, 'Z'));
	struct hw_target *target = open_child(&child);
	uint32_t word;
	CHECK_OK(hw_target_stop(target));
	CHECK_EQUAL(target->threads.count, 1);
	CHECK_OK(hw_target_read(target, fds, &word, sizeof(word)));
	CHECK(word < 1000); // a descriptor
	CHECK(hw_target_is_alive(target));
	hw_target_resume(target);
	child_send(&child, 'q');
	child_wait(&child);
	CHECK(!hw_target_is_alive(target));
	hw_target_close(target);
}

// ---- vfork: the parent sleeps in the kernel and can't stop ----

static void body_vfork(int ready, int go)
{
	char byte;
	static int ready_fd, go_fd;
	ready_fd = ready;
	go_fd = go;
	pid_t pid = vfork(); // NOLINT: the point of the test
	if (pid == 0) {
		uint64_t one = 1;
		if (write(ready_fd, &one, 8) != 8 || read(go_fd, &byte, 1) != 1)
			_exit(1);
		_exit(0);
	}
	child_report(ready, 2);
	while (read(go, &byte, 1) != 1)
		;
	_exit(7);
}

static void test_vfork(void)
{
	struct child child = child_start(body_vfork);
	CHECK_EQUAL(child_receive(&child), 1);
	struct hw_target *target = open_child(&child);
	CHECK_OK(hw_target_stop(target));
	hw_target_resume(target);
	hw_target_close(target);
	child_send(&child, 'x'); // the vfork child ends, the parent wakes up
	CHECK_EQUAL(child_receive(&child), 2);
	child_send(&child, 'x');
	int status = child_wait(&child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

// ---- refusals ----

static void body_quiet(int ready, int go)
{
	char byte;
	child_report(ready, 1);
	while (read(go, &byte, 1) != 1)
		;
	_exit(0);
}

static void body_exit(int ready, int go)
{
	(void)go;
	child_report(ready, 1);
	_exit(0);
}

static void test_refusals(void)
{
	struct hw_target *target = NULL;
	CHECK_ERROR(hw_target_open_live(0, NULL, false, &target), HW_ERROR_INVALID,
		    "not a process");
	CHECK_ERROR(hw_target_open_live(0x7ffffffe, NULL, false, &target), HW_ERROR_NOT_FOUND,
		    "no process");
	struct child child = child_start(body_exit);
	child_receive(&child);
	CHECK(comes_to_state(child.pid, 'Z'));
	CHECK_ERROR(hw_target_open_live(child.pid, NULL, false, &target), HW_ERROR_NOT_FOUND,
		    "zombie");
	child_wait(&child);
	CHECK(target == NULL);
	// a thread's number
	child = child_start(body_busy);
	child_receive(&child);
	child_receive(&child);
	target = open_child(&child);
	pid_t tid = 0;
	hw_vec_foreach(thread, &target->threads) if (thread->tid != child.pid) tid = thread->tid;
	hw_target_close(target);
	CHECK_ERROR(hw_target_open_live(tid, NULL, false, &target), HW_ERROR_INVALID, "thread of");
	child_kill(&child);
}

// It ends while we look: reads fail with a sentence, nothing hangs.
static void test_exit_while_read(void)
{
	struct child child = child_start(body_busy);
	hw_addr_t block = child_receive(&child);
	child_receive(&child);
	struct hw_target *target = open_child(&child);
	uint8_t byte;
	CHECK(hw_target_is_alive(target));
	CHECK_OK(hw_target_stop(target));
	kill(child.pid, SIGKILL);
	while (hw_target_is_alive(target))
		;
	CHECK_ERROR(hw_target_read(target, block, &byte, 1), HW_ERROR_FAULT, "exited");
	hw_target_resume(target);
	child_wait(&child);
	CHECK_ERROR(hw_target_stop(target), HW_ERROR_NOT_FOUND, "exited");
	CHECK(!hw_target_is_alive(target));
	hw_target_close(target);
}

// Somebody else traces it: with no_stop it is read all the same, else the tracer is named.
static void test_other_tracer(void)
{
	struct child child = child_start(body_busy);
	hw_addr_t block = child_receive(&child);
	child_receive(&child);
	// We are "the debugger": the library's stop runs in a thread of its own, a stranger to ptrace.
	CHECK(!ptrace(PTRACE_SEIZE, child.pid, NULL, NULL));
	CHECK(!ptrace(PTRACE_INTERRUPT, child.pid, NULL, NULL));
	int status;
	CHECK(waitpid(child.pid, &status, __WALL) == child.pid);
	struct hw_target *target = open_child(&child);
	CHECK_ERROR(hw_target_stop(target), HW_ERROR_OS, "traces it already");
	hw_target_close(target);
	uint8_t bytes[4];
	CHECK_OK(hw_target_open_live(child.pid, "/some/root", true, &target));
	CHECK_TEXT(target->file_root, "/some/root");
	CHECK_OK(hw_target_stop(target));
	CHECK_EQUAL(target->threads.count, THREADS + 1);
	CHECK(target->threads.data[0].sp &&
	      hw_target_find_mapping(target, target->threads.data[0].sp));
	CHECK_OK(hw_target_read(target, block, bytes, 4));
	CHECK(bytes[1] == 1 && bytes[3] == 3);
	hw_target_resume(target);
	hw_target_close(target);
	ptrace(PTRACE_DETACH, child.pid, NULL, NULL);
	child_kill(&child);
}

// A file whose name has spaces and a newline, mapped and then removed.
static void body_odd_file(int ready, int go)
{
	char name[] = "odd name\n(deleted) XXXXXX", byte;
	int fd = mkstemp(name);
	if (fd < 0 || ftruncate(fd, 4096))
		_exit(3);
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	unlink(name);
	child_report(ready, (uintptr_t)map);
	while (read(go, &byte, 1) != 1)
		;
	_exit(0);
}

static void test_odd_names(void)
{
	struct child child = child_start(body_odd_file);
	hw_addr_t map = child_receive(&child);
	struct hw_target *target = open_child(&child);
	const struct hw_mapping *m = hw_target_find_mapping(target, map);
	CHECK(m && strstr(m->path, "/odd name\n(deleted) ") &&
	      !strcmp(m->path + strlen(m->path) - 10, " (deleted)"));
	CHECK(m && m->flags & HW_MAP_SHARED && !hw_mapping_is_private_writable(m));
	hw_target_close(target);
	child_kill(&child);
}

// Another user's process.
static void test_permission(void)
{
	struct child child = child_start(body_quiet);
	child_receive(&child);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		struct hw_target *target = NULL;
		check_failures = check_count = 0;
		if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
			_exit(77);
		CHECK_ERROR(hw_target_open_live(geteuid() == 65534 ? child.pid : 1, NULL, false,
						&target),
			    HW_ERROR_OS, "permission");
		fflush(stdout);
		_exit(check_failures);
	}
	int status;
	waitpid(pid, &status, 0);
	CHECK(WIFEXITED(status) && (!WEXITSTATUS(status) || WEXITSTATUS(status) == 77));
	child_kill(&child);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	test_reads_and_stops();
	test_signals();
	test_group_stop();
	test_close_while_stopped();
	test_spawning();
	test_headless();
	test_vfork();
	test_refusals();
	test_exit_while_read();
	test_other_tracer();
	test_odd_names();
	test_permission();
	return check_finish();
}
