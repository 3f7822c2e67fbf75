/* SPDX-License-Identifier: LGPL-2.1-or-later */
// C++ objects: a block that starts with a pointer into a class's vtable.
#include "base/bytes.h"
#include "native/classifiers.h"
#include "native/cxx_vtable.h"

static struct hw_error *hw_cxx_open(const struct hw_native *native, void **ret)
{
	struct hw_vtables *vtables;
	HW_TRY(hw_vtables_create(native->target, native->modules, &vtables));
	*ret = vtables;
	return NULL;
}

static void hw_cxx_close(void *state)
{
	hw_vtables_destroy(state);
}

static bool hw_cxx_classify(void *state, struct hw_native_sink *sink,
			    const struct hw_native_block *block, struct hw_native_kind *ret)
{
	const char *name;
	(void)sink;
	if (block->len < 8 || !hw_vtable_class(state, hw_u64(block->bytes), &name))
		return false;
	*ret = (struct hw_native_kind){ "C++", name, "" };
	return true;
}

const struct hw_classifier hw_cxx_classifier = {
	.name = "C++",
	.open = hw_cxx_open,
	.close = hw_cxx_close,
	.classify = hw_cxx_classify,
};
