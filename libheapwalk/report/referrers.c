/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `referrers ADDR`: who holds it.
#include <inttypes.h>

#include "analysis/referrers.h"
#include "report/report.h"

static const struct hw_column hw_referrer_columns[] = {
	{ "Level", "level" },   { "Pointer", "pointer" }, { "To", "target" },
	{ "In", "start" },      { NULL, "size" },         { NULL, "state" },
	{ "Domain", "domain" }, { "Kind", "kind" },       { "Detail", "detail" },
	{ "Object", "object" }, { NULL, "refcount" },
};

static bool hw_referrer_push(struct hw_rows *rows, const struct hw_referrer *referrer)
{
	const struct hw_block *block = &referrer->block;
	bool counts = block->object && block->refcount >= 0;
	const struct hw_cell cells[] = {
		hw_cell_number(referrer->level),
		hw_cell_address(referrer->at),
		hw_cell_address(referrer->target),
		hw_cell_address(block->start),
		hw_cell_number(block->size_bytes),
		hw_cell_text(block->state_word),
		hw_cell_text(block->domain),
		hw_cell_text(block->kind),
		hw_cell_text(block->detail),
		block->object ? hw_cell_address(block->object) : hw_cell_none(),
		counts ? hw_cell_signed(block->refcount) : hw_cell_none(),
	};
	return hw_rows_push(rows, cells);
}

static void hw_referrers_say(struct hw_report *report, const struct hw_referrers *found,
			     uint64_t first_level)
{
	char pointers[32], bytes[32];
	hw_report_line(report, "%s pointer%s to it, %s of any level, in %s bytes",
		       hw_commas(first_level, pointers), first_level == 1 ? "" : "s",
		       hw_commas(found->list.count, (char[32]){ 0 }),
		       hw_commas(found->bytes_read, bytes));
	if (found->referred.has_object && found->referred.refcount >= 0)
		hw_report_line(report, "the object counts %" PRId64 " reference%s",
			       found->referred.refcount, found->referred.refcount == 1 ? "" : "s");
}

// What was asked for.
static void hw_referrers_say_what(struct hw_report *report, const struct hw_referrers *found)
{
	const struct hw_referred *referred = &found->referred;
	const struct hw_block *block = &found->block;
	struct json_object *object = report->format == HW_FORMAT_JSON ? json_object_new_object()
								      : NULL;
	hw_json_add_address(object, "start", referred->block);
	hw_json_add_text(report, object, "domain", found->has_row ? block->domain : NULL);
	hw_json_add_text(report, object, "kind", found->has_row ? block->kind : NULL);
	hw_json_add_text(report, object, "detail", found->has_row ? block->detail : NULL);
	if (referred->has_object)
		hw_json_add_address(object, "object", referred->start);
	else
		hw_json_add(object, "object", NULL);
	hw_json_add(object, "refcount",
		    referred->has_object && referred->refcount >= 0
			    ? json_object_new_int64(referred->refcount)
			    : NULL);
	hw_report_member(report, "referred", object);
	if (!found->has_row) {
		hw_report_line(report, "to 0x%" PRIx64, referred->start);
		return;
	}
	hw_report_line(report, "to 0x%" PRIx64 ": %s %s %s", referred->start, block->domain,
		       hw_clean_text(report, block->kind), block->detail);
}

static struct hw_error *hw_referrers_print(struct hw_report *report,
					   const struct hw_referrers *found)
{
	struct hw_rows rows = { hw_referrer_columns, HW_ARRAY_COUNT(hw_referrer_columns), { 0 } };
	uint64_t first_level = 0;
	bool ok = true;
	hw_vec_foreach(referrer, &found->list)
	{
		ok = ok && hw_referrer_push(&rows, referrer);
		first_level += referrer->level == 1;
	}
	if (!ok) {
		hw_rows_deinit(&rows);
		return &hw_enomem;
	}
	const char *sort = hw_argument(report->arguments, "sort");
	if (sort)
		hw_rows_sort(&rows, sort);
	hw_report_begin(report, "referrers");
	hw_referrers_say_what(report, found);
	hw_table_begin(report, "rows", hw_referrer_columns, HW_ARRAY_COUNT(hw_referrer_columns));
	hw_rows_print(&rows, report, report->top);
	hw_table_end(report);
	hw_referrers_say(report, found, first_level);
	hw_rows_deinit(&rows);
	if (!found->is_cut)
		return NULL;
	return hw_error_create(HW_ERROR_PARTIAL,
			       "there are more pointers than are shown: %d in all, and %d blocks a "
			       "level, are kept; ask for a smaller depth",
			       HW_REFERRERS_MAX, HW_REFERRERS_FRONTIER);
}

struct hw_error *hw_report_referrers(struct hw_report *report)
{
	hw_addr_t addr;
	uint64_t depth;
	HW_TRY(hw_argument_address(report->arguments, &addr));
	HW_TRY(hw_argument_number(report->arguments, "depth", 1, &depth));
	if (depth > HW_REFERRERS_DEPTH_MAX)
		return hw_error_create(HW_ERROR_INVALID,
				       "a depth of %" PRIu64 " is too much: at most %d levels are "
				       "looked at",
				       depth, HW_REFERRERS_DEPTH_MAX);
	struct hw_referrers found;
	HW_TRY(hw_referrers_find(report->session, addr, (unsigned)depth, &found));
	struct hw_error *err = hw_referrers_print(report, &found);
	hw_referrers_deinit(&found);
	return err;
}
