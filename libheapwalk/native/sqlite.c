/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "native/sqlite.h"

#include "base/bytes.h"

bool hw_sqlite_is_loaded(struct hw_modules *modules, const char *exe)
{
	for (size_t i = 0; i < hw_modules_count(modules); i++) {
		struct hw_module *module = hw_modules_get(modules, i);
		const char *slash = strrchr(module->path, '/');
		struct hw_symbol symbol;
		if (strstr(slash ? slash : module->path, "sqlite") ||
		    (exe && !strcmp(module->path, exe) &&
		     hw_module_symbol(module, "sqlite3_libversion_number", &symbol)))
			return true;
	}
	return false;
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
