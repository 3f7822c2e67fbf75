/* SPDX-License-Identifier: LGPL-2.1-or-later */
// C++ objects: the first word points into the vtable of the class.
#ifndef HW_NATIVE_CXX_VTABLE_H
#define HW_NATIVE_CXX_VTABLE_H

#include "symbols/modules.h"

struct hw_vtables;

// *ret is NULL when no module of the target has a vtable. Verdicts are kept by address; safe on several
// threads. `modules` is borrowed.
struct hw_error *hw_vtables_create(struct hw_modules *modules, struct hw_vtables **ret) HW_MUST_USE;
void hw_vtables_destroy(struct hw_vtables *vtables); // accepts NULL

// Does a block whose first word is `first_word` hold an object of a C++ class? *ret_class is its
// demangled name, borrowed from `vtables`.
bool hw_vtable_class(struct hw_vtables *vtables, hw_addr_t first_word, const char **ret_class);

#endif
