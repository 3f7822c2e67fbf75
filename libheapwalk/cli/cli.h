/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef HW_CLI_CLI_H
#define HW_CLI_CLI_H

#include <argp.h>

#include "heapwalk.h"

enum {
	HW_KEY_SYSROOT = 0x100,
	HW_KEY_DEBUG_DIR,
	HW_KEY_THREADS,
	HW_KEY_NO_STOP,
	HW_KEY_COPY,
	HW_KEY_DEBUGINFOD,
	HW_KEY_DEBUG,
	HW_KEY_COLOR
};

enum hw_color { HW_COLOR_AUTO, HW_COLOR_ALWAYS, HW_COLOR_NEVER };

struct hw_cli {
	struct hw_options options;
	int pid;          // 0: none
	const char *core; // NULL: none
	bool quiet;
	enum hw_color color;
	int argc; // the command and its words
	const char **argv;
	int stdout_errno; // why standard output took no more
	bool progress_shown;
	uint64_t progress_next; // milliseconds
};

// A command line taken apart: global options may stand before the command and behind it.
struct hw_words {
	char **globals; // argv of the global options, [0] is the program's name; the caller frees it
	int global_count;
	char **words; // argv of the command, [0] is its name; the caller frees it
	int count;
	const char *bad; // an option that there isn't, or that lacks its value
	bool bad_needs_value;
};
// False: out of memory.
bool hw_cli_split(const struct argp_option *options, int argc, char **argv, struct hw_words *ret);

void hw_cli_clear_progress(struct hw_cli *cli);

// NULL: there is none.
const struct hw_command *hw_cli_find_command(const char *name);
// Words that a global option takes: 1 or 2; 0 when `word` is none, -1 when it is a letter that is
// none.
int hw_cli_global_words(const struct argp_option *options, const char *word);
// The commands with their summaries, for --help. Owned by the caller.
char *hw_cli_command_list(void);
// True when --help (or -?) is among the command's words.
bool hw_cli_asks_for_help(int argc, const char *const *argv);
// Help of one command, on standard output.
void hw_cli_command_help(const struct hw_command *command);
// auto, always, never; false: none of them.
bool hw_cli_color_parse(const char *word, enum hw_color *ret);
// What sets parts of a text report off on standard output; NULL: nothing does.
const struct hw_styles *hw_cli_styles(enum hw_color color);
// "--color=ne" → "--color=never", a line each, on standard output.
void hw_cli_complete_color(const char *prefix);
// `heapwalk --complete WORD… PREFIX`: candidates, one a line. Returns the exit status.
int hw_cli_complete(const struct argp_option *options, int argc, const char *const *argv);

#endif
