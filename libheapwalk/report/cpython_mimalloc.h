/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `cpython-allocators` of a process whose objects are in CPython's mimalloc: heaps, segments, and pages by
// the size of their blocks.
#ifndef HW_REPORT_CPYTHON_MIMALLOC_H
#define HW_REPORT_CPYTHON_MIMALLOC_H

#include "report/report.h"

struct hw_mi_tables {
	struct hw_rows heaps, segments, sizes;
};

struct hw_error *hw_mi_tables_gather(const struct hw_session *session,
				     struct hw_mi_tables *ret) HW_MUST_USE;
void hw_mi_tables_deinit(struct hw_mi_tables *tables);
static inline bool hw_mi_tables_are_empty(const struct hw_mi_tables *tables)
{
	return !hw_rows_count(&tables->segments);
}

void hw_mi_tables_text(struct hw_report *report, const struct hw_mi_tables *tables);
// One table: segments, or sizes with `show classes`.
void hw_mi_tables_csv(struct hw_report *report, const struct hw_mi_tables *tables);
// NULL: no mimalloc.
struct json_object *hw_mi_tables_json(struct hw_report *report, const struct hw_mi_tables *tables);

#endif
