/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Rows in; text, JSON or CSV out. A command is a function that fills a report; what every report
// has in common (schema, target, coverage, issues, the partial mark) is written by report.c.
#ifndef HW_REPORT_REPORT_H
#define HW_REPORT_REPORT_H

#include <json-c/json.h>

#include "analysis/session.h"
#include "report/options.h"
#include "report/sink.h"

enum hw_format { HW_FORMAT_TEXT, HW_FORMAT_JSON, HW_FORMAT_CSV };

enum hw_cell_kind {
	HW_CELL_NONE,    // text "", JSON null
	HW_CELL_TEXT,    // borrowed
	HW_CELL_NUMBER,  // thousands commas in text
	HW_CELL_SIGNED,  // the same, may be negative
	HW_CELL_CHANGE,  // the same, with its sign in text; bigger is farther from 0
	HW_CELL_ADDRESS, // 16 hexadecimal digits in text, "0x…" in JSON and CSV
	HW_CELL_BOOL,    // "yes" and "no" in text
};

struct hw_cell {
	enum hw_cell_kind kind;
	union {
		const char *text;
		uint64_t number;
		int64_t integer;
		bool boolean;
	};
};

static inline struct hw_cell hw_cell_none(void)
{
	return (struct hw_cell){ .kind = HW_CELL_NONE };
}
static inline struct hw_cell hw_cell_text(const char *text)
{
	return text ? (struct hw_cell){ .kind = HW_CELL_TEXT, .text = text } : hw_cell_none();
}
static inline struct hw_cell hw_cell_number(uint64_t number)
{
	return (struct hw_cell){ .kind = HW_CELL_NUMBER, .number = number };
}
static inline struct hw_cell hw_cell_signed(int64_t integer)
{
	return (struct hw_cell){ .kind = HW_CELL_SIGNED, .integer = integer };
}
static inline struct hw_cell hw_cell_change(int64_t integer)
{
	return (struct hw_cell){ .kind = HW_CELL_CHANGE, .integer = integer };
}
static inline struct hw_cell hw_cell_address(hw_addr_t addr)
{
	return (struct hw_cell){ .kind = HW_CELL_ADDRESS, .number = addr };
}
static inline struct hw_cell hw_cell_bool(bool boolean)
{
	return (struct hw_cell){ .kind = HW_CELL_BOOL, .boolean = boolean };
}

// Parts of a text report that may be set off on a terminal: the members of struct hw_styles.
enum hw_style {
	HW_STYLE_NONE,
	HW_STYLE_TITLE,
	HW_STYLE_ADDRESS,
	HW_STYLE_METADATA,
	HW_STYLE_HIGHLIGHT
};

struct hw_column {
	const char *title; // of the text table; NULL: not shown there
	const char *key;   // of JSON and CSV; NULL: not there
};

enum { HW_COLUMNS_MAX = 24, HW_TABLE_HELD_ROWS = 10000 };

struct hw_report;

// A table being written. Rows are streamed; the text form holds back the first HW_TABLE_HELD_ROWS
// to know how wide its columns are. A wider cell after that is printed whole and pushes its row
// out.
struct hw_table {
	struct hw_report *report;
	const struct hw_column *columns;
	size_t column_count;
	uint64_t row_count;
	size_t widths[HW_COLUMNS_MAX];
	HW_VEC(char) held; // cells of text: a byte of enum hw_style, the text, a NUL
	size_t held_rows;
	bool is_streaming, is_open;
	bool is_total; // the row under way is the total
};

struct hw_writer_ops {
	void (*begin)(struct hw_table *table, const char *key);
	void (*row)(struct hw_table *table, const struct hw_cell *cells);
	void (*end)(struct hw_table *table);
};
extern const struct hw_writer_ops hw_text_writer, hw_json_writer, hw_csv_writer;

struct hw_report {
	struct hw_session *session;
	const struct hw_arguments *arguments;
	struct hw_sink sink;
	enum hw_format format;
	const struct hw_styles *styles; // NULL: plain
	uint64_t top;                   // rows to print, UINT64_MAX: all
	struct hw_table table;
	bool is_begun;
	bool tells_stop;         // says itself for how long the process was stopped
	HW_VEC(char) scratch;    // for hw_clean_text()
	struct json_object *row; // JSON: the row being filled, reused
};

// ---- report.c: what reports have in common ----
// Starts the report: with the JSON header. Everything that can fail should come before it.
// The coverage is the table's when there is one, else the allocators'.
void hw_report_begin(struct hw_report *report, const char *name);
// A line of the text form only.
void hw_report_line(struct hw_report *report, const char *fmt, ...) HW_PRINTF(2, 3);
void hw_report_styled_line(struct hw_report *report, enum hw_style style, const char *fmt, ...)
	HW_PRINTF(3, 4);
// A member of the JSON form only; takes `value`.
void hw_report_member(struct hw_report *report, const char *key, struct json_object *value);
// Closes the table that is open, says whether and why (`err`, may be NULL) the report is partial,
// and lists issues.
void hw_report_end(struct hw_report *report, const struct hw_error *err);
// Is this table asked for? The option `show` names one of several.
bool hw_report_shows(const struct hw_report *report, const char *what);
// True: the reader has gone or the user interrupted.
bool hw_report_is_stopped(struct hw_report *report);

// key names the JSON array of rows.
void hw_table_begin(struct hw_report *report, const char *key, const struct hw_column *columns,
		    size_t column_count);
void hw_table_row(struct hw_report *report, const struct hw_cell *cells);
void hw_table_end(struct hw_report *report);
// The last row of a text table; not a row of the other forms.
void hw_table_total(struct hw_report *report, const struct hw_cell *cells);

// Text without control characters and without bytes that are not UTF-8 (each shown as \xNN): a
// type's name comes from the target, and must not reach a terminal's or a JSON parser's nerves.
// Returns `text` itself when it is clean, else a copy that is borrowed until the next call.
const char *hw_clean_text(struct hw_report *report, const char *text);
// To the sink, set off if styles are wanted.
void hw_text_put_styled(struct hw_report *report, enum hw_style style, const char *text);
// 1234567 → "1,234,567"; buf of 32.
const char *hw_commas(uint64_t number, char *buf);
// Share as a per cent with one decimal, never rounded up to 100; buf of 32.
const char *hw_percent(uint64_t part, uint64_t whole, char *buf);

// ---- rows.c: small tables that are sorted before they are printed ----
struct hw_rows {
	const struct hw_column *columns;
	size_t column_count;
	HW_VEC(struct hw_cell) cells;
};

bool hw_rows_push(struct hw_rows *rows, const struct hw_cell *cells);
size_t hw_rows_count(const struct hw_rows *rows);
// `sort`: a column's key, then ":asc" or ":desc" if the natural way (numbers down, texts and
// addresses up) is not meant. Equal ones are ordered by the other columns, from the left.
void hw_rows_sort(struct hw_rows *rows, const char *sort);
// At most `top` of them, into the open table.
void hw_rows_print(const struct hw_rows *rows, struct hw_report *report, uint64_t top);
void hw_rows_deinit(struct hw_rows *rows);

// ---- defaults.c ----
// Settings of the session, for options that were not given and that take such a value.
struct hw_error *hw_defaults_apply(struct hw_session *session,
				   struct hw_arguments *arguments) HW_MUST_USE;

// ---- json.c ----
// Add to an object; both tolerate a NULL object (json-c was out of memory). Take `value`.
void hw_json_add(struct json_object *object, const char *key, struct json_object *value);
void hw_json_add_number(struct json_object *object, const char *key, uint64_t number);
void hw_json_add_bool(struct json_object *object, const char *key, bool value);
void hw_json_add_text(struct hw_report *report, struct json_object *object, const char *key,
		      const char *text); // NULL: null
void hw_json_add_address(struct json_object *object, const char *key, hw_addr_t addr);
struct json_object *hw_json_address(hw_addr_t addr); // "0x…"
struct json_object *hw_json_row(struct hw_report *report, const struct hw_column *columns,
				size_t column_count, const struct hw_cell *cells);

// ---- arenas.c ----
enum {
	HW_ARENAS_INDEX,
	HW_ARENAS_ADDRESS,
	HW_ARENAS_MAIN,
	HW_ARENAS_SYSTEM,
	HW_ARENAS_IN_USE,
	HW_ARENAS_TCACHE,
	HW_ARENAS_FASTBIN,
	HW_ARENAS_BIN,
	HW_ARENAS_TOP,
	HW_ARENAS_OVERHEAD,
	HW_ARENAS_UNKNOWN,
	HW_ARENAS_IN_USE_CHUNKS,
	HW_ARENAS_FREE_CHUNKS,
	HW_ARENAS_HEAPS,
	HW_ARENAS_CELLS
};

extern const struct hw_column hw_arenas_columns[HW_ARENAS_CELLS];
void hw_arenas_cells(size_t index, const struct hw_glibc_arena *arena, struct hw_cell *cells);
// HW_ERROR_NOT_FOUND when there is no malloc of glibc's. The allocators were walked.
struct hw_error *hw_report_need_malloc(const struct hw_report *report) HW_MUST_USE;
// ---- diff_blocks.c, diff_classes.c: forms of `diff` ----
struct hw_snapshot;
// The options that say how; NULL: not given.
struct hw_error *hw_diff_print_blocks(struct hw_report *report,
				      struct hw_snapshot *const *snapshots,
				      size_t count) HW_MUST_USE;
struct hw_error *hw_diff_print_survivors(struct hw_report *report,
					 struct hw_snapshot *const *snapshots) HW_MUST_USE;
struct hw_error *hw_diff_print_classes(struct hw_report *report,
				       struct hw_snapshot *const *snapshots) HW_MUST_USE;
// Starts the report and says which snapshots are compared.
void hw_diff_begin(struct hw_report *report, struct hw_snapshot *const *snapshots, size_t count);

// ---- census.c ----
struct hw_query;
// What `query` finds, grouped as the option `by` says. NULL: the census.
struct hw_error *hw_report_groups(struct hw_report *report, struct hw_query *query) HW_MUST_USE;

// ---- one file each ----
struct hw_error *hw_report_census(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_select(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_used(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_free(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_all(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_sizes(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_arenas(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_arena(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_cpython_allocators(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_referrers(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_path(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_retained(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_explain(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_pins(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_map(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_stats(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_hexdump(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_save(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_diff(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_label(struct hw_report *report) HW_MUST_USE;
struct hw_error *hw_report_log(struct hw_report *report) HW_MUST_USE;

#define HW_ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
