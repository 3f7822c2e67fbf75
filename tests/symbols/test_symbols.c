/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Modules of a live process, their symbols, relocations and DWARF, against what the compiler and dlsym(3)
// say.
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "child.h"
#include "shapes.h"
#include "symbols/dwarf.h"

static const char *library;

struct found {
	uint64_t global, function, pointer, base;
};

// Loads the library and tells where its symbols are.
static void body(int ready, int go)
{
	char byte;
	void *handle = dlopen(library, RTLD_NOW);
	Dl_info info;
	if (!handle || !dladdr(dlsym(handle, "shape_function"), &info)) {
		fprintf(stderr, "%s\n", dlerror());
		_exit(3);
	}
	child_report(ready, (uintptr_t)dlsym(handle, "shape_global"));
	child_report(ready, (uintptr_t)dlsym(handle, "shape_function"));
	child_report(ready, (uintptr_t)dlsym(handle, "shape_pointer"));
	child_report(ready, (uintptr_t)info.dli_fbase);
	while (read(go, &byte, 1) != 1)
		;
	_exit(0);
}

struct setup {
	struct child child;
	struct found at;
	struct hw_target *target;
	struct hw_issues issues;
	struct hw_modules *modules;
	struct hw_module *module;
};

static void set_up(struct setup *s, const char *path, const char *debug_dirs)
{
	library = path;
	s->child = child_start(body);
	s->at.global = child_receive(&s->child);
	s->at.function = child_receive(&s->child);
	s->at.pointer = child_receive(&s->child);
	s->at.base = child_receive(&s->child);
	hw_issues_init(&s->issues);
	CHECK_OK(hw_target_open_live(s->child.pid, NULL, false, &s->target));
	CHECK_OK(hw_modules_open(s->target, NULL, debug_dirs, &s->issues, &s->modules));
	s->module = hw_modules_at(s->modules, s->at.function);
	CHECK(s->module && s->module->start == s->at.base);
	if (!s->module)
		exit(check_finish());
	CHECK_TEXT(s->module->path, path);
}

static void tear_down(struct setup *s)
{
	hw_modules_close(s->modules);
	hw_target_close(s->target);
	hw_issues_deinit(&s->issues);
	child_kill(&s->child);
}

static void check_modules(struct setup *s)
{
	size_t count = hw_modules_count(s->modules);
	hw_addr_t last = 0;
	CHECK(count >= 4); // the program, the library, libc, the loader
	for (size_t i = 0; i < count; i++) {
		struct hw_module *m = hw_modules_get(s->modules, i);
		CHECK(m->start >= last && m->start < m->end && *m->path == '/');
		CHECK(hw_modules_at(s->modules, m->start) == m);
		CHECK(hw_modules_at(s->modules, m->end - 1) == m);
		last = m->end;
	}
	CHECK(!hw_modules_get(s->modules, count));
	CHECK(!hw_modules_at(s->modules, 1));
	struct hw_symbol symbol;
	struct hw_module *program = hw_modules_with_symbol(s->modules, "main", &symbol);
	CHECK(program && s->target->exe && !strcmp(program->path, s->target->exe));
	CHECK(!hw_modules_with_symbol(s->modules, "no_such_symbol_anywhere", &symbol));
	// of a symbol that a module only refers to, the one that defines it
	struct hw_module *libc = hw_modules_with_symbol(s->modules, "getpid", &symbol);
	CHECK(libc && strstr(libc->path, "libc"));
}

static void check_dynamic_symbols(struct setup *s)
{
	struct hw_symbol symbol;
	CHECK(hw_module_symbol(s->module, "shape_global", &symbol));
	CHECK_EQUAL(symbol.address, s->at.global);
	CHECK_EQUAL(symbol.size, sizeof(int));
	CHECK(!symbol.is_tls && !symbol.is_function && !symbol.file);
	CHECK_TEXT(symbol.name, "shape_global");
	CHECK(hw_module_symbol(s->module, "shape_function", &symbol));
	CHECK_EQUAL(symbol.address, s->at.function);
	CHECK(symbol.is_function);
	CHECK(hw_module_symbol(s->module, "shape_tls", &symbol));
	CHECK(symbol.is_tls && symbol.address < 4096);
	CHECK(!hw_module_symbol(s->module, "getpid", &symbol));
	CHECK(!hw_module_symbol(s->module, "shape_glob", &symbol));
	CHECK(!hw_module_symbol(s->module, "", &symbol));
	CHECK(hw_module_symbol_at(s->module, s->at.global + 3, &symbol));
	CHECK_TEXT(symbol.name, "shape_global");
	CHECK(hw_module_symbol_at(s->module, s->at.function + 1, &symbol));
	CHECK_TEXT(symbol.name, "shape_function");
	CHECK(!hw_module_symbol_at(s->module, s->module->end + 8, &symbol));
}

struct counters {
	unsigned count;
	uint64_t values[4];
	const char *files[4];
	struct setup *setup;
};

static bool collect(void *payload, const struct hw_symbol *symbol)
{
	struct counters *c = payload;
	if (c->count < 4) {
		CHECK_OK(
			hw_target_read(c->setup->target, symbol->address, &c->values[c->count], 8));
		c->files[c->count] = symbol->file;
	}
	c->count++;
	return true;
}

static bool collect_one(void *payload, const struct hw_symbol *symbol)
{
	return !collect(payload, symbol);
}

// Local symbols: two of one name, told apart by their files (but for link-time optimisation).
static void check_local_symbols(struct setup *s, bool has_files)
{
	struct counters c = { .setup = s }, one = { .setup = s };
	hw_module_visit_symbols(s->module, "shape_counter", collect, &c);
	CHECK_EQUAL(c.count, 2);
	CHECK_EQUAL(c.values[0] + c.values[1], 16);
	for (unsigned i = 0; has_files && i < 2; i++)
		CHECK_TEXT(c.files[i], c.values[i] == 7 ? "shapes.c" : "shapes_more.c");
	hw_module_visit_symbols(s->module, "shape_counter", collect_one, &one);
	CHECK_EQUAL(one.count, 1);
	struct hw_symbol symbol;
	CHECK(hw_module_symbol(s->module, "shape_statics", &symbol));
	CHECK_EQUAL(symbol.size, 3 * sizeof(ShapeObject));
	hw_addr_t pointer;
	CHECK_OK(hw_target_read(s->target, s->at.pointer, &pointer, 8));
	CHECK_EQUAL(symbol.address + sizeof(ShapeObject), pointer);
}

static bool count_relocation(void *payload, const struct hw_relocation *relocation)
{
	struct setup *s = payload;
	hw_addr_t word;
	CHECK(hw_modules_at(s->modules, relocation->place) == s->module);
	CHECK_OK(hw_target_read(s->target, relocation->place, &word, 8));
	CHECK_EQUAL(word, relocation->addend); // the loader did what the file says
	s->at.base += relocation->place == s->at.pointer;
	return true;
}

static void check_sections(struct setup *s)
{
	hw_addr_t start = 0;
	uint64_t size = 0;
	uint8_t file[16], memory[16];
	CHECK(hw_module_section(s->module, ".data", &start, &size));
	CHECK(s->at.global >= start && s->at.global < start + size);
	CHECK(hw_module_section(s->module, ".text", &start, &size));
	CHECK(s->at.function >= start && s->at.function < start + size);
	CHECK(hw_module_read_file(s->module, s->at.function, file, sizeof(file)));
	CHECK_OK(hw_target_read(s->target, s->at.function, memory, sizeof(memory)));
	CHECK(!memcmp(file, memory, sizeof(file)));
	CHECK(!hw_module_section(s->module, ".no-such", &start, &size));
	CHECK(!hw_module_read_file(s->module, s->module->end + 100, file, 1));
	hw_addr_t base = s->at.base;
	hw_module_visit_relative_relocations(s->module, count_relocation, s);
	CHECK_EQUAL(s->at.base, base + 1); // shape_pointer is one of them, once
	s->at.base = base;
}

#define MEMBER(c_type, text, dotted, member_count, pointer)                                        \
	{                                                                                          \
		{ .unit = "shapes.c", .type = text, .member = #dotted }, offsetof(c_type, dotted), \
			sizeof(((c_type *)0)->dotted), member_count, pointer, 0, 0                 \
	}

#define CONSTANT(name)                                                                             \
	{                                                                                          \
		{ .unit = "shapes.c", .type = "shape_state", .member = #name }, name,              \
			sizeof(enum shape_state), 1, false, 0, 0                                   \
	}

struct question {
	struct hw_dwarf_query query;
	uint64_t offset, size, count;
	bool is_pointer;
	uint32_t bit_offset, bit_size;
};

static void check_types(struct setup *s)
{
	static const struct question questions[] = {
		{ { .unit = "shapes.c", .type = "ShapeObject" },
		  0,
		  sizeof(ShapeObject),
		  1,
		  false,
		  0,
		  0 },
		{ { .type = "ShapeAlias" }, 0, sizeof(ShapeObject), 1, false, 0, 0 },
		{ { .unit = "shapes.c", .type = "shape_inner" },
		  0,
		  sizeof(struct shape_inner),
		  1,
		  false,
		  0,
		  0 },
		MEMBER(ShapeObject, "ShapeAlias", tag, 1, false),
		MEMBER(ShapeObject, "ShapeObject", left, 1, false),
		MEMBER(ShapeObject, "ShapeObject", right, 1, false),
		MEMBER(ShapeObject, "ShapeObject", both, 1, false),
		MEMBER(ShapeObject, "ShapeObject", inner, 1, false),
		MEMBER(ShapeObject, "ShapeObject", inner.second, 15, false),
		MEMBER(ShapeObject, "ShapeObject", opaque, 1, true),
		MEMBER(ShapeObject, "ShapeObject", constant, 1, true),
		MEMBER(ShapeObject, "ShapeObject", table, 4, false),
		{ { .unit = "shapes.c", .type = "ShapeObject", .member = "flexible" },
		  offsetof(ShapeObject, flexible),
		  0,
		  0,
		  false,
		  0,
		  0 },
		{ { .unit = "shapes.c", .type = "ShapeObject", .member = "state.kind" },
		  offsetof(ShapeObject, state),
		  4,
		  1,
		  false,
		  0,
		  3 },
		{ { .unit = "shapes.c", .type = "ShapeObject", .member = "state.ready" },
		  offsetof(ShapeObject, state),
		  4,
		  1,
		  false,
		  3,
		  1 },
		{ { .unit = "shapes.c", .type = "ShapeObject", .member = "state.wide" },
		  offsetof(ShapeObject, state),
		  4,
		  1,
		  false,
		  4,
		  20 },
		{ { .unit = "shapes.c", .type = "ShapeObject", .member = "state.next" },
		  offsetof(ShapeObject, state) + 4,
		  4,
		  1,
		  false,
		  0,
		  12 },
		// declared in the unit that is named, defined in another
		{ { .unit = "shapes.c", .type = "shape_opaque", .member = "c" },
		  16,
		  2,
		  1,
		  false,
		  0,
		  0 },
		{ { .unit = "no_such_unit.c", .type = "shape_opaque" }, 0, 24, 1, false, 0, 0 },
		CONSTANT(SHAPE_READY),
		CONSTANT(SHAPE_BUSY),
		CONSTANT(SHAPE_LARGE),
		// through an array
		{ { .unit = "shapes.c", .type = "ShapeObject", .member = "table.second" },
		  offsetof(ShapeObject, table) + offsetof(struct shape_inner, second),
		  120,
		  15,
		  false,
		  0,
		  0 },
	};
	enum { COUNT = sizeof(questions) / sizeof(*questions) };
	enum { ABSENT = 5 };
	struct hw_dwarf_query queries[COUNT + ABSENT];
	for (size_t i = 0; i < COUNT; i++)
		queries[i] = questions[i].query;
	queries[COUNT] = (struct hw_dwarf_query){ .unit = "shapes.c", .type = "no_such_type" };
	queries[COUNT + 1] = (struct hw_dwarf_query){ .unit = "shapes.c",
						      .type = "ShapeObject",
						      .member = "inner.third" };
	queries[COUNT + 2] = (struct hw_dwarf_query){ .type = "ShapeObject",
						      .member = "tag.deeper" };
	queries[COUNT + 3] = (struct hw_dwarf_query){ .type = "shape_state",
						      .member = "SHAPE_NEW" };
	queries[COUNT + 4] = (struct hw_dwarf_query){ .type = "shape_state", .member = "SHAPE" };
	for (int round = 0; round < 2; round++) {
		CHECK_EQUAL(hw_dwarf_resolve(s->module, queries, COUNT + ABSENT), COUNT);
		for (size_t i = 0; i < COUNT; i++) {
			const struct hw_dwarf_query *got = &queries[i];
			const struct question *want = &questions[i];
			CHECK(got->found);
			if (got->offset != want->offset || got->size != want->size ||
			    got->count != want->count || got->is_pointer != want->is_pointer ||
			    got->bit_offset != want->bit_offset || got->bit_size != want->bit_size)
				printf("wrong: %s.%s\n", got->type, got->member ? got->member : "");
			CHECK_EQUAL(got->offset, want->offset);
			CHECK_EQUAL(got->size, want->size);
			CHECK_EQUAL(got->count, want->count);
			CHECK_EQUAL(got->is_pointer, want->is_pointer);
			CHECK_EQUAL(got->bit_offset, want->bit_offset);
			CHECK_EQUAL(got->bit_size, want->bit_size);
		}
		for (size_t i = COUNT; i < COUNT + ABSENT; i++)
			CHECK(!queries[i].found);
	}
}

static void check_variables(struct setup *s)
{
	hw_addr_t addr = 0;
	uint64_t value = 0;
	CHECK(hw_dwarf_variable(s->module, "shapes.c", "shape_counter", &addr));
	CHECK_OK(hw_target_read(s->target, addr, &value, 8));
	CHECK_EQUAL(value, 7);
	CHECK(hw_dwarf_variable(s->module, "shapes_more.c", "shape_counter", &addr));
	CHECK_OK(hw_target_read(s->target, addr, &value, 8));
	CHECK_EQUAL(value, 9);
	CHECK(hw_dwarf_variable(s->module, NULL, "shape_global", &addr));
	CHECK_EQUAL(addr, s->at.global);
	CHECK(!hw_dwarf_variable(s->module, NULL, "no_such_variable", &addr));
	CHECK(!hw_dwarf_variable(s->module, "shapes.c", "shape_tls", &addr)); // no fixed address
}

static void test_in_file(const char *path, bool has_files)
{
	struct setup s;
	set_up(&s, path, NULL);
	check_modules(&s);
	check_dynamic_symbols(&s);
	check_local_symbols(&s, has_files);
	check_sections(&s);
	CHECK_TEXT(hw_dwarf_source(s.module), "DWARF in the file");
	check_types(&s);
	check_variables(&s);
	CHECK(hw_module_build_id(s.module) && strlen(hw_module_build_id(s.module)) >= 16);
	CHECK_EQUAL(s.issues.list.count, 0);
	tear_down(&s);
}

static void test_detached(void)
{
	struct setup s;
	// by build-id, compressed
	set_up(&s, DETACHED "/by-id/lib.so", "/no/such/dir:" DETACHED "/by-id/debug");
	check_dynamic_symbols(&s);
	check_local_symbols(&s, true);
	check_types(&s);
	check_variables(&s);
	CHECK(hw_dwarf_source(s.module) && strstr(hw_dwarf_source(s.module), "/.build-id/"));
	tear_down(&s);
	// by debuglink, beside it
	set_up(&s, DETACHED "/by-link/lib.so", "/no/such/dir");
	CHECK(!hw_module_build_id(s.module));
	check_types(&s);
	check_local_symbols(&s, true);
	CHECK_TEXT(hw_dwarf_source(s.module), DETACHED "/by-link/lib.debug");
	tear_down(&s);
	// nothing there: dynamic symbols still are
	set_up(&s, DETACHED "/by-id/lib.so", "/no/such/dir");
	check_dynamic_symbols(&s);
	struct hw_symbol symbol;
	struct hw_dwarf_query query = { .type = "ShapeObject" };
	hw_addr_t addr;
	CHECK(!hw_module_symbol(s.module, "shape_counter", &symbol));
	CHECK_EQUAL(hw_dwarf_resolve(s.module, &query, 1), 0);
	CHECK(!query.found && !hw_dwarf_source(s.module));
	CHECK(!hw_dwarf_variable(s.module, NULL, "shape_global", &addr));
	tear_down(&s);
	// of another build: not used
	set_up(&s, DETACHED "/wrong/lib.so", DETACHED "/wrong/debug");
	CHECK_EQUAL(hw_dwarf_resolve(s.module, &query, 1), 0);
	tear_down(&s);
}

// The file was replaced by another build while the process runs: an issue, and no facts from it.
static void test_replaced(void)
{
	struct setup s;
	char copy[] = "/tmp/heapwalk-lib-XXXXXX", command[4096];
	int fd = mkstemp(copy);
	CHECK(fd >= 0);
	close(fd);
	snprintf(command, sizeof(command), "cp '%s' '%s'", SHAPES, copy);
	CHECK(!system(command));
	library = copy;
	s.child = child_start(body);
	s.at.global = child_receive(&s.child);
	s.at.function = child_receive(&s.child);
	child_receive(&s.child);
	child_receive(&s.child);
	unlink(copy);
	snprintf(command, sizeof(command), "cp '%s' '%s'", SHAPES_TYPES, copy);
	CHECK(!system(command));
	hw_issues_init(&s.issues);
	CHECK_OK(hw_target_open_live(s.child.pid, NULL, false, &s.target));
	CHECK_OK(hw_modules_open(s.target, NULL, NULL, &s.issues, &s.modules));
	s.module = hw_modules_at(s.modules, s.at.function);
	CHECK(s.module != NULL);
	struct hw_symbol symbol;
	// The kernel lets root at the old file through map_files; others are told of the mismatch.
	if (s.module && hw_module_symbol(s.module, "shape_global", &symbol)) {
		CHECK_EQUAL(symbol.address, s.at.global);
	} else {
		CHECK(s.issues.list.count == 1 &&
		      strstr(hw_error_message(s.issues.list.data[0]), "is not the file"));
	}
	tear_down(&s);
	unlink(copy);
}

int main(void)
{
	test_in_file(SHAPES, true);
	test_in_file(SHAPES_TYPES, true);
	if (*SHAPES_LTO)
		test_in_file(SHAPES_LTO, false);
	test_detached();
	test_replaced();
	return check_finish();
}
