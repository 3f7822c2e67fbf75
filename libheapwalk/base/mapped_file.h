/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Files that are read through a mapping. The kernel ends a program with SIGBUS that reads a page of one which has
// become shorter meanwhile: a core that is written over, a file of a container that means harm. Here what is gone
// reads as zeroes, and is counted: a report that lacks something says so.
//
// While a file is mapped, SIGBUS is handled for its addresses; for others what was there before is done.
#ifndef HW_BASE_MAPPED_FILE_H
#define HW_BASE_MAPPED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// For reading. NULL: errno says why not.
const uint8_t *hw_map_file(int fd, size_t bytes);
void hw_unmap_file(const uint8_t *file, size_t bytes); // accepts NULL
// The same for what somebody else has mapped (libelf), until it is unmapped. False: out of memory.
bool hw_guard_file(const void *start, size_t bytes);
void hw_unguard_file(const void *start);

// How often a file turned out to be cut short, since this program began.
uint64_t hw_files_cut(void);

#endif
