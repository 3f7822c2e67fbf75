/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/snapshot_db.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

enum { HW_PROGRESS_STEPS = 100000 }; // of SQLite's virtual machine between looks at the progress

// The system's word for the failure, 0: there is none. SQLite keeps it in two places.
static int hw_db_errno(const struct hw_db *db)
{
	int os_errno = db->sqlite ? sqlite3_system_errno(db->sqlite) : 0;
	if (db->sqlite && !os_errno)
		sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_LAST_ERRNO, &os_errno);
	return os_errno;
}

// What SQLite's last call on it complains of, as a sentence. `code` is what that call returned.
static struct hw_error *hw_db_error(const struct hw_db *db, int code)
{
	int primary = code & 0xff;
	int os_errno = hw_db_errno(db);
	const char *verb = db->is_writing ? "can't write" : "can't read";
	switch (primary) {
	case SQLITE_NOMEM:
		return &hw_enomem;
	case SQLITE_INTERRUPT:
		return hw_error_create(HW_ERROR_INTERRUPTED, "interrupted while %s was %s",
				       db->name, db->is_writing ? "written" : "read");
	case SQLITE_FULL:
		return hw_error_os(os_errno ? os_errno : ENOSPC, "%s %s", verb, db->name);
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		if (!db->is_writing)
			return hw_error_create(HW_ERROR_CORRUPT, "%s is damaged: %s", db->name,
					       sqlite3_errstr(code));
		break;
	case SQLITE_IOERR:
	case SQLITE_CANTOPEN:
		if (os_errno)
			return hw_error_os(os_errno, "%s %s", verb, db->name);
		break;
	case SQLITE_ERROR: // of a file: tables or columns that are not there, expressions that fail
	case SQLITE_TOOBIG:
		if (!db->is_writing)
			return hw_error_create(HW_ERROR_CORRUPT, "%s is damaged: %s", db->name,
					       db->sqlite ? sqlite3_errmsg(db->sqlite)
							  : sqlite3_errstr(code));
		break;
	default:
		break;
	}
	return hw_error_create(HW_ERROR_OS, "%s %s: %s", verb, db->name,
			       db->sqlite ? sqlite3_errmsg(db->sqlite) : sqlite3_errstr(code));
}

static int hw_db_progress(void *payload)
{
	return hw_progress_poll(payload);
}

struct hw_error *hw_db_open(struct hw_db *db, const char *path, int flags, const char *vfs)
{
	int code = sqlite3_open_v2(path, &db->sqlite, flags | SQLITE_OPEN_NOMUTEX, vfs);
	if (code != SQLITE_OK) {
		struct hw_error *err = hw_db_error(db, code);
		hw_db_close(db);
		return err;
	}
	sqlite3_extended_result_codes(db->sqlite, 1);
	if (db->progress)
		sqlite3_progress_handler(db->sqlite, HW_PROGRESS_STEPS, hw_db_progress,
					 db->progress);
	return NULL;
}

void hw_db_close(struct hw_db *db)
{
	sqlite3_close(db->sqlite); // every statement is finalized by then
	db->sqlite = NULL;
}

struct hw_error *hw_db_exec(struct hw_db *db, const char *sql)
{
	int code = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
	return code == SQLITE_OK ? NULL : hw_db_error(db, code);
}

struct hw_error *hw_db_prepare(struct hw_db *db, const char *sql, sqlite3_stmt **ret)
{
	int code = sqlite3_prepare_v2(db->sqlite, sql, -1, ret, NULL);
	return code == SQLITE_OK ? NULL : hw_db_error(db, code);
}

struct hw_error *hw_db_step(struct hw_db *db, sqlite3_stmt *stmt, bool *ret_row)
{
	int code = sqlite3_step(stmt);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		return hw_db_error(db, code);
	*ret_row = code == SQLITE_ROW;
	return NULL;
}

static int hw_db_bind_text(sqlite3_stmt *stmt, int at, const char *text)
{
	return text ? sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC)
		    : sqlite3_bind_null(stmt, at);
}

static int hw_db_bind_number(sqlite3_stmt *stmt, int at, uint64_t number)
{
	return number <= INT64_MAX ? sqlite3_bind_int64(stmt, at, (int64_t)number)
				   : sqlite3_bind_null(stmt, at);
}

struct hw_error *hw_db_insert(struct hw_db *db, sqlite3_stmt *stmt, const char *kinds, ...)
{
	va_list ap;
	va_start(ap, kinds);
	int code = SQLITE_OK;
	for (int at = 1; *kinds && code == SQLITE_OK; at++, kinds++) {
		if (*kinds == 'i') {
			code = sqlite3_bind_int64(stmt, at, va_arg(ap, int64_t));
		} else if (*kinds == 'n') {
			code = hw_db_bind_number(stmt, at, va_arg(ap, uint64_t));
		} else if (*kinds == 't') {
			code = hw_db_bind_text(stmt, at, va_arg(ap, const char *));
		} else {
			const void *bytes = va_arg(ap, const void *);
			size_t len = va_arg(ap, size_t);
			code = sqlite3_bind_blob64(stmt, at, bytes, len, SQLITE_STATIC);
		}
	}
	va_end(ap);
	if (code == SQLITE_OK)
		code = sqlite3_step(stmt);
	struct hw_error *err = code == SQLITE_DONE ? NULL : hw_db_error(db, code);
	sqlite3_reset(stmt);
	sqlite3_clear_bindings(stmt);
	return err;
}
