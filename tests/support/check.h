/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Checks that say where and what, count, and go on.
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

// Weak: the files of a test count together.
__attribute__((weak)) int check_failures, check_count;

static inline int check_finish(void)
{
	printf("%d checks, %d failed\n", check_count, check_failures);
	return check_failures || !check_count;
}

// Words after the condition are printf's and say more: CHECK(n == 3, "n is %d", n).
#define CHECK(condition, ...)                                                                      \
	do {                                                                                       \
		check_count++;                                                                     \
		if (!(condition)) {                                                                \
			check_failures++;                                                          \
			printf("%s:%d: failed: %s", __FILE__, __LINE__, #condition);               \
			printf(" " __VA_ARGS__);                                                   \
			putchar('\n');                                                             \
		}                                                                                  \
	} while (0)

#define CHECK_EQUAL(got, want)                                                                     \
	do {                                                                                       \
		unsigned long long check_got = (unsigned long long)(got);                          \
		unsigned long long check_want = (unsigned long long)(want);                        \
		check_count++;                                                                     \
		if (check_got != check_want) {                                                     \
			check_failures++;                                                          \
			printf("%s:%d: %s is %#llx, not %#llx\n", __FILE__, __LINE__, #got,        \
			       check_got, check_want);                                             \
		}                                                                                  \
	} while (0)

#define CHECK_TEXT(got, want)                                                                      \
	do {                                                                                       \
		const char *check_text = (got);                                                    \
		check_count++;                                                                     \
		if (!check_text || strcmp(check_text, (want))) {                                   \
			check_failures++;                                                          \
			printf("%s:%d: %s is \"%s\", not \"%s\"\n", __FILE__, __LINE__, #got,      \
			       check_text ? check_text : "(null)", (want));                        \
		}                                                                                  \
	} while (0)

// No error. The error's message is shown, and the error destroyed.
#define CHECK_OK(call)                                                                             \
	do {                                                                                       \
		struct hw_error *check_err = (call);                                               \
		check_count++;                                                                     \
		if (check_err) {                                                                   \
			check_failures++;                                                          \
			printf("%s:%d: %s: %s\n", __FILE__, __LINE__, #call,                       \
			       hw_error_message(check_err));                                       \
			hw_error_destroy(check_err);                                               \
		}                                                                                  \
	} while (0)

// An error of that code whose message has `words` in it; one line, no full stop.
#define CHECK_ERROR(call, want_code, words)                                                        \
	do {                                                                                       \
		struct hw_error *check_err = (call);                                               \
		const char *check_message = check_err ? hw_error_message(check_err) : "no error";  \
		check_count++;                                                                     \
		if (!check_err || hw_error_code(check_err) != (want_code) ||                       \
		    !strstr(check_message, (words)) || strchr(check_message, '\n') ||              \
		    check_message[strlen(check_message) - 1] == '.') {                             \
			check_failures++;                                                          \
			printf("%s:%d: %s: got \"%s\", wanted \"%s\"\n", __FILE__, __LINE__,       \
			       #call, check_message, (words));                                     \
		}                                                                                  \
		hw_error_destroy(check_err);                                                       \
	} while (0)

#endif
