/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The tables of a snapshot; docs/snapshot.md says what is in them.
//
// To add something: a table that is not `is_read` may be added to the newest schema at any time. What
// a reader depends on is a new schema: a list of its own here, a number in HW_SNAPSHOT_SCHEMA, and the
// reader asks snapshot->schema. The old lists stay: a snapshot of an old heapwalk is read for ever.
#include "analysis/snapshot_db.h"

#include <string.h>

#include "analysis/query.h"

// clang-format off
// The text is compared with what a file has: a table with another text, a view in its place, a trigger
// or a generated column is not ours.
static const struct hw_snapshot_table hw_tables_1[] = {
	{ "snapshot", "CREATE TABLE snapshot(name TEXT PRIMARY KEY, value) WITHOUT ROWID", true },
	{ "target", "CREATE TABLE target(name TEXT PRIMARY KEY, value) WITHOUT ROWID", true },
	{ "coverage", "CREATE TABLE coverage(name TEXT PRIMARY KEY, value) WITHOUT ROWID", true },
	{ "categories",
	  "CREATE TABLE categories(id INTEGER PRIMARY KEY, domain TEXT, kind TEXT, detail TEXT, "
	  "state TEXT, state_word TEXT, type INTEGER, module TEXT, count INTEGER, bytes INTEGER)", true },
	{ "runs",
	  "CREATE TABLE runs(start INTEGER PRIMARY KEY, bytes INTEGER, count INTEGER, width INTEGER, "
	  "codes BLOB)", true },
	{ "codes",
	  "CREATE TABLE codes(code BLOB PRIMARY KEY, size INTEGER, category INTEGER, allocator TEXT) "
	  "WITHOUT ROWID", true },
	{ "pymalloc",
	  "CREATE TABLE pymalloc(interpreter INTEGER, address INTEGER, arena_bytes INTEGER, "
	  "pool_bytes INTEGER, alignment INTEGER, size_classes INTEGER, arenas INTEGER, "
	  "arenas_allocated_total INTEGER, arenas_highwater INTEGER, allocated_bytes INTEGER, "
	  "available_bytes INTEGER, unused_pools INTEGER, pool_header_bytes INTEGER, "
	  "quantization_bytes INTEGER, arena_alignment_bytes INTEGER)", true },
	{ "size_classes",
	  "CREATE TABLE size_classes(interpreter INTEGER, class INTEGER, size INTEGER, pools INTEGER, "
	  "blocks_in_use INTEGER, blocks_free INTEGER)", true },
	{ "free_lists",
	  "CREATE TABLE free_lists(interpreter INTEGER, name TEXT, count INTEGER, size INTEGER)", true },
	{ "pymalloc_arenas",
	  "CREATE TABLE pymalloc_arenas(start INTEGER PRIMARY KEY, interpreter INTEGER, "
	  "arena_object INTEGER, bytes INTEGER, pools_free INTEGER, pools_total INTEGER)", false },
	{ "pools",
	  "CREATE TABLE pools(start INTEGER PRIMARY KEY, class INTEGER, size INTEGER, capacity INTEGER, "
	  "in_use INTEGER, state TEXT)", false },
	{ "malloc_arenas",
	  "CREATE TABLE malloc_arenas(address INTEGER PRIMARY KEY, main INTEGER, system_bytes INTEGER, "
	  "in_use_bytes INTEGER, tcache_bytes INTEGER, fastbin_bytes INTEGER, bin_bytes INTEGER, "
	  "top_bytes INTEGER, overhead_bytes INTEGER, unknown_bytes INTEGER, in_use_chunks INTEGER, "
	  "free_chunks INTEGER)", false },
	{ "mappings",
	  "CREATE TABLE mappings(start INTEGER PRIMARY KEY, bytes INTEGER, flags TEXT, "
	  "file_offset INTEGER, path TEXT)", false },
	{ "issues", "CREATE TABLE issues(code TEXT, address INTEGER, message TEXT)", false },
	{ "contents", "CREATE TABLE contents(start INTEGER PRIMARY KEY, bytes BLOB)", false },
	// For the view alone: SQL has no cheap way to say where a block of a run begins, what number a byte
	// is, or to count. Runs without a place have blocks of one size.
	{ "places", "CREATE TABLE places(start INTEGER PRIMARY KEY, offsets BLOB)", false },
	{ "numbers", "CREATE TABLE numbers(i INTEGER PRIMARY KEY)", false },
	{ "bytes", "CREATE TABLE bytes(byte BLOB PRIMARY KEY, value INTEGER) WITHOUT ROWID", false },
	// Block by block. A run has one code a block, `width` bytes each.
	{ "blocks",
	  "CREATE VIEW blocks AS SELECT s.start AS start, s.start + s.size - 1 AS end, s.size AS size, "
	  "s.allocator AS allocator, k.state AS state, k.state_word AS state_word, "
	  "k.domain AS domain, k.kind AS kind, k.detail AS detail, s.category AS category "
	  "FROM (SELECT r.start + coalesce(8 * (256 * high.value + low.value), n.i * c.size) AS start, "
	  "c.size AS size, c.allocator AS allocator, c.category AS category "
	  "FROM runs r LEFT JOIN places p ON p.start = r.start "
	  "CROSS JOIN numbers n ON n.i < r.count "
	  "CROSS JOIN codes c ON c.code = substr(r.codes, n.i * r.width + 1, r.width) "
	  "LEFT JOIN bytes high ON high.byte = substr(p.offsets, 2 * n.i + 1, 1) "
	  "LEFT JOIN bytes low ON low.byte = substr(p.offsets, 2 * n.i + 2, 1)) s "
	  "CROSS JOIN categories k ON k.id = s.category", false },
	{ NULL, NULL, false },
};
// clang-format on

const struct hw_snapshot_table *hw_snapshot_tables(int schema)
{
	return schema == 1 ? hw_tables_1 : NULL;
}

bool hw_allocator_find(const char *word, enum hw_allocator *ret)
{
	static const enum hw_allocator all[] = { HW_ALLOCATOR_NONE, HW_ALLOCATOR_GLIBC,
						 HW_ALLOCATOR_PYMALLOC, HW_ALLOCATOR_MIMALLOC };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!strcmp(word, hw_allocator_word(all[i]))) {
			*ret = all[i];
			return true;
		}
	}
	return false;
}
