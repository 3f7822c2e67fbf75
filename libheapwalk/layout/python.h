/* SPDX-License-Identifier: LGPL-2.1-or-later */
// CPython's structures: one number for each fact, filled from DWARF, each proved before it is used.
//
// To add a version: nothing, when its debug information answers; what a version does differently is a
// named column here (`has_…`), asked by presence of a member, never a version number. A new fact: a row
// in fields.def (_OR rows: where else it may be), used as layout->NAME; HW_ABSENT (-1) when this version
// has no such member.
#ifndef HW_LAYOUT_PYTHON_H
#define HW_LAYOUT_PYTHON_H

#include "symbols/dwarf.h"
#include "symbols/modules.h"

enum { HW_ABSENT = -1, HW_OBJECT_HEADER_MAX = 64 };

struct hw_python_layout {
#define HW_FIELD(name, unit, type, member) int32_t name;
#define HW_SIZE(name, unit, type) int32_t name;
#include "layout/fields.def"
	bool obmalloc_is_pointer; // interp->obmalloc: 3.13 a pointer, 3.12 embedded
	uint32_t usedpools_count; // poolp[] entries, 2 a size class, where a type tells; else 0
	uint32_t str_state_shift; // hw_str_state()
	uint32_t word_bytes;      // of the target: 8, or 4
};

// The word of a string's state with its fields where most versions have them: 2-4 kind, 5 compact, 6 ascii.
static inline uint32_t hw_str_state(const struct hw_python_layout *layout, uint32_t word)
{
	return word >> layout->str_state_shift;
}

// The CPython in a target.
struct hw_python {
	struct hw_module *module; // libpython or the executable; NULL: no CPython in this process
	uint32_t version_hex;     // PY_VERSION_HEX, 0x030b07f0
	bool is_debug;            // Py_DEBUG
	bool is_free_threaded;
	char version[32];    // "3.11.7"
	char build[32];      // "release", "debug", "free-threaded", "free-threaded debug"
	char facts[256];     // where the layout came from
	bool has_objects;    // false: a 32-bit program that allocates from mimalloc
	bool is_from_table;  // rows.def: nothing in the target's files told
	hw_addr_t runtime;   // _PyRuntime, 0 before 3.7
	hw_addr_t type_type; // &PyType_Type
	HW_VEC(hw_addr_t) interpreters; // PyInterpreterState, main first
	struct hw_python_layout layout;
};

// Finds the module that defines PyType_Type, its version, layout, interpreters. No CPython: success,
// module == NULL. Too little known to be right: HW_ERROR_NO_DEBUG_INFO, which says what to install.
struct hw_error *hw_python_find(struct hw_target *target, struct hw_modules *modules,
				struct hw_issues *issues, struct hw_python *ret) HW_MUST_USE;
// Is what was found still there? Proves the types and reads the chain of interpreters again: the target
// has run since.
struct hw_error *hw_python_refresh(struct hw_target *target, struct hw_issues *issues,
				   struct hw_python *python) HW_MUST_USE;
// The address of a static variable of the interpreter: `unit` is the base name of its source file. Asks
// DWARF, then the symbols, which know files too (not after link-time optimisation). False: no such
// variable, or neither tells.
bool hw_python_static(const struct hw_python *python, const char *unit, const char *name,
		      hw_addr_t *ret);
// For a layout out of the table: mimalloc's structures changed between point releases, and nothing that a process
// says of itself tells. Puts another shape of them that the table has, number `index` of those that differ from
// python's, in the place of `layout`'s. False: there are no more.
bool hw_python_other_mimalloc(const struct hw_python *python, size_t index,
			      struct hw_python_layout *layout);
void hw_python_deinit(struct hw_python *python);

#endif
