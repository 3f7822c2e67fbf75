/* SPDX-License-Identifier: LGPL-2.1-or-later */
// One piece of work for several threads at once.
#ifndef HW_BASE_PARALLEL_H
#define HW_BASE_PARALLEL_H

#include <stddef.h>

enum { HW_PARALLEL_MAX = 64 };

// Runs run(payload, i) for worker 0 on the caller's thread and for workers 1 … count - 1 on threads of
// their own (at most HW_PARALLEL_MAX in all), and returns when all have returned. A thread that can't
// be started is no error and its run() is not called: workers take pieces from a shared counter until
// none is left.
void hw_parallel(unsigned count, void (*run)(void *payload, unsigned worker), void *payload);

// The same for a list of independent pieces: run(payload, i) for each i below `items`, once.
void hw_parallel_each(unsigned count, size_t items, void (*run)(void *payload, size_t i),
		      void *payload);

#endif
