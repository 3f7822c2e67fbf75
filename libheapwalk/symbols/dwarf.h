/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Structure layouts out of DWARF, asked for in one batch so that each compilation unit is read once.
#ifndef HW_SYMBOLS_DWARF_H
#define HW_SYMBOLS_DWARF_H

#include "symbols/modules.h"

// One question. `type` is a struct/union tag or a typedef; `member` a dotted path through members
// ("state.kind", "gc.generations"), anonymous ones passed through by themselves; NULL asks for the
// type's own size. Of an enumeration `member` is one of its constants, `offset` then its value; one below 0
// is not found.
struct hw_dwarf_query {
	const char *unit; // base name of the source file to look in first ("dictobject.c"), or NULL
	const char *type;
	const char *member;
	bool unit_only; // if the module has units of the names asked for, no other unit has the type
	// answers
	bool found;
	bool is_pointer;               // the member's type is a pointer
	uint64_t offset;               // bytes from the start of `type`
	uint64_t size;                 // bytes of the member (or of the type)
	uint64_t count;                // elements when it is an array, else 1
	uint32_t bit_offset, bit_size; // bit fields: offset counted from `offset`, size 0 when none
};

// Answers what can be answered; returns how many were found. Looks in the named units first, then in
// every unit of the module (LTO builds put types into units of other names), which takes ten times as
// long: `unit_only` questions are left out of that. No DWARF: 0.
size_t hw_dwarf_resolve(struct hw_module *module, struct hw_dwarf_query *queries, size_t count);

// The same for one class of C++, whose `type` may have namespaces and classes before it: "net::Session". A
// member may be a base's. `unit` is not asked.
bool hw_dwarf_resolve_class(struct hw_module *module, struct hw_dwarf_query *query);

// Address of a variable that has one (LTO builds describe each static twice, once without). NULL unit:
// any. False: none.
bool hw_dwarf_variable(struct hw_module *module, const char *unit, const char *name,
		       hw_addr_t *ret);

// Where the module's debug information came from: "DWARF in the file", "/usr/lib/debug/…", or NULL.
const char *hw_dwarf_source(struct hw_module *module);

#endif
