/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/cpython_lists.h"

#include <string.h>

#include "cpython/obmalloc_lists.h"

enum {
	HW_LIST_INTERPRETER,
	HW_LIST_NAME,
	HW_LIST_CLASS,
	HW_LIST_ARENA,
	HW_LIST_POSITION,
	HW_LIST_ADDRESS,
	HW_LIST_IN_USE,
	HW_LIST_FREE_POOLS,
	HW_LIST_CELLS
};

static const struct hw_column hw_list_columns[HW_LIST_CELLS] = {
	[HW_LIST_INTERPRETER] = { NULL, "interpreter" },
	[HW_LIST_NAME] = { "List", "list" },
	[HW_LIST_CLASS] = { "Class", "class" },
	[HW_LIST_ARENA] = { "Of arena", "arena_object" },
	[HW_LIST_POSITION] = { "Position", "position" },
	[HW_LIST_ADDRESS] = { "Address", "address" },
	[HW_LIST_IN_USE] = { "Blocks in use", "blocks_in_use" },
	[HW_LIST_FREE_POOLS] = { "Free pools", "pools_free" },
};

static const char hw_usedpools[] = "usedpools", hw_freepools[] = "freepools";
static const char hw_usable_arenas[] = "usable_arenas";
static const char hw_unused_objects[] = "unused_arena_objects";

// ---- following them ----

struct hw_list_gather {
	struct hw_pyarena_lists *lists;
	struct hw_obmalloc_view view;
	struct hw_list_row row; // of the list under way
	bool is_out_of_memory;
};

static void hw_list_begin(struct hw_list_gather *g, uint32_t state, const char *list)
{
	g->row = (struct hw_list_row){ .state = state, .list = list };
}

static bool hw_list_member(void *payload, hw_addr_t member)
{
	struct hw_list_gather *g = payload;
	struct hw_arena_object object;
	g->row.address = member;
	g->row.value = 0;
	if (g->row.list == hw_usedpools)
		g->row.value = hw_pymalloc_find_pool(g->view.pymalloc, member)->ref_count;
	else if (g->row.list == hw_usable_arenas && hw_arena_object_read(&g->view, member, &object))
		g->row.value = object.nfreepools;
	if (g->lists->rows.count == HW_LIST_ROWS_MAX)
		g->lists->left_out++;
	else if (!hw_vec_push(&g->lists->rows, g->row))
		g->is_out_of_memory = true;
	g->row.position++;
	return !g->is_out_of_memory;
}

static void hw_list_unknown(struct hw_list_gather *g)
{
	g->is_out_of_memory |= !hw_vec_push(&g->lists->unknown, g->row);
}

static void hw_gather_state(struct hw_list_gather *g, uint32_t index)
{
	const struct hw_pymalloc *pm = g->view.pymalloc;
	const struct hw_pymalloc_state *state = &pm->states.data[index];
	hw_list_begin(g, index, hw_usedpools);
	if (!hw_has_usedpools(state))
		hw_list_unknown(g);
	for (uint32_t i = 0; hw_has_usedpools(state) && i < pm->size_class_count; i++) {
		hw_list_begin(g, index, hw_usedpools);
		g->row.size_class = i;
		g->lists->is_damaged |= !hw_usedpools_visit(&g->view, state, i, hw_list_member, g);
	}
	hw_vec_foreach(arena, &pm->arenas)
	{
		hw_list_begin(g, index, hw_freepools);
		g->row.arena = arena->arena_object;
		if (arena->interpreter == index && !arena->is_missing)
			g->lists->is_damaged |= !hw_freepools_visit(&g->view, arena, hw_list_member,
								    g);
	}
	hw_list_begin(g, index, hw_usable_arenas);
	if (hw_has_usable_arenas(&g->view, state))
		g->lists->is_damaged |= !hw_usable_arenas_visit(&g->view, state, hw_list_member, g);
	else
		hw_list_unknown(g);
	hw_list_begin(g, index, hw_unused_objects);
	if (hw_has_unused_arena_objects(&g->view, state))
		g->lists->is_damaged |= !hw_unused_arena_objects_visit(&g->view, state,
								       hw_list_member, g);
	else
		hw_list_unknown(g);
}

struct hw_error *hw_pyarena_lists_gather(struct hw_session *session, struct hw_pyarena_lists *ret)
{
	struct hw_pages pages;
	struct hw_list_gather g = { .lists = ret,
				    .view = { .pymalloc = &session->pymalloc,
					      .layout = &session->python.layout,
					      .pages = &pages,
					      .issues = &session->issues } };
	hw_pages_init(&pages, session->target);
	for (uint32_t i = 0; i < session->pymalloc.states.count; i++)
		hw_gather_state(&g, i);
	hw_pages_deinit(&pages);
	return g.is_out_of_memory ? &hw_enomem : NULL;
}

void hw_pyarena_lists_deinit(struct hw_pyarena_lists *lists)
{
	hw_vec_deinit(&lists->rows);
	hw_vec_deinit(&lists->unknown);
}

// ---- printing them ----

static void hw_list_cells(const struct hw_report *report, const struct hw_list_row *row,
			  struct hw_cell *cells)
{
	const struct hw_pymalloc_state *state = &report->session->pymalloc.states.data[row->state];
	bool is_used = row->list == hw_usedpools;
	cells[HW_LIST_INTERPRETER] = hw_cell_signed(state->interpreter_id);
	cells[HW_LIST_NAME] = hw_cell_text(row->list);
	cells[HW_LIST_CLASS] = is_used ? hw_cell_number(row->size_class) : hw_cell_none();
	cells[HW_LIST_ARENA] = row->arena ? hw_cell_address(row->arena) : hw_cell_none();
	cells[HW_LIST_POSITION] = hw_cell_number(row->position);
	cells[HW_LIST_ADDRESS] = hw_cell_address(row->address);
	cells[HW_LIST_IN_USE] = is_used ? hw_cell_number(row->value) : hw_cell_none();
	cells[HW_LIST_FREE_POOLS] = row->list == hw_usable_arenas ? hw_cell_number(row->value)
								  : hw_cell_none();
}

void hw_pyarena_lists_text(struct hw_report *report, const struct hw_pyarena_lists *lists,
			   uint32_t state)
{
	uint64_t count = 0;
	hw_table_begin(report, "lists", hw_list_columns, HW_LIST_CELLS);
	hw_vec_foreach(row, &lists->rows)
	{
		struct hw_cell cells[HW_LIST_CELLS];
		if (row->state != state || count++ >= report->top)
			continue;
		hw_list_cells(report, row, cells);
		hw_table_row(report, cells);
	}
	hw_table_end(report);
	if (count > report->top)
		hw_report_line(report, "(%llu more members)",
			       (unsigned long long)(count - report->top));
	hw_vec_foreach(row, &lists->unknown)
	{
		if (row->state == state)
			hw_report_line(report, "%s: can't be told, no symbol says where it begins",
				       row->list);
	}
	if (lists->left_out)
		hw_report_line(report, "(%llu members are left out: too many)",
			       (unsigned long long)lists->left_out);
	hw_report_line(report, "%s", "");
}

void hw_pyarena_lists_csv(struct hw_report *report, const struct hw_pyarena_lists *lists)
{
	uint64_t count = 0;
	hw_table_begin(report, "lists", hw_list_columns, HW_LIST_CELLS);
	hw_vec_foreach(row, &lists->rows)
	{
		struct hw_cell cells[HW_LIST_CELLS];
		if (count++ == report->top)
			break;
		hw_list_cells(report, row, cells);
		hw_table_row(report, cells);
	}
	hw_table_end(report);
}

void hw_pyarena_lists_json(struct hw_report *report, const struct hw_pyarena_lists *lists,
			   uint32_t state, struct json_object *object)
{
	struct json_object *rows = json_object_new_array(), *unknown = json_object_new_array();
	uint64_t count = 0;
	hw_vec_foreach(row, &lists->rows)
	{
		struct hw_cell cells[HW_LIST_CELLS];
		if (!rows || row->state != state || count++ >= report->top)
			continue;
		hw_list_cells(report, row, cells);
		json_object_array_add(rows,
				      hw_json_row(report, hw_list_columns, HW_LIST_CELLS, cells));
	}
	hw_vec_foreach(row, &lists->unknown)
	{
		if (unknown && row->state == state)
			json_object_array_add(unknown, json_object_new_string(row->list));
	}
	hw_json_add(object, "lists", rows);
	hw_json_add(object, "lists_unknown", unknown);
	hw_json_add_number(object, "lists_left_out", lists->left_out);
}
