/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A file that gets its name only when it is whole: it is written beside the name, then renamed. Until
// then, and when it comes to nothing, what had the name before is untouched.
#ifndef HW_BASE_NEW_FILE_H
#define HW_BASE_NEW_FILE_H

#include <sys/types.h>

#include "base/error.h"

struct hw_new_file {
	int fd;          // -1: none
	char *path;      // what the user named, for messages
	char *final;     // what it is renamed to: a symbolic link's target, not the link
	char *temporary; // its name until then
};

// `mode`: of a name that is new; one that exists keeps its own. A name that exists and is no regular
// file, or that may not be written, is refused: a rename would not ask.
struct hw_error *hw_new_file_open(const char *path, mode_t mode,
				  struct hw_new_file *ret) HW_MUST_USE;
// The same under one fixed name, which is locked while it is written: a second writer of `path` is
// refused. What a writer that was killed left there is used again.
struct hw_error *hw_new_file_open_locked(const char *path, mode_t mode,
					 struct hw_new_file *ret) HW_MUST_USE;
// Gives it its name. `durable`: on the disk first, and the name as well. It is discarded when that
// fails.
struct hw_error *hw_new_file_commit(struct hw_new_file *file, bool durable) HW_MUST_USE;
// Removes it, when it is there.
void hw_new_file_discard(struct hw_new_file *file);

#endif
