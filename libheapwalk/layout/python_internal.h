/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the files behind layout/python.h share.
#ifndef HW_LAYOUT_PYTHON_INTERNAL_H
#define HW_LAYOUT_PYTHON_INTERNAL_H

#include "layout/python.h"

// A fact of struct hw_python_layout by its row in fields.def.
struct hw_layout_fact {
	const char *name, *unit, *type, *member; // member NULL: the size of `type`
	size_t offset;                           // of the int32_t in struct hw_python_layout
	bool is_bit;                             // counted in bits
};
extern const struct hw_layout_fact hw_layout_facts[];
extern const size_t hw_layout_fact_count;

static inline int32_t *hw_layout_value(struct hw_python_layout *layout,
				       const struct hw_layout_fact *fact)
{
	return (int32_t *)((char *)layout + fact->offset);
}

void hw_layout_init(struct hw_python_layout *layout); // all facts HW_ABSENT
// What follows from the facts: when they are all there.
void hw_layout_conclude(struct hw_python_layout *layout);
// Fills what the module's DWARF answers, each fact in its own unit, or all of them in one; false: it answers
// nothing.
bool hw_layout_from_dwarf(struct hw_module *module, const char *unit,
			  struct hw_python_layout *layout);
// Fills what is still absent out of extension modules that are files of their own (2.7's _collections).
void hw_layout_from_extensions(struct hw_modules *modules, struct hw_python_layout *layout);
// rows.def. A build is PY_VERSION_HEX as of a final release (which ends in f0), plus 1 for Py_DEBUG, and the
// highest bit for a build without a GIL: so these come after all others.
#define HW_BUILD_DEBUG UINT32_C(1)
#define HW_BUILD_FREE_THREADED UINT32_C(0x80000000)
enum { HW_LAYOUT_BUILDS_MAX = 16 };
uint32_t hw_layout_build(uint32_t version_hex, bool is_debug, bool is_free_threaded);
// "CPython 3.13.5t (debug)"
void hw_layout_format_build(uint32_t build, char *buf, size_t size);
// The table's builds of the same minor version, with a GIL or without as this one, most alike first; how many.
size_t hw_layout_builds_like(uint32_t build, uint32_t ret[HW_LAYOUT_BUILDS_MAX]);
void hw_layout_from_rows(uint32_t build, struct hw_python_layout *layout);
// Name of a fact that heapwalk can't do without and that is absent; NULL: they are all there.
const char *hw_layout_missing(const struct hw_python_layout *layout);

// PY_VERSION_HEX out of the target or its file, 0 when nothing tells. `runtime` may be 0.
uint32_t hw_python_version_of(struct hw_target *target, struct hw_module *module,
			      hw_addr_t runtime);
void hw_python_format_version(uint32_t hex, char *buf, size_t size);

// The head of _PyRuntime since 3.13, struct _Py_DebugOffsets: false when it is not one.
struct hw_debug_offsets {
	uint32_t version_hex;
	bool is_free_threaded;
};
bool hw_python_debug_offsets(struct hw_target *target, hw_addr_t runtime,
			     struct hw_debug_offsets *ret);

// What _Py_DebugOffsets of this process says to a layout out of the table.
enum hw_offsets_verdict {
	HW_OFFSETS_NONE,  // there are none
	HW_OFFSETS_AGREE, // all of them are the layout's
	HW_OFFSETS_MOVED, // the interpreter's and threads' members are elsewhere; now the layout's are
	HW_OFFSETS_CONTRADICT, // the layout is of other objects
};
enum hw_offsets_verdict hw_layout_ask_offsets(struct hw_target *target, hw_addr_t runtime,
					      struct hw_python_layout *layout);

// python_hidden.c: where no symbol tells. Each is proved by what it is, so the first is the one.
bool hw_python_search_type_type(struct hw_target *target, struct hw_module *module, hw_addr_t *ret);
bool hw_python_search_static_type(struct hw_target *target, const struct hw_python *python,
				  const char *name, hw_addr_t *ret);
bool hw_python_search_runtime(struct hw_target *target, struct hw_module *module, hw_addr_t *ret);
// Is the message of _Py_NegativeRefcount, which only Py_REF_DEBUG builds have, among its constants?
bool hw_python_has_debug_text(struct hw_target *target, struct hw_module *module);

// Fills python->interpreters, main first.
struct hw_error *hw_python_find_interpreters(struct hw_target *target, struct hw_issues *issues,
					     struct hw_python *python) HW_MUST_USE;

#endif
