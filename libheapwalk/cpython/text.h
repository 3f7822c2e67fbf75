/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Text of the target's strings, for names: bounded copies, never followed further.
#ifndef HW_CPYTHON_TEXT_H
#define HW_CPYTHON_TEXT_H

#include "cpython/types.h"

// The text of an ASCII str (2.7: str) object at addr; false when it is anything else, unreadable, or
// not shorter than `size`.
bool hw_str_text(const struct hw_python_layout *layout, struct hw_pages *pages, hw_addr_t addr,
		 char *buf, size_t size);
// A module's name: md_name, before 3.3 its dict's "__name__".
bool hw_module_object_name(const struct hw_python_layout *layout, struct hw_pages *pages,
			   hw_addr_t module, char *buf, size_t size);

// What __module__ of a class is: of one made at run time its dict's item, of another what stands before
// the last dot of its name, else the module of builtins. False: can't be read, or is no short text.
bool hw_type_module_name(const struct hw_python_layout *layout, struct hw_pages *pages,
			 const struct hw_type *type, char *buf, size_t size);

#endif
