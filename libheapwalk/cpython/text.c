/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/text.h"

#include <stdio.h>
#include <string.h>

#include "cpython/containers.h"

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
		    (hw_str_state(l, state) >> 5 & 3) != 3 ||
		    !hw_pages_read_word(pages, addr + (uint64_t)l->str_length, &length))
			return false;
		text = addr + (uint64_t)l->str_ascii_size;
	} else {
		if (!hw_pages_read_word(pages, addr + (uint64_t)l->ob_size, &length))
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
		return hw_pages_read_word(pages, module + (uint64_t)l->module_md_name, &name) &&
		       name && hw_str_text(l, pages, name, buf, size);
	uint64_t dict, table, mask;
	if (l->dict_ma_table == HW_ABSENT ||
	    !hw_pages_read_word(pages, module + (uint64_t)l->module_md_dict, &dict) || !dict ||
	    !hw_pages_read_word(pages, dict + (uint64_t)l->dict_ma_table, &table) ||
	    !hw_pages_read_word(pages, dict + (uint64_t)l->dict_ma_mask, &mask))
		return false;
	for (uint64_t i = 0; i <= mask && i < HW_MODULE_ENTRIES_MAX; i++) {
		uint64_t key, value;
		hw_addr_t entry = table + i * (uint64_t)l->dict_entry_size;
		char text[16];
		if (!hw_pages_read_word(pages, entry + (uint64_t)l->dict_me_key, &key))
			return false;
		if (key && hw_str_text(l, pages, key, text, sizeof(text)) &&
		    !strcmp(text, "__name__"))
			return hw_pages_read_word(pages, entry + (uint64_t)l->dict_me_value,
						  &value) &&
			       value && hw_str_text(l, pages, value, buf, size);
	}
	return false;
}

enum { HW_CLASS_ITEMS_MAX = 4096 };

struct hw_module_item {
	const struct hw_python_layout *layout;
	struct hw_pages *pages;
	char *buf;
	size_t size;
	bool is_found;
};

static bool hw_take_module_item(void *payload, hw_addr_t key, hw_addr_t value)
{
	struct hw_module_item *item = payload;
	char name[sizeof("__module__")];
	if (!hw_str_text(item->layout, item->pages, key, name, sizeof(name)) ||
	    strcmp(name, "__module__") != 0)
		return true;
	item->is_found = hw_str_text(item->layout, item->pages, value, item->buf, item->size);
	return false;
}

bool hw_type_module_name(const struct hw_python_layout *layout, struct hw_pages *pages,
			 const struct hw_type *type, char *buf, size_t size)
{
	struct hw_module_item item = { layout, pages, buf, size, false };
	hw_addr_t dict;
	if (type->flags & HW_TPFLAGS_HEAPTYPE) {
		if (hw_pages_read_word(pages, type->address + (uint64_t)layout->tp_dict, &dict) &&
		    dict)
			hw_dict_visit(layout, pages, dict, HW_CLASS_ITEMS_MAX, hw_take_module_item,
				      &item);
		return item.is_found;
	}
	if (type->absent_file)
		return false;
	const char *dot = strrchr(type->name, '.');
	// Objects/typeobject.c, type_module(): 2.7 calls it __builtin__, which is the same to people.
	int len = dot ? snprintf(buf, size, "%.*s", (int)(dot - type->name), type->name)
		      : snprintf(buf, size, "builtins");
	return len >= 0 && (size_t)len < size;
}
