/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A copy of a live process's private writable memory, so that it need not stand still for longer than
// copying takes. Room is made, and touched, while it still runs; what is copied are the pages that are there.
#ifndef HW_TARGET_LIVE_COPY_H
#define HW_TARGET_LIVE_COPY_H

#include "target/target.h"

struct hw_copy;

// As hw_reader_ops.read_some, of the process itself.
typedef size_t hw_copy_read_fn(struct hw_target *target, hw_addr_t addr, void *buf, size_t len);

// Before the stop, out of the mappings known until then; *ret is owned. `pagemap_fd` may be -1: all pages
// count as there. HW_ERROR_NO_MEMORY when the copy would take more than half of what is available.
struct hw_error *hw_copy_prepare(const struct hw_target *target, int pagemap_fd,
				 struct hw_copy **ret) HW_MUST_USE;
// While it is stopped, after its mappings were read again.
struct hw_error *hw_copy_take(struct hw_copy *copy, struct hw_target *target, int pagemap_fd,
			      hw_copy_read_fn *read) HW_MUST_USE;
void hw_copy_free(struct hw_copy *copy); // accepts NULL

// The bytes from addr on, and how many; NULL: not of the copy.
const uint8_t *hw_copy_at(const struct hw_copy *copy, hw_addr_t addr, size_t *ret_len);

#endif
