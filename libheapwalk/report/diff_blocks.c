/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `diff` block by block: freed, new, changed; and of three snapshots what came and stayed.
#include "analysis/diff.h"

#include <string.h>

#include "analysis/query.h"
#include "base/cleanup.h"
#include "report/report.h"

enum {
	HW_BLOCK_CHANGE,
	HW_BLOCK_START,
	HW_BLOCK_END,
	HW_BLOCK_SIZE,
	HW_BLOCK_ALLOCATOR,
	HW_BLOCK_DOMAIN,
	HW_BLOCK_KIND,
	HW_BLOCK_DETAIL,
	HW_BLOCK_WAS_DOMAIN,
	HW_BLOCK_WAS_KIND,
	HW_BLOCK_WAS_DETAIL,
	HW_BLOCK_CELLS
};

#define HW_BLOCK_COLUMNS(change, was_domain, was_kind, was_detail)                                 \
	{                                                                                          \
		[HW_BLOCK_CHANGE] = { change, "change" }, [HW_BLOCK_START] = { "Start", "start" }, \
		[HW_BLOCK_END] = { "End", "end" }, [HW_BLOCK_SIZE] = { "Size", "size" },           \
		[HW_BLOCK_ALLOCATOR] = { NULL, "allocator" },                                      \
		[HW_BLOCK_DOMAIN] = { "Domain", "domain" }, [HW_BLOCK_KIND] = { "Kind", "kind" },  \
		[HW_BLOCK_DETAIL] = { "Detail", "detail" },                                        \
		[HW_BLOCK_WAS_DOMAIN] = { was_domain, "was_domain" },                              \
		[HW_BLOCK_WAS_KIND] = { was_kind, "was_kind" },                                    \
		[HW_BLOCK_WAS_DETAIL] = { was_detail, "was_detail" },                              \
	}

static const struct hw_column hw_change_columns[HW_BLOCK_CELLS] =
	HW_BLOCK_COLUMNS("Change", "Was: domain", "Kind", "Detail");
static const struct hw_column hw_survivor_columns[HW_BLOCK_CELLS] = HW_BLOCK_COLUMNS(NULL, NULL,
										     NULL, NULL);

enum hw_change { HW_CHANGE_NONE, HW_CHANGE_FREED, HW_CHANGE_NEW, HW_CHANGE_CHANGED, HW_CHANGES };
static const char *const hw_change_words[HW_CHANGES] = { "", "freed", "new", "changed" };

struct hw_tally {
	uint64_t count, bytes;
};

struct hw_block_diff {
	struct hw_report *report;
	struct hw_snapshot *const *snapshots;
	struct hw_diff_categories categories;
	struct hw_tally tallies[HW_CHANGES];
	struct hw_tally *survivors; // by category of the last of three; NULL: blocks are printed
	uint64_t rows, steps;
};

enum { HW_POLL_STEPS = 1 << 16 };

static bool hw_block_diff_goes_on(struct hw_block_diff *diff)
{
	return ++diff->steps % HW_POLL_STEPS || !hw_report_is_stopped(diff->report);
}

static const struct hw_snapshot_category *
hw_category_of(const struct hw_block_diff *diff, size_t side, const struct hw_snapshot_block *block)
{
	return hw_snapshot_category(diff->snapshots[side], block->category);
}

static void hw_block_print(struct hw_block_diff *diff, enum hw_change change, size_t side,
			   const struct hw_snapshot_block *block,
			   const struct hw_snapshot_block *was)
{
	const struct hw_snapshot_category *category = hw_category_of(diff, side, block);
	diff->tallies[change].count++;
	diff->tallies[change].bytes += block->size_bytes;
	if (diff->rows++ >= diff->report->top)
		return;
	struct hw_cell cells[HW_BLOCK_CELLS] = {
		[HW_BLOCK_CHANGE] = hw_cell_text(hw_change_words[change]),
		[HW_BLOCK_START] = hw_cell_address(block->start),
		[HW_BLOCK_END] = hw_cell_address(block->start + block->size_bytes - 1),
		[HW_BLOCK_SIZE] = hw_cell_number(block->size_bytes),
		[HW_BLOCK_ALLOCATOR] = hw_cell_text(hw_allocator_word(block->allocator)),
		[HW_BLOCK_DOMAIN] = hw_cell_text(category->domain),
		[HW_BLOCK_KIND] = hw_cell_text(category->kind),
		[HW_BLOCK_DETAIL] = hw_cell_text(category->detail),
	};
	if (was) {
		category = hw_category_of(diff, 0, was);
		cells[HW_BLOCK_WAS_DOMAIN] = hw_cell_text(category->domain);
		cells[HW_BLOCK_WAS_KIND] = hw_cell_text(category->kind);
		cells[HW_BLOCK_WAS_DETAIL] = hw_cell_text(category->detail);
	}
	hw_table_row(diff->report, cells);
}

static bool hw_change_step(void *payload, const struct hw_diff_step *step)
{
	struct hw_block_diff *diff = payload;
	const struct hw_snapshot_block *before = step->blocks[0], *after = step->blocks[1];
	bool is_resized = before && after && before->size_bytes != after->size_bytes;
	if (before && (!after || is_resized))
		hw_block_print(diff, HW_CHANGE_FREED, 0, before, NULL);
	if (after && (!before || is_resized))
		hw_block_print(diff, HW_CHANGE_NEW, 1, after, NULL);
	if (before && after && !is_resized &&
	    diff->categories.ids[0][before->category] != diff->categories.ids[1][after->category])
		hw_block_print(diff, HW_CHANGE_CHANGED, 1, after, before);
	return hw_block_diff_goes_on(diff);
}

// The same thing at the same place: a block that another kind of thing took over is a new one.
static bool hw_is_same(const struct hw_block_diff *diff, const struct hw_diff_step *step, size_t a,
		       size_t b)
{
	const struct hw_snapshot_block *x = step->blocks[a], *y = step->blocks[b];
	return x && y && x->size_bytes == y->size_bytes &&
	       diff->categories.kinds[a][x->category] == diff->categories.kinds[b][y->category];
}

static bool hw_survivor_step(void *payload, const struct hw_diff_step *step)
{
	struct hw_block_diff *diff = payload;
	if (hw_is_same(diff, step, 1, 2) && !hw_is_same(diff, step, 0, 1)) {
		const struct hw_snapshot_block *block = step->blocks[2];
		if (diff->survivors) {
			diff->survivors[block->category].count++;
			diff->survivors[block->category].bytes += block->size_bytes;
		} else {
			hw_block_print(diff, HW_CHANGE_NEW, 2, block, NULL);
		}
	}
	return hw_block_diff_goes_on(diff);
}

static void hw_tally_member(struct json_object *object, const char *key,
			    const struct hw_tally *tally)
{
	struct json_object *member = json_object_new_object();
	hw_json_add_number(member, "count", tally->count);
	hw_json_add_number(member, "bytes", tally->bytes);
	hw_json_add(object, key, member);
}

static void hw_block_totals(struct hw_block_diff *diff, bool of_two)
{
	struct hw_report *report = diff->report;
	struct json_object *total = json_object_new_object();
	for (int i = HW_CHANGE_FREED; i < HW_CHANGES; i++) {
		char count[32], bytes[32];
		if (!of_two && i != HW_CHANGE_NEW)
			continue;
		hw_tally_member(total, of_two ? hw_change_words[i] : "survivors",
				&diff->tallies[i]);
		hw_report_line(report, "%s: %s block%s, %s bytes",
			       of_two ? hw_change_words[i] : "new and still there",
			       hw_commas(diff->tallies[i].count, count),
			       diff->tallies[i].count == 1 ? "" : "s",
			       hw_commas(diff->tallies[i].bytes, bytes));
	}
	hw_report_member(report, "total", total);
}

struct hw_error *hw_diff_print_blocks(struct hw_report *report,
				      struct hw_snapshot *const *snapshots, size_t count)
{
	struct hw_block_diff diff = { .report = report, .snapshots = snapshots };
	bool of_two = count == 2;
	HW_TRY(hw_diff_categories_init(snapshots, count, &diff.categories));
	hw_diff_begin(report, snapshots, count);
	hw_table_begin(report, "rows", of_two ? hw_change_columns : hw_survivor_columns,
		       HW_BLOCK_CELLS);
	struct hw_error *err = hw_diff_walk(snapshots, count,
					    of_two ? hw_change_step : hw_survivor_step, &diff);
	hw_diff_categories_deinit(&diff.categories);
	HW_TRY(err);
	hw_table_end(report);
	if (diff.rows > report->top)
		hw_report_line(report, "(%llu more rows are in the total)",
			       (unsigned long long)(diff.rows - report->top));
	hw_block_totals(&diff, of_two);
	return NULL;
}

// ---- what came and stayed, by category ----

enum {
	HW_SURVIVOR_DOMAIN,
	HW_SURVIVOR_KIND,
	HW_SURVIVOR_DETAIL,
	HW_SURVIVOR_COUNT,
	HW_SURVIVOR_BYTES,
	HW_SURVIVOR_CELLS
};
static const struct hw_column hw_survivors_columns[HW_SURVIVOR_CELLS] = {
	[HW_SURVIVOR_DOMAIN] = { "Domain", "domain" }, [HW_SURVIVOR_KIND] = { "Kind", "kind" },
	[HW_SURVIVOR_DETAIL] = { "Detail", "detail" }, [HW_SURVIVOR_COUNT] = { "Count", "count" },
	[HW_SURVIVOR_BYTES] = { "Bytes", "bytes" },
};

// Categories that have the same words (two types of one name) are one row: the first one's.
static void hw_survivors_join(struct hw_block_diff *diff, uint32_t *firsts)
{
	const struct hw_snapshot *last = diff->snapshots[2];
	const uint32_t *ids = diff->categories.ids[2];
	for (uint32_t i = 0; i < hw_snapshot_category_count(last); i++) {
		uint32_t *first = &firsts[ids[i]];
		if (!*first) {
			*first = i + 1;
			continue;
		}
		diff->survivors[*first - 1].count += diff->survivors[i].count;
		diff->survivors[*first - 1].bytes += diff->survivors[i].bytes;
		diff->survivors[i] = (struct hw_tally){ 0 };
	}
}

static struct hw_error *hw_survivors_print(struct hw_block_diff *diff)
{
	struct hw_report *report = diff->report;
	const struct hw_snapshot *last = diff->snapshots[2];
	struct hw_rows rows = { .columns = hw_survivors_columns,
				.column_count = HW_SURVIVOR_CELLS };
	struct hw_tally *total = &diff->tallies[HW_CHANGE_NEW];
	bool ok = true;
	for (uint32_t i = 0; ok && i < hw_snapshot_category_count(last); i++) {
		const struct hw_snapshot_category *category = hw_snapshot_category(last, i);
		bool is_uncategorized = !strcmp(category->domain, "uncategorized");
		const struct hw_tally *tally = &diff->survivors[i];
		const struct hw_cell cells[HW_SURVIVOR_CELLS] = {
			[HW_SURVIVOR_DOMAIN] = hw_cell_text(category->domain),
			[HW_SURVIVOR_KIND] = hw_cell_text(is_uncategorized ? "" : category->kind),
			[HW_SURVIVOR_DETAIL] = hw_cell_text(is_uncategorized ? ""
									     : category->detail),
			[HW_SURVIVOR_COUNT] = hw_cell_number(tally->count),
			[HW_SURVIVOR_BYTES] = hw_cell_number(tally->bytes),
		};
		if (!tally->count)
			continue;
		total->count += tally->count;
		total->bytes += tally->bytes;
		ok = hw_rows_push(&rows, cells);
	}
	if (ok) {
		hw_rows_sort(&rows, "bytes");
		hw_diff_begin(report, diff->snapshots, HW_DIFF_MAX);
		hw_table_begin(report, "rows", hw_survivors_columns, HW_SURVIVOR_CELLS);
		hw_rows_print(&rows, report, report->top);
		hw_table_end(report);
		hw_block_totals(diff, false);
	}
	hw_rows_deinit(&rows);
	return ok ? NULL : &hw_enomem;
}

struct hw_error *hw_diff_print_survivors(struct hw_report *report,
					 struct hw_snapshot *const *snapshots)
{
	struct hw_block_diff diff = { .report = report, .snapshots = snapshots };
	size_t categories = 1, all = 1;
	for (size_t i = 0; i < HW_DIFF_MAX; i++)
		all += 2 * hw_snapshot_category_count(snapshots[i]);
	categories += hw_snapshot_category_count(snapshots[2]);
	hw_cleanup_free struct hw_tally *survivors = calloc(categories, sizeof(*survivors));
	hw_cleanup_free uint32_t *firsts = calloc(all, sizeof(*firsts)); // by id: there are no more
	if (!survivors || !firsts)
		return &hw_enomem;
	diff.survivors = survivors;
	HW_TRY(hw_diff_categories_init(snapshots, HW_DIFF_MAX, &diff.categories));
	struct hw_error *err = hw_diff_walk(snapshots, HW_DIFF_MAX, hw_survivor_step, &diff);
	if (!err) {
		hw_survivors_join(&diff, firsts);
		err = hw_survivors_print(&diff);
	}
	hw_diff_categories_deinit(&diff.categories);
	return err;
}
