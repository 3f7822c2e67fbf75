/* SPDX-License-Identifier: LGPL-2.1-or-later */
// --color: as ls and grep have it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const char *const hw_color_words[] = {
	[HW_COLOR_AUTO] = "auto", [HW_COLOR_ALWAYS] = "always", [HW_COLOR_NEVER] = "never"
};
enum { HW_COLOR_COUNT = sizeof(hw_color_words) / sizeof(hw_color_words[0]) };

bool hw_cli_color_parse(const char *word, enum hw_color *ret)
{
	for (int i = 0; i < HW_COLOR_COUNT; i++) {
		if (strcmp(word, hw_color_words[i]) != 0)
			continue;
		*ret = (enum hw_color)i;
		return true;
	}
	return false;
}

static bool hw_is_color_terminal(void)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR"); // no-color.org
	return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0 &&
	       !(no_color && *no_color);
}

const struct hw_styles *hw_cli_styles(enum hw_color color)
{
	// gdb's own defaults of the same names.
	static const struct hw_styles styles = { .title = "\033[1m",
						 .address = "\033[34m",
						 .metadata = "\033[2m",
						 .highlight = "\033[31m" };
	if (color == HW_COLOR_AUTO ? hw_is_color_terminal() : color == HW_COLOR_ALWAYS)
		return &styles;
	return NULL;
}

void hw_cli_complete_color(const char *prefix)
{
	for (int i = 0; i < HW_COLOR_COUNT; i++) {
		char spelt[32];
		snprintf(spelt, sizeof(spelt), "--color=%s", hw_color_words[i]);
		if (strchr(prefix, '=') && !strncmp(spelt, prefix, strlen(prefix)))
			puts(spelt);
	}
}
