/* SPDX-License-Identifier: LGPL-2.1-or-later */
// GLib's table of types. Distributions strip the symbols of its statics, and its structures are private, so
// both are found by what they must be (gobject/gtype.c, glib/gquark.c; GLib 2.38 – 2.82):
//
//  - static_fundamental_type_nodes: an array in libgobject's .bss whose words 1 … 21 lead to nodes, and
//    the node at i says that its type is i << 2. That gives the place of `supers`;
//  - quarks: a pointer in libglib's .bss or .data to an array of texts, in which the numbers that those
//    nodes have at one place are "GInterface", "gchar", "GParam", "GObject", "GVariant". That gives the
//    place of `qname`; what stands before it has the same order in all versions.
//
// A node that is not fundamental is its own first `supers`; a class's first word is its type.
#include <string.h>

#include "base/bytes.h"
#include "native/gobject.h"

enum {
	FUNDAMENTAL_FIRST = 1, // G_TYPE_NONE
	FUNDAMENTAL_LAST = 21, // G_TYPE_VARIANT
	FUNDAMENTAL_SHIFT = 2,
	FUNDAMENTAL_MAX = 255, // G_TYPE_FUNDAMENTAL_MAX >> 2
	SUPERS_FIRST = 48,     // where `supers` may be
	SUPERS_LAST = 112,
	NODE_BYTES_MAX = SUPERS_LAST + 8,
	QUARKS_MAX = 1 << 22,
	SECTION_BYTES_MAX = 1 << 20,
	TYPES_MAX = 1 << 16,
	NAME_MAX_BYTES = 256,
};

// Before qname: n_children, a word of bits, children, data.
enum { N_CHILDREN_BEFORE = 24, CHILDREN_BEFORE = 16, DATA_BEFORE = 8 };

// struct _InstanceData, the larger part of union _TypeData
enum { DATA_CLASS = 56, DATA_INSTANCE_SIZE = 64, DATA_PRIVATE_SIZE = 66, DATA_BYTES = 72 };

static const struct {
	unsigned id;
	const char *name;
} hw_known_types[] = {
	{ 20, "GObject" }, { 2, "GInterface" }, { 3, "gchar" },
	{ 19, "GParam" },  { 21, "GVariant" },
};
enum { KNOWN_TYPES = sizeof(hw_known_types) / sizeof(hw_known_types[0]) };

static bool hw_gtypes_read_u64(struct hw_gtypes *types, hw_addr_t addr, uint64_t *ret)
{
	return !(addr & 7) && hw_pages_read_u64(&types->pages, addr, ret);
}

// ---- the nodes of fundamental types ------------------------------------------------------------

// Do the words from `table` on lead to the fundamental types' nodes? Then the place of `supers`, else 0.
static uint32_t hw_gtypes_prove_table(struct hw_gtypes *types, const uint8_t *table)
{
	for (uint32_t at = SUPERS_FIRST; at <= SUPERS_LAST; at += 8) {
		unsigned i = FUNDAMENTAL_FIRST;
		for (; i <= FUNDAMENTAL_LAST; i++) {
			uint64_t node = hw_u64(table + 8 * (size_t)i), self;
			if (!hw_gtypes_read_u64(types, node + at, &self) ||
			    self != (uint64_t)i << FUNDAMENTAL_SHIFT)
				break;
		}
		if (i > FUNDAMENTAL_LAST)
			return at;
	}
	return 0;
}

// A copy of a section of a module's; the caller frees it. NULL: none, or it can't be read.
static uint8_t *hw_read_section(struct hw_gtypes *types, struct hw_module *module, const char *name,
				size_t *ret_bytes)
{
	hw_addr_t addr;
	uint64_t bytes;
	if (!hw_module_section(module, name, &addr, &bytes) || bytes > SECTION_BYTES_MAX)
		return NULL;
	uint8_t *copy = malloc(bytes + 1);
	if (!copy)
		return NULL;
	*ret_bytes = hw_target_read_some(types->native.target, addr, copy, bytes);
	return copy;
}

static bool hw_gtypes_find_nodes(struct hw_gtypes *types, struct hw_module *module,
				 hw_addr_t nodes[FUNDAMENTAL_MAX + 1])
{
	size_t bytes = 0;
	uint8_t *bss = hw_read_section(types, module, ".bss", &bytes);
	const size_t need = 8 * (size_t)(FUNDAMENTAL_MAX + 1);
	for (size_t at = 0; bss && at + need <= bytes && !types->supers_at; at += 8) {
		// The first word is G_TYPE_INVALID's, the next two lead to nodes.
		if (hw_u64(bss + at) || !hw_u64(bss + at + 8) || !hw_u64(bss + at + 16))
			continue;
		types->supers_at = hw_gtypes_prove_table(types, bss + at);
		for (size_t i = 0; types->supers_at && i <= FUNDAMENTAL_MAX; i++)
			nodes[i] = hw_u64(bss + at + 8 * i);
	}
	free(bss);
	return types->supers_at;
}

// ---- names -------------------------------------------------------------------------------------

static bool hw_gtypes_quark(struct hw_gtypes *types, hw_addr_t quarks, uint32_t quark, char *buf,
			    size_t size)
{
	uint64_t text;
	if (!quark || quark >= QUARKS_MAX ||
	    !hw_gtypes_read_u64(types, quarks + 8 * (hw_addr_t)quark, &text))
		return false;
	if (hw_pages_read_string(&types->pages, text, buf, size))
		return true;
	hw_native_lacks(&types->native, text);
	return false;
}

// Is `quarks` the table in which the known types' nodes find their names?
static bool hw_gtypes_prove_quarks(struct hw_gtypes *types, hw_addr_t quarks,
				   const uint8_t known[KNOWN_TYPES][NODE_BYTES_MAX])
{
	char name[NAME_MAX_BYTES];
	uint64_t first;
	if (!hw_gtypes_read_u64(types, quarks, &first) || first)
		return false; // quark 0 is no text
	for (uint32_t at = N_CHILDREN_BEFORE; at + 4 <= types->supers_at; at += 8) {
		unsigned i = 0;
		while (i < KNOWN_TYPES &&
		       hw_gtypes_quark(types, quarks, hw_u32(known[i] + at), name, sizeof(name)) &&
		       !strcmp(name, hw_known_types[i].name))
			i++;
		if (i < KNOWN_TYPES)
			continue;
		types->quarks = quarks;
		types->qname_at = at;
		return true;
	}
	return false;
}

static bool hw_gtypes_find_quarks(struct hw_gtypes *types, struct hw_module *module,
				  const hw_addr_t nodes[FUNDAMENTAL_MAX + 1])
{
	static const char *const sections[] = { ".bss", ".data" };
	uint8_t known[KNOWN_TYPES][NODE_BYTES_MAX];
	for (unsigned i = 0; i < KNOWN_TYPES; i++)
		if (!hw_pages_read(&types->pages, nodes[hw_known_types[i].id], known[i],
				   types->supers_at))
			return false;
	for (unsigned s = 0; s < 2; s++) {
		size_t bytes = 0;
		uint8_t *copy = hw_read_section(types, module, sections[s], &bytes);
		bool is_found = false;
		for (size_t at = 0; copy && at + 8 <= bytes && !is_found; at += 8)
			is_found = hw_u64(copy + at) &&
				   hw_gtypes_prove_quarks(types, hw_u64(copy + at), known);
		free(copy);
		if (is_found)
			return true;
	}
	return false;
}

// ---- all types ---------------------------------------------------------------------------------

typedef HW_VEC(hw_addr_t) hw_addr_vec;

// A node's children, nodes that name themselves. False: out of memory.
static bool hw_gtypes_push_children(struct hw_gtypes *types, hw_addr_t node, hw_addr_vec *todo)
{
	uint64_t children, child, self;
	uint32_t count;
	if (!hw_pages_read_u32(&types->pages, node + types->qname_at - N_CHILDREN_BEFORE, &count) ||
	    !hw_gtypes_read_u64(types, node + types->qname_at - CHILDREN_BEFORE, &children))
		return true;
	for (uint32_t i = 0; i < count && i < TYPES_MAX && todo->count < TYPES_MAX; i++) {
		if (!hw_gtypes_read_u64(types, children + 8 * (hw_addr_t)i, &child) ||
		    !hw_gtypes_read_u64(types, child + types->supers_at, &self) || self != child)
			return true;
		if (!hw_vec_push(todo, child))
			return false;
	}
	return true;
}

// A type that has a class, and instances of a size. `id` is what its class must say. False: out of memory.
static bool hw_gtypes_add(struct hw_gtypes *types, hw_addr_t node, uint64_t id)
{
	struct hw_gtype type = { .node = node };
	uint8_t data[DATA_BYTES];
	char name[NAME_MAX_BYTES];
	uint64_t said;
	uint32_t quark;
	if (!hw_gtypes_read_u64(types, node + types->qname_at - DATA_BEFORE, &type.data) ||
	    !type.data || !hw_pages_read(&types->pages, type.data, data, sizeof(data)) ||
	    !hw_pages_read_u32(&types->pages, node + types->qname_at, &quark) ||
	    !hw_gtypes_quark(types, types->quarks, quark, name, sizeof(name)))
		return true;
	type.class_start = hw_u64(data + DATA_CLASS);
	type.instance_bytes = hw_u16(data + DATA_INSTANCE_SIZE);
	type.private_bytes = hw_u16(data + DATA_PRIVATE_SIZE);
	if (type.instance_bytes < 8 || type.private_bytes & 7 ||
	    !hw_gtypes_read_u64(types, type.class_start, &said) || said != id)
		return true; // abstract, an interface, or not yet used
	uint32_t at = hw_strtab_intern(&types->names, name, strlen(name));
	if (at == UINT32_MAX)
		return false;
	type.name = hw_strtab_get(&types->names, at);
	return hw_vec_push(&types->types, type);
}

static int hw_gtype_order(const void *a, const void *b)
{
	const struct hw_gtype *x = a, *y = b;
	return x->class_start < y->class_start ? -1 : x->class_start > y->class_start;
}

static int hw_u32_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static bool hw_gtypes_index(struct hw_gtypes *types)
{
	if (!types->types.count)
		return true;
	qsort(types->types.data, types->types.count, sizeof(*types->types.data), hw_gtype_order);
	hw_vec_foreach(type, &types->types) if (!hw_vec_push(&types->heads,
							     type->private_bytes)) return false;
	qsort(types->heads.data, types->heads.count, sizeof(*types->heads.data), hw_u32_order);
	size_t kept = 0;
	for (size_t i = 1; i < types->heads.count; i++)
		if (types->heads.data[i] != types->heads.data[kept])
			types->heads.data[++kept] = types->heads.data[i];
	types->heads.count = kept + 1;
	return true;
}

static struct hw_error *hw_gtypes_collect(struct hw_gtypes *types,
					  const hw_addr_t nodes[FUNDAMENTAL_MAX + 1])
{
	hw_addr_vec todo = { 0 };
	bool ok = true;
	for (uint64_t i = FUNDAMENTAL_FIRST; ok && i <= FUNDAMENTAL_MAX; i++) {
		uint64_t self;
		if (!nodes[i] || !hw_gtypes_read_u64(types, nodes[i] + types->supers_at, &self) ||
		    self != i << FUNDAMENTAL_SHIFT)
			continue;
		ok = hw_gtypes_add(types, nodes[i], self) &&
		     hw_gtypes_push_children(types, nodes[i], &todo);
	}
	// Each type is a child of one: the list is no longer than the types are many.
	for (size_t i = 0; ok && i < todo.count; i++)
		ok = hw_gtypes_add(types, todo.data[i], todo.data[i]) &&
		     hw_gtypes_push_children(types, todo.data[i], &todo);
	hw_vec_deinit(&todo);
	return ok && hw_gtypes_index(types) ? NULL : &hw_enomem;
}

struct hw_error *hw_gtypes_find(const struct hw_native *native, struct hw_gtypes **ret)
{
	struct hw_module *gobject = hw_native_library(native, "libgobject-2.0",
						      "g_type_create_instance");
	struct hw_module *glib = hw_native_library(native, "libglib-2.0", "g_quark_to_string");
	hw_addr_t nodes[FUNDAMENTAL_MAX + 1];
	if (!gobject || !glib)
		return NULL;
	struct hw_gtypes *types = calloc(1, sizeof(*types));
	if (!types)
		return &hw_enomem;
	types->native = *native;
	hw_pages_init(&types->pages, native->target);
	hw_strtab_init(&types->names);
	if (!hw_gtypes_find_nodes(types, gobject, nodes) ||
	    !hw_gtypes_find_quarks(types, glib, nodes)) {
		hw_issues_add(native->issues, HW_ERROR_UNSUPPORTED, gobject->start,
			      "the types of %s can't be found in its memory: GObjects stay "
			      "uncategorized",
			      gobject->path);
		hw_native_lacks_module(native, gobject);
		hw_native_lacks_module(native, glib);
		hw_gtypes_destroy(types);
		return NULL;
	}
	struct hw_error *err = hw_gtypes_collect(types, nodes);
	if (err)
		hw_gtypes_destroy(types);
	else
		*ret = types;
	return err;
}

void hw_gtypes_destroy(struct hw_gtypes *types)
{
	if (!types)
		return;
	hw_vec_deinit(&types->types);
	hw_vec_deinit(&types->heads);
	hw_pages_deinit(&types->pages);
	hw_strtab_deinit(&types->names);
	free(types);
}

const struct hw_gtype *hw_gtypes_at(const struct hw_gtypes *types, hw_addr_t addr)
{
	size_t beyond = hw_vec_find_beyond(&types->types, class_start, addr);
	return beyond && types->types.data[beyond - 1].class_start == addr
		       ? &types->types.data[beyond - 1]
		       : NULL;
}
