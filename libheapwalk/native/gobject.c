/* SPDX-License-Identifier: LGPL-2.1-or-later */
// GObject: instances by the type that their class says it is of (gobject/gtype.c, g_type_create_instance).
// An instance's private data stands before it in the same block, and the block is as large as both: which
// types there are, and these sizes, gobject_types.c has from GLib's own table. Up to GLib 2.74 instances are
// slices: gslice.c.
#include <stdlib.h>

#include "base/bytes.h"
#include "native/classifiers.h"
#include "native/gslice.h"

// What malloc gives more than it was asked for: up to 15 bytes, and what is too small for a chunk.
enum { MALLOC_SLACK = 32 };

struct hw_gobject {
	struct hw_gtypes *types;  // NULL: no GObject, or not understood
	struct hw_gslice *slices; // NULL: none
};

static void hw_gobject_close(void *state)
{
	struct hw_gobject *gobject = state;
	hw_gtypes_destroy(gobject->types);
	hw_gslice_destroy(gobject->slices);
	free(gobject);
}

static struct hw_error *hw_gobject_open(const struct hw_native *native, void **ret)
{
	struct hw_gobject *gobject = calloc(1, sizeof(*gobject));
	if (!gobject)
		return &hw_enomem;
	struct hw_error *err = hw_gtypes_find(native, &gobject->types);
	if (!err)
		err = hw_gslice_find(native, &gobject->slices);
	if (!err && (gobject->types || gobject->slices))
		*ret = gobject;
	else
		hw_gobject_close(gobject);
	return err;
}

static void hw_gobject_roots(void *state, struct hw_native_sink *sink)
{
	const struct hw_gtypes *types = ((struct hw_gobject *)state)->types;
	if (!types)
		return;
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

const struct hw_gtype *hw_gtypes_match(const struct hw_gtypes *types, const uint8_t *bytes,
				       size_t len, uint64_t capacity)
{
	if (!types->types.count)
		return NULL;
	hw_addr_t first = types->types.data[0].class_start;
	hw_addr_t last = types->types.data[types->types.count - 1].class_start;
	hw_vec_foreach(head, &types->heads)
	{
		if ((size_t)*head + 8 > len)
			break;
		hw_addr_t class_start = hw_u64(bytes + *head);
		if (class_start < first || class_start > last)
			continue;
		const struct hw_gtype *type = hw_gtypes_at(types, class_start);
		uint64_t needs = *head + (type ? (uint64_t)type->instance_bytes : 0);
		if (type && type->private_bytes == *head && needs <= capacity &&
		    capacity - needs < MALLOC_SLACK)
			return type;
	}
	return NULL;
}

static bool hw_gobject_classify(void *state, struct hw_native_sink *sink,
				const struct hw_native_block *block, struct hw_native_kind *ret)
{
	struct hw_gobject *gobject = state;
	const struct hw_gtype *type = gobject->types ? hw_gtypes_match(gobject->types, block->bytes,
								       block->len, block->capacity)
						     : NULL;
	(void)sink;
	if (type)
		*ret = (struct hw_native_kind){ "GType", type->name, "" };
	else if (gobject->slices && hw_gslice_is_thread_memory(gobject->slices, block))
		*ret = (struct hw_native_kind){ "GLib", "GSlice", "thread" };
	else
		return false;
	return true;
}

static void hw_gobject_finish(void *state, struct hw_native_sink *sink)
{
	struct hw_gobject *gobject = state;
	if (gobject->slices)
		hw_gslice_split(gobject->slices, gobject->types, sink);
}

const struct hw_classifier hw_gobject_classifier = {
	.name = "GObject",
	.open = hw_gobject_open,
	.close = hw_gobject_close,
	.roots = hw_gobject_roots,
	.classify = hw_gobject_classify,
	.finish = hw_gobject_finish,
};
