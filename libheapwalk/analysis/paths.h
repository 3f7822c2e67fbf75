/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The shortest ways from a root to an object, by references that are counted (heap/graph.h): why it is alive.
//
// Backwards from the object, breadth first over links that are there already; where a way ends at an object
// that is held from outside of the graph, one pass over private writable memory finds the words that hold it.
#ifndef HW_ANALYSIS_PATHS_H
#define HW_ANALYSIS_PATHS_H

#include "analysis/session.h"
#include "cpython/holding.h"

enum { HW_PATHS_MAX = 1000 };

// An object on the way, and how it holds the next one: an object, or what was asked for.
struct hw_path_step {
	struct hw_row row;
	struct hw_block block;         // strings borrowed from the session
	char how[HW_HOLDING_TEXT_MAX]; // "": it is the last
};

enum hw_path_root {
	HW_PATH_MODULE,   // the first object is a module's dict
	HW_PATH_IMMORTAL, // never freed
	HW_PATH_FRAME,    // a function that runs, or its variable
	HW_PATH_OPERAND,  // what a function that runs is just at; it may be left from before
	HW_PATH_STATIC,   // a file's data
	HW_PATH_STATE,    // the interpreter's own structures
	HW_PATH_MEMORY,   // of C
	HW_PATH_STACK,
	HW_PATH_UNSEEN, // counted, but no word was found: a register, or what can't be read
};
// "module", "immortal", "frame", …
const char *hw_path_root_word(enum hw_path_root root);

struct hw_path {
	enum hw_path_root root;
	char text[HW_HOLDING_TEXT_MAX]; // what of it: "local variable 'x' of main() in thread 4711"
	hw_addr_t at;                   // the word there; 0: there is none
	uint64_t more;                  // words elsewhere that hold the first object
	uint64_t unexplained;           // references of the first object that no object holds
	HW_VEC(struct hw_path_step) steps; // from the root to what was asked for
};

struct hw_paths {
	HW_VEC(struct hw_path) list; // the shortest first
	bool is_garbage;             // no root leads to it
	uint64_t bytes_read;         // looking for what holds the first objects
};

// At most `max` ways, each from another object. HW_ERROR_NOT_FOUND: no object is at addr, or anywhere in the
// block that has it; else fails like hw_graph_build(). Memory: a bit a block of the heap, 12 bytes a block that is
// met on the way.
struct hw_error *hw_paths_find(struct hw_session *session, hw_addr_t addr, unsigned max,
			       struct hw_paths *ret) HW_MUST_USE;
void hw_paths_deinit(struct hw_paths *paths);

#endif
