/* SPDX-License-Identifier: LGPL-2.1-or-later */
// GLib's slice allocator, which GObjects come from up to GLib 2.74: slabs of malloc's, cut into chunks of
// one size.
#ifndef HW_NATIVE_GSLICE_H
#define HW_NATIVE_GSLICE_H

#include "native/gobject.h"

struct hw_gslice;

// *ret stays NULL when the process has no slice allocator, or does not use it (G_SLICE=always-malloc).
struct hw_error *hw_gslice_find(const struct hw_native *native, struct hw_gslice **ret) HW_MUST_USE;
void hw_gslice_destroy(struct hw_gslice *slices); // accepts NULL
// Is the block a thread's cache of chunks? It is kept, on any thread.
bool hw_gslice_is_thread_memory(struct hw_gslice *slices, const struct hw_native_block *block);
// Splits all slabs. `types` may be NULL: they tell where the chunks of a full slab begin.
void hw_gslice_split(struct hw_gslice *slices, const struct hw_gtypes *types,
		     struct hw_native_sink *sink);

#endif
