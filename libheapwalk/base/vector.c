/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/vector.h"

#include <stdint.h>

bool hw_vec_grow(void **data, size_t *capacity, size_t want, size_t item_size)
{
	size_t next = *capacity ? *capacity + *capacity / 2 : 16;
	if (next < want)
		next = want;
	if (next > SIZE_MAX / item_size)
		return false;
	void *grown = realloc(*data, next * item_size);
	if (!grown)
		return false;
	*data = grown;
	*capacity = next;
	return true;
}
