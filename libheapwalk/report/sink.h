/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Where a report's bytes go: the caller's write callback, or a file that replaces its name only
// when the report is whole.
#ifndef HW_REPORT_SINK_H
#define HW_REPORT_SINK_H

#include "base/new_file.h"

struct hw_sink {
	const struct hw_output *out; // NULL: a file
	struct hw_new_file file;     // `temporary` NULL: written in place (a device)
	char *buf;                   // owned
	size_t used;
	bool is_closed;       // the reader has gone, or writing failed: nothing more is taken
	struct hw_error *err; // why writing failed; owned
};

// `path` NULL: to `out`. A name that exists and is no regular file (a device, a FIFO) is written in
// place; a symbolic link's target is replaced, not the link.
struct hw_error *hw_sink_open(const struct hw_output *out, const char *path,
			      struct hw_sink *ret) HW_MUST_USE;
void hw_sink_write(struct hw_sink *sink, const char *text, size_t len);
void hw_sink_puts(struct hw_sink *sink, const char *text);
void hw_sink_printf(struct hw_sink *sink, const char *fmt, ...) HW_PRINTF(2, 3);
// False: the reader has gone.
bool hw_sink_flush(struct hw_sink *sink);
// Ends it. `keep`: the file gets its name, else it is removed. Returns why something was not
// written.
struct hw_error *hw_sink_close(struct hw_sink *sink, bool keep) HW_MUST_USE;

#endif
