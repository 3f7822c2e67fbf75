/* SPDX-License-Identifier: LGPL-2.1-or-later */
// fields.def asked of DWARF, in one batch.
#include <stdlib.h>
#include <string.h>
#include <string.h>

#include "base/cleanup.h"
#include "layout/python_internal.h"

const struct hw_layout_fact hw_layout_facts[] = {
#define HW_FIELD(name, unit, type, member)                                                         \
	{ #name, unit, type, member, offsetof(struct hw_python_layout, name), false },
#define HW_FIELD_OR HW_FIELD
#define HW_BIT(name, unit, type, member)                                                           \
	{ #name, unit, type, member, offsetof(struct hw_python_layout, name), true },
#define HW_SIZE(name, unit, type)                                                                  \
	{ #name, unit, type, NULL, offsetof(struct hw_python_layout, name), false },
#define HW_SIZE_OR HW_SIZE
#include "layout/fields.def"
};
const size_t hw_layout_fact_count = sizeof(hw_layout_facts) / sizeof(hw_layout_facts[0]);

void hw_layout_init(struct hw_python_layout *layout)
{
	*layout = (struct hw_python_layout){ 0 };
	for (size_t i = 0; i < hw_layout_fact_count; i++)
		*hw_layout_value(layout, &hw_layout_facts[i]) = HW_ABSENT;
	layout->word_bytes = 8;
}

// Modules that a build may have apart from the interpreter, in a file of their own.
static const char *const hw_layout_extensions[] = { "_collections", "_io" };

static bool hw_is_layout_extension(const char *path)
{
	const char *name = strrchr(path, '/');
	name = name ? name + 1 : path;
	size_t len = strcspn(name, ".");
	for (size_t i = 0; i < sizeof(hw_layout_extensions) / sizeof(hw_layout_extensions[0]); i++)
		if (strlen(hw_layout_extensions[i]) == len &&
		    !strncmp(name, hw_layout_extensions[i], len))
			return true;
	return false;
}

void hw_layout_from_extensions(struct hw_modules *modules, struct hw_python_layout *layout)
{
	for (size_t i = 0; i < hw_modules_count(modules); i++) {
		struct hw_module *module = hw_modules_get(modules, i);
		if (hw_is_layout_extension(module->path))
			hw_layout_from_dwarf(module, NULL, layout);
	}
}

bool hw_layout_from_dwarf(struct hw_module *module, const char *unit,
			  struct hw_python_layout *layout)
{
	hw_cleanup_free struct hw_dwarf_query *queries = calloc(hw_layout_fact_count,
								sizeof(*queries));
	if (!queries)
		return false;
	for (size_t i = 0; i < hw_layout_fact_count; i++) {
		queries[i].unit = unit ? unit : hw_layout_facts[i].unit;
		queries[i].type = hw_layout_facts[i].type;
		queries[i].member = hw_layout_facts[i].member;
		queries[i].unit_only = true;
	}
	if (!hw_dwarf_resolve(module, queries, hw_layout_fact_count))
		return false;
	for (size_t i = 0; i < hw_layout_fact_count; i++) {
		const struct hw_dwarf_query *q = &queries[i];
		int32_t *value = hw_layout_value(layout, &hw_layout_facts[i]);
		uint64_t answer = q->member ? q->offset : q->size;
		if (hw_layout_facts[i].is_bit)
			answer = q->bit_size ? answer * 8 + q->bit_offset : UINT64_MAX;
		// The file may be damaged: an offset that is no offset is no answer.
		if (!q->found || *value != HW_ABSENT || answer > INT32_MAX)
			continue;
		*value = (int32_t)answer;
		if (value == &layout->interp_obmalloc)
			layout->obmalloc_is_pointer = q->is_pointer;
		else if (value == &layout->obmalloc_used && q->count <= UINT32_MAX)
			layout->usedpools_count = (uint32_t)q->count;
	}
	hw_layout_conclude(layout);
	return true;
}

void hw_layout_conclude(struct hw_python_layout *layout)
{
	enum { KIND_BIT = 2 };
	// The structure is declared all the same: the list heads of the collector have it.
	if (layout->ob_gc_bits != HW_ABSENT)
		layout->gc_head_size = 0;
	if (layout->str_kind_bit != HW_ABSENT && layout->str_state != HW_ABSENT) {
		int64_t shift = layout->str_kind_bit - 8 * (int64_t)layout->str_state - KIND_BIT;
		layout->str_state_shift = shift >= 0 && shift < 24 ? (uint32_t)shift : 0;
	}
}

static bool hw_is_in_header(const struct hw_python_layout *l, int32_t offset, int32_t bytes)
{
	return offset >= 0 && offset <= l->object_size - bytes;
}

// An object's type and its count, or its counts.
static bool hw_header_is_known(const struct hw_python_layout *l)
{
	if (l->object_size > HW_OBJECT_HEADER_MAX ||
	    !hw_is_in_header(l, l->ob_type, (int32_t)l->word_bytes))
		return false;
	return l->ob_refcnt != HW_ABSENT
		       ? hw_is_in_header(l, l->ob_refcnt, (int32_t)l->word_bytes)
		       : hw_is_in_header(l, l->ob_tid, 8) && hw_is_in_header(l, l->ob_gc_bits, 1) &&
				 hw_is_in_header(l, l->ob_ref_local, 4) &&
				 hw_is_in_header(l, l->ob_ref_shared, 8);
}

// Is [offset, offset + 8) inside of a structure of that size?
static bool hw_is_inside(int32_t offset, int32_t size)
{
	return offset >= 0 && size >= 8 && offset <= size - 8;
}

// What is read out of copies of an object, or of a type, by these offsets without another look at them. NULL: all
// of it is inside.
static const char *hw_layout_outside(const struct hw_python_layout *l)
{
	enum { TYPE_BYTES_MAX = 1024, GC_HEAD_MAX = 64, OBJECT_BYTES_MAX = 256 };
	const struct {
		int32_t offset, size;
		const char *name;
	} members[] = {
		{ l->tp_name, l->type_size, "tp_name" },
		{ l->tp_basicsize, l->type_size, "tp_basicsize" },
		{ l->tp_itemsize, l->type_size, "tp_itemsize" },
		{ l->tp_flags, l->type_size, "tp_flags" },
		{ l->tp_base, l->type_size, "tp_base" },
		{ l->tp_dictoffset, l->type_size, "tp_dictoffset" },
		{ l->ob_size, OBJECT_BYTES_MAX, "ob_size" },
		// The state comes after the length: who has read the one can read the other.
		{ l->str_length, l->str_state == HW_ABSENT ? OBJECT_BYTES_MAX : l->str_state,
		  "str_length" },
	};
	if (l->type_size > TYPE_BYTES_MAX)
		return "the end of a type";
	if (l->gc_head_size < 0 || l->gc_head_size > GC_HEAD_MAX)
		return "the end of a GC head";
	if (l->str_state > OBJECT_BYTES_MAX)
		return "str_state";
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		if (!hw_is_inside(members[i].offset, members[i].size))
			return members[i].name;
	return NULL;
}

const char *hw_layout_missing(const struct hw_python_layout *layout)
{
	static const size_t needed[] = {
		offsetof(struct hw_python_layout, ob_type),
		offsetof(struct hw_python_layout, type_size),
		offsetof(struct hw_python_layout, heap_type_size),
		offsetof(struct hw_python_layout, tp_name),
		offsetof(struct hw_python_layout, tp_basicsize),
		offsetof(struct hw_python_layout, interp_size),
		offsetof(struct hw_python_layout, interp_next),
		offsetof(struct hw_python_layout, interp_threads_head),
		offsetof(struct hw_python_layout, tstate_interp),
	};
	if (!hw_header_is_known(layout))
		return "an object's header";
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (*(const int32_t *)((const char *)layout + needed[i]) != HW_ABSENT)
			continue;
		for (size_t k = 0; k < hw_layout_fact_count; k++) {
			if (hw_layout_facts[k].offset == needed[i])
				return hw_layout_facts[k].name;
		}
	}
	return hw_layout_outside(layout);
}
