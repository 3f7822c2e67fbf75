/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <strings.h>

#include "analysis/query.h"

static const char *const hw_attribute_names[HW_ATTRIBUTE_COUNT] = {
	[HW_ATTRIBUTE_NONE] = "",       [HW_ATTRIBUTE_DOMAIN] = "domain",
	[HW_ATTRIBUTE_KIND] = "kind",   [HW_ATTRIBUTE_DETAIL] = "detail",
	[HW_ATTRIBUTE_STATE] = "state", [HW_ATTRIBUTE_ALLOCATOR] = "allocator",
	[HW_ATTRIBUTE_ADDR] = "addr",   [HW_ATTRIBUTE_START] = "start",
	[HW_ATTRIBUTE_END] = "end",     [HW_ATTRIBUTE_SIZE] = "size",
};

static const struct {
	const char *word;
	enum hw_token_kind kind;
} hw_keywords[] = {
	{ "and", HW_TOKEN_AND },     { "or", HW_TOKEN_OR },       { "not", HW_TOKEN_NOT },
	{ "order", HW_TOKEN_ORDER }, { "by", HW_TOKEN_BY },       { "asc", HW_TOKEN_ASC },
	{ "desc", HW_TOKEN_DESC },   { "limit", HW_TOKEN_LIMIT },
};

// Longer ones first: "<=" before "<".
static const struct {
	const char *text;
	enum hw_compare op;
} hw_operators[] = {
	{ "<=", HW_COMPARE_LE }, { ">=", HW_COMPARE_GE },       { "==", HW_COMPARE_EQ },
	{ "!=", HW_COMPARE_NE }, { "!~", HW_COMPARE_NO_MATCH }, { "<", HW_COMPARE_LT },
	{ ">", HW_COMPARE_GT },  { "=", HW_COMPARE_EQ },        { "~", HW_COMPARE_MATCH },
};

#define HW_COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *hw_attribute_name(enum hw_attribute attribute)
{
	return hw_attribute_names[attribute];
}

bool hw_attribute_is_text(enum hw_attribute attribute)
{
	return attribute >= HW_ATTRIBUTE_DOMAIN && attribute <= HW_ATTRIBUTE_ALLOCATOR;
}

enum hw_attribute hw_attribute_find(const char *name, size_t len)
{
	for (int i = HW_ATTRIBUTE_NONE + 1; i < HW_ATTRIBUTE_COUNT; i++) {
		if (strlen(hw_attribute_names[i]) == len &&
		    !memcmp(hw_attribute_names[i], name, len))
			return (enum hw_attribute)i;
	}
	return HW_ATTRIBUTE_NONE;
}

// Not isalpha(): the answer must not depend on the locale.
static bool hw_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool hw_is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool hw_is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hw_digit_value(char c, int base)
{
	if (hw_is_digit(c))
		return c - '0';
	if (base == 16 && c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (base == 16 && c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static struct hw_token hw_lex_number(const char *text, size_t at)
{
	const char *p = text + at;
	int base = 10;
	bool overflow = false, any = false;
	uint64_t value = 0;
	if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X')) {
		base = 16;
		p += 2;
	}
	for (int digit; (digit = hw_digit_value(*p, base)) >= 0; p++) {
		overflow |= __builtin_mul_overflow(value, (uint64_t)base, &value);
		overflow |= __builtin_add_overflow(value, (uint64_t)digit, &value);
		any = true;
	}
	static const char units[] = "kmg";
	const char *unit = *p ? strchr(units, *p | 0x20) : NULL;
	if (unit && *unit) {
		overflow |= __builtin_mul_overflow(value, 1ull << 10 * (unit - units + 1), &value);
		p++;
	}
	struct hw_token token = { .kind = HW_TOKEN_NUMBER, .at = at, .number = value };
	if (!any || hw_is_letter(*p) || hw_is_digit(*p) || *p == '.') {
		while (hw_is_letter(*p) || hw_is_digit(*p) || *p == '.')
			p++;
		token.kind = HW_TOKEN_BAD;
		token.complaint = "a number is decimal or 0x…, then perhaps K, M or G";
	} else if (overflow) {
		token.kind = HW_TOKEN_BAD;
		token.complaint = "the number does not fit 64 bits";
	}
	token.len = (size_t)(p - text) - at;
	return token;
}

static struct hw_token hw_lex_string(const char *text, size_t at)
{
	const char *end = strchr(text + at + 1, text[at]);
	if (!end)
		return (struct hw_token){ .kind = HW_TOKEN_BAD,
					  .at = at,
					  .len = strlen(text + at),
					  .complaint = "the string has no closing quote" };
	return (struct hw_token){ .kind = HW_TOKEN_STRING,
				  .at = at,
				  .len = (size_t)(end + 1 - text) - at };
}

static struct hw_token hw_lex_name(const char *text, size_t at)
{
	size_t len = 1;
	while (hw_is_letter(text[at + len]) || hw_is_digit(text[at + len]))
		len++;
	struct hw_token token = { .kind = HW_TOKEN_NAME, .at = at, .len = len };
	for (size_t i = 0; i < HW_COUNT(hw_keywords); i++) {
		if (strlen(hw_keywords[i].word) == len &&
		    !strncasecmp(hw_keywords[i].word, text + at, len))
			token.kind = hw_keywords[i].kind;
	}
	return token;
}

static struct hw_token hw_lex_bad(const char *text, size_t at)
{
	size_t len = 1;
	while (((unsigned char)text[at + len] & 0xc0) == 0x80) // the rest of a UTF-8 character
		len++;
	struct hw_token token = { .kind = HW_TOKEN_BAD, .at = at, .len = len };
	if (text[at] == '-' && hw_is_digit(text[at + 1])) {
		token.len += hw_lex_number(text, at + 1).len;
		token.complaint = "numbers are not negative";
	} else if (text[at] == '-' && (hw_is_letter(text[at + 1]) || text[at + 1] == '-')) {
		token.complaint = "options go before the query";
	} else {
		token.complaint = "no query has this character outside a string";
	}
	return token;
}

struct hw_token hw_query_lex(const char *text, size_t at)
{
	while (hw_is_blank(text[at]))
		at++;
	char c = text[at];
	if (!c)
		return (struct hw_token){ .kind = HW_TOKEN_END, .at = at };
	if (hw_is_digit(c))
		return hw_lex_number(text, at);
	if (c == '"' || c == '\'')
		return hw_lex_string(text, at);
	if (hw_is_letter(c))
		return hw_lex_name(text, at);
	for (size_t i = 0; i < HW_COUNT(hw_operators); i++) {
		size_t len = strlen(hw_operators[i].text);
		if (!strncmp(text + at, hw_operators[i].text, len))
			return (struct hw_token){ .kind = HW_TOKEN_COMPARE,
						  .at = at,
						  .len = len,
						  .op = hw_operators[i].op };
	}
	enum hw_token_kind kind = c == '('   ? HW_TOKEN_OPEN
				  : c == ')' ? HW_TOKEN_CLOSE
				  : c == ',' ? HW_TOKEN_COMMA
					     : HW_TOKEN_BAD;
	if (kind == HW_TOKEN_BAD)
		return hw_lex_bad(text, at);
	return (struct hw_token){ .kind = kind, .at = at, .len = 1 };
}
