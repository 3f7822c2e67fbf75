/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "symbols/dwarf_die.h"

#include <stdlib.h>
#include <string.h>

enum {
	HW_DIE_DEPTH = 16, // of anonymous members, of imports
	HW_DIE_CHAIN = 64, // of typedefs and qualifiers
	HW_DIE_DIMENSIONS = 16,
	HW_DIE_BIT_FIELD_BYTES = 16, // of the largest integer
	// That are looked at for one member: anonymous ones may have each other's types again and again.
	HW_DIE_MEMBERS = 1 << 16,
};

// ---- the walk ----

struct hw_die_walk {
	void **slots; // addresses of units' DIEs, hashed; NULL: empty
	size_t slot_count, used_count;
};

struct hw_die_walk *hw_die_walk_create(void)
{
	return calloc(1, sizeof(struct hw_die_walk));
}

void hw_die_walk_destroy(struct hw_die_walk *walk)
{
	if (walk)
		free(walk->slots);
	free(walk);
}

static void **hw_die_walk_slot(void **slots, size_t count, void *unit)
{
	size_t at = (size_t)((uintptr_t)unit * 0x9e3779b97f4a7c15u >> 20) & (count - 1);
	while (slots[at] && slots[at] != unit)
		at = (at + 1) & (count - 1);
	return &slots[at];
}

// Twice as many slots, at least. False: out of memory.
static bool hw_die_walk_grow(struct hw_die_walk *walk)
{
	size_t count = walk->slot_count ? walk->slot_count * 2 : 1024;
	void **slots = calloc(count, sizeof(*slots));
	if (!slots)
		return false;
	for (size_t i = 0; i < walk->slot_count; i++)
		if (walk->slots[i])
			*hw_die_walk_slot(slots, count, walk->slots[i]) = walk->slots[i];
	free(walk->slots);
	walk->slots = slots;
	walk->slot_count = count;
	return true;
}

static bool hw_die_walk_is_new(struct hw_die_walk *walk, void *unit)
{
	if (walk->used_count * 2 >= walk->slot_count && !hw_die_walk_grow(walk))
		return false;
	void **slot = hw_die_walk_slot(walk->slots, walk->slot_count, unit);
	if (*slot)
		return false;
	*slot = unit;
	walk->used_count++;
	return true;
}

static bool hw_die_walk_children(struct hw_die_walk *walk, Dwarf_Die *unit,
				 bool (*meet)(void *payload, Dwarf_Die *die), void *payload,
				 unsigned depth)
{
	Dwarf_Die die, imported;
	Dwarf_Attribute attr;
	if (dwarf_child(unit, &die))
		return true;
	do {
		if (dwarf_tag(&die) != DW_TAG_imported_unit) {
			if (!meet(payload, &die))
				return false;
		} else if (depth < HW_DIE_DEPTH && dwarf_attr(&die, DW_AT_import, &attr) &&
			   dwarf_formref_die(&attr, &imported) &&
			   hw_die_walk_is_new(walk, imported.addr) &&
			   !hw_die_walk_children(walk, &imported, meet, payload, depth + 1)) {
			return false;
		}
	} while (!dwarf_siblingof(&die, &die));
	return true;
}

void hw_die_walk_unit(struct hw_die_walk *walk, Dwarf_Die *unit,
		      bool (*meet)(void *payload, Dwarf_Die *die), void *payload)
{
	if (hw_die_walk_is_new(walk, unit->addr)) // else some unit before imported it
		hw_die_walk_children(walk, unit, meet, payload, 0);
}

// ---- types ----

static bool hw_die_has_members(int tag)
{
	return tag == DW_TAG_structure_type || tag == DW_TAG_union_type || tag == DW_TAG_class_type;
}

// The type that `die` refers to, through typedefs and qualifiers.
static bool hw_die_peel(Dwarf_Die *die, Dwarf_Die *ret)
{
	Dwarf_Attribute attr;
	*ret = *die;
	for (unsigned step = 0; step < HW_DIE_CHAIN; step++) {
		switch (dwarf_tag(ret)) {
		case DW_TAG_typedef:
		case DW_TAG_const_type:
		case DW_TAG_volatile_type:
		case DW_TAG_restrict_type:
		case DW_TAG_atomic_type:
			if (!dwarf_attr_integrate(ret, DW_AT_type, &attr) ||
			    !dwarf_formref_die(&attr, ret))
				return false; // void
			continue;
		default:
			return true;
		}
	}
	return false;
}

bool hw_die_complete_type(Dwarf_Die *die, Dwarf_Die *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Die type;
	if (!hw_die_peel(die, &type))
		return false;
	if (dwarf_attr(&type, DW_AT_signature, &attr)) {
		// -fdebug-types-section: the body is in a type unit
		Dwarf_Die body;
		if (!dwarf_formref_die(&attr, &body))
			return false;
		type = body;
	}
	if (dwarf_hasattr(&type, DW_AT_declaration))
		return false;
	*ret = type;
	return true;
}

static bool hw_die_type_of(Dwarf_Die *die, Dwarf_Die *ret)
{
	Dwarf_Attribute attr;
	return dwarf_attr_integrate(die, DW_AT_type, &attr) && dwarf_formref_die(&attr, ret);
}

// Bytes of the member from the start of its structure; unions leave it out.
static bool hw_die_member_offset(Dwarf_Die *member, uint64_t *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Word value;
	Dwarf_Op *ops;
	size_t count;
	*ret = 0;
	if (!dwarf_attr(member, DW_AT_data_member_location, &attr))
		return true;
	if (!dwarf_formudata(&attr, &value)) {
		*ret = value;
		return true;
	}
	if (!dwarf_getlocation(&attr, &ops, &count) && count == 1 &&
	    ops[0].atom == DW_OP_plus_uconst) {
		*ret = ops[0].number;
		return true;
	}
	return false;
}

static bool hw_die_number(Dwarf_Die *die, unsigned name, uint64_t *ret)
{
	Dwarf_Attribute attr;
	Dwarf_Word value;
	if (!dwarf_attr(die, name, &attr) || dwarf_formudata(&attr, &value))
		return false;
	*ret = value;
	return true;
}

// The member of that name: *ret, and its offset added to *offset. Anonymous structs and unions are looked
// into, and bases of a class that have a fixed place in it.
static bool hw_die_find_member(Dwarf_Die *type, const char *name, size_t len, Dwarf_Die *ret,
			       uint64_t *offset, unsigned depth, unsigned *left)
{
	Dwarf_Die member, inner, peeled;
	uint64_t at;
	if (depth > HW_DIE_DEPTH || !hw_die_has_members(dwarf_tag(type)) ||
	    dwarf_child(type, &member))
		return false;
	do {
		if (!*left || !--*left)
			return false;
		bool is_base = dwarf_tag(&member) == DW_TAG_inheritance;
		if (dwarf_tag(&member) != DW_TAG_member && !is_base)
			continue;
		const char *its_name = is_base ? NULL : dwarf_diename(&member);
		if (!hw_die_member_offset(&member, &at))
			continue;
		if (its_name && *its_name) {
			if (strlen(its_name) != len || memcmp(its_name, name, len))
				continue;
			*ret = member;
			*offset += at;
			return true;
		}
		uint64_t inside = *offset + at;
		if (hw_die_type_of(&member, &inner) && hw_die_complete_type(&inner, &peeled) &&
		    hw_die_find_member(&peeled, name, len, ret, &inside, depth + 1, left)) {
			*offset = inside;
			return true;
		}
	} while (!dwarf_siblingof(&member, &member));
	return false;
}

// Elements over all dimensions; 0 for a flexible array.
static uint64_t hw_die_array_count(Dwarf_Die *array)
{
	Dwarf_Die dimension;
	uint64_t count = 1, n, upper, lower;
	unsigned dimensions = 0;
	if (dwarf_child(array, &dimension))
		return 0;
	do {
		if (dwarf_tag(&dimension) != DW_TAG_subrange_type)
			continue;
		if (++dimensions > HW_DIE_DIMENSIONS)
			return 0;
		if (!hw_die_number(&dimension, DW_AT_lower_bound, &lower))
			lower = 0;
		if (!hw_die_number(&dimension, DW_AT_count, &n)) {
			// A flexible array has no upper bound; GNU's [0] has -1.
			if (!hw_die_number(&dimension, DW_AT_upper_bound, &upper))
				return 0;
			n = upper - lower + 1;
		}
		if (__builtin_mul_overflow(count, n, &count))
			return 0;
	} while (!dwarf_siblingof(&dimension, &dimension));
	return count;
}

// Bytes of a complete type, 0 when it has none. By ourselves for arrays: libdw does not follow the signature
// of an element that is in a type unit.
static uint64_t hw_die_size(Dwarf_Die *type)
{
	Dwarf_Die body = *type, element;
	uint64_t count = 1, bytes;
	Dwarf_Word size;
	for (unsigned i = 0; dwarf_tag(&body) == DW_TAG_array_type; i++)
		if (i == HW_DIE_DIMENSIONS ||
		    __builtin_mul_overflow(count, hw_die_array_count(&body), &count) ||
		    !hw_die_type_of(&body, &element) || !hw_die_complete_type(&element, &body))
			return 0;
	if (dwarf_aggregate_size(&body, &size) || __builtin_mul_overflow(count, size, &bytes))
		return 0;
	return bytes;
}

// Which bits of its storage unit a bit field has. DWARF 4 counts from the start of the structure,
// DWARF 2 from the most significant bit of the unit.
static void hw_die_bit_field(Dwarf_Die *member, uint64_t member_offset,
			     struct hw_dwarf_query *query)
{
	uint64_t bits, at, storage = query->size;
	if (!hw_die_number(member, DW_AT_bit_size, &bits) || !bits || bits > 64 || !storage ||
	    storage > HW_DIE_BIT_FIELD_BYTES)
		return;
	query->bit_size = (uint32_t)bits;
	if (hw_die_number(member, DW_AT_data_bit_offset, &at)) {
		uint64_t unit = at / (storage * 8) * storage;
		if (at - unit * 8 + bits > storage * 8)
			unit = at / 8; // packed: it straddles two
		query->offset += unit - member_offset;
		query->bit_offset = (uint32_t)(at - unit * 8);
	} else if (hw_die_number(member, DW_AT_bit_offset, &at)) {
		hw_die_number(member, DW_AT_byte_size, &storage);
		query->bit_offset = (uint32_t)(storage * 8 - at - bits);
	}
}

// One step of a dotted path. False: no such member.
static bool hw_die_step(Dwarf_Die *type, const char *name, size_t len, Dwarf_Die *ret_member,
			uint64_t *offset)
{
	Dwarf_Die body = *type, element;
	unsigned left = HW_DIE_MEMBERS;
	for (unsigned i = 0; dwarf_tag(&body) == DW_TAG_array_type && i < HW_DIE_DIMENSIONS; i++)
		if (!hw_die_type_of(&body, &element) || !hw_die_complete_type(&element, &body))
			return false;
	return hw_die_find_member(&body, name, len, ret_member, offset, 0, &left);
}

static void hw_die_answer_constant(Dwarf_Die *type, struct hw_dwarf_query *query)
{
	Dwarf_Die constant;
	if (dwarf_child(type, &constant))
		return;
	do {
		const char *name = dwarf_tag(&constant) == DW_TAG_enumerator
					   ? dwarf_diename(&constant)
					   : NULL;
		if (!name || strcmp(name, query->member) != 0)
			continue;
		query->found = hw_die_number(&constant, DW_AT_const_value, &query->offset) &&
			       query->offset <= INT64_MAX;
		query->size = hw_die_size(type);
		query->count = 1;
		return;
	} while (!dwarf_siblingof(&constant, &constant));
}

void hw_die_answer(Dwarf_Die *type, struct hw_dwarf_query *query)
{
	Dwarf_Die body = *type, member, member_type;
	uint64_t offset = 0, last_offset;
	bool has_member = false;
	if (query->member && dwarf_tag(type) == DW_TAG_enumeration_type) {
		hw_die_answer_constant(type, query);
		return;
	}
	for (const char *path = query->member; path && *path;) {
		size_t len = strcspn(path, ".");
		if (!hw_die_step(&body, path, len, &member, &offset) ||
		    !hw_die_type_of(&member, &member_type))
			return;
		has_member = true;
		path += len + (path[len] == '.');
		if (!hw_die_complete_type(&member_type, &body)) {
			if (*path)
				return;
			body = member_type; // of a type that is only declared: a pointer's target
		}
	}
	query->found = true;
	query->offset = offset;
	query->size = hw_die_size(&body);
	query->count = 1;
	query->is_pointer = dwarf_tag(&body) == DW_TAG_pointer_type;
	if (dwarf_tag(&body) == DW_TAG_array_type)
		query->count = hw_die_array_count(&body);
	if (has_member && hw_die_member_offset(&member, &last_offset))
		hw_die_bit_field(&member, last_offset, query);
}

bool hw_die_find_class(Dwarf_Die *scope, const char *name, Dwarf_Die *ret, unsigned depth)
{
	Dwarf_Die die;
	if (depth > HW_DIE_DEPTH || dwarf_child(scope, &die))
		return false;
	do {
		int tag = dwarf_tag(&die);
		bool is_scope = tag == DW_TAG_namespace || hw_die_has_members(tag);
		const char *its_name = is_scope ? dwarf_diename(&die) : NULL;
		if (is_scope && !its_name)
			its_name = tag == DW_TAG_namespace ? "(anonymous namespace)" : "";
		size_t len = its_name ? strlen(its_name) : 0;
		if (!len || strncmp(name, its_name, len) != 0)
			continue;
		if (!name[len] && hw_die_has_members(tag) && hw_die_complete_type(&die, ret))
			return true;
		if (name[len] == ':' && name[len + 1] == ':' &&
		    hw_die_find_class(&die, name + len + 2, ret, depth + 1))
			return true;
	} while (!dwarf_siblingof(&die, &die));
	return false;
}

bool hw_die_variable_address(Dwarf_Die *variable, hw_addr_t *ret)
{
	Dwarf_Attribute attr, address;
	Dwarf_Op *ops;
	size_t count;
	if (!dwarf_attr(variable, DW_AT_location, &attr) ||
	    dwarf_getlocation(&attr, &ops, &count) || count != 1)
		return false;
	if (ops[0].atom == DW_OP_addr) {
		*ret = ops[0].number;
		return true;
	}
	if (ops[0].atom == DW_OP_addrx || ops[0].atom == DW_OP_GNU_addr_index) {
		Dwarf_Addr value;
		if (dwarf_getlocation_attr(&attr, ops, &address) ||
		    dwarf_formaddr(&address, &value))
			return false;
		*ret = value;
		return true;
	}
	return false;
}
