/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Scope guards: freed on every way out of the scope, disarmed by hw_no_cleanup().
#ifndef HW_BASE_CLEANUP_H
#define HW_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

static inline void hw_free_cleanup(void *p)
{
	free(*(void **)p);
}
static inline void hw_close_cleanup(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

#define hw_cleanup_free __attribute__((cleanup(hw_free_cleanup)))
#define hw_cleanup_close __attribute__((cleanup(hw_close_cleanup)))
// A guard may be all that its variable is for: clang takes it for unused then.
#define hw_cleanup_with(fn) __attribute__((cleanup(fn), unused))

// The pointer's value, and the guard disarmed.
#define hw_no_cleanup(p)                                                                           \
	({                                                                                         \
		__typeof__(p) hw_value = (p);                                                      \
		(p) = NULL;                                                                        \
		hw_value;                                                                          \
	})

#endif
