/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the files of symbols/ know of a module: modules.c finds it and opens its file, debug_file.c finds
// its debug information, symtab.c indexes its symbols, relocations.c reads its dynamic section, dwarf.c
// its types.
#ifndef HW_SYMBOLS_MODULES_PRIVATE_H
#define HW_SYMBOLS_MODULES_PRIVATE_H

#include <elfutils/libdwfl.h>

#include "symbols/modules.h"
#include "target/elf_file.h"

struct hw_symtab;      // symtab.c
struct hw_dwarf_index; // dwarf.c

// What a debug file is opened for: types are worth a copy of it without what libdw would inflate in vain,
// symbols are not. One module in libdwfl each.
enum hw_dwfl_use { HW_DWFL_SYMBOLS, HW_DWFL_TYPES, HW_DWFL_USES };

struct hw_module_private {
	struct hw_modules *owner;
	struct hw_elf_headers headers; // of the image in memory, else of the file
	hw_addr_t bias;                // run-time address = the file's address + bias
	char build_id[2 * HW_ELF_BUILD_ID_BYTES + 1]; // "" none
	bool is_exe;

	// Each is tried once, when first needed.
	bool tried_file, tried_dwfl[HW_DWFL_USES], tried_symtab, tried_dwarf;
	struct hw_elf_file *file;  // NULL: none that matches
	enum hw_dwfl_use dwfl_use; // what libdwfl was asked for last
	Dwfl *dwfl[HW_DWFL_USES];
	Dwfl_Module *dwfl_module[HW_DWFL_USES]; // NULL: no file
	HW_VEC(const void *) guarded;           // mappings of libelf's: base/mapped_file.h
	struct hw_symtab *symtab;
	struct hw_dwarf_index *dwarf_index;
	char *dwarf_source;
};

struct hw_modules {
	struct hw_target *target;
	struct hw_issues *issues;
	char *exe;        // where the executable is on this machine, NULL: by its name
	char *debug_dirs; // ':' between
	bool may_download;
	HW_VEC(struct hw_module) list;
};

// The module's file, verified against the image, or NULL.
struct hw_elf_file *hw_module_file(struct hw_module *module);
// dynamic.c: what the program headers lead to; addresses are the file's own.
struct hw_dynamic {
	uint64_t rela, rela_bytes, rel, rel_bytes, relr, relr_bytes;
	uint64_t symbols, strings, strings_bytes, hash, gnu_hash;
};
bool hw_module_dynamic(struct hw_module *module, struct hw_dynamic *ret);
// .dynsym without section headers: how many, 0: none. Both are owned.
size_t hw_module_dynamic_symbols(struct hw_module *module, Elf64_Sym **ret_symbols,
				 char **ret_strings, size_t *ret_strings_bytes);
bool hw_module_segment_of_section(struct hw_module *module, const char *name, hw_addr_t *ret_addr,
				  uint64_t *ret_size);
// A section header; false: there are fewer, or the table sticks out of the file.
bool hw_file_section(const struct hw_elf_file *file, size_t index, Elf64_Shdr *ret);
// "" when it is damaged; borrowed from the file.
const char *hw_file_section_name(const struct hw_elf_file *file, const Elf64_Shdr *section);
// slim.c: a copy of a compressed debug file without the sections that nobody here asks for; a descriptor, or
// -1 when that gains nothing.
int hw_debug_file_slim(const struct hw_elf_file *file);
// The module in libdwfl, which finds its debug file when it is first asked for symbols or DWARF; or NULL.
Dwfl_Module *hw_module_dwfl(struct hw_module *module, enum hw_dwfl_use use);
// What libelf has mapped of a file may become shorter while it is read.
void hw_module_guard_elf(struct hw_module *module, Elf *elf);
void hw_module_debug_file_close(struct hw_module_private *priv);
void hw_symtab_destroy(struct hw_symtab *symtab);          // accepts NULL
void hw_dwarf_index_destroy(struct hw_dwarf_index *index); // accepts NULL

#endif
