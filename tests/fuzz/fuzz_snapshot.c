/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A snapshot from a stranger, read to its end. An input that begins as a database does is one; any other is words to
// be written over one that "save" has just made of the forged process, so that it never is of an older schema.
#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include "patches.h"
#include "world.h"

#include "analysis/snapshot.h"

enum { BASE_BYTES_MAX = 1 << 18 };

// SQLite opens by name, and follows links: a file of a file system, of one in memory where there is one.
static char path[] = "/dev/shm/heapwalk-fuzz-XXXXXX";
static uint8_t base[BASE_BYTES_MAX];
static size_t base_bytes;

static void remove_file(void)
{
	unlink(path);
}

static void make_file(void)
{
	int fd = mkstemp(path);
	if (fd < 0) {
		snprintf(path, sizeof(path), "/tmp/heapwalk-fuzz-XXXXXX");
		fd = mkstemp(path);
	}
	if (fd < 0 || close(fd) || atexit(remove_file))
		abort();
}

static bool swallow(void *payload, const char *text, size_t len)
{
	(void)payload;
	(void)text;
	(void)len;
	return true;
}

// What "save" writes, with small pages: a fuzzer's inputs are small.
static void make_base(void)
{
	struct hw_session *session = NULL;
	struct hw_output out = { .write = swallow };
	const char *const words[] = { "save", path, "--contents", "16" };
	sqlite3 *database;
	make_world();
	struct hw_error *err = open_session(FLAVOURS - 2, false, true, &session);
	if (!err)
		err = hw_session_run(session, HW_OPTION_STYLE_GNU, 4, words, &out);
	if (err && hw_error_code(err) != HW_ERROR_PARTIAL) {
		fprintf(stderr, "%s\n", hw_error_message(err));
		abort();
	}
	hw_error_destroy(err);
	hw_session_close(session);
	if (sqlite3_open(path, &database) ||
	    sqlite3_exec(database, "PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM;",
			 NULL, NULL, NULL) ||
	    sqlite3_close(database))
		abort();
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, base, sizeof(base));
	if (got <= 0 || got == sizeof(base))
		abort();
	base_bytes = (size_t)got;
	close(fd);
}

static void write_file(const uint8_t *bytes, size_t size)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		abort();
	close(fd);
}

static struct hw_error *read_all(struct hw_snapshot *snapshot)
{
	struct hw_snapshot_cursor *cursor;
	struct hw_snapshot_block block;
	struct hw_snapshot_pymalloc pymalloc;
	struct hw_snapshot_free_lists lists = { 0 };
	bool is_end = false;
	HW_TRY(hw_snapshot_cursor_open(snapshot, &cursor));
	struct hw_error *err = NULL;
	while (!err && !is_end) {
		err = hw_snapshot_cursor_next(cursor, &block, &is_end);
		if (!err && !is_end && block.category >= hw_snapshot_category_count(snapshot))
			abort();
	}
	hw_snapshot_cursor_close(cursor);
	if (!err)
		err = hw_snapshot_read_pymalloc(snapshot, &pymalloc);
	if (!err)
		err = hw_snapshot_read_free_lists(snapshot, &lists);
	hw_vec_deinit(&lists.list);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t words[] = { 0, 1, 0x7f, 0x80, 0x81ff, UINT32_MAX, UINT64_MAX };
	struct hw_snapshot *snapshot = NULL;
	struct hw_progress progress = { 0 };
	if (!base_bytes) {
		make_file();
		make_base();
	}
	bool is_whole = size >= 6 && !memcmp(data, "SQLite", 6);
	if (!is_whole)
		patch_apply(base, base_bytes, words, sizeof(words) / sizeof(*words), data, size);
	write_file(is_whole ? data : base, is_whole ? size : base_bytes);
	struct hw_error *err = hw_snapshot_open(path, &progress, &snapshot);
	if (!err)
		err = read_all(snapshot);
	if (err && !*hw_error_message(err))
		abort();
	// Nothing was written over: it is read to its end.
	if (err && !is_whole && size < PATCH_BYTES) {
		fprintf(stderr, "%s\n", hw_error_message(err));
		abort();
	}
	hw_error_destroy(err);
	hw_snapshot_close(snapshot);
	patch_undo();
	return 0;
}
