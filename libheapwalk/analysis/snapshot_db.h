/* SPDX-License-Identifier: LGPL-2.1-or-later */
// SQLite as snapshots use it: the schema, and calls whose failures are sentences. Only the snapshot's
// own files include this.
#ifndef HW_ANALYSIS_SNAPSHOT_DB_H
#define HW_ANALYSIS_SNAPSHOT_DB_H

#include <sqlite3.h>

#include "analysis/snapshot.h"
#include "cpython/free_lists.h"

enum {
	HW_SNAPSHOT_APPLICATION_ID = 0x6877736e, // "hwsn"
	HW_SNAPSHOT_SCHEMA = 1,                  // user_version: what this heapwalk writes
	HW_SNAPSHOT_RUN_BLOCKS = 1024,
	HW_SNAPSHOT_CODE_BYTES_MAX = 3,
};

// What a block looks like: a run has a code for each of its blocks, the index of one of these.
struct hw_shape {
	uint64_t size_bytes;
	uint32_t category;
	enum hw_allocator allocator;
};

// The words of hw_allocator_word() back; false: none of them.
bool hw_allocator_find(const char *word, enum hw_allocator *ret);

struct hw_db {
	sqlite3 *sqlite;
	const char *name; // what messages call it; borrowed
	bool is_writing;
	struct hw_progress *progress; // may be NULL; borrowed
};

struct hw_error *hw_db_open(struct hw_db *db, const char *path, int flags,
			    const char *vfs) HW_MUST_USE;
void hw_db_close(struct hw_db *db);
struct hw_error *hw_db_exec(struct hw_db *db, const char *sql) HW_MUST_USE;
struct hw_error *hw_db_prepare(struct hw_db *db, const char *sql, sqlite3_stmt **ret) HW_MUST_USE;
// `*ret_row` false: there is no further row.
struct hw_error *hw_db_step(struct hw_db *db, sqlite3_stmt *stmt, bool *ret_row) HW_MUST_USE;

// Binds, in order: i int64_t; n uint64_t (NULL when SQLite's integers can't hold it); t const char *
// (borrowed for the call; NULL: NULL); b const void *, size_t. Then runs the statement, for another go.
struct hw_error *hw_db_insert(struct hw_db *db, sqlite3_stmt *stmt, const char *kinds,
			      ...) HW_MUST_USE;

static inline void hw_stmt_cleanup(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}
#define hw_cleanup_stmt __attribute__((cleanup(hw_stmt_cleanup)))

// The statements that make the tables of a schema, in order, ended by NULL; NULL: no such schema.
// `is_read` tables are read back by hw_snapshot_open(), so theirs are checked to be these very ones.
struct hw_snapshot_table {
	const char *name, *sql;
	bool is_read;
};
const struct hw_snapshot_table *hw_snapshot_tables(int schema);

// What is written, all of one stop.
struct hw_interpreter_lists {
	int64_t interpreter;
	struct hw_free_lists lists;
};
struct hw_moment {
	struct hw_session *session; // its heap is made
	HW_VEC(struct hw_interpreter_lists) free_lists;
	HW_VEC(const char *) modules; // by row of hw_heap_census(); in `strings` or the heap
	struct hw_strtab strings;
	uint64_t content_bytes;
	bool is_stopped; // the target, for its contents
};

// snapshot_write.c: all of the session's table into an empty database.
struct hw_error *hw_snapshot_write(const struct hw_moment *moment, struct hw_db *db,
				   uint64_t *ret_blocks) HW_MUST_USE;
// snapshot_read.c: takes the open database, whatever comes of it.
struct hw_error *hw_snapshot_load(struct hw_db *db, const char *name,
				  struct hw_snapshot **ret) HW_MUST_USE;

#endif
