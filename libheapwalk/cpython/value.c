/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Upstream: the tp_repr functions of Objects/*.c, 2.7 and 3.6 – 3.13.
#include "cpython/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "cpython/containers.h"
#include "cpython/value_text.h"

enum {
	HW_VALUE_SLOTS_MAX = 1 << 12, // looked at in one table, most of them empty
	HW_VALUE_DUMMIES_MAX = 8,
};

struct hw_value {
	struct hw_value_text text; // first
	const struct hw_python *python;
	const struct hw_python_layout *layout;
	struct hw_type_cache *cache;
	struct hw_pages *pages;
	hw_addr_t path[HW_VALUE_DEPTH_MAX]; // of containers around the object
	unsigned depth;
	unsigned items; // printed of the container under way
	hw_addr_t dummies[HW_VALUE_DUMMIES_MAX];
	unsigned dummy_count;
	bool has_dummies;
};

static void hw_value_write(struct hw_value *v, hw_addr_t object);

static bool hw_value_word(struct hw_value *v, hw_addr_t object, int32_t offset, uint64_t *ret)
{
	return offset != HW_ABSENT && hw_pages_read_word(v->pages, object + (uint64_t)offset, ret);
}

static bool hw_value_double(struct hw_value *v, hw_addr_t object, int32_t offset,
			    uint64_t *ret_bits)
{
	return hw_pages_read_u64(v->pages, object + (uint64_t)offset, ret_bits);
}

static void hw_value_unreadable(struct hw_value *v)
{
	v->text.is_exact = false;
	hw_text_put(&v->text, "?");
}

// The member by which 2.7 differs: its str is what later ones call bytes.
static bool hw_value_is_old(const struct hw_value *v)
{
	return v->layout->unicode_str != HW_ABSENT;
}

// ---- numbers ----

static void hw_value_none(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	(void)type;
	(void)object;
	hw_text_put(&v->text, "None");
}

static void hw_value_ellipsis(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	(void)type;
	(void)object;
	hw_text_put(&v->text, "Ellipsis");
}

static void hw_value_not_implemented(struct hw_value *v, const struct hw_type *type,
				     hw_addr_t object)
{
	(void)type;
	(void)object;
	hw_text_put(&v->text, "NotImplemented");
}

enum { HW_INT_DIGITS_MAX = 80, HW_INT_WORDS_MAX = 96 };

// Digits of `bits` bits, the lowest first, as decimal.
static void hw_put_digits(struct hw_value_text *text, const uint32_t *digits, size_t count,
			  unsigned bits)
{
	uint32_t words[HW_INT_WORDS_MAX] = { 0 }; // base 10^9, the lowest first
	size_t used = 1;
	while (count) {
		uint64_t carry = digits[--count];
		for (size_t i = 0; i < used; i++) {
			carry += (uint64_t)words[i] << bits;
			words[i] = (uint32_t)(carry % 1000000000);
			carry /= 1000000000;
		}
		if (carry && used < HW_INT_WORDS_MAX)
			words[used++] = (uint32_t)carry;
	}
	hw_text_printf(text, "%" PRIu32, words[used - 1]);
	while (--used)
		hw_text_printf(text, "%09" PRIu32, words[used - 1]);
}

// PyLongObject: a sign and a number of digits, then the digits; the type says how large one is.
static void hw_value_long(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	const struct hw_python_layout *l = v->layout;
	uint64_t tag;
	uint32_t digits[HW_INT_DIGITS_MAX];
	const unsigned bytes = type->itemsize, bits = bytes == 4 ? 30 : 15, word = l->word_bytes;
	if ((bytes != 4 && bytes != 2) || !hw_value_word(v, object, l->ob_size, &tag)) {
		hw_value_unreadable(v);
		return;
	}
	bool is_tagged = l->long_lv_tag != HW_ABSENT;
	int64_t size = hw_word_signed(tag, word);
	uint64_t count = is_tagged ? tag >> 3 : size < 0 ? 0 - (uint64_t)size : (uint64_t)size;
	bool is_negative = is_tagged ? (tag & 3) == 2 : size < 0;
	if (count > HW_INT_DIGITS_MAX) {
		v->text.is_exact = false;
		hw_text_printf(&v->text, "<%sint of about %" PRIu64 " bits>",
			       is_negative ? "negative " : "", count * bits);
		return;
	}
	for (uint64_t i = 0; i < count; i++) {
		uint8_t raw[4] = { 0 };
		if (!hw_pages_read(v->pages, object + (uint64_t)l->ob_size + word + i * bytes, raw,
				   bytes)) {
			hw_value_unreadable(v);
			return;
		}
		digits[i] = hw_u32(raw);
	}
	hw_text_put(&v->text, is_negative ? "-" : "");
	hw_put_digits(&v->text, digits, (size_t)count, bits);
}

static void hw_value_old_long(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	hw_value_long(v, type, object);
	hw_text_put(&v->text, "L");
}

static void hw_value_int(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	uint64_t value;
	if (!hw_value_is_old(v))
		hw_value_long(v, type, object);
	else if (hw_value_word(v, object, v->layout->object_size, &value)) // PyIntObject
		hw_text_printf(&v->text, "%" PRId64, hw_word_signed(value, v->layout->word_bytes));
	else
		hw_value_unreadable(v);
}

// An int of no digits is False.
static void hw_value_bool(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	const struct hw_python_layout *l = v->layout;
	uint64_t word;
	(void)type;
	int32_t at = hw_value_is_old(v) ? l->object_size : l->ob_size;
	if (!hw_value_word(v, object, at, &word)) {
		hw_value_unreadable(v);
		return;
	}
	bool is_true = l->long_lv_tag != HW_ABSENT ? word >> 3 && (word & 3) != 1 : word != 0;
	hw_text_put(&v->text, is_true ? "True" : "False");
}

static void hw_value_float(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	uint64_t bits;
	double number;
	(void)type;
	if (!hw_value_double(v, object, v->layout->object_size, &bits)) { // PyFloatObject
		hw_value_unreadable(v);
		return;
	}
	memcpy(&number, &bits, sizeof(number));
	hw_text_put_double(&v->text, number, HW_DOUBLE_FLOAT);
}

static void hw_value_complex(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	uint64_t bits[2];
	double real, imaginary;
	(void)type;
	int32_t at = v->layout->object_size; // PyComplexObject
	if (!hw_value_double(v, object, at, &bits[0]) ||
	    !hw_value_double(v, object, at + 8, &bits[1])) {
		hw_value_unreadable(v);
		return;
	}
	memcpy(&real, &bits[0], sizeof(real));
	memcpy(&imaginary, &bits[1], sizeof(imaginary));
	if (bits[0] == 0) { // +0.0
		hw_text_put_double(&v->text, imaginary, HW_DOUBLE_PART);
		hw_text_put(&v->text, "j");
		return;
	}
	hw_text_put(&v->text, "(");
	hw_text_put_double(&v->text, real, HW_DOUBLE_PART);
	hw_text_put_double(&v->text, imaginary, HW_DOUBLE_SIGNED);
	hw_text_put(&v->text, "j)");
}

// ---- texts ----

// `count` bytes at addr as a bytes literal, behind `prefix`.
static void hw_value_bytes_at(struct hw_value *v, hw_addr_t addr, uint64_t count,
			      const char *prefix)
{
	uint8_t bytes[HW_VALUE_CHARACTERS_MAX];
	uint32_t units[HW_VALUE_CHARACTERS_MAX];
	size_t shown = (size_t)hw_min(count, HW_VALUE_CHARACTERS_MAX);
	if (!hw_pages_read(v->pages, addr, bytes, shown)) {
		hw_value_unreadable(v);
		return;
	}
	for (size_t i = 0; i < shown; i++)
		units[i] = bytes[i];
	hw_text_put(&v->text, prefix);
	hw_text_put_quoted(&v->text, units, shown, HW_QUOTE_BYTES, shown < count);
}

static void hw_value_bytes(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	uint64_t count;
	(void)type;
	if (!hw_value_word(v, object, v->layout->ob_size, &count) ||
	    v->layout->bytes_ob_sval == HW_ABSENT) {
		hw_value_unreadable(v);
		return;
	}
	hw_value_bytes_at(v, object + (uint64_t)v->layout->bytes_ob_sval, count,
			  hw_value_is_old(v) ? "" : "b");
}

static void hw_value_bytearray(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	const struct hw_python_layout *l = v->layout;
	uint64_t count, start = 0;
	(void)type;
	int32_t at = l->bytearray_ob_start != HW_ABSENT ? l->bytearray_ob_start
							: l->bytearray_ob_bytes;
	if (!hw_value_word(v, object, l->ob_size, &count) ||
	    !hw_value_word(v, object, at, &start)) {
		hw_value_unreadable(v);
		return;
	}
	hw_text_put(&v->text, "bytearray(");
	hw_value_bytes_at(v, start, count, "b");
	hw_text_put(&v->text, ")");
}

// `count` characters of `width` bytes each.
static void hw_value_characters(struct hw_value *v, hw_addr_t addr, uint64_t count, unsigned width,
				enum hw_quote quote)
{
	uint8_t bytes[HW_VALUE_CHARACTERS_MAX * 4];
	uint32_t units[HW_VALUE_CHARACTERS_MAX];
	size_t shown = (size_t)hw_min(count, HW_VALUE_CHARACTERS_MAX);
	if (!hw_pages_read(v->pages, addr, bytes, shown * width)) {
		hw_value_unreadable(v);
		return;
	}
	for (size_t i = 0; i < shown; i++)
		units[i] = width == 1   ? bytes[i]
			   : width == 2 ? hw_u16(bytes + 2 * i)
					: hw_u32(bytes + 4 * i);
	hw_text_put_quoted(&v->text, units, shown, quote, shown < count);
}

// Include/cpython/unicodeobject.h: kind in bits 2 – 4 of the state, compact in 5, ascii in 6.
static void hw_value_str(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	const struct hw_python_layout *l = v->layout;
	uint32_t state;
	uint64_t count, addr;
	if (hw_value_is_old(v)) {
		hw_value_bytes(v, type, object);
		return;
	}
	if (l->str_state == HW_ABSENT ||
	    !hw_pages_read_u32(v->pages, object + (uint64_t)l->str_state, &state) ||
	    !hw_value_word(v, object, l->str_length, &count)) {
		hw_value_unreadable(v);
		return;
	}
	state = hw_str_state(l, state);
	unsigned width = state >> 2 & 7;
	bool is_compact = state >> 5 & 1, is_ascii = state >> 6 & 1;
	if (width != 1 && width != 2 && width != 4) { // made of wchar_t, not "ready" (up to 3.11)
		v->text.is_exact = false;
		hw_text_put(&v->text, "<str that is not ready>");
		return;
	}
	if (is_compact)
		addr = object + (uint64_t)(is_ascii ? l->str_ascii_size : l->str_compact_size);
	else if (!hw_value_word(v, object, l->str_data, &addr)) {
		hw_value_unreadable(v);
		return;
	}
	hw_value_characters(v, addr, count, width, HW_QUOTE_STR);
}

static void hw_value_unicode(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	const struct hw_python_layout *l = v->layout;
	uint64_t count, addr;
	(void)type;
	if ((l->unicode_unit_size != 2 && l->unicode_unit_size != 4) ||
	    !hw_value_word(v, object, l->str_length, &count) ||
	    !hw_value_word(v, object, l->unicode_str, &addr)) {
		hw_value_unreadable(v);
		return;
	}
	hw_text_put(&v->text, "u");
	hw_value_characters(v, addr, count, (unsigned)l->unicode_unit_size, HW_QUOTE_UNICODE);
}

// ---- containers ----

// False, and the target's own sign for it printed, when the container is in itself; or when it is nested
// too deeply.
static bool hw_value_enter(struct hw_value *v, hw_addr_t object, const char *again)
{
	for (unsigned i = 0; i < v->depth; i++) {
		if (v->path[i] == object) {
			hw_text_put(&v->text, again);
			return false;
		}
	}
	if (v->depth == HW_VALUE_DEPTH_MAX) {
		v->text.is_exact = false;
		hw_text_put(&v->text, "…");
		return false;
	}
	v->path[v->depth++] = object;
	return true;
}

static bool hw_value_item(void *payload, hw_addr_t key, hw_addr_t value)
{
	struct hw_value *v = payload;
	unsigned items = v->items + 1;
	if (v->text.is_full)
		return false;
	hw_text_put(&v->text, v->items ? ", " : "");
	if (v->items == HW_VALUE_ITEMS_MAX) {
		hw_text_put(&v->text, "…");
		v->text.is_exact = false;
		return false;
	}
	hw_value_write(v, key);
	if (value) {
		hw_text_put(&v->text, ": ");
		hw_value_write(v, value);
	}
	v->items = items; // the items' own items were counted there meanwhile
	return true;
}

static void hw_value_leave(struct hw_value *v, enum hw_items_end end)
{
	v->depth--;
	if (end == HW_ITEMS_WHOLE)
		return;
	v->text.is_exact = false;
	hw_text_put(&v->text, v->items ? ", " : "");
	hw_text_put(&v->text, end == HW_ITEMS_CUT ? "…" : "?");
}

static void hw_value_sequence(struct hw_value *v, hw_addr_t items, uint64_t count)
{
	v->items = 0;
	hw_value_leave(
		v, hw_sequence_visit(v->pages, items, count, HW_VALUE_SLOTS_MAX, hw_value_item, v));
}

static void hw_value_tuple(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	uint64_t count;
	// A subclass with fields of its own still has its items where tuple has them: type is tuple.
	if (!hw_value_word(v, object, v->layout->ob_size, &count)) {
		hw_value_unreadable(v);
		return;
	}
	if (!hw_value_enter(v, object, "(...)"))
		return;
	hw_text_put(&v->text, "(");
	hw_value_sequence(v, object + type->basicsize, count);
	hw_text_put(&v->text, count == 1 ? ",)" : ")");
}

static void hw_value_list(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	uint64_t count, items;
	(void)type;
	if (!hw_value_word(v, object, v->layout->ob_size, &count) ||
	    !hw_value_word(v, object, v->layout->list_ob_item, &items)) {
		hw_value_unreadable(v);
		return;
	}
	if (!hw_value_enter(v, object, "[...]"))
		return;
	hw_text_put(&v->text, "[");
	hw_value_sequence(v, items, count);
	hw_text_put(&v->text, "]");
}

static void hw_value_dict(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	uint64_t count;
	(void)type;
	if (!hw_dict_length(v->layout, v->pages, object, &count)) {
		hw_value_unreadable(v);
		return;
	}
	if (!hw_value_enter(v, object, "{...}"))
		return;
	v->items = 0;
	hw_text_put(&v->text, "{");
	hw_value_leave(v, count ? hw_dict_visit(v->layout, v->pages, object, HW_VALUE_SLOTS_MAX,
						hw_value_item, v)
				: HW_ITEMS_WHOLE);
	hw_text_put(&v->text, "}");
}

static bool hw_take_dummy(void *payload, const struct hw_symbol *symbol)
{
	struct hw_value *v = payload;
	if (!symbol->is_function &&
	    hw_pages_read_word(v->pages, symbol->address, &v->dummies[v->dummy_count]))
		v->dummy_count++;
	return v->dummy_count < HW_VALUE_DUMMIES_MAX;
}

// 2.7: static PyObject *dummy, in setobject.c and in dictobject.c
static void hw_value_find_dummies(struct hw_value *v)
{
	if (v->has_dummies || !hw_value_is_old(v))
		return;
	v->has_dummies = true;
	hw_module_visit_symbols(v->python->module, "dummy", hw_take_dummy, v);
}

static void hw_value_set(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	bool is_old = hw_value_is_old(v), is_frozen = !strcmp(type->name, "frozenset");
	uint64_t count;
	char again[32];
	snprintf(again, sizeof(again), "%s(...)", type->name);
	if (!hw_set_length(v->layout, v->pages, object, &count)) {
		hw_value_unreadable(v);
		return;
	}
	if (!hw_value_enter(v, object, again))
		return;
	const char *open = is_old ? "([" : is_frozen ? "({" : "{";
	const char *close = is_old ? "])" : is_frozen ? "})" : "}";
	if (!count && !is_old) {
		open = "(";
		close = ")";
	}
	hw_text_put(&v->text, is_old || is_frozen || !count ? type->name : "");
	hw_text_put(&v->text, open);
	v->items = 0;
	hw_value_find_dummies(v);
	hw_value_leave(v, hw_set_visit(v->layout, v->pages, object, v->dummies, v->dummy_count,
				       HW_VALUE_SLOTS_MAX, hw_value_item, v));
	hw_text_put(&v->text, close);
}

// ---- everything else ----

static void hw_value_type(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	const struct hw_type *self = hw_type_at(v->cache, object);
	(void)type;
	if (!self) {
		hw_value_unreadable(v);
		return;
	}
	// A class of Python's has its module's name elsewhere: in its dict.
	v->text.is_exact &= !(self->flags & HW_TPFLAGS_HEAPTYPE);
	hw_text_put(&v->text, hw_value_is_old(v) ? "<type '" : "<class '");
	hw_text_put_clean(&v->text, self->name);
	hw_text_put(&v->text, "'>");
}

static void hw_value_instance(struct hw_value *v, const struct hw_type *type, hw_addr_t object)
{
	v->text.is_exact = false;
	hw_text_put(&v->text, "<");
	hw_text_put_clean(&v->text, type->name);
	hw_text_printf(&v->text, " object at 0x%" PRIx64 ">", object);
}

struct hw_value_kind {
	const char *name; // of the interpreter's own type
	void (*write)(struct hw_value *v, const struct hw_type *type, hw_addr_t object);
};

static const struct hw_value_kind hw_value_kinds[] = {
	{ "NoneType", hw_value_none },     { "bool", hw_value_bool },
	{ "int", hw_value_int },           { "long", hw_value_old_long },
	{ "float", hw_value_float },       { "complex", hw_value_complex },
	{ "str", hw_value_str },           { "unicode", hw_value_unicode },
	{ "bytes", hw_value_bytes },       { "bytearray", hw_value_bytearray },
	{ "tuple", hw_value_tuple },       { "list", hw_value_list },
	{ "dict", hw_value_dict },         { "set", hw_value_set },
	{ "frozenset", hw_value_set },     { "type", hw_value_type },
	{ "ellipsis", hw_value_ellipsis }, { "NotImplementedType", hw_value_not_implemented },
};

// A type is what its name says when it is the interpreter's: a static one, in the interpreter's file.
static const struct hw_value_kind *hw_value_kind_of(const struct hw_value *v,
						    const struct hw_type *type)
{
	const struct hw_module *module = v->python->module;
	if (type->flags & HW_TPFLAGS_HEAPTYPE || type->address < module->start ||
	    type->address >= module->end)
		return NULL;
	for (size_t i = 0; i < sizeof(hw_value_kinds) / sizeof(hw_value_kinds[0]); i++)
		if (!strcmp(hw_value_kinds[i].name, type->name))
			return &hw_value_kinds[i];
	return NULL;
}

static void hw_value_write(struct hw_value *v, hw_addr_t object)
{
	uint64_t type_addr;
	if (v->text.is_full)
		return;
	const struct hw_type *type = NULL;
	if (object && hw_value_word(v, object, v->layout->ob_type, &type_addr))
		type = hw_type_at(v->cache, type_addr);
	if (!type) {
		v->text.is_exact = false;
		hw_text_printf(&v->text, object ? "<no object at 0x%" PRIx64 ">" : "<NULL>",
			       object);
		return;
	}
	const struct hw_type *base = type;
	const struct hw_value_kind *kind = NULL;
	while (base && !(kind = hw_value_kind_of(v, base)))
		base = base->base;
	if (!kind) {
		hw_value_instance(v, type, object);
	} else if (base == type || kind->write == hw_value_type) {
		kind->write(v, base, object);
	} else {
		v->text.is_exact = false;
		hw_text_put_clean(&v->text, type->name);
		hw_text_put(&v->text, "(");
		kind->write(v, base, object);
		hw_text_put(&v->text, ")");
	}
}

bool hw_value_text(struct hw_type_cache *cache, hw_addr_t object, char *buf)
{
	struct hw_value v = {
		.text = { .buf = buf, .size = HW_VALUE_TEXT_MAX, .is_exact = true },
		.python = cache->types->python,
		.layout = &cache->types->python->layout,
		.cache = cache,
		.pages = cache->pages,
	};
	*buf = 0;
	hw_value_write(&v, object);
	hw_text_end(&v.text);
	return v.text.is_exact;
}
