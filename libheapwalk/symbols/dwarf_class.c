/* SPDX-License-Identifier: LGPL-2.1-or-later */
// libstdc++'s containers are known by the names of their members, which no other library may use (_M_…),
// and by their sizes, which its ABI fixes (bits/basic_string.h, stl_vector.h, stl_tree.h; GCC 5 – 14).
#include "symbols/dwarf_class.h"

#include <string.h>

#include "symbols/dwarf_die.h"

enum {
	STRING_BYTES = 32,
	VECTOR_BYTES = 24,
	TREE_BYTES = 48,
	TREE_NODE_BYTES = 32, // colour, parent, left, right
	MEMBERS_MAX = 256,    // containers in one class
	CHILDREN_MAX = 4096,  // of a container, its functions too, that are looked at
	DIES_MAX = 20000,     // members that are looked at for one class
	NESTING_MAX = 4,      // of containers in containers
	DEPTH_MAX = 12,       // of structures in structures
};

struct hw_member_search {
	struct hw_std_members *members;
	unsigned dies_left;
};

static bool hw_is_structure(Dwarf_Die *die)
{
	int tag = dwarf_tag(die);
	return tag == DW_TAG_structure_type || tag == DW_TAG_class_type;
}

static bool hw_has_prefix(Dwarf_Die *die, const char *prefix)
{
	const char *name = dwarf_diename(die);
	return name && !strncmp(name, prefix, strlen(prefix));
}

static uint64_t hw_structure_bytes(Dwarf_Die *type)
{
	int bytes = dwarf_bytesize(type);
	return bytes > 0 ? (uint64_t)bytes : 0;
}

// The complete type of a member, a base, or a template's parameter.
static bool hw_die_its_type(Dwarf_Die *die, Dwarf_Die *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Die type;
	return dwarf_attr_integrate(die, DW_AT_type, &attr) && dwarf_formref_die(&attr, &type) &&
	       hw_die_complete_type(&type, ret);
}

// The first child with that tag whose name begins with `prefix`; of bases, whose type's does.
static bool hw_find_child(Dwarf_Die *type, int tag, const char *prefix, Dwarf_Die *ret)
{
	Dwarf_Die child, base;
	unsigned left = CHILDREN_MAX;
	if (dwarf_child(type, &child))
		return false;
	do {
		if (!left--)
			return false;
		if (dwarf_tag(&child) != tag)
			continue;
		if (tag == DW_TAG_inheritance
			    ? hw_die_its_type(&child, &base) && hw_has_prefix(&base, prefix)
			    : hw_has_prefix(&child, prefix)) {
			*ret = child;
			return true;
		}
	} while (!dwarf_siblingof(&child, &child));
	return false;
}

// Which container a structure is: its kind, and the type of its elements where they have members.
static bool hw_std_kind_of(Dwarf_Die *type, struct hw_std_member *ret, Dwarf_Die *element,
			   bool *ret_has_element)
{
	Dwarf_Die part, tree;
	uint64_t bytes = hw_structure_bytes(type);
	*ret_has_element = false;
	if (bytes == STRING_BYTES && hw_has_prefix(type, "basic_string<char,") &&
	    hw_find_child(type, DW_TAG_member, "_M_dataplus", &part) &&
	    hw_find_child(type, DW_TAG_member, "_M_string_length", &part)) {
		ret->kind = HW_STD_STRING;
		return true;
	}
	if (bytes == VECTOR_BYTES && hw_has_prefix(type, "vector<") &&
	    hw_find_child(type, DW_TAG_inheritance, "_Vector_base<", &part)) {
		Dwarf_Word size;
		ret->kind = HW_STD_VECTOR;
		if (!hw_find_child(type, DW_TAG_template_type_parameter, "_Tp", &part) ||
		    !hw_die_its_type(&part, element) || dwarf_aggregate_size(element, &size) ||
		    !size || size > INT32_MAX)
			return false;
		ret->element_bytes = (uint32_t)size;
		*ret_has_element = hw_is_structure(element);
		return true;
	}
	if (bytes == TREE_BYTES && hw_find_child(type, DW_TAG_member, "_M_t", &part) &&
	    hw_die_its_type(&part, &tree) && hw_has_prefix(&tree, "_Rb_tree<")) {
		ret->kind = HW_STD_TREE;
		ret->element_bytes = TREE_NODE_BYTES;
		*ret_has_element = hw_find_child(&tree, DW_TAG_template_type_parameter, "_Val",
						 &part) &&
				   hw_die_its_type(&part, element) && hw_is_structure(element);
		return true;
	}
	return false;
}

static bool hw_member_place(Dwarf_Die *member, uint32_t *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Word value;
	if (!dwarf_attr(member, DW_AT_data_member_location, &attr) ||
	    dwarf_formudata(&attr, &value) || value > INT32_MAX)
		return false; // static, or a virtual base
	*ret = (uint32_t)value;
	return true;
}

static bool hw_collect(struct hw_member_search *search, Dwarf_Die *type, uint32_t base,
		       unsigned depth, unsigned nesting);

// A structure at `base`: a container, and what its elements have; or members that may be some.
static bool hw_collect_type(struct hw_member_search *search, Dwarf_Die *type, uint32_t base,
			    unsigned depth, unsigned nesting)
{
	struct hw_std_members *members = search->members;
	struct hw_std_member member = { .offset = base };
	Dwarf_Die element;
	bool has_element;
	if (!hw_std_kind_of(type, &member, &element, &has_element))
		return hw_collect(search, type, base, depth, nesting);
	size_t index = members->list.count;
	if (!hw_vec_push(&members->list, member))
		return false;
	if (has_element && nesting < NESTING_MAX &&
	    !hw_collect_type(search, &element, 0, depth + 1, nesting + 1))
		return false;
	members->list.data[index].end = (uint32_t)members->list.count;
	return true;
}

// Appends the containers in the members and bases of `type`, which is at `base`. False: out of memory.
static bool hw_collect(struct hw_member_search *search, Dwarf_Die *type, uint32_t base,
		       unsigned depth, unsigned nesting)
{
	struct hw_std_members *members = search->members;
	Dwarf_Die child, its_type;
	if (depth > DEPTH_MAX || dwarf_child(type, &child))
		return true;
	do {
		uint32_t at;
		int tag = dwarf_tag(&child);
		if ((tag != DW_TAG_member && tag != DW_TAG_inheritance) ||
		    !hw_member_place(&child, &at) || !hw_die_its_type(&child, &its_type) ||
		    !hw_is_structure(&its_type))
			continue;
		if (!search->dies_left || !--search->dies_left ||
		    members->list.count == MEMBERS_MAX || at > INT32_MAX - base) {
			search->dies_left = 0;
			return true;
		}
		if (!hw_collect_type(search, &its_type, base + at, depth + 1, nesting))
			return false;
	} while (!dwarf_siblingof(&child, &child));
	return true;
}

bool hw_dwarf_class_containers(struct hw_module *module, const char *name,
			       struct hw_std_members *ret)
{
	Dwarf_Die class;
	*ret = (struct hw_std_members){ 0 };
	if (!hw_dwarf_find_class(module, name, &class))
		return false;
	struct hw_member_search search = { ret, DIES_MAX };
	bool ok = hw_collect(&search, &class, 0, 0, 0);
	// A class that is too large to be looked at whole is not looked at.
	if (ok && search.dies_left && ret->list.count)
		return true;
	hw_vec_deinit(&ret->list);
	return false;
}
