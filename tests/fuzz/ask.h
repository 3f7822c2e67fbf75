/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A command that a fuzzer asks of its session: an answer or one sentence, and nothing is kept of either.
#ifndef ASK_H
#define ASK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "analysis/session.h"

enum { ASK_WORDS = 8 };

static inline bool ask_swallow(void *payload, const char *text, size_t len)
{
	(void)payload;
	(void)text;
	(void)len;
	return true;
}

// The command's words, NULL behind them; "@" is an address.
static inline void ask(struct hw_session *session, const char *const *command, uint64_t address)
{
	struct hw_output out = { .write = ask_swallow };
	const char *words[ASK_WORDS];
	char text[24];
	int count = 0;
	snprintf(text, sizeof(text), "%#" PRIx64, address);
	for (; command[count]; count++)
		words[count] = strcmp(command[count], "@") != 0 ? command[count] : text;
	struct hw_error *err = hw_session_run(session, HW_OPTION_STYLE_GNU, count, words, &out);
	if (err && (!*hw_error_message(err) || !hw_error_exit_status(err)))
		abort();
	hw_error_destroy(err);
}

#endif
