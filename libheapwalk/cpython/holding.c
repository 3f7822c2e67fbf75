/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/holding.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cpython/containers.h"
#include "cpython/frames.h"
#include "cpython/references.h"
#include "cpython/text.h"
#include "cpython/value.h"

enum { HW_HOLDING_ITEMS_MAX = 1 << 20, HW_MEMBERS_MAX = 1 << 10, HW_MEMBER_WORDS = 5 };

struct hw_holding {
	struct hw_type_cache *cache;
	const struct hw_python_layout *layout;
	hw_addr_t owner, held;
	const struct hw_type *type;
	const char *detail;
	char *buf;
	uint64_t index;
};

static bool hw_holding_word(const struct hw_holding *h, hw_addr_t object, int64_t offset,
			    uint64_t *ret)
{
	return offset != HW_ABSENT &&
	       hw_pages_read_word(h->cache->pages, object + (uint64_t)offset, ret);
}

static bool hw_holding_is(const struct hw_type *type, const char *name)
{
	for (unsigned n = 0; type && n < HW_HOLDING_TEXT_MAX; type = type->base, n++)
		if (!(type->flags & HW_TPFLAGS_HEAPTYPE) && !strcmp(type->name, name))
			return true;
	return false;
}

// ---- containers ----

static bool hw_holding_pair(void *payload, hw_addr_t key, hw_addr_t value)
{
	struct hw_holding *h = payload;
	char text[HW_VALUE_TEXT_MAX];
	if (key != h->held && value != h->held)
		return true;
	const char *what = key == h->held                      ? "key"
			   : !strncmp(h->detail, "module ", 7) ? "global"
			   : strstr(h->detail, ".__dict__")    ? "attribute"
							       : "value of key";
	if (!strcmp(what, "key")) {
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "key");
		return false;
	}
	hw_value_text(h->cache, key, text);
	if (strlen(text) > HW_HOLDING_TEXT_MAX - 40)
		strcpy(text + HW_HOLDING_TEXT_MAX - 44, "\xe2\x80\xa6");
	snprintf(h->buf, HW_HOLDING_TEXT_MAX, "%s %s", what, text);
	return false;
}

static bool hw_holding_item(void *payload, hw_addr_t item, hw_addr_t value)
{
	struct hw_holding *h = payload;
	(void)value;
	if (item == h->held) {
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "item %llu", (unsigned long long)h->index);
		return false;
	}
	h->index++;
	return true;
}

static bool hw_holding_member(void *payload, hw_addr_t item, hw_addr_t value)
{
	struct hw_holding *h = payload;
	(void)value;
	if (item == h->held)
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "member");
	return item != h->held;
}

static void hw_holding_sequence(struct hw_holding *h, hw_addr_t items)
{
	uint64_t count;
	if (hw_holding_word(h, h->owner, h->layout->ob_size, &count))
		hw_sequence_visit(h->cache->pages, items, count, HW_HOLDING_ITEMS_MAX,
				  hw_holding_item, h);
}

static void hw_holding_container(struct hw_holding *h)
{
	const struct hw_python_layout *l = h->layout;
	uint64_t items;
	if (h->type->holds == HW_HOLDS_DICT)
		hw_dict_visit(l, h->cache->pages, h->owner, HW_HOLDING_ITEMS_MAX, hw_holding_pair,
			      h);
	else if (h->type->holds == HW_HOLDS_SET)
		hw_set_visit(l, h->cache->pages, h->owner, NULL, 0, HW_HOLDING_ITEMS_MAX,
			     hw_holding_member, h);
	else if (hw_holding_is(h->type, "tuple") && l->tuple_ob_item != HW_ABSENT)
		hw_holding_sequence(h, h->owner + (uint64_t)l->tuple_ob_item);
	else if (hw_holding_is(h->type, "list") &&
		 hw_holding_word(h, h->owner, l->list_ob_item, &items))
		hw_holding_sequence(h, items);
	else if (h->type->holds == HW_HOLDS_BUFFERS && !hw_holding_is(h->type, "list"))
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "item");
}

// ---- attributes without a dict (3.11+) ----

// The name of value number i of an instance: the i-th key that its class's instances share.
static bool hw_holding_shared_key(const struct hw_holding *h, uint64_t i, char *buf, size_t size)
{
	const struct hw_python_layout *l = h->layout;
	uint8_t header[HW_DICT_KEYS_HEADER_MAX];
	struct hw_entries entries;
	uint64_t key;
	return h->type->cached_keys && l->keys_indices > 0 &&
	       (size_t)l->keys_indices <= sizeof(header) &&
	       hw_pages_read(h->cache->pages, h->type->cached_keys, header,
			     (size_t)l->keys_indices) &&
	       hw_dict_keys_entries(l, h->type->cached_keys, header, sizeof(header), &entries) &&
	       i < entries.count &&
	       hw_pages_read_word(h->cache->pages,
				  entries.first + i * entries.bytes + entries.key_at, &key) &&
	       hw_str_text(l, h->cache->pages, key, buf, size);
}

// Objects/dictobject.c, Include/internal/pycore_object.h: 3.11 and 3.12 keep values in a block of their own,
// whose address stands before the object (tagged in 3.12), 3.13 behind the object's own members.
static void hw_holding_values(struct hw_holding *h)
{
	const struct hw_python_layout *l = h->layout;
	uint64_t values = 0, word;
	if (h->type->flags & HW_TPFLAGS_INLINE_VALUES) {
		values = h->owner + h->type->basicsize + (uint64_t)l->dict_values;
	} else if (h->type->flags & HW_TPFLAGS_MANAGED_DICT &&
		   l->dict_values_capacity == HW_ABSENT) {
		const bool is_tagged = l->long_lv_tag != HW_ABSENT;
		const unsigned words = is_tagged ? 3 : 4;
		if (hw_pages_read_word(h->cache->pages, h->owner - words * l->word_bytes, &word) &&
		    (!is_tagged || word & 1))
			values = is_tagged ? word + 1 : word;
	}
	enum { SHARED_KEYS_MAX = 30 };
	for (uint64_t i = 0; values && i < SHARED_KEYS_MAX; i++) {
		char name[HW_HOLDING_TEXT_MAX - 40];
		if (!hw_holding_shared_key(h, i, name, sizeof(name)) ||
		    !hw_pages_read_word(h->cache->pages, values + l->word_bytes * i, &word))
			return;
		if (word == h->held) {
			snprintf(h->buf, HW_HOLDING_TEXT_MAX, "attribute '%s'", name);
			return;
		}
	}
}

// ---- words of the object ----

// What __slots__ of the class, or of a base of it, calls the word at an offset: struct PyMemberDef {name, type,
// offset, flags, doc} behind the type object, Objects/typeobject.c.
static bool hw_holding_slot(const struct hw_holding *h, uint64_t offset, char *buf, size_t size)
{
	const struct hw_python_layout *l = h->layout;
	const struct hw_type *type = h->type;
	const unsigned word = l->word_bytes;
	for (unsigned n = 0; type && type->flags & HW_TPFLAGS_HEAPTYPE && n < HW_HOLDING_TEXT_MAX;
	     type = type->base, n++) {
		uint64_t count, meta_addr, name, at;
		const struct hw_type *meta;
		if (!hw_holding_word(h, type->address, l->ob_size, &count) ||
		    !hw_holding_word(h, type->address, l->ob_type, &meta_addr) ||
		    !(meta = hw_type_at(h->cache, meta_addr)) || count > HW_MEMBERS_MAX ||
		    meta->itemsize != HW_MEMBER_WORDS * word)
			continue;
		for (uint64_t i = 0; i < count; i++) {
			hw_addr_t member = type->address + meta->basicsize + i * meta->itemsize;
			if (hw_pages_read_word(h->cache->pages, member + 2 * word, &at) &&
			    at == offset && hw_pages_read_word(h->cache->pages, member, &name))
				return hw_pages_read_string(h->cache->pages, name, buf, size);
		}
	}
	return false;
}

static void hw_holding_local(struct hw_holding *h, uint64_t offset, hw_addr_t code, uint64_t locals)
{
	char name[HW_HOLDING_TEXT_MAX / 2];
	if (offset < locals ||
	    !hw_code_local_name(h->cache, code & ~(uint64_t)3,
				(offset - locals) / h->layout->word_bytes, name, sizeof(name)))
		return;
	snprintf(h->buf, HW_HOLDING_TEXT_MAX, "local variable '%s'", name);
}

// Frames and generators have variables.
static void hw_holding_variable(struct hw_holding *h, uint64_t offset)
{
	const struct hw_python_layout *l = h->layout;
	uint64_t code, iframe = 0;
	if (h->type->holds == HW_HOLDS_FRAME && l->frame_data == HW_ABSENT) {
		if (l->frame_localsplus >= 0 && hw_holding_word(h, h->owner, l->frame_code, &code))
			hw_holding_local(h, offset, code, (uint64_t)l->frame_localsplus);
		return;
	}
	if (h->type->holds == HW_HOLDS_FRAME)
		iframe = (uint64_t)l->frame_data;
	else if (h->type->holds == HW_HOLDS_GENERATOR)
		iframe = (uint64_t)l->gen_iframe;
	if (iframe && l->iframe_localsplus >= 0 &&
	    hw_holding_word(h, h->owner + iframe, l->iframe_code, &code))
		hw_holding_local(h, offset, code, iframe + (uint64_t)l->iframe_localsplus);
}

static bool hw_holding_at(struct hw_holding *h, uint64_t offset)
{
	char name[HW_HOLDING_TEXT_MAX / 2];
	uint64_t word;
	if (!hw_pages_read_word(h->cache->pages, h->owner + offset, &word) || word != h->held)
		return false;
	hw_holding_variable(h, offset);
	if (*h->buf)
		return true;
	if (offset == (uint64_t)h->layout->ob_type)
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "its class");
	else if (h->type->dictoffset > 0 && offset == (uint64_t)h->type->dictoffset)
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "its __dict__");
	else if (h->type->is_module && offset == (uint64_t)h->layout->module_md_dict)
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "its __dict__");
	else if (h->type->is_type && offset == (uint64_t)h->layout->tp_dict)
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "its __dict__");
	else if (h->type->is_type && offset == (uint64_t)h->layout->tp_base)
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "its base");
	else if (hw_holding_is(h->type, "cell"))
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "cell contents");
	else if (hw_holding_slot(h, offset, name, sizeof(name)))
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "slot '%s'", name);
	else
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "word at +0x%llx",
			 (unsigned long long)offset);
	return true;
}

static void hw_holding_run(void *payload, const struct hw_reference_run *run)
{
	struct hw_holding *h = payload;
	for (uint64_t i = 0; i < run->count && i < HW_HOLDING_ITEMS_MAX && !*h->buf; i++)
		hw_holding_at(h, run->first + i * run->stride_bytes - h->owner);
}

static void hw_holding_words(struct hw_holding *h)
{
	enum { LOOK_BYTES = 4096 };
	hw_cleanup_free uint8_t *bytes = calloc(1, LOOK_BYTES);
	uint64_t word, len = hw_min(hw_max(h->type->basicsize, 256), LOOK_BYTES);
	while (bytes && len >= 16 && !hw_pages_read(h->cache->pages, h->owner, bytes, (size_t)len))
		len /= 2;
	if (!bytes || len < 16)
		return;
	const struct hw_reference_owner owner = { h->layout, h->type,     h->owner,
						  bytes,     (size_t)len, UINT32_MAX };
	hw_references_visit(&owner, hw_holding_run, h);
	// Before the object: the dict of an instance that has no word for it.
	if (!*h->buf && h->type->flags & HW_TPFLAGS_MANAGED_DICT &&
	    hw_pages_read_word(h->cache->pages, h->owner - 3 * h->layout->word_bytes, &word) &&
	    word == h->held)
		snprintf(h->buf, HW_HOLDING_TEXT_MAX, "its __dict__");
}

void hw_holding_text(struct hw_type_cache *cache, hw_addr_t owner, const char *detail,
		     hw_addr_t held, char *buf)
{
	struct hw_holding h = { .cache = cache,
				.layout = &cache->types->python->layout,
				.owner = owner,
				.held = held,
				.detail = detail,
				.buf = buf };
	uint64_t type_addr;
	*buf = 0;
	if (!hw_holding_word(&h, owner, h.layout->ob_type, &type_addr) ||
	    !(h.type = hw_type_at(cache, type_addr)))
		return;
	hw_holding_container(&h);
	if (!*buf)
		hw_holding_values(&h);
	if (!*buf)
		hw_holding_words(&h);
}
