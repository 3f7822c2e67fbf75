/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/rules.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { HW_RULES_BYTES_MAX = 1 << 20, HW_RULE_WORD_MAX = 1024 };

void hw_rules_destroy(struct hw_rules *rules)
{
	if (!rules)
		return;
	free(rules->path);
	free(rules->text);
	free(rules->words);
	hw_vec_deinit(&rules->list);
	free(rules);
}

static void hw_rules_cleanup(struct hw_rules **rules)
{
	hw_rules_destroy(*rules);
}

// ---- words -------------------------------------------------------------------------------------

struct hw_rule_parser {
	struct hw_rules *rules;
	unsigned line;
	char *at; // in the line, which is taken apart in place
};

static struct hw_error *HW_PRINTF(2, 3)
	hw_rule_error(const struct hw_rule_parser *parser, const char *fmt, ...)
{
	char message[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	return hw_error_create(HW_ERROR_INVALID, "%s:%u: %s", parser->rules->path, parser->line,
			       message);
}

// The next word, or what stands in "…"; NULL at the end of the line or of what is said on it.
static struct hw_error *hw_rule_word(struct hw_rule_parser *parser, char **ret)
{
	char *word = parser->at + strspn(parser->at, " \t"), *end;
	*ret = NULL;
	if (!*word || *word == '#') {
		parser->at = word;
		return NULL;
	}
	if (*word == '"') {
		end = strchr(++word, '"');
		if (!end)
			return hw_rule_error(parser, "a \" has no second one on this line");
		if (end[1] && !strchr(" \t#", end[1]))
			return hw_rule_error(parser, "a blank is missing behind \"%.*s\"",
					     (int)(end - word > 100 ? 100 : end - word), word);
	} else {
		end = word + strcspn(word, " \t");
	}
	parser->at = *end ? end + 1 : end;
	*end = 0;
	if (end - word > HW_RULE_WORD_MAX)
		return hw_rule_error(parser, "a word has more than %d bytes", HW_RULE_WORD_MAX);
	if (!*word)
		return hw_rule_error(parser, "a text is empty");
	*ret = word;
	return NULL;
}

static struct hw_error *hw_rule_need_word(struct hw_rule_parser *parser, const char *what,
					  char **ret)
{
	HW_TRY(hw_rule_word(parser, ret));
	return *ret ? NULL
		    : hw_rule_error(parser,
				    "%s is missing: a rule is FAMILY TYPE FIELD KIND [size SIZE] "
				    "[domain DOMAIN]",
				    what);
}

// ---- parts of a rule ---------------------------------------------------------------------------

static bool hw_rule_number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;
	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 0);
	return !errno && !*end && *ret <= max;
}

static bool hw_rule_is_member(const char *text)
{
	for (const char *c = text; *c; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || *c == '_' ||
		      (*c == '.' && c > text && c[1] && c[1] != '.') ||
		      (*c >= '0' && *c <= '9' && c > text)))
			return false;
	return *text;
}

static struct hw_error *hw_rule_parse_field(const struct hw_rule_parser *parser,
					    enum hw_rule_family family, const char *text,
					    struct hw_rule_field *ret)
{
	uint64_t offset;
	*ret = (struct hw_rule_field){ .offset = -1, .bytes = 8 };
	if (*text == '+') {
		if (!hw_rule_number(text + 1, HW_RULE_FIELD_MAX, &offset))
			return hw_rule_error(parser,
					     "\"%.100s\" is no field: after + stands a number of "
					     "bytes up to %d",
					     text, HW_RULE_FIELD_MAX);
		ret->offset = (int32_t)offset;
		return NULL;
	}
	if (!hw_rule_is_member(text) || (family == HW_RULE_PYTHON && !strchr(text, '.')))
		return hw_rule_error(parser, "\"%.100s\" is no field: it is +BYTES or %s", text,
				     family == HW_RULE_PYTHON ? "STRUCTURE.MEMBER"
							      : "a MEMBER of the class");
	ret->member = text;
	return NULL;
}

// BYTES, FIELD or FIELD*BYTES
static struct hw_error *hw_rule_parse_size(const struct hw_rule_parser *parser, char *text,
					   struct hw_rule *rule)
{
	rule->has_size = true;
	rule->size_bytes = 1;
	if (*text >= '0' && *text <= '9') {
		if (!hw_rule_number(text, INT64_MAX, &rule->size_bytes))
			return hw_rule_error(parser, "\"%.100s\" is no size", text);
		return NULL;
	}
	char *times = strchr(text, '*');
	if (times) {
		*times++ = 0;
		if (!hw_rule_number(times, HW_RULE_FIELD_MAX, &rule->size_bytes) ||
		    !rule->size_bytes)
			return hw_rule_error(parser,
					     "\"%.100s\" is no size: behind * stands the bytes of "
					     "an item, up to %d",
					     times, HW_RULE_FIELD_MAX);
	}
	rule->has_count = true;
	return hw_rule_parse_field(parser, rule->family, text, &rule->count);
}

// What is printed: no control characters, which a terminal would obey.
static struct hw_error *hw_rule_check_text(const struct hw_rule_parser *parser, const char *what,
					   const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			return hw_rule_error(parser, "%s has a control character, \\x%02x", what,
					     *c);
	return NULL;
}

static struct hw_error *hw_rule_parse_options(struct hw_rule_parser *parser, struct hw_rule *rule)
{
	char *word, *value;
	bool has_domain = false;
	for (;;) {
		HW_TRY(hw_rule_word(parser, &word));
		if (!word)
			return NULL;
		bool is_size = !strcmp(word, "size"), is_domain = !strcmp(word, "domain");
		if (!is_size && !is_domain)
			return hw_rule_error(
				parser,
				"\"%.100s\" can't follow KIND: only \"size SIZE\" and "
				"\"domain DOMAIN\" can (a KIND of several words stands "
				"in \"…\")",
				word);
		if (is_size ? rule->has_size : has_domain)
			return hw_rule_error(parser, "\"%s\" is given twice", word);
		HW_TRY(hw_rule_need_word(parser, is_size ? "SIZE" : "DOMAIN", &value));
		if (is_size) {
			HW_TRY(hw_rule_parse_size(parser, value, rule));
			continue;
		}
		HW_TRY(hw_rule_check_text(parser, "DOMAIN", value));
		rule->domain = value;
		has_domain = true;
	}
}

static struct hw_error *hw_rule_parse_line(struct hw_rule_parser *parser)
{
	struct hw_rule rule = { .line = parser->line, .domain = "rules" };
	char *family, *type, *field, *kind;
	HW_TRY(hw_rule_word(parser, &family));
	if (!family)
		return NULL;
	if (strcmp(family, "python") != 0 && strcmp(family, "c++") != 0)
		return hw_rule_error(parser, "\"%.100s\" begins no rule: python or c++ does",
				     family);
	rule.family = *family == 'p' ? HW_RULE_PYTHON : HW_RULE_CXX;
	HW_TRY(hw_rule_need_word(parser, "TYPE", &type));
	HW_TRY(hw_rule_check_text(parser, "TYPE", type));
	HW_TRY(hw_rule_need_word(parser, "FIELD", &field));
	HW_TRY(hw_rule_parse_field(parser, rule.family, field, &rule.field));
	HW_TRY(hw_rule_need_word(parser, "KIND", &kind));
	HW_TRY(hw_rule_check_text(parser, "KIND", kind));
	rule.type = type;
	rule.kind = kind;
	HW_TRY(hw_rule_parse_options(parser, &rule));
	if (parser->rules->list.count == HW_RULES_MAX)
		return hw_rule_error(parser, "a file has at most %d rules", HW_RULES_MAX);
	return hw_vec_push(&parser->rules->list, rule) ? NULL : &hw_enomem;
}

// ---- files -------------------------------------------------------------------------------------

struct hw_error *hw_rules_parse(const char *path, const char *text, size_t len,
				struct hw_rules **ret)
{
	hw_cleanup_with(hw_rules_cleanup) struct hw_rules *rules = calloc(1, sizeof(*rules));
	if (!rules || !(rules->path = strdup(path)) || !(rules->text = malloc(len + 1)) ||
	    !(rules->words = malloc(len + 1)))
		return &hw_enomem;
	memcpy(rules->text, text, len);
	memcpy(rules->words, text, len);
	rules->text[len] = rules->words[len] = 0;
	rules->text_len = len;
	struct hw_rule_parser parser = { .rules = rules };
	for (char *line = rules->words, *end = line + len, *next; line < end; line = next) {
		char *newline = memchr(line, '\n', (size_t)(end - line));
		next = newline ? newline + 1 : end;
		parser.line++;
		if (memchr(line, 0, (size_t)((newline ? newline : end) - line)))
			return hw_rule_error(&parser, "this is no text: it has a zero byte");
		if (newline)
			*newline = 0;
		if (newline && newline > line && newline[-1] == '\r')
			newline[-1] = 0;
		parser.at = line;
		HW_TRY(hw_rule_parse_line(&parser));
	}
	*ret = hw_no_cleanup(rules);
	return NULL;
}

struct hw_error *hw_rules_read(const char *path, struct hw_rules **ret)
{
	struct stat status;
	hw_cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return hw_error_os(errno, "rules file %s", path);
	if (fstat(fd, &status))
		return hw_error_os(errno, "rules file %s", path);
	if (!S_ISREG(status.st_mode))
		return hw_error_create(HW_ERROR_INVALID, "rules file %s: it is no regular file",
				       path);
	if (status.st_size > HW_RULES_BYTES_MAX)
		return hw_error_create(HW_ERROR_INVALID,
				       "rules file %s: it has %lld bytes, and no rules file has "
				       "more than %d",
				       path, (long long)status.st_size, HW_RULES_BYTES_MAX);
	hw_cleanup_free char *text = malloc(HW_RULES_BYTES_MAX);
	size_t len = 0;
	if (!text)
		return &hw_enomem;
	for (ssize_t n = 1; n && len < HW_RULES_BYTES_MAX;) {
		n = read(fd, text + len, HW_RULES_BYTES_MAX - len);
		if (n < 0 && errno != EINTR)
			return hw_error_os(errno, "rules file %s", path);
		if (n > 0)
			len += (size_t)n;
	}
	return hw_rules_parse(path, text, len, ret);
}

bool hw_rule_size(const struct hw_rule *rule, uint64_t count, uint64_t *ret)
{
	return !__builtin_mul_overflow(rule->size_bytes, rule->has_count ? count : 1, ret) &&
	       !(*ret >> 47);
}
