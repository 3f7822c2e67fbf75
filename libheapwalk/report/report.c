/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/report.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

enum { HW_ISSUES_SHOWN = 10 };

static const struct hw_writer_ops *hw_writer(const struct hw_report *report)
{
	switch (report->format) {
	case HW_FORMAT_JSON:
		return &hw_json_writer;
	case HW_FORMAT_CSV:
		return &hw_csv_writer;
	case HW_FORMAT_TEXT:
		break;
	}
	return &hw_text_writer;
}

// ---- tables ----

void hw_table_begin(struct hw_report *report, const char *key, const struct hw_column *columns,
		    size_t column_count)
{
	report->table = (struct hw_table){
		.report = report, .columns = columns, .column_count = column_count, .is_open = true
	};
	hw_writer(report)->begin(&report->table, key);
}

void hw_table_row(struct hw_report *report, const struct hw_cell *cells)
{
	if (report->sink.is_closed)
		return;
	hw_writer(report)->row(&report->table, cells);
	report->table.row_count++;
}

void hw_table_total(struct hw_report *report, const struct hw_cell *cells)
{
	if (report->format != HW_FORMAT_TEXT)
		return;
	report->table.is_total = true;
	hw_table_row(report, cells);
	report->table.is_total = false;
}

void hw_table_end(struct hw_report *report)
{
	if (!report->table.is_open)
		return;
	hw_writer(report)->end(&report->table);
	report->table.is_open = false;
	hw_vec_deinit(&report->table.held);
}

bool hw_report_shows(const struct hw_report *report, const char *what)
{
	const char *show = hw_argument(report->arguments, "show");
	return !show || !strcmp(show, what);
}

bool hw_report_is_stopped(struct hw_report *report)
{
	return report->sink.is_closed || hw_progress_poll(&report->session->progress);
}

static void hw_report_vline(struct hw_report *report, enum hw_style style, const char *fmt,
			    va_list ap)
{
	if (report->format != HW_FORMAT_TEXT)
		return;
	hw_cleanup_free char *text = NULL;
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	if (!text)
		return;
	hw_text_put_styled(report, *text ? style : HW_STYLE_NONE, text);
	hw_sink_write(&report->sink, "\n", 1);
}

void hw_report_line(struct hw_report *report, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	hw_report_vline(report, HW_STYLE_NONE, fmt, ap);
	va_end(ap);
}

void hw_report_styled_line(struct hw_report *report, enum hw_style style, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	hw_report_vline(report, style, fmt, ap);
	va_end(ap);
}

// ---- the header ----

static struct json_object *hw_json_target(struct hw_report *report)
{
	const struct hw_session *session = report->session;
	const struct hw_target *target = session->target;
	if (session->is_detached)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_text(report, object, "kind", hw_target_kind_word(target->ops->kind));
	if (target->pid)
		hw_json_add_number(object, "pid", (uint64_t)target->pid);
	else
		hw_json_add(object, "pid", NULL);
	hw_json_add_text(report, object, "exe", target->exe);
	struct json_object *python = NULL;
	if (session->python.module) {
		python = json_object_new_object();
		hw_json_add_text(report, python, "version", session->python.version);
		hw_json_add_text(report, python, "build", session->python.build);
		hw_json_add_text(report, python, "facts", session->python.facts);
	}
	hw_json_add(object, "python", python);
	struct json_object *malloc_facts = NULL;
	const struct hw_other_malloc *other = &session->glibc.other;
	if (session->has_allocators && (session->glibc.main_arena || other->name)) {
		malloc_facts = json_object_new_object();
		hw_json_add_text(report, malloc_facts, "name", other->name ? other->name : "glibc");
		hw_json_add_text(report, malloc_facts, "file", other->file);
		hw_json_add_text(report, malloc_facts, "facts",
				 session->glibc.main_arena ? session->glibc.facts : NULL);
	}
	hw_json_add(object, "malloc", malloc_facts);
	return object;
}

// What allocators claim, before there is a table.
static void hw_allocator_coverage(const struct hw_session *session, uint64_t *ret_heap,
				  uint64_t *ret_missing)
{
	uint64_t heap = 0, missing = 0;
	for (size_t i = 0; i < session->pymalloc.arenas.count; i++) {
		heap += session->pymalloc.arena_bytes;
		if (session->pymalloc.arenas.data[i].is_missing)
			missing += session->pymalloc.arena_bytes;
	}
	for (size_t i = 0; i < session->glibc.regions.count; i++)
		heap += session->glibc.regions.data[i].end - session->glibc.regions.data[i].start;
	*ret_heap = heap;
	*ret_missing = missing;
}

static struct json_object *hw_json_missing_files(struct hw_report *report,
						 const struct hw_heap *heap)
{
	size_t count;
	const struct hw_absence *absences = hw_heap_absences(heap, &count);
	struct json_object *array = json_object_new_array();
	for (size_t i = 0; i < count; i++) {
		struct json_object *object = json_object_new_object();
		hw_json_add_text(report, object, "path", absences[i].path);
		hw_json_add_number(object, "count", absences[i].block_count);
		hw_json_add_number(object, "bytes", absences[i].bytes);
		if (!array || json_object_array_add(array, object))
			json_object_put(object);
	}
	return array;
}

static struct json_object *hw_json_coverage(struct hw_report *report)
{
	const struct hw_session *session = report->session;
	struct json_object *object = json_object_new_object();
	uint64_t heap = 0, missing = 0;
	if (session->heap) {
		heap = hw_heap_ledger(session->heap)->heap_bytes;
		missing = hw_heap_ledger(session->heap)->missing_bytes;
	} else if (session->has_allocators || session->has_pymalloc) {
		hw_allocator_coverage(session, &heap, &missing);
	} else {
		hw_json_add(object, "heap_bytes", NULL); // nothing was walked for this report
		hw_json_add(object, "missing_bytes", NULL);
		hw_json_add(object, "missing_files", NULL);
		return object;
	}
	hw_json_add_number(object, "heap_bytes", heap);
	hw_json_add_number(object, "missing_bytes", missing);
	hw_json_add(object, "missing_files",
		    session->heap ? hw_json_missing_files(report, session->heap) : NULL);
	return object;
}

void hw_report_begin(struct hw_report *report, const char *name)
{
	report->is_begun = true;
	if (report->format != HW_FORMAT_JSON)
		return;
	hw_sink_printf(&report->sink, "{\"schema\": \"heapwalk.%s/1\"", name);
	hw_report_member(report, "target", hw_json_target(report));
	hw_report_member(report, "coverage", hw_json_coverage(report));
}

// ---- the end ----

static void hw_json_issues(struct hw_report *report, struct json_object *array,
			   const struct hw_issues *issues)
{
	for (size_t i = 0; i < issues->list.count; i++) {
		const struct hw_error *issue = issues->list.data[i];
		struct json_object *object = json_object_new_object();
		hw_json_add_text(report, object, "code", hw_error_code_word(issue->code));
		if (issue->has_address && issue->address)
			hw_json_add_address(object, "address", issue->address);
		else
			hw_json_add(object, "address", NULL);
		hw_json_add_text(report, object, "message", issue->message);
		if (!array || json_object_array_add(array, object))
			json_object_put(object);
	}
}

static void hw_text_issues(struct hw_report *report, const struct hw_issues *issues, size_t *shown,
			   size_t max)
{
	for (size_t i = 0; i < issues->list.count && *shown < max; i++, (*shown)++) {
		const struct hw_error *issue = issues->list.data[i];
		char where[40] = "";
		if (issue->has_address && issue->address) // 0: an issue of the whole target
			snprintf(where, sizeof(where),
				 "0x%llx: ", (unsigned long long)issue->address);
		hw_report_styled_line(report, HW_STYLE_HIGHLIGHT, "  %s: %s%s",
				      hw_error_code_word(issue->code), where,
				      hw_clean_text(report, issue->message));
	}
}

// A process that is ours to stop; stats has more to say of it.
static bool hw_report_stops(const struct hw_report *report)
{
	const struct hw_session *session = report->session;
	return session->target && session->target->ops->kind == HW_TARGET_LIVE &&
	       !session->options.no_stop && !report->tells_stop;
}

static void hw_text_end(struct hw_report *report, const struct hw_error *err)
{
	struct hw_session *session = report->session;
	uint64_t count = session->issues.list.count + session->open_issues.list.count +
			 session->issues.dropped_count + session->open_issues.dropped_count;
	size_t shown = 0, max = session->options.debug ? SIZE_MAX : HW_ISSUES_SHOWN;
	if (count) {
		hw_report_styled_line(report, HW_STYLE_HIGHLIGHT,
				      "%llu issue%s met on the walk:", (unsigned long long)count,
				      count == 1 ? "" : "s");
		hw_text_issues(report, &session->open_issues, &shown, max);
		hw_text_issues(report, &session->issues, &shown, max);
		if (shown < count)
			hw_report_styled_line(report, HW_STYLE_HIGHLIGHT,
					      "  … and %llu more (the JSON form lists them)",
					      (unsigned long long)(count - shown));
	}
	if (hw_report_stops(report))
		hw_report_line(report, "the process was stopped for %.3f ms",
			       (double)hw_target_stopped_nanoseconds(session->target) / 1e6);
	if (err)
		hw_report_styled_line(report, HW_STYLE_HIGHLIGHT, "%s%s",
				      err->code == HW_ERROR_PARTIAL ? "" : "PARTIAL: ",
				      hw_clean_text(report, err->message));
}

void hw_report_end(struct hw_report *report, const struct hw_error *err)
{
	struct hw_session *session = report->session;
	hw_table_end(report);
	switch (report->format) {
	case HW_FORMAT_TEXT:
		hw_text_end(report, err);
		return;
	case HW_FORMAT_CSV:
		if (err)
			hw_sink_printf(&report->sink, "# partial: %s\r\n",
				       hw_clean_text(report, err->message));
		return;
	case HW_FORMAT_JSON:
		break;
	}
	if (!report->tells_stop)
		hw_report_member(
			report, "stopped_seconds",
			hw_report_stops(report)
				? json_object_new_double(
					  (double)hw_target_stopped_nanoseconds(session->target) /
					  1e9)
				: NULL);
	// Only now is it known whether everything was written.
	hw_report_member(report, "partial", json_object_new_boolean(err != NULL));
	hw_report_member(report, "partial_reason",
			 err ? json_object_new_string(hw_clean_text(report, err->message)) : NULL);
	struct json_object *issues = json_object_new_array();
	hw_json_issues(report, issues, &session->open_issues);
	hw_json_issues(report, issues, &session->issues);
	hw_report_member(report, "issues", issues);
	hw_report_member(report, "issues_dropped",
			 json_object_new_uint64(session->issues.dropped_count +
						session->open_issues.dropped_count));
	hw_sink_puts(&report->sink, "}\n");
}
