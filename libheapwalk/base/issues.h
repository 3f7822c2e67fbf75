/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Issues: damage and gaps met on a walk that went on. Kept in the order met, capped, never hidden.
#ifndef HW_BASE_ISSUES_H
#define HW_BASE_ISSUES_H

#include <pthread.h>

#include "base/error.h"
#include "base/vector.h"

enum { HW_ISSUES_KEPT = 1000 };

struct hw_issues {
	pthread_mutex_t lock; // workers add side by side
	HW_VEC(struct hw_error *) list;
	uint64_t dropped_count; // beyond HW_ISSUES_KEPT
};

void hw_issues_init(struct hw_issues *issues);
void hw_issues_deinit(struct hw_issues *issues);
void hw_issues_clear(struct hw_issues *issues);
// Forget those beyond the first `count`: what was met on a walk that does not count.
void hw_issues_cut(struct hw_issues *issues, size_t count);
// Takes err; NULL is no issue.
void hw_issues_take(struct hw_issues *issues, struct hw_error *err);
void hw_issues_add(struct hw_issues *issues, enum hw_error_code code, hw_addr_t addr,
		   const char *fmt, ...) HW_PRINTF(4, 5);

#endif
