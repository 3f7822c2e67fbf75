/* SPDX-License-Identifier: LGPL-2.1-or-later */
// An open snapshot, shared by the files that read one.
#ifndef HW_ANALYSIS_SNAPSHOT_READ_H
#define HW_ANALYSIS_SNAPSHOT_READ_H

#include "analysis/snapshot_db.h"

struct hw_snapshot {
	struct hw_db db;
	char *name;
	struct hw_snapshot_info info;
	struct hw_strtab strings;
	HW_VEC(struct hw_snapshot_category) categories;
	HW_VEC(uint32_t) ids; // from the file's category ids to indexes; UINT32_MAX: none
	// By the width of the code; their `category` is an index.
	HW_VEC(struct hw_shape) shapes[HW_SNAPSHOT_CODE_BYTES_MAX + 1];
};

// Calls `row` for each row of the query's, until it fails.
typedef struct hw_error *hw_snapshot_row_fn(struct hw_snapshot *snapshot, sqlite3_stmt *stmt,
					    void *payload);
struct hw_error *hw_snapshot_rows(struct hw_snapshot *snapshot, const char *sql,
				  hw_snapshot_row_fn *row, void *payload) HW_MUST_USE;
// "NAME is damaged: WHAT"
struct hw_error *hw_snapshot_damage(const struct hw_snapshot *snapshot, const char *what);
// A column's text, interned; NULL: out of memory.
const char *hw_snapshot_text(struct hw_snapshot *snapshot, sqlite3_stmt *stmt, int column);
// False: it is no integer, or negative.
bool hw_snapshot_number(sqlite3_stmt *stmt, int column, uint64_t *ret);

#endif
