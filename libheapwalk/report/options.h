/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The words of a command line, taken apart by a command's own table. Not getopt: it is not
// re-entrant, prints by itself, and the two styles would need two tables.
#ifndef HW_REPORT_OPTIONS_H
#define HW_REPORT_OPTIONS_H

#include "base/error.h"
#include "base/vector.h"

enum { HW_COMMAND_OPTIONS_MAX = 16 };

struct hw_arguments {
	const struct hw_command *command;
	enum hw_option_style style;
	// By index in command->options: NULL: not given; "" for one that takes no value.
	char *values[HW_COMMAND_OPTIONS_MAX];
	bool is_default[HW_COMMAND_OPTIONS_MAX]; // the value is a setting's
	char *text;           // what is no option, joined by blanks; "" when there is none
	HW_VEC(char *) words; // the same, word by word
};

// Names may be shortened as long as they are clear. GNU: --name=VALUE, --name VALUE, -x for names
// of one letter. gdb: -name VALUE, -name=VALUE, and two dashes. "--" ends the options. Of an option
// given twice the last counts. All errors are HW_ERROR_INVALID: one sentence with what to try.
struct hw_error *hw_arguments_parse(const struct hw_command *command, enum hw_option_style style,
				    int argc, const char *const *argv,
				    struct hw_arguments *ret) HW_MUST_USE;
void hw_arguments_deinit(struct hw_arguments *arguments);

// NULL: not given, or no option of this command.
const char *hw_argument(const struct hw_arguments *arguments, const char *name);
// True: its value is a setting's, not one of the words.
bool hw_argument_is_default(const struct hw_arguments *arguments, const char *name);
// A positive number (0x…, K, M, G) or `fallback` when it is not given.
struct hw_error *hw_argument_number(const struct hw_arguments *arguments, const char *name,
				    uint64_t fallback, uint64_t *ret) HW_MUST_USE;
// The command's one argument, an address. Errors name the command.
struct hw_error *hw_argument_address(const struct hw_arguments *arguments,
				     uint64_t *ret) HW_MUST_USE;
// A whole text that is one number.
bool hw_number_parse(const char *text, uint64_t *ret);

// The option of exactly that name, without dashes; NULL: there is none.
const struct hw_command_option *hw_option_named(const struct hw_command *command, const char *name);
// Whether an option of the command would take the value, said without dashes.
struct hw_error *hw_option_check(const struct hw_command *command, const char *name,
				 const char *value) HW_MUST_USE;

// "-format" or "--format", as the style spells it, into `buf`.
const char *hw_option_spell(const struct hw_command_option *option, enum hw_option_style style,
			    char *buf, size_t size);
// The option that a word with dashes names, NULL: none, or several. `*ret_value`: behind "=", else
// NULL.
const struct hw_command_option *hw_option_find(const struct hw_command *command,
					       enum hw_option_style style, const char *word,
					       const char **ret_value);

#endif
