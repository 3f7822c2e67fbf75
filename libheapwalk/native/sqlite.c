/* SPDX-License-Identifier: LGPL-2.1-or-later */
// SQLite's own allocations. Its default allocator (src/mem1.c, built without malloc_usable_size) writes
// the size of each before it.
#include "base/bytes.h"
#include "native/classifiers.h"

static struct hw_error *hw_sqlite_open(const struct hw_native *native, void **ret)
{
	// Python's module may have SQLite in itself: its name tells as well.
	struct hw_module *module = hw_native_library(native, "libsqlite3",
						     "sqlite3_libversion_number");
	for (size_t i = 0; !module && native->modules && i < hw_modules_count(native->modules);
	     i++) {
		struct hw_module *other = hw_modules_get(native->modules, i);
		const char *slash = strrchr(other->path, '/');
		if (strstr(slash ? slash : other->path, "sqlite"))
			module = other;
	}
	*ret = module;
	return NULL;
}

static void hw_sqlite_close(void *state)
{
	(void)state;
}

// Does the block's first word say exactly the size that malloc would have given this block for?
static bool hw_is_sqlite_block(const struct hw_native_block *block)
{
	// sqlite3MemMalloc(nByte) asks for ROUND8(nByte) + 8; malloc rounds that to 16, less 8.
	enum { HEADER_BYTES = 8, MALLOC_SLACK = 16 };
	if (block->len < HEADER_BYTES || block->capacity < HEADER_BYTES)
		return false;
	uint64_t size = hw_u64(block->bytes), room = block->capacity - HEADER_BYTES;
	return size && !(size & 7) && size <= room && room - size < MALLOC_SLACK;
}

static bool hw_sqlite_classify(void *state, struct hw_native_sink *sink,
			       const struct hw_native_block *block, struct hw_native_kind *ret)
{
	(void)state;
	(void)sink;
	if (!hw_is_sqlite_block(block))
		return false;
	*ret = (struct hw_native_kind){ "sqlite3", "allocation", "" };
	return true;
}

const struct hw_classifier hw_sqlite_classifier = {
	.name = "SQLite",
	.open = hw_sqlite_open,
	.close = hw_sqlite_close,
	.classify = hw_sqlite_classify,
};
