/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/memory.h"

#include <sys/mman.h>

void *hw_map_zeroed(size_t bytes)
{
	if (!bytes)
		return NULL;
	void *array = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (array == MAP_FAILED)
		return NULL;
	// Advice only: without huge pages the array is slower to fill, not wrong.
	(void)madvise(array, bytes, MADV_HUGEPAGE);
	return array;
}

void hw_unmap(void *array, size_t bytes)
{
	if (array)
		munmap(array, bytes);
}
