/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Structures whose layout the test knows from its own compiler.
#ifndef SHAPES_H
#define SHAPES_H

#include <stdint.h>

struct shape_opaque; // only declared in shapes.c, defined in shapes_more.c

enum shape_state { SHAPE_GONE = -2, SHAPE_NEW, SHAPE_READY, SHAPE_BUSY = 200, SHAPE_LARGE = 70000 };

struct shape_inner {
	char first;
	uint64_t second[3][5];
};

typedef struct {
	uint16_t tag;
	union {
		struct {
			uint32_t left, right;
		};
		uint64_t both;
	};
	struct shape_inner inner;
	struct {
		unsigned int kind : 3;
		unsigned int ready : 1;
		unsigned int wide : 20;
		unsigned int next : 12; // in the next unit
	} state;
	struct shape_opaque *opaque;
	const volatile struct shape_inner *constant;
	struct shape_inner table[4];
	char flexible[];
} ShapeObject;

typedef ShapeObject ShapeAlias;

#endif
