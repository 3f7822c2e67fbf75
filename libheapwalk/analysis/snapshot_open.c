/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Opening a file as a snapshot. Its header is looked at before SQLite is, whose own words ("file is not
// a database") do not say what to do.
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "analysis/snapshot_read.h"
#include "base/cleanup.h"

// The database header, sqlite.org/fileformat2.html section 1.3; numbers are big-endian.
enum {
	HW_DB_HEADER_BYTES = 100,
	HW_DB_PAGE_SIZE = 16, // 2 bytes, 1 means 65536
	HW_DB_PAGE_COUNT = 28,
	HW_DB_USER_VERSION = 60,
	HW_DB_APPLICATION_ID = 68,
};
// A text or a run of a snapshot is far shorter, contents are HW_SNAPSHOT_CONTENT_BYTES_MAX.
enum { HW_DB_LENGTH_MAX = 2 * HW_SNAPSHOT_CONTENT_BYTES_MAX };

static uint32_t hw_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static struct hw_error *hw_header_check(const char *path, const uint8_t *header, size_t len,
					uint64_t file_bytes)
{
	static const char magic[16] = "SQLite format 3";
	size_t begun = len < sizeof(magic) ? len : sizeof(magic);
	if (!len || memcmp(header, magic, begun) != 0)
		return hw_error_create(HW_ERROR_INVALID,
				       "%s is no snapshot: it was not written by \"save\"", path);
	if (len < HW_DB_HEADER_BYTES)
		return hw_error_create(HW_ERROR_CORRUPT,
				       "%s is cut: it ends after %zu bytes, inside its header",
				       path, len);
	if (hw_be32(header + HW_DB_APPLICATION_ID) != HW_SNAPSHOT_APPLICATION_ID)
		return hw_error_create(
			HW_ERROR_INVALID,
			"%s is no snapshot: it is a SQLite database of something else", path);
	uint32_t schema = hw_be32(header + HW_DB_USER_VERSION);
	if (schema > HW_SNAPSHOT_SCHEMA)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "%s was written by a newer heapwalk: its schema is %u, and "
				       "heapwalk %s reads up to %d; use the newer one",
				       path, schema, hw_version(), HW_SNAPSHOT_SCHEMA);
	uint64_t page = (uint64_t)header[HW_DB_PAGE_SIZE] << 8 | header[HW_DB_PAGE_SIZE + 1];
	uint64_t whole = (page == 1 ? 65536 : page) * hw_be32(header + HW_DB_PAGE_COUNT);
	if (file_bytes < whole)
		return hw_error_create(HW_ERROR_CORRUPT, "%s is cut: it has %llu of its %llu bytes",
				       path, (unsigned long long)file_bytes,
				       (unsigned long long)whole);
	if (!hw_snapshot_tables((int)schema))
		return hw_error_create(HW_ERROR_CORRUPT, "%s is damaged: there is no schema %u",
				       path, schema);
	return NULL;
}

static struct hw_error *hw_header_read(const char *path, int *ret_schema)
{
	uint8_t header[HW_DB_HEADER_BYTES];
	struct stat st;
	// Not to wait for a FIFO's writer.
	hw_cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		return hw_error_os(errno, "can't read snapshot %s", path);
	if (!S_ISREG(st.st_mode))
		return hw_error_create(HW_ERROR_INVALID, "%s is no snapshot: it is no regular file",
				       path);
	ssize_t n = pread(fd, header, sizeof(header), 0);
	if (n < 0)
		return hw_error_os(errno, "can't read snapshot %s", path);
	HW_TRY(hw_header_check(path, header, (size_t)n, (uint64_t)st.st_size));
	*ret_schema = (int)hw_be32(header + HW_DB_USER_VERSION);
	return NULL;
}

// "file:PATH?immutable=1": SQLite then looks for no lock and no journal beside it.
static char *hw_uri(const char *path)
{
	static const char digits[] = "0123456789abcdef";
	hw_cleanup_free char *full = realpath(path, NULL);
	char *uri = full ? malloc(strlen(full) * 3 + 32) : NULL;
	if (!uri)
		return NULL;
	char *to = stpcpy(uri, "file://");
	for (const unsigned char *p = (const unsigned char *)full; *p; p++) {
		if (strchr("?#%", *p)) {
			*to++ = '%';
			*to++ = digits[*p >> 4];
			*to++ = digits[*p & 15];
		} else {
			*to++ = (char)*p;
		}
	}
	strcpy(to, "?immutable=1");
	return uri;
}

static void hw_db_distrust(const struct hw_db *db)
{
	static const int limits[][2] = {
		{ SQLITE_LIMIT_LENGTH, HW_DB_LENGTH_MAX },
		{ SQLITE_LIMIT_SQL_LENGTH, 1 << 16 },
		{ SQLITE_LIMIT_COLUMN, 100 },
		{ SQLITE_LIMIT_EXPR_DEPTH, 50 },
		{ SQLITE_LIMIT_ATTACHED, 0 },
		{ SQLITE_LIMIT_TRIGGER_DEPTH, 1 },
	};
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		sqlite3_limit(db->sqlite, limits[i][0], limits[i][1]);
}

// Each table that is read is there, and is the very one that heapwalk makes: no view in its place, no
// virtual table, no column that computes something.
static struct hw_error *hw_tables_check(struct hw_db *db, int schema)
{
	hw_cleanup_stmt sqlite3_stmt *stmt = NULL;
	HW_TRY(hw_db_prepare(db,
			     "SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?1 AND "
			     "tbl_name=?1 AND sql=?2",
			     &stmt));
	for (const struct hw_snapshot_table *table = hw_snapshot_tables(schema); table->name;
	     table++) {
		bool is_there = true;
		if (!table->is_read)
			continue;
		sqlite3_bind_text(stmt, 1, table->name, -1, SQLITE_STATIC);
		sqlite3_bind_text(stmt, 2, table->sql, -1, SQLITE_STATIC);
		HW_TRY(hw_db_step(db, stmt, &is_there));
		sqlite3_reset(stmt);
		if (!is_there)
			return hw_error_create(
				HW_ERROR_CORRUPT,
				"%s is damaged: its table %s is missing, or is not the "
				"one that heapwalk makes",
				db->name, table->name);
	}
	return NULL;
}

struct hw_error *hw_snapshot_open(const char *path, struct hw_progress *progress,
				  struct hw_snapshot **ret)
{
	int schema = 0;
	HW_TRY(hw_header_read(path, &schema));
	hw_cleanup_free char *uri = hw_uri(path);
	if (!uri)
		return errno == ENOMEM ? &hw_enomem
				       : hw_error_os(errno, "can't read snapshot %s", path);
	struct hw_db db = { .name = path, .progress = progress };
	HW_TRY(hw_db_open(&db, uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL));
	hw_db_distrust(&db);
	struct hw_error *err = hw_db_exec(&db, "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; "
					       "PRAGMA cache_size=-4096;");
	if (!err)
		err = hw_tables_check(&db, schema);
	if (err) {
		hw_db_close(&db);
		return err;
	}
	return hw_snapshot_load(&db, path, ret);
}
