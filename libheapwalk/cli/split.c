/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Which words of the command line are global options, and which are the command's.
#include <stdlib.h>
#include <string.h>

#include "cli.h"

// Words that an option of the command takes: 0 when it has no such option.
static int hw_command_words(const struct hw_command *command, const char *word)
{
	size_t dashes = strspn(word, "-");
	const char *name = word + dashes;
	size_t len = strcspn(name, "=");
	if (!len || dashes < 1 || dashes > 2)
		return 0;
	for (const struct hw_command_option *option = command->options; option->name; option++) {
		bool is_letter = !option->name[1];
		if (dashes == (is_letter ? 1u : 2u) && !strncmp(option->name, name, len))
			return option->metavar && !name[len] ? 2 : 1;
	}
	return 0;
}

static bool hw_asks_for_help(const char *word)
{
	return !strcmp(word, "--help") || !strcmp(word, "-?");
}

// Behind the command's name: its own options first (-c is hexdump's, then a core), then global
// ones.
static void hw_split_behind(const struct argp_option *options, const struct hw_command *command,
			    int argc, char **argv, int i, struct hw_words *words)
{
	while (i < argc) {
		bool rest_is_text = !strcmp(argv[i], "--");
		int taken = command ? hw_command_words(command, argv[i]) : 1;
		bool is_global = !taken && !rest_is_text && !hw_asks_for_help(argv[i]);
		if (is_global)
			taken = hw_cli_global_words(options, argv[i]);
		if (taken <= 0 || !is_global) {
			int count = rest_is_text ? argc - i : taken > 0 ? taken : 1;
			for (; count-- && i < argc; i++)
				words->words[words->count++] = argv[i];
			continue;
		}
		if (i + taken > argc) {
			words->bad = argv[i];
			words->bad_needs_value = true;
			return;
		}
		for (; taken--; i++)
			words->globals[words->global_count++] = argv[i];
	}
}

// Where the command's name stands: the first word, or a command's behind options that most commands have
// ("--format json arenas"). argc: nowhere.
static int hw_find_name(const struct argp_option *options, const struct hw_command *census,
			int argc, char **argv, int i)
{
	for (int at = i; at < argc;) {
		if (argv[at][0] != '-')
			return at == i || hw_cli_find_command(argv[at]) ? at : argc;
		int taken = hw_command_words(census, argv[at]);
		if (!taken)
			taken = hw_cli_global_words(options, argv[at]);
		if (taken <= 0)
			break;
		at += taken;
	}
	return argc;
}

bool hw_cli_split(const struct argp_option *options, int argc, char **argv, struct hw_words *ret)
{
	static char program[] = "heapwalk", census[] = "census";
	struct hw_words words = { 0 };
	words.globals = calloc((size_t)argc + 2, sizeof(*words.globals));
	words.words = calloc((size_t)argc + 2, sizeof(*words.words));
	if (!words.globals || !words.words) {
		free(words.globals);
		free(words.words);
		return false;
	}
	words.globals[words.global_count++] = program;
	int i = 1;
	while (i < argc) {
		int taken = hw_cli_global_words(options, argv[i]);
		if (!taken)
			break;
		if (taken < 0 || i + taken > argc) {
			words.bad = argv[i];
			words.bad_needs_value = taken > 0;
			*ret = words;
			return true;
		}
		for (; taken--; i++)
			words.globals[words.global_count++] = argv[i];
	}
	// No command, or options only: the census.
	int name = hw_find_name(options, hw_cli_find_command(census), argc, argv, i);
	if (name < argc) {
		char *word = argv[name];
		memmove(&argv[i + 1], &argv[i], (size_t)(name - i) * sizeof(*argv));
		argv[i++] = word;
	}
	words.words[words.count++] = name < argc ? argv[i - 1] : census;
	hw_split_behind(options, hw_cli_find_command(words.words[0]), argc, argv, i, &words);
	*ret = words;
	return true;
}
