/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"

enum { HW_SINK_BYTES = 1 << 16 };

static struct hw_error *hw_sink_open_error(int os_errno, const char *path)
{
	return hw_error_os(os_errno, "can't write to %s", path);
}

static struct hw_error *hw_sink_open_file(struct hw_sink *sink, const char *path)
{
	struct stat st;
	if (stat(path, &st) || S_ISREG(st.st_mode))
		return hw_new_file_open(path, 0666, &sink->file);
	if (S_ISDIR(st.st_mode))
		return hw_sink_open_error(EISDIR, path);
	sink->file.path = strdup(path);
	if (!sink->file.path)
		return &hw_enomem;
	sink->file.fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	return sink->file.fd < 0 ? hw_sink_open_error(errno, path) : NULL;
}

struct hw_error *hw_sink_open(const struct hw_output *out, const char *path, struct hw_sink *ret)
{
	struct hw_sink sink = { .out = path ? NULL : out, .file = { .fd = -1 } };
	struct hw_error *err = NULL;
	sink.buf = malloc(HW_SINK_BYTES);
	if (!sink.buf)
		err = &hw_enomem;
	else if (path)
		err = hw_sink_open_file(&sink, path);
	if (err) {
		free(sink.buf);
		hw_new_file_discard(&sink.file);
		return err;
	}
	*ret = sink;
	return NULL;
}

static bool hw_sink_write_file(struct hw_sink *sink, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(sink->file.fd, text, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			sink->err = hw_sink_open_error(errno, sink->file.path);
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
	struct hw_error *err = sink->err;
	if (sink->file.temporary && keep && !err) {
		err = hw_new_file_commit(&sink->file, false);
	} else if (!sink->file.temporary && sink->file.fd >= 0) { // a device
		int fd = sink->file.fd;
		sink->file.fd = -1;
		if (close(fd) && !err && errno != EINTR)
			err = hw_sink_open_error(errno, sink->file.path);
	}
	hw_new_file_discard(&sink->file);
	free(sink->buf);
	*sink = (struct hw_sink){ .file = { .fd = -1 } };
	return err;
}
