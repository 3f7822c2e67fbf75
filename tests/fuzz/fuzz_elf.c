/* SPDX-License-Identifier: LGPL-2.1-or-later */
// An ELF file that the target has mapped: headers, build-id, sections, symbols, relocations, types.
#include "file.h"
#include "patches.h"
#include "symbols/dwarf.h"
#include "symbols/modules.h"
#include "target/elf_file.h"

enum { BASE = 0x400000, PIECES = 8, PIECE_BYTES = 1 << 20 };

// The mapping that the loader would have made.
static struct hw_error *load(const struct hw_elf_file *elf, struct hw_target **ret)
{
	struct hw_image_piece pieces[PIECES];
	size_t count = 0;
	hw_addr_t bias = 0;
	hw_elf_headers_bias(&elf->headers, BASE, &bias);
	hw_vec_foreach(phdr, &elf->headers.phdrs)
	{
		size_t len;
		hw_addr_t start = phdr->p_vaddr & ~0xfffull;
		const uint8_t *bytes = hw_elf_file_at(elf, phdr->p_vaddr, &len);
		uint64_t before = phdr->p_vaddr - start;
		if (phdr->p_type != PT_LOAD || !bytes || count == PIECES ||
		    before > (uint64_t)(bytes - elf->bytes))
			continue;
		pieces[count++] = (struct hw_image_piece){ bias + start, bytes - before,
							   len + before < PIECE_BYTES ? len + before
										      : PIECE_BYTES,
							   HW_MAP_READ, elf->path };
	}
	return hw_target_open_image(pieces, count, ret);
}

static bool take_symbol(void *payload, const struct hw_symbol *symbol)
{
	(void)payload;
	return symbol->name[0] != 0;
}

static bool take_relocation(void *payload, const struct hw_relocation *relocation)
{
	uint64_t *left = payload;
	return relocation && --*left;
}

static void ask(struct hw_module *module)
{
	static const char *const names[] = { "", "shape_counter", "shape_table", ".data" };
	struct hw_symbol symbol;
	hw_addr_t addr;
	uint64_t size, left = 100000;
	uint8_t bytes[64];
	for (size_t i = 0; i < 4; i++) {
		hw_module_symbol(module, names[i], &symbol);
		hw_module_visit_symbols(module, names[i], take_symbol, NULL);
		hw_module_section(module, names[i], &addr, &size);
		hw_dwarf_variable(module, "shapes.c", names[i], &addr);
	}
	hw_module_symbol_at(module, BASE + 0x1000, &symbol);
	hw_module_section(module, ".data", &addr, &size);
	hw_module_visit_relative_relocations(module, take_relocation, &left);
	hw_module_read_file(module, BASE, bytes, sizeof(bytes));
	struct hw_dwarf_query queries[] = {
		{ .unit = "shapes.c", .type = "ShapeObject", .member = "inner.second" },
		{ .type = "ShapeAlias" },
		{ .unit = "shapes.c",
		  .type = "ShapeObject",
		  .member = "state.kind",
		  .unit_only = true },
		{ .type = "shape_opaque", .member = "size" },
		{ .type = "nobody", .member = "knows" },
	};
	hw_dwarf_resolve(module, queries, sizeof(queries) / sizeof(*queries));
	struct hw_dwarf_query class_query = { .type = "ns::Shape", .member = "width" };
	hw_dwarf_resolve_class(module, &class_query);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_file file;
	struct hw_elf_file *elf = NULL;
	struct hw_target *target = NULL;
	struct hw_modules *modules = NULL;
	struct hw_issues issues;
	if (!fuzz_file_make(&file, data, size))
		abort();
	hw_issues_init(&issues);
	struct hw_error *err = hw_elf_file_open(file.path, &elf);
	if (!err)
		err = load(elf, &target);
	if (!err)
		err = hw_modules_open(target, NULL, "/no/such/directory", &issues, &modules);
	for (size_t i = 0; !err && i < hw_modules_count(modules) && i < 4; i++)
		ask(hw_modules_get(modules, i));
	hw_error_destroy(err);
	hw_modules_close(modules);
	hw_target_close(target);
	hw_elf_file_close(elf);
	hw_issues_deinit(&issues);
	close(file.fd);
	return 0;
}
