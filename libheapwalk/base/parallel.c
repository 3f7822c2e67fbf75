/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/parallel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct hw_parallel_thread {
	pthread_t id;
	void (*run)(void *payload, unsigned worker);
	void *payload;
	unsigned worker;
};

static void *hw_parallel_start(void *arg)
{
	const struct hw_parallel_thread *thread = arg;
	thread->run(thread->payload, thread->worker);
	return NULL;
}

void hw_parallel(unsigned count, void (*run)(void *payload, unsigned worker), void *payload)
{
	struct hw_parallel_thread threads[HW_PARALLEL_MAX];
	unsigned started = 0;
	// Signals are the caller's: a debugger waits for them on its own thread.
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (unsigned i = 1; i < count && i < HW_PARALLEL_MAX; i++) {
		struct hw_parallel_thread *thread = &threads[started];
		*thread =
			(struct hw_parallel_thread){ .run = run, .payload = payload, .worker = i };
		if (!pthread_create(&thread->id, NULL, hw_parallel_start, thread))
			started++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	run(payload, 0);
	for (unsigned i = 0; i < started; i++)
		pthread_join(threads[i].id, NULL);
}

struct hw_parallel_items {
	void (*run)(void *payload, size_t i);
	void *payload;
	size_t count;
	atomic_size_t next;
};

static void hw_parallel_run_items(void *payload, unsigned worker)
{
	struct hw_parallel_items *items = payload;
	size_t i;
	(void)worker;
	while ((i = atomic_fetch_add(&items->next, 1)) < items->count)
		items->run(items->payload, i);
}

void hw_parallel_each(unsigned count, size_t items, void (*run)(void *payload, size_t i),
		      void *payload)
{
	struct hw_parallel_items work = { .run = run, .payload = payload, .count = items };
	hw_parallel((unsigned)(count < items ? count : items), hw_parallel_run_items, &work);
}
