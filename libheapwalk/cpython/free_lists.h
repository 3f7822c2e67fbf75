/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Objects that CPython keeps for reuse instead of freeing them: how many of which type.
// Upstream: the _Py…_DebugMallocStats() functions that _PyObject_DebugTypeStats() (Objects/object.c) calls,
// CPython 3.6 - 3.15.
#ifndef HW_CPYTHON_FREE_LISTS_H
#define HW_CPYTHON_FREE_LISTS_H

#include "base/vector.h"
#include "layout/python.h"

// One line of _PyObject_DebugTypeStats(), in its order.
struct hw_free_list {
	const char *type;      // "PyTupleObject"; borrowed for ever
	uint32_t length;       // of a tuple; 0: the type has no such thing
	int32_t count;         // as the interpreter has it: negative once it was cleared for good
	uint64_t object_bytes; // sizeof, as sys._debugmallocstats() says, without a GC head
	uint64_t block_bytes;  // what the allocator was asked for at least, with the GC head
};

struct hw_free_lists {
	HW_VEC(struct hw_free_list) list;
	bool is_known; // false: nothing tells where the counters are
};

// The free lists of one interpreter (0: there is none, which is enough up to 3.9). `ret` is owned:
// hw_free_lists_deinit(), also after an error. A counter that can't be read is an error.
struct hw_error *hw_free_lists_read(struct hw_target *target, const struct hw_python *python,
				    hw_addr_t interpreter, struct hw_free_lists *ret) HW_MUST_USE;
void hw_free_lists_deinit(struct hw_free_lists *lists);

// Asks the debug information what hw_free_lists_read() will need; reads nothing of the target.
void hw_free_lists_prepare(const struct hw_python *python);

#endif
