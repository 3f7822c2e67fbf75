/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Command lines in both styles, and what completion offers.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/options.h"
#include "check.h"

#define GNU HW_OPTION_STYLE_GNU
#define GDB HW_OPTION_STYLE_GDB
#define WORDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static const struct hw_command *command(const char *name)
{
	for (const struct hw_command *each = hw_commands(); each->name; each++) {
		if (!strcmp(each->name, name))
			return each;
	}
	CHECK(false, "no command %s", name);
	exit(EXIT_FAILURE);
}

static int count(const char *const *words)
{
	int n = 0;
	while (words[n])
		n++;
	return n;
}

// want: the option's value, NULL: not given. text: what is no option.
static void expect(enum hw_option_style style, const char *const *words, const char *option,
		   const char *want, const char *text)
{
	struct hw_arguments arguments;
	struct hw_error *err = hw_arguments_parse(command(words[0]), style, count(words), words,
						  &arguments);
	CHECK(!err, "%s %s: %s", words[0], words[1], err ? hw_error_message(err) : "");
	if (err) {
		hw_error_destroy(err);
		return;
	}
	const char *got = hw_argument(&arguments, option);
	CHECK(got == want || (got && want && !strcmp(got, want)), "%s %s: %s is %s, want %s",
	      words[0], words[1], option, got ? got : "not given", want ? want : "not given");
	CHECK(!strcmp(arguments.text, text), "%s %s: text \"%s\"", words[0], words[1],
	      arguments.text);
	hw_arguments_deinit(&arguments);
}

static void expect_error(enum hw_option_style style, const char *const *words, const char *message)
{
	struct hw_arguments arguments;
	struct hw_error *err = hw_arguments_parse(command(words[0]), style, count(words), words,
						  &arguments);
	CHECK(err, "%s %s: no error", words[0], words[1]);
	if (!err) {
		hw_arguments_deinit(&arguments);
		return;
	}
	CHECK(hw_error_exit_status(err) == 2, "%s: exit status", hw_error_message(err));
	CHECK(strstr(hw_error_message(err), message), "got \"%s\", want \"%s\"",
	      hw_error_message(err), message);
	hw_error_destroy(err);
}

static void test_gnu(void)
{
	expect(GNU, WORDS("census", "--format", "json"), "format", "json", "");
	expect(GNU, WORDS("census", "--format=json"), "format", "json", "");
	expect(GNU, WORDS("census", "--fo=json"), "format", "json", "");
	expect(GNU, WORDS("census", "--format=json", "--format", "csv"), "format", "csv", "");
	expect(GNU, WORDS("census", "--top", "5"), "format", NULL, "");
	expect(GNU, WORDS("census", "--sort", "count:asc"), "sort", "count:asc", "");
	expect(GNU, WORDS("hexdump", "0x10", "-c"), "c", "", "0x10");
	expect(GNU, WORDS("hexdump", "--length", "16", "0x10"), "length", "16", "0x10");
	expect(GNU, WORDS("select", "size", ">", "5", "--top", "3"), "top", "3", "size > 5");
	expect(GNU, WORDS("select", "size > -5"), "top", NULL, "size > -5");
	expect(GNU, WORDS("select", "--", "--top", "3"), "top", NULL, "--top 3");
	expect(GNU, WORDS("census", "--output", ""), "output", "", "");
	expect_error(GNU, WORDS("census", "-format", "json"), "it takes --format, --top");
	expect_error(GNU, WORDS("census", "--bogus"), "no option --bogus");
	expect_error(GNU, WORDS("hexdump", "--c", "1"), "no option --c");
	expect_error(GNU, WORDS("select", "--o"), "--output"); // needs a value
}

static void test_gdb(void)
{
	expect(GDB, WORDS("census", "-format", "json"), "format", "json", "");
	expect(GDB, WORDS("census", "-format=json"), "format", "json", "");
	expect(GDB, WORDS("census", "--format", "json"), "format", "json", "");
	expect(GDB, WORDS("census", "-f", "json"), "format", "json", "");
	expect(GDB, WORDS("select", "-top", "3", "size > 5"), "top", "3", "size > 5");
	expect(GDB, WORDS("hexdump", "-c", "16"), "c", "", "16");
	expect_error(GDB, WORDS("census", "-bogus"), "it takes -format, -top");
	expect_error(GDB, WORDS("census", "-"), "takes no argument");
}

static void test_errors(void)
{
	expect_error(GNU, WORDS("census", "--format"),
		     "--format of census needs a value: --format "
		     "FORMAT");
	expect_error(GNU, WORDS("census", "--format", "xml"),
		     "--format of census takes one of text, json, csv, not \"xml\"");
	expect_error(GNU, WORDS("census", "--sort", "bytes:up"), "--sort of census takes one of");
	expect_error(GNU, WORDS("census", "--sort", "colour"), "takes one of bytes, count");
	expect_error(GNU, WORDS("census", "--by", "colour"), "takes one of domain, kind");
	expect_error(GNU, WORDS("census", "everything"),
		     "census takes no argument, but was given \"everything\"");
	expect_error(GNU, WORDS("hexdump", "1", "2", "3"), "takes no more than ADDR [LENGTH]");
	expect_error(GNU, WORDS("hexdump", "-c=5", "2"), "takes no value");
}

static void test_numbers(void)
{
	uint64_t number;
	CHECK(hw_number_parse("0x10", &number) && number == 16, "0x10");
	CHECK(hw_number_parse(" 4K ", &number) && number == 4096, "4K");
	CHECK(!hw_number_parse("", &number), "empty");
	CHECK(!hw_number_parse("-1", &number), "-1");
	CHECK(!hw_number_parse("1 2", &number), "1 2");
	CHECK(!hw_number_parse("ten", &number), "ten");
}

// ---- completion ----

struct offers {
	char text[4096];
};

static void collect(void *payload, const char *word)
{
	struct offers *offers = payload;
	strncat(offers->text, word, sizeof(offers->text) - strlen(offers->text) - 2);
	strcat(offers->text, "|");
}

static void expect_offers(enum hw_option_style style, const char *const *words, const char *prefix,
			  const char *want)
{
	struct offers offers = { "" };
	hw_complete(NULL, style, count(words), words, prefix, collect, &offers);
	CHECK(!strcmp(offers.text, want), "%s … %s: offered %s, want %s", words[0] ? words[0] : "",
	      prefix, offers.text, want);
}

static void test_completion(void)
{
	const char *const none[] = { NULL };
	expect_offers(GNU, none, "se", "select|");
	expect_offers(GNU, none, "al", "all|");
	expect_offers(GNU, WORDS("bogus"), "", "");
	expect_offers(GNU, WORDS("census"), "--f", "--format|");
	expect_offers(GDB, WORDS("census"), "-f", "-format|");
	expect_offers(GDB, WORDS("hexdump"), "-", "-format|-top|-output|-length|-c|");
	expect_offers(GNU, WORDS("census", "--format"), "", "text|json|csv|");
	expect_offers(GNU, WORDS("census", "--format"), "j", "json|");
	expect_offers(GNU, WORDS("census"), "--format=c", "--format=csv|");
	expect_offers(GNU, WORDS("census", "--output"), "", "");
	expect_offers(GNU, WORDS("select"), "s", "state|start|size|");
	expect_offers(GNU, WORDS("select", "size"), "", "<|<=|=|!=|>=|>|");
	expect_offers(GNU, WORDS("select", "kind"), "", "=|!=|~|!~|");
	expect_offers(GNU, WORDS("select", "allocator", "="), "",
		      "\"glibc\"|\"pymalloc\"|\"mimalloc\"|\"none\"|");
	expect_offers(GNU, WORDS("select", "state="), "'i", "'in use'|");
	expect_offers(GNU, WORDS("select", "state", "=", "\"in"), "u", "use\"|");
	expect_offers(GNU, WORDS("select", "state = 'in"), "", "use'|");
	expect_offers(GNU, WORDS("select", "not ("), "ki", "kind|");
	expect_offers(GNU, WORDS("select"), "(ki", "(kind|");
	expect_offers(GNU, WORDS("select"), "state=\"ov", "state=\"overhead\"|");
	expect_offers(GNU, WORDS("select"), "allocator=",
		      "allocator=\"glibc\"|allocator=\"pymalloc\"|allocator=\"mimalloc\"|"
		      "allocator=\"none\"|");
	expect_offers(GNU, WORDS("select", "size"), "<", "<|<=|");
	expect_offers(GNU, WORDS("select", "size > $"), "", "");
	expect_offers(GNU, WORDS("select", "limit"), "", "");
	expect_offers(GNU, WORDS("explain"), "", ""); // an address is no query
	expect_offers(GDB, WORDS("census", "-sort"), "by", "bytes|");
	expect_offers(GDB, WORDS("census", "-sort"), "bytes:", "bytes:asc|bytes:desc|");
	expect_offers(GNU, WORDS("census"), "--sort=bytes:d", "--sort=bytes:desc|");
	expect_offers(GDB, WORDS("census", "-format"), "text:", "");
	expect_offers(GNU, WORDS("select", "size > 5"), "", "and|or|order|limit|");
	expect_offers(GNU, WORDS("select", "size > 5 and"), "not", "not|");
	expect_offers(GNU, WORDS("select", "--top", "4", "order"), "", "by|");
	expect_offers(GNU, WORDS("select", "order", "by"), "si", "size|");
	expect_offers(GNU, WORDS("select", "order", "by", "size"), "d", "desc|");
}

int main(void)
{
	test_gnu();
	test_gdb();
	test_errors();
	test_numbers();
	test_completion();
	return check_finish();
}
