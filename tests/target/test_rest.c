/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Did the process run? hw_target_rest() of one that sleeps, was woken, works, made a thread, waits for vfork.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "child.h"
#include "target/target.h"

// Sleeps until it is told; then says so and sleeps again.
static void body_sleeper(int ready, int go)
{
	char byte;
	child_report(ready, 1);
	while (read(go, &byte, 1) == 1)
		child_report(ready, 2);
}

static void *spin(void *arg)
{
	for (volatile uint64_t *counter = arg;;)
		++*counter;
	return NULL;
}

static void *nap(void *arg)
{
	(void)arg;
	pause();
	return NULL;
}

// Sleeps, while a thread of it works without end.
static void body_busy(int ready, int go)
{
	static uint64_t counter;
	pthread_t thread;
	char byte;
	if (pthread_create(&thread, NULL, spin, &counter))
		_exit(3);
	child_report(ready, 1);
	while (read(go, &byte, 1) == 1)
		;
}

// Makes a thread that sleeps whenever it is told.
static void body_threads(int ready, int go)
{
	pthread_t thread;
	char byte;
	child_report(ready, 1);
	while (read(go, &byte, 1) == 1) {
		if (pthread_create(&thread, NULL, nap, NULL))
			_exit(3);
		child_report(ready, 2);
	}
}

// Sleeps in vfork(2) while a child runs in the same memory until it is told to end.
static void body_vfork(int ready, int go)
{
	char byte;
	pid_t pid = vfork();
	if (!pid) {
		child_report(ready, 1);
		if (read(go, &byte, 1) != 1)
			_exit(1);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

// What it answers once it sleeps: a process that said that it is ready is on its way.
static char *rest_when_asleep(struct hw_target *target)
{
	for (int i = 0; i < 1000000; i++) {
		char *text = hw_target_rest(target);
		if (text)
			return text;
		sched_yield();
	}
	return NULL;
}

static struct hw_target *open_child(const struct child *child)
{
	struct hw_target *target = NULL;
	child_receive(child);
	CHECK_OK(hw_target_open_live(child->pid, NULL, false, &target));
	return target;
}

static void test_sleeper(void)
{
	struct child child = child_start(body_sleeper);
	struct hw_target *target = open_child(&child);
	char *before = rest_when_asleep(target);
	char *same = hw_target_rest(target);
	CHECK(before && same && !strcmp(before, same), "asleep: %s, %s", before, same);
	child_send(&child, 'x');
	child_receive(&child);
	char *after = rest_when_asleep(target);
	CHECK(after && before && strcmp(before, after) != 0, "woken: %s, %s", before, after);
	free(before);
	free(same);
	free(after);
	hw_target_close(target);
	child_kill(&child);
}

static void test_busy(void)
{
	struct child child = child_start(body_busy);
	struct hw_target *target = open_child(&child);
	for (int i = 0; i < 100; i++) {
		char *text = hw_target_rest(target);
		// On a crowded machine the thread may wait for a processor: it is not asleep then either.
		CHECK(!text, "it works: %s", text);
		free(text);
	}
	hw_target_close(target);
	child_kill(&child);
}

static void test_new_thread(void)
{
	struct child child = child_start(body_threads);
	struct hw_target *target = open_child(&child);
	char *before = rest_when_asleep(target);
	child_send(&child, 'x');
	child_receive(&child);
	char *after = rest_when_asleep(target);
	CHECK(before && after && strcmp(before, after) != 0, "a new thread: %s, %s", before, after);
	free(before);
	free(after);
	hw_target_close(target);
	child_kill(&child);
}

static void test_vfork(void)
{
	struct child child = child_start(body_vfork);
	struct hw_target *target = open_child(&child);
	for (int i = 0; i < 100; i++) {
		char *text = hw_target_rest(target);
		CHECK(!text, "its child runs in its memory: %s", text);
		free(text);
	}
	child_send(&child, 'x');
	hw_target_close(target);
	child_kill(&child);
}

int main(void)
{
	struct child child = child_start(body_sleeper);
	struct hw_target *target = open_child(&child);
	char *text = rest_when_asleep(target);
	bool is_known = text;
	free(text);
	hw_target_close(target);
	child_kill(&child);
	if (!is_known) {
		printf("skip: this kernel has no /proc/PID/task/TID/schedstat\n");
		return 77;
	}
	test_sleeper();
	test_busy();
	test_new_thread();
	test_vfork();
	return check_finish();
}
