/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What an object says of itself, as repr() would print it in the target, out of the target's bytes alone.
// Nothing runs there: an instance of a class with its own __repr__ is "<Name object at 0x…>".
#ifndef HW_CPYTHON_VALUE_H
#define HW_CPYTHON_VALUE_H

#include "cpython/types.h"

enum {
	HW_VALUE_TEXT_MAX = 1024, // bytes of the text, its NUL among them
	HW_VALUE_DEPTH_MAX = 4,   // containers in containers
	HW_VALUE_ITEMS_MAX = 16,  // of each container
	HW_VALUE_CHARACTERS_MAX = 200,
};

// Writes the text of the object at `object` into buf, at least HW_VALUE_TEXT_MAX bytes: one line of
// UTF-8, everything that is not known to be printable escaped. True: it is exactly what repr() gives.
// False: something is left out ("…"), can't be read ("?"), or only the object's class could say it: an
// instance of a subclass of dict is "Name({…})". Fails never, recurses HW_VALUE_DEPTH_MAX deep at most.
bool hw_value_text(struct hw_type_cache *cache, hw_addr_t object, char *buf);

#endif
