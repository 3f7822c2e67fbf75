/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Python's literals, written into a buffer that has an end.
#ifndef HW_CPYTHON_VALUE_TEXT_H
#define HW_CPYTHON_VALUE_TEXT_H

#include "heapwalk.h"

struct hw_value_text {
	char *buf;
	size_t size, used; // room for HW_TEXT_MORE and the NUL is kept free
	bool is_full;      // nothing more is taken: hw_text_end() says so with "…"
	bool is_exact;
};

// Whole or not at all: then the text is full, and no longer exact.
void hw_text_put(struct hw_value_text *text, const char *more);
void hw_text_printf(struct hw_value_text *text, const char *fmt, ...) HW_PRINTF(2, 3);
// A name out of the target: bytes that are not printable ASCII as \xNN.
void hw_text_put_clean(struct hw_value_text *text, const char *name);
void hw_text_end(struct hw_value_text *text);

// How a double is printed: as a float's repr, "1.0"; as a complex's first part, "1", and second, "+1".
enum hw_double { HW_DOUBLE_FLOAT, HW_DOUBLE_PART, HW_DOUBLE_SIGNED };
// The shortest digits that are this number and no other, whatever the locale.
void hw_text_put_double(struct hw_value_text *text, double number, enum hw_double how);

// How characters are escaped: bytes as \xNN from 0x7f on; 2.7's unicode as \xNN, \uNNNN, \UNNNNNNNN; str
// likewise, but for characters that are known to be printable.
enum hw_quote { HW_QUOTE_BYTES, HW_QUOTE_UNICODE, HW_QUOTE_STR };
// `is_cut`: there are more of them, which "…" behind the closing quote says.
void hw_text_put_quoted(struct hw_value_text *text, const uint32_t *units, size_t count,
			enum hw_quote quote, bool is_cut);

#endif
