/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

enum { HW_SINK_BYTES = 1 << 16, HW_SINK_TRIES = 100 };

static struct hw_error *hw_sink_open_error(int os_errno, const char *path)
{
	return hw_error_os(os_errno, "can't write to %s", path);
}

// A new file beside `final`, so that the rename stays inside one file system. It has the mode of
// the file that it replaces.
static struct hw_error *hw_sink_open_temporary(struct hw_sink *sink, const struct stat *replaced)
{
	for (int i = 0; i < HW_SINK_TRIES; i++) {
		free(sink->temporary);
		if (asprintf(&sink->temporary, "%s.%d-%d.part", sink->final, (int)getpid(), i) <
		    0) {
			sink->temporary = NULL;
			return &hw_enomem;
		}
		sink->fd = open(sink->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (sink->fd >= 0) {
			if (replaced)
				(void)!fchmod(sink->fd, replaced->st_mode & 0777);
			return NULL;
		}
		if (errno != EEXIST)
			break;
	}
	int os_errno = errno;
	free(sink->temporary);
	sink->temporary = NULL;
	return hw_sink_open_error(os_errno, sink->path);
}

static struct hw_error *hw_sink_open_file(struct hw_sink *sink, const char *path)
{
	sink->path = strdup(path);
	if (!sink->path)
		return &hw_enomem;
	struct stat st;
	bool exists = !stat(path, &st);
	if (exists && S_ISDIR(st.st_mode))
		return hw_sink_open_error(EISDIR, path);
	if (exists && !S_ISREG(st.st_mode)) {
		sink->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
		return sink->fd < 0 ? hw_sink_open_error(errno, path) : NULL;
	}
	if (exists && access(path, W_OK)) // a rename would not ask
		return hw_sink_open_error(errno, path);
	sink->final = exists ? realpath(path, NULL) : strdup(path);
	if (!sink->final)
		return hw_sink_open_error(errno, path);
	return hw_sink_open_temporary(sink, exists ? &st : NULL);
}

struct hw_error *hw_sink_open(const struct hw_output *out, const char *path, struct hw_sink *ret)
{
	struct hw_sink sink = { .out = path ? NULL : out, .fd = -1 };
	struct hw_error *err = NULL;
	sink.buf = malloc(HW_SINK_BYTES);
	if (!sink.buf)
		err = &hw_enomem;
	else if (path)
		err = hw_sink_open_file(&sink, path);
	if (err) {
		free(sink.buf);
		free(sink.path);
		free(sink.final);
		return err;
	}
	*ret = sink;
	return NULL;
}

static bool hw_sink_write_file(struct hw_sink *sink, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(sink->fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			sink->err = hw_sink_open_error(errno, sink->path);
			return false;
		}
		text += n;
		len -= (size_t)n;
	}
	return true;
}

static void hw_sink_pass(struct hw_sink *sink, const char *text, size_t len)
{
	if (sink->is_closed || !len)
		return;
	bool taken = sink->out ? sink->out->write(sink->out->payload, text, len)
			       : hw_sink_write_file(sink, text, len);
	sink->is_closed = !taken;
}

bool hw_sink_flush(struct hw_sink *sink)
{
	hw_sink_pass(sink, sink->buf, sink->used);
	sink->used = 0;
	return !sink->is_closed;
}

void hw_sink_write(struct hw_sink *sink, const char *text, size_t len)
{
	if (len > HW_SINK_BYTES - sink->used)
		hw_sink_flush(sink);
	if (len > HW_SINK_BYTES) {
		hw_sink_pass(sink, text, len);
		return;
	}
	memcpy(sink->buf + sink->used, text, len);
	sink->used += len;
}

void hw_sink_puts(struct hw_sink *sink, const char *text)
{
	hw_sink_write(sink, text, strlen(text));
}

void hw_sink_printf(struct hw_sink *sink, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	hw_cleanup_free char *text = NULL;
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n >= 0) {
		hw_sink_write(sink, text, (size_t)n);
		return;
	}
	text = NULL;
	sink->is_closed = true;
	if (!sink->err)
		sink->err = &hw_enomem;
}

struct hw_error *hw_sink_close(struct hw_sink *sink, bool keep)
{
	hw_sink_flush(sink);
	if (sink->fd >= 0 && close(sink->fd) && !sink->err && errno != EINTR)
		sink->err = hw_sink_open_error(errno, sink->path);
	if (sink->temporary) {
		bool whole = keep && !sink->err;
		if (whole && rename(sink->temporary, sink->final)) {
			sink->err = hw_sink_open_error(errno, sink->path);
			whole = false;
		}
		if (!whole)
			unlink(sink->temporary);
	}
	struct hw_error *err = sink->err;
	free(sink->temporary);
	free(sink->final);
	free(sink->path);
	free(sink->buf);
	*sink = (struct hw_sink){ .fd = -1 };
	return err;
}
