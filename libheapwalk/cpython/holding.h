/* SPDX-License-Identifier: LGPL-2.1-or-later */
// How an object holds another one, in words: "attribute 'cache'", "value of key 'x'", "item 17".
#ifndef HW_CPYTHON_HOLDING_H
#define HW_CPYTHON_HOLDING_H

#include "cpython/types.h"

enum { HW_HOLDING_TEXT_MAX = 256 };

// What of an owner its category says: `detail` of a dict is "module NAME" or "TYPE.__dict__".
// Writes a line of at most HW_HOLDING_TEXT_MAX bytes, "" when no place of it holds `held`. Looks at most at
// 2^20 items of a container.
void hw_holding_text(struct hw_type_cache *cache, hw_addr_t owner, const char *detail,
		     hw_addr_t held, char *buf);

#endif
