/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What a walk reads of a target, so that the same can be taken in one go while the target stands still, and be
// walked when it runs again. Four steps, on the target's own reader table:
//
//	record   every read is remembered, and answered by the source as ever: of a process that runs;
//	seal     what was remembered is sorted, merged, and room made for it;
//	fill     the bytes are taken: all that a stopped process has to wait for. Once before, of one that
//	         runs, and what the kernel and we need for it is in the caches;
//	replay   reads are answered from these bytes, the source is not asked. One for a byte that is not
//	         there is a miss: the walk went another way than the recorded one, and is worth nothing.
//
// A read that ended at a hole does so again in replay, and fill proves that the hole is still one.
#ifndef HW_TARGET_READ_SET_H
#define HW_TARGET_READ_SET_H

#include "target/target.h"

enum {
	HW_READ_SET_SPANS_MAX = 1 << 21,  // recorded; more are not remembered: seal fails
	HW_READ_SET_BYTES_MAX = 64 << 20, // merged
	HW_READ_SET_HOLES_MAX = 64,
};

struct hw_read_set;

// *ret is owned; the target is borrowed and must outlive it.
struct hw_error *hw_read_set_create(struct hw_target *target, struct hw_read_set **ret) HW_MUST_USE;
// Accepts NULL. The target has its own reader table again.
void hw_read_set_destroy(struct hw_read_set *set);

// Between begin and end the target's reads are recorded or replayed, on any thread. Never nested.
void hw_read_set_begin_record(struct hw_read_set *set);
void hw_read_set_begin_replay(struct hw_read_set *set);
void hw_read_set_end(struct hw_read_set *set);

// False: too much was recorded, or there is no memory. Threads that help with fill wait from here on.
bool hw_read_set_seal(struct hw_read_set *set) HW_MUST_USE;
// After seal, as often as wanted. False: the target is not what it was when it was recorded.
bool hw_read_set_fill(struct hw_read_set *set) HW_MUST_USE;
// The last replay asked for a byte that was not recorded.
bool hw_read_set_has_missed(const struct hw_read_set *set);

// After seal: the pieces that fill takes, sorted and disjoint. Borrowed.
const struct hw_span *hw_read_set_spans(const struct hw_read_set *set, size_t *ret_count);

#endif
