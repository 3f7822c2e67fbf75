/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Reports over a forged target. What is printed adds up, parses, and has the documented names.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "forged.h"

// ---- JSON ----

static uint64_t sum(struct json_object *rows, const char *name)
{
	uint64_t total = 0;
	for (size_t i = 0; i < json_object_array_length(rows); i++)
		total += json_object_get_uint64(member(json_object_array_get_idx(rows, i), name));
	return total;
}

static void test_census_json(void)
{
	struct hw_session *session = forged_session();
	static const char *const by[] = { NULL,   "domain",    "kind",  "type",
					  "size", "allocator", "state", NULL };
	for (size_t i = 0; i == 0 || by[i]; i++) {
		char *text = output_of(session,
				       by[i] ? WORDS("census", "--format=json", "--by", by[i])
					     : WORDS("census", "--format", "json"));
		struct json_object *report = parse_report(text, "heapwalk.census/1");
		struct json_object *rows = member(report, "rows"), *total = member(report, "total");
		uint64_t bytes = json_object_get_uint64(member(total, "bytes"));
		CHECK(bytes == PAGES_BYTES + STACK_BYTES, "total %llu", (unsigned long long)bytes);
		CHECK(sum(rows, "bytes") == bytes, "rows do not add up by %s", by[i]);
		CHECK(sum(rows, "count") == json_object_get_uint64(member(total, "count")),
		      "counts");
		CHECK(json_object_get_uint64(member(total, "in_use_bytes")) +
				      json_object_get_uint64(member(total, "free_bytes")) +
				      json_object_get_uint64(member(total, "overhead_bytes")) +
				      json_object_get_uint64(member(total, "unknown_bytes")) ==
			      bytes,
		      "the ledger does not add up: %s", text);
		json_object_put(report);
		free(text);
	}
	hw_session_close(session);
}

static void test_select_json(void)
{
	struct hw_session *session = forged_session();
	char *text = output_of(session, WORDS("select", "--format=json", "start = 0x10000"));
	struct json_object *report = parse_report(text, "heapwalk.select/1");
	struct json_object *rows = member(report, "rows");
	CHECK(json_object_array_length(rows) == 1, "rows: %s", text);
	struct json_object *row = json_object_array_get_idx(rows, 0);
	static const char *const names[] = { "start",  "end",  "size",   "allocator", "state",
					     "domain", "kind", "detail", "object",    "refcount" };
	for (size_t i = 0; i < HW_ARRAY_COUNT(names); i++)
		member(row, names[i]);
	CHECK(!strcmp(json_object_get_string(member(row, "start")), "0x10000"), "start: %s", text);
	CHECK(!strcmp(json_object_get_string(member(row, "end")), "0x12fff"), "end: %s", text);
	CHECK(json_object_get_uint64(member(row, "size")) == PAGES_BYTES, "size: %s", text);
	CHECK(!strncmp(json_object_get_string(member(row, "first_bytes")), "51525354", 8),
	      "bytes: %s", text);
	CHECK(!json_object_get_boolean(member(report, "partial")), "partial");
	json_object_put(report);
	free(text);
	hw_session_close(session);
}

static void test_lists(void)
{
	struct hw_session *session = forged_session();
	static const char *const names[] = { "used", "free", "all", "sizes" };
	uint64_t bytes[4];
	for (size_t i = 0; i < 4; i++) {
		char *text = output_of(session, WORDS(names[i], "--format=json")), schema[64];
		snprintf(schema, sizeof(schema), "heapwalk.%s/1", names[i]);
		struct json_object *report = parse_report(text, schema);
		bytes[i] = json_object_get_uint64(member(member(report, "total"), "bytes"));
		json_object_put(report);
		free(text);
	}
	CHECK(bytes[2] == PAGES_BYTES + STACK_BYTES, "all: %llu", (unsigned long long)bytes[2]);
	CHECK(bytes[0] + bytes[1] <= bytes[2], "used and free are more than all");
	CHECK(bytes[3] == 0, "sizes of blocks that no allocator gave out");
	hw_session_close(session);
}

static void test_text(void)
{
	struct hw_session *session = forged_session();
	char *text = output_of(session, WORDS("census"));
	CHECK(strstr(text, "Domain"), "no header: %s", text);
	CHECK(strstr(text, "TOTAL"), "no total: %s", text);
	CHECK(strstr(text, "20,480"), "no commas: %s", text);
	CHECK(strstr(text, "mapped"), "no ledger: %s", text);
	CHECK(strstr(text, "coverage: "), "no coverage: %s", text);
	CHECK(strstr(text, "facts: "), "no facts: %s", text);
	free(text);
	text = output_of(session, WORDS("select", "start = 0x10000"));
	CHECK(strstr(text, "0x0000000000010000  0x0000000000012fff"), "start and end: %s", text);
	CHECK(strstr(text, "51 52 53 54 55 56 57 58 59 5a 41 42 43 44 45 46 47 48 49 4a "
			   "|QRSTUVWXYZABCDEFGHIJ|"),
	      "hexdump: %s", text);
	CHECK(strstr(text, "1 block, 12,288 bytes"), "count: %s", text);
	free(text);
	text = output_of(session, WORDS("select", "size > 0", "--top", "1", "--sort", "size:asc"));
	CHECK(strstr(text, "0x00000000007f0000") && strstr(text, "1 block, 8,192 bytes"),
	      "the smaller one: %s", text);
	free(text);
	text = output_of(session, WORDS("select", "size > 0 order by size desc limit 1"));
	CHECK(strstr(text, "0x0000000000010000") && strstr(text, "1 block, 12,288 bytes"),
	      "the bigger one: %s", text);
	free(text);
	hw_session_close(session);
}

static void test_hexdump(void)
{
	struct hw_session *session = forged_session();
	char *text = output_of(session, WORDS("hexdump", "0x10000", "--length", "36"));
	CHECK(strstr(text, "0x0000000000010000  51 52 53 54 55 56 57 58  59 5a 41 42 43 44 45 46  "
			   "47 48 49 4a 4b 4c 4d 4e  4f 50 51 52 53 54 55 56  "
			   "QRSTUVWXYZABCDEFGHIJKLMNOPQRSTUV\n"),
	      "first row: %s", text);
	CHECK(strstr(text, "0x0000000000010020  57 58 59 5a                     "), "last row: %s",
	      text);
	free(text);
	text = output_of(session, WORDS("hexdump", "65536", "-c", "--top", "1"));
	CHECK(strstr(text, "QRSTUVWXYZABCDEF") && !strstr(text, "51"), "characters: %s", text);
	free(text);
	text = output_of(session, WORDS("hexdump", "0x10000", "--format", "json"));
	struct json_object *report = parse_report(text, "heapwalk.hexdump/1");
	CHECK(json_object_get_uint64(member(report, "length")) == 512, "default length: %s", text);
	CHECK(json_object_array_length(member(report, "rows")) == 16, "rows: %s", text);
	json_object_put(report);
	free(text);
	expect_failure(session, WORDS("hexdump"), HW_ERROR_INVALID, "needs an address");
	expect_failure(session, WORDS("hexdump", "here"), HW_ERROR_INVALID, "is no address");
	expect_failure(session, WORDS("hexdump", "0x10000", "few"), HW_ERROR_INVALID, "no length");
	text = output_of(session, WORDS("hexdump", "0x10000", "4"));
	CHECK(strstr(text, "  QRST\n"), "four bytes: %s", text);
	free(text);
	expect_failure(session, WORDS("hexdump", "0x5"), HW_ERROR_FAULT, "can be read at 0x5");
	expect_failure(session, WORDS("hexdump", "0x12ff0"), HW_ERROR_FAULT,
		       "ends at 0x13000, 16 of 512 bytes");
	expect_failure(session, WORDS("hexdump", "0x10000", "--length", "0"), HW_ERROR_INVALID,
		       "above 0");
	expect_failure(session, WORDS("hexdump", "0xffffffffffffffff"), HW_ERROR_FAULT,
		       "can be read");
	hw_session_close(session);
}

static void test_errors(void)
{
	struct hw_session *session = forged_session();
	expect_failure(session, WORDS("bogus"), HW_ERROR_INVALID,
		       "no command \"bogus\": there are census");
	expect_failure(session, WORDS("census", "--top", "-3"), HW_ERROR_INVALID, "above 0");
	expect_failure(session, WORDS("select", "size >"), HW_ERROR_INVALID, "Parse error");
	expect_failure(session, WORDS("cpython-allocators"), HW_ERROR_NOT_FOUND, "no CPython");
	expect_failure(session, WORDS("arenas"), HW_ERROR_NOT_FOUND,
		       "glibc's malloc was not found");
	expect_failure(session, WORDS("census", "--output", "/nowhere/at/all"), HW_ERROR_OS,
		       "can't write to /nowhere/at/all");
	expect_failure(session, WORDS("census", "--output", "/"), HW_ERROR_OS, "can't write to /");
	// A failure leaves nothing behind that the next command would trip over.
	free(output_of(session, WORDS("census")));
	hw_session_close(session);
}

// ---- settings ----

static void expect_default_refused(const char *option, const char *value, const char *message)
{
	struct hw_error *err = hw_session_set_default(NULL, option, value);
	CHECK(err && hw_error_code(err) == HW_ERROR_INVALID &&
		      strstr(hw_error_message(err), message),
	      "%s %s: \"%s\", want \"%s\"", option, value, err ? hw_error_message(err) : "taken",
	      message);
	hw_error_destroy(err);
}

static void set_default(struct hw_session *session, const char *option, const char *value)
{
	struct hw_error *err = hw_session_set_default(session, option, value);
	CHECK(!err, "%s %s: %s", option, value, err ? hw_error_message(err) : "");
	hw_error_destroy(err);
}

static void expect_same(struct hw_session *session, const char *const *words,
			const char *const *as_words, bool wanted)
{
	char *got = output_of(session, words), *want = output_of(session, as_words);
	CHECK(!strcmp(got, want) == wanted, "%s %s: %s\nand\n%s", words[0],
	      wanted ? "differ" : "are the same", got, want);
	free(got);
	free(want);
}

static void test_defaults(void)
{
	struct hw_session *session = forged_session();
	expect_default_refused("top", "0", "top takes a number above 0, not \"0\"");
	expect_default_refused("top", "few", "top takes a number above 0");
	expect_default_refused("sort", "colour", "not \"colour\"");
	expect_default_refused("format", "pdf", "format takes one of text, json, csv, not \"pdf\"");
	expect_default_refused("colour", "red", "no command has an option colour");
	expect_default_refused("c", "1", "no option c that takes a value");

	char *all = output_of(session, WORDS("all"));
	set_default(session, "top", "1");
	CHECK(!strcmp(session->defaults.data[0].value, "1"), "top");
	expect_same(session, WORDS("all"), WORDS("all", "--top=1"), true);
	expect_same(session, WORDS("all"), WORDS("all", "--top=2"), false);
	expect_same(session, WORDS("select", "size > 0 limit 2"),
		    WORDS("select", "--top=2", "size > 0"), true);
	expect_same(session, WORDS("select", "--top=1", "size > 0 limit 2"),
		    WORDS("select", "size > 0"), true);
	expect_same(session, WORDS("hexdump", "0x10000", "64"),
		    WORDS("hexdump", "0x10000", "64", "--top=2"), true);
	set_default(session, "top", NULL);
	set_default(session, "top", "");
	char *again = output_of(session, WORDS("all"));
	CHECK(!strcmp(all, again), "a default that was taken back is still there: %s", again);
	free(all);
	free(again);

	// A key of arenas alone: no other command knows it, and none fails.
	set_default(session, "sort", "tcache_bytes");
	free(output_of(session, WORDS("census")));
	set_default(session, "sort", "size:asc");
	expect_same(session, WORDS("all"), WORDS("all", "--sort=size:desc"), false);
	set_default(session, "format", "csv");
	expect_same(session, WORDS("all"), WORDS("all", "--format=csv"), true);
	expect_same(session, WORDS("all"), WORDS("all", "--format=text"), false);

	struct hw_error *err = hw_session_set_threads(session, 3);
	CHECK(!err && session->options.threads == 3, "threads: %u", session->options.threads);
	err = hw_session_set_threads(session, 65);
	CHECK(err && session->options.threads == 3, "65 threads");
	hw_error_destroy(err);
	err = hw_session_set_threads(session, 0);
	CHECK(!err && session->options.threads >= 1, "threads: %u", session->options.threads);
	hw_session_close(session);
}

// ---- colours ----

static char *styled(struct hw_session *session, const char *const *words,
		    const struct hw_styles *styles)
{
	struct page page = { 0 };
	struct hw_output out = { .write = collect, .payload = &page, .styles = styles };
	int argc = 0;
	while (words[argc])
		argc++;
	hw_error_destroy(hw_session_run(session, HW_OPTION_STYLE_GNU, argc, words, &out));
	return page.text ? page.text : strdup("");
}

static void test_styles(void)
{
	static const struct hw_styles styles = {
		.title = "<T>", .address = "<A>", .metadata = "<M>", .highlight = "<H>"
	};
	static const struct hw_styles some = { .title = "", .address = "<A>" };
	struct hw_session *session = forged_session();
	char *text = styled(session, WORDS("census"), &styles);
	CHECK(strstr(text, "<T>Domain\033[m  "), "title: %s", text);
	CHECK(strstr(text, "<T>TOTAL\033[m  "), "total: %s", text);
	CHECK(strstr(text, "\n<M>coverage: "), "metadata: %s", text);
	CHECK(strstr(text, "\n------"), "the rule is plain: %s", text);
	free(text);
	text = styled(session, WORDS("all", "--top=1"), &styles);
	CHECK(strstr(text, "\n<A>0x0000000000010000\033[m  <A>"), "address: %s", text);
	free(text);
	text = styled(session, WORDS("all"), &some);
	CHECK(strstr(text, "  Start") && strstr(text, "<A>0x"), "a part without a style: %s", text);
	CHECK(!strstr(text, "(null)") && !strstr(text, "Start\033"), "not plain: %s", text);
	free(text);
	hw_session_interrupt(session);
	text = styled(session, WORDS("all"), &styles);
	CHECK(strstr(text, "<H>PARTIAL: interrupted"), "highlight: %s", text);
	free(text);
	static const char *const forms[] = { "json", "csv" };
	for (size_t i = 0; i < 2; i++) {
		text = styled(session, WORDS("all", "--format", forms[i]), &styles);
		CHECK(!strchr(text, '<') && !strchr(text, '\033'), "%s: %s", forms[i], text);
		free(text);
	}
	hw_session_close(session);
}

// The reader goes away: an error, and no more is written.
static void test_closed_output(void)
{
	struct hw_session *session = forged_session();
	struct page page = { .limit = 1000 };
	struct hw_error *err = run(session, &page, WORDS("hexdump", "0x10000", "--length", "12K"));
	CHECK(err && hw_error_code(err) == HW_ERROR_INTERRUPTED, "a closed output is no error");
	CHECK(page.len <= page.limit, "wrote on");
	hw_error_destroy(err);
	free(page.text);
	hw_session_close(session);
}

static void test_interrupt(void)
{
	struct hw_session *session = forged_session();
	free(output_of(session, WORDS("census"))); // walked: what is interrupted is the printing
	hw_session_interrupt(session);
	struct page page = { 0 };
	struct hw_error *err = run(session, &page, WORDS("all", "--format", "json"));
	CHECK(err && hw_error_exit_status(err) == 130, "not interrupted");
	hw_error_destroy(err);
	struct json_object *report = parse_report(page.text, "heapwalk.all/1");
	CHECK(json_object_get_boolean(member(report, "partial")), "not partial: %s", page.text);
	json_object_put(report);
	free(page.text);
	hw_session_interrupt(session);
	page = (struct page){ 0 };
	err = run(session, &page, WORDS("all"));
	hw_error_destroy(err);
	CHECK(strstr(page.text, "PARTIAL: interrupted"), "does not say so: %s", page.text);
	free(page.text);
	free(output_of(session, WORDS("all"))); // and the next one is whole again
	hw_session_close(session);
}

// ---- files ----

static char *file_content(const char *path)
{
	FILE *file = fopen(path, "r");
	static char text[65536];
	CHECK(file, "no %s", path);
	if (!file)
		return strcpy(text, "");
	text[fread(text, 1, sizeof(text) - 1, file)] = 0;
	fclose(file);
	return text;
}

static void test_output_file(void)
{
	struct hw_session *session = forged_session();
	char folder[] = "/tmp/heapwalk-test-XXXXXX", path[64], link_path[64], part[80];
	CHECK(mkdtemp(folder), "mkdtemp");
	snprintf(path, sizeof(path), "%s/report", folder);
	snprintf(link_path, sizeof(link_path), "%s/link", folder);
	snprintf(part, sizeof(part), "%s.%d-0.part", path, (int)getpid());
	FILE *old = fopen(path, "w");
	fputs("old", old);
	fclose(old);
	chmod(path, 0640);
	CHECK(!symlink(path, link_path), "symlink");
	expect_failure(session, WORDS("select", "size >", "--output", path), HW_ERROR_INVALID,
		       "Parse");
	CHECK(!strcmp(file_content(path), "old"), "a failure replaced the file");
	CHECK(access(part, F_OK) != 0, "a failure left %s", part);
	char *text = output_of(session, WORDS("census", "--output", link_path));
	CHECK(!*text, "printed as well: %s", text);
	free(text);
	CHECK(strstr(file_content(path), "TOTAL"), "not written: %s", file_content(path));
	struct stat st;
	CHECK(!lstat(link_path, &st) && S_ISLNK(st.st_mode), "the link was replaced");
	CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0640, "mode %o", st.st_mode);
	CHECK(access(part, F_OK) != 0, "left %s", part);
	free(output_of(session, WORDS("census", "--output", "/dev/null")));
	CHECK(!stat("/dev/null", &st) && S_ISCHR(st.st_mode), "/dev/null was replaced");
	struct hw_error *err = run(session, &(struct page){ 0 },
				   WORDS("all", "--output", "/dev/full"));
	CHECK(err && strstr(hw_error_message(err), "can't write to /dev/full: No space left"),
	      "/dev/full: %s", err ? hw_error_message(err) : "no error");
	hw_error_destroy(err);
	unlink(link_path);
	unlink(path);
	rmdir(folder);
	hw_session_close(session);
}

int main(void)
{
	test_census_json();
	test_select_json();
	test_lists();
	test_text();
	test_hexdump();
	test_errors();
	test_defaults();
	test_styles();
	test_closed_output();
	test_interrupt();
	test_output_file();
	return check_finish();
}
