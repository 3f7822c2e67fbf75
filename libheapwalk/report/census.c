/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `census`, which is `heap` alone: where is my RAM?
#include "analysis/census.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "report/report.h"

// Cells of a row, in this order; each grouping shows some of them.
enum {
	HW_CENSUS_DOMAIN,
	HW_CENSUS_KIND,
	HW_CENSUS_DETAIL,
	HW_CENSUS_SIZE,
	HW_CENSUS_STATE,
	HW_CENSUS_ALLOCATOR,
	HW_CENSUS_TYPE,
	HW_CENSUS_MODULE, // only where it is grouped by
	HW_CENSUS_ARENA,  // the same
	HW_CENSUS_COUNT,
	HW_CENSUS_BYTES,
	HW_CENSUS_CELLS
};

#define HW_CENSUS_COLUMNS(domain, kind, detail, size, state, allocator)                            \
	{                                                                                          \
		[HW_CENSUS_DOMAIN] = { domain, "domain" }, [HW_CENSUS_KIND] = { kind, "kind" },    \
		[HW_CENSUS_DETAIL] = { detail, "detail" }, [HW_CENSUS_SIZE] = { size, "size" },    \
		[HW_CENSUS_STATE] = { state, "state" },                                            \
		[HW_CENSUS_ALLOCATOR] = { allocator, "allocator" },                                \
		[HW_CENSUS_TYPE] = { NULL, "type" }, [HW_CENSUS_COUNT] = { "Count", "count" },     \
		[HW_CENSUS_BYTES] = { "Allocated size", "bytes" },                                 \
	}

static const struct {
	const char *word;
	enum hw_group group;
	struct hw_column columns[HW_CENSUS_CELLS];
	size_t total_at; // the cell that says TOTAL
} hw_groupings[] = {
	{ NULL, HW_GROUP_CATEGORY, HW_CENSUS_COLUMNS("Domain", "Kind", "Detail", NULL, NULL, NULL),
	  HW_CENSUS_DETAIL },
	{ "domain", HW_GROUP_DOMAIN, HW_CENSUS_COLUMNS("Domain", NULL, NULL, NULL, NULL, NULL),
	  HW_CENSUS_DOMAIN },
	{ "kind", HW_GROUP_KIND, HW_CENSUS_COLUMNS("Domain", "Kind", NULL, NULL, NULL, NULL),
	  HW_CENSUS_KIND },
	{ "type", HW_GROUP_TYPE, HW_CENSUS_COLUMNS("Domain", "Kind", NULL, NULL, NULL, NULL),
	  HW_CENSUS_KIND },
	{ "size", HW_GROUP_SIZE, HW_CENSUS_COLUMNS("Domain", NULL, NULL, "Size", NULL, NULL),
	  HW_CENSUS_DOMAIN },
	{ "allocator", HW_GROUP_ALLOCATOR,
	  HW_CENSUS_COLUMNS(NULL, NULL, NULL, NULL, NULL, "Allocator"), HW_CENSUS_ALLOCATOR },
	{ "state", HW_GROUP_STATE, HW_CENSUS_COLUMNS(NULL, NULL, NULL, NULL, "State", NULL),
	  HW_CENSUS_STATE },
	{ "module",
	  HW_GROUP_MODULE,
	  { [HW_CENSUS_DOMAIN] = { "Domain", "domain" },
	    [HW_CENSUS_MODULE] = { "Module", "module" },
	    [HW_CENSUS_COUNT] = { "Count", "count" },
	    [HW_CENSUS_BYTES] = { "Allocated size", "bytes" } },
	  HW_CENSUS_MODULE },
	{ "arena",
	  HW_GROUP_ARENA,
	  { [HW_CENSUS_ALLOCATOR] = { "Allocator", "allocator" },
	    [HW_CENSUS_ARENA] = { "Arena", "arena" },
	    [HW_CENSUS_COUNT] = { "Count", "count" },
	    [HW_CENSUS_BYTES] = { "Allocated size", "bytes" } },
	  HW_CENSUS_ARENA },
};

static size_t hw_grouping_find(const char *by)
{
	for (size_t i = 1; by && i < HW_ARRAY_COUNT(hw_groupings); i++) {
		if (!strcmp(hw_groupings[i].word, by))
			return i;
	}
	return 0;
}

static struct hw_error *hw_census_fill(const struct hw_heap *heap,
				       const struct hw_group_rows *groups, struct hw_rows *ret)
{
	for (size_t i = 0; i < groups->list.count; i++) {
		const struct hw_group_row *group = &groups->list.data[i];
		struct hw_cell cells[HW_CENSUS_CELLS] = {
			[HW_CENSUS_DOMAIN] = hw_cell_text(group->domain),
			[HW_CENSUS_KIND] = hw_cell_text(group->kind),
			[HW_CENSUS_DETAIL] = hw_cell_text(group->detail),
			[HW_CENSUS_SIZE] = group->has_size ? hw_cell_number(group->size_bytes)
							   : hw_cell_none(),
			[HW_CENSUS_STATE] = hw_cell_text(group->state),
			[HW_CENSUS_ALLOCATOR] = hw_cell_text(group->allocator),
			[HW_CENSUS_TYPE] = group->type ? hw_cell_address(hw_heap_type_address(
								 heap, group->type))
						       : hw_cell_none(),
			[HW_CENSUS_MODULE] = hw_cell_text(group->module),
			[HW_CENSUS_ARENA] = hw_cell_text(group->arena),
			[HW_CENSUS_COUNT] = hw_cell_number(group->count),
			[HW_CENSUS_BYTES] = hw_cell_number(group->bytes),
		};
		if (!hw_rows_push(ret, cells))
			return &hw_enomem;
	}
	return NULL;
}

static void hw_ledger_line(struct hw_report *report, const char *what, uint64_t bytes,
			   uint64_t mapped, const char *more)
{
	char digits[32], share[32];
	hw_report_line(report, "%-9s %20s bytes  %7s%s", what, hw_commas(bytes, digits),
		       hw_percent(bytes, mapped, share), more);
}

static void hw_census_ledger(struct hw_report *report)
{
	const struct hw_ledger *ledger = hw_heap_ledger(report->session->heap);
	char digits[32], blocks[64];
	snprintf(blocks, sizeof(blocks), "  in %s blocks", hw_commas(ledger->in_use_count, digits));
	hw_report_line(report, "%s", "");
	hw_ledger_line(report, "in use", ledger->in_use_bytes, ledger->mapped_bytes, blocks);
	hw_ledger_line(report, "free", ledger->free_bytes, ledger->mapped_bytes,
		       "  that an allocator keeps");
	hw_ledger_line(report, "overhead", ledger->overhead_bytes, ledger->mapped_bytes, "");
	hw_ledger_line(report, "unknown", ledger->unknown_bytes, ledger->mapped_bytes, "");
	hw_ledger_line(report, "mapped", ledger->mapped_bytes, ledger->mapped_bytes,
		       "  private and writable");
}

static void hw_census_trust(struct hw_report *report)
{
	const struct hw_session *session = report->session;
	const struct hw_ledger *ledger = hw_heap_ledger(session->heap);
	char share[32], digits[32];
	uint64_t seen = ledger->heap_bytes - hw_min(ledger->missing_bytes, ledger->heap_bytes);
	hw_percent(seen, ledger->heap_bytes, share);
	if (!ledger->heap_bytes)
		hw_report_styled_line(report, HW_STYLE_METADATA,
				      "coverage: no heap was found in this process");
	else if (ledger->missing_bytes)
		hw_report_styled_line(report, HW_STYLE_METADATA,
				      "coverage: %s of heap bytes seen, missing %s bytes", share,
				      hw_commas(ledger->missing_bytes, digits));
	else if (!session->glibc.main_arena && !session->glibc.other.name &&
		 !session->python.module)
		hw_report_styled_line(
			report, HW_STYLE_METADATA,
			"coverage: 100 %% of %s bytes read, in which no allocator was "
			"recognised: blocks are not told apart",
			hw_commas(ledger->heap_bytes, digits));
	else
		hw_report_styled_line(report, HW_STYLE_METADATA,
				      "coverage: 100 %% of %s bytes seen",
				      session->glibc.other.name ? "the other heaps'" : "heap");
	const struct hw_python *python = &session->python;
	const struct hw_other_malloc *other = &session->glibc.other;
	char malloc_facts[512];
	if (other->name)
		snprintf(malloc_facts, sizeof(malloc_facts),
			 "%s in %s, whose blocks are not walked", other->name, other->file);
	else
		snprintf(malloc_facts, sizeof(malloc_facts), "%s",
			 session->glibc.main_arena && session->glibc.facts ? session->glibc.facts
									   : "not found");
	if (python->module)
		hw_report_styled_line(report, HW_STYLE_METADATA,
				      "facts: CPython %s (%s): %s; malloc: %s", python->version,
				      python->build, python->facts, malloc_facts);
	else
		hw_report_styled_line(report, HW_STYLE_METADATA, "facts: %s; malloc: %s",
				      session->python_error ? "CPython not understood"
							    : "no CPython",
				      malloc_facts);
}

static void hw_census_member_total(struct hw_report *report, uint64_t count, uint64_t bytes,
				   size_t row_count)
{
	const struct hw_ledger *ledger = hw_heap_ledger(report->session->heap);
	struct json_object *total = json_object_new_object();
	hw_json_add_number(total, "count", count);
	hw_json_add_number(total, "bytes", bytes);
	hw_json_add_number(total, "rows", row_count);
	hw_json_add_number(total, "in_use_count", ledger->in_use_count);
	hw_json_add_number(total, "in_use_bytes", ledger->in_use_bytes);
	hw_json_add_number(total, "free_bytes", ledger->free_bytes);
	hw_json_add_number(total, "overhead_bytes", ledger->overhead_bytes);
	hw_json_add_number(total, "unknown_bytes", ledger->unknown_bytes);
	hw_json_add_number(total, "mapped_bytes", ledger->mapped_bytes);
	hw_report_member(report, "total", total);
}

struct hw_census_sum {
	uint64_t count, bytes;
	size_t rows;
};

// The table with its TOTAL.
static void hw_census_table(struct hw_report *report, size_t grouping, struct hw_rows *rows,
			    struct hw_census_sum *ret)
{
	const char *sort = hw_argument(report->arguments, "sort");
	struct hw_census_sum sum = { .rows = hw_rows_count(rows) };
	hw_rows_sort(rows, sort ? sort : "bytes");
	for (size_t i = 0; i < rows->cells.count; i += HW_CENSUS_CELLS) {
		sum.count += rows->cells.data[i + HW_CENSUS_COUNT].number;
		sum.bytes += rows->cells.data[i + HW_CENSUS_BYTES].number;
	}
	hw_report_begin(report, report->arguments->command->name);
	hw_table_begin(report, "rows", hw_groupings[grouping].columns, HW_CENSUS_CELLS);
	hw_rows_print(rows, report, report->top);
	struct hw_cell total[HW_CENSUS_CELLS] = { 0 };
	total[hw_groupings[grouping].total_at] = hw_cell_text("TOTAL");
	total[HW_CENSUS_COUNT] = hw_cell_number(sum.count);
	total[HW_CENSUS_BYTES] = hw_cell_number(sum.bytes);
	hw_table_total(report, total);
	hw_table_end(report);
	if (sum.rows > report->top)
		hw_report_styled_line(report, HW_STYLE_METADATA, "(%zu more rows are in the total)",
				      sum.rows - (size_t)report->top);
	*ret = sum;
}

static void hw_census_print(struct hw_report *report, size_t grouping, struct hw_rows *rows)
{
	struct hw_census_sum sum;
	hw_census_table(report, grouping, rows, &sum);
	hw_census_member_total(report, sum.count, sum.bytes, sum.rows);
	hw_census_ledger(report);
	hw_census_trust(report);
}

// What a query finds, grouped.
static void hw_groups_print(struct hw_report *report, size_t grouping, struct hw_rows *rows)
{
	struct hw_census_sum sum;
	hw_census_table(report, grouping, rows, &sum);
	struct json_object *total = json_object_new_object();
	hw_json_add_number(total, "count", sum.count);
	hw_json_add_number(total, "bytes", sum.bytes);
	hw_json_add_number(total, "rows", sum.rows);
	hw_report_member(report, "total", total);
}

// Groups may have to read the target once more: at the walk's own stop.
static struct hw_error *hw_census_groups(struct hw_report *report, enum hw_group group,
					 struct hw_query *query, struct hw_group_rows *ret)
{
	struct hw_session *session = report->session;
	if (group != HW_GROUP_MODULE) {
		HW_TRY(hw_session_need_heap(session));
		return hw_census_group_query(session->heap, session->target, group, query,
					     &session->progress, ret);
	}
	HW_TRY(hw_session_stop(session));
	hw_cleanup_with(hw_session_resume_cleanup) struct hw_session *stopped = session;
	HW_TRY(hw_session_need_heap(session));
	return hw_census_group_query(session->heap, session->target, group, query,
				     &session->progress, ret);
}

struct hw_error *hw_report_groups(struct hw_report *report, struct hw_query *query)
{
	size_t grouping = hw_grouping_find(hw_argument(report->arguments, "by"));
	struct hw_group_rows groups = { 0 };
	HW_TRY(hw_census_groups(report, hw_groupings[grouping].group, query, &groups));
	struct hw_rows rows = { .columns = hw_groupings[grouping].columns,
				.column_count = HW_CENSUS_CELLS };
	struct hw_error *err = hw_census_fill(report->session->heap, &groups, &rows);
	if (!err && query)
		hw_groups_print(report, grouping, &rows);
	else if (!err)
		hw_census_print(report, grouping, &rows);
	hw_rows_deinit(&rows);
	hw_group_rows_deinit(&groups);
	return err;
}

struct hw_error *hw_report_census(struct hw_report *report)
{
	return hw_report_groups(report, NULL);
}
