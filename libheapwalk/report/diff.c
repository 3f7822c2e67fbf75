/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `diff`: what changed between two moments, each a label, a snapshot file, or now.
#include "analysis/diff.h"

#include <string.h>

#include "base/cleanup.h"
#include "report/report.h"

// ---- which snapshots ----

struct hw_diff_sides {
	struct hw_snapshot *snapshots[HW_DIFF_MAX];
	bool is_owned[HW_DIFF_MAX]; // a label's is the session's
	size_t count;
};

static void hw_diff_sides_cleanup(struct hw_diff_sides *sides)
{
	for (size_t i = 0; i < sides->count; i++)
		if (sides->is_owned[i])
			hw_snapshot_close(sides->snapshots[i]);
}

static struct hw_error *hw_diff_add_now(struct hw_session *session, struct hw_diff_sides *sides)
{
	HW_TRY(hw_snapshot_take(session, "now", &sides->snapshots[sides->count]));
	sides->is_owned[sides->count++] = true;
	return NULL;
}

static struct hw_error *hw_diff_add(struct hw_session *session, const char *word,
				    struct hw_diff_sides *sides)
{
	struct hw_snapshot *label = hw_session_find_label(session, word);
	if (label) {
		sides->snapshots[sides->count++] = label;
		return NULL;
	}
	struct hw_error *err = hw_snapshot_open(word, &session->progress,
						&sides->snapshots[sides->count]);
	if (!err) {
		sides->is_owned[sides->count++] = true;
		return NULL;
	}
	if (session->labels && access(word, F_OK)) {
		hw_error_destroy(err);
		return hw_error_create(
			HW_ERROR_INVALID,
			"there is no label and no file \"%.100s\": \"log\" lists the "
			"labels",
			word);
	}
	return err;
}

static struct hw_error *hw_diff_resolve(struct hw_report *report, struct hw_diff_sides *sides)
{
	struct hw_session *session = report->session;
	const struct hw_arguments *arguments = report->arguments;
	const struct hw_labels *labels = session->labels;
	if (arguments->words.count > HW_DIFF_MAX)
		return hw_error_create(HW_ERROR_INVALID, "diff takes up to %d snapshots",
				       HW_DIFF_MAX);
	if (!arguments->words.count && (!labels || !labels->list.count))
		return hw_error_create(HW_ERROR_INVALID,
				       "there is nothing to compare with: name a snapshot file, or "
				       "take a label first (label NAME)");
	if (!arguments->words.count) {
		sides->snapshots[sides->count++] =
			labels->list.data[labels->list.count - 1].snapshot;
		return hw_diff_add_now(session, sides);
	}
	if (arguments->words.count == 1 && session->is_detached)
		return hw_error_create(HW_ERROR_INVALID,
				       "diff of one snapshot compares it with the process as it is "
				       "now: give that (-p PID or -c CORE), or a second snapshot");
	for (size_t i = 0; i < arguments->words.count; i++)
		HW_TRY(hw_diff_add(session, arguments->words.data[i], sides));
	return sides->count == 1 ? hw_diff_add_now(session, sides) : NULL;
}

// ---- what is said of them ----

static struct json_object *hw_diff_json_info(struct hw_report *report,
					     const struct hw_snapshot_info *info)
{
	struct json_object *object = json_object_new_object();
	hw_json_add_text(report, object, "name", info->name);
	hw_json_add(object, "taken", json_object_new_int64(info->taken));
	hw_json_add_text(report, object, "kind", info->kind);
	hw_json_add(object, "pid", info->pid ? json_object_new_int64(info->pid) : NULL);
	hw_json_add_text(report, object, "exe", *info->exe ? info->exe : NULL);
	hw_json_add_text(report, object, "heapwalk", info->writer);
	hw_json_add_number(object, "in_use_count", info->ledger.in_use_count);
	hw_json_add_number(object, "in_use_bytes", info->ledger.in_use_bytes);
	hw_json_add_number(object, "mapped_bytes", info->ledger.mapped_bytes);
	hw_json_add_number(object, "content_bytes", info->content_bytes);
	hw_json_add_text(report, object, "partial", *info->partial ? info->partial : NULL);
	return object;
}

void hw_diff_begin(struct hw_report *report, struct hw_snapshot *const *snapshots, size_t count)
{
	static const char *const words[][HW_DIFF_MAX] = { { "from", "to" },
							  { "not in", "in", "and in" } };
	hw_report_begin(report, "diff");
	struct json_object *array = json_object_new_array();
	for (size_t i = 0; i < count; i++) {
		const struct hw_snapshot_info *info = hw_snapshot_info(snapshots[i]);
		char blocks[32], bytes[32];
		hw_report_line(report, "%s %s: %s blocks in use, %s bytes",
			       words[count == HW_DIFF_MAX][i], hw_clean_text(report, info->name),
			       hw_commas(info->ledger.in_use_count, blocks),
			       hw_commas(info->ledger.in_use_bytes, bytes));
		if (array)
			json_object_array_add(array, hw_diff_json_info(report, info));
	}
	hw_report_member(report, "snapshots", array);
	const struct hw_snapshot *last = snapshots[count - 1];
	hw_cleanup_free char *strangers = hw_diff_strangers(snapshots[0], last);
	if (count == HW_DIFF_MAX && !strangers)
		strangers = hw_diff_strangers(snapshots[1], last);
	hw_report_member(report, "strangers",
			 strangers ? json_object_new_string(hw_clean_text(report, strangers))
				   : NULL);
	if (strangers)
		hw_report_line(report,
			       "These are snapshots of %s: equal addresses are not equal blocks.",
			       hw_clean_text(report, strangers));
}

// The first snapshot that is not whole makes the comparison one that is not.
static struct hw_error *hw_diff_shortfall(const struct hw_diff_sides *sides)
{
	for (size_t i = 0; i < sides->count; i++) {
		const struct hw_snapshot_info *info = hw_snapshot_info(sides->snapshots[i]);
		if (*info->partial)
			return hw_error_create(HW_ERROR_PARTIAL,
					       "the report is partial, as snapshot %s is: %s",
					       info->name, info->partial);
	}
	return NULL;
}

// ---- by group ----

enum {
	HW_CHANGE_DOMAIN,
	HW_CHANGE_KIND,
	HW_CHANGE_DETAIL,
	HW_CHANGE_STATE,
	HW_CHANGE_ALLOCATOR,
	HW_CHANGE_MODULE,
	HW_CHANGE_SIZE,
	HW_CHANGE_COUNT_CHANGE,
	HW_CHANGE_BYTES_CHANGE,
	HW_CHANGE_COUNT_BEFORE,
	HW_CHANGE_COUNT,
	HW_CHANGE_BYTES_BEFORE,
	HW_CHANGE_BYTES,
	HW_CHANGE_CELLS
};

#define HW_CHANGE_COLUMNS(domain, kind, detail, state, allocator, module, size)                    \
	{                                                                                          \
		[HW_CHANGE_DOMAIN] = { domain, "domain" }, [HW_CHANGE_KIND] = { kind, "kind" },    \
		[HW_CHANGE_DETAIL] = { detail, "detail" }, [HW_CHANGE_STATE] = { state, "state" }, \
		[HW_CHANGE_ALLOCATOR] = { allocator, "allocator" },                                \
		[HW_CHANGE_MODULE] = { module, "module" }, [HW_CHANGE_SIZE] = { size, "size" },    \
		[HW_CHANGE_COUNT_CHANGE] = { "Count +/-", "count_change" },                        \
		[HW_CHANGE_BYTES_CHANGE] = { "Bytes +/-", "bytes_change" },                        \
		[HW_CHANGE_COUNT_BEFORE] = { NULL, "count_before" },                               \
		[HW_CHANGE_COUNT] = { "Count", "count" },                                          \
		[HW_CHANGE_BYTES_BEFORE] = { NULL, "bytes_before" },                               \
		[HW_CHANGE_BYTES] = { "Bytes", "bytes" },                                          \
	}

struct hw_diff_form {
	const char *word;
	enum hw_group group;
	struct hw_column columns[HW_CHANGE_CELLS];
	size_t total_at; // the cell that says TOTAL
};
static const struct hw_diff_form hw_diff_forms[] = {
	{ "category", HW_GROUP_CATEGORY,
	  HW_CHANGE_COLUMNS("Domain", "Kind", "Detail", NULL, NULL, NULL, NULL), HW_CHANGE_DETAIL },
	{ "domain", HW_GROUP_DOMAIN,
	  HW_CHANGE_COLUMNS("Domain", NULL, NULL, NULL, NULL, NULL, NULL), HW_CHANGE_DOMAIN },
	{ "kind", HW_GROUP_KIND, HW_CHANGE_COLUMNS("Domain", "Kind", NULL, NULL, NULL, NULL, NULL),
	  HW_CHANGE_KIND },
	{ "module", HW_GROUP_MODULE,
	  HW_CHANGE_COLUMNS("Domain", NULL, NULL, NULL, NULL, "Module", NULL), HW_CHANGE_MODULE },
	{ "state", HW_GROUP_STATE, HW_CHANGE_COLUMNS(NULL, NULL, NULL, "State", NULL, NULL, NULL),
	  HW_CHANGE_STATE },
	{ "size", HW_GROUP_SIZE, HW_CHANGE_COLUMNS("Domain", NULL, NULL, NULL, NULL, NULL, "Size"),
	  HW_CHANGE_DOMAIN },
	{ "allocator", HW_GROUP_ALLOCATOR,
	  HW_CHANGE_COLUMNS(NULL, NULL, NULL, NULL, "Allocator", NULL, NULL), HW_CHANGE_ALLOCATOR },
};

static void hw_change_cells(const struct hw_diff_row *row, struct hw_cell *cells)
{
	const struct hw_group_row *group = &row->group;
	cells[HW_CHANGE_DOMAIN] = hw_cell_text(group->domain);
	cells[HW_CHANGE_KIND] = hw_cell_text(group->kind);
	cells[HW_CHANGE_DETAIL] = hw_cell_text(group->detail);
	cells[HW_CHANGE_STATE] = hw_cell_text(group->state);
	cells[HW_CHANGE_ALLOCATOR] = hw_cell_text(group->allocator);
	cells[HW_CHANGE_MODULE] = hw_cell_text(group->module);
	cells[HW_CHANGE_SIZE] = group->has_size ? hw_cell_number(group->size_bytes)
						: hw_cell_none();
	// Sums of a snapshot are below 2^63: it was checked when it was opened.
	cells[HW_CHANGE_COUNT_CHANGE] = hw_cell_change((int64_t)(row->count[1] - row->count[0]));
	cells[HW_CHANGE_BYTES_CHANGE] = hw_cell_change((int64_t)(row->bytes[1] - row->bytes[0]));
	cells[HW_CHANGE_COUNT_BEFORE] = hw_cell_number(row->count[0]);
	cells[HW_CHANGE_COUNT] = hw_cell_number(row->count[1]);
	cells[HW_CHANGE_BYTES_BEFORE] = hw_cell_number(row->bytes[0]);
	cells[HW_CHANGE_BYTES] = hw_cell_number(row->bytes[1]);
}

static void hw_diff_member_total(struct hw_report *report, const struct hw_diff_row *total,
				 size_t row_count, struct hw_snapshot *const *snapshots)
{
	const struct hw_ledger *before = &hw_snapshot_info(snapshots[0])->ledger;
	const struct hw_ledger *after = &hw_snapshot_info(snapshots[1])->ledger;
	const struct {
		const char *key;
		uint64_t before, after;
	} members[] = {
		{ "count_change", total->count[0], total->count[1] },
		{ "bytes_change", total->bytes[0], total->bytes[1] },
		{ "in_use_count_change", before->in_use_count, after->in_use_count },
		{ "in_use_bytes_change", before->in_use_bytes, after->in_use_bytes },
		{ "free_bytes_change", before->free_bytes, after->free_bytes },
		{ "overhead_bytes_change", before->overhead_bytes, after->overhead_bytes },
		{ "unknown_bytes_change", before->unknown_bytes, after->unknown_bytes },
		{ "mapped_bytes_change", before->mapped_bytes, after->mapped_bytes },
	};
	struct json_object *object = json_object_new_object();
	hw_json_add_number(object, "rows", row_count);
	for (size_t i = 0; i < HW_ARRAY_COUNT(members); i++)
		hw_json_add(object, members[i].key,
			    json_object_new_int64((int64_t)(members[i].after - members[i].before)));
	hw_report_member(report, "total", object);
}

static void hw_diff_print(struct hw_report *report, const struct hw_diff_form *form,
			  struct hw_rows *rows, const struct hw_diff_row *total,
			  struct hw_snapshot *const *snapshots)
{
	const char *sort = hw_argument(report->arguments, "sort");
	size_t row_count = hw_rows_count(rows);
	hw_rows_sort(rows, sort ? sort : "bytes_change");
	hw_diff_begin(report, snapshots, 2);
	hw_table_begin(report, "rows", form->columns, HW_CHANGE_CELLS);
	hw_rows_print(rows, report, report->top);
	struct hw_cell cells[HW_CHANGE_CELLS];
	hw_change_cells(total, cells);
	cells[form->total_at] = hw_cell_text("TOTAL");
	hw_table_total(report, cells);
	hw_table_end(report);
	if (row_count > report->top)
		hw_report_line(report, "(%zu more rows are in the total)",
			       row_count - (size_t)report->top);
	hw_diff_member_total(report, total, row_count, snapshots);
}

static struct hw_error *hw_diff_print_groups(struct hw_report *report,
					     const struct hw_diff_form *form,
					     struct hw_snapshot *const *snapshots)
{
	struct hw_diff_rows diff;
	HW_TRY(hw_diff_group(snapshots[0], snapshots[1], form->group, &diff));
	struct hw_rows rows = { .columns = form->columns, .column_count = HW_CHANGE_CELLS };
	struct hw_diff_row total = { 0 };
	bool ok = true;
	hw_vec_foreach(row, &diff.list)
	{
		struct hw_cell cells[HW_CHANGE_CELLS];
		for (int side = 0; side < 2; side++) {
			total.count[side] += row->count[side];
			total.bytes[side] += row->bytes[side];
		}
		if (row->count[0] == row->count[1] && row->bytes[0] == row->bytes[1])
			continue;
		hw_change_cells(row, cells);
		ok = ok && hw_rows_push(&rows, cells);
	}
	if (ok)
		hw_diff_print(report, form, &rows, &total, snapshots);
	hw_rows_deinit(&rows);
	hw_diff_rows_deinit(&diff);
	return ok ? NULL : &hw_enomem;
}

// ---- the command ----

static struct hw_error *hw_diff_dispatch(struct hw_report *report,
					 const struct hw_diff_sides *sides)
{
	const char *by = hw_argument(report->arguments, "by");
	bool is_setting = hw_argument_is_default(report->arguments, "sort");
	const char *sort = is_setting ? NULL : hw_argument(report->arguments, "sort");
	if (!by)
		by = "category";
	bool by_block = !strcmp(by, "block");
	if (sort && (by_block || !strcmp(by, "class")))
		return hw_error_create(HW_ERROR_INVALID,
				       "diff by %s has an order of its own: leave out sort", by);
	if (sides->count == HW_DIFF_MAX) {
		if (by_block)
			return hw_diff_print_blocks(report, sides->snapshots, sides->count);
		if (!strcmp(by, "category") && !sort)
			return hw_diff_print_survivors(report, sides->snapshots);
		return hw_error_create(HW_ERROR_INVALID,
				       "diff of three snapshots is by category or by block, in its "
				       "own order");
	}
	if (by_block)
		return hw_diff_print_blocks(report, sides->snapshots, sides->count);
	if (!strcmp(by, "class"))
		return hw_diff_print_classes(report, sides->snapshots);
	for (size_t i = 0; i < HW_ARRAY_COUNT(hw_diff_forms); i++)
		if (!strcmp(hw_diff_forms[i].word, by))
			return hw_diff_print_groups(report, &hw_diff_forms[i], sides->snapshots);
	return hw_error_create(HW_ERROR_INVALID, "diff has no form by %s", by);
}

struct hw_error *hw_report_diff(struct hw_report *report)
{
	hw_cleanup_with(hw_diff_sides_cleanup) struct hw_diff_sides sides = { 0 };
	HW_TRY(hw_diff_resolve(report, &sides));
	HW_TRY(hw_diff_dispatch(report, &sides));
	return hw_diff_shortfall(&sides);
}
