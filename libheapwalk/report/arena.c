/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `arena N`: one of glibc malloc's arenas, its bins and its chunks.
#include <stdio.h>
#include <string.h>

#include "analysis/bins.h"
#include "analysis/query.h"
#include "report/report.h"

enum {
	HW_BINS_BIN,
	HW_BINS_INDEX,
	HW_BINS_FROM,
	HW_BINS_TO,
	HW_BINS_COUNT,
	HW_BINS_BYTES,
	HW_BINS_CELLS
};

static const struct hw_column hw_bins_columns[HW_BINS_CELLS] = {
	[HW_BINS_BIN] = { "Bin", "bin" },
	[HW_BINS_INDEX] = { "Index", "index" },
	[HW_BINS_FROM] = { "Smallest", "from_size" },
	[HW_BINS_TO] = { "Largest", "to_size" },
	[HW_BINS_COUNT] = { "Num chunks", "count" },
	[HW_BINS_BYTES] = { "Bytes", "bytes" },
};

enum {
	HW_CHUNKS_START,
	HW_CHUNKS_END,
	HW_CHUNKS_SIZE,
	HW_CHUNKS_STATE,
	HW_CHUNKS_DOMAIN,
	HW_CHUNKS_KIND,
	HW_CHUNKS_DETAIL,
	HW_CHUNKS_CELLS
};

static const struct hw_column hw_chunks_columns[HW_CHUNKS_CELLS] = {
	[HW_CHUNKS_START] = { "Start", "start" },    [HW_CHUNKS_END] = { "End", "end" },
	[HW_CHUNKS_SIZE] = { "Size", "size" },       [HW_CHUNKS_STATE] = { "State", "state" },
	[HW_CHUNKS_DOMAIN] = { "Domain", "domain" }, [HW_CHUNKS_KIND] = { "Kind", "kind" },
	[HW_CHUNKS_DETAIL] = { "Detail", "detail" },
};

// The arena that the user means: a number of `arenas`, or the address of its malloc_state.
static struct hw_error *hw_arena_find(const struct hw_report *report, uint32_t *ret)
{
	const struct hw_glibc *glibc = &report->session->glibc;
	const char *text = report->arguments->text;
	uint64_t number;
	if (!*text)
		return hw_error_create(HW_ERROR_INVALID,
				       "arena needs the number of an arena: arenas lists them");
	if (!hw_number_parse(text, &number))
		return hw_error_create(HW_ERROR_INVALID,
				       "arena takes the number of an arena or its address, not "
				       "\"%.100s\": arenas lists them",
				       text);
	for (uint32_t i = 0; i < glibc->arenas.count; i++) {
		if (i == number || glibc->arenas.data[i].address == number) {
			*ret = i;
			return NULL;
		}
	}
	return hw_error_create(HW_ERROR_INVALID,
			       "there is no arena %.100s: this process has %zu, numbered from 0",
			       text, glibc->arenas.count);
}

static struct hw_error *hw_arena_bin_rows(const struct hw_bins *bins, struct hw_rows *rows)
{
	hw_vec_foreach(bin, &bins->list)
	{
		const struct hw_cell cells[HW_BINS_CELLS] = {
			[HW_BINS_BIN] = hw_cell_text(hw_chunk_state_word(bin->state)),
			[HW_BINS_INDEX] = bin->index < 0 ? hw_cell_none()
							 : hw_cell_signed(bin->index),
			[HW_BINS_FROM] = hw_cell_number(bin->from_size),
			[HW_BINS_TO] = hw_cell_number(bin->to_size),
			[HW_BINS_COUNT] = hw_cell_number(bin->count),
			[HW_BINS_BYTES] = hw_cell_number(bin->bytes),
		};
		if (!hw_rows_push(rows, cells))
			return &hw_enomem;
	}
	return NULL;
}

struct hw_chunk_list {
	struct hw_report *report;
	uint64_t count, bytes;
};

static bool hw_arena_chunk(void *payload, const struct hw_row *row)
{
	struct hw_chunk_list *list = payload;
	const struct hw_category *category = hw_heap_category(list->report->session->heap,
							      row->category);
	if (list->count == list->report->top || hw_report_is_stopped(list->report))
		return false;
	const struct hw_cell cells[HW_CHUNKS_CELLS] = {
		[HW_CHUNKS_START] = hw_cell_address(row->start),
		[HW_CHUNKS_END] = hw_cell_address(hw_row_last(row)),
		[HW_CHUNKS_SIZE] = hw_cell_number(row->size_bytes),
		[HW_CHUNKS_STATE] = hw_cell_text(category->state_word),
		[HW_CHUNKS_DOMAIN] = hw_cell_text(category->domain),
		[HW_CHUNKS_KIND] = hw_cell_text(category->kind),
		[HW_CHUNKS_DETAIL] = hw_cell_text(category->detail),
	};
	hw_table_row(list->report, cells);
	list->count++;
	list->bytes += row->size_bytes;
	return true;
}

static void hw_arena_chunks(struct hw_report *report, uint32_t index, const struct hw_bins *bins)
{
	struct hw_chunk_list list = { .report = report };
	char count[32], bytes[32];
	if (report->format == HW_FORMAT_TEXT && hw_report_shows(report, "bins"))
		hw_report_line(report, "%s", "");
	hw_table_begin(report, "chunks", hw_chunks_columns, HW_CHUNKS_CELLS);
	hw_arena_visit(report->session->heap, &report->session->glibc, index, hw_arena_chunk,
		       &list);
	hw_table_end(report);
	hw_report_line(report, "%s chunk%s, %s bytes", hw_commas(bins->chunk_count, count),
		       bins->chunk_count == 1 ? "" : "s", hw_commas(bins->chunk_bytes, bytes));
}

static void hw_arena_head(struct hw_report *report, uint32_t index)
{
	const struct hw_glibc_arena *arena = &report->session->glibc.arenas.data[index];
	char system[32], in_use[32], chunks[32];
	struct hw_cell cells[HW_ARENAS_CELLS];
	hw_arenas_cells(index, arena, cells);
	hw_report_member(report, "arena",
			 hw_json_row(report, hw_arenas_columns, HW_ARENAS_CELLS, cells));
	hw_report_line(
		report,
		"Arena %u at 0x%016llx, %s: %s bytes from the system, %s in use in %s chunks",
		(unsigned)index, (unsigned long long)arena->address,
		arena->is_main ? "the main one" : "of threads",
		hw_commas(arena->system_bytes, system), hw_commas(arena->in_use_bytes, in_use),
		hw_commas(arena->in_use_chunks, chunks));
}

static struct hw_error *hw_arena_print(struct hw_report *report, uint32_t index,
				       const struct hw_bins *bins, struct hw_rows *rows)
{
	const char *sort = hw_argument(report->arguments, "sort");
	// CSV is one table.
	bool has_bins = hw_report_shows(report, "bins");
	bool has_chunks = hw_report_shows(report, "chunks") &&
			  (report->format != HW_FORMAT_CSV || !has_bins);
	HW_TRY(hw_arena_bin_rows(bins, rows));
	if (sort)
		hw_rows_sort(rows, sort);
	hw_report_begin(report, "arena");
	hw_arena_head(report, index);
	if (has_bins) {
		hw_table_begin(report, "bins", hw_bins_columns, HW_BINS_CELLS);
		hw_rows_print(rows, report, report->top);
		hw_table_end(report);
	}
	if (has_chunks)
		hw_arena_chunks(report, index, bins);
	struct json_object *total = json_object_new_object();
	hw_json_add_number(total, "count", bins->chunk_count);
	hw_json_add_number(total, "bytes", bins->chunk_bytes);
	hw_report_member(report, "total", total);
	return NULL;
}

struct hw_error *hw_report_arena(struct hw_report *report)
{
	struct hw_session *session = report->session;
	uint32_t index = 0;
	struct hw_bins bins;
	HW_TRY(hw_session_need_heap(session));
	HW_TRY(hw_report_need_malloc(report));
	HW_TRY(hw_arena_find(report, &index));
	HW_TRY(hw_bins_make(&session->glibc, index, &bins));
	struct hw_rows rows = { .columns = hw_bins_columns, .column_count = HW_BINS_CELLS };
	struct hw_error *err = hw_arena_print(report, index, &bins, &rows);
	hw_rows_deinit(&rows);
	hw_bins_deinit(&bins);
	return err;
}
