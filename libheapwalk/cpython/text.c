/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/text.h"

#include <string.h>

#include "base/bytes.h"

bool hw_str_text(const struct hw_python_layout *l, struct hw_pages *pages, hw_addr_t addr,
		 char *buf, size_t size)
{
	uint64_t length;
	hw_addr_t text;
	if (l->str_state != HW_ABSENT) {
		uint32_t state;
		// compact (bit 5) and ASCII (bit 6): the text follows the header
		if (!hw_pages_read_u32(pages, addr + (uint64_t)l->str_state, &state) ||
		    (state >> 5 & 3) != 3 ||
		    !hw_pages_read_u64(pages, addr + (uint64_t)l->str_length, &length))
			return false;
		text = addr + (uint64_t)l->str_ascii_size;
	} else {
		if (!hw_pages_read_u64(pages, addr + (uint64_t)l->ob_size, &length))
			return false;
		text = addr + (uint64_t)l->bytes_ob_sval;
	}
	if (!length || length >= size || !hw_pages_read(pages, text, buf, (size_t)length))
		return false;
	buf[length] = '\0';
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)buf[i] < 0x20 || (unsigned char)buf[i] >= 0x7f)
			return false;
	return true;
}

enum { HW_MODULE_ENTRIES_MAX = 1 << 16 };

bool hw_module_object_name(const struct hw_python_layout *l, struct hw_pages *pages,
			   hw_addr_t module, char *buf, size_t size)
{
	uint64_t name;
	if (l->module_md_name != HW_ABSENT)
		return hw_pages_read_u64(pages, module + (uint64_t)l->module_md_name, &name) &&
		       name && hw_str_text(l, pages, name, buf, size);
	uint64_t dict, table, mask;
	if (l->dict_ma_table == HW_ABSENT ||
	    !hw_pages_read_u64(pages, module + (uint64_t)l->module_md_dict, &dict) || !dict ||
	    !hw_pages_read_u64(pages, dict + (uint64_t)l->dict_ma_table, &table) ||
	    !hw_pages_read_u64(pages, dict + (uint64_t)l->dict_ma_mask, &mask))
		return false;
	for (uint64_t i = 0; i <= mask && i < HW_MODULE_ENTRIES_MAX; i++) {
		uint64_t key, value;
		hw_addr_t entry = table + i * (uint64_t)l->dict_entry_size;
		char text[16];
		if (!hw_pages_read_u64(pages, entry + (uint64_t)l->dict_me_key, &key))
			return false;
		if (key && hw_str_text(l, pages, key, text, sizeof(text)) &&
		    !strcmp(text, "__name__"))
			return hw_pages_read_u64(pages, entry + (uint64_t)l->dict_me_value,
						 &value) &&
			       value && hw_str_text(l, pages, value, buf, size);
	}
	return false;
}
