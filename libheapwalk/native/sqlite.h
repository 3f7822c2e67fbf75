/* SPDX-License-Identifier: LGPL-2.1-or-later */
// SQLite's own allocations. Its default allocator (src/mem1.c, built without malloc_usable_size) writes
// the size of each before it.
#ifndef HW_NATIVE_SQLITE_H
#define HW_NATIVE_SQLITE_H

#include "symbols/modules.h"

// Is SQLite in the process at all? Without it the first word of a block says nothing. A file of its name, or
// the executable `exe` (may be NULL): reading every library's symbols would take longer than a small census.
bool hw_sqlite_is_loaded(struct hw_modules *modules, const char *exe);

// Does the block's first word say exactly the size that malloc would have given this block for?
bool hw_is_sqlite_block(const uint8_t *bytes, size_t len, uint64_t capacity);

#endif
