/* SPDX-License-Identifier: LGPL-2.1-or-later */
// ELF files of the target, their symbols, their DWARF. Opened lazily, failures remembered: a missing
// debug file is looked for once. libdwfl finds detached files by build-id, then debuglink.
#ifndef HW_SYMBOLS_MODULES_H
#define HW_SYMBOLS_MODULES_H

#include "target/target.h"

struct hw_module {
	const char *path;     // the target's name of the file
	hw_addr_t start, end; // lowest and highest mapped address
	// the rest is modules.c's
	struct hw_module_private *priv;
};

struct hw_modules;

struct hw_symbol {
	hw_addr_t address; // run-time; of a TLS symbol: the offset in its module's TLS block
	uint64_t size;
	bool is_tls;
	bool is_function;
	const char *name; // as found ("arenas.lto_priv.0" for "arenas"); borrowed from the module
	const char
		*file; // source file's base name from the STT_FILE before a local symbol, or NULL
};

// debug_dirs: ':' between, NULL for /usr/lib/debug. Only files whose build-id matches the mapped image
// are used; one that doesn't match is an issue, its facts are not taken.
struct hw_error *hw_modules_open(struct hw_target *target, const char *exe, const char *debug_dirs,
				 struct hw_issues *issues, struct hw_modules **ret) HW_MUST_USE;
void hw_modules_close(struct hw_modules *modules); // accepts NULL
// Debug files that are nowhere here may be asked of the servers in $DEBUGINFOD_URLS. Before the first question.
void hw_modules_use_debuginfod(struct hw_modules *modules);

size_t hw_modules_count(const struct hw_modules *modules);
struct hw_module *hw_modules_get(struct hw_modules *modules, size_t index);  // by address
struct hw_module *hw_modules_at(struct hw_modules *modules, hw_addr_t addr); // NULL: none
// The first module, executable before the others, that has a *defined* symbol of that name. NULL: none.
struct hw_module *hw_modules_with_symbol(struct hw_modules *modules, const char *name,
					 struct hw_symbol *ret);

// .symtab of the file or of its debug file, then .dynsym. `NAME.lto_priv.N` counts as NAME. Of several
// the one with an address and a size. False: no such symbol.
bool hw_module_symbol(struct hw_module *module, const char *name, struct hw_symbol *ret);
// All of that name (2.7 has many `free_list`); visit returns false to stop.
void hw_module_visit_symbols(struct hw_module *module, const char *name,
			     bool (*visit)(void *payload, const struct hw_symbol *symbol),
			     void *payload);
// The data or function symbol that contains addr; false: none.
bool hw_module_symbol_at(struct hw_module *module, hw_addr_t addr, struct hw_symbol *ret);
// "build-id" as hex, or NULL.
const char *hw_module_build_id(struct hw_module *module);

// ---- what the ELF file says of itself, for structural searches ----
struct hw_relocation {
	hw_addr_t place;  // run-time address of the relocated word
	hw_addr_t addend; // run-time address it is made to point at (R_*_RELATIVE only)
};
// R_*_RELATIVE of .rela.dyn and packed DT_RELR; false from visit stops.
void hw_module_visit_relative_relocations(struct hw_module *module,
					  bool (*visit)(void *payload,
							const struct hw_relocation *),
					  void *payload);
// Run-time address and size of a section (".data", ".bss", ".PyRuntime"); false: no such section. Where there
// are no section headers, .data, .bss and .rodata are what the program headers tell: more, never less.
bool hw_module_section(struct hw_module *module, const char *name, hw_addr_t *ret_addr,
		       uint64_t *ret_size);
// Bytes of the file's own image at a run-time address (what .rodata holds, for cores without it).
bool hw_module_read_file(struct hw_module *module, hw_addr_t addr, void *buf, size_t len);

#endif
