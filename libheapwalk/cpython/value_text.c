/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/value_text.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HW_TEXT_MORE "…"

void hw_text_put(struct hw_value_text *text, const char *more)
{
	size_t len = strlen(more);
	if (text->is_full)
		return;
	if (len >= text->size - text->used - sizeof(HW_TEXT_MORE)) {
		text->is_full = true;
		text->is_exact = false;
		return;
	}
	memcpy(text->buf + text->used, more, len + 1);
	text->used += len;
}

void hw_text_printf(struct hw_value_text *text, const char *fmt, ...)
{
	char more[320];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(more, sizeof(more), fmt, ap);
	va_end(ap);
	hw_text_put(text, more);
}

void hw_text_put_clean(struct hw_value_text *text, const char *name)
{
	for (const unsigned char *s = (const unsigned char *)name; *s; s++) {
		if (*s >= 0x20 && *s < 0x7f)
			hw_text_printf(text, "%c", *s);
		else
			hw_text_printf(text, "\\x%02x", *s);
	}
}

void hw_text_end(struct hw_value_text *text)
{
	if (text->is_full)
		memcpy(text->buf + text->used, HW_TEXT_MORE, sizeof(HW_TEXT_MORE));
}

// ---- numbers ----

// Digits without a point, and where the point is: 0.0012 is "12" and -2. The locale's point may be of
// several bytes: whatever is no digit before the "e" is passed over.
static void hw_double_digits(double number, char *ret_digits, int *ret_point)
{
	char buf[64];
	for (int precision = 0; precision <= 16; precision++) {
		snprintf(buf, sizeof(buf), "%.*e", precision, number);
		if (strtod(buf, NULL) == number)
			break;
	}
	char *to = ret_digits;
	const char *from = buf;
	for (; *from && *from != 'e'; from++)
		if (*from >= '0' && *from <= '9')
			*to++ = *from;
	while (to > ret_digits + 1 && to[-1] == '0')
		to--;
	*to = 0;
	*ret_point = (*from == 'e' ? atoi(from + 1) : 0) + 1;
}

// Upstream: format_float_short() with 'r', Python/pystrtod.c: an exponent below -4 or above 16.
void hw_text_put_double(struct hw_value_text *text, double number, enum hw_double how)
{
	bool is_negative = signbit(number);
	hw_text_put(text, isnan(number)             ? how == HW_DOUBLE_SIGNED ? "+" : ""
			  : is_negative             ? "-"
			  : how == HW_DOUBLE_SIGNED ? "+"
						    : "");
	if (!isfinite(number)) {
		hw_text_put(text, isnan(number) ? "nan" : "inf");
		return;
	}
	char digits[32];
	int point;
	hw_double_digits(fabs(number), digits, &point);
	int count = (int)strlen(digits);
	if (number == 0)
		point = 1;
	if (point <= -4 || point > 16) {
		hw_text_printf(text, "%c%s%s", digits[0], count > 1 ? "." : "", digits + 1);
		hw_text_printf(text, "e%c%02d", point > 0 ? '+' : '-', abs(point - 1));
	} else if (point <= 0) {
		hw_text_printf(text, "0.%.*s%s", -point, "0000", digits);
	} else if (point < count) {
		hw_text_printf(text, "%.*s.%s", point, digits, digits + point);
	} else {
		hw_text_printf(text, "%s%.*s%s", digits, point - count, "0000000000000000",
			       how == HW_DOUBLE_FLOAT ? ".0" : "");
	}
}

// ---- characters ----

// Ranges whose characters all are printable for every supported version's str.isprintable(); most text
// is in them. Unicode 9.0 (3.6) has assigned them, and never takes back.
static const struct {
	uint32_t first, last;
} hw_printable[] = {
	{ 0x20, 0x7e },       { 0xa1, 0xac },     { 0xae, 0x377 },    { 0x400, 0x52f },
	{ 0x5d0, 0x5ea },     { 0x621, 0x655 },   { 0x905, 0x939 },   { 0xe01, 0xe3a },
	{ 0x10d0, 0x10ff },   { 0x1e00, 0x1f15 }, { 0x2010, 0x2027 }, { 0x2030, 0x205e },
	{ 0x20a0, 0x20be },   { 0x2190, 0x23fa }, { 0x2500, 0x2775 }, { 0x3041, 0x3096 },
	{ 0x3099, 0x30ff },   { 0x4e00, 0x9fa5 }, { 0xac00, 0xd7a3 }, { 0xff01, 0xff5e },
	{ 0x1f300, 0x1f64f },
};

static bool hw_is_printable(uint32_t c)
{
	for (size_t i = 0; i < sizeof(hw_printable) / sizeof(hw_printable[0]); i++)
		if (c >= hw_printable[i].first && c <= hw_printable[i].last)
			return true;
	return false;
}

// Characters that Python escapes for certain: controls, separators, surrogates, private ones, beyond all.
static bool hw_is_never_printable(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0xa0) || c == 0xad || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202f) || (c >= 0x2000 && c <= 0x200a) ||
	       (c >= 0xd800 && c <= 0xf8ff) || c == 0xfeff || c == 0xffff || c == 0xfffe ||
	       c >= 0xf0000;
}

static void hw_put_utf8(struct hw_value_text *text, uint32_t c)
{
	if (c < 0x80)
		hw_text_printf(text, "%c", (int)c);
	else if (c < 0x800)
		hw_text_printf(text, "%c%c", (int)(0xc0 | c >> 6), (int)(0x80 | (c & 0x3f)));
	else if (c < 0x10000)
		hw_text_printf(text, "%c%c%c", (int)(0xe0 | c >> 12), (int)(0x80 | (c >> 6 & 0x3f)),
			       (int)(0x80 | (c & 0x3f)));
	else
		hw_text_printf(text, "%c%c%c%c", (int)(0xf0 | c >> 18),
			       (int)(0x80 | (c >> 12 & 0x3f)), (int)(0x80 | (c >> 6 & 0x3f)),
			       (int)(0x80 | (c & 0x3f)));
}

static void hw_put_character(struct hw_value_text *text, uint32_t c, char mark, enum hw_quote quote)
{
	bool is_shown = c < 0x7f || quote == HW_QUOTE_STR;
	if (c == (unsigned char)mark || c == '\\')
		hw_text_printf(text, "\\%c", (int)c);
	else if (c == '\t' || c == '\n' || c == '\r')
		hw_text_put(text, c == '\t' ? "\\t" : c == '\n' ? "\\n" : "\\r");
	else if (is_shown && hw_is_printable(c))
		hw_put_utf8(text, c);
	else {
		// Unassigned in one version, printable in the next: escaped here in any case.
		text->is_exact &= quote != HW_QUOTE_STR || hw_is_never_printable(c);
		hw_text_printf(text,
			       c < 0x100     ? "\\x%02" PRIx32
			       : c < 0x10000 ? "\\u%04" PRIx32
					     : "\\U%08" PRIx32,
			       c);
	}
}

void hw_text_put_quoted(struct hw_value_text *text, const uint32_t *units, size_t count,
			enum hw_quote quote, bool is_cut)
{
	bool has_single = false, has_double = false;
	for (size_t i = 0; i < count; i++) {
		has_single |= units[i] == '\'';
		has_double |= units[i] == '"';
	}
	char mark = has_single && !has_double ? '"' : '\'';
	hw_text_printf(text, "%c", mark);
	for (size_t i = 0; i < count && !text->is_full; i++)
		hw_put_character(text, units[i], mark, quote);
	hw_text_printf(text, "%c%s", mark, is_cut ? HW_TEXT_MORE : "");
	text->is_exact &= !is_cut;
}
