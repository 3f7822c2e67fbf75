/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Rules files: what is understood, and what each mistake is called.
#include "base/rules.h"

#include <stdlib.h>

#include "check.h"

static const struct {
	const char *text, *error;
} mistakes[] = {
	{ "pyton a.B +8 x", "f:1: \"pyton\" begins no rule: python or c++ does" },
	{ "\n# fine\npython", "f:3: TYPE is missing: a rule is FAMILY TYPE FIELD KIND [size SIZE] "
			      "[domain DOMAIN]" },
	{ "python a.B", "f:1: FIELD is missing: a rule is FAMILY TYPE FIELD KIND [size SIZE] "
			"[domain DOMAIN]" },
	{ "c++ A +8 # x", "f:1: KIND is missing: a rule is FAMILY TYPE FIELD KIND [size SIZE] "
			  "[domain DOMAIN]" },
	{ "c++ A +8 \"no end", "f:1: a \" has no second one on this line" },
	{ "c++ A +8 \"\"", "f:1: a text is empty" },
	{ "c++ A +8 \"a\"b", "f:1: a blank is missing behind \"a\"" },
	{ "c++ A 8 x", "f:1: \"8\" is no field: it is +BYTES or a MEMBER of the class" },
	{ "python a.B data x", "f:1: \"data\" is no field: it is +BYTES or STRUCTURE.MEMBER" },
	{ "python a.B S..data x",
	  "f:1: \"S..data\" is no field: it is +BYTES or STRUCTURE.MEMBER" },
	{ "python a.B S. x", "f:1: \"S.\" is no field: it is +BYTES or STRUCTURE.MEMBER" },
	{ "c++ A +-8 x",
	  "f:1: \"+-8\" is no field: after + stands a number of bytes up to 1048576" },
	{ "c++ A +1048577 x",
	  "f:1: \"+1048577\" is no field: after + stands a number of bytes up to 1048576" },
	{ "c++ A +99999999999999999999 x",
	  "f:1: \"+99999999999999999999\" is no field: after + stands "
	  "a number of bytes up to 1048576" },
	{ "c++ A +8 two words", "f:1: \"words\" can't follow KIND: only \"size SIZE\" and "
				"\"domain DOMAIN\" can (a KIND of several words stands in \"…\")" },
	{ "c++ A +8 x size", "f:1: SIZE is missing: a rule is FAMILY TYPE FIELD KIND [size SIZE] "
			     "[domain DOMAIN]" },
	{ "c++ A +8 x size 8 size 8", "f:1: \"size\" is given twice" },
	{ "c++ A +8 x domain a domain b", "f:1: \"domain\" is given twice" },
	{ "c++ A +8 x size 8x", "f:1: \"8x\" is no size" },
	{ "c++ A +8 x size n*0",
	  "f:1: \"0\" is no size: behind * stands the bytes of an item, up to 1048576" },
	{ "c++ A +8 x size -1", "f:1: \"-1\" is no field: it is +BYTES or a MEMBER of the class" },
	{ "c++ A +8 \"\x1b[2J\"", "f:1: KIND has a control character, \\x1b" },
	{ "c++ A +8 x domain \"\x07\"", "f:1: DOMAIN has a control character, \\x07" },
};

static void test_mistakes(void)
{
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		struct hw_rules *rules = NULL;
		struct hw_error *err = hw_rules_parse("f", mistakes[i].text,
						      strlen(mistakes[i].text), &rules);
		CHECK(err && !rules, "\"%s\" was taken", mistakes[i].text);
		if (err)
			CHECK_TEXT(hw_error_message(err), mistakes[i].error);
		hw_error_destroy(err);
		hw_rules_destroy(rules);
	}
	struct hw_rules *rules = NULL;
	struct hw_error *err = hw_rules_parse("f", "a\0b", 3, &rules);
	CHECK_TEXT(err ? hw_error_message(err) : "", "f:1: this is no text: it has a zero byte");
	hw_error_destroy(err);
}

static void test_rules(void)
{
	static const char text[] =
		"# two rules\r\n"
		"\tpython numpy.ndarray +0x10 \"array data\" size 4096 # from the head\r\n"
		"c++ \"box<int, long>\" inner.start items domain net size count*24";
	struct hw_rules *rules = NULL;
	CHECK_OK(hw_rules_parse("f", text, strlen(text), &rules));
	if (!rules)
		return;
	CHECK_EQUAL(rules->list.count, 2);
	const struct hw_rule *a = &rules->list.data[0], *b = &rules->list.data[1];
	uint64_t size = 0;
	CHECK_EQUAL(a->line, 2);
	CHECK_EQUAL(a->family, HW_RULE_PYTHON);
	CHECK_TEXT(a->type, "numpy.ndarray");
	CHECK_EQUAL(a->field.offset, 16);
	CHECK_TEXT(a->kind, "array data");
	CHECK_TEXT(a->domain, "rules");
	CHECK(a->has_size && !a->has_count);
	CHECK(hw_rule_size(a, 12345, &size));
	CHECK_EQUAL(size, 4096);
	CHECK_EQUAL(b->family, HW_RULE_CXX);
	CHECK_TEXT(b->type, "box<int, long>");
	CHECK_TEXT(b->field.member, "inner.start");
	CHECK_TEXT(b->count.member, "count");
	CHECK_TEXT(b->domain, "net");
	CHECK(hw_rule_size(b, 10, &size));
	CHECK_EQUAL(size, 240);
	CHECK(!hw_rule_size(b, UINT64_MAX / 24 + 1, &size)); // wraps
	CHECK(!hw_rule_size(b, 1ull << 45, &size));
	hw_rules_destroy(rules);
	rules = NULL;
	CHECK_OK(hw_rules_parse("f", "", 0, &rules));
	hw_rules_destroy(rules);
}

static void test_limits(void)
{
	enum { LINE = 16 };
	static char text[(HW_RULES_MAX + 1) * LINE + 1];
	struct hw_rules *rules = NULL;
	for (int i = 0; i <= HW_RULES_MAX; i++)
		snprintf(text + (size_t)i * LINE, LINE + 1, "c++ A +8 x     \n");
	CHECK_OK(hw_rules_parse("f", text, HW_RULES_MAX * LINE, &rules));
	hw_rules_destroy(rules);
	rules = NULL;
	struct hw_error *err = hw_rules_parse("f", text, sizeof(text) - 1, &rules);
	CHECK_TEXT(err ? hw_error_message(err) : "", "f:201: a file has at most 200 rules");
	hw_error_destroy(err);
	static char word[3000];
	memset(word, 'a', sizeof(word) - 1);
	memcpy(word, "c++ ", 4);
	err = hw_rules_parse("f", word, sizeof(word) - 1, &rules);
	CHECK_TEXT(err ? hw_error_message(err) : "", "f:1: a word has more than 1024 bytes");
	hw_error_destroy(err);
	err = hw_rules_read("/dev/null", &rules);
	CHECK_TEXT(err ? hw_error_message(err) : "", "rules file /dev/null: it is no regular file");
	hw_error_destroy(err);
}

int main(void)
{
	test_mistakes();
	test_rules();
	test_limits();
	return check_finish();
}
