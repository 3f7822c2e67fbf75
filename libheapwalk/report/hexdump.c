/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `hexdump ADDR`: bytes of the target.
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "report/report.h"

enum { HW_HEXDUMP_ROW = 32, HW_HEXDUMP_DEFAULT = 512, HW_HEXDUMP_PIECE = 1 << 14 };
#define HW_HEXDUMP_MAX (1ull << 30)

enum { HW_HEXDUMP_ADDRESS, HW_HEXDUMP_HEX, HW_HEXDUMP_BARE, HW_HEXDUMP_TEXT, HW_HEXDUMP_CELLS };

static const struct hw_column hw_hexdump_columns[HW_HEXDUMP_CELLS] = {
	[HW_HEXDUMP_ADDRESS] = { "Address", "address" },
	[HW_HEXDUMP_HEX] = { "Bytes", NULL },
	[HW_HEXDUMP_BARE] = { NULL, "hex" },
	[HW_HEXDUMP_TEXT] = { "Characters", "text" },
};
static const struct hw_column hw_hexdump_char_columns[HW_HEXDUMP_CELLS] = {
	[HW_HEXDUMP_ADDRESS] = { "Address", "address" },
	[HW_HEXDUMP_HEX] = { NULL, NULL },
	[HW_HEXDUMP_BARE] = { NULL, "hex" },
	[HW_HEXDUMP_TEXT] = { "Characters", "text" },
};

static void hw_hexdump_row(struct hw_report *report, hw_addr_t addr, const uint8_t *bytes,
			   size_t len)
{
	char hex[HW_HEXDUMP_ROW * 3 + HW_HEXDUMP_ROW / 8], bare[HW_HEXDUMP_ROW * 2 + 1];
	char text[HW_HEXDUMP_ROW + 1];
	size_t used = 0;
	for (size_t i = 0; i < HW_HEXDUMP_ROW; i++) {
		const char *gap = i == 0 ? "" : i % 8 == 0 ? "  " : " ";
		if (i < len) {
			used += (size_t)sprintf(hex + used, "%s%02x", gap, bytes[i]);
			sprintf(bare + 2 * i, "%02x", bytes[i]);
			text[i] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '.';
		} else {
			used += (size_t)sprintf(hex + used, "%s  ", gap); // keeps the columns
		}
	}
	text[len] = 0;
	const struct hw_cell cells[HW_HEXDUMP_CELLS] = {
		[HW_HEXDUMP_ADDRESS] = hw_cell_address(addr),
		[HW_HEXDUMP_HEX] = hw_cell_text(hex),
		[HW_HEXDUMP_BARE] = hw_cell_text(bare),
		[HW_HEXDUMP_TEXT] = hw_cell_text(text),
	};
	hw_table_row(report, cells);
}

static struct hw_error *hw_hexdump_read(struct hw_session *session, hw_addr_t addr, uint8_t *bytes,
					size_t len, size_t *ret_len)
{
	HW_TRY(hw_session_stop(session));
	*ret_len = hw_target_read_some(session->target, addr, bytes, len);
	hw_session_resume(session);
	return NULL;
}

static struct hw_error *hw_hexdump_print(struct hw_report *report, hw_addr_t addr, uint64_t length,
					 uint8_t *bytes)
{
	struct hw_session *session = report->session;
	size_t got;
	HW_TRY(hw_hexdump_read(session, addr, bytes, (size_t)hw_min(length, HW_HEXDUMP_PIECE),
			       &got));
	if (!got)
		return hw_error_at(HW_ERROR_FAULT, addr,
				   "no memory can be read at 0x%llx: the target's mappings do not "
				   "have it, or the core left it out",
				   (unsigned long long)addr);
	bool chars_only = hw_argument(report->arguments, "c") != NULL;
	hw_report_begin(report, "hexdump");
	hw_report_member(report, "start", hw_json_address(addr));
	hw_table_begin(report, "rows", chars_only ? hw_hexdump_char_columns : hw_hexdump_columns,
		       HW_HEXDUMP_CELLS);
	uint64_t done = 0;
	while (got) {
		for (size_t i = 0; i < got; i += HW_HEXDUMP_ROW)
			hw_hexdump_row(report, addr + done + i, bytes + i,
				       (size_t)hw_min(got - i, HW_HEXDUMP_ROW));
		done += got;
		if (done == length || hw_report_is_stopped(report))
			break;
		HW_TRY(hw_hexdump_read(session, addr + done, bytes,
				       (size_t)hw_min(length - done, HW_HEXDUMP_PIECE), &got));
	}
	hw_table_end(report);
	hw_report_member(report, "length", json_object_new_uint64(done));
	if (!got)
		return hw_error_at(HW_ERROR_FAULT, addr + done,
				   "readable memory ends at 0x%llx, %llu of %llu bytes were shown",
				   (unsigned long long)(addr + done), (unsigned long long)done,
				   (unsigned long long)length);
	return NULL;
}

// "ADDR" or "ADDR LENGTH"; *ret_length stays as it is without one.
static struct hw_error *hw_hexdump_arguments(const char *text, hw_addr_t *ret_addr,
					     uint64_t *ret_length)
{
	size_t len = strcspn(text, " ");
	hw_cleanup_free char *addr = strndup(text, len);
	if (!addr)
		return &hw_enomem;
	if (!*addr)
		return hw_error_create(HW_ERROR_INVALID,
				       "hexdump needs an address: hexdump 0x7f0012345678");
	if (!hw_number_parse(addr, ret_addr))
		return hw_error_create(HW_ERROR_INVALID,
				       "\"%.100s\" is no address: give a decimal or a 0x number",
				       addr);
	if (text[len] && (!hw_number_parse(text + len, ret_length) || !*ret_length))
		return hw_error_create(HW_ERROR_INVALID,
				       "\"%.100s\" is no length: give a number of bytes above 0",
				       text + len + 1);
	return NULL;
}

struct hw_error *hw_report_hexdump(struct hw_report *report)
{
	const struct hw_arguments *arguments = report->arguments;
	hw_addr_t addr;
	uint64_t length;
	HW_TRY(hw_argument_number(arguments, "length", HW_HEXDUMP_DEFAULT, &length));
	HW_TRY(hw_hexdump_arguments(arguments->text, &addr, &length));
	if (!hw_argument_is_default(arguments, "top")) // a setting for tables
		length = hw_min(length, report->top < UINT64_MAX / HW_HEXDUMP_ROW
						? report->top * HW_HEXDUMP_ROW
						: UINT64_MAX);
	if (length > HW_HEXDUMP_MAX)
		return hw_error_create(HW_ERROR_INVALID, "hexdump shows at most 1G at a time");
	length = hw_min(length, 0 - addr ? 0 - addr : UINT64_MAX); // up to the end of addresses
	uint8_t *bytes = malloc(HW_HEXDUMP_PIECE);
	struct hw_error *err = bytes ? hw_hexdump_print(report, addr, length, bytes) : &hw_enomem;
	free(bytes);
	return err;
}
