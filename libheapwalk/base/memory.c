/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/memory.h"

#include <stdint.h>
#include <sys/mman.h>

enum { HW_HUGE_BYTES = 2 << 20 };

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

void hw_advise_huge(void *array, size_t bytes)
{
	uintptr_t start = (uintptr_t)array, end = start + bytes;
	start = (start + HW_HUGE_BYTES - 1) & ~(uintptr_t)(HW_HUGE_BYTES - 1);
	end &= ~(uintptr_t)(HW_HUGE_BYTES - 1);
	if (start < end)
		(void)madvise((void *)start, end - start, MADV_HUGEPAGE);
}

void hw_unmap(void *array, size_t bytes)
{
	if (array)
		munmap(array, bytes);
}
