/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Who holds it: the places in private writable memory whose word is the address of an object, or leads
// into a block that is none, then who holds these.
//
// A word is taken for a pointer by its value alone, as a conservative collector does: a number that
// happens to be the address is found as well, and a weak reference is not told from another. Words in
// free blocks are none.
#ifndef HW_ANALYSIS_REFERRERS_H
#define HW_ANALYSIS_REFERRERS_H

#include "analysis/session.h"

enum {
	HW_REFERRERS_DEPTH_MAX = 64,
	HW_REFERRERS_MAX = 1 << 20,      // pointers kept, all levels together
	HW_REFERRERS_FRONTIER = 1 << 16, // blocks whose referrers are looked for at one level
};

// What is looked for: words in [start, end), for an object only its own address.
struct hw_referred {
	hw_addr_t start, end;
	hw_addr_t block;  // start of the row it is in; the address itself where there is none
	bool has_object;  // at start
	int64_t refcount; // of the object, -1: immortal, or not known
};

struct hw_referrer {
	unsigned level;        // 1: holds what was asked for; 2: holds one of those
	hw_addr_t at;          // where the pointer is
	hw_addr_t target;      // what it is
	hw_addr_t referred;    // start of the block that the target is in
	struct hw_row row;     // what the pointer is in
	struct hw_block block; // the same for reports; strings borrowed from the session
};

struct hw_referrers {
	struct hw_referred referred; // what was asked for
	struct hw_row row;           // its row
	struct hw_block block;
	bool has_row;
	HW_VEC(struct hw_referrer) list; // by level, then by address
	uint64_t bytes_read;             // in one pass
	bool is_cut; // there are more than HW_REFERRERS_MAX, or a level than HW_REFERRERS_FRONTIER
};

// Looks through all private writable memory once a level, up to `depth` levels, on the session's threads.
// A block's referrers are looked for once, at the level where it is met first. Builds the table when
// there is none. HW_ERROR_NOT_FOUND: no mapping contains addr. Interrupted: fails.
struct hw_error *hw_referrers_find(struct hw_session *session, hw_addr_t addr, unsigned depth,
				   struct hw_referrers *ret) HW_MUST_USE;
void hw_referrers_deinit(struct hw_referrers *referrers);

#endif
