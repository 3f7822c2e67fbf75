/* SPDX-License-Identifier: LGPL-2.1-or-later */
// C++ objects: the first word points into the vtable of the class.
#ifndef HW_NATIVE_CXX_VTABLE_H
#define HW_NATIVE_CXX_VTABLE_H

#include "symbols/dwarf_class.h"
#include "target/absences.h"
#include "target/window.h"

struct hw_vtables;

// *ret is NULL when no module of the target has a vtable. Verdicts are kept by address; safe on several
// threads. `target`, `modules` and `absences` are borrowed.
struct hw_error *hw_vtables_create(struct hw_target *target, struct hw_modules *modules,
				   struct hw_absences *absences,
				   struct hw_vtables **ret) HW_MUST_USE;
void hw_vtables_destroy(struct hw_vtables *vtables); // accepts NULL
// No word below *ret_low or from *ret_high on leads to a vtable.
void hw_vtables_bounds(const struct hw_vtables *vtables, hw_addr_t *ret_low, hw_addr_t *ret_high);

// Does a block whose first word is `first_word` hold an object of a C++ class? The word that leads to the
// vtable of a base inside an object (multiple inheritance) is no object's first. *ret_class is its
// demangled name, borrowed from `vtables`; of one whose name is in a file that is not at hand, hw_absent_name().
// *ret_members is what debug information knows of the containers in it, NULL: nothing; borrowed as well.
bool hw_vtable_class(struct hw_vtables *vtables, hw_addr_t first_word, const char **ret_class,
		     const struct hw_std_members **ret_members);

#endif
