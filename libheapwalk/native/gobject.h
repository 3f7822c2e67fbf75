/* SPDX-License-Identifier: LGPL-2.1-or-later */
// GObject's types, as gobject.c and its finder gobject_types.c share them.
#ifndef HW_NATIVE_GOBJECT_H
#define HW_NATIVE_GOBJECT_H

#include "native/classifier.h"

// A type whose class exists: it may have instances.
struct hw_gtype {
	hw_addr_t class_start;
	hw_addr_t node; // struct _TypeNode
	hw_addr_t data; // union _TypeData
	const char *name;
	// Bytes of an instance, and of the private data that stands before it in its block.
	uint32_t instance_bytes, private_bytes;
};

struct hw_gtypes {
	struct hw_native native;
	struct hw_pages pages;
	HW_VEC(struct hw_gtype) types; // sorted by class_start
	HW_VEC(uint32_t) heads;        // the private_bytes that occur, ascending
	struct hw_strtab names;
	// Where facts were found: of struct _TypeNode, and the table of all quarks' texts.
	uint32_t qname_at, supers_at;
	hw_addr_t quarks;
};

// *ret stays NULL when the process has no GObject. Types that can't be proved are an issue.
struct hw_error *hw_gtypes_find(const struct hw_native *native, struct hw_gtypes **ret) HW_MUST_USE;
void hw_gtypes_destroy(struct hw_gtypes *types); // accepts NULL
// The type whose class is at `addr`, or NULL.
const struct hw_gtype *hw_gtypes_at(const struct hw_gtypes *types, hw_addr_t addr);
// The type of the instance in a block whose first bytes are these; NULL: there is none.
const struct hw_gtype *hw_gtypes_match(const struct hw_gtypes *types, const uint8_t *bytes,
				       size_t len, uint64_t capacity);

#endif
