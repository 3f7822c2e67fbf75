/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the files of `explain` share.
#ifndef HW_REPORT_EXPLAIN_H
#define HW_REPORT_EXPLAIN_H

#include "analysis/explain.h"
#include "report/report.h"

// The members of the JSON form, in one object; NULL: out of memory. The caller puts it.
struct json_object *hw_explain_json(struct hw_report *report, const struct hw_explanation *e);
void hw_explain_text(struct hw_report *report, const struct hw_explanation *e);

// explain_mimalloc.c: the section of a segment and its page; NULL: the address is in none.
void hw_explain_mimalloc_text(struct hw_report *report, const struct hw_explanation *e);
struct json_object *hw_explain_mimalloc_json(struct hw_report *report,
					     const struct hw_explanation *e);
// A line of the text form, "  label     text"; an empty label goes on with what was before.
void hw_explain_say(struct hw_report *report, const char *label, const char *fmt, ...)
	HW_PRINTF(3, 4);

const char *hw_region_kind_word(enum hw_region_kind kind); // "main", "heap", "mmapped"
// "rw-p"; buf of 5.
const char *hw_permissions(uint32_t map_flags, char *buf);

#endif
