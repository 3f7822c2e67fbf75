/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What a snapshot has of pymalloc: the numbers of sys._debugmallocstats().
#include <string.h>

#include "analysis/snapshot_read.h"

enum { HW_FREE_LISTS_MAX = 1 << 16 }; // of all interpreters; a forged file ends here

static bool hw_add_number(sqlite3_stmt *stmt, int column, uint64_t *sum)
{
	uint64_t number;
	return hw_snapshot_number(stmt, column, &number) &&
	       !__builtin_add_overflow(*sum, number, sum);
}

static struct hw_error *hw_class_read(struct hw_snapshot *snapshot, sqlite3_stmt *stmt,
				      void *payload)
{
	struct hw_snapshot_pymalloc *pymalloc = payload;
	uint64_t class;
	if (hw_snapshot_number(stmt, 0, &class) && class < pymalloc->size_class_count &&
	    hw_add_number(stmt, 1, &pymalloc->classes[class].pools) &&
	    hw_add_number(stmt, 2, &pymalloc->classes[class].blocks_in_use) &&
	    hw_add_number(stmt, 3, &pymalloc->classes[class].blocks_free))
		return NULL;
	return hw_snapshot_damage(snapshot, "a row of its size_classes has values that can't be");
}

static bool hw_state_add(sqlite3_stmt *stmt, struct hw_snapshot_pymalloc *pymalloc)
{
	uint64_t arena_bytes, pool_bytes, alignment, classes;
	if (!hw_snapshot_number(stmt, 0, &arena_bytes) || arena_bytes > UINT32_MAX ||
	    !hw_snapshot_number(stmt, 1, &pool_bytes) || pool_bytes > UINT32_MAX ||
	    !hw_snapshot_number(stmt, 2, &alignment) || alignment > HW_PYMALLOC_ALIGNMENT_MAX ||
	    !hw_snapshot_number(stmt, 3, &classes) || classes > HW_PYMALLOC_SIZE_CLASSES_MAX)
		return false;
	pymalloc->is_known = true;
	pymalloc->arena_bytes = (uint32_t)arena_bytes;
	pymalloc->pool_bytes = (uint32_t)pool_bytes;
	pymalloc->alignment = (uint32_t)alignment;
	pymalloc->size_class_count = (uint32_t)classes;
	pymalloc->has_arena_totals &= hw_add_number(stmt, 5, &pymalloc->arenas_allocated_total) &&
				      hw_add_number(stmt, 6, &pymalloc->arenas_highwater);
	return hw_add_number(stmt, 4, &pymalloc->arenas) &&
	       hw_add_number(stmt, 7, &pymalloc->allocated_bytes) &&
	       hw_add_number(stmt, 8, &pymalloc->available_bytes) &&
	       hw_add_number(stmt, 9, &pymalloc->unused_pools) &&
	       hw_add_number(stmt, 10, &pymalloc->pool_header_bytes) &&
	       hw_add_number(stmt, 11, &pymalloc->quantization_bytes) &&
	       hw_add_number(stmt, 12, &pymalloc->arena_alignment_bytes);
}

static struct hw_error *hw_state_read(struct hw_snapshot *snapshot, sqlite3_stmt *stmt,
				      void *payload)
{
	if (hw_state_add(stmt, payload))
		return NULL;
	return hw_snapshot_damage(snapshot, "a row of its pymalloc has values that can't be");
}

struct hw_error *hw_snapshot_read_pymalloc(struct hw_snapshot *snapshot,
					   struct hw_snapshot_pymalloc *ret)
{
	*ret = (struct hw_snapshot_pymalloc){ .has_arena_totals = true };
	HW_TRY(hw_snapshot_rows(snapshot,
				"SELECT arena_bytes,pool_bytes,alignment,size_classes,arenas,"
				"arenas_allocated_total,arenas_highwater,allocated_bytes,"
				"available_bytes,unused_pools,pool_header_bytes,quantization_bytes,"
				"arena_alignment_bytes FROM pymalloc",
				hw_state_read, ret));
	return hw_snapshot_rows(snapshot,
				"SELECT class,pools,blocks_in_use,blocks_free FROM size_classes",
				hw_class_read, ret);
}

static int hw_free_list_order(const void *left, const void *right)
{
	const struct hw_snapshot_free_list *a = left, *b = right;
	int ordering = strcmp(a->name, b->name);
	return ordering ? ordering
			: (a->object_bytes > b->object_bytes) - (a->object_bytes < b->object_bytes);
}

static struct hw_error *hw_free_list_read(struct hw_snapshot *snapshot, sqlite3_stmt *stmt,
					  void *payload)
{
	struct hw_snapshot_free_lists *lists = payload;
	struct hw_snapshot_free_list list = {
		.name = hw_snapshot_text(snapshot, stmt, 0),
		.count = sqlite3_column_int64(stmt, 1),
	};
	if (!list.name)
		return &hw_enomem;
	if (sqlite3_column_type(stmt, 1) != SQLITE_INTEGER || list.count < INT32_MIN ||
	    list.count > INT32_MAX || !hw_snapshot_number(stmt, 2, &list.object_bytes) ||
	    list.object_bytes > INT32_MAX || lists->list.count == HW_FREE_LISTS_MAX)
		return hw_snapshot_damage(snapshot,
					  "a row of its free_lists has values that can't be");
	return hw_vec_push(&lists->list, list) ? NULL : &hw_enomem;
}

struct hw_error *hw_snapshot_read_free_lists(struct hw_snapshot *snapshot,
					     struct hw_snapshot_free_lists *ret)
{
	struct hw_snapshot_free_lists lists = { 0 };
	struct hw_error *err = hw_snapshot_rows(snapshot, "SELECT name,count,size FROM free_lists",
						hw_free_list_read, &lists);
	if (err) {
		hw_vec_deinit(&lists.list);
		return err;
	}
	if (lists.list.count)
		qsort(lists.list.data, lists.list.count, sizeof(*lists.list.data),
		      hw_free_list_order);
	size_t kept = 0;
	for (size_t i = 1; i < lists.list.count; i++) {
		struct hw_snapshot_free_list *last = &lists.list.data[kept];
		if (hw_free_list_order(last, &lists.list.data[i]))
			lists.list.data[++kept] = lists.list.data[i];
		else
			last->count += lists.list.data[i].count;
	}
	lists.list.count = lists.list.count ? kept + 1 : 0;
	*ret = lists;
	return NULL;
}
