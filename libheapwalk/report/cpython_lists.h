/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `cpython-allocators -lists`: the lists of obmalloc as the allocator follows them.
#ifndef HW_REPORT_CPYTHON_LISTS_H
#define HW_REPORT_CPYTHON_LISTS_H

#include "report/report.h"

struct hw_list_row {
	uint32_t state;      // index of the obmalloc state
	const char *list;    // "usedpools", "freepools", "usable_arenas", "unused_arena_objects"
	hw_addr_t arena;     // of freepools: the arena object
	uint32_t size_class; // of usedpools
	uint64_t position;   // 0: the one that the allocator takes first
	hw_addr_t address;   // of the pool or the arena object
	uint64_t value;      // usedpools: blocks in use; usable_arenas: free pools
};

enum { HW_LIST_ROWS_MAX = 1 << 20 };

struct hw_pyarena_lists {
	HW_VEC(struct hw_list_row) rows;
	bool is_damaged;                    // a list ends before its end: an issue says where
	uint64_t left_out;                  // beyond HW_LIST_ROWS_MAX
	HW_VEC(struct hw_list_row) unknown; // lists whose beginning nothing tells: state and list
};

// Of all states. The target is stopped by the caller; damage becomes issues.
struct hw_error *hw_pyarena_lists_gather(struct hw_session *session,
					 struct hw_pyarena_lists *ret) HW_MUST_USE;
void hw_pyarena_lists_deinit(struct hw_pyarena_lists *lists);

void hw_pyarena_lists_text(struct hw_report *report, const struct hw_pyarena_lists *lists,
			   uint32_t state);
void hw_pyarena_lists_csv(struct hw_report *report, const struct hw_pyarena_lists *lists);
// Adds "lists" and "lists_unknown" to an interpreter's object.
void hw_pyarena_lists_json(struct hw_report *report, const struct hw_pyarena_lists *lists,
			   uint32_t state, struct json_object *object);

#endif
