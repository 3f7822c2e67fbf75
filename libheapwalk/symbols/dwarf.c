/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Structure layouts and variables, out of a module's DWARF through libdw.
//
// A named unit answers in about a millisecond, all units of a libpython in a hundred: so questions go to
// the unit that they name, and a unit that has the type but not the member is believed. Only a type that
// its unit does not define is looked for in all.
#include "symbols/dwarf.h"

#include <stdlib.h>
#include <string.h>

#include "symbols/dwarf_die.h"
#include "symbols/modules_private.h"

struct hw_dwarf_unit {
	Dwarf_Die die;
	const char *base_name; // of the source file, "" when it has none
};

// An answer of hw_dwarf_variable(): a walk over a unit's DIEs is too dear to repeat while a process is
// kept stopped.
struct hw_dwarf_known_variable {
	char *unit; // owned; NULL: any
	char *name; // owned
	bool is_found;
	hw_addr_t address;
};

// A variable whose DIE is in one unit and whose place in another, an artificial one: link-time optimisation.
struct hw_dwarf_place {
	Dwarf_Off origin; // its DIE
	hw_addr_t address;
};

// A class with virtual functions, by its name with namespaces.
struct hw_dwarf_class {
	char *name;
	Dwarf_Die die;
};

enum {
	HW_CLASSES_MAX = 1 << 18,
	HW_CLASS_NAME_MAX = 1024,
	HW_CLASS_DEPTH = 16,
};

struct hw_dwarf_index {
	HW_VEC(struct hw_dwarf_unit) units;
	bool has_classes;
	HW_VEC(struct hw_dwarf_class) classes; // sorted by name
	HW_VEC(struct hw_dwarf_known_variable) variables;
	// Of the first placed_units units: all of them are walked only for what none of these has.
	HW_VEC(struct hw_dwarf_place) places;
	size_t placed_units;
	struct hw_die_walk *place_walk;
	GElf_Addr bias; // run-time address = DWARF's + bias
};

void hw_dwarf_index_destroy(struct hw_dwarf_index *index)
{
	if (!index)
		return;
	hw_vec_foreach(known, &index->variables)
	{
		free(known->unit);
		free(known->name);
	}
	hw_vec_deinit(&index->variables);
	hw_vec_deinit(&index->places);
	hw_die_walk_destroy(index->place_walk);
	hw_vec_deinit(&index->units);
	hw_vec_foreach(class, &index->classes) free(class->name);
	hw_vec_deinit(&index->classes);
	free(index);
}

static bool hw_dwarf_index_fill(struct hw_dwarf_index *index, Dwarf *dwarf)
{
	uint8_t unit_type;
	Dwarf_Die die, sub;
	for (Dwarf_CU *cu = NULL; !dwarf_get_units(dwarf, cu, &cu, NULL, &unit_type, &die, &sub);) {
		// The substance of a skeleton is in a .dwo file, when libdw found it.
		if (unit_type == DW_UT_skeleton && dwarf_tag(&sub) != DW_TAG_invalid)
			die = sub;
		const char *name = dwarf_diename(&die);
		const char *slash = name ? strrchr(name, '/') : NULL;
		struct hw_dwarf_unit unit = { die, slash ? slash + 1 : name ? name : "" };
		if (!hw_vec_push(&index->units, unit))
			return false;
	}
	return true;
}

static struct hw_dwarf_index *hw_module_dwarf(struct hw_module *module)
{
	struct hw_module_private *priv = module->priv;
	const char *main_file = NULL, *debug_file = NULL;
	if (priv->tried_dwarf)
		return priv->dwarf_index;
	priv->tried_dwarf = true;
	Dwfl_Module *dwfl_module = hw_module_dwfl(module, HW_DWFL_TYPES);
	GElf_Addr bias;
	Dwarf *dwarf = dwfl_module ? dwfl_module_getdwarf(dwfl_module, &bias) : NULL;
	hw_module_guard_elf(module, dwarf ? dwarf_getelf(dwarf) : NULL);
	struct hw_dwarf_index *index = dwarf ? calloc(1, sizeof(*index)) : NULL;
	if (!index)
		return NULL;
	index->bias = bias;
	if (!hw_dwarf_index_fill(index, dwarf) || !index->units.count) {
		hw_dwarf_index_destroy(index);
		return NULL;
	}
	dwfl_module_info(dwfl_module, NULL, NULL, NULL, NULL, NULL, &main_file, &debug_file);
	priv->dwarf_source = strdup(debug_file ? debug_file : "DWARF in the file");
	return priv->dwarf_index = index;
}

const char *hw_dwarf_source(struct hw_module *module)
{
	hw_module_dwarf(module);
	return module->priv->dwarf_source;
}

// ---- types ----

// What is looked for in one pass over a unit: questions, sorted by the type's name.
struct hw_dwarf_search {
	struct hw_dwarf_query **queries;
	bool *is_settled; // parallel: answered, or known to have no answer
	size_t count, settled_count;
};

static bool hw_dwarf_is_type(int tag)
{
	return tag == DW_TAG_structure_type || tag == DW_TAG_union_type ||
	       tag == DW_TAG_class_type || tag == DW_TAG_typedef || tag == DW_TAG_base_type ||
	       tag == DW_TAG_enumeration_type;
}

// One top-level DIE: answers the questions about it. Stops the pass when nothing is left to ask.
static bool hw_dwarf_meet_type(void *payload, Dwarf_Die *die)
{
	struct hw_dwarf_search *search = payload;
	Dwarf_Die type;
	if (!hw_dwarf_is_type(dwarf_tag(die)))
		return true;
	const char *name = dwarf_diename(die);
	if (!name)
		return true;
	size_t lo = 0, hi = search->count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (strcmp(search->queries[mid]->type, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == search->count || strcmp(search->queries[lo]->type, name) ||
	    !hw_die_complete_type(die, &type))
		return true;
	for (; lo < search->count && !strcmp(search->queries[lo]->type, name); lo++) {
		if (search->is_settled[lo])
			continue;
		hw_die_answer(&type, search->queries[lo]);
		search->is_settled[lo] = true;
		search->settled_count++;
	}
	return search->settled_count < search->count;
}

static int hw_dwarf_query_compare(const void *a, const void *b)
{
	const struct hw_dwarf_query *x = *(struct hw_dwarf_query *const *)a;
	const struct hw_dwarf_query *y = *(struct hw_dwarf_query *const *)b;
	return strcmp(x->type, y->type);
}

static bool hw_dwarf_same_unit(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

// Asks the units that `unit` names (NULL: all) the questions that name it (NULL: those not settled yet).
// False: the module has no such unit.
static bool hw_dwarf_ask(struct hw_dwarf_index *index, const char *unit,
			 struct hw_dwarf_query *queries, bool *is_settled, size_t count)
{
	bool has_unit = false;
	struct hw_dwarf_query **list = calloc(count, sizeof(*list));
	bool *list_settled = calloc(count, sizeof(*list_settled));
	struct hw_dwarf_search search = { list, list_settled, 0, 0 };
	for (size_t i = 0; list && list_settled && i < count; i++)
		if (!is_settled[i] && (!unit || hw_dwarf_same_unit(queries[i].unit, unit)))
			list[search.count++] = &queries[i];
	if (search.count) {
		qsort(list, search.count, sizeof(*list), hw_dwarf_query_compare);
		struct hw_die_walk *walk = hw_die_walk_create();
		hw_vec_foreach(u, &index->units)
		{
			if (!walk || search.settled_count == search.count)
				break;
			if (unit && strcmp(u->base_name, unit))
				continue;
			has_unit = true;
			hw_die_walk_unit(walk, &u->die, hw_dwarf_meet_type, &search);
		}
		hw_die_walk_destroy(walk);
		for (size_t i = 0; i < search.count; i++)
			is_settled[list[i] - queries] = list_settled[i];
	}
	free(list);
	free(list_settled);
	return has_unit;
}

size_t hw_dwarf_resolve(struct hw_module *module, struct hw_dwarf_query *queries, size_t count)
{
	size_t found = 0;
	bool has_named = false;
	struct hw_dwarf_index *index = hw_module_dwarf(module);
	for (size_t i = 0; i < count; i++) {
		struct hw_dwarf_query *q = &queries[i];
		*q = (struct hw_dwarf_query){ .unit = q->unit,
					      .type = q->type,
					      .member = q->member,
					      .unit_only = q->unit_only };
	}
	bool *is_settled = index && count ? calloc(count, sizeof(*is_settled)) : NULL;
	if (!is_settled)
		return 0;
	for (size_t i = 0; i < count; i++) {
		bool is_first = queries[i].unit != NULL;
		for (size_t before = 0; is_first && before < i; before++)
			is_first = !hw_dwarf_same_unit(queries[before].unit, queries[i].unit);
		if (is_first)
			has_named |= hw_dwarf_ask(index, queries[i].unit, queries, is_settled,
						  count);
	}
	// Where units carry their sources' names, such a question has its answer now, be it "no".
	for (size_t i = 0; i < count && has_named; i++)
		is_settled[i] |= queries[i].unit_only;
	hw_dwarf_ask(index, NULL, queries, is_settled, count);
	free(is_settled);
	for (size_t i = 0; i < count; i++)
		found += queries[i].found;
	return found;
}

bool hw_dwarf_resolve_class(struct hw_module *module, struct hw_dwarf_query *query)
{
	struct hw_dwarf_index *index = hw_module_dwarf(module);
	*query = (struct hw_dwarf_query){ .type = query->type, .member = query->member };
	for (size_t i = 0; index && i < index->units.count && !query->found; i++) {
		Dwarf_Die class;
		if (hw_die_find_class(&index->units.data[i].die, query->type, &class, 0))
			hw_die_answer(&class, query);
	}
	return query->found;
}

// ---- classes ----

// `name` has the scopes before it, `len` bytes of them.
static void hw_dwarf_add_classes(struct hw_dwarf_index *index, Dwarf_Die *scope, char *name,
				 size_t len, unsigned depth)
{
	Dwarf_Die die;
	if (depth > HW_CLASS_DEPTH || dwarf_child(scope, &die))
		return;
	do {
		int tag = dwarf_tag(&die);
		bool is_class = tag == DW_TAG_structure_type || tag == DW_TAG_class_type;
		if ((!is_class && tag != DW_TAG_namespace) ||
		    (is_class && dwarf_hasattr(&die, DW_AT_declaration)))
			continue;
		const char *its_name = dwarf_diename(&die);
		if (!its_name)
			its_name = is_class ? "" : "(anonymous namespace)";
		size_t its_len = strlen(its_name);
		if (!its_len || len + its_len + 3 > HW_CLASS_NAME_MAX)
			continue;
		memcpy(name + len, its_name, its_len + 1);
		if (is_class && dwarf_hasattr(&die, DW_AT_containing_type) &&
		    index->classes.count < HW_CLASSES_MAX) {
			struct hw_dwarf_class class = { strdup(name), die };
			if (!class.name || !hw_vec_push(&index->classes, class)) {
				free(class.name);
				return;
			}
		}
		memcpy(name + len + its_len, "::", 3);
		hw_dwarf_add_classes(index, &die, name, len + its_len + 2, depth + 1);
	} while (!dwarf_siblingof(&die, &die));
}

static int hw_dwarf_class_order(const void *a, const void *b)
{
	const struct hw_dwarf_class *x = a, *y = b;
	int order = strcmp(x->name, y->name);
	// The first of equals is always the same one.
	return order ? order : x->die.addr < y->die.addr ? -1 : x->die.addr > y->die.addr;
}

bool hw_dwarf_find_class(struct hw_module *module, const char *name, Dwarf_Die *ret)
{
	struct hw_dwarf_index *index = hw_module_dwarf(module);
	char scopes[HW_CLASS_NAME_MAX + 1];
	if (!index)
		return false;
	if (!index->has_classes) {
		index->has_classes = true;
		hw_vec_foreach(unit, &index->units)
			hw_dwarf_add_classes(index, &unit->die, scopes, 0, 0);
		if (index->classes.count)
			qsort(index->classes.data, index->classes.count,
			      sizeof(*index->classes.data), hw_dwarf_class_order);
	}
	size_t low = 0, high = index->classes.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (strcmp(index->classes.data[middle].name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == index->classes.count || strcmp(index->classes.data[low].name, name) != 0)
		return false;
	*ret = index->classes.data[low].die;
	return true;
}

// ---- variables ----

struct hw_dwarf_variable_search {
	const char *name;
	Dwarf_Off origin; // of the first of that name without an address
	bool has_origin;
	bool found;
	hw_addr_t address;
};

static bool hw_dwarf_meet_variable(void *payload, Dwarf_Die *die)
{
	struct hw_dwarf_variable_search *search = payload;
	if (dwarf_tag(die) != DW_TAG_variable)
		return true;
	const char *name = dwarf_diename(die); // of its declaration, when it has one apart
	if (!name || strcmp(name, search->name))
		return true;
	if (hw_die_variable_address(die, &search->address)) {
		search->found = true;
		return false;
	}
	if (!search->has_origin) {
		search->has_origin = true;
		search->origin = dwarf_dieoffset(die);
	}
	return true;
}

static bool hw_dwarf_meet_place(void *payload, Dwarf_Die *die)
{
	struct hw_dwarf_index *index = payload;
	struct hw_dwarf_place place;
	Dwarf_Attribute attr;
	Dwarf_Die origin;
	if (dwarf_tag(die) != DW_TAG_variable ||
	    (!dwarf_attr(die, DW_AT_abstract_origin, &attr) &&
	     !dwarf_attr(die, DW_AT_specification, &attr)) ||
	    !dwarf_formref_die(&attr, &origin) || !hw_die_variable_address(die, &place.address))
		return true;
	place.origin = dwarf_dieoffset(&origin);
	return hw_vec_push(&index->places, place);
}

// Where the variable is whose DIE is at `origin`: walks no further than it has to.
static bool hw_dwarf_find_place(struct hw_dwarf_index *index, Dwarf_Off origin, hw_addr_t *ret)
{
	if (!index->place_walk)
		index->place_walk = hw_die_walk_create();
	for (size_t i = 0; index->place_walk;) {
		for (; i < index->places.count; i++) {
			if (index->places.data[i].origin != origin)
				continue;
			*ret = index->places.data[i].address;
			return true;
		}
		if (index->placed_units == index->units.count)
			break;
		hw_die_walk_unit(index->place_walk, &index->units.data[index->placed_units++].die,
				 hw_dwarf_meet_place, index);
	}
	return false;
}

static void hw_dwarf_search_variable(struct hw_dwarf_index *index, const char *unit,
				     struct hw_dwarf_variable_search *search)
{
	struct hw_die_walk *walk = hw_die_walk_create();
	hw_vec_foreach(u, &index->units)
	{
		if (!walk || search->found)
			break;
		if (!unit || !strcmp(u->base_name, unit))
			hw_die_walk_unit(walk, &u->die, hw_dwarf_meet_variable, search);
	}
	hw_die_walk_destroy(walk);
}

// Without memory the answer is found again next time.
static void hw_dwarf_remember_variable(struct hw_dwarf_index *index, const char *unit,
				       const char *name, bool is_found, hw_addr_t address)
{
	struct hw_dwarf_known_variable known = { .unit = unit ? strdup(unit) : NULL,
						 .name = strdup(name),
						 .is_found = is_found,
						 .address = address };
	if ((unit && !known.unit) || !known.name || !hw_vec_push(&index->variables, known)) {
		free(known.unit);
		free(known.name);
	}
}

bool hw_dwarf_variable(struct hw_module *module, const char *unit, const char *name, hw_addr_t *ret)
{
	struct hw_dwarf_index *index = hw_module_dwarf(module);
	struct hw_dwarf_variable_search search = { .name = name };
	if (!index)
		return false;
	hw_vec_foreach(known, &index->variables)
	{
		if (strcmp(known->name, name) || !hw_dwarf_same_unit(known->unit, unit))
			continue;
		if (known->is_found)
			*ret = known->address;
		return known->is_found;
	}
	hw_dwarf_search_variable(index, unit, &search);
	if (!search.found && search.has_origin && unit)
		search.found = hw_dwarf_find_place(index, search.origin, &search.address);
	hw_dwarf_remember_variable(index, unit, name, search.found, search.address + index->bias);
	if (search.found)
		*ret = search.address + index->bias;
	return search.found;
}
