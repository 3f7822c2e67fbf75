/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `save`, `label` and `log`: snapshots, taken and listed.
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "analysis/snapshot.h"
#include "report/report.h"

enum {
	HW_SAVED_NAME,
	HW_SAVED_TIME,
	HW_SAVED_TAKEN,
	HW_SAVED_PROCESS, // the same for people: a number without commas
	HW_SAVED_PID,
	HW_SAVED_COUNT,
	HW_SAVED_BYTES,
	HW_SAVED_MAPPED,
	HW_SAVED_BLOCKS,
	HW_SAVED_COUNT_CHANGE,
	HW_SAVED_BYTES_CHANGE,
	HW_SAVED_FILE_BYTES,
	HW_SAVED_CONTENTS,
	HW_SAVED_CELLS
};

#define HW_SAVED_COLUMNS(name, key, count_change, bytes_change, file_bytes, contents)              \
	{                                                                                          \
		[HW_SAVED_NAME] = { name, key }, [HW_SAVED_TIME] = { "Time", "time" },             \
		[HW_SAVED_TAKEN] = { NULL, "taken" }, [HW_SAVED_PROCESS] = { "Process", NULL },    \
		[HW_SAVED_PID] = { NULL, "pid" },                                                  \
		[HW_SAVED_COUNT] = { "Blocks in use", "in_use_count" },                            \
		[HW_SAVED_BYTES] = { "Bytes in use", "in_use_bytes" },                             \
		[HW_SAVED_MAPPED] = { "Mapped", "mapped_bytes" },                                  \
		[HW_SAVED_BLOCKS] = { NULL, "blocks" },                                            \
		[HW_SAVED_COUNT_CHANGE] = { count_change ? "Blocks +/-" : NULL, count_change },    \
		[HW_SAVED_BYTES_CHANGE] = { bytes_change ? "Bytes +/-" : NULL, bytes_change },     \
		[HW_SAVED_FILE_BYTES] = { file_bytes ? "File size" : NULL, file_bytes },           \
		[HW_SAVED_CONTENTS] = { NULL, contents },                                          \
	}

static const struct hw_column hw_save_columns[HW_SAVED_CELLS] =
	HW_SAVED_COLUMNS("File", "file", NULL, NULL, "file_bytes", "content_bytes");
static const struct hw_column hw_label_columns[HW_SAVED_CELLS] =
	HW_SAVED_COLUMNS("Label", "label", NULL, NULL, NULL, NULL);
static const struct hw_column hw_log_columns[HW_SAVED_CELLS] = HW_SAVED_COLUMNS(
	"Label", "label", "in_use_count_change", "in_use_bytes_change", NULL, NULL);

// Texts of a row.
struct hw_saved_words {
	char time[32], process[16];
};

// The texts are in `words`.
static void hw_saved_cells(const struct hw_snapshot_info *info, const char *name,
			   struct hw_saved_words *words, struct hw_cell *cells)
{
	time_t when = (time_t)info->taken;
	struct tm utc;
	if (!gmtime_r(&when, &utc) ||
	    !strftime(words->time, sizeof(words->time), "%Y-%m-%dT%H:%M:%SZ", &utc))
		snprintf(words->time, sizeof(words->time), "?");
	snprintf(words->process, sizeof(words->process), "%d", (int)info->pid);
	memset(cells, 0, HW_SAVED_CELLS * sizeof(*cells));
	cells[HW_SAVED_NAME] = hw_cell_text(name);
	cells[HW_SAVED_TIME] = hw_cell_text(words->time);
	cells[HW_SAVED_TAKEN] = hw_cell_signed(info->taken);
	cells[HW_SAVED_PROCESS] = info->pid ? hw_cell_text(words->process) : hw_cell_none();
	cells[HW_SAVED_PID] = info->pid ? hw_cell_signed(info->pid) : hw_cell_none();
	cells[HW_SAVED_COUNT] = hw_cell_number(info->ledger.in_use_count);
	cells[HW_SAVED_BYTES] = hw_cell_number(info->ledger.in_use_bytes);
	cells[HW_SAVED_MAPPED] = hw_cell_number(info->ledger.mapped_bytes);
	cells[HW_SAVED_BLOCKS] = hw_cell_number(info->block_count);
}

// ---- save ----

struct hw_error *hw_report_save(struct hw_report *report)
{
	struct hw_session *session = report->session;
	const char *file = report->arguments->text;
	uint64_t contents;
	struct hw_snapshot_written written;
	if (!*file)
		return hw_error_create(HW_ERROR_INVALID,
				       "save needs the name of the file to write: save FILE");
	HW_TRY(hw_argument_number(report->arguments, "contents", 0, &contents));
	if (contents > HW_SNAPSHOT_CONTENT_BYTES_MAX)
		return hw_error_create(HW_ERROR_INVALID,
				       "a snapshot holds %d bytes of a block at most, not %llu",
				       HW_SNAPSHOT_CONTENT_BYTES_MAX, (unsigned long long)contents);
	HW_TRY(hw_snapshot_save(session, file, contents, &written));
	const struct hw_snapshot_info info = { .taken = time(NULL),
					       .pid = session->target->pid,
					       .ledger = *hw_heap_ledger(session->heap),
					       .block_count = written.blocks };
	struct hw_saved_words words;
	char digits[32];
	struct hw_cell cells[HW_SAVED_CELLS];
	hw_saved_cells(&info, file, &words, cells);
	cells[HW_SAVED_FILE_BYTES] = hw_cell_number(written.file_bytes);
	cells[HW_SAVED_CONTENTS] = hw_cell_number(contents);
	hw_report_begin(report, "save");
	hw_table_begin(report, "rows", hw_save_columns, HW_SAVED_CELLS);
	hw_table_row(report, cells);
	hw_table_end(report);
	if (contents)
		hw_report_line(report,
			       "contents: the first %s bytes of each block in use are in the file; "
			       "they are whatever the process had there",
			       hw_commas(contents, digits));
	else
		hw_report_line(report, "contents: none; what blocks hold is not in the file");
	return NULL;
}

// ---- label, log ----

// What runs between two commands is the process; a name may have blanks, as gdb-heap's had.
struct hw_error *hw_report_label(struct hw_report *report)
{
	struct hw_session *session = report->session;
	const char *name = report->arguments->text;
	bool is_replaced;
	if (!*name)
		return hw_error_create(HW_ERROR_INVALID, "label needs a name: label NAME");
	HW_TRY(hw_session_label(session, name, &is_replaced));
	const struct hw_snapshot_info *info =
		hw_snapshot_info(hw_session_find_label(session, name));
	struct hw_saved_words words;
	struct hw_cell cells[HW_SAVED_CELLS];
	hw_saved_cells(info, name, &words, cells);
	hw_report_begin(report, "label");
	hw_table_begin(report, "rows", hw_label_columns, HW_SAVED_CELLS);
	hw_table_row(report, cells);
	hw_table_end(report);
	hw_report_member(report, "replaced", json_object_new_boolean(is_replaced));
	if (is_replaced)
		hw_report_line(report, "It replaces a label of that name.");
	return NULL;
}

struct hw_error *hw_report_log(struct hw_report *report)
{
	const struct hw_labels *labels = report->session->labels;
	size_t count = labels ? labels->list.count : 0;
	hw_report_begin(report, "log");
	hw_table_begin(report, "rows", hw_log_columns, HW_SAVED_CELLS);
	// The newest first, each against the one before it.
	for (size_t i = count; i-- && count - 1 - i < report->top;) {
		const struct hw_snapshot_info *info =
			hw_snapshot_info(labels->list.data[i].snapshot);
		const struct hw_ledger *before =
			i ? &hw_snapshot_info(labels->list.data[i - 1].snapshot)->ledger : NULL;
		struct hw_saved_words words;
		struct hw_cell cells[HW_SAVED_CELLS];
		hw_saved_cells(info, labels->list.data[i].name, &words, cells);
		if (before) {
			cells[HW_SAVED_COUNT_CHANGE] = hw_cell_change(
				(int64_t)(info->ledger.in_use_count - before->in_use_count));
			cells[HW_SAVED_BYTES_CHANGE] = hw_cell_change(
				(int64_t)(info->ledger.in_use_bytes - before->in_use_bytes));
		}
		hw_table_row(report, cells);
	}
	hw_table_end(report);
	if (!count)
		hw_report_line(report, "(no labels: \"label NAME\" takes one)");
	return NULL;
}
