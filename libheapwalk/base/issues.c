/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/issues.h"

#include <stdarg.h>
#include <stdio.h>

void hw_issues_init(struct hw_issues *issues)
{
	*issues = (struct hw_issues){ .lock = PTHREAD_MUTEX_INITIALIZER };
}

void hw_issues_clear(struct hw_issues *issues)
{
	hw_vec_foreach(err, &issues->list) hw_error_destroy(*err);
	issues->list.count = 0;
	issues->dropped_count = 0;
}

void hw_issues_cut(struct hw_issues *issues, size_t count)
{
	while (issues->list.count > count)
		hw_error_destroy(issues->list.data[--issues->list.count]);
}

void hw_issues_deinit(struct hw_issues *issues)
{
	hw_issues_clear(issues);
	hw_vec_deinit(&issues->list);
	pthread_mutex_destroy(&issues->lock);
}

void hw_issues_take(struct hw_issues *issues, struct hw_error *err)
{
	if (!err)
		return;
	pthread_mutex_lock(&issues->lock);
	if (issues->list.count >= HW_ISSUES_KEPT || !hw_vec_push(&issues->list, err)) {
		issues->dropped_count++;
		hw_error_destroy(err);
	}
	pthread_mutex_unlock(&issues->lock);
}

void hw_issues_add(struct hw_issues *issues, enum hw_error_code code, hw_addr_t addr,
		   const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	hw_issues_take(issues, hw_error_at(code, addr, "%s", text));
}
