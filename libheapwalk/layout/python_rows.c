/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The facts of fields.def as a table, for builds whose debug information nobody has. It is no
// proof of anything: what comes from it is proved on the target like all the rest.
#include <stdio.h>
#include <string.h>

#include "layout/python_internal.h"

// Minor version, and whether there is a GIL.
#define HW_BUILD_MINOR(build) ((build) >> 16)

static const uint32_t hw_layout_builds[] = {
#define HW_BUILD(build) build,
#define HW_ROW(name, since, value)
#include "layout/rows.def"
#undef HW_BUILD
#undef HW_ROW
};

// Values of one fact, by the build that brought them; in the order of builds.
static const struct hw_layout_row {
	size_t offset; // of the fact in struct hw_python_layout
	uint32_t since;
	int32_t value;
} hw_layout_rows[] = {
#define HW_BUILD(build)
#define HW_ROW(name, since, value) { offsetof(struct hw_python_layout, name), since, value },
#include "layout/rows.def"
#undef HW_BUILD
#undef HW_ROW
};

// How unlike a build of the table is: the other flavour first, then by point releases.
static uint32_t hw_build_distance(uint32_t build, uint32_t wanted)
{
	uint32_t a = build >> 8 & 0xff, b = wanted >> 8 & 0xff;
	return ((build ^ wanted) & HW_BUILD_DEBUG) << 16 | (a > b ? 2 * (a - b) + 1 : 2 * (b - a));
}

uint32_t hw_layout_build(uint32_t version_hex, bool is_debug, bool is_free_threaded)
{
	return (version_hex & 0x7fffff00u) | 0xf0 | (is_debug ? HW_BUILD_DEBUG : 0) |
	       (is_free_threaded ? HW_BUILD_FREE_THREADED : 0);
}

void hw_layout_format_build(uint32_t build, char *buf, size_t size)
{
	char version[32];
	hw_python_format_version(build & 0x7ffffff0u, version, sizeof(version));
	snprintf(buf, size, "CPython %s%s%s", version, build & HW_BUILD_FREE_THREADED ? "t" : "",
		 build & HW_BUILD_DEBUG ? " (debug)" : "");
}

size_t hw_layout_builds_like(uint32_t build, uint32_t ret[HW_LAYOUT_BUILDS_MAX])
{
	size_t count = 0;
	for (size_t i = 0; i < sizeof(hw_layout_builds) / sizeof(hw_layout_builds[0]); i++) {
		// Another minor version's are never guessed at, nor are those of builds with a GIL.
		if (HW_BUILD_MINOR(hw_layout_builds[i]) != HW_BUILD_MINOR(build) ||
		    count == HW_LAYOUT_BUILDS_MAX)
			continue;
		size_t at = count++;
		uint32_t distance = hw_build_distance(hw_layout_builds[i], build);
		for (; at && hw_build_distance(ret[at - 1], build) > distance; at--)
			ret[at] = ret[at - 1];
		ret[at] = hw_layout_builds[i];
	}
	return count;
}

void hw_layout_from_rows(uint32_t build, struct hw_python_layout *layout)
{
	hw_layout_init(layout);
	for (size_t i = 0; i < sizeof(hw_layout_rows) / sizeof(hw_layout_rows[0]); i++) {
		const struct hw_layout_row *row = &hw_layout_rows[i];
		if (row->since <= build)
			*(int32_t *)((char *)layout + row->offset) = row->value;
	}
	// What DWARF says of types, the sizes say too: a state that does not fit is pointed at.
	if (layout->interp_obmalloc != HW_ABSENT) {
		layout->obmalloc_is_pointer =
			layout->interp_obmalloc + layout->obmalloc_state_size > layout->interp_size;
		layout->usedpools_count = 64;
	}
	hw_layout_conclude(layout);
}

// ---- mimalloc ----

static bool hw_fact_is_mimallocs(const struct hw_layout_fact *fact)
{
	return !strncmp(fact->name, "mi_", 3);
}

static bool hw_has_same_mimalloc(struct hw_python_layout *a, struct hw_python_layout *b)
{
	for (size_t i = 0; i < hw_layout_fact_count; i++) {
		const struct hw_layout_fact *fact = &hw_layout_facts[i];
		if (hw_fact_is_mimallocs(fact) &&
		    *hw_layout_value(a, fact) != *hw_layout_value(b, fact))
			return false;
	}
	return true;
}

bool hw_python_other_mimalloc(const struct hw_python *python, size_t index,
			      struct hw_python_layout *layout)
{
	const uint32_t flavour = HW_BUILD_DEBUG | HW_BUILD_FREE_THREADED;
	uint32_t wanted = hw_layout_build(python->version_hex, python->is_debug,
					  python->is_free_threaded);
	struct hw_python_layout seen[HW_LAYOUT_BUILDS_MAX] = { python->layout };
	size_t count = 1;
	for (size_t i = 0; i < sizeof(hw_layout_builds) / sizeof(hw_layout_builds[0]); i++) {
		bool is_new = count < HW_LAYOUT_BUILDS_MAX &&
			      !((hw_layout_builds[i] ^ wanted) & flavour);
		if (!is_new)
			continue;
		hw_layout_from_rows(hw_layout_builds[i], &seen[count]);
		is_new = seen[count].mi_segment_size != HW_ABSENT;
		for (size_t k = 0; is_new && k < count; k++)
			is_new = !hw_has_same_mimalloc(&seen[k], &seen[count]);
		if (is_new && count++ == index + 1)
			break;
	}
	if (count <= index + 1)
		return false;
	for (size_t i = 0; i < hw_layout_fact_count; i++) {
		const struct hw_layout_fact *fact = &hw_layout_facts[i];
		if (hw_fact_is_mimallocs(fact))
			*hw_layout_value(layout, fact) = *hw_layout_value(&seen[index + 1], fact);
	}
	return true;
}
