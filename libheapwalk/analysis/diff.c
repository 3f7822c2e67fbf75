/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/diff.h"

#include <stdio.h>
#include <string.h>

#include "analysis/query.h"
#include "base/cleanup.h"

// ---- by group ----

static struct hw_category hw_category_words(const struct hw_snapshot_category *from)
{
	return (struct hw_category){ .domain = from->domain,
				     .kind = from->kind,
				     .detail = from->detail,
				     .state = from->state,
				     .state_word = from->state_word };
}

static bool hw_diff_push(struct hw_diff_rows *rows, struct hw_group_row group, int side,
			 uint64_t count, uint64_t bytes)
{
	struct hw_diff_row row = { .group = group };
	row.count[side] = count;
	row.bytes[side] = bytes;
	return hw_vec_push(&rows->list, row);
}

static int hw_diff_order(const void *left, const void *right)
{
	const struct hw_diff_row *a = left, *b = right;
	return hw_group_order(&a->group, &b->group);
}

// Rows of one group become one.
static void hw_diff_join(struct hw_diff_rows *rows)
{
	if (!rows->list.count)
		return;
	qsort(rows->list.data, rows->list.count, sizeof(*rows->list.data), hw_diff_order);
	size_t kept = 0;
	for (size_t i = 1; i < rows->list.count; i++) {
		struct hw_diff_row *last = &rows->list.data[kept], *row = &rows->list.data[i];
		if (hw_diff_order(last, row)) {
			rows->list.data[++kept] = *row;
			continue;
		}
		for (int side = 0; side < 2; side++) {
			last->count[side] += row->count[side];
			last->bytes[side] += row->bytes[side];
		}
	}
	rows->list.count = kept + 1;
}

static struct hw_error *hw_diff_categories_of(const struct hw_snapshot *snapshot,
					      enum hw_group group, int side,
					      struct hw_diff_rows *rows)
{
	for (uint32_t i = 0; i < hw_snapshot_category_count(snapshot); i++) {
		const struct hw_snapshot_category *from = hw_snapshot_category(snapshot, i);
		struct hw_category category = hw_category_words(from);
		struct hw_group_row row = hw_group_of(&category, group);
		if (group == HW_GROUP_MODULE)
			row.module = from->module;
		if (!hw_diff_push(rows, row, side, from->count, from->bytes))
			return &hw_enomem;
	}
	return NULL;
}

static bool hw_is_same_group(const struct hw_diff_row *row, const char *domain, uint64_t size,
			     const char *allocator)
{
	return row->group.domain == domain && row->group.allocator == allocator &&
	       row->group.size_bytes == size;
}

// A heap has few sizes beside each other: a small table of the rows met last saves most look-ups, and
// rows are joined whenever they have doubled.
enum { HW_RECENT = 1 << 12, HW_JOIN_MIN = 1 << 16 };

static struct hw_error *hw_diff_blocks_of(struct hw_snapshot *snapshot,
					  struct hw_snapshot_cursor *cursor, enum hw_group group,
					  int side, struct hw_diff_rows *rows)
{
	hw_cleanup_free uint32_t *recent = calloc(HW_RECENT, sizeof(*recent)); // row + 1
	size_t join_at = HW_JOIN_MIN;
	if (!recent)
		return &hw_enomem;
	for (;;) {
		struct hw_snapshot_block block;
		bool is_end;
		HW_TRY(hw_snapshot_cursor_next(cursor, &block, &is_end));
		if (is_end)
			return NULL;
		bool by_size = group == HW_GROUP_SIZE;
		const char *domain =
			by_size ? hw_snapshot_category(snapshot, block.category)->domain : NULL;
		const char *allocator = by_size ? NULL : hw_allocator_word(block.allocator);
		uint64_t size = by_size ? block.size_bytes : 0;
		uint64_t h = (size ^ (uintptr_t)domain >> 4) * 0x9e3779b97f4a7c15u;
		uint32_t *slot = &recent[(h ^ (uintptr_t)allocator) >> 20 & (HW_RECENT - 1)];
		if (*slot &&
		    hw_is_same_group(&rows->list.data[*slot - 1], domain, size, allocator)) {
			rows->list.data[*slot - 1].count[side]++;
			rows->list.data[*slot - 1].bytes[side] += block.size_bytes;
			continue;
		}
		struct hw_group_row row = { .domain = domain,
					    .allocator = allocator,
					    .has_size = by_size,
					    .size_bytes = size };
		if (rows->list.count >= join_at) {
			hw_diff_join(rows);
			memset(recent, 0, HW_RECENT * sizeof(*recent));
			join_at = rows->list.count * 2 + HW_JOIN_MIN;
		}
		if (!hw_diff_push(rows, row, side, 1, block.size_bytes))
			return &hw_enomem;
		*slot = (uint32_t)rows->list.count;
	}
}

static struct hw_error *hw_diff_side(struct hw_snapshot *snapshot, enum hw_group group, int side,
				     struct hw_diff_rows *rows)
{
	if (group != HW_GROUP_SIZE && group != HW_GROUP_ALLOCATOR)
		return hw_diff_categories_of(snapshot, group, side, rows);
	struct hw_snapshot_cursor *cursor;
	HW_TRY(hw_snapshot_cursor_open(snapshot, &cursor));
	struct hw_error *err = hw_diff_blocks_of(snapshot, cursor, group, side, rows);
	hw_snapshot_cursor_close(cursor);
	return err;
}

struct hw_error *hw_diff_group(struct hw_snapshot *before, struct hw_snapshot *after,
			       enum hw_group group, struct hw_diff_rows *ret)
{
	struct hw_diff_rows rows = { 0 };
	struct hw_error *err = hw_diff_side(before, group, 0, &rows);
	if (!err)
		err = hw_diff_side(after, group, 1, &rows);
	if (err) {
		hw_diff_rows_deinit(&rows);
		return err;
	}
	hw_diff_join(&rows);
	*ret = rows;
	return NULL;
}

void hw_diff_rows_deinit(struct hw_diff_rows *rows)
{
	hw_vec_deinit(&rows->list);
}

// ---- categories of several snapshots ----

// Numbers of texts, each preceded by its length: no text can look like two.
static uint32_t hw_number_words(struct hw_strtab *tab, const char *domain, const char *kind,
				const char *detail)
{
	hw_cleanup_free char *words = NULL;
	int len = asprintf(&words, "%zu:%s%zu:%s%s", strlen(domain), domain, strlen(kind), kind,
			   detail);
	if (len < 0) {
		words = NULL;
		return UINT32_MAX;
	}
	return hw_strtab_intern(tab, words, (size_t)len);
}

static struct hw_error *hw_number_categories(const struct hw_snapshot *snapshot,
					     struct hw_strtab *tab, uint32_t **ret_ids,
					     uint32_t **ret_kinds)
{
	size_t count = hw_snapshot_category_count(snapshot);
	uint32_t *ids = *ret_ids = calloc(count + 1, sizeof(*ids));
	uint32_t *kinds = *ret_kinds = calloc(count + 1, sizeof(*kinds));
	if (!ids || !kinds)
		return &hw_enomem;
	for (uint32_t i = 0; i < count; i++) {
		struct hw_category words = hw_category_words(hw_snapshot_category(snapshot, i));
		struct hw_group_row row = hw_group_of(&words, HW_GROUP_CATEGORY);
		ids[i] = hw_number_words(tab, row.domain, row.kind, row.detail);
		kinds[i] = hw_number_words(tab, row.domain, row.kind, "");
		if (ids[i] == UINT32_MAX || kinds[i] == UINT32_MAX)
			return &hw_enomem;
	}
	return NULL;
}

struct hw_error *hw_diff_categories_init(struct hw_snapshot *const *snapshots, size_t count,
					 struct hw_diff_categories *ret)
{
	struct hw_diff_categories categories = { 0 };
	struct hw_strtab tab;
	struct hw_error *err = NULL;
	hw_strtab_init(&tab);
	for (size_t i = 0; i < count && !err; i++)
		err = hw_number_categories(snapshots[i], &tab, &categories.ids[i],
					   &categories.kinds[i]);
	hw_strtab_deinit(&tab);
	if (err)
		hw_diff_categories_deinit(&categories);
	else
		*ret = categories;
	return err;
}

void hw_diff_categories_deinit(struct hw_diff_categories *categories)
{
	for (size_t i = 0; i < HW_DIFF_MAX; i++) {
		free(categories->ids[i]);
		free(categories->kinds[i]);
	}
	*categories = (struct hw_diff_categories){ 0 };
}

// ---- block by block ----

struct hw_diff_side_walk {
	struct hw_snapshot *snapshot;
	struct hw_snapshot_cursor *cursor;
	struct hw_snapshot_block block; // the next one in use
	bool is_end;
};

static struct hw_error *hw_diff_next(struct hw_diff_side_walk *side)
{
	do {
		HW_TRY(hw_snapshot_cursor_next(side->cursor, &side->block, &side->is_end));
	} while (!side->is_end &&
		 hw_snapshot_category(side->snapshot, side->block.category)->state !=
			 HW_STATE_IN_USE);
	return NULL;
}

static struct hw_error *hw_diff_merge(struct hw_diff_side_walk *sides, size_t count,
				      bool (*visit)(void *payload, const struct hw_diff_step *step),
				      void *payload)
{
	for (size_t i = 0; i < count; i++)
		HW_TRY(hw_diff_next(&sides[i]));
	for (;;) {
		hw_addr_t lowest = UINT64_MAX;
		for (size_t i = 0; i < count; i++)
			if (!sides[i].is_end && sides[i].block.start < lowest)
				lowest = sides[i].block.start;
		if (lowest == UINT64_MAX)
			return NULL;
		struct hw_diff_step step = { 0 };
		for (size_t i = 0; i < count; i++)
			if (!sides[i].is_end && sides[i].block.start == lowest)
				step.blocks[i] = &sides[i].block;
		if (!visit(payload, &step))
			return NULL;
		for (size_t i = 0; i < count; i++)
			if (step.blocks[i])
				HW_TRY(hw_diff_next(&sides[i]));
	}
}

struct hw_error *hw_diff_walk(struct hw_snapshot *const *snapshots, size_t count,
			      bool (*visit)(void *payload, const struct hw_diff_step *step),
			      void *payload)
{
	struct hw_diff_side_walk sides[HW_DIFF_MAX] = { 0 };
	struct hw_error *err = NULL;
	for (size_t i = 0; i < count && !err; i++) {
		sides[i].snapshot = snapshots[i];
		err = hw_snapshot_cursor_open(snapshots[i], &sides[i].cursor);
	}
	if (!err)
		err = hw_diff_merge(sides, count, visit, payload);
	for (size_t i = 0; i < count; i++)
		hw_snapshot_cursor_close(sides[i].cursor);
	return err;
}

// ---- whose they are ----

char *hw_diff_strangers(const struct hw_snapshot *a, const struct hw_snapshot *b)
{
	const struct hw_snapshot_info *x = hw_snapshot_info(a), *y = hw_snapshot_info(b);
	char *words = NULL;
	int len = 0;
	if (x->pid && y->pid && x->pid != y->pid)
		len = asprintf(&words, "process %lld and process %lld", (long long)x->pid,
			       (long long)y->pid);
	else if (x->birth && y->birth && x->birth != y->birth)
		len = asprintf(&words, "two processes that had the number %lld one after the other",
			       (long long)x->pid);
	else if (*x->exe && *y->exe && strcmp(x->exe, y->exe) != 0)
		len = asprintf(&words, "%s and %s", x->exe, y->exe);
	return len < 0 ? NULL : words;
}
