/* SPDX-License-Identifier: LGPL-2.1-or-later */
// How far a long walk is, and whether to stop. Workers add; only the caller's thread calls back.
#ifndef HW_BASE_PROGRESS_H
#define HW_BASE_PROGRESS_H

#include <stdatomic.h>

#include "heapwalk.h"

struct hw_progress {
	atomic_bool interrupted;
	atomic_uint_fast64_t done;
	uint64_t total;
	const char *what;
	hw_progress_fn *report; // may be NULL
	void *payload;
};

static inline bool hw_progress_stopped(struct hw_progress *progress)
{
	return atomic_load_explicit(&progress->interrupted, memory_order_relaxed);
}
// Caller's thread only: shows the state, and takes a "stop" from the callback. True: stopped.
static inline bool hw_progress_poll(struct hw_progress *progress)
{
	if (progress->report &&
	    progress->report(progress->payload, progress->what,
			     atomic_load_explicit(&progress->done, memory_order_relaxed),
			     progress->total))
		atomic_store(&progress->interrupted, true);
	return hw_progress_stopped(progress);
}

#endif
