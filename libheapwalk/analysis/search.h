/* SPDX-License-Identifier: LGPL-2.1-or-later */
// One pass over all private writable memory for words that lead to any of many blocks, on the session's
// threads. The target is stopped meanwhile.
#ifndef HW_ANALYSIS_SEARCH_H
#define HW_ANALYSIS_SEARCH_H

#include "analysis/referrers.h"
#include "base/parallel.h"

enum { HW_PAGE_BITS = 1 << 16 };

// A word of the target that leads to something looked for.
struct hw_found {
	hw_addr_t at, target;
};

struct hw_search_piece {
	hw_addr_t start, end;
};

struct hw_search {
	struct hw_session *session;
	const struct hw_referred *referred; // sorted, disjoint
	size_t count;
	hw_addr_t low, high;               // of them all
	uint64_t pages[HW_PAGE_BITS / 64]; // hashed: a page without its bit has none of them
	HW_VEC(struct hw_search_piece) pieces;
	atomic_size_t next;
	HW_VEC(struct hw_found) found[HW_PARALLEL_MAX]; // one a thread
	atomic_size_t found_count;
	atomic_bool is_cut, is_out_of_memory;
};

// What to look for is set before each pass: `referred` (sorted, disjoint) and `count`, at least 1.
void hw_search_deinit(struct hw_search *search);
// Private writable memory in pieces, once for all passes; its bytes. False: out of memory.
bool hw_search_cut_pieces(struct hw_search *search, uint64_t *ret_bytes) HW_MUST_USE;
struct hw_error *hw_search_pass(struct hw_search *search, uint64_t bytes) HW_MUST_USE;
// What all threads found, in address order, in found[0]; at most HW_REFERRERS_MAX, is_cut: there were more.
struct hw_error *hw_search_gather(struct hw_search *search) HW_MUST_USE;
// What the word leads to, or NULL.
const struct hw_referred *hw_search_at(const struct hw_search *search, hw_addr_t word);

#endif
