/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "native/sqlite.h"

#include "base/bytes.h"

bool hw_sqlite_is_loaded(struct hw_modules *modules)
{
	struct hw_symbol symbol;
	return hw_modules_with_symbol(modules, "sqlite3_libversion_number", &symbol) != NULL;
}

bool hw_is_sqlite_block(const uint8_t *bytes, size_t len, uint64_t capacity)
{
	// sqlite3MemMalloc(nByte) asks for ROUND8(nByte) + 8; malloc rounds that to 16, less 8.
	enum { HEADER_BYTES = 8, MALLOC_SLACK = 16 };
	if (len < HEADER_BYTES || capacity < HEADER_BYTES)
		return false;
	uint64_t size = hw_u64(bytes), room = capacity - HEADER_BYTES;
	return size && !(size & 7) && size <= room && room - size < MALLOC_SLACK;
}
