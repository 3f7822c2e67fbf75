/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report/options.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "analysis/query.h"
#include "base/bytes.h"
#include "base/cleanup.h"

const char *hw_option_spell(const struct hw_command_option *option, enum hw_option_style style,
			    char *buf, size_t size)
{
	bool two = style == HW_OPTION_STYLE_GNU && strlen(option->name) > 1;
	snprintf(buf, size, "%s%s", two ? "--" : "-", option->name);
	return buf;
}

// "-" alone and negative numbers are no options.
static bool hw_is_option(const char *word)
{
	return word[0] == '-' && word[1] && !(word[1] >= '0' && word[1] <= '9');
}

static size_t hw_dashes(const char *word)
{
	return word[0] != '-' ? 0 : word[1] != '-' ? 1 : 2;
}

const struct hw_command_option *hw_option_find(const struct hw_command *command,
					       enum hw_option_style style, const char *word,
					       const char **ret_value)
{
	size_t dashes = hw_dashes(word);
	const char *name = word + dashes;
	size_t len = strcspn(name, "=");
	*ret_value = name[len] ? name + len + 1 : NULL;
	if (!dashes || !len)
		return NULL;
	const struct hw_command_option *found = NULL;
	for (const struct hw_command_option *option = command->options; option->name; option++) {
		// GNU style: one dash for one letter, two for a word.
		if (style == HW_OPTION_STYLE_GNU && dashes != (strlen(option->name) > 1 ? 2u : 1u))
			continue;
		if (strncmp(option->name, name, len))
			continue;
		if (!option->name[len])
			return option;
		if (found)
			return NULL;
		found = option;
	}
	return found;
}

static void hw_list_options(const struct hw_command *command, enum hw_option_style style, char *buf,
			    size_t size)
{
	size_t used = 0;
	*buf = 0;
	for (const struct hw_command_option *option = command->options; option->name; option++) {
		char spelt[64];
		hw_option_spell(option, style, spelt, sizeof(spelt));
		int n = snprintf(buf + used, size - used, "%s%s", used ? ", " : "", spelt);
		if (n < 0 || (size_t)n >= size - used)
			return;
		used += (size_t)n;
	}
}

static struct hw_error *hw_unknown_option(const struct hw_command *command,
					  enum hw_option_style style, const char *word)
{
	char known[256];
	hw_list_options(command, style, known, sizeof(known));
	size_t len = strcspn(word, "=");
	return hw_error_create(HW_ERROR_INVALID,
			       "%s has no option %.*s, or several that begin so: "
			       "it takes %s",
			       command->name, (int)hw_min(len, 100), word, known);
}

// `whose`: "-sort of census", for the sentence.
static struct hw_error *hw_check_value(const struct hw_command_option *option, const char *whose,
				       const char *value)
{
	if (!option->values)
		return NULL;
	// A sort key may say which way.
	size_t len = strcmp(option->name, "sort") ? strlen(value) : strcspn(value, ":");
	bool direction_ok = !value[len] || !strcmp(value + len, ":asc") ||
			    !strcmp(value + len, ":desc");
	char known[512] = "";
	size_t used = 0;
	for (const char *const *word = option->values; *word; word++) {
		if (direction_ok && strlen(*word) == len && !strncmp(*word, value, len))
			return NULL;
		int n = snprintf(known + used, sizeof(known) - used, "%s%s", used ? ", " : "",
				 *word);
		if (n < 0 || (size_t)n >= sizeof(known) - used)
			break;
		used += (size_t)n;
	}
	return hw_error_create(HW_ERROR_INVALID, "%s takes one of %s, not \"%.100s\"", whose, known,
			       value);
}

static struct hw_error *hw_check_number(const char *whose, const char *value, uint64_t *ret)
{
	if (hw_number_parse(value, ret) && *ret)
		return NULL;
	return hw_error_create(HW_ERROR_INVALID, "%s takes a number above 0, not \"%.100s\"", whose,
			       value);
}

struct hw_error *hw_option_check(const struct hw_command *command, const char *name,
				 const char *value)
{
	const struct hw_command_option *option = hw_option_named(command, name);
	uint64_t number;
	if (!option || !option->metavar)
		return hw_error_create(HW_ERROR_INVALID,
				       "%s has no option %.100s that takes a value", command->name,
				       name);
	if (!strcmp(option->metavar, "N"))
		return hw_check_number(name, value, &number);
	return hw_check_value(option, name, value);
}

static bool hw_append_word(char **text, const char *word)
{
	char *joined;
	if (asprintf(&joined, "%s%s%s", *text, **text ? " " : "", word) < 0)
		return false;
	free(*text);
	*text = joined;
	return true;
}

// argv[*index] is an option; takes its value, too.
static struct hw_error *hw_take_option(struct hw_arguments *arguments, int argc,
				       const char *const *argv, int *index)
{
	const struct hw_command *command = arguments->command;
	const char *value, *word = argv[*index];
	char spelt[64];
	const struct hw_command_option *option = hw_option_find(command, arguments->style, word,
								&value);
	if (!option)
		return hw_unknown_option(command, arguments->style, word);
	hw_option_spell(option, arguments->style, spelt, sizeof(spelt));
	if (!option->metavar && value)
		return hw_error_create(HW_ERROR_INVALID, "%s of %s takes no value", spelt,
				       command->name);
	if (option->metavar && !value) {
		if (*index + 1 >= argc)
			return hw_error_create(HW_ERROR_INVALID, "%s of %s needs a value: %s %s",
					       spelt, command->name, spelt, option->metavar);
		value = argv[++*index];
	}
	char whose[128];
	snprintf(whose, sizeof(whose), "%s of %s", spelt, command->name);
	if (option->metavar)
		HW_TRY(hw_check_value(option, whose, value));
	char **slot = &arguments->values[option - command->options];
	free(*slot);
	*slot = strdup(value ? value : "");
	return *slot ? NULL : &hw_enomem;
}

static unsigned hw_word_count(const char *usage)
{
	if (strstr(usage, "..."))
		return UINT_MAX;
	unsigned count = 0;
	for (const char *p = usage; *p; p += strspn(p, " ")) {
		count++;
		p += strcspn(p, " ");
	}
	return count;
}

static struct hw_error *hw_arguments_take(struct hw_arguments *arguments, int argc,
					  const char *const *argv)
{
	const struct hw_command *command = arguments->command;
	bool options_ended = false;
	unsigned words = 0;
	for (int i = 1; i < argc; i++) {
		if (!options_ended && !strcmp(argv[i], "--")) {
			options_ended = true;
		} else if (!options_ended && hw_is_option(argv[i])) {
			HW_TRY(hw_take_option(arguments, argc, argv, &i));
		} else {
			words++;
			if (!command->takes_text && !*command->usage)
				return hw_error_create(HW_ERROR_INVALID,
						       "%s takes no argument, but was given "
						       "\"%.100s\"",
						       command->name, argv[i]);
			if (!command->takes_text && words > hw_word_count(command->usage))
				return hw_error_create(HW_ERROR_INVALID,
						       "%s takes no more than %s, but was given "
						       "\"%.100s\" as well",
						       command->name, command->usage, argv[i]);
			char *word = strdup(argv[i]);
			if (!word || !hw_vec_push(&arguments->words, word)) {
				free(word);
				return &hw_enomem;
			}
			if (!hw_append_word(&arguments->text, argv[i]))
				return &hw_enomem;
		}
	}
	return NULL;
}

struct hw_error *hw_arguments_parse(const struct hw_command *command, enum hw_option_style style,
				    int argc, const char *const *argv, struct hw_arguments *ret)
{
	struct hw_arguments arguments = { .command = command, .style = style, .text = strdup("") };
	struct hw_error *err = arguments.text ? hw_arguments_take(&arguments, argc, argv)
					      : &hw_enomem;
	if (err)
		hw_arguments_deinit(&arguments);
	else
		*ret = arguments;
	return err;
}

void hw_arguments_deinit(struct hw_arguments *arguments)
{
	for (size_t i = 0; i < HW_COMMAND_OPTIONS_MAX; i++)
		free(arguments->values[i]);
	free(arguments->text);
	hw_vec_foreach(word, &arguments->words) free(*word);
	hw_vec_deinit(&arguments->words);
	*arguments = (struct hw_arguments){ 0 };
}

const struct hw_command_option *hw_option_named(const struct hw_command *command, const char *name)
{
	for (const struct hw_command_option *option = command->options; option->name; option++) {
		if (!strcmp(option->name, name))
			return option;
	}
	return NULL;
}

const char *hw_argument(const struct hw_arguments *arguments, const char *name)
{
	const struct hw_command_option *option = hw_option_named(arguments->command, name);
	return option ? arguments->values[option - arguments->command->options] : NULL;
}

bool hw_argument_is_default(const struct hw_arguments *arguments, const char *name)
{
	const struct hw_command_option *option = hw_option_named(arguments->command, name);
	return option && arguments->is_default[option - arguments->command->options];
}

bool hw_number_parse(const char *text, uint64_t *ret)
{
	struct hw_token token = hw_query_lex(text, 0);
	if (token.kind != HW_TOKEN_NUMBER ||
	    hw_query_lex(text, token.at + token.len).kind != HW_TOKEN_END)
		return false;
	*ret = token.number;
	return true;
}

struct hw_error *hw_argument_number(const struct hw_arguments *arguments, const char *name,
				    uint64_t fallback, uint64_t *ret)
{
	const char *value = hw_argument(arguments, name);
	uint64_t number = fallback;
	char whose[128];
	snprintf(whose, sizeof(whose), "%s%s of %s",
		 arguments->style == HW_OPTION_STYLE_GNU ? "--" : "-", name,
		 arguments->command->name);
	if (value)
		HW_TRY(hw_check_number(whose, value, &number));
	*ret = number;
	return NULL;
}

struct hw_error *hw_argument_address(const struct hw_arguments *arguments, uint64_t *ret)
{
	const char *name = arguments->command->name, *text = arguments->text;
	if (!*text)
		return hw_error_create(HW_ERROR_INVALID, "%s needs an address: %s 0x7f0012345678",
				       name, name);
	if (!hw_number_parse(text, ret))
		return hw_error_create(HW_ERROR_INVALID,
				       "\"%.100s\" is no address: give a decimal or a 0x number",
				       text);
	return NULL;
}
