/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `arenas`: glibc malloc's arenas and what is in them.
#include <string.h>

#include "report/report.h"

const struct hw_column hw_arenas_columns[HW_ARENAS_CELLS] = {
	[HW_ARENAS_INDEX] = { "Arena", "index" },
	[HW_ARENAS_ADDRESS] = { "Address", "address" },
	[HW_ARENAS_MAIN] = { "Main", "main" },
	[HW_ARENAS_SYSTEM] = { "System", "system_bytes" },
	[HW_ARENAS_IN_USE] = { "In use", "in_use_bytes" },
	[HW_ARENAS_TCACHE] = { "Tcache", "tcache_bytes" },
	[HW_ARENAS_FASTBIN] = { "Fastbins", "fastbin_bytes" },
	[HW_ARENAS_BIN] = { "Bins", "bin_bytes" },
	[HW_ARENAS_TOP] = { "Top", "top_bytes" },
	[HW_ARENAS_OVERHEAD] = { "Overhead", "overhead_bytes" },
	[HW_ARENAS_UNKNOWN] = { "Unknown", "unknown_bytes" },
	[HW_ARENAS_IN_USE_CHUNKS] = { "Chunks in use", "in_use_chunks" },
	[HW_ARENAS_FREE_CHUNKS] = { "Free chunks", "free_chunks" },
	[HW_ARENAS_HEAPS] = { NULL, "heaps" },
};

// A sum of chunks of one state. Where part of the arena could not be seen, none seen is no number.
static struct hw_cell hw_arenas_sum(const struct hw_glibc_arena *arena, uint64_t sum)
{
	bool is_seen = sum || (arena->region_bytes && !arena->unknown_bytes) ||
		       !arena->system_bytes;
	return is_seen ? hw_cell_number(sum) : hw_cell_none();
}

void hw_arenas_cells(size_t index, const struct hw_glibc_arena *arena, struct hw_cell *cells)
{
	const struct hw_cell all[HW_ARENAS_CELLS] = {
		[HW_ARENAS_INDEX] = hw_cell_signed((int64_t)index),
		[HW_ARENAS_ADDRESS] = hw_cell_address(arena->address),
		[HW_ARENAS_MAIN] = hw_cell_bool(arena->is_main),
		[HW_ARENAS_SYSTEM] = hw_cell_number(arena->system_bytes),
		[HW_ARENAS_IN_USE] = hw_arenas_sum(arena, arena->in_use_bytes),
		[HW_ARENAS_TCACHE] = hw_arenas_sum(arena, arena->tcache_bytes),
		[HW_ARENAS_FASTBIN] = hw_arenas_sum(arena, arena->fastbin_bytes),
		[HW_ARENAS_BIN] = hw_arenas_sum(arena, arena->bin_bytes),
		[HW_ARENAS_TOP] = hw_arenas_sum(arena, arena->top_bytes),
		[HW_ARENAS_OVERHEAD] = hw_arenas_sum(arena, arena->overhead_bytes),
		[HW_ARENAS_UNKNOWN] = hw_cell_number(arena->unknown_bytes),
		[HW_ARENAS_IN_USE_CHUNKS] = hw_arenas_sum(arena, arena->in_use_chunks),
		[HW_ARENAS_FREE_CHUNKS] = hw_arenas_sum(
			arena, arena->tcache_chunks + arena->fastbin_chunks + arena->bin_chunks),
		[HW_ARENAS_HEAPS] = hw_cell_number(arena->heaps),
	};
	memcpy(cells, all, sizeof(all));
}

static bool hw_arenas_push(struct hw_rows *rows, size_t index, const struct hw_glibc_arena *arena)
{
	struct hw_cell cells[HW_ARENAS_CELLS];
	hw_arenas_cells(index, arena, cells);
	return hw_rows_push(rows, cells);
}

static void hw_arenas_mmapped(struct hw_report *report)
{
	const struct hw_glibc *glibc = &report->session->glibc;
	struct json_object *mmapped = json_object_new_object();
	hw_json_add_number(mmapped, "count", glibc->mmapped_count);
	hw_json_add_number(mmapped, "bytes", glibc->mmapped_bytes);
	char count[32], bytes[32], n_mmaps[32], mmapped_mem[32];
	hw_commas(glibc->mmapped_count, count);
	hw_commas(glibc->mmapped_bytes, bytes);
	if (glibc->mp) {
		hw_json_add_number(mmapped, "n_mmaps", glibc->n_mmaps);
		hw_json_add_number(mmapped, "mmapped_mem", glibc->mmapped_mem);
		hw_report_line(report,
			       "mmapped chunks: %s, %s bytes (malloc's own count: %s, %s bytes)",
			       count, bytes, hw_commas(glibc->n_mmaps, n_mmaps),
			       hw_commas(glibc->mmapped_mem, mmapped_mem));
	} else {
		hw_json_add(mmapped, "n_mmaps", NULL);
		hw_json_add(mmapped, "mmapped_mem", NULL);
		hw_report_line(report,
			       "mmapped chunks: %s, %s bytes were found; how many there are can't "
			       "be told, malloc's own count is not known",
			       count, bytes);
	}
	hw_report_member(report, "mmapped", mmapped);
	hw_report_styled_line(report, HW_STYLE_METADATA, "facts: malloc: %s",
			      glibc->facts ? glibc->facts : "none");
	if (glibc->other.name)
		hw_report_line(report,
			       "the program's malloc is %s in %s: here is what reached "
			       "glibc's besides",
			       glibc->other.name, glibc->other.file);
}

struct hw_error *hw_report_need_malloc(const struct hw_report *report)
{
	const struct hw_glibc *glibc = &report->session->glibc;
	if (glibc->other.name && !glibc->is_initialized)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "this process's malloc is %s in %s, not glibc's: its arenas "
				       "are not known, \"map\" shows its memory",
				       glibc->other.name, glibc->other.file);
	if (glibc->main_arena)
		return NULL;
	return hw_error_create(HW_ERROR_NOT_FOUND,
			       "glibc's malloc was not found in this process: it has another "
			       "allocator, or a static one whose symbols are stripped");
}

struct hw_error *hw_report_arenas(struct hw_report *report)
{
	struct hw_session *session = report->session;
	HW_TRY(hw_session_need_allocators(session));
	const struct hw_glibc *glibc = &session->glibc;
	HW_TRY(hw_report_need_malloc(report));
	struct hw_rows rows = { .columns = hw_arenas_columns, .column_count = HW_ARENAS_CELLS };
	for (size_t i = 0; i < glibc->arenas.count; i++) {
		if (!hw_arenas_push(&rows, i, &glibc->arenas.data[i])) {
			hw_rows_deinit(&rows);
			return &hw_enomem;
		}
	}
	const char *sort = hw_argument(report->arguments, "sort");
	if (sort)
		hw_rows_sort(&rows, sort);
	hw_report_begin(report, "arenas");
	hw_table_begin(report, "arenas", hw_arenas_columns, HW_ARENAS_CELLS);
	hw_rows_print(&rows, report, report->top);
	hw_table_end(report);
	hw_arenas_mmapped(report);
	hw_rows_deinit(&rows);
	return NULL;
}
