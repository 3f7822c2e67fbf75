/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Help and completion, made from the library's table of commands.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

const struct hw_command *hw_cli_find_command(const char *name)
{
	for (const struct hw_command *command = hw_commands(); command->name; command++) {
		if (!strcmp(command->name, name))
			return command;
	}
	return NULL;
}

static bool hw_begins_option_of_census(const char *name, size_t len)
{
	const struct hw_command *census = hw_cli_find_command("census");
	for (const struct hw_command_option *option = census->options; option->name; option++) {
		if (!strncmp(option->name, name, len))
			return true;
	}
	return false;
}

// "--name", "--name=VALUE", or a beginning of it that no option of the census shares.
static const struct argp_option *hw_long_option(const struct argp_option *options, const char *word)
{
	static const struct argp_option help[] = {
		{ "help", '?', NULL, 0, NULL, 0 },
		{ "usage", 0, NULL, 0, NULL, 0 },
		{ "version", 'V', NULL, 0, NULL, 0 },
		{ 0 },
	};
	const char *name = word + 2;
	size_t len = strcspn(name, "=");
	const struct argp_option *found = NULL;
	const struct argp_option *const tables[] = { options, help };
	for (size_t i = 0; i < 2; i++) {
		for (const struct argp_option *option = tables[i]; option->name; option++) {
			if (strncmp(option->name, name, len) != 0)
				continue;
			if (!option->name[len])
				return option;
			found = option;
		}
	}
	return len && !hw_begins_option_of_census(name, len) ? found : NULL;
}

static const struct argp_option *hw_short_option(const struct argp_option *options, char letter)
{
	for (const struct argp_option *option = options; option->name; option++) {
		if (option->key == letter)
			return option;
	}
	return NULL;
}

int hw_cli_global_words(const struct argp_option *options, const char *word)
{
	if (word[0] != '-' || !word[1])
		return 0;
	if (word[1] == '-') {
		const struct argp_option *option = word[2] ? hw_long_option(options, word) : NULL;
		if (!option)
			return 0;
		bool has_more = option->arg && !(option->flags & OPTION_ARG_OPTIONAL);
		return has_more && !strchr(word, '=') ? 2 : 1;
	}
	// -qp PID, -pPID: the first letter that takes a value has the rest of the word, or the
	// next.
	for (const char *letter = word + 1; *letter; letter++) {
		const struct argp_option *option = hw_short_option(options, *letter);
		if (!option)
			return *letter == '?' || *letter == 'V' ? 1 : -1;
		if (option->arg)
			return letter[1] ? 1 : 2;
	}
	return 1;
}

char *hw_cli_command_list(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	if (!stream)
		return NULL;
	fputs("Commands (\"census\" when none is given):\n", stream);
	for (const struct hw_command *command = hw_commands(); command->name; command++)
		fprintf(stream, "  %-18s  %s\n", command->name, command->summary);
	fputs("\nSee 'heapwalk COMMAND --help' for a command's own arguments and options.\n\n"
	      "Exit status: 0 all is there; 1 the report says what it lacks; 2 wrong words;\n"
	      "3 the target can't be read or is damaged; 4 a fact is missing;\n"
	      "130 interrupted; 141 the reader of the output has gone.",
	      stream);
	if (fclose(stream)) {
		free(text);
		return NULL;
	}
	return text;
}

bool hw_cli_asks_for_help(int argc, const char *const *argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-?"))
			return true;
	}
	return false;
}

// In lines of the help's width, below its column of descriptions.
static void hw_print_values(const char *const *values)
{
	enum { COLUMN = 21, WIDTH = 78 };
	int at = printf("%*sone of", COLUMN, "");
	for (; *values; values++) {
		if (at + (int)strlen(*values) + 2 > WIDTH)
			at = printf("\n%*s", COLUMN - 1, "") - 1;
		at += printf(" %s%s", *values, values[1] ? "," : "");
	}
	putchar('\n');
}

void hw_cli_command_help(const struct hw_command *command)
{
	printf("Usage: heapwalk %s %s [OPTION...]%s%s\n%s\n\n",
	       command->runs_detached ? "[-p PID|-c CORE]" : "-p PID|-c CORE", command->name,
	       *command->usage ? " " : "", command->usage, command->summary);
	for (const struct hw_command_option *option = command->options; option->name; option++) {
		char spelt[80];
		snprintf(spelt, sizeof(spelt), "%s%s%s%s", option->name[1] ? "--" : "-",
			 option->name, option->metavar ? " " : "",
			 option->metavar ? option->metavar : "");
		printf("  %-18s %s\n", spelt, option->help);
		if (option->values)
			hw_print_values(option->values);
	}
	printf("\n%s\n", command->help);
}

// ---- completion ----

static void hw_emit_line(void *payload, const char *word)
{
	(void)payload;
	puts(word);
}

static void hw_complete_globals(const struct argp_option *options, const char *prefix)
{
	for (const struct argp_option *option = options; option->name; option++) {
		char spelt[64];
		snprintf(spelt, sizeof(spelt), "--%s", option->name);
		if (!strncmp(spelt, prefix, strlen(prefix)))
			puts(spelt);
	}
	hw_cli_complete_color(prefix);
}

int hw_cli_complete(const struct argp_option *options, int argc, const char *const *argv)
{
	const char *prefix = argc ? argv[argc - 1] : "";
	int words = argc ? argc - 1 : 0, i = 0;
	while (i < words) {
		int taken = hw_cli_global_words(options, argv[i]);
		if (taken <= 0)
			break;
		i += taken;
	}
	if (i > words)
		return EXIT_SUCCESS; // a global option's value: a file, a number
	if (i < words && argv[i][0] != '-') {
		hw_complete(NULL, HW_OPTION_STYLE_GNU, words - i, argv + i, prefix, hw_emit_line,
			    NULL);
		return EXIT_SUCCESS;
	}
	// Before the command: global options, commands, and what the census alone takes.
	if (i == words && prefix[0] == '-')
		hw_complete_globals(options, prefix);
	else if (i == words)
		hw_complete(NULL, HW_OPTION_STYLE_GNU, 0, NULL, prefix, hw_emit_line, NULL);
	if (prefix[0] == '-' || i < words) {
		const char **census = calloc((size_t)(words - i) + 1, sizeof(*census));
		if (!census)
			return EXIT_FAILURE;
		census[0] = "census";
		for (int j = i; j < words; j++)
			census[j - i + 1] = argv[j];
		hw_complete(NULL, HW_OPTION_STYLE_GNU, words - i + 1, census, prefix, hw_emit_line,
			    NULL);
		free(census);
	}
	return EXIT_SUCCESS;
}
