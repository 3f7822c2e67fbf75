/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What a snapshot says of itself, checked. The blocks are snapshot_cursor.c's.
#include "analysis/snapshot_read.h"

#include <stdio.h>
#include <string.h>

#include "analysis/query.h"
#include "base/cleanup.h"

// Far above what a heap has (heap/category.h, analysis/snapshot_write.c); a forged file ends here.
enum { HW_CATEGORIES_MAX = 1 << 20, HW_SHAPES_MAX = 1 << 24 };

struct hw_error *hw_snapshot_damage(const struct hw_snapshot *snapshot, const char *what)
{
	return hw_error_create(HW_ERROR_CORRUPT, "%s is damaged: %s", snapshot->db.name, what);
}

struct hw_error *hw_snapshot_rows(struct hw_snapshot *snapshot, const char *sql,
				  hw_snapshot_row_fn *row, void *payload)
{
	hw_cleanup_stmt sqlite3_stmt *stmt = NULL;
	HW_TRY(hw_db_prepare(&snapshot->db, sql, &stmt));
	for (;;) {
		bool is_there;
		HW_TRY(hw_db_step(&snapshot->db, stmt, &is_there));
		if (!is_there)
			return NULL;
		HW_TRY(row(snapshot, stmt, payload));
	}
}

const char *hw_snapshot_text(struct hw_snapshot *snapshot, sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);
	uint32_t id = hw_strtab_intern(&snapshot->strings, text ? text : "",
				       text ? strlen(text) : 0);
	return id == UINT32_MAX ? NULL : hw_strtab_get(&snapshot->strings, id);
}

bool hw_snapshot_number(sqlite3_stmt *stmt, int column, uint64_t *ret)
{
	int64_t number = sqlite3_column_int64(stmt, column);
	if (sqlite3_column_type(stmt, column) != SQLITE_INTEGER || number < 0)
		return false;
	*ret = (uint64_t)number;
	return true;
}

// ---- names with a value: snapshot, target, coverage ----

// One member of hw_snapshot_info. A text that is missing is "", a number that is missing is 0 where it
// may be, else the file is damaged.
struct hw_member {
	const char *table, *name;
	size_t offset;
	bool is_text, is_needed;
};

#define HW_INFO(member) offsetof(struct hw_snapshot_info, member)

static const struct hw_member hw_members[] = {
	{ "snapshot", "heapwalk", HW_INFO(writer), true, true },
	{ "snapshot", "partial", HW_INFO(partial), true, true },
	{ "snapshot", "free_lists", HW_INFO(free_lists), true, true },
	{ "snapshot", "taken", HW_INFO(taken), false, true },
	{ "snapshot", "blocks", HW_INFO(block_count), false, true },
	{ "snapshot", "content_bytes", HW_INFO(content_bytes), false, true },
	{ "target", "kind", HW_INFO(kind), true, true },
	{ "target", "exe", HW_INFO(exe), true, false },
	{ "target", "pid", HW_INFO(pid), false, false },
	{ "target", "birth", HW_INFO(birth), false, false },
	{ "coverage", "mapped_bytes", HW_INFO(ledger.mapped_bytes), false, true },
	{ "coverage", "in_use_bytes", HW_INFO(ledger.in_use_bytes), false, true },
	{ "coverage", "in_use_count", HW_INFO(ledger.in_use_count), false, true },
	{ "coverage", "free_bytes", HW_INFO(ledger.free_bytes), false, true },
	{ "coverage", "overhead_bytes", HW_INFO(ledger.overhead_bytes), false, true },
	{ "coverage", "unknown_bytes", HW_INFO(ledger.unknown_bytes), false, true },
	{ "coverage", "heap_bytes", HW_INFO(ledger.heap_bytes), false, true },
	{ "coverage", "missing_bytes", HW_INFO(ledger.missing_bytes), false, true },
};

static struct hw_error *hw_member_read(struct hw_snapshot *snapshot, const struct hw_member *member)
{
	hw_cleanup_free char *sql = NULL;
	hw_cleanup_stmt sqlite3_stmt *stmt = NULL;
	if (asprintf(&sql, "SELECT value FROM %s WHERE name='%s'", member->table, member->name) <
	    0) {
		sql = NULL;
		return &hw_enomem;
	}
	HW_TRY(hw_db_prepare(&snapshot->db, sql, &stmt));
	bool is_there;
	HW_TRY(hw_db_step(&snapshot->db, stmt, &is_there));
	char *to = (char *)&snapshot->info + member->offset;
	int type = is_there ? sqlite3_column_type(stmt, 0) : SQLITE_NULL;
	uint64_t number;
	if (member->is_text && type == SQLITE_TEXT) {
		const char *text = hw_snapshot_text(snapshot, stmt, 0);
		memcpy(to, &text, sizeof(text));
		return text ? NULL : &hw_enomem;
	}
	if (!member->is_text && is_there && hw_snapshot_number(stmt, 0, &number)) {
		memcpy(to, &number, sizeof(number));
		return NULL;
	}
	if (member->is_text)
		memcpy(to, &(const char *){ "" }, sizeof(const char *));
	if (type == SQLITE_NULL && !member->is_needed)
		return NULL;
	return hw_error_create(HW_ERROR_CORRUPT, "%s is damaged: its %s has no %s of a right kind",
			       snapshot->db.name, member->table, member->name);
}

// ---- categories ----

static bool hw_state_find(const char *word, enum hw_state *ret)
{
	static const enum hw_state all[] = { HW_STATE_UNKNOWN, HW_STATE_IN_USE, HW_STATE_FREE,
					     HW_STATE_OVERHEAD };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (!strcmp(word, hw_state_class_word(all[i]))) {
			*ret = all[i];
			return true;
		}
	}
	return false;
}

// The sums of the categories are what the coverage says.
static bool hw_categories_add_up(const struct hw_snapshot *snapshot)
{
	uint64_t bytes[4] = { 0 }, in_use = 0, blocks = 0;
	bool fits = true;
	for (size_t i = 0; i < snapshot->categories.count; i++) {
		const struct hw_snapshot_category *category = &snapshot->categories.data[i];
		fits &= !__builtin_add_overflow(bytes[category->state], category->bytes,
						&bytes[category->state]);
		fits &= !__builtin_add_overflow(blocks, category->count, &blocks);
		if (category->state == HW_STATE_IN_USE)
			in_use += category->count;
	}
	const struct hw_ledger *ledger = &snapshot->info.ledger;
	uint64_t sum = 0;
	for (size_t i = 0; i < 4; i++)
		fits &= !__builtin_add_overflow(sum, bytes[i], &sum);
	// A table that did not add up says so in what it lacks.
	fits &= sum <= INT64_MAX && (sum == ledger->mapped_bytes || *snapshot->info.partial);
	return fits && blocks == snapshot->info.block_count && in_use == ledger->in_use_count &&
	       bytes[HW_STATE_IN_USE] == ledger->in_use_bytes &&
	       bytes[HW_STATE_FREE] == ledger->free_bytes &&
	       bytes[HW_STATE_OVERHEAD] == ledger->overhead_bytes &&
	       bytes[HW_STATE_UNKNOWN] == ledger->unknown_bytes;
}

// Ids have gaps (categories without a block are not written): `ids` leads from them to indexes.
static struct hw_error *hw_category_read(struct hw_snapshot *snapshot, sqlite3_stmt *stmt,
					 void *payload)
{
	(void)payload;
	uint64_t id;
	struct hw_snapshot_category category = {
		.domain = hw_snapshot_text(snapshot, stmt, 1),
		.kind = hw_snapshot_text(snapshot, stmt, 2),
		.detail = hw_snapshot_text(snapshot, stmt, 3),
		.state_word = hw_snapshot_text(snapshot, stmt, 5),
		.module = hw_snapshot_text(snapshot, stmt, 8),
	};
	const char *state = hw_snapshot_text(snapshot, stmt, 4);
	if (!category.domain || !category.kind || !category.detail || !category.state_word ||
	    !category.module || !state)
		return &hw_enomem;
	if (!hw_snapshot_number(stmt, 0, &id) || id >= HW_CATEGORIES_MAX ||
	    !hw_snapshot_number(stmt, 6, &category.count) ||
	    !hw_snapshot_number(stmt, 7, &category.bytes) || !hw_state_find(state, &category.state))
		return hw_snapshot_damage(snapshot,
					  "a row of its categories has values that can't be");
	while (snapshot->ids.count < id)
		if (!hw_vec_push(&snapshot->ids, UINT32_MAX))
			return &hw_enomem;
	return hw_vec_push(&snapshot->ids, (uint32_t)snapshot->categories.count) &&
			       hw_vec_push(&snapshot->categories, category)
		       ? NULL
		       : &hw_enomem;
}

static struct hw_error *hw_categories_read(struct hw_snapshot *snapshot)
{
	HW_TRY(hw_snapshot_rows(snapshot,
				"SELECT id,domain,kind,detail,state,state_word,count,bytes,module "
				"FROM categories ORDER BY id",
				hw_category_read, NULL));
	if (hw_categories_add_up(snapshot))
		return NULL;
	return hw_snapshot_damage(snapshot, "its categories do not add up to its coverage");
}

// ---- codes ----

static struct hw_error *hw_code_read(struct hw_snapshot *snapshot, sqlite3_stmt *stmt,
				     void *payload)
{
	(void)payload;
	uint64_t category, code = 0;
	struct hw_shape shape;
	const uint8_t *bytes = sqlite3_column_blob(stmt, 0);
	int width = sqlite3_column_bytes(stmt, 0);
	const char *allocator = (const char *)sqlite3_column_text(stmt, 3);
	bool ok = bytes && width >= 1 && width <= HW_SNAPSHOT_CODE_BYTES_MAX;
	for (int i = 0; ok && i < width; i++)
		code = code << 8 | bytes[i];
	ok = ok && hw_snapshot_number(stmt, 1, &shape.size_bytes) && shape.size_bytes &&
	     hw_snapshot_number(stmt, 2, &category) && category < snapshot->ids.count &&
	     snapshot->ids.data[category] != UINT32_MAX && allocator &&
	     hw_allocator_find(allocator, &shape.allocator) &&
	     // In order, so that a forged code takes no more memory than the file has bytes.
	     code == snapshot->shapes[width].count;
	if (!ok)
		return hw_snapshot_damage(snapshot, "a row of its codes has values that can't be");
	shape.category = snapshot->ids.data[category];
	return hw_vec_push(&snapshot->shapes[width], shape) ? NULL : &hw_enomem;
}

// ---- opening ----

static struct hw_error *hw_snapshot_read(struct hw_snapshot *snapshot)
{
	for (size_t i = 0; i < sizeof(hw_members) / sizeof(hw_members[0]); i++)
		HW_TRY(hw_member_read(snapshot, &hw_members[i]));
	HW_TRY(hw_categories_read(snapshot));
	return hw_snapshot_rows(snapshot,
				"SELECT code,size,category,allocator FROM codes ORDER BY code",
				hw_code_read, NULL);
}

struct hw_error *hw_snapshot_load(struct hw_db *db, const char *name, struct hw_snapshot **ret)
{
	struct hw_snapshot *snapshot = calloc(1, sizeof(*snapshot));
	if (!snapshot) {
		hw_db_close(db);
		return &hw_enomem;
	}
	snapshot->db = *db;
	hw_strtab_init(&snapshot->strings);
	snapshot->db.name = snapshot->info.name = snapshot->name = strdup(name);
	struct hw_error *err = snapshot->name ? hw_snapshot_read(snapshot) : &hw_enomem;
	if (err)
		hw_snapshot_close(snapshot);
	else
		*ret = snapshot;
	return err;
}

void hw_snapshot_close(struct hw_snapshot *snapshot)
{
	if (!snapshot)
		return;
	hw_db_close(&snapshot->db);
	hw_strtab_deinit(&snapshot->strings);
	hw_vec_deinit(&snapshot->categories);
	hw_vec_deinit(&snapshot->ids);
	for (size_t i = 0; i <= HW_SNAPSHOT_CODE_BYTES_MAX; i++)
		hw_vec_deinit(&snapshot->shapes[i]);
	free(snapshot->name);
	free(snapshot);
}

const struct hw_snapshot_info *hw_snapshot_info(const struct hw_snapshot *snapshot)
{
	return &snapshot->info;
}

size_t hw_snapshot_category_count(const struct hw_snapshot *snapshot)
{
	return snapshot->categories.count;
}

const struct hw_snapshot_category *hw_snapshot_category(const struct hw_snapshot *snapshot,
							uint32_t id)
{
	return &snapshot->categories.data[id];
}
