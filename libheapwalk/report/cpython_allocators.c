/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `cpython-allocators`: every interpreter's arenas, then its size classes, as obmalloc counts them.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "report/cpython_lists.h"
#include "report/cpython_mimalloc.h"

enum {
	HW_PYARENA_INTERPRETER,
	HW_PYARENA_OBJECT,
	HW_PYARENA_START,
	HW_PYARENA_END,
	HW_PYARENA_LOCATION,
	HW_PYARENA_FREE,
	HW_PYARENA_TOTAL,
	HW_PYARENA_POOLS,
	HW_PYARENA_CELLS
};
enum {
	HW_CLASS_INTERPRETER,
	HW_CLASS_INDEX,
	HW_CLASS_SIZE,
	HW_CLASS_POOLS,
	HW_CLASS_IN_USE,
	HW_CLASS_FREE,
	HW_CLASS_CELLS
};

static const struct hw_column hw_class_columns[HW_CLASS_CELLS] = {
	[HW_CLASS_INTERPRETER] = { NULL, "interpreter" },
	[HW_CLASS_INDEX] = { "Class", "class" },
	[HW_CLASS_SIZE] = { "Size", "size" },
	[HW_CLASS_POOLS] = { "Num pools", "pools" },
	[HW_CLASS_IN_USE] = { "Blocks in use", "blocks_in_use" },
	[HW_CLASS_FREE] = { "Avail blocks", "blocks_free" },
};

// Column titles name the arena's size, which is the target's: they are made for each report.
struct hw_pyarena_table {
	char location_title[64];
	struct hw_column columns[HW_PYARENA_CELLS];
	// Texts of the two cells that gdb-heap's table has, by arena.
	char (*texts)[2][48];
	struct hw_rows arenas;
	bool has_lists;
	struct hw_pyarena_lists lists;
	struct hw_mi_tables mimalloc;
};

static void hw_pyarena_columns(struct hw_pyarena_table *table, const struct hw_pymalloc *pymalloc)
{
	snprintf(table->location_title, sizeof(table->location_title), "%uKB buffer location",
		 pymalloc->arena_bytes / 1024);
	const struct hw_column columns[HW_PYARENA_CELLS] = {
		[HW_PYARENA_INTERPRETER] = { NULL, "interpreter" },
		[HW_PYARENA_OBJECT] = { "struct arena_object*", "arena_object" },
		[HW_PYARENA_START] = { NULL, "start" },
		[HW_PYARENA_END] = { NULL, "end" },
		[HW_PYARENA_LOCATION] = { table->location_title, NULL },
		[HW_PYARENA_FREE] = { NULL, "pools_free" },
		[HW_PYARENA_TOTAL] = { NULL, "pools_total" },
		[HW_PYARENA_POOLS] = { "Free pools", NULL },
	};
	memcpy(table->columns, columns, sizeof(columns));
}

// The arenas of states [first, first + count), sorted and cut as the options say.
static struct hw_error *hw_pyarena_fill(struct hw_report *report, struct hw_pyarena_table *table,
					uint32_t first, uint32_t count)
{
	const struct hw_pymalloc *pymalloc = &report->session->pymalloc;
	table->arenas.cells.count = 0;
	for (size_t i = 0; i < pymalloc->arenas.count; i++) {
		const struct hw_arena *arena = &pymalloc->arenas.data[i];
		if (arena->interpreter < first || arena->interpreter >= first + count ||
		    arena->interpreter >= pymalloc->states.count)
			continue;
		hw_addr_t last = arena->start + pymalloc->arena_bytes - 1;
		snprintf(table->texts[i][0], sizeof(table->texts[i][0]), "0x%llx-0x%llx",
			 (unsigned long long)arena->start, (unsigned long long)last);
		snprintf(table->texts[i][1], sizeof(table->texts[i][1]), "%u / %u",
			 arena->pools_free, arena->pools_total);
		const struct hw_pymalloc_state *state = &pymalloc->states.data[arena->interpreter];
		const struct hw_cell cells[HW_PYARENA_CELLS] = {
			[HW_PYARENA_INTERPRETER] = hw_cell_signed(state->interpreter_id),
			[HW_PYARENA_OBJECT] = hw_cell_address(arena->arena_object),
			[HW_PYARENA_START] = hw_cell_address(arena->start),
			[HW_PYARENA_END] = hw_cell_address(last),
			[HW_PYARENA_LOCATION] = hw_cell_text(table->texts[i][0]),
			[HW_PYARENA_FREE] = hw_cell_number(arena->pools_free),
			[HW_PYARENA_TOTAL] = hw_cell_number(arena->pools_total),
			[HW_PYARENA_POOLS] = hw_cell_text(table->texts[i][1]),
		};
		if (!hw_rows_push(&table->arenas, cells))
			return &hw_enomem;
	}
	const char *sort = hw_argument(report->arguments, "sort");
	if (sort)
		hw_rows_sort(&table->arenas, sort);
	return NULL;
}

static void hw_class_cells(const struct hw_pymalloc *pymalloc,
			   const struct hw_pymalloc_state *state, uint32_t index,
			   struct hw_cell *cells)
{
	const struct hw_size_class_stats *stats = &state->classes[index];
	cells[HW_CLASS_INTERPRETER] = hw_cell_signed(state->interpreter_id);
	cells[HW_CLASS_INDEX] = hw_cell_number(index);
	cells[HW_CLASS_SIZE] = hw_cell_number((uint64_t)(index + 1) * pymalloc->alignment);
	cells[HW_CLASS_POOLS] = hw_cell_number(stats->pools);
	cells[HW_CLASS_IN_USE] = hw_cell_number(stats->blocks_in_use);
	cells[HW_CLASS_FREE] = hw_cell_number(stats->blocks_free);
}

static uint32_t hw_class_count(const struct hw_pymalloc *pymalloc)
{
	return pymalloc->size_class_count < HW_PYMALLOC_SIZE_CLASSES_MAX
		       ? pymalloc->size_class_count
		       : HW_PYMALLOC_SIZE_CLASSES_MAX;
}

// Classes without a pool are left out, as sys._debugmallocstats() does.
static void hw_class_rows(struct hw_report *report, const struct hw_pymalloc_state *state)
{
	const struct hw_pymalloc *pymalloc = &report->session->pymalloc;
	for (uint32_t i = 0; i < hw_class_count(pymalloc); i++) {
		struct hw_cell cells[HW_CLASS_CELLS];
		hw_class_cells(pymalloc, state, i, cells);
		if (state->classes[i].pools)
			hw_table_row(report, cells);
	}
}

// ---- text ----

static void hw_pyarena_text_state(struct hw_report *report, struct hw_pyarena_table *table,
				  const struct hw_pymalloc_state *state)
{
	const struct hw_pymalloc *pymalloc = &report->session->pymalloc;
	size_t count = hw_rows_count(&table->arenas);
	if (pymalloc->states.count > 1)
		hw_report_line(report, "Interpreter %lld:", (long long)state->interpreter_id);
	if (hw_report_shows(report, "arenas")) {
		hw_report_line(report, "Objects/obmalloc.c: %zu arenas", count);
		hw_table_begin(report, "arenas", table->columns, HW_PYARENA_CELLS);
		hw_rows_print(&table->arenas, report, report->top);
		hw_table_end(report);
		if (count > report->top)
			hw_report_styled_line(report, HW_STYLE_METADATA, "(%zu more arenas)",
					      count - (size_t)report->top);
		hw_report_line(report, "%s", "");
	}
	if (hw_report_shows(report, "classes")) {
		hw_table_begin(report, "size_classes", hw_class_columns, HW_CLASS_CELLS);
		hw_class_rows(report, state);
		hw_table_end(report);
		hw_report_line(report, "%s", "");
	}
	if (table->has_lists)
		hw_pyarena_lists_text(report, &table->lists,
				      (uint32_t)(state - pymalloc->states.data));
	if (state->has_arena_totals)
		hw_report_line(report, "%llu arenas allocated in all, %llu at the highest",
			       (unsigned long long)state->arenas_allocated_total,
			       (unsigned long long)state->arenas_highwater);
	hw_report_line(report, "%llu pools unused", (unsigned long long)state->unused_pools);
}

static struct hw_error *hw_pyarena_text(struct hw_report *report, struct hw_pyarena_table *table)
{
	const struct hw_session *session = report->session;
	const struct hw_pymalloc *pymalloc = &session->pymalloc;
	hw_report_begin(report, "cpython-allocators");
	for (uint32_t i = 0; i < pymalloc->states.count; i++) {
		HW_TRY(hw_pyarena_fill(report, table, i, 1));
		hw_pyarena_text_state(report, table, &pymalloc->states.data[i]);
	}
	if (!hw_mi_tables_are_empty(&table->mimalloc))
		hw_mi_tables_text(report, &table->mimalloc);
	hw_report_styled_line(report, HW_STYLE_METADATA, "facts: CPython %s (%s): %s; arenas: %s",
			      session->python.version, session->python.build, session->python.facts,
			      pymalloc->facts ? pymalloc->facts : "none");
	return NULL;
}

// ---- CSV: one table, the arenas or the classes of all interpreters ----

static struct hw_error *hw_pyarena_csv(struct hw_report *report, struct hw_pyarena_table *table)
{
	const struct hw_pymalloc *pymalloc = &report->session->pymalloc;
	const char *show = hw_argument(report->arguments, "show");
	hw_report_begin(report, "cpython-allocators");
	if (table->has_lists) {
		hw_pyarena_lists_csv(report, &table->lists);
		return NULL;
	}
	if (!hw_mi_tables_are_empty(&table->mimalloc)) {
		hw_mi_tables_csv(report, &table->mimalloc);
		return NULL;
	}
	if (!show || strcmp(show, "classes") != 0) {
		HW_TRY(hw_pyarena_fill(report, table, 0, (uint32_t)pymalloc->states.count));
		hw_table_begin(report, "arenas", table->columns, HW_PYARENA_CELLS);
		hw_rows_print(&table->arenas, report, report->top);
	} else {
		hw_table_begin(report, "size_classes", hw_class_columns, HW_CLASS_CELLS);
		for (size_t i = 0; i < pymalloc->states.count; i++)
			hw_class_rows(report, &pymalloc->states.data[i]);
	}
	hw_table_end(report);
	return NULL;
}

// ---- JSON ----

static struct json_object *hw_pyarena_json_arenas(struct hw_report *report,
						  const struct hw_pyarena_table *table)
{
	struct json_object *array = json_object_new_array();
	size_t count = hw_rows_count(&table->arenas);
	for (size_t i = 0; array && i < count && i < report->top; i++)
		json_object_array_add(array,
				      hw_json_row(report, table->columns, HW_PYARENA_CELLS,
						  table->arenas.cells.data + i * HW_PYARENA_CELLS));
	return array;
}

static struct json_object *hw_pyarena_json_classes(struct hw_report *report,
						   const struct hw_pymalloc_state *state)
{
	const struct hw_pymalloc *pymalloc = &report->session->pymalloc;
	struct json_object *array = json_object_new_array();
	for (uint32_t i = 0; array && i < hw_class_count(pymalloc); i++) {
		struct hw_cell cells[HW_CLASS_CELLS];
		hw_class_cells(pymalloc, state, i, cells);
		if (state->classes[i].pools)
			json_object_array_add(array, hw_json_row(report, hw_class_columns,
								 HW_CLASS_CELLS, cells));
	}
	return array;
}

static struct json_object *hw_pyarena_json_state(struct hw_report *report,
						 const struct hw_pyarena_table *table,
						 const struct hw_pymalloc_state *state)
{
	struct json_object *object = json_object_new_object();
	hw_json_add(object, "id", json_object_new_int64(state->interpreter_id));
	hw_json_add_text(report, object, "allocator", "pymalloc");
	if (state->address)
		hw_json_add_address(object, "state", state->address);
	else
		hw_json_add(object, "state", NULL);
	if (hw_report_shows(report, "arenas"))
		hw_json_add(object, "arenas", hw_pyarena_json_arenas(report, table));
	if (hw_report_shows(report, "classes"))
		hw_json_add(object, "size_classes", hw_pyarena_json_classes(report, state));
	hw_json_add_number(object, "arenas_max", state->max_arenas);
	hw_json_add(object, "arenas_allocated",
		    state->has_arenas_allocated ? json_object_new_uint64(state->arenas_allocated)
						: NULL);
	bool known = state->has_arena_totals;
	hw_json_add(object, "arenas_allocated_total",
		    known ? json_object_new_uint64(state->arenas_allocated_total) : NULL);
	hw_json_add(object, "arenas_highwater",
		    known ? json_object_new_uint64(state->arenas_highwater) : NULL);
	hw_json_add_number(object, "unused_pools", state->unused_pools);
	if (state->has_raw_allocated_blocks)
		hw_json_add_number(object, "raw_allocated_blocks", state->raw_allocated_blocks);
	else
		hw_json_add(object, "raw_allocated_blocks", NULL);
	hw_json_add_number(object, "quantization_bytes", state->quantization_bytes);
	hw_json_add_number(object, "arena_alignment_bytes", state->arena_alignment_bytes);
	hw_json_add_number(object, "pool_header_bytes", state->pool_header_bytes);
	if (table->has_lists)
		hw_pyarena_lists_json(report, &table->lists,
				      (uint32_t)(state - report->session->pymalloc.states.data),
				      object);
	return object;
}

static struct hw_error *hw_pyarena_json(struct hw_report *report, struct hw_pyarena_table *table)
{
	const struct hw_session *session = report->session;
	const struct hw_pymalloc *pymalloc = &session->pymalloc;
	struct json_object *array = json_object_new_array();
	for (uint32_t i = 0; array && i < pymalloc->states.count; i++) {
		struct hw_error *err = hw_pyarena_fill(report, table, i, 1);
		if (err) {
			json_object_put(array);
			return err;
		}
		json_object_array_add(
			array, hw_pyarena_json_state(report, table, &pymalloc->states.data[i]));
	}
	hw_report_begin(report, "cpython-allocators");
	hw_report_member(report, "arena_bytes", json_object_new_uint64(pymalloc->arena_bytes));
	hw_report_member(report, "pool_bytes", json_object_new_uint64(pymalloc->pool_bytes));
	hw_report_member(report, "alignment", json_object_new_uint64(pymalloc->alignment));
	hw_report_member(report, "facts",
			 pymalloc->facts ? json_object_new_string(pymalloc->facts) : NULL);
	hw_report_member(report, "interpreter_count",
			 json_object_new_uint64(session->python.interpreters.count));
	hw_report_member(report, "interpreters", array);
	hw_report_member(report, "mimalloc", hw_mi_tables_json(report, &table->mimalloc));
	return NULL;
}

static struct hw_error *hw_pyarena_print(struct hw_report *report, struct hw_pyarena_table *table)
{
	switch (report->format) {
	case HW_FORMAT_JSON:
		return hw_pyarena_json(report, table);
	case HW_FORMAT_CSV:
		return hw_pyarena_csv(report, table);
	case HW_FORMAT_TEXT:
		break;
	}
	return hw_pyarena_text(report, table);
}

// The walk, and the lists, of one moment.
static struct hw_error *hw_pyarena_gather(struct hw_report *report, struct hw_pyarena_table *table)
{
	struct hw_session *session = report->session;
	HW_TRY(hw_session_stop(session));
	hw_cleanup_with(hw_session_resume_cleanup) struct hw_session *stopped = session;
	HW_TRY(hw_session_need_allocators(session));
	HW_TRY(hw_session_python_shortfall(session));
	if (!session->python.module)
		return hw_error_create(HW_ERROR_NOT_FOUND,
				       "no CPython was found in this process: none "
				       "of its files defines PyType_Type");
	table->has_lists = hw_argument(report->arguments, "lists") != NULL;
	return table->has_lists ? hw_pyarena_lists_gather(session, &table->lists) : NULL;
}

static struct hw_error *hw_pyarena_report(struct hw_report *report, struct hw_pyarena_table *table)
{
	HW_TRY(hw_pyarena_gather(report, table));
	HW_TRY(hw_mi_tables_gather(report->session, &table->mimalloc));
	hw_pyarena_columns(table, &report->session->pymalloc);
	table->arenas.columns = table->columns;
	table->texts = calloc(report->session->pymalloc.arenas.count + 1, sizeof(*table->texts));
	if (!table->texts)
		return &hw_enomem;
	HW_TRY(hw_pyarena_print(report, table));
	if (table->lists.is_damaged)
		return hw_error_create(HW_ERROR_PARTIAL,
				       "the report is partial: a list of obmalloc's is damaged, an "
				       "issue says where");
	return NULL;
}

struct hw_error *hw_report_cpython_allocators(struct hw_report *report)
{
	struct hw_pyarena_table table = { .arenas = { .column_count = HW_PYARENA_CELLS } };
	struct hw_error *err = hw_pyarena_report(report, &table);
	hw_rows_deinit(&table.arenas);
	hw_pyarena_lists_deinit(&table.lists);
	hw_mi_tables_deinit(&table.mimalloc);
	free(table.texts);
	return err;
}
