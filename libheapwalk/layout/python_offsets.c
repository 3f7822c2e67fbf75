/* SPDX-License-Identifier: LGPL-2.1-or-later */
// _Py_DebugOffsets, the head of _PyRuntime since 3.13: what a process says of its own structures. It tells
// whether a build of the table is this one, and where members are that moved since.
// Upstream: Include/internal/pycore_debug_offsets.h (3.13: pycore_runtime.h).
#include <string.h>

#include "base/bytes.h"
#include "layout/python_internal.h"

enum { HW_OFFSETS_STRUCT_MAX = 1 << 20 };

#define HW_FACT(name) offsetof(struct hw_python_layout, name)

static const struct hw_layout_offset {
	size_t place; // fact: where it stands in _Py_DebugOffsets
	size_t fact;  // what it says
	bool moves;   // from one point release to the next
} hw_layout_offsets[] = {
	{ HW_FACT(offsets_interpreters_head), HW_FACT(runtime_interpreters_head), true },
	{ HW_FACT(offsets_interp_size), HW_FACT(interp_size), true },
	{ HW_FACT(offsets_interp_id), HW_FACT(interp_id), true },
	{ HW_FACT(offsets_interp_next), HW_FACT(interp_next), true },
	{ HW_FACT(offsets_interp_threads), HW_FACT(interp_threads_head), true },
	{ HW_FACT(offsets_interp_modules), HW_FACT(interp_modules), true },
	{ HW_FACT(offsets_tstate_next), HW_FACT(tstate_next), true },
	{ HW_FACT(offsets_tstate_interp), HW_FACT(tstate_interp), true },
	{ HW_FACT(offsets_object_size), HW_FACT(object_size), false },
	{ HW_FACT(offsets_ob_type), HW_FACT(ob_type), false },
	{ HW_FACT(offsets_type_size), HW_FACT(type_size), false },
	{ HW_FACT(offsets_tp_name), HW_FACT(tp_name), false },
	{ HW_FACT(offsets_list_items), HW_FACT(list_ob_item), false },
	{ HW_FACT(offsets_str_length), HW_FACT(str_length), false },
};
enum { HW_LAYOUT_OFFSETS = sizeof(hw_layout_offsets) / sizeof(hw_layout_offsets[0]) };

static int32_t *hw_layout_fact_at(struct hw_python_layout *layout, size_t offset)
{
	return (int32_t *)((char *)layout + offset);
}

// What the process does not say of structures that moved is not known.
static void hw_layout_forget_moved(struct hw_python_layout *layout)
{
	for (size_t i = 0; i < hw_layout_fact_count; i++) {
		const struct hw_layout_fact *fact = &hw_layout_facts[i];
		bool is_told = false;
		if (!fact->member || (strcmp(fact->type, "_is") && strcmp(fact->type, "_ts") &&
				      strcmp(fact->type, "_PyThreadStateImpl") &&
				      strcmp(fact->type, "pyruntimestate")))
			continue;
		for (size_t k = 0; k < HW_LAYOUT_OFFSETS; k++)
			is_told |= hw_layout_offsets[k].fact == fact->offset;
		if (!is_told)
			*hw_layout_value(layout, fact) = HW_ABSENT;
	}
}

enum hw_offsets_verdict hw_layout_ask_offsets(struct hw_target *target, hw_addr_t runtime,
					      struct hw_python_layout *layout)
{
	struct hw_python_layout told = *layout;
	struct hw_debug_offsets head;
	bool has_moved = false, is_asked = false;
	if (!hw_python_debug_offsets(target, runtime, &head))
		return HW_OFFSETS_NONE;
	for (size_t i = 0; i < HW_LAYOUT_OFFSETS; i++) {
		const struct hw_layout_offset *offset = &hw_layout_offsets[i];
		int32_t place = *hw_layout_fact_at(layout, offset->place);
		int32_t *value = hw_layout_fact_at(&told, offset->fact);
		uint8_t word[8];
		if (place == HW_ABSENT || *value == HW_ABSENT)
			continue;
		if (hw_target_read_some(target, runtime + (hw_addr_t)place, word, 8) != 8 ||
		    hw_u64(word) > HW_OFFSETS_STRUCT_MAX)
			return HW_OFFSETS_CONTRADICT;
		is_asked = true;
		if (hw_u64(word) == (uint64_t)*value)
			continue;
		if (!offset->moves)
			return HW_OFFSETS_CONTRADICT;
		*value = (int32_t)hw_u64(word);
		has_moved = true;
	}
	if (!is_asked)
		return HW_OFFSETS_NONE;
	if (!has_moved)
		return HW_OFFSETS_AGREE;
	hw_layout_forget_moved(&told);
	*layout = told;
	return HW_OFFSETS_MOVED;
}
