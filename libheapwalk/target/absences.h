/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Files of the target that are not at hand. A core leaves out what a mapped file has (core_maps.c); where that
// file is not on this machine, or is another build, its constants can't be read: the names of static types,
// of classes, of kinds. Whoever can't tell something for want of them notes it here, so that a report never
// lacks it without saying so.
#ifndef HW_TARGET_ABSENCES_H
#define HW_TARGET_ABSENCES_H

#include <pthread.h>

#include "target/target.h"

struct hw_absence {
	const char *path;            // the target's name of the file; borrowed from the target
	uint64_t block_count, bytes; // blocks of which it is known that they hang on it
};

struct hw_absences {
	pthread_mutex_t lock; // workers note side by side
	HW_VEC(struct hw_absence) list;
};

void hw_absences_init(struct hw_absences *absences);
void hw_absences_deinit(struct hw_absences *absences);

// The file whose byte at `addr` the target's source does not have; NULL: that byte can be read, or no file is
// mapped there privately, or the target is a live process, which has all of its files.
const char *hw_target_absent_file(struct hw_target *target, hw_addr_t addr);
// The same of a text at `addr` that could not be read as a whole: it may begin in the page before.
const char *hw_target_absent_text(struct hw_target *target, hw_addr_t addr);

// Once more, for `block_count` blocks of `bytes` together; both 0: which blocks can't be told.
void hw_absences_add(struct hw_absences *absences, const char *path, uint64_t block_count,
		     uint64_t bytes);

// Was it noted, by that very pointer?
bool hw_absences_have(struct hw_absences *absences, const char *path);

// What a thing is called whose name is in such a file: "unknown type (_decimal.so)". As snprintf().
int hw_absent_name(char *buf, size_t size, const char *what, const char *path);

#endif
