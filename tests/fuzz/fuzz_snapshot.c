/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A snapshot from a stranger, read to its end.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "analysis/snapshot.h"
#include "patches.h"

// SQLite opens by name, and follows links: a file of a file system, of one in memory where there is one.
static char path[] = "/dev/shm/heapwalk-fuzz-XXXXXX";

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
	struct hw_snapshot *snapshot = NULL;
	struct hw_progress progress = { 0 };
	if (path[strlen(path) - 1] == 'X')
		make_file();
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	close(fd);
	struct hw_error *err = hw_snapshot_open(path, &progress, &snapshot);
	if (!err)
		err = read_all(snapshot);
	if (err && !*hw_error_message(err))
		abort();
	hw_error_destroy(err);
	hw_snapshot_close(snapshot);
	return 0;
}
