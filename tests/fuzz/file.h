/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The input as a file that parts of the library can open by name.
#ifndef FUZZ_FILE_H
#define FUZZ_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct fuzz_file {
	int fd;
	char path[40];
};

// False: no memory.
static inline bool fuzz_file_make(struct fuzz_file *file, const uint8_t *data, size_t size)
{
	file->fd = memfd_create("fuzz", MFD_CLOEXEC);
	snprintf(file->path, sizeof(file->path), "/proc/self/fd/%d", file->fd);
	return file->fd >= 0 && write(file->fd, data, size) == (ssize_t)size;
}

#endif
