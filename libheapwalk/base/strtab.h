/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Interned strings: equal text, equal id; id 0 is "". Pointers stay valid until deinit.
#ifndef HW_BASE_STRTAB_H
#define HW_BASE_STRTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/vector.h"

struct hw_strtab {
	HW_VEC(char *) strings;
	uint32_t *slots; // ids, open addressing; 0 = empty
	size_t slot_count;
};

void hw_strtab_init(struct hw_strtab *tab);
void hw_strtab_deinit(struct hw_strtab *tab);
// UINT32_MAX when out of memory. Not thread-safe: the caller locks.
uint32_t hw_strtab_intern(struct hw_strtab *tab, const char *text, size_t len);
const char *hw_strtab_get(const struct hw_strtab *tab, uint32_t id);

#endif
