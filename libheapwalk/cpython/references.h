/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Which words of an object, and of the buffers that it owns, are references that it counts. What a
// weak reference points at is none, nor is what stands behind the end of a list, the hash beside a key,
// or what a collector's list leads to.
//
// How a type holds is a row of data in references.c; a type without one is an array of words, as long as
// its instances are: a word that is the address of no object is no reference. Types have the row of their
// bases, and words behind it.
// Upstream: the tp_traverse of each type, CPython 2.7, 3.6 – 3.15; Objects/, Modules/_collectionsmodule.c.
#ifndef HW_CPYTHON_REFERENCES_H
#define HW_CPYTHON_REFERENCES_H

#include "cpython/objects.h"
#include "cpython/owners.h"

enum hw_holds {
	HW_HOLDS_WORDS,
	HW_HOLDS_NOTHING,  // numbers and texts
	HW_HOLDS_BUFFERS,  // all is in its buffers: a list, a deque
	HW_HOLDS_DICT,     // the same; 2.7's small ones have their table inside
	HW_HOLDS_SET,      // small ones have their table inside
	HW_HOLDS_CALLBACK, // a weak reference
	HW_HOLDS_FRAME,
	HW_HOLDS_GENERATOR,
	HW_HOLDS_CODE,
};

// Places, `stride_bytes` apart, that may each hold a reference.
struct hw_reference_run {
	hw_addr_t first;
	uint64_t count;
	uint64_t stride_bytes;
};
typedef void hw_reference_run_fn(void *payload, const struct hw_reference_run *run);

// How the type holds. Called once, after hw_owners_bind(), before the type is seen by others.
void hw_references_bind(struct hw_type *type, const struct hw_python_layout *layout);

// An object whose first `len` bytes are at hand; `room`: from its start to the end of its block. Its type
// pointer is among the places.
struct hw_reference_owner {
	const struct hw_python_layout *layout;
	const struct hw_type *type;
	hw_addr_t address;
	const uint8_t *bytes;
	size_t len;
	uint64_t room;
};
void hw_references_visit(const struct hw_reference_owner *owner, hw_reference_run_fn *visit,
			 void *payload);

// Words [from, to) of a buffer are what its owner uses.
struct hw_reference_limit {
	hw_addr_t buffer;
	uint32_t from, to;
};
typedef bool hw_reference_limit_fn(void *payload, const struct hw_reference_limit *limit);
// The limits that an object sets to its buffers: lists, deques, split dicts up to 3.10. `visit` returns false
// when it is out of memory, as this does then. The links of deques are followed through `sink`.
static inline bool hw_references_may_limit(const struct hw_type *type)
{
	return type->holds == HW_HOLDS_BUFFERS || type->holds == HW_HOLDS_DICT;
}
bool hw_references_visit_limits(const struct hw_reference_owner *owner, struct hw_claim_sink *sink,
				hw_reference_limit_fn *visit, void *payload);
// Does a buffer of that kind need one? Without it nothing is known to be held by it.
bool hw_buffer_needs_limit(const struct hw_python_layout *layout, enum hw_claim_kind kind);

// A buffer that an object owns, from where the object's pointer leads on. Kinds that are not known to hold
// references have none here: what they hold is held from outside of the graph.
struct hw_reference_buffer {
	const struct hw_python_layout *layout;
	enum hw_claim_kind kind;
	hw_addr_t address;
	const uint8_t *bytes;
	size_t len;
	uint64_t room;
	uint32_t from, to; // its limit
};
void hw_references_visit_buffer(const struct hw_reference_buffer *buffer,
				hw_reference_run_fn *visit, void *payload);

#endif
