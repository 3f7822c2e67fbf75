/* SPDX-License-Identifier: LGPL-2.1-or-later */
// C strings in blocks that nobody else explains.
#ifndef HW_NATIVE_STRINGS_H
#define HW_NATIVE_STRINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Do the block's first bytes read as text: at least three printable characters of ASCII or UTF-8, then a
// NUL inside the block? *ret_len is the text's length without the NUL.
bool hw_is_c_string(const uint8_t *bytes, size_t len, size_t *ret_len);

#endif
