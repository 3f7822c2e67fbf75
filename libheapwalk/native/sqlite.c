/* SPDX-License-Identifier: LGPL-2.1-or-later */
// SQLite: connections, statements, b-trees and caches of pages (src/sqliteInt.h, vdbeInt.h, btreeInt.h,
// pcache1.c; 3.31 – 3.46, and what of it is the same in older ones).
//
// A connection (struct sqlite3) begins with its VFS, which has a name and code, and has an array of
// databases, the first two called "main" and "temp", whose b-trees point back at the connection. What a
// connection leads to points back as well. Where SQLite was built with lookaside memory (Debian's is not),
// small things of a connection are in one block with others, which is an "allocation" here.
//
// The rest is known by SQLite's allocator (src/mem1.c, built without malloc_usable_size), which writes the
// size of each allocation before it. That alone is a weak proof: it counts only where there are connections.
#include <pthread.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "native/classifiers.h"

// struct sqlite3
enum {
	DB_VFS = 0,
	DB_VDBE = 8,
	DB_DBS = 32,
	DB_DB_COUNT = 40,
	DB_LOOK = 48,
	DB_BYTES_MIN = 200,
	DB_COUNT_MAX = 127,
};
// sqlite3_vfs (sqlite3.h): iVersion, szOsFile, mxPathname, pNext, zName, pAppData, xOpen
enum { VFS_VERSION = 0, VFS_VERSION_MAX = 8, VFS_NAME = 24, VFS_OPEN = 40, VFS_BYTES = 48 };
// struct Db: its name, its b-tree, …
enum { DBS_NAME = 0, DBS_BTREE = 8, DBS_BYTES = 32 };
enum { BTREE_DB = 0, BTREE_SHARED = 8, SHARED_PAGER = 0, SHARED_DB = 8 };
enum { VDBE_DB = 0, VDBE_NEXT = 16 };
// struct PCache1, and behind it its struct PGroup when it has one of its own
enum {
	CACHE_GROUP = 0,
	CACHE_PURGEABLE = 8,
	CACHE_PAGE_SIZE = 16,
	CACHE_EXTRA = 20,
	CACHE_ALLOC = 24,
	CACHE_PAGES = 56,
	CACHE_HASH_SIZE = 60,
	CACHE_HASH = 64,
	CACHE_BULK = 80,
	CACHE_BYTES = 88,
	CACHE_HASH_MAX = 1 << 26,
};
// struct PgHdr1: pBuf, pExtra, iKey, flags, pNext, pCache, …
enum { PAGE_BUFFER = 0, PAGE_NEXT = 24, PAGE_CACHE = 32, PAGE_BYTES = 40, PAGE_HEADER_MAX = 128 };

// malloc rounds up to 16, less its own 8, and leaves what is too small for a chunk.
enum { HEADER_BYTES = 8, MALLOC_SLACK = 32 };

struct hw_connection {
	hw_addr_t db;
	uint32_t head; // bytes before an allocation: HEADER_BYTES, or 0
};

struct hw_sqlite {
	struct hw_native native; // its pointers outlive the classifier
	pthread_mutex_t lock;
	HW_VEC(struct hw_connection) connections;
};

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
	struct hw_sqlite *sqlite = module ? calloc(1, sizeof(*sqlite)) : NULL;
	if (module && !sqlite)
		return &hw_enomem;
	if (!sqlite)
		return NULL;
	sqlite->native = *native;
	pthread_mutex_init(&sqlite->lock, NULL);
	*ret = sqlite;
	return NULL;
}

static void hw_sqlite_close(void *state)
{
	struct hw_sqlite *sqlite = state;
	pthread_mutex_destroy(&sqlite->lock);
	hw_vec_deinit(&sqlite->connections);
	free(sqlite);
}

static bool hw_sqlite_is_in_use(void *state)
{
	struct hw_sqlite *sqlite = state;
	return sqlite->connections.count;
}

// ---- what a block shows ------------------------------------------------------------------------

// Does the block's first word say exactly the size that malloc would have given this block for?
static bool hw_sqlite_has_size(const struct hw_native_block *block)
{
	// sqlite3MemMalloc(nByte) asks for ROUND8(nByte) + 8.
	if (block->len < HEADER_BYTES || block->capacity < HEADER_BYTES)
		return false;
	uint64_t size = hw_u64(block->bytes), room = block->capacity - HEADER_BYTES;
	return size && !(size & 7) && size <= room && room - size < MALLOC_SLACK;
}

// A constant of the library. Where it can't be read, what everything else speaks for is not told.
static bool hw_sqlite_read_text(const struct hw_sqlite *sqlite, struct hw_native_sink *sink,
				hw_addr_t addr, char *buf, size_t size)
{
	if (hw_pages_read_string(sink->pages, addr, buf, size))
		return true;
	hw_native_lacks(&sqlite->native, addr);
	return false;
}

static bool hw_sqlite_is_text(const struct hw_sqlite *sqlite, struct hw_native_sink *sink,
			      hw_addr_t addr, const char *text)
{
	char buf[16];
	return hw_sqlite_read_text(sqlite, sink, addr, buf, sizeof(buf)) && !strcmp(buf, text);
}

static bool hw_sqlite_is_vfs(const struct hw_sqlite *sqlite, struct hw_native_sink *sink,
			     hw_addr_t addr)
{
	uint8_t vfs[VFS_BYTES];
	char name[64];
	return addr && !(addr & 7) && hw_pages_read(sink->pages, addr, vfs, sizeof(vfs)) &&
	       hw_u32(vfs + VFS_VERSION) - 1 < VFS_VERSION_MAX &&
	       hw_modules_at(sqlite->native.modules, hw_u64(vfs + VFS_OPEN)) &&
	       hw_sqlite_read_text(sqlite, sink, hw_u64(vfs + VFS_NAME), name, sizeof(name)) &&
	       *name;
}

// The databases "main" and "temp", and b-trees that know their connection.
static bool hw_sqlite_is_connection(const struct hw_sqlite *sqlite, struct hw_native_sink *sink,
				    const uint8_t *bytes, hw_addr_t db)
{
	uint32_t count = hw_u32(bytes + DB_DB_COUNT);
	hw_addr_t dbs = hw_u64(bytes + DB_DBS);
	uint8_t two[2 * DBS_BYTES];
	uint64_t back;
	if (count < 2 || count > DB_COUNT_MAX || dbs & 7 ||
	    !hw_sqlite_is_vfs(sqlite, sink, hw_u64(bytes + DB_VFS)) ||
	    !hw_pages_read(sink->pages, dbs, two, sizeof(two)) ||
	    !hw_sqlite_is_text(sqlite, sink, hw_u64(two + DBS_BYTES + DBS_NAME), "temp"))
		return false;
	hw_addr_t btree = hw_u64(two + DBS_BTREE);
	return btree && hw_pages_read_u64(sink->pages, btree + BTREE_DB, &back) && back == db;
}

// A cache of pages: its group is its own or the library's, and its sizes agree.
static bool hw_sqlite_is_cache(const struct hw_sqlite *sqlite, const uint8_t *bytes, hw_addr_t at)
{
	uint32_t page = hw_u32(bytes + CACHE_PAGE_SIZE), extra = hw_u32(bytes + CACHE_EXTRA);
	uint32_t alloc = hw_u32(bytes + CACHE_ALLOC), hash = hw_u32(bytes + CACHE_HASH_SIZE);
	hw_addr_t group = hw_u64(bytes + CACHE_GROUP), purgeable = hw_u64(bytes + CACHE_PURGEABLE);
	// 512 … 65536; the cache's own lists of journalled pages need no page at all
	if (page < 512 || page > 65536 || page & (page - 1) || extra > 1024 ||
	    alloc < page + extra || alloc - page - extra > PAGE_HEADER_MAX || !hash ||
	    hash & (hash - 1) || hash > CACHE_HASH_MAX)
		return false;
	bool is_own = group == at + CACHE_BYTES;
	if (!is_own && !hw_modules_at(sqlite->native.modules, group))
		return false;
	// Counted in the group, or, for a cache that can't shrink, in itself.
	return purgeable - group < CACHE_BYTES || purgeable - at < CACHE_BYTES;
}

static void hw_sqlite_claim(struct hw_native_sink *sink, hw_addr_t at, uint32_t head,
			    const char *kind)
{
	if (at)
		sink->claim(sink, at - head, &(struct hw_native_kind){ "sqlite3", kind, "" });
}

// Every page is in the cache's hash table and points back at the cache.
static void hw_sqlite_claim_pages(struct hw_native_sink *sink, const uint8_t *bytes,
				  hw_addr_t cache, uint32_t head)
{
	uint32_t size = hw_u32(bytes + CACHE_HASH_SIZE), pages = hw_u32(bytes + CACHE_PAGES);
	hw_addr_t table = hw_u64(bytes + CACHE_HASH);
	uint64_t capacity, at;
	if (!table || !sink->find(sink, table - head, &capacity) ||
	    capacity < (uint64_t)size * 8 + head)
		return;
	hw_sqlite_claim(sink, table, head, "page hash table");
	hw_sqlite_claim(sink, hw_u64(bytes + CACHE_BULK), head, "pages");
	for (uint32_t i = 0; i < size && pages; i++) {
		if (!hw_pages_read_u64(sink->pages, table + 8 * (hw_addr_t)i, &at))
			return;
		while (at && pages && hw_native_step(sink)) {
			uint8_t page[PAGE_BYTES];
			if (at & 7 || !hw_pages_read(sink->pages, at, page, sizeof(page)) ||
			    hw_u64(page + PAGE_CACHE) != cache)
				break;
			// One of many in a block was claimed with it.
			hw_sqlite_claim(sink, hw_u64(page + PAGE_BUFFER), head, "page");
			pages--;
			at = hw_u64(page + PAGE_NEXT);
		}
	}
}

static bool hw_sqlite_classify_at(struct hw_sqlite *sqlite, struct hw_native_sink *sink,
				  const struct hw_native_block *block, uint32_t head,
				  struct hw_native_kind *ret)
{
	const uint8_t *bytes = block->bytes + head;
	hw_addr_t at = block->start + head;
	if (block->len < head + (size_t)CACHE_BYTES)
		return false;
	if (hw_sqlite_is_cache(sqlite, bytes, at)) {
		hw_sqlite_claim_pages(sink, bytes, at, head);
		*ret = (struct hw_native_kind){ "sqlite3", "page cache", "" };
		return true;
	}
	if (block->len < head + (size_t)DB_BYTES_MIN ||
	    !hw_sqlite_is_connection(sqlite, sink, bytes, at))
		return false;
	pthread_mutex_lock(&sqlite->lock);
	bool ok = hw_vec_push(&sqlite->connections, ((struct hw_connection){ at, head }));
	pthread_mutex_unlock(&sqlite->lock);
	*ret = (struct hw_native_kind){ "sqlite3", "sqlite3", "" };
	return ok;
}

static bool hw_sqlite_classify(void *state, struct hw_native_sink *sink,
			       const struct hw_native_block *block, struct hw_native_kind *ret)
{
	bool has_size = hw_sqlite_has_size(block);
	if (hw_sqlite_classify_at(state, sink, block, has_size ? HEADER_BYTES : 0, ret))
		return true;
	if (has_size)
		sink->suspect(sink, block, &(struct hw_native_kind){ "sqlite3", "allocation", "" });
	return false;
}

// ---- what a connection has ---------------------------------------------------------------------

static void hw_connection_statements(struct hw_native_sink *sink, const struct hw_connection *c)
{
	uint64_t at, db;
	if (!hw_pages_read_u64(sink->pages, c->db + DB_VDBE, &at))
		return;
	while (at && !(at & 7) && hw_native_step(sink) &&
	       hw_pages_read_u64(sink->pages, at + VDBE_DB, &db) && db == c->db) {
		hw_sqlite_claim(sink, at, c->head, "sqlite3_stmt");
		if (!hw_pages_read_u64(sink->pages, at + VDBE_NEXT, &at))
			return;
	}
}

static void hw_connection_btrees(struct hw_native_sink *sink, const struct hw_connection *c)
{
	uint64_t dbs, btree, shared, pager, back;
	uint32_t count;
	if (!hw_pages_read_u64(sink->pages, c->db + DB_DBS, &dbs) ||
	    !hw_pages_read_u32(sink->pages, c->db + DB_DB_COUNT, &count))
		return;
	hw_sqlite_claim(sink, dbs, c->head,
			"databases"); // in the connection as long as they are two
	for (uint32_t i = 0; i < count && i < DB_COUNT_MAX; i++) {
		if (!hw_pages_read_u64(sink->pages, dbs + (uint64_t)i * DBS_BYTES + DBS_BTREE,
				       &btree) ||
		    !btree || !hw_pages_read_u64(sink->pages, btree + BTREE_DB, &back) ||
		    back != c->db || !hw_pages_read_u64(sink->pages, btree + BTREE_SHARED, &shared))
			continue;
		hw_sqlite_claim(sink, btree, c->head, "Btree");
		// Shared with other connections, it points at the one that used it last.
		if (!hw_pages_read_u64(sink->pages, shared + SHARED_DB, &back) || !back ||
		    !hw_pages_read_u64(sink->pages, shared + SHARED_PAGER, &pager))
			continue;
		hw_sqlite_claim(sink, shared, c->head, "BtShared");
		hw_sqlite_claim(sink, pager, c->head, "Pager");
	}
}

static int hw_connection_order(const void *a, const void *b)
{
	const struct hw_connection *x = a, *y = b;
	return x->db < y->db ? -1 : x->db > y->db;
}

static void hw_sqlite_finish(void *state, struct hw_native_sink *sink)
{
	struct hw_sqlite *sqlite = state;
	if (sqlite->connections.count)
		qsort(sqlite->connections.data, sqlite->connections.count,
		      sizeof(*sqlite->connections.data), hw_connection_order);
	hw_vec_foreach(connection, &sqlite->connections)
	{
		hw_connection_btrees(sink, connection);
		hw_connection_statements(sink, connection);
	}
}

const struct hw_classifier hw_sqlite_classifier = {
	.name = "SQLite",
	.open = hw_sqlite_open,
	.close = hw_sqlite_close,
	.classify = hw_sqlite_classify,
	.finish = hw_sqlite_finish,
	.is_in_use = hw_sqlite_is_in_use,
};
