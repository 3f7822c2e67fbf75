/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "target/unpack_codecs.h"

enum {
	HW_UNPACK_IN_BYTES = 128 << 10,
	HW_UNPACK_OUT_BYTES = 1 << 20,
	HW_UNPACK_HOLE_BYTES = 4096,
	HW_UNPACK_IN_MEMORY_BYTES = 64 << 20, // a larger core goes to a file
};

const char *hw_unpack_format(const uint8_t *bytes, size_t len)
{
	const struct hw_codec *codec = hw_codec_find(bytes, len);
	return codec ? codec->name : NULL;
}

// ---- where the bytes go ----

struct hw_unpack_store {
	int fd;
	bool is_file;          // not memory
	const char *place;     // for messages; borrowed
	uint64_t size, stored; // bytes with and without holes
};

static const char *hw_unpack_directory(void)
{
	const char *directory = secure_getenv("TMPDIR");
	return directory && *directory ? directory : "/var/tmp"; // /tmp is often memory
}

// A file without a name: whatever ends this program, it goes.
static int hw_unpack_temporary(const char *directory)
{
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	hw_cleanup_free char *name = NULL; // a file system that knows no O_TMPFILE
	if (asprintf(&name, "%s/heapwalk-XXXXXX", directory) < 0) {
		name = NULL;
		return -1;
	}
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

static bool hw_is_zero(const uint8_t *bytes, size_t len)
{
	return !len || (!*bytes && !memcmp(bytes, bytes + 1, len - 1));
}

static bool hw_write_at(int fd, const uint8_t *bytes, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, bytes, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
		at += (size_t)n;
	}
	return true;
}

// Appends. False: errno says why. All but the last are whole pages.
static bool hw_unpack_append(struct hw_unpack_store *store, const uint8_t *bytes, size_t len)
{
	for (size_t at = 0, to; at < len; at = to) {
		bool is_hole = false;
		for (to = at; to < len; to += hw_min(HW_UNPACK_HOLE_BYTES, len - to)) {
			bool is_zero = hw_is_zero(bytes + to,
						  hw_min(HW_UNPACK_HOLE_BYTES, len - to));
			if (to == at)
				is_hole = is_zero;
			else if (is_zero != is_hole)
				break;
		}
		if (is_hole)
			continue;
		if (!hw_write_at(store->fd, bytes + at, to - at, store->size + at))
			return false;
		store->stored += to - at;
	}
	store->size += len;
	return true;
}

// Out of memory, into a file.
static bool hw_unpack_move(struct hw_unpack_store *store, uint8_t *buffer)
{
	struct hw_unpack_store file = { .is_file = true, .place = hw_unpack_directory() };
	store->place = file.place;
	file.fd = hw_unpack_temporary(file.place);
	if (file.fd < 0)
		return false;
	while (file.size < store->size) {
		size_t len = hw_min(HW_UNPACK_OUT_BYTES, store->size - file.size);
		// Beyond the last page that was written is a hole that the file does not have yet.
		memset(buffer, 0, len);
		if (pread(store->fd, buffer, len, (off_t)file.size) < 0 ||
		    !hw_unpack_append(&file, buffer, len)) {
			int os_errno = errno;
			close(file.fd);
			errno = os_errno;
			return false;
		}
	}
	close(store->fd);
	*store = file;
	return true;
}

static struct hw_error *hw_unpack_no_room(const struct hw_unpack_store *store, const char *path,
					  int os_errno)
{
	if (os_errno == ENOSPC || os_errno == EDQUOT || os_errno == EFBIG)
		return hw_error_create(
			HW_ERROR_OS,
			"can't unpack core %s: %s has no room for it (%llu bytes were "
			"written): set TMPDIR to a directory that has",
			path, store->place, (unsigned long long)store->stored);
	return hw_error_os(os_errno, "can't unpack core %s to %s (TMPDIR chooses the directory)",
			   path, store->place);
}

// ---- the stream ----

struct hw_unpack_run {
	const struct hw_codec *codec;
	void *state;
	int fd;
	uint64_t size, taken; // of the compressed file
	const char *path;
	struct hw_progress *progress; // may be NULL
	uint8_t *in, *out;
	struct hw_unpack_buffers buffers;
	bool is_at_end; // between two streams
};

static bool hw_unpack_refill(struct hw_unpack_run *run)
{
	while (!run->buffers.in_len && run->taken < run->size) {
		ssize_t n = pread(run->fd, run->in, HW_UNPACK_IN_BYTES, (off_t)run->taken);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false; // an error of the disk, or shorter than it was
		run->taken += (uint64_t)n;
		run->buffers.in = run->in;
		run->buffers.in_len = (size_t)n;
	}
	return true;
}

// One full buffer, or what is left. *ret: GOES_ON when there is more, AT_END when that was all of it.
static enum hw_unpack_result hw_unpack_fill(struct hw_unpack_run *run)
{
	struct hw_unpack_buffers *buffers = &run->buffers;
	buffers->out = run->out;
	buffers->out_len = HW_UNPACK_OUT_BYTES;
	while (buffers->out_len) {
		size_t room = buffers->out_len;
		if (!hw_unpack_refill(run))
			return HW_UNPACK_DAMAGED;
		for (; run->is_at_end && buffers->in_len && !*buffers->in; buffers->in_len--)
			buffers->in++; // padding
		if (!buffers->in_len && run->is_at_end) {
			if (run->taken == run->size)
				return HW_UNPACK_AT_END;
			continue;
		}
		size_t had = buffers->in_len;
		enum hw_unpack_result result = run->codec->step(run->state, buffers);
		run->is_at_end = result == HW_UNPACK_AT_END;
		if (result != HW_UNPACK_AT_END && result != HW_UNPACK_GOES_ON)
			return result;
		// It takes nothing and gives nothing: it wants more than there is.
		if (result == HW_UNPACK_GOES_ON && had == buffers->in_len &&
		    room == buffers->out_len)
			return HW_UNPACK_GOES_ON;
	}
	return HW_UNPACK_GOES_ON;
}

static struct hw_error *hw_unpack_refuse(const struct hw_unpack_run *run,
					 enum hw_unpack_result result)
{
	switch (result) {
	case HW_UNPACK_NO_MEMORY:
		return &hw_enomem;
	case HW_UNPACK_TOO_DEAR:
		return hw_error_create(
			HW_ERROR_UNSUPPORTED,
			"core %s wants more than %d MB of memory to be unpacked (%s): "
			"unpack it first with '%s'",
			run->path, HW_UNPACK_MEMORY_BYTES >> 20, run->codec->name,
			run->codec->tool);
	default:
		return NULL;
	}
}

static struct hw_error *hw_unpack_stream(struct hw_unpack_run *run, struct hw_unpack_store *store,
					 char **ret_shortfall)
{
	for (;;) {
		enum hw_unpack_result result = hw_unpack_fill(run);
		size_t got = HW_UNPACK_OUT_BYTES - run->buffers.out_len;
		HW_TRY(hw_unpack_refuse(run, result));
		if (!hw_unpack_append(store, run->out, got))
			return hw_unpack_no_room(store, run->path, errno);
		if (!store->is_file && store->stored > HW_UNPACK_IN_MEMORY_BYTES &&
		    !hw_unpack_move(store, run->out))
			return hw_unpack_no_room(store, run->path, errno);
		if (run->progress) {
			atomic_store(&run->progress->done, run->taken);
			if (hw_progress_poll(run->progress))
				return hw_error_create(HW_ERROR_INTERRUPTED,
						       "interrupted while core %s was unpacked",
						       run->path);
		}
		if (result == HW_UNPACK_AT_END)
			return NULL;
		if (result == HW_UNPACK_GOES_ON && !run->buffers.out_len)
			continue;
		// A checksum tells of damage when it is long past: no byte before it is certain.
		const char *what =
			result == HW_UNPACK_DAMAGED
				? "its %s stream is damaged: the %llu bytes that were got "
				  "out of it may be wrong"
				: "its %s stream is cut short after %llu bytes of the core";
		if (asprintf(ret_shortfall, what, run->codec->name,
			     (unsigned long long)store->size) < 0) {
			*ret_shortfall = NULL;
			return &hw_enomem;
		}
		return NULL;
	}
}

static struct hw_error *hw_unpack_run(struct hw_unpack_run *run, struct hw_unpacked *ret)
{
	struct hw_unpack_store store = { .place = "memory" };
	store.fd = memfd_create("heapwalk-core", MFD_CLOEXEC);
	if (store.fd < 0) {
		store = (struct hw_unpack_store){ .is_file = true, .place = hw_unpack_directory() };
		store.fd = hw_unpack_temporary(store.place);
	}
	if (store.fd < 0)
		return hw_unpack_no_room(&store, run->path, errno);
	char *shortfall = NULL;
	struct hw_error *err = hw_unpack_stream(run, &store, &shortfall);
	if (!err && !store.size)
		err = hw_error_create(HW_ERROR_INVALID, "there is no core in %s: %s", run->path,
				      shortfall ? shortfall : "it unpacks to nothing");
	if (!err && ftruncate(store.fd, (off_t)store.size)) // a hole at its end
		err = hw_unpack_no_room(&store, run->path, errno);
	if (err) {
		free(shortfall);
		close(store.fd);
		return err;
	}
	*ret = (struct hw_unpacked){ store.fd, store.size, shortfall };
	return NULL;
}

struct hw_error *hw_unpack(int fd, uint64_t size, const char *path, struct hw_progress *progress,
			   struct hw_unpacked *ret)
{
	uint8_t magic[HW_UNPACK_MAGIC_BYTES];
	ssize_t got = pread(fd, magic, sizeof(magic), 0);
	const struct hw_codec *codec = hw_codec_find(magic, got < 0 ? 0 : (size_t)got);
	if (!codec)
		return hw_error_create(HW_ERROR_INVALID, "%s is not compressed", path);
	struct hw_unpack_run run = {
		.codec = codec, .fd = fd, .size = size, .path = path, .progress = progress
	};
	hw_cleanup_free uint8_t *in = run.in = malloc(HW_UNPACK_IN_BYTES);
	hw_cleanup_free uint8_t *out = run.out = malloc(HW_UNPACK_OUT_BYTES);
	run.state = in && out ? codec->open() : NULL;
	if (!run.state)
		return &hw_enomem;
	if (progress) {
		progress->what = "unpacking the core";
		progress->total = size;
	}
	struct hw_error *err = hw_unpack_run(&run, ret);
	codec->close(run.state);
	if (progress) {
		progress->what = NULL;
		progress->total = 0;
		atomic_store(&progress->done, 0);
	}
	return err;
}
