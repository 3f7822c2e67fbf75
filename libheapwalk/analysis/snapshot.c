/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Taking a snapshot: into a file that the user named, or into one without a name.
#include "analysis/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "analysis/census.h"
#include "analysis/snapshot_db.h"
#include "analysis/stats.h"
#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/new_file.h"

// A locking of its own is in the way: new_file.h locks, and a nameless file is nobody else's.
#define HW_VFS "unix-none"

// Nobody else may read it: types, texts and addresses of a process that they may not look at.
enum { HW_SNAPSHOT_MODE = 0600 };

static struct hw_error *hw_moment_free_lists(struct hw_moment *moment)
{
	const struct hw_python *python = &moment->session->python;
	size_t count = hw_max(python->interpreters.count, 1);
	for (size_t i = 0; python->module && i < count; i++) {
		struct hw_interpreter_lists each = { 0 };
		struct hw_error *err = hw_stats_free_lists(moment->session, i, &each.lists);
		if (python->interpreters.count)
			each.interpreter = hw_stats_interpreter_id(moment->session, i);
		if (!err && !hw_vec_push(&moment->free_lists, each))
			err = &hw_enomem;
		if (err) {
			// What can't be read is not known: the rest is.
			hw_free_lists_deinit(&each.lists);
			each.lists = (struct hw_free_lists){ 0 };
			if (!hw_error_catch(&err, HW_ERROR_FAULT))
				return err;
			if (!hw_vec_push(&moment->free_lists, each))
				return &hw_enomem;
		}
	}
	return NULL;
}

static struct hw_error *hw_moment_modules(struct hw_moment *moment)
{
	struct hw_session *session = moment->session;
	struct hw_pages pages;
	size_t count;
	const struct hw_census_row *census = hw_heap_census(session->heap, &count);
	bool ok = true;
	hw_pages_init(&pages, session->target);
	for (size_t i = 0; ok && i < count; i++)
		ok = hw_vec_push(&moment->modules,
				 hw_census_module(session->heap, census[i].category, &pages,
						  &moment->strings));
	hw_pages_deinit(&pages);
	return ok ? NULL : &hw_enomem;
}

static struct hw_error *hw_moment_make(struct hw_moment *moment)
{
	struct hw_session *session = moment->session;
	HW_TRY(hw_session_need_heap(session));
	// With what it lacks written down; but an interrupted table is none.
	if (hw_heap_is_partial(session->heap))
		return hw_session_shortfall(session);
	HW_TRY(hw_moment_modules(moment));
	return hw_moment_free_lists(moment);
}

// The table of now, with what is read beside it in the same stop. When it succeeds and contents are
// wanted the target is still stopped: hw_moment_deinit() lets it go.
static struct hw_error *hw_moment_take(struct hw_session *session, uint64_t content_bytes,
				       struct hw_moment *ret)
{
	*ret = (struct hw_moment){ .session = session, .content_bytes = content_bytes };
	hw_strtab_init(&ret->strings);
	// It has run on since an earlier walk, unless somebody else keeps it stopped.
	if (session->has_allocators && session->target->ops->is_live && !session->options.no_stop)
		hw_session_invalidate(session);
	HW_TRY(hw_session_stop(session));
	struct hw_error *err = hw_moment_make(ret);
	ret->is_stopped = !err && content_bytes;
	if (!ret->is_stopped)
		hw_session_resume(session);
	return err;
}

static void hw_moment_deinit(struct hw_moment *moment)
{
	if (moment->is_stopped)
		hw_session_resume(moment->session);
	hw_vec_foreach(each, &moment->free_lists) hw_free_lists_deinit(&each->lists);
	hw_vec_deinit(&moment->free_lists);
	hw_vec_deinit(&moment->modules);
	hw_strtab_deinit(&moment->strings);
}

static struct hw_error *hw_snapshot_fill(const struct hw_moment *moment, const char *path,
					 const char *name, uint64_t *ret_blocks)
{
	struct hw_db db = { .name = name, .is_writing = true };
	HW_TRY(hw_db_open(&db, path, SQLITE_OPEN_READWRITE, HW_VFS));
	struct hw_error *err = hw_snapshot_write(moment, &db, ret_blocks);
	hw_db_close(&db);
	return err;
}

struct hw_error *hw_snapshot_save(struct hw_session *session, const char *path,
				  uint64_t content_bytes, struct hw_snapshot_written *ret)
{
	// What can't be written to is found out before the process is stopped.
	struct hw_new_file file;
	struct hw_moment moment;
	struct hw_snapshot_written written;
	struct stat st;
	HW_TRY(hw_new_file_open_locked(path, HW_SNAPSHOT_MODE, &file));
	struct hw_error *err = hw_moment_take(session, content_bytes, &moment);
	if (!err)
		err = hw_snapshot_fill(&moment, file.temporary, file.path, &written.blocks);
	hw_moment_deinit(&moment);
	if (!err && fstat(file.fd, &st))
		err = hw_error_os(errno, "can't write to %s", file.path);
	if (err) {
		hw_new_file_discard(&file);
		return err;
	}
	written.file_bytes = (uint64_t)st.st_size;
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

static struct hw_error *hw_snapshot_take_to(const struct hw_moment *moment, struct hw_db *db)
{
	hw_cleanup_free char *directory = NULL, *words = NULL;
	uint64_t blocks;
	HW_TRY(hw_temporary_open(db, &directory));
	if (asprintf(&words, "a temporary snapshot in %s", directory) < 0) {
		words = NULL;
		return &hw_enomem;
	}
	db->name = words;
	return hw_snapshot_write(moment, db, &blocks);
}

struct hw_error *hw_snapshot_take(struct hw_session *session, const char *name,
				  struct hw_snapshot **ret)
{
	struct hw_moment moment;
	struct hw_db db = { .name = "a temporary snapshot", .is_writing = true };
	struct hw_error *err = hw_moment_take(session, 0, &moment);
	if (!err)
		err = hw_snapshot_take_to(&moment, &db);
	hw_moment_deinit(&moment);
	if (err) {
		hw_db_close(&db);
		return err;
	}
	db.is_writing = false;
	// A label is kept for long: what was needed to write it is not.
	err = hw_db_exec(&db, "PRAGMA cache_size=-2048");
	sqlite3_db_release_memory(db.sqlite);
	if (err) {
		hw_db_close(&db);
		return err;
	}
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
