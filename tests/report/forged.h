/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A forged target (three mappings, no allocator), and commands that are run on it.
#ifndef FORGED_H
#define FORGED_H

#include "report/report.h"
#include "check.h"

enum { BASE = 0x10000, PAGES_BYTES = 0x3000, STACK = 0x7f0000, STACK_BYTES = 0x2000 };

struct page {
	char *text;
	size_t len, limit; // limit: the reader goes away after that many bytes
};

// Exits the test when it can't be opened; the caller closes.
struct hw_session *forged_session(void);

// A hw_output's write, whose payload is a struct page; its text is freed by the caller.
bool collect(void *payload, const char *text, size_t len);

#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

struct hw_error *run(struct hw_session *session, struct page *page, const char *const *words);
// Runs and wants success; the caller frees.
char *output_of(struct hw_session *session, const char *const *words);
void expect_failure(struct hw_session *session, const char *const *words, enum hw_error_code code,
		    const char *message);

// Borrowed from the object; NULL, and a failed check, when there is none.
struct json_object *member(struct json_object *object, const char *name);
// Of the schema, with what every report has. The caller puts it.
struct json_object *parse_report(const char *text, const char *schema);

#endif
