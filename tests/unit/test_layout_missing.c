/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Debug information that lies: no offset that is used for copies of objects and types may lead out of them.
#include <stddef.h>

#include "check.h"
#include "forged_python.h"
#include "layout/python_internal.h"

static void make_layout(struct hw_python_layout *l)
{
	forged_layout(l);
	forged_layout_objects(l);
	l->heap_type_size = 920;
	l->interp_size = 4096;
	l->interp_next = 0;
	l->interp_threads_head = 8;
	l->tstate_interp = 16;
	l->str_length = 16;
	l->str_state = 32;
}

static void check_lie(size_t fact, const char *name)
{
	static const int32_t lies[] = { HW_ABSENT, 409, 1 << 20, INT32_MAX };
	for (size_t i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		struct hw_python_layout layout;
		make_layout(&layout);
		memcpy((char *)&layout + fact, &lies[i], sizeof(lies[i]));
		CHECK_TEXT(hw_layout_missing(&layout), name);
	}
}

#define LIE(fact) check_lie(offsetof(struct hw_python_layout, fact), #fact)

int main(void)
{
	struct hw_python_layout layout;
	make_layout(&layout);
	CHECK(!hw_layout_missing(&layout));
	LIE(tp_name);
	LIE(tp_basicsize);
	LIE(tp_itemsize);
	LIE(tp_flags);
	LIE(tp_base);
	LIE(tp_dictoffset);
	LIE(ob_size);
	LIE(str_length);
	check_lie(offsetof(struct hw_python_layout, gc_head_size), "the end of a GC head");
	layout.type_size = 4096;
	CHECK_TEXT(hw_layout_missing(&layout), "the end of a type");
	make_layout(&layout);
	layout.str_state = 1 << 20;
	CHECK_TEXT(hw_layout_missing(&layout), "str_state");
	layout.str_state = HW_ABSENT; // 2.7
	CHECK(!hw_layout_missing(&layout));
	return check_finish();
}
