/* SPDX-License-Identifier: LGPL-2.1-or-later */
// hw_target_run_stopped() of a process that works: what is seen is of one moment, whether it could be foreseen or not,
// and whether the thread that changes it works all the time or wakes now and then.
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "child.h"
#include "target/target.h"

enum { PAGE = 4096, STEPS = 1 << 10 };

static bool naps;

// Counts in two places, far apart, one after the other; and leaves a trail, a page a step.
static void *count_twice(void *arg)
{
	volatile uint64_t *words = arg;
	for (uint64_t step = 1;; step++) {
		words[0] = step;
		words[(step % STEPS + 1) * 512] = step;
		words[(STEPS + 1) * 512] = step;
		if (naps)
			nanosleep(&(struct timespec){ .tv_nsec = 400000 }, NULL);
	}
	return NULL;
}

static void *spin(void *arg)
{
	for (volatile uint64_t *counter = arg;;)
		++*counter;
	return NULL;
}

static void body_counting(int ready, int go)
{
	static uint64_t counter;
	pthread_t thread;
	char byte;
	void *words = mmap(NULL, (STEPS + 2) * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(words, 0, (STEPS + 2) * PAGE);
	if (pthread_create(&thread, NULL, count_twice, words) ||
	    (naps && pthread_create(&thread, NULL, spin, &counter)))
		_exit(3);
	child_report(ready, (uintptr_t)words);
	while (read(go, &byte, 1) != 1)
		;
}

static void body_napping(int ready, int go)
{
	naps = true;
	body_counting(ready, go);
}

struct counting {
	struct hw_target *target;
	hw_addr_t words;
	unsigned follows_after; // so many calls the trail: each time another page is asked for
	bool reads_all;         // of the trail, which takes long
	unsigned calls;
	uint64_t first, last, trail;
};

static void look_at_counters(void *payload)
{
	struct counting *counting = payload;
	struct hw_target *target = counting->target;
	const hw_addr_t words = counting->words;
	uint64_t word;
	counting->calls++;
	counting->trail = 0;
	CHECK(hw_target_read_word(target, words, &counting->first));
	for (unsigned i = 1; i <= STEPS && counting->reads_all; i++)
		CHECK(hw_target_read_word(target, words + i * PAGE, &word));
	// Missed in a replay: the answer is not of that one.
	if (counting->calls > counting->follows_after)
		(void)hw_target_read_word(target, words + (counting->first % STEPS + 1) * PAGE,
					  &counting->trail);
	CHECK(hw_target_read_word(target, words + (STEPS + 1) * PAGE, &counting->last));
}

static void look(struct counting *counting)
{
	uint64_t before = hw_target_stopped_nanoseconds(counting->target);
	counting->calls = 0;
	CHECK_OK(hw_target_run_stopped(counting->target, look_at_counters, counting));
	CHECK(counting->first - counting->last <= 1, "%llu and %llu",
	      (unsigned long long)counting->first, (unsigned long long)counting->last);
	CHECK(counting->calls >= 2, "a rehearsal and a look");
	CHECK(hw_target_stopped_nanoseconds(counting->target) > before);
	if (counting->follows_after != UINT_MAX)
		CHECK(counting->trail == counting->first ||
			      counting->trail + STEPS == counting->first ||
			      (!counting->trail && counting->first <= STEPS),
		      "%llu in the trail of %llu", (unsigned long long)counting->trail,
		      (unsigned long long)counting->first);
}

static void test_counting(void (*body)(int ready, int go))
{
	// Never; from the first on; only when the two rehearsals are over, and have foreseen something else.
	static const unsigned afters[] = { UINT_MAX, 0, 2 };
	struct child child = child_start(body);
	struct counting counting = { .words = child_receive(&child) };
	CHECK_OK(hw_target_open_live(child.pid, NULL, false, &counting.target));
	for (unsigned i = 0; counting.target && i < 24; i++) {
		counting.follows_after = afters[i % 3];
		counting.reads_all = i % 2;
		look(&counting);
	}
	hw_target_close(counting.target);
	child_kill(&child);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	test_counting(body_counting);
	test_counting(body_napping);
	return check_finish();
}
