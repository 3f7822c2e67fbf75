/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Finds CPython in a target. What is found is proved on the target's own PyType_Type and interpreters
// before anybody uses it: debug information of another build fails here, with a sentence that says so.
#include "layout/python.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "layout/python_internal.h"
#include "target/absences.h"

// The module that holds the interpreter's code. PyType_Type alone does not tell: a non-PIE program
// that links with libpython.so has a copy of it.
static bool hw_module_is_cpython(struct hw_module *module)
{
	struct hw_symbol symbol;
	return hw_module_symbol(module, "PyType_Type", &symbol) &&
	       (hw_module_symbol(module, "PyObject_Malloc", &symbol) ||
		hw_module_symbol(module, "Py_GetVersion", &symbol));
}

static bool hw_is_its_own_type(struct hw_target *target, const struct hw_python_layout *layout,
			       hw_addr_t type)
{
	uint64_t word;
	return hw_target_read_word(target, type + (hw_addr_t)layout->ob_type, &word) &&
	       word == type;
}

// ob_type of PyType_Type is itself: of the original and of its copy, the one that is in use.
static hw_addr_t hw_find_type_type(struct hw_target *target, struct hw_modules *modules,
				   const struct hw_python *python)
{
	struct hw_symbol symbol;
	if (hw_module_symbol(python->module, "PyType_Type", &symbol) &&
	    hw_is_its_own_type(target, &python->layout, symbol.address))
		return symbol.address;
	if (hw_modules_with_symbol(modules, "PyType_Type", &symbol) &&
	    hw_is_its_own_type(target, &python->layout, symbol.address))
		return symbol.address;
	hw_addr_t found;
	if (target->machine->word_bytes == 8 &&
	    hw_python_search_type_type(target, python->module, &found) &&
	    hw_is_its_own_type(target, &python->layout, found))
		return found;
	return 0;
}

// Is python->type_type what the layout says it is?
static struct hw_error *hw_prove_type_type(struct hw_target *target, const struct hw_python *python)
{
	const struct hw_python_layout *layout = &python->layout;
	const unsigned word_bytes = target->machine->word_bytes;
	uint8_t word[8], name[5];
	hw_addr_t type = python->type_type;
	HW_TRY(hw_target_read(target, type + (hw_addr_t)layout->tp_name, word, word_bytes));
	hw_addr_t text = hw_word(word, word_bytes);
	if (hw_target_read_some(target, text, name, sizeof(name)) != sizeof(name) &&
	    !hw_module_read_file(python->module, text, name, sizeof(name)))
		return hw_error_at(HW_ERROR_FAULT, text,
				   "the name of PyType_Type at 0x%" PRIx64 " can't be read", text);
	if (memcmp(name, "type", sizeof(name)) != 0)
		return hw_error_at(HW_ERROR_CORRUPT, text,
				   "the name of PyType_Type at 0x%" PRIx64 " is not \"type\"; the "
				   "layout from %s is another build's",
				   type, python->facts);
	HW_TRY(hw_target_read(target, type + (hw_addr_t)layout->tp_basicsize, word, word_bytes));
	uint64_t basicsize = hw_word(word, word_bytes);
	if (basicsize != (uint64_t)layout->heap_type_size)
		return hw_error_at(HW_ERROR_CORRUPT, type,
				   "PyType_Type.tp_basicsize is %" PRIu64 ", but %s says %d: that "
				   "is another build's",
				   basicsize, python->facts, (int)layout->heap_type_size);
	return NULL;
}

static struct hw_error *hw_prove_types(struct hw_target *target, struct hw_modules *modules,
				       struct hw_python *python)
{
	struct hw_symbol symbol;
	uint8_t word[8];
	python->type_type = hw_find_type_type(target, modules, python);
	if (!python->type_type && hw_module_symbol(python->module, "PyType_Type", &symbol) &&
	    hw_target_read_some(target, symbol.address, word, sizeof(word)) != sizeof(word))
		return hw_error_at(HW_ERROR_FAULT, symbol.address,
				   "PyType_Type, at 0x%" PRIx64 " in the data of %s, can't be read",
				   symbol.address, python->module->path);
	if (!python->type_type)
		return hw_error_create(HW_ERROR_CORRUPT,
				       "PyType_Type of %s does not have itself as its type; either "
				       "it is damaged or the layout from %s is another build's",
				       python->module->path, python->facts);
	return hw_prove_type_type(target, python);
}

// How to go on without debug information; `why_no_table` says what is wrong with the table's answer.
static struct hw_error *hw_no_debug_info(struct hw_module *module, const char *version,
					 const char *why_no_table)
{
	const char *build_id = hw_module_build_id(module);
	return hw_error_create(HW_ERROR_NO_DEBUG_INFO,
			       "no debug information for %s (CPython %s, build-id %s), and %s; "
			       "install its package (python3-dbg on Debian) or name its directory "
			       "with the option debug-dir",
			       module->path, version, build_id ? build_id : "none", why_no_table);
}

// A build of the table, proved on the target; what does not fit is an error that says so.
static struct hw_error *hw_try_build(struct hw_target *target, struct hw_modules *modules,
				     uint32_t build, bool may_have_moved, struct hw_python *python)
{
	struct hw_issues ignored;
	char name[48];
	hw_layout_from_rows(build, &python->layout);
	hw_layout_format_build(build, name, sizeof(name));
	enum hw_offsets_verdict verdict = hw_layout_ask_offsets(target, python->runtime,
								&python->layout);
	snprintf(python->facts, sizeof(python->facts), "heapwalk's table for %s%s", name,
		 verdict == HW_OFFSETS_MOVED   ? ", moved by what the process says of itself"
		 : verdict == HW_OFFSETS_AGREE ? ", as the process says of itself"
					       : "");
	if (verdict == HW_OFFSETS_CONTRADICT || (verdict == HW_OFFSETS_MOVED && !may_have_moved))
		return hw_error_create(HW_ERROR_CORRUPT,
				       "%s is not what the process's _Py_DebugOffsets say",
				       python->facts);
	HW_TRY(hw_prove_types(target, modules, python));
	hw_issues_init(&ignored);
	struct hw_error *err = hw_python_find_interpreters(target, &ignored, python);
	hw_issues_deinit(&ignored);
	hw_vec_deinit(&python->interpreters);
	return err;
}

// The table, where no debug information answers: builds most alike first, those that moved last.
static struct hw_error *hw_load_table(struct hw_target *target, struct hw_modules *modules,
				      struct hw_python *python)
{
	uint32_t builds[HW_LAYOUT_BUILDS_MAX];
	hw_cleanup_error struct hw_error *first = NULL;
	uint32_t build = hw_layout_build(python->version_hex, python->is_debug,
					 python->is_free_threaded);
	size_t count = hw_layout_builds_like(build, builds);
	if (target->machine->word_bytes != 8)
		return hw_no_debug_info(python->module, python->version,
					"heapwalk's table is of 64-bit builds");
	python->is_from_table = true;
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < count; i++) {
			struct hw_error *err = hw_try_build(target, modules, builds[i], pass,
							    python);
			if (!err || err->code != HW_ERROR_CORRUPT)
				return err;
			if (first)
				hw_error_destroy(err);
			else
				first = err;
		}
	}
	return hw_no_debug_info(python->module, python->version,
				first ? hw_error_message(first)
				      : "heapwalk's table does not have that version");
}

// DWARF, or without any the table, which is proved here.
static struct hw_error *hw_load_layout(struct hw_target *target, struct hw_modules *modules,
				       struct hw_python *python)
{
	struct hw_module *module = python->module;
	hw_layout_init(&python->layout);
	python->layout.word_bytes = target->machine->word_bytes;
	if (!hw_layout_from_dwarf(module, NULL, &python->layout))
		return hw_load_table(target, modules, python);
	const char *source = hw_dwarf_source(module);
	if (source && source[0] == '/')
		snprintf(python->facts, sizeof(python->facts), "DWARF of %s", source);
	else
		snprintf(python->facts, sizeof(python->facts), "DWARF in %s", module->path);
	hw_layout_from_extensions(modules, &python->layout);
	const char *missing = hw_layout_missing(&python->layout);
	if (missing)
		return hw_error_create(HW_ERROR_NO_DEBUG_INFO,
				       "the debug information of %s (CPython %s) does not say "
				       "where %s is; install the complete one",
				       module->path, python->version, missing);
	return NULL;
}

static void hw_find_runtime(struct hw_target *target, struct hw_python *python)
{
	struct hw_symbol symbol;
	struct hw_debug_offsets offsets;
	hw_addr_t addr;
	uint64_t size;
	if (hw_module_symbol(python->module, "_PyRuntime", &symbol))
		python->runtime = symbol.address;
	else if (hw_module_section(python->module, ".PyRuntime", &addr, &size) &&
		 hw_python_debug_offsets(target, addr, &offsets))
		python->runtime = addr;
	else
		hw_python_search_runtime(target, python->module, &python->runtime);
	if (hw_python_debug_offsets(target, python->runtime, &offsets))
		python->is_free_threaded = offsets.is_free_threaded;
}

// By: has no GIL, Py_DEBUG.
static const char *const hw_build_names[2][2] = { { "release", "debug" },
						  { "free-threaded", "free-threaded debug" } };

// Everything about one module that defines PyType_Type.
static struct hw_error *hw_python_examine(struct hw_target *target, struct hw_modules *modules,
					  struct hw_module *module, struct hw_issues *issues,
					  struct hw_python *python)
{
	struct hw_symbol symbol;
	python->module = module;
	hw_find_runtime(target, python);
	// Headers with two counts are those of 64-bit programs.
	python->has_objects = target->machine->word_bytes == 8 || !python->is_free_threaded;
	python->version_hex = hw_python_version_of(target, module, python->runtime);
	if (!python->version_hex)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "%s has CPython's types, but nothing in it tells which "
				       "version of CPython it is",
				       module->path);
	hw_python_format_version(python->version_hex, python->version, sizeof(python->version));
	// Py_REF_DEBUG, which Py_DEBUG switches on, has a function for negative reference counts.
	python->is_debug = hw_module_symbol(module, "PyType_Type", &symbol)
				   ? hw_module_symbol(module, "_Py_NegativeRefcount", &symbol)
				   : hw_python_has_debug_text(target, module);
	snprintf(python->build, sizeof(python->build), "%s",
		 hw_build_names[python->is_free_threaded][python->is_debug]);
	HW_TRY(hw_load_layout(target, modules, python));
	if (!python->is_from_table)
		HW_TRY(hw_prove_types(target, modules, python));
	return hw_python_find_interpreters(target, issues, python);
}

// A program that links with libpython.a and exports nothing.
static struct hw_error *hw_find_hidden_cpython(struct hw_target *target, struct hw_modules *modules,
					       struct hw_issues *issues, struct hw_python *ret)
{
	struct hw_error *first_err = NULL;
	for (size_t i = 0; i < hw_modules_count(modules); i++) {
		struct hw_module *module = hw_modules_get(modules, i);
		struct hw_python python = { 0 };
		hw_addr_t type_type;
		if (target->machine->word_bytes != 8 ||
		    !hw_python_search_type_type(target, module, &type_type))
			continue;
		struct hw_error *err = hw_python_examine(target, modules, module, issues, &python);
		if (!err) {
			hw_error_destroy(first_err);
			*ret = python;
			return NULL;
		}
		hw_python_deinit(&python);
		if (first_err)
			hw_error_destroy(err);
		else
			first_err = err;
	}
	return first_err;
}

// "python3", "python3.11d", "libpython3.11.so.1.0", "array.cpython-311-x86_64-linux-gnu.so"
static bool hw_is_cpython_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	return !strncmp(name, "libpython2", 10) || !strncmp(name, "libpython3", 10) ||
	       !strncmp(name, "python2", 7) || !strncmp(name, "python3", 7) ||
	       strstr(name, ".cpython-");
}

// Its files are mapped, and neither they nor what the core has of them tell where anything is: there is no
// proof that CPython is not here. The interpreter's file is named before an extension module's, and one that
// is not at hand before one that is.
static struct hw_error *hw_find_hidden_names(struct hw_target *target)
{
	const struct hw_mapping *best = NULL;
	int best_rank = -1;
	hw_vec_foreach(m, &target->mappings)
	{
		if (*m->path != '/' || !(m->flags & HW_MAP_EXEC) || !hw_is_cpython_name(m->path))
			continue;
		int rank = (strstr(m->path, ".cpython-") ? 0 : 2) +
			   (hw_target_absent_file(target, m->start) ? 1 : 0);
		if (rank > best_rank) {
			best = m;
			best_rank = rank;
		}
	}
	if (!best)
		return NULL;
	return hw_error_at(HW_ERROR_NO_DEBUG_INFO, best->start,
			   "%s is mapped, but its file is not here and what memory has of it does "
			   "not tell where CPython's types are; name a directory with the target's "
			   "files with the option sysroot",
			   best->path);
}

// PyPy's library exports what starts an RPython program; its objects are no CPython's.
static struct hw_error *hw_find_pypy(struct hw_modules *modules)
{
	for (size_t i = 0; i < hw_modules_count(modules); i++) {
		struct hw_module *module = hw_modules_get(modules, i);
		const char *slash = strrchr(module->path, '/');
		const char *name = slash ? slash + 1 : module->path;
		struct hw_symbol symbol;
		if ((!strncmp(name, "libpypy", 7) || !strncmp(name, "pypy", 4)) &&
		    hw_module_symbol(module, "rpython_startup_code", &symbol))
			return hw_error_create(HW_ERROR_UNSUPPORTED,
					       "PyPy runs in this process (%s): heapwalk knows "
					       "CPython's objects, not those of PyPy's garbage "
					       "collector, whose memory is shown as anonymous "
					       "mappings",
					       module->path);
	}
	return NULL;
}

struct hw_error *hw_python_find(struct hw_target *target, struct hw_modules *modules,
				struct hw_issues *issues, struct hw_python *ret)
{
	struct hw_symbol symbol;
	struct hw_python best = { 0 };
	struct hw_error *first_err = NULL;
	*ret = (struct hw_python){ 0 };
	hw_layout_init(&ret->layout);
	hw_layout_init(&best.layout);
	if (!hw_modules_with_symbol(modules, "PyType_Type", &symbol)) {
		HW_TRY(hw_find_hidden_cpython(target, modules, issues, ret));
		if (ret->module)
			return NULL;
		HW_TRY(hw_find_pypy(modules));
		return hw_find_hidden_names(target);
	}
	for (size_t i = 0; i < hw_modules_count(modules); i++) {
		struct hw_module *module = hw_modules_get(modules, i);
		// A second interpreter is looked for only where the name hints at one: reading every
		// library's symbols takes longer than all the rest.
		if (best.interpreters.count && !strstr(module->path, "python"))
			continue;
		if (!hw_module_is_cpython(module))
			continue;
		struct hw_python python = { 0 };
		struct hw_error *err = hw_python_examine(target, modules, module, issues, &python);
		// One that runs is better than one that was only loaded.
		bool is_better = !err && (!best.module || !best.interpreters.count);
		if (!err && best.interpreters.count && python.interpreters.count)
			hw_issues_add(issues, HW_ERROR_UNSUPPORTED, module->start,
				      "two CPythons run in this process; only %s is walked, not %s",
				      best.module->path, module->path);
		if (is_better) {
			hw_python_deinit(&best);
			best = python;
		} else {
			hw_python_deinit(&python);
		}
		if (err && !first_err)
			first_err = err;
		else
			hw_error_destroy(err);
	}
	if (!best.module) {
		if (first_err)
			return first_err;
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "PyType_Type is defined, but no file has CPython's code "
				       "(no symbol PyObject_Malloc)");
	}
	hw_issues_take(issues, first_err);
	*ret = best;
	return NULL;
}

struct hw_error *hw_python_refresh(struct hw_target *target, struct hw_issues *issues,
				   struct hw_python *python)
{
	hw_addr_t type_type = python->type_type;
	if (!hw_is_its_own_type(target, &python->layout, type_type))
		return hw_error_at(HW_ERROR_CORRUPT, type_type,
				   "PyType_Type at 0x%" PRIx64 " is no longer there", type_type);
	HW_TRY(hw_prove_type_type(target, python));
	python->interpreters.count = 0;
	return hw_python_find_interpreters(target, issues, python);
}

struct hw_static_search {
	const char *unit;
	hw_addr_t address;
};

static bool hw_take_static(void *payload, const struct hw_symbol *symbol)
{
	struct hw_static_search *search = payload;
	if (!symbol->file || strcmp(symbol->file, search->unit) || symbol->is_function ||
	    symbol->is_tls)
		return true;
	search->address = symbol->address;
	return false;
}

bool hw_python_static(const struct hw_python *python, const char *unit, const char *name,
		      hw_addr_t *ret)
{
	struct hw_static_search search = { .unit = unit };
	if (hw_dwarf_variable(python->module, unit, name, ret))
		return true;
	hw_module_visit_symbols(python->module, name, hw_take_static, &search);
	if (search.address)
		*ret = search.address;
	return search.address != 0;
}

void hw_python_deinit(struct hw_python *python)
{
	hw_vec_deinit(&python->interpreters);
}
