/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The facts of fields.def as a table, for release builds whose debug information nobody has. It is no
// proof of anything: what comes from it is proved on the target like all the rest.
#include "layout/python_internal.h"

// Values of one fact, by the minor version that brought them; in the order of versions.
static const struct hw_layout_row {
	size_t offset; // of the fact in struct hw_python_layout
	uint32_t since;
	int32_t value;
} hw_layout_rows[] = {
#define HW_ROW(name, since, value) { offsetof(struct hw_python_layout, name), since, value },
#include "layout/rows.def"
#undef HW_ROW
};

// The minor versions that rows.def was made from: no other is guessed at.
static bool hw_rows_know(uint32_t minor)
{
	return minor == 0x0207 || (minor >= 0x0306 && minor <= 0x030d);
}

bool hw_layout_from_rows(uint32_t version_hex, struct hw_python_layout *layout)
{
	uint32_t minor = version_hex >> 16;
	hw_layout_init(layout);
	if (!hw_rows_know(minor))
		return false;
	for (size_t i = 0; i < sizeof(hw_layout_rows) / sizeof(hw_layout_rows[0]); i++) {
		const struct hw_layout_row *row = &hw_layout_rows[i];
		if (row->since <= minor)
			*(int32_t *)((char *)layout + row->offset) = row->value;
	}
	// What DWARF says of types, the sizes say too: a state that does not fit is pointed at.
	if (layout->interp_obmalloc != HW_ABSENT) {
		layout->obmalloc_is_pointer =
			layout->interp_obmalloc + layout->obmalloc_state_size > layout->interp_size;
		layout->usedpools_count = 64;
	}
	return true;
}
