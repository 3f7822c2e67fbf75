/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "forged.h"

#include <stdlib.h>

static bool read_forged(void *payload, hw_addr_t addr, void *buf, size_t len)
{
	(void)payload;
	bool in_data = addr >= BASE && addr + len <= BASE + PAGES_BYTES;
	bool in_stack = addr >= STACK && addr + len <= STACK + STACK_BYTES;
	if (!in_data && !in_stack)
		return false;
	for (size_t i = 0; i < len; i++)
		((unsigned char *)buf)[i] = (unsigned char)('A' + (addr + i) % 26);
	return true;
}

static const struct hw_map_entry forged_maps[] = {
	{ .start = BASE, .end = BASE + PAGES_BYTES, .read = true, .write = true, .path = "" },
	{ .start = 0x400000, .end = 0x401000, .read = true, .exec = true, .path = "" },
	{ .start = STACK,
	  .end = STACK + STACK_BYTES,
	  .read = true,
	  .write = true,
	  .path = "[stack]" },
};

struct hw_session *forged_session(void)
{
	struct hw_callbacks callbacks = {
		.size = sizeof(callbacks), .read = read_forged, .maps = forged_maps, .map_count = 3
	};
	struct hw_options options = { .size = sizeof(options), .threads = 1 };
	struct hw_session *session = NULL;
	struct hw_error *err = hw_session_open_callbacks(&callbacks, &options, &session);
	if (err) {
		fprintf(stderr, "can't open the forged target: %s\n", hw_error_message(err));
		exit(EXIT_FAILURE);
	}
	return session;
}

bool collect(void *payload, const char *text, size_t len)
{
	struct page *page = payload;
	if (page->limit && page->len + len > page->limit)
		return false;
	page->text = realloc(page->text, page->len + len + 1);
	memcpy(page->text + page->len, text, len);
	page->len += len;
	page->text[page->len] = 0;
	return true;
}

struct hw_error *run(struct hw_session *session, struct page *page, const char *const *words)
{
	struct hw_output out = { .write = collect, .payload = page };
	int argc = 0;
	while (words[argc])
		argc++;
	return hw_session_run(session, HW_OPTION_STYLE_GNU, argc, words, &out);
}

char *output_of(struct hw_session *session, const char *const *words)
{
	struct page page = { 0 };
	struct hw_error *err = run(session, &page, words);
	CHECK(!err, "%s: %s", words[0], err ? hw_error_message(err) : "");
	hw_error_destroy(err);
	return page.text ? page.text : strdup("");
}

void expect_failure(struct hw_session *session, const char *const *words, enum hw_error_code code,
		    const char *message)
{
	struct page page = { 0 };
	struct hw_error *err = run(session, &page, words);
	CHECK(err, "%s: no error", words[0]);
	if (err) {
		CHECK(hw_error_code(err) == code, "%s: %s, want %s", hw_error_message(err),
		      hw_error_code_word(hw_error_code(err)), hw_error_code_word(code));
		CHECK(strstr(hw_error_message(err), message), "got \"%s\", want \"%s\"",
		      hw_error_message(err), message);
	}
	hw_error_destroy(err);
	free(page.text);
}

struct json_object *member(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;
	CHECK(json_object_object_get_ex(object, name, &value), "no member \"%s\" in %s", name,
	      json_object_to_json_string(object));
	return value;
}

struct json_object *parse_report(const char *text, const char *schema)
{
	enum json_tokener_error why;
	struct json_object *object = json_tokener_parse_verbose(text, &why);
	CHECK(object, "not JSON (%s): %s", json_tokener_error_desc(why), text);
	if (!object)
		exit(EXIT_FAILURE);
	CHECK(!strcmp(json_object_get_string(member(object, "schema")), schema), "schema %s",
	      json_object_get_string(member(object, "schema")));
	member(member(object, "target"), "kind");
	member(member(object, "target"), "pid");
	member(member(object, "target"), "exe");
	member(member(object, "target"), "python");
	member(member(object, "coverage"), "heap_bytes");
	member(member(object, "coverage"), "missing_bytes");
	CHECK(json_object_is_type(member(object, "partial"), json_type_boolean), "partial");
	CHECK(json_object_is_type(member(object, "issues"), json_type_array), "issues");
	return object;
}
