/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Single DIEs: types, members, addresses; and the walk over a unit's top level, imports included.
#ifndef HW_SYMBOLS_DWARF_DIE_H
#define HW_SYMBOLS_DWARF_DIE_H

#include <dwarf.h>
#include <elfutils/libdw.h>

#include "symbols/dwarf.h"

// Remembers which imported units were seen, across the units of one search.
struct hw_die_walk;
struct hw_die_walk *hw_die_walk_create(void); // NULL: out of memory
void hw_die_walk_destroy(struct hw_die_walk *walk);
// Every top-level DIE of a unit and of the partial units that it imports (dwz, LTO), each unit once.
// meet returns false to stop.
void hw_die_walk_unit(struct hw_die_walk *walk, Dwarf_Die *unit,
		      bool (*meet)(void *payload, Dwarf_Die *die), void *payload);

// Through typedefs, qualifiers and signatures to a type with a body. False: only declared here.
bool hw_die_complete_type(Dwarf_Die *die, Dwarf_Die *ret);
// The class of that name in a scope and the scopes in it: "net::Session". Templates as the compiler spells
// them. `depth` is 0.
bool hw_die_find_class(Dwarf_Die *scope, const char *name, Dwarf_Die *ret, unsigned depth);
// dwarf.c: a class that has virtual functions, by its name with namespaces. An index of the module's is made
// for the first.
bool hw_dwarf_find_class(struct hw_module *module, const char *name, Dwarf_Die *ret);
// Fills the answers; `type` is complete.
void hw_die_answer(Dwarf_Die *type, struct hw_dwarf_query *query);
// The fixed address of a variable, without bias.
bool hw_die_variable_address(Dwarf_Die *variable, hw_addr_t *ret);

#endif
