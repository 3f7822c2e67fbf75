/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/new_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"

enum { HW_NEW_FILE_TRIES = 100 };

static struct hw_error *hw_new_file_error(const struct hw_new_file *file, int os_errno)
{
	return hw_error_os(os_errno, "can't write to %s", file->path);
}

// Where the name leads, and what is there: `*ret` has st_mode 0 when nothing is.
static struct hw_error *hw_new_file_begin(const char *path, struct hw_new_file *file,
					  struct stat *ret)
{
	*file = (struct hw_new_file){ .fd = -1, .path = strdup(path) };
	*ret = (struct stat){ .st_mode = 0 };
	if (!file->path)
		return &hw_enomem;
	if (stat(path, ret)) {
		if (errno != ENOENT)
			return hw_new_file_error(file, errno);
		ret->st_mode = 0;
		file->final = strdup(path);
		return file->final ? NULL : &hw_enomem;
	}
	if (S_ISDIR(ret->st_mode))
		return hw_new_file_error(file, EISDIR);
	if (!S_ISREG(ret->st_mode))
		return hw_error_create(HW_ERROR_INVALID, "can't write to %s: it is no regular file",
				       path);
	if (access(path, W_OK))
		return hw_new_file_error(file, errno);
	file->final = realpath(path, NULL);
	return file->final ? NULL : hw_new_file_error(file, errno);
}

static void hw_new_file_take_mode(const struct hw_new_file *file, const struct stat *replaced)
{
	if (replaced->st_mode)
		(void)!fchmod(file->fd, replaced->st_mode & 0777);
}

static struct hw_error *hw_new_file_create(struct hw_new_file *file, mode_t mode)
{
	int os_errno = EEXIST;
	for (int i = 0; i < HW_NEW_FILE_TRIES && os_errno == EEXIST; i++) {
		free(file->temporary);
		if (asprintf(&file->temporary, "%s.%d-%d.part", file->final, (int)getpid(), i) <
		    0) {
			file->temporary = NULL;
			return &hw_enomem;
		}
		file->fd = open(file->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
		if (file->fd >= 0)
			return NULL;
		os_errno = errno;
	}
	return hw_new_file_error(file, os_errno);
}

struct hw_error *hw_new_file_open(const char *path, mode_t mode, struct hw_new_file *ret)
{
	struct hw_new_file file;
	struct stat replaced;
	struct hw_error *err = hw_new_file_begin(path, &file, &replaced);
	if (!err)
		err = hw_new_file_create(&file, mode);
	if (err) {
		hw_new_file_discard(&file);
		return err;
	}
	hw_new_file_take_mode(&file, &replaced);
	*ret = file;
	return NULL;
}

// Opens and locks the temporary file. `*ret_again`: the writer before has just given it its name.
static struct hw_error *hw_new_file_lock(struct hw_new_file *file, mode_t mode, bool *ret_again)
{
	struct stat opened, named;
	*ret_again = false;
	// Somebody may have put a link there, in a directory that is everybody's.
	file->fd = open(file->temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, mode);
	if (file->fd < 0)
		return hw_new_file_error(file, errno);
	if (fstat(file->fd, &opened))
		return hw_new_file_error(file, errno);
	if (!S_ISREG(opened.st_mode) || opened.st_uid != geteuid() || opened.st_nlink > 1)
		return hw_error_create(HW_ERROR_OS,
				       "can't write to %s: %s, which it is written to first, is "
				       "there already and is not ours; remove it",
				       file->path, file->temporary);
	if (flock(file->fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK)
			return hw_new_file_error(file, errno);
		return hw_error_create(HW_ERROR_OS,
				       "can't write to %s: another heapwalk is writing it just "
				       "now (%s is locked)",
				       file->path, file->temporary);
	}
	*ret_again = stat(file->temporary, &named) || named.st_ino != opened.st_ino ||
		     named.st_dev != opened.st_dev;
	return NULL;
}

struct hw_error *hw_new_file_open_locked(const char *path, mode_t mode, struct hw_new_file *ret)
{
	struct hw_new_file file;
	struct stat replaced;
	struct hw_error *err = hw_new_file_begin(path, &file, &replaced);
	if (!err && asprintf(&file.temporary, "%s.part", file.final) < 0) {
		file.temporary = NULL;
		err = &hw_enomem;
	}
	bool again = true;
	for (int i = 0; !err && again && i < HW_NEW_FILE_TRIES; i++) {
		if (file.fd >= 0)
			close(file.fd);
		err = hw_new_file_lock(&file, mode, &again);
	}
	if (!err && again)
		err = hw_new_file_error(&file, EBUSY);
	if (err) {
		// It is not ours to remove.
		free(file.temporary);
		file.temporary = NULL;
	} else if (ftruncate(file.fd, 0)) {
		err = hw_new_file_error(&file, errno);
	}
	if (err) {
		hw_new_file_discard(&file);
		return err;
	}
	hw_new_file_take_mode(&file, &replaced);
	*ret = file;
	return NULL;
}

// The directory's own entry, so that the name survives a crash. Not every file system can.
static void hw_new_file_sync_directory(const struct hw_new_file *file)
{
	const char *slash = strrchr(file->final, '/');
	size_t len = !slash ? 1 : slash == file->final ? 1 : (size_t)(slash - file->final);
	hw_cleanup_free char *name = strndup(slash ? file->final : ".", len);
	hw_cleanup_close int fd = name ? open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd >= 0)
		(void)!fsync(fd);
}

struct hw_error *hw_new_file_commit(struct hw_new_file *file, bool durable)
{
	struct hw_error *err = NULL;
	if (durable && fsync(file->fd) && errno != EINVAL)
		err = hw_new_file_error(file, errno);
	if (!err && rename(file->temporary, file->final))
		err = hw_new_file_error(file, errno);
	if (!err) {
		free(file->temporary);
		file->temporary = NULL;
		if (durable)
			hw_new_file_sync_directory(file);
		// Some file systems tell only now what they could not store; the name is taken by then.
		int fd = file->fd;
		file->fd = -1;
		if (close(fd) && errno != EINTR)
			err = hw_new_file_error(file, errno);
	}
	hw_new_file_discard(file);
	return err;
}

void hw_new_file_discard(struct hw_new_file *file)
{
	if (file->temporary)
		unlink(file->temporary);
	if (file->fd >= 0)
		close(file->fd);
	free(file->temporary);
	free(file->final);
	free(file->path);
	*file = (struct hw_new_file){ .fd = -1 };
}
