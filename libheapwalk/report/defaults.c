/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Settings: what commands take for an option that is not among their words. Checked by the tables that
// check the options themselves.
#include <string.h>

#include "report/report.h"

// Takes the error of a refusal over: the last one stands for all.
static bool hw_takes_value(const struct hw_command *command, const char *option, const char *value,
			   struct hw_error **ret_refusal)
{
	struct hw_error *err = hw_option_check(command, option, value);
	if (!err)
		return true;
	hw_error_destroy(*ret_refusal);
	*ret_refusal = err;
	return false;
}

static struct hw_error *hw_default_check(const char *option, const char *value)
{
	struct hw_error *refusal = NULL;
	for (const struct hw_command *command = hw_commands(); command->name; command++) {
		if (!hw_option_named(command, option) ||
		    !hw_takes_value(command, option, value, &refusal))
			continue;
		hw_error_destroy(refusal);
		return NULL;
	}
	if (refusal)
		return refusal;
	return hw_error_create(HW_ERROR_INVALID, "no command has an option %.100s", option);
}

static struct hw_default *hw_default_find(struct hw_session *session, const char *option)
{
	hw_vec_foreach(each, &session->defaults)
	{
		if (!strcmp(each->option, option))
			return each;
	}
	return NULL;
}

static struct hw_error *hw_default_add(struct hw_session *session, const char *option, char *value)
{
	struct hw_default added = { .option = strdup(option), .value = value };
	if (added.option && hw_vec_push(&session->defaults, added))
		return NULL;
	free(added.option);
	free(value);
	return &hw_enomem;
}

struct hw_error *hw_session_set_default(struct hw_session *session, const char *option,
					const char *value)
{
	bool is_none = !value || !*value;
	if (!is_none)
		HW_TRY(hw_default_check(option, value));
	if (!session)
		return NULL;
	struct hw_default *known = hw_default_find(session, option);
	char *copy = is_none ? NULL : strdup(value);
	if (!is_none && !copy)
		return &hw_enomem;
	if (!known)
		return is_none ? NULL : hw_default_add(session, option, copy);
	free(known->value);
	known->value = copy;
	return NULL;
}

struct hw_error *hw_defaults_apply(struct hw_session *session, struct hw_arguments *arguments)
{
	const struct hw_command_option *options = arguments->command->options;
	hw_vec_foreach(each, &session->defaults)
	{
		const struct hw_command_option *option = hw_option_named(arguments->command,
									 each->option);
		if (!option || !each->value || arguments->values[option - options])
			continue;
		struct hw_error *refusal = NULL;
		if (hw_takes_value(arguments->command, each->option, each->value, &refusal)) {
			arguments->values[option - options] = strdup(each->value);
			if (!arguments->values[option - options])
				return &hw_enomem;
			arguments->is_default[option - options] = true;
		}
		// A sort key of other commands: this one keeps its own order.
		hw_error_destroy(refusal);
	}
	return NULL;
}
