/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `explain ADDR`: everything that is known of one address.
#include "report/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *hw_region_kind_word(enum hw_region_kind kind)
{
	return kind == HW_REGION_MAIN ? "main" : kind == HW_REGION_HEAP ? "heap" : "mmapped";
}

const char *hw_permissions(uint32_t flags, char *buf)
{
	snprintf(buf, 5, "%c%c%c%c", flags & HW_MAP_READ ? 'r' : '-',
		 flags & HW_MAP_WRITE ? 'w' : '-', flags & HW_MAP_EXEC ? 'x' : '-',
		 flags & HW_MAP_SHARED ? 's' : 'p');
	return buf;
}

// ---- CSV: the JSON form, a row for each value ----

enum { HW_EXPLAIN_PATH_MAX = 128 };

static const struct hw_column hw_explain_columns[] = { { "Name", "name" }, { "Value", "value" } };

static void hw_explain_csv(struct hw_report *report, const char *path, struct json_object *value);

static void hw_explain_csv_member(struct hw_report *report, const char *path, const char *name,
				  struct json_object *value)
{
	char longer[HW_EXPLAIN_PATH_MAX];
	snprintf(longer, sizeof(longer), "%s%s%s", path, *path ? "." : "", name);
	hw_explain_csv(report, longer, value);
}

// The document is this file's own: its depth is known.
static void hw_explain_csv(struct hw_report *report, const char *path, struct json_object *value)
{
	enum json_type type = json_object_get_type(value);
	if (type == json_type_object) {
		json_object_object_foreach(value, name, member)
			hw_explain_csv_member(report, path, name, member);
	} else if (type == json_type_array) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			char number[24];
			snprintf(number, sizeof(number), "%zu", i);
			hw_explain_csv_member(report, path, number,
					      json_object_array_get_idx(value, i));
		}
	} else {
		const struct hw_cell cells[] = {
			hw_cell_text(path),
			value ? hw_cell_text(json_object_get_string(value)) : hw_cell_none(),
		};
		hw_table_row(report, cells);
	}
}

// ---- the report ----

static struct hw_error *hw_explain_print(struct hw_report *report, const struct hw_explanation *e)
{
	if (report->format == HW_FORMAT_TEXT) {
		hw_report_begin(report, "explain");
		hw_explain_text(report, e);
		return NULL;
	}
	struct json_object *document = hw_explain_json(report, e);
	if (!document)
		return &hw_enomem;
	hw_report_begin(report, "explain");
	if (report->format == HW_FORMAT_CSV) {
		hw_table_begin(report, "rows", hw_explain_columns,
			       HW_ARRAY_COUNT(hw_explain_columns));
		hw_explain_csv(report, "", document);
		hw_table_end(report);
	} else {
		json_object_object_foreach(document, name, member)
			hw_report_member(report, name, json_object_get(member));
	}
	json_object_put(document);
	return NULL;
}

struct hw_error *hw_report_explain(struct hw_report *report)
{
	hw_addr_t addr;
	HW_TRY(hw_argument_address(report->arguments, &addr));
	struct hw_explanation explanation;
	HW_TRY(hw_explain(report->session, addr, &explanation));
	struct hw_error *err = hw_explain_print(report, &explanation);
	hw_explanation_deinit(&explanation);
	return err;
}
