/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Compressed cores, as systemd-coredump and people's scripts leave them: zstd, lz4, xz, gzip, told by
// their first bytes. A core is read at random, so it is unpacked once, as a stream, into memory while it
// is small, else into a temporary file without a name. Pages of zeroes become holes.
#ifndef HW_TARGET_UNPACK_H
#define HW_TARGET_UNPACK_H

#include "base/error.h"
#include "base/progress.h"

enum { HW_UNPACK_MAGIC_BYTES = 8 };

// "zstd", "lz4", "xz", "gzip"; NULL: none of them. `bytes` are the file's first.
const char *hw_unpack_format(const uint8_t *bytes, size_t len);

struct hw_unpacked {
	int fd; // the caller closes it
	uint64_t size;
	// Why there are no more bytes although the stream is not at its end: cut short, damaged. One clause,
	// owned; NULL: it is whole.
	char *shortfall;
};

// `fd` is the compressed file, `size` its bytes, `path` what to call it. Errors: interrupted, no room for
// the unpacked bytes, a stream that wants too much memory, one that is damaged before its first byte.
struct hw_error *hw_unpack(int fd, uint64_t size, const char *path, struct hw_progress *progress,
			   struct hw_unpacked *ret) HW_MUST_USE;

#endif
