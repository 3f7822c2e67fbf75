/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The writers of text, JSON and CSV, over rows of our own: names that are hostile come out harmless.
#include <stdlib.h>
#include <string.h>

#include "forged.h"

static const struct hw_column columns[] = {
	{ "Name", "name" },
	{ NULL, "hidden" },
	{ "Count", "count" },
	{ "Shown", NULL },
};

static void print_rows(enum hw_format format, struct page *page, const struct hw_cell (*cells)[4],
		       size_t count)
{
	struct hw_session *session = forged_session();
	struct hw_output out = { .write = collect, .payload = page };
	struct hw_report report = { .session = session, .format = format };
	struct hw_error *err = hw_sink_open(&out, NULL, &report.sink);
	CHECK(!err, "sink");
	hw_report_begin(&report, "test");
	hw_table_begin(&report, "rows", columns, 4);
	for (size_t i = 0; i < count; i++)
		hw_table_row(&report, cells[i]);
	hw_report_end(&report, NULL);
	err = hw_sink_close(&report.sink, true);
	CHECK(!err, "sink");
	hw_vec_deinit(&report.scratch);
	hw_session_close(session);
}

static const struct hw_cell hostile[][4] = {
	{ { HW_CELL_TEXT, { "plain" } },
	  { HW_CELL_BOOL, { .boolean = true } },
	  { HW_CELL_NUMBER, { .number = 1234567 } },
	  { HW_CELL_TEXT, { "x" } } },
	{ { HW_CELL_TEXT, { "a,\"b\"\n" } },
	  { HW_CELL_NONE, { 0 } },
	  { HW_CELL_SIGNED, { .integer = -1000 } },
	  { HW_CELL_TEXT, { "" } } },
	{ { HW_CELL_TEXT, { "\033[31mred\xff" } },
	  { HW_CELL_ADDRESS, { .number = 0xabc } },
	  { HW_CELL_NUMBER, { .number = UINT64_MAX } },
	  { HW_CELL_TEXT, { "größe" } } },
};

static void test_text_table(void)
{
	struct page page = { 0 };
	print_rows(HW_FORMAT_TEXT, &page, hostile, 3);
	CHECK(!strcmp(page.text, "           Name                       Count  Shown\n"
				 "---------------  --------------------------  -----\n"
				 "          plain                   1,234,567      x\n"
				 "      a,\"b\"\\x0a                      -1,000       \n"
				 "\\x1b[31mred\\xff  18,446,744,073,709,551,615  größe\n"),
	      "got:\n%s", page.text);
	free(page.text);
}

static void test_csv(void)
{
	struct page page = { 0 };
	print_rows(HW_FORMAT_CSV, &page, hostile, 3);
	CHECK(!strcmp(page.text, "name,hidden,count\r\n"
				 "plain,true,1234567\r\n"
				 "\"a,\"\"b\"\"\\x0a\",,-1000\r\n"
				 "\\x1b[31mred\\xff,0xabc,18446744073709551615\r\n"),
	      "got:\n%s", page.text);
	free(page.text);
}

static void test_json_rows(void)
{
	struct page page = { 0 };
	print_rows(HW_FORMAT_JSON, &page, hostile, 3);
	struct json_object *report = parse_report(page.text, "heapwalk.test/1");
	struct json_object *rows = member(report, "rows");
	CHECK(json_object_array_length(rows) == 3, "rows");
	struct json_object *first = json_object_array_get_idx(rows, 0);
	struct json_object *second = json_object_array_get_idx(rows, 1);
	struct json_object *third = json_object_array_get_idx(rows, 2);
	CHECK(json_object_get_boolean(member(first, "hidden")), "bool");
	CHECK(!strcmp(json_object_get_string(member(second, "name")), "a,\"b\"\\x0a"), "quotes: %s",
	      page.text);
	CHECK(!member(second, "hidden"), "null");
	CHECK(json_object_get_int64(member(second, "count")) == -1000, "negative");
	CHECK(!strcmp(json_object_get_string(member(third, "hidden")), "0xabc"), "address");
	CHECK(json_object_get_uint64(member(third, "count")) == UINT64_MAX, "big");
	json_object_put(report);
	free(page.text);
}

// More rows than are held back: the table goes on, no row is lost.
static void test_many_rows(void)
{
	enum { MANY = HW_TABLE_HELD_ROWS + 5000 };
	struct hw_cell(*cells)[4] = calloc(MANY, sizeof(*cells));
	for (size_t i = 0; i < MANY; i++) {
		cells[i][0] = hw_cell_text(i == MANY - 1 ? "much wider than all before" : "x");
		cells[i][2] = hw_cell_number(i);
		cells[i][3] = hw_cell_text("");
	}
	struct page page = { 0 };
	print_rows(HW_FORMAT_TEXT, &page, (const struct hw_cell(*)[4])cells, MANY);
	size_t lines = 0;
	for (const char *p = page.text; (p = strchr(p, '\n')); p++)
		lines++;
	CHECK(lines == MANY + 2, "%zu lines", lines);
	CHECK(strstr(page.text, "much wider than all before  14,999"), "the last row");
	free(page.text);
	free(cells);
}

static void test_numbers(void)
{
	char buf[32];
	CHECK(!strcmp(hw_commas(0, buf), "0"), "%s", buf);
	CHECK(!strcmp(hw_commas(999, buf), "999"), "%s", buf);
	CHECK(!strcmp(hw_commas(1000, buf), "1,000"), "%s", buf);
	CHECK(!strcmp(hw_percent(1, 1, buf), "100 %"), "%s", buf);
	CHECK(!strcmp(hw_percent(9999999, 10000000, buf), "99.9 %"), "%s", buf);
	CHECK(!strcmp(hw_percent(0, 0, buf), "100 %"), "%s", buf);
	CHECK(!strcmp(hw_percent(UINT64_MAX - 1, UINT64_MAX, buf), "99.9 %"), "%s", buf);
}

int main(void)
{
	test_numbers();
	test_text_table();
	test_csv();
	test_json_rows();
	test_many_rows();
	return check_finish();
}
