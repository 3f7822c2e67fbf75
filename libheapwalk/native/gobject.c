/* SPDX-License-Identifier: LGPL-2.1-or-later */
// GObject: instances by the type that their class says it is of (gobject/gtype.c, g_type_create_instance).
// An instance's private data stands before it in the same block, and the block is as large as both: which
// types there are, and these sizes, gobject_types.c has from GLib's own table.
#include "base/bytes.h"
#include "native/classifiers.h"
#include "native/gobject.h"

// What malloc gives more than it was asked for: up to 15 bytes, and what is too small for a chunk.
enum { MALLOC_SLACK = 32 };

static struct hw_error *hw_gobject_open(const struct hw_native *native, void **ret)
{
	struct hw_gtypes *types = NULL;
	HW_TRY(hw_gtypes_find(native, &types));
	*ret = types;
	return NULL;
}

static void hw_gobject_close(void *state)
{
	hw_gtypes_destroy(state);
}

static void hw_gobject_roots(void *state, struct hw_native_sink *sink)
{
	struct hw_gtypes *types = state;
	hw_vec_foreach(type, &types->types)
	{
		sink->claim(sink, type->class_start,
			    &(struct hw_native_kind){ "GType", "GTypeClass", type->name });
		sink->claim(sink, type->node,
			    &(struct hw_native_kind){ "GType", "TypeNode", type->name });
		sink->claim(sink, type->data,
			    &(struct hw_native_kind){ "GType", "TypeData", type->name });
	}
	sink->claim(sink, types->quarks, &(struct hw_native_kind){ "GType", "GQuark table", "" });
}

static bool hw_gobject_classify(void *state, struct hw_native_sink *sink,
				const struct hw_native_block *block, struct hw_native_kind *ret)
{
	const struct hw_gtypes *types = state;
	(void)sink;
	if (!types->types.count)
		return false;
	hw_addr_t first = types->types.data[0].class_start;
	hw_addr_t last = types->types.data[types->types.count - 1].class_start;
	hw_vec_foreach(head, &types->heads)
	{
		if ((size_t)*head + 8 > block->len)
			break;
		hw_addr_t class_start = hw_u64(block->bytes + *head);
		if (class_start < first || class_start > last)
			continue;
		const struct hw_gtype *type = hw_gtypes_at(types, class_start);
		uint64_t bytes = *head + (type ? (uint64_t)type->instance_bytes : 0);
		if (!type || type->private_bytes != *head || bytes > block->capacity ||
		    block->capacity - bytes >= MALLOC_SLACK)
			continue;
		*ret = (struct hw_native_kind){ "GType", type->name, "" };
		return true;
	}
	return false;
}

const struct hw_classifier hw_gobject_classifier = {
	.name = "GObject",
	.open = hw_gobject_open,
	.close = hw_gobject_close,
	.roots = hw_gobject_roots,
	.classify = hw_gobject_classify,
};
