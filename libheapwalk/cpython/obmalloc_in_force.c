/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Which allocator PyObject_Malloc() ends in. obmalloc.c keeps it as a pointer to a function, `_PyObject`
// (a static up to 3.11, then _PyRuntime.allocators.standard.obj); with the debug hooks that is
// _PyMem_DebugMalloc and the real one is kept beside (`_PyMem_Debug`, allocators.debug.obj). 2.7 has
// no such choice.
#include "cpython/obmalloc_internal.h"

enum { HW_DEBUG_API_OBJ = 2 }; // _PyMem_Debug is {raw, mem, obj}

static const struct hw_in_force_function {
	const char *symbol;
	enum hw_in_force in_force;
} hw_in_force_functions[] = {
	{ "_PyObject_Malloc", HW_IN_FORCE_PYMALLOC },
	{ "_PyMem_RawMalloc", HW_IN_FORCE_MALLOC },
	{ "_PyObject_MiMalloc", HW_IN_FORCE_MIMALLOC },
};

// Where the two pointers are; 0: not known.
static void hw_find_pointers(const struct hw_python *python, hw_addr_t *ret_obj,
			     hw_addr_t *ret_debug_obj)
{
	const struct hw_python_layout *l = &python->layout;
	hw_addr_t addr;
	*ret_obj = *ret_debug_obj = 0;
	if (l->runtime_obj_malloc != HW_ABSENT && l->runtime_debug_obj_malloc != HW_ABSENT) {
		if (!python->runtime)
			return;
		*ret_obj = python->runtime + (hw_addr_t)l->runtime_obj_malloc;
		*ret_debug_obj = python->runtime + (hw_addr_t)l->runtime_debug_obj_malloc;
		return;
	}
	if (l->allocator_malloc == HW_ABSENT || l->debug_api_size == HW_ABSENT ||
	    l->debug_api_malloc == HW_ABSENT ||
	    !hw_python_static(python, "obmalloc.c", "_PyObject", &addr))
		return;
	*ret_obj = addr + (hw_addr_t)l->allocator_malloc;
	if (hw_python_static(python, "obmalloc.c", "_PyMem_Debug", &addr))
		*ret_debug_obj = addr + HW_DEBUG_API_OBJ * (hw_addr_t)l->debug_api_size +
				 (hw_addr_t)l->debug_api_malloc;
}

static bool hw_is_function(const struct hw_python *python, const char *name, hw_addr_t addr)
{
	struct hw_symbol symbol;
	return hw_module_symbol(python->module, name, &symbol) && symbol.address == addr;
}

void hw_obmalloc_find_in_force(struct hw_target *target, const struct hw_python *python,
			       struct hw_pymalloc *pm)
{
	struct hw_symbol symbol;
	hw_addr_t obj, debug_obj;
	uint64_t function;
	hw_find_pointers(python, &obj, &debug_obj);
	if (obj && hw_module_symbol(python->module, "_PyObject_Malloc", &symbol) &&
	    hw_target_read_word(target, obj, &function)) {
		pm->has_debug_hooks = hw_is_function(python, "_PyMem_DebugMalloc", function);
		if (!pm->has_debug_hooks ||
		    (debug_obj && hw_target_read_word(target, debug_obj, &function))) {
			pm->in_force = HW_IN_FORCE_OTHER;
			for (size_t i = 0;
			     i < sizeof(hw_in_force_functions) / sizeof(hw_in_force_functions[0]);
			     i++) {
				const struct hw_in_force_function *f = &hw_in_force_functions[i];
				if (hw_is_function(python, f->symbol, function))
					pm->in_force = f->in_force;
			}
			return;
		}
	}
	if (python->layout.ob_gc_bits != HW_ABSENT) {
		pm->in_force = HW_IN_FORCE_MIMALLOC; // without the GIL there is no other
		return;
	}
	// An interpreter that uses pymalloc has an arena before it runs its first line.
	pm->is_in_force_inferred = true;
	pm->in_force = pm->arenas.count ? HW_IN_FORCE_PYMALLOC : HW_IN_FORCE_MALLOC;
}
