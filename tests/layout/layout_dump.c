/* SPDX-License-Identifier: LGPL-2.1-or-later */
// layout_dump PID: every fact of fields.def as the process's DWARF has it, "fact name value", and below them
// "differs name value" where rows.def has another one for that version.
// layout_dump --types PID: the same out of the DWARF of a program that has CPython's types and is no CPython
// (probe.c); a fact is absent (-1) there when the program does not have its type.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout/python_internal.h"

static bool is_further_row(size_t index)
{
	return index && hw_layout_facts[index].offset == hw_layout_facts[index - 1].offset;
}

static void dump_facts(struct hw_python_layout *layout)
{
	for (size_t i = 0; i < hw_layout_fact_count; i++) {
		const struct hw_layout_fact *fact = &hw_layout_facts[i];
		if (!is_further_row(i))
			printf("fact %s %d\n", fact->name, (int)*hw_layout_value(layout, fact));
	}
}

static void dump(struct hw_python *python)
{
	struct hw_python_layout rows;
	uint32_t build = hw_layout_build(python->version_hex, python->is_debug,
					 python->is_free_threaded);
	uint32_t alike[HW_LAYOUT_BUILDS_MAX];
	bool has_rows = hw_layout_builds_like(build, alike) && alike[0] == build;
	hw_layout_from_rows(build, &rows);
	printf("build %08" PRIx32 "\nfacts %s\n", build, python->facts);
	dump_facts(&python->layout);
	if (!has_rows)
		puts("differs everything: the table does not have this build");
	for (size_t i = 0; has_rows && i < hw_layout_fact_count; i++) {
		const struct hw_layout_fact *fact = &hw_layout_facts[i];
		int32_t want = *hw_layout_value(&python->layout, fact);
		int32_t have = *hw_layout_value(&rows, fact);
		if (!is_further_row(i) && have != want)
			printf("differs %s: %d in the table, %d in the DWARF\n", fact->name,
			       (int)have, (int)want);
	}
	if (has_rows && rows.obmalloc_is_pointer != python->layout.obmalloc_is_pointer)
		puts("differs obmalloc_is_pointer");
	if (has_rows && rows.usedpools_count != python->layout.usedpools_count)
		puts("differs usedpools_count");
}

// False: the program has no debug information.
static bool dump_types(struct hw_modules *modules)
{
	struct hw_python_layout layout;
	hw_layout_init(&layout);
	for (size_t i = 0; i < hw_modules_count(modules); i++) {
		if (!hw_layout_from_dwarf(hw_modules_get(modules, i), "probe.c", &layout) ||
		    layout.object_size == HW_ABSENT)
			continue;
		dump_facts(&layout);
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct hw_issues issues;
	struct hw_target *target = NULL;
	struct hw_modules *modules = NULL;
	struct hw_python python = { 0 };
	bool is_types = argc == 3 && !strcmp(argv[1], "--types");
	bool is_found = false;
	if (argc != 2 + is_types)
		return 2;
	hw_issues_init(&issues);
	struct hw_error *err = hw_target_open_live(atoi(argv[argc - 1]), NULL, false, &target);
	if (!err)
		err = hw_modules_open(target, NULL, NULL, &issues, &modules);
	if (!err && is_types)
		is_found = dump_types(modules);
	else if (!err)
		err = hw_python_find(target, modules, &issues, &python);
	if (err)
		printf("error %s\n", hw_error_message(err));
	else if (python.module)
		dump(&python);
	int status = err || !(python.module || is_found);
	hw_error_destroy(err);
	hw_python_deinit(&python);
	hw_modules_close(modules);
	hw_target_close(target);
	hw_issues_deinit(&issues);
	return status;
}
