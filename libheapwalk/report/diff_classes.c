/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `diff` by size class: the difference of what sys._debugmallocstats() would have printed at the two
// moments, in the form that pymemtrace gives it: lines that did not change are left out.
#include <stdio.h>
#include <string.h>

#include "analysis/snapshot.h"
#include "report/report.h"

enum {
	HW_CLASS_INDEX,
	HW_CLASS_SIZE,
	HW_CLASS_POOLS,
	HW_CLASS_IN_USE,
	HW_CLASS_FREE,
	HW_CLASS_CELLS
};
static const struct hw_column hw_class_columns[HW_CLASS_CELLS] = {
	[HW_CLASS_INDEX] = { "class", "class" },
	[HW_CLASS_SIZE] = { "size", "size" },
	[HW_CLASS_POOLS] = { "num pools", "pools_change" },
	[HW_CLASS_IN_USE] = { "blocks in use", "blocks_in_use_change" },
	[HW_CLASS_FREE] = { "avail blocks", "blocks_free_change" },
};

struct hw_class_diff {
	struct hw_report *report;
	const struct hw_snapshot_pymalloc *before, *after;
	struct json_object *totals;
	bool has_line; // of the paragraph under way
};

// ---- the table ----

static bool hw_class_changes(const struct hw_class_diff *diff, uint32_t i, int64_t *changes)
{
	const struct hw_size_class_stats *before = &diff->before->classes[i];
	const struct hw_size_class_stats *after = &diff->after->classes[i];
	changes[0] = (int64_t)(after->pools - before->pools);
	changes[1] = (int64_t)(after->blocks_in_use - before->blocks_in_use);
	changes[2] = (int64_t)(after->blocks_free - before->blocks_free);
	return changes[0] || changes[1] || changes[2];
}

static void hw_class_table(struct hw_class_diff *diff)
{
	struct hw_report *report = diff->report;
	bool is_text = report->format == HW_FORMAT_TEXT;
	int64_t changes[3];
	uint64_t shown = 0;
	if (!is_text)
		hw_table_begin(report, "rows", hw_class_columns, HW_CLASS_CELLS);
	for (uint32_t i = 0; i < diff->after->size_class_count && shown < report->top; i++) {
		uint64_t size = (uint64_t)(i + 1) * diff->after->alignment;
		if (!hw_class_changes(diff, i, changes))
			continue;
		if (is_text && !shown) {
			hw_report_line(report,
				       "class   size   num pools   blocks in use  avail blocks");
			hw_report_line(report,
				       "-----   ----   ---------   -------------  ------------");
		}
		shown++;
		if (is_text) {
			hw_report_line(report, "%5u  %5llu  %+10lld  %+14lld  %+12lld", i,
				       (unsigned long long)size, (long long)changes[0],
				       (long long)changes[1], (long long)changes[2]);
			continue;
		}
		const struct hw_cell cells[HW_CLASS_CELLS] = {
			[HW_CLASS_INDEX] = hw_cell_number(i),
			[HW_CLASS_SIZE] = hw_cell_number(size),
			[HW_CLASS_POOLS] = hw_cell_change(changes[0]),
			[HW_CLASS_IN_USE] = hw_cell_change(changes[1]),
			[HW_CLASS_FREE] = hw_cell_change(changes[2]),
		};
		hw_table_row(report, cells);
	}
	if (!is_text)
		hw_table_end(report);
	diff->has_line = shown > 0;
}

// ---- the lines below it ----

static const char *hw_signed_commas(int64_t number, char *buf)
{
	*buf = number < 0 ? '-' : '+';
	hw_commas(number < 0 ? 0 - (uint64_t)number : (uint64_t)number, buf + 1);
	return buf;
}

// A line of printone() (Objects/obmalloc.c): words to column 35, "=", a number to the right.
static void hw_class_line(struct hw_class_diff *diff, bool *is_first, const char *words,
			  int64_t change)
{
	char digits[33];
	if (*is_first && diff->has_line)
		hw_report_line(diff->report, "%s", "");
	*is_first = false;
	diff->has_line = true;
	hw_report_line(diff->report, "%-34s = %20s", words, hw_signed_commas(change, digits));
}

static void hw_class_total(struct hw_class_diff *diff, bool *is_first, const char *key,
			   const char *words, uint64_t before, uint64_t after)
{
	int64_t change = (int64_t)(after - before);
	hw_json_add(diff->totals, key, json_object_new_int64(change));
	if (change)
		hw_class_line(diff, is_first, words, change);
}

// "-4 unused pools * 4096 bytes       =              -16,384"
static void hw_class_product(struct hw_class_diff *diff, bool *is_first, const char *key,
			     const char *fmt, uint64_t before, uint64_t after, uint32_t unit)
{
	char words[80];
	int64_t change = (int64_t)(after - before);
	hw_json_add(diff->totals, key, json_object_new_int64(change));
	snprintf(words, sizeof(words), fmt, (long long)change, unit);
	if (change)
		hw_class_line(diff, is_first, words, (int64_t)((uint64_t)change * unit));
}

static uint64_t hw_class_sum(const struct hw_snapshot_pymalloc *pymalloc)
{
	return pymalloc->allocated_bytes + pymalloc->available_bytes +
	       pymalloc->unused_pools * pymalloc->pool_bytes + pymalloc->pool_header_bytes +
	       pymalloc->quantization_bytes + pymalloc->arena_alignment_bytes;
}

static void hw_class_totals(struct hw_class_diff *diff)
{
	const struct hw_snapshot_pymalloc *a = diff->before, *b = diff->after;
	bool is_first = true;
	if (a->has_arena_totals && b->has_arena_totals) {
		hw_class_total(diff, &is_first, "arenas_allocated_total",
			       "# arenas allocated total", a->arenas_allocated_total,
			       b->arenas_allocated_total);
		hw_class_total(diff, &is_first, "arenas_reclaimed", "# arenas reclaimed",
			       a->arenas_allocated_total - a->arenas,
			       b->arenas_allocated_total - b->arenas);
		hw_class_total(diff, &is_first, "arenas_highwater", "# arenas highwater mark",
			       a->arenas_highwater, b->arenas_highwater);
	}
	hw_class_total(diff, &is_first, "arenas", "# arenas allocated current", a->arenas,
		       b->arenas);
	hw_class_product(diff, &is_first, "arenas", "%+lld arenas * %u bytes/arena", a->arenas,
			 b->arenas, b->arena_bytes);
	is_first = true;
	hw_class_total(diff, &is_first, "allocated_bytes", "# bytes in allocated blocks",
		       a->allocated_bytes, b->allocated_bytes);
	hw_class_total(diff, &is_first, "available_bytes", "# bytes in available blocks",
		       a->available_bytes, b->available_bytes);
	hw_class_product(diff, &is_first, "unused_pools", "%+lld unused pools * %u bytes",
			 a->unused_pools, b->unused_pools, b->pool_bytes);
	hw_class_total(diff, &is_first, "pool_header_bytes", "# bytes lost to pool headers",
		       a->pool_header_bytes, b->pool_header_bytes);
	hw_class_total(diff, &is_first, "quantization_bytes", "# bytes lost to quantization",
		       a->quantization_bytes, b->quantization_bytes);
	hw_class_total(diff, &is_first, "arena_alignment_bytes", "# bytes lost to arena alignment",
		       a->arena_alignment_bytes, b->arena_alignment_bytes);
	hw_class_total(diff, &is_first, "bytes", "Total", hw_class_sum(a), hw_class_sum(b));
}

// ---- free lists ----

// "             +2 free PyDictObjects * 48 bytes each =                  +96"
static void hw_free_list_line(struct hw_class_diff *diff, bool *is_first, struct json_object *array,
			      const struct hw_snapshot_free_list *list, int64_t change)
{
	char words[160], digits[33];
	int64_t bytes = (int64_t)((uint64_t)change * list->object_bytes);
	struct json_object *object = json_object_new_object();
	hw_json_add_text(diff->report, object, "name", list->name);
	hw_json_add_number(object, "size", list->object_bytes);
	hw_json_add(object, "count_change", json_object_new_int64(change));
	hw_json_add(object, "bytes_change", json_object_new_int64(bytes));
	if (!array || json_object_array_add(array, object))
		json_object_put(object);
	if (*is_first && diff->has_line)
		hw_report_line(diff->report, "%s", "");
	*is_first = false;
	diff->has_line = true;
	snprintf(words, sizeof(words), "%+lld free %ss * %llu bytes each", (long long)change,
		 hw_clean_text(diff->report, list->name), (unsigned long long)list->object_bytes);
	hw_report_line(diff->report, "%48s = %20s", words, hw_signed_commas(bytes, digits));
}

static int hw_free_list_compare(const struct hw_snapshot_free_lists *a, size_t i,
				const struct hw_snapshot_free_lists *b, size_t j)
{
	if (i == a->list.count || j == b->list.count)
		return (i == a->list.count) - (j == b->list.count);
	const struct hw_snapshot_free_list *x = &a->list.data[i], *y = &b->list.data[j];
	int ordering = strcmp(x->name, y->name);
	return ordering ? ordering
			: (x->object_bytes > y->object_bytes) - (x->object_bytes < y->object_bytes);
}

// Both are sorted; a list that one does not have is empty there.
static struct json_object *hw_free_list_lines(struct hw_class_diff *diff,
					      const struct hw_snapshot_free_lists *a,
					      const struct hw_snapshot_free_lists *b)
{
	struct json_object *array = json_object_new_array();
	bool is_first = true;
	size_t i = 0, j = 0;
	while (i < a->list.count || j < b->list.count) {
		int ordering = hw_free_list_compare(a, i, b, j);
		const struct hw_snapshot_free_list *before = ordering <= 0 ? &a->list.data[i++]
									   : NULL;
		const struct hw_snapshot_free_list *after = ordering >= 0 ? &b->list.data[j++]
									  : NULL;
		int64_t change = (after ? after->count : 0) - (before ? before->count : 0);
		if (change)
			hw_free_list_line(diff, &is_first, array, before ? before : after, change);
	}
	return array;
}

// Not known: NULL in JSON, and why at the end of the report.
static struct hw_error *hw_free_lists_unknown(struct hw_snapshot *const *snapshots)
{
	for (size_t i = 0; i < 2; i++) {
		const struct hw_snapshot_info *info = hw_snapshot_info(snapshots[i]);
		if (!strcmp(info->free_lists, "unknown"))
			return hw_error_create(
				HW_ERROR_PARTIAL,
				"the report is partial: snapshot %s does not know the "
				"free lists of its CPython, whose debug information was "
				"missing",
				info->name);
	}
	return NULL;
}

static struct hw_error *hw_class_read(struct hw_snapshot *snapshot,
				      struct hw_snapshot_pymalloc *ret)
{
	HW_TRY(hw_snapshot_read_pymalloc(snapshot, ret));
	if (!ret->is_known)
		return hw_error_create(
			HW_ERROR_NOT_FOUND,
			"snapshot %s has no numbers of pymalloc: no CPython was found "
			"in that process, or its arenas were not",
			hw_snapshot_info(snapshot)->name);
	return NULL;
}

static struct hw_error *hw_classes_print(struct hw_class_diff *diff,
					 struct hw_snapshot *const *snapshots,
					 const struct hw_snapshot_free_lists *lists)
{
	struct hw_report *report = diff->report;
	// The text form is the table and nothing else: it can be compared with pymemtrace's.
	if (report->format == HW_FORMAT_TEXT)
		hw_report_begin(report, "diff");
	else
		hw_diff_begin(report, snapshots, 2);
	hw_class_table(diff);
	diff->totals = json_object_new_object();
	hw_class_totals(diff);
	hw_report_member(report, "total", diff->totals);
	struct hw_error *unknown = hw_free_lists_unknown(snapshots);
	hw_report_member(report, "free_lists",
			 unknown ? NULL : hw_free_list_lines(diff, &lists[0], &lists[1]));
	if (!diff->has_line && !unknown)
		hw_report_line(report, "(no difference)");
	return unknown;
}

struct hw_error *hw_diff_print_classes(struct hw_report *report,
				       struct hw_snapshot *const *snapshots)
{
	struct hw_snapshot_pymalloc before, after;
	HW_TRY(hw_class_read(snapshots[0], &before));
	HW_TRY(hw_class_read(snapshots[1], &after));
	if (before.alignment != after.alignment || before.arena_bytes != after.arena_bytes ||
	    before.pool_bytes != after.pool_bytes ||
	    before.size_class_count != after.size_class_count)
		return hw_error_create(HW_ERROR_INVALID,
				       "the size classes of %s and of %s are different ones: they "
				       "are of different versions of CPython",
				       hw_snapshot_info(snapshots[0])->name,
				       hw_snapshot_info(snapshots[1])->name);
	struct hw_class_diff diff = { .report = report, .before = &before, .after = &after };
	struct hw_snapshot_free_lists lists[2] = { 0 };
	struct hw_error *err = hw_snapshot_read_free_lists(snapshots[0], &lists[0]);
	if (!err)
		err = hw_snapshot_read_free_lists(snapshots[1], &lists[1]);
	if (!err)
		err = hw_classes_print(&diff, snapshots, lists);
	hw_vec_deinit(&lists[0].list);
	hw_vec_deinit(&lists[1].list);
	return err;
}
