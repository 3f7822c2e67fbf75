/* SPDX-License-Identifier: LGPL-2.1-or-later */
// layout_dump PID: every fact of fields.def as the process's DWARF has it, "name value", and below them
// "differs name value" where rows.def has another one for that version.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layout/python_internal.h"

static bool is_further_row(size_t index)
{
	return index && hw_layout_facts[index].offset == hw_layout_facts[index - 1].offset;
}

static void dump(struct hw_python *python)
{
	struct hw_python_layout rows;
	uint32_t build = hw_layout_build(python->version_hex, python->is_debug);
	uint32_t alike[HW_LAYOUT_BUILDS_MAX];
	bool has_rows = hw_layout_builds_like(build, alike) && alike[0] == build;
	hw_layout_from_rows(build, &rows);
	printf("build %08" PRIx32 "\nfacts %s\n", build, python->facts);
	for (size_t i = 0; i < hw_layout_fact_count; i++) {
		const struct hw_layout_fact *fact = &hw_layout_facts[i];
		if (!is_further_row(i))
			printf("fact %s %d\n", fact->name,
			       (int)*hw_layout_value(&python->layout, fact));
	}
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

int main(int argc, char **argv)
{
	struct hw_issues issues;
	struct hw_target *target = NULL;
	struct hw_modules *modules = NULL;
	struct hw_python python = { 0 };
	if (argc < 2)
		return 2;
	hw_issues_init(&issues);
	struct hw_error *err = hw_target_open_live(atoi(argv[1]), NULL, false, &target);
	if (!err)
		err = hw_modules_open(target, NULL, NULL, &issues, &modules);
	if (!err)
		err = hw_python_find(target, modules, &issues, &python);
	int status = err || !python.module;
	if (err)
		printf("error %s\n", hw_error_message(err));
	else if (python.module)
		dump(&python);
	hw_error_destroy(err);
	hw_python_deinit(&python);
	hw_modules_close(modules);
	hw_target_close(target);
	hw_issues_deinit(&issues);
	return status;
}
