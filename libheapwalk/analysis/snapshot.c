/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Taking a snapshot: into a file that the user named, or into one without a name.
#include "analysis/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "analysis/snapshot_db.h"
#include "base/cleanup.h"
#include "base/new_file.h"

// A locking of its own is in the way: new_file.h locks, and a nameless file is nobody else's.
#define HW_VFS "unix-none"

// Nobody else may read it: types, texts and addresses of a process that they may not look at.
enum { HW_SNAPSHOT_MODE = 0600 };

// The table, whole or with what it lacks written down; an interrupted one is no snapshot.
static struct hw_error *hw_snapshot_need(struct hw_session *session)
{
	HW_TRY(hw_session_need_heap(session));
	return hw_heap_is_partial(session->heap) ? hw_session_shortfall(session) : NULL;
}

static struct hw_error *hw_snapshot_fill(struct hw_session *session, const char *path,
					 const char *name, uint64_t content_bytes,
					 uint64_t *ret_blocks)
{
	struct hw_db db = { .name = name, .is_writing = true };
	HW_TRY(hw_db_open(&db, path, SQLITE_OPEN_READWRITE, HW_VFS));
	struct hw_error *err = hw_snapshot_write(session, &db, content_bytes, ret_blocks);
	hw_db_close(&db);
	return err;
}

static struct hw_error *hw_snapshot_save_to(struct hw_session *session, struct hw_new_file *file,
					    uint64_t content_bytes, struct hw_snapshot_written *ret)
{
	HW_TRY(hw_snapshot_need(session));
	HW_TRY(hw_snapshot_fill(session, file->temporary, file->path, content_bytes, &ret->blocks));
	struct stat st;
	if (fstat(file->fd, &st))
		return hw_error_os(errno, "can't write to %s", file->path);
	ret->file_bytes = (uint64_t)st.st_size;
	return NULL;
}

struct hw_error *hw_snapshot_save(struct hw_session *session, const char *path,
				  uint64_t content_bytes, struct hw_snapshot_written *ret)
{
	// What can't be written to is found out before the process is stopped.
	struct hw_new_file file;
	struct hw_snapshot_written written;
	HW_TRY(hw_new_file_open_locked(path, HW_SNAPSHOT_MODE, &file));
	// Only contents are read while it is written: what is held longer than the walk is the process.
	struct hw_error *err = content_bytes ? hw_session_stop(session) : NULL;
	if (!err) {
		err = hw_snapshot_save_to(session, &file, content_bytes, &written);
		if (content_bytes)
			hw_session_resume(session);
	}
	if (err) {
		hw_new_file_discard(&file);
		return err;
	}
	HW_TRY(hw_new_file_commit(&file, true));
	*ret = written;
	return NULL;
}

// An empty file that has no name as soon as SQLite has it open.
static struct hw_error *hw_temporary_open(struct hw_db *db, char **ret_directory)
{
	const char *directory = getenv("TMPDIR");
	hw_cleanup_free char *path = NULL;
	if (!directory || !*directory)
		directory = "/tmp";
	if (asprintf(&path, "%s/heapwalk-XXXXXX", directory) < 0) {
		path = NULL;
		return &hw_enomem;
	}
	hw_cleanup_close int fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return hw_error_os(errno, "can't make a temporary file in %s", directory);
	*ret_directory = strdup(directory);
	struct hw_error *err = *ret_directory ? hw_db_open(db, path, SQLITE_OPEN_READWRITE, HW_VFS)
					      : &hw_enomem;
	// SQLite opens a database when it is first read.
	if (!err)
		err = hw_db_exec(db, "PRAGMA schema_version");
	unlink(path);
	return err;
}

struct hw_error *hw_snapshot_take(struct hw_session *session, const char *name,
				  struct hw_snapshot **ret)
{
	hw_cleanup_free char *directory = NULL, *words = NULL;
	uint64_t blocks;
	struct hw_db db = { .name = "a temporary snapshot", .is_writing = true };
	HW_TRY(hw_snapshot_need(session));
	struct hw_error *err = hw_temporary_open(&db, &directory);
	if (!err && asprintf(&words, "a temporary snapshot in %s", directory) < 0) {
		words = NULL;
		err = &hw_enomem;
	}
	if (!err) {
		db.name = words;
		err = hw_snapshot_write(session, &db, 0, &blocks);
	}
	if (err) {
		hw_db_close(&db);
		return err;
	}
	db.is_writing = false;
	return hw_snapshot_load(&db, name, ret);
}

// ---- labels ----

static struct hw_label *hw_label_find(const struct hw_session *session, const char *name)
{
	if (!session->labels)
		return NULL;
	hw_vec_foreach(label, &session->labels->list)
	{
		if (!strcmp(label->name, name))
			return label;
	}
	return NULL;
}

static void hw_label_deinit(struct hw_label *label)
{
	free(label->name);
	hw_snapshot_close(label->snapshot);
}

static struct hw_error *hw_label_push(struct hw_session *session, struct hw_label label)
{
	if (!session->labels)
		session->labels = calloc(1, sizeof(*session->labels));
	if (!label.name || !session->labels || !hw_vec_push(&session->labels->list, label)) {
		hw_label_deinit(&label);
		return &hw_enomem;
	}
	return NULL;
}

struct hw_error *hw_session_label(struct hw_session *session, const char *name, bool *ret_replaced)
{
	struct hw_label label = { .name = strdup(name) };
	struct hw_error *err = label.name ? hw_snapshot_take(session, name, &label.snapshot)
					  : &hw_enomem;
	if (err) {
		free(label.name);
		return err;
	}
	struct hw_label *old = hw_label_find(session, name);
	*ret_replaced = old != NULL;
	if (old) {
		struct hw_labels *labels = session->labels;
		hw_label_deinit(old);
		memmove(old, old + 1,
			(size_t)(labels->list.data + labels->list.count - old - 1) * sizeof(*old));
		labels->list.count--;
	}
	return hw_label_push(session, label);
}

struct hw_snapshot *hw_session_find_label(const struct hw_session *session, const char *name)
{
	const struct hw_label *label = hw_label_find(session, name);
	return label ? label->snapshot : NULL;
}

void hw_labels_destroy(struct hw_labels *labels)
{
	if (!labels)
		return;
	hw_vec_foreach(label, &labels->list) hw_label_deinit(label);
	hw_vec_deinit(&labels->list);
	free(labels);
}
