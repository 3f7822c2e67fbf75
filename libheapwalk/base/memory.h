/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Large zeroed arrays: mapped by themselves, on huge pages where the kernel has them, so that filling
// one costs a page fault each 2 MiB and freeing it gives it back.
#ifndef HW_BASE_MEMORY_H
#define HW_BASE_MEMORY_H

#include <stddef.h>

// NULL when out of memory. 0 bytes: NULL as well.
void *hw_map_zeroed(size_t bytes);
// For a malloc'ed array that will be filled: huge pages for as much of it as they fit into. Small
// arrays are left alone.
void hw_advise_huge(void *array, size_t bytes);
void hw_unmap(void *array, size_t bytes); // accepts NULL

#endif
