/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What an object of a class of C++ has in it of libstdc++'s containers, by the class's debug information.
#ifndef HW_SYMBOLS_DWARF_CLASS_H
#define HW_SYMBOLS_DWARF_CLASS_H

#include "symbols/modules.h"

enum hw_std_kind {
	HW_STD_STRING, // std::string of the C++11 ABI
	HW_STD_VECTOR, // std::vector, not of bool
	HW_STD_TREE,   // std::map, set, multimap, multiset
};

// The members of an element follow it: they are the entries up to `end`, and their offsets count from the
// element's start.
struct hw_std_member {
	uint8_t kind;    // enum hw_std_kind
	uint32_t offset; // in what contains it
	uint32_t
		element_bytes; // of a vector's element; of a tree: bytes before the value in a node
	uint32_t end;
};

struct hw_std_members {
	HW_VEC(struct hw_std_member) list;
};

// The containers in an object of the class of that name ("net::Session"), which has virtual functions.
// False: the module's debug information does not have it, or it has none in it. The caller owns *ret's list.
bool hw_dwarf_class_containers(struct hw_module *module, const char *name,
			       struct hw_std_members *ret);

#endif
