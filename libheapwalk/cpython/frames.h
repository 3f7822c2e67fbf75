/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The functions that each thread runs, innermost first, and what their local variables are called.
// Upstream: Include/frameobject.h (up to 3.10), Include/internal/pycore_frame.h, Include/cpython/pystate.h.
#ifndef HW_CPYTHON_FRAMES_H
#define HW_CPYTHON_FRAMES_H

#include "cpython/types.h"

struct hw_frame {
	hw_addr_t address; // of the frame object, or of the _PyInterpreterFrame
	hw_addr_t code;    // 0: none of Python's
	hw_addr_t locals;  // where its variables begin, a word each; behind them its stack
	uint64_t thread;   // as pthread_self() says in it
};

// Return false to stop. At most 65536 threads of an interpreter and 65536 frames of a thread are looked at.
typedef bool hw_frame_fn(void *payload, const struct hw_frame *frame);
void hw_frames_visit(struct hw_type_cache *cache, hw_frame_fn *visit, void *payload);

// What code calls the variable with that index among its frames' words; false: it is none, or can't be read.
bool hw_code_local_name(struct hw_type_cache *cache, hw_addr_t code, uint64_t index, char *buf,
			size_t size);
// The function's name; "?" when it can't be read.
void hw_code_name(struct hw_type_cache *cache, hw_addr_t code, char *buf, size_t size);

#endif
