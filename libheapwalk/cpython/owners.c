/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/owners.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "cpython/text.h"

struct hw_owner {
	const struct hw_python_layout *layout;
	const struct hw_object *object;
	hw_addr_t addr;       // of the object
	const uint8_t *bytes; // of the object
	size_t len;
	struct hw_claim_sink *sink;
};

struct hw_owner_rule {
	const char *type; // tp_name; plain names are the builtin's only, never a user's class
	size_t field;     // offsetof(struct hw_python_layout, …), 0: see `words`
	int16_t words; // behind PyObject_HEAD, where no debug information tells; HW_ABSENT: see `field`
	const char *name; // of the member, with "TYPE_" before it where it is a fact's name
	enum hw_claim_kind kind;
	const char *detail;                          // of an object
	void (*visit)(const struct hw_owner *owner); // instead of a pointer
};

// ---- reading an owner --------------------------------------------------------------------------

static bool hw_owner_word(const struct hw_owner *owner, int64_t offset, uint64_t *ret)
{
	const unsigned word = owner->layout->word_bytes;
	if (offset >= 0 && (uint64_t)offset + word <= owner->len) {
		*ret = hw_word(owner->bytes + offset, word);
		return true;
	}
	return hw_pages_read_word(owner->sink->cache->pages, owner->addr + (uint64_t)offset, ret);
}

static void hw_owner_claim(const struct hw_owner *owner, const struct hw_claim *claim)
{
	struct hw_claim_sink *sink = owner->sink;
	if (claim->address && !(claim->address >= sink->block && claim->address < sink->block_end))
		sink->claim(sink, claim);
}

static void hw_owner_claim_field(const struct hw_owner *owner, int32_t offset, const char *field,
				 enum hw_claim_kind kind)
{
	uint64_t address;
	if (offset != HW_ABSENT && hw_owner_word(owner, offset, &address))
		hw_owner_claim(owner, &(struct hw_claim){
					      .address = address, .kind = kind, .field = field });
}

// ---- types that need more than a pointer ------------------------------------------------------

// Dict values of 3.11 and 3.12 stand behind the bytes of their insertion order: the pointer leads in.
static bool hw_values_are_interior(const struct hw_python_layout *l)
{
	return l->ht_tpname != HW_ABSENT && l->dict_values_capacity == HW_ABSENT;
}

static void hw_visit_dict(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	uint64_t keys, values;
	if (l->dict_ma_keys == HW_ABSENT) {
		hw_owner_claim_field(owner, l->dict_ma_table, "ma_table", HW_CLAIM_DICT_TABLE);
		return;
	}
	if (hw_owner_word(owner, l->dict_ma_keys, &keys))
		hw_owner_claim(owner, &(struct hw_claim){ .address = keys,
							  .kind = HW_CLAIM_DICT_KEYS,
							  .field = "ma_keys" });
	if (hw_owner_word(owner, l->dict_ma_values, &values) && values)
		hw_owner_claim(owner,
			       &(struct hw_claim){ .address = values,
						   .kind = HW_CLAIM_DICT_VALUES,
						   .field = "ma_values",
						   .is_interior = hw_values_are_interior(l) });
}

// Upstream: Include/cpython/unicodeobject.h. A field that repeats the string's own data is no block.
static void hw_visit_str(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	if (l->str_state == HW_ABSENT) { // 2.7, whose "str" is bytes, with a hash in that place
		if (owner->object->type->flags & HW_TPFLAGS_UNICODE_SUBCLASS)
			hw_owner_claim_field(owner, l->unicode_str, "str", HW_CLAIM_STR_BUFFER);
		return;
	}
	if (owner->len < (size_t)l->str_state + 4)
		return;
	uint32_t state = hw_str_state(l, hw_u32(owner->bytes + l->str_state));
	bool is_compact = state >> 5 & 1, is_ascii = state >> 6 & 1;
	if (!is_compact)
		hw_owner_claim_field(owner, l->str_data, "data", HW_CLAIM_STR_BUFFER);
	if (!is_compact || !is_ascii)
		hw_owner_claim_field(owner, l->str_utf8, "utf8", HW_CLAIM_STR_UTF8);
	hw_owner_claim_field(owner, l->str_wstr, "wstr", HW_CLAIM_STR_WSTR);
}

enum { HW_CODE_COPIES_MAX = 1 << 16 };
enum { HW_DEQUE_BLOCK_ITEMS = 64, HW_DEQUE_FREE_BLOCKS_MAX = 16 };

// Upstream: Modules/_collectionsmodule.c. Release builds leave the outer links unset: rightblock ends
// the chain, and the item count bounds it.
static void hw_visit_deque(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	uint64_t block, last, items;
	if (l->deque_leftblock == HW_ABSENT || l->deque_block_rightlink == HW_ABSENT ||
	    !hw_owner_word(owner, l->deque_leftblock, &block) ||
	    !hw_owner_word(owner, l->deque_rightblock, &last) ||
	    !hw_owner_word(owner, l->ob_size, &items))
		return;
	uint64_t blocks = items / HW_DEQUE_BLOCK_ITEMS + 2;
	struct hw_links links = { 0 };
	while (links.count < blocks && hw_links_enter(&links, owner->sink, block)) {
		hw_owner_claim(owner, &(struct hw_claim){ .address = block,
							  .kind = HW_CLAIM_DEQUE_BLOCK,
							  .field = "leftblock" });
		if (block == last ||
		    !hw_pages_read_word(owner->sink->cache->pages,
					block + (uint64_t)l->deque_block_rightlink, &block))
			break;
	}
	uint64_t count;
	if (l->deque_freeblocks == HW_ABSENT ||
	    !hw_owner_word(owner, l->deque_numfreeblocks, &count))
		return;
	for (uint64_t i = 0; i < count && i < HW_DEQUE_FREE_BLOCKS_MAX; i++)
		if (hw_owner_word(owner, l->deque_freeblocks + l->word_bytes * (int64_t)i, &block))
			hw_owner_claim(owner, &(struct hw_claim){ .address = block,
								  .kind = HW_CLAIM_DEQUE_BLOCK,
								  .field = "freeblocks" });
}

static void hw_visit_odict(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	uint64_t node, used;
	if (l->odict_first == HW_ABSENT || !hw_owner_word(owner, l->odict_first, &node) ||
	    !hw_owner_word(owner, l->dict_ma_used, &used))
		return;
	hw_owner_claim_field(owner, l->odict_fast_nodes, "od_fast_nodes",
			     HW_CLAIM_ODICT_FAST_NODES);
	struct hw_links links = { 0 };
	while (links.count < used && hw_links_enter(&links, owner->sink, node)) {
		hw_owner_claim(owner, &(struct hw_claim){ .address = node,
							  .kind = HW_CLAIM_ODICT_NODE,
							  .field = "od_first" });
		if (!hw_pages_read_word(owner->sink->cache->pages,
					node + (uint64_t)l->odict_node_next, &node))
			break;
	}
}

static void hw_visit_type(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	const struct hw_type *type = hw_type_at(owner->sink->cache, owner->addr);
	uint64_t address;
	if (!type)
		return;
	// A class is an instance of its metaclass: "type.__dict__", "ABCMeta.__dict__".
	if (hw_owner_word(owner, l->tp_dict, &address))
		hw_owner_claim(owner, &(struct hw_claim){ .address = address,
							  .kind = HW_CLAIM_OBJECT,
							  .detail = HW_DETAIL_INSTANCE_DICT,
							  .field = "tp_dict",
							  .type = owner->object->type });
	if (!(type->flags & HW_TPFLAGS_HEAPTYPE))
		return;
	hw_owner_claim(owner, &(struct hw_claim){ .address = type->cached_keys,
						  .kind = HW_CLAIM_DICT_KEYS,
						  .detail = HW_DETAIL_INSTANCE_DICT,
						  .field = "ht_cached_keys",
						  .type = type });
	hw_owner_claim_field(owner, l->tp_doc, "tp_doc", HW_CLAIM_TYPE_DOC);
	hw_owner_claim_field(owner, l->ht_tpname, "_ht_tpname", HW_CLAIM_TYPE_NAME);
}

static void hw_visit_module(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	char text[300] = "module ";
	uint64_t address;
	bool is_named = hw_module_object_name(l, owner->sink->cache->pages, owner->addr, text + 7,
					      sizeof(text) - 7);
	struct hw_claim claim = { .detail = is_named ? HW_DETAIL_TEXT : HW_DETAIL_OWNERS,
				  .text = text };
	if (hw_owner_word(owner, l->module_md_dict, &address)) {
		claim.address = address;
		claim.kind = HW_CLAIM_OBJECT;
		claim.field = "md_dict";
		if (is_named)
			hw_owner_claim(owner, &claim);
	}
	if (l->module_md_state != HW_ABSENT && hw_owner_word(owner, l->module_md_state, &address)) {
		claim.address = address;
		claim.kind = HW_CLAIM_MODULE_STATE;
		claim.field = "md_state";
		hw_owner_claim(owner, &claim);
	}
}

// 3.14t: each thread that runs the code has a copy of its own, but for the first.
static void hw_visit_code_copies(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	struct hw_pages *pages = owner->sink->cache->pages;
	uint64_t array, count, copy;
	if (l->code_co_tlbc == HW_ABSENT || l->code_array_size == HW_ABSENT ||
	    l->code_array_entries == HW_ABSENT || !hw_owner_word(owner, l->code_co_tlbc, &array) ||
	    !array || !hw_pages_read_word(pages, array + (uint64_t)l->code_array_size, &count))
		return;
	hw_owner_claim(owner, &(struct hw_claim){ .address = array,
						  .kind = HW_CLAIM_CODE_COPIES,
						  .field = "co_tlbc" });
	for (uint64_t i = 0; i < count && i < HW_CODE_COPIES_MAX; i++) {
		if (!hw_pages_read_word(pages,
					array + (uint64_t)l->code_array_entries + l->word_bytes * i,
					&copy))
			return;
		hw_owner_claim(owner, &(struct hw_claim){ .address = copy,
							  .kind = HW_CLAIM_CODE_COPY,
							  .field = "co_tlbc.entries" });
	}
}

// 2.7's old-style instances: the class's name is the kind, as gdb-heap has it.
static void hw_visit_old_instance(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	struct hw_pages *pages = owner->sink->cache->pages;
	uint64_t class, name, dict;
	char text[300];
	if (l->instance_in_class == HW_ABSENT ||
	    !hw_owner_word(owner, l->instance_in_class, &class) ||
	    !hw_pages_read_word(pages, class + (uint64_t)l->class_cl_name, &name) || !name ||
	    !hw_str_text(l, pages, name, text, sizeof(text) - 16))
		return;
	owner->sink->claim(owner->sink, &(struct hw_claim){ .address = owner->addr,
							    .kind = HW_CLAIM_OBJECT,
							    .detail = HW_DETAIL_TEXT,
							    .text = "old-style",
							    .kind_text = text });
	if (!hw_owner_word(owner, l->instance_in_dict, &dict))
		return;
	strcat(text, ".__dict__");
	hw_owner_claim(owner, &(struct hw_claim){ .address = dict,
						  .kind = HW_CLAIM_OBJECT,
						  .detail = HW_DETAIL_TEXT,
						  .text = text,
						  .field = "in_dict" });
}

// A buffer of its own; since 3.15 a bytes object's.
static void hw_visit_bytearray(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	uint64_t object;
	if (l->bytearray_bytes_object == HW_ABSENT)
		hw_owner_claim_field(owner, l->bytearray_ob_bytes, "ob_bytes",
				     HW_CLAIM_BYTEARRAY_BUFFER);
	else if (hw_owner_word(owner, l->bytearray_bytes_object, &object))
		hw_owner_claim(owner, &(struct hw_claim){ .address = object,
							  .kind = HW_CLAIM_OBJECT,
							  .detail = HW_DETAIL_TEXT,
							  .text = "bytearray",
							  .field = "ob_bytes_object" });
}

// 2.7: a buffer of its own; 3.5+: a bytes object, which is a block of its own name.
static void hw_visit_bytesio(const struct hw_owner *owner)
{
	const struct hw_python_layout *l = owner->layout;
	uint64_t buf, type;
	if (l->io_bytesio_buf == HW_ABSENT || !hw_owner_word(owner, l->io_bytesio_buf, &buf) ||
	    (hw_pages_read_word(owner->sink->cache->pages, buf + (uint64_t)l->ob_type, &type) &&
	     hw_type_at(owner->sink->cache, type)))
		return;
	hw_owner_claim(owner, &(struct hw_claim){
				      .address = buf, .kind = HW_CLAIM_IO_BUFFER, .field = "buf" });
}

// Upstream: Modules/_ctypes/ctypes.h, struct tagCDataObject, the same 2.7 – 3.15.
static void hw_visit_cdata(const struct hw_owner *owner)
{
	enum { B_PTR, B_NEEDSFREE }; // words
	uint64_t needs_free;
	const int32_t at = owner->layout->object_size, word = (int32_t)owner->layout->word_bytes;
	if (hw_owner_word(owner, at + B_NEEDSFREE * word, &needs_free) && (uint32_t)needs_free)
		hw_owner_claim_field(owner, at + B_PTR * word, "b_ptr", HW_CLAIM_CTYPES_BUFFER);
}

// Upstream: numpy/core/include/numpy/ndarraytypes.h, PyArrayObject_fields, the same since 1.7.
static void hw_visit_ndarray(const struct hw_owner *owner)
{
	enum { DATA, DIMENSIONS = 2, FLAGS = 6 }; // words
	enum { OWNDATA = 4 };
	uint64_t flags;
	const int32_t at = owner->layout->object_size, word = (int32_t)owner->layout->word_bytes;
	if (!hw_owner_word(owner, at + FLAGS * word, &flags))
		return;
	if (flags & OWNDATA)
		hw_owner_claim_field(owner, at + DATA * word, "data", HW_CLAIM_NDARRAY_DATA);
	hw_owner_claim_field(owner, at + DIMENSIONS * word, "dimensions", HW_CLAIM_NDARRAY_DIMS);
}

// ---- the rules ---------------------------------------------------------------------------------

#define FIELD(fact)                                                                                \
	.field = offsetof(struct hw_python_layout, fact), .words = HW_ABSENT, .name = #fact
// After PyObject_HEAD: facts of extension modules that no debug information of CPython has. Sources: Modules/arraymodule.c (arrayobject), Modules/_struct.c (PyStructObject).
#define AT(number, member) .words = (number), .name = ("_" member)
#define VISIT(fn) .visit = (fn), .words = HW_ABSENT

// clang-format off
static const struct hw_owner_rule hw_owner_rules[] = {
	{ .type = "dict", VISIT(hw_visit_dict) },
	{ .type = "list", FIELD(list_ob_item), .kind = HW_CLAIM_LIST_ITEMS },
	{ .type = "set", FIELD(set_table), .kind = HW_CLAIM_SET_TABLE },
	{ .type = "frozenset", FIELD(set_table), .kind = HW_CLAIM_SET_TABLE },
	{ .type = "str", VISIT(hw_visit_str) },
	{ .type = "unicode", VISIT(hw_visit_str) },
	{ .type = "bytearray", VISIT(hw_visit_bytearray) },
	{ .type = "array.array", AT(1, "ob_item"), .kind = HW_CLAIM_ARRAY_BUFFER },
	{ .type = "collections.deque", VISIT(hw_visit_deque) },
	{ .type = "collections.OrderedDict", VISIT(hw_visit_odict) },
	{ .type = "type", VISIT(hw_visit_type) },
	{ .type = "module", VISIT(hw_visit_module) },
	{ .type = "instance", VISIT(hw_visit_old_instance) },
	{ .type = "code", FIELD(code_co_code), .kind = HW_CLAIM_OBJECT, .detail = "bytecode" },
	{ .type = "code", FIELD(code_co_extra), .kind = HW_CLAIM_CODE_EXTRA },
	{ .type = "code", FIELD(code_co_cell2arg), .kind = HW_CLAIM_CODE_CELL2ARG },
	{ .type = "code", FIELD(code_co_opcache), .kind = HW_CLAIM_CODE_OPCACHE },
	{ .type = "code", FIELD(code_co_opcache_map), .kind = HW_CLAIM_CODE_OPCACHE },
	{ .type = "code", FIELD(code_co_cached), .kind = HW_CLAIM_CODE_CACHED },
	{ .type = "code", FIELD(code_co_monitoring), .kind = HW_CLAIM_CODE_MONITORING },
	{ .type = "code", FIELD(code_co_executors), .kind = HW_CLAIM_CODE_EXECUTORS },
	{ .type = "code", VISIT(hw_visit_code_copies) },
	{ .type = "_io.BufferedReader", FIELD(io_buffered_buffer), .kind = HW_CLAIM_IO_BUFFER },
	{ .type = "_io.BufferedWriter", FIELD(io_buffered_buffer), .kind = HW_CLAIM_IO_BUFFER },
	{ .type = "_io.BufferedRandom", FIELD(io_buffered_buffer), .kind = HW_CLAIM_IO_BUFFER },
	{ .type = "_io.BytesIO", VISIT(hw_visit_bytesio) },
	{ .type = "_io.StringIO", FIELD(io_stringio_buf), .kind = HW_CLAIM_IO_BUFFER },
	{ .type = "_thread.lock", FIELD(lock_lock), .kind = HW_CLAIM_LOCK },
	{ .type = "thread.lock", FIELD(lock_lock), .kind = HW_CLAIM_LOCK },
	{ .type = "_thread.RLock", FIELD(rlock_lock), .kind = HW_CLAIM_LOCK },
	{ .type = "_ctypes._CData", VISIT(hw_visit_cdata) },
	{ .type = "Struct", AT(2, "s_codes"), .kind = HW_CLAIM_STRUCT_CODES },
	{ .type = "_struct.Struct", AT(2, "s_codes"), .kind = HW_CLAIM_STRUCT_CODES },
	{ .type = "numpy.ndarray", VISIT(hw_visit_ndarray) },
};
// clang-format on
enum { HW_OWNER_RULE_COUNT = sizeof(hw_owner_rules) / sizeof(hw_owner_rules[0]) };

static int32_t hw_owner_rule_offset(const struct hw_owner_rule *rule,
				    const struct hw_python_layout *layout)
{
	if (rule->words != HW_ABSENT)
		return layout->object_size + rule->words * (int32_t)layout->word_bytes;
	int32_t offset = HW_ABSENT;
	if (!rule->visit)
		memcpy(&offset, (const char *)layout + rule->field, sizeof(offset));
	return offset;
}

// "ob_item" of the fact "list_ob_item".
static const char *hw_owner_rule_member(const struct hw_owner_rule *rule)
{
	const char *underscore = strchr(rule->name, '_');
	return underscore ? underscore + 1 : rule->name;
}

// ---- a user's rules ------------------------------------------------------------------------------
// Behind the table's own: rule HW_OWNER_RULE_COUNT + i of a type is the i-th of the user's file.

static_assert(HW_OWNER_RULE_COUNT + HW_RULES_MAX <= UINT8_MAX + 1, "indexes of rules are bytes");

static bool hw_user_rule_fits(const struct hw_rule *rule, const struct hw_type *type)
{
	const struct hw_rule_field *count = &rule->count;
	return (uint32_t)rule->field.offset + 8 <= type->basicsize &&
	       (!rule->has_count || (uint32_t)count->offset + count->bytes <= type->basicsize);
}

static void hw_owners_bind_user(struct hw_type *type, struct hw_rules *rules,
				struct hw_issues *issues)
{
	for (unsigned i = 0; rules && i < rules->list.count; i++) {
		struct hw_rule *rule = &rules->list.data[i];
		if (rule->family != HW_RULE_PYTHON || strcmp(rule->type, type->name) != 0)
			continue;
		rule->is_used = true;
		if (!hw_user_rule_fits(rule, type))
			hw_issues_add(
				issues, HW_ERROR_INVALID, type->address,
				"%s:%u: an instance of %s has %u bytes: the field is not in it",
				rules->path, rule->line, type->name, type->basicsize);
		else if (type->rule_count == HW_TYPE_RULES_MAX)
			hw_issues_add(issues, HW_ERROR_INVALID, type->address,
				      "%s:%u: %s has %d rules already: this one is left out",
				      rules->path, rule->line, type->name, HW_TYPE_RULES_MAX);
		else
			type->rules[type->rule_count++] = (uint8_t)(HW_OWNER_RULE_COUNT + i);
	}
}

static void hw_visit_user_rule(const struct hw_owner *owner, const struct hw_rule *rule)
{
	uint64_t address, count = 1, bytes = 0;
	if (!hw_owner_word(owner, rule->field.offset, &address) ||
	    (rule->has_count && !hw_owner_word(owner, rule->count.offset, &count)))
		return;
	if (rule->has_count && rule->count.bytes == 4)
		count = (uint32_t)count;
	if (rule->has_size && !hw_rule_size(rule, count, &bytes))
		return;
	hw_owner_claim(owner, &(struct hw_claim){ .address = address,
						  .kind = HW_CLAIM_USER,
						  .rule = rule,
						  .bytes_min = bytes,
						  .field = rule->field.member });
}

// A type that owns one buffer by one pointer needs no visit.
static void hw_owners_simplify(struct hw_type *type, const struct hw_python_layout *layout)
{
	type->buffer_offset = HW_ABSENT;
	if (type->rule_count != 1 || type->dictoffset || type->flags & HW_TPFLAGS_MANAGED_DICT)
		return;
	if (type->rules[0] >= HW_OWNER_RULE_COUNT)
		return;
	const struct hw_owner_rule *rule = &hw_owner_rules[type->rules[0]];
	if (rule->visit || rule->kind == HW_CLAIM_OBJECT)
		return;
	type->buffer_offset = hw_owner_rule_offset(rule, layout);
	type->buffer_kind = (uint8_t)rule->kind;
}

void hw_owners_bind(struct hw_type *type, const struct hw_python_layout *layout,
		    struct hw_rules *rules, struct hw_issues *issues)
{
	const struct hw_type *base = type->base;
	// A class of a user's may be called "list"; only a name with a module in it proves itself on a
	// heap type.
	if (!(type->flags & HW_TPFLAGS_HEAPTYPE) || strchr(type->name, '.')) {
		type->is_module = !strcmp(type->name, "module");
		type->is_type = !strcmp(type->name, "type");
		type->is_dict = !strcmp(type->name, "dict");
		for (unsigned i = 0; i < HW_OWNER_RULE_COUNT; i++) {
			const struct hw_owner_rule *rule = &hw_owner_rules[i];
			if (!strcmp(rule->type, type->name) &&
			    (rule->visit || hw_owner_rule_offset(rule, layout) != HW_ABSENT) &&
			    type->rule_count < HW_TYPE_RULES_MAX)
				type->rules[type->rule_count++] = (uint8_t)i;
		}
	}
	hw_owners_bind_user(type, rules, issues);
	if (base) {
		type->is_module |= base->is_module;
		type->is_type |= base->is_type;
		type->is_dict |= base->is_dict;
	}
	for (unsigned i = 0; base && i < base->rule_count && type->rule_count < HW_TYPE_RULES_MAX;
	     i++)
		type->rules[type->rule_count++] = base->rules[i];
	hw_owners_simplify(type, layout);
}

// ---- attributes of instances ---------------------------------------------------------------------

// Upstream: _PyObject_GetDictPtr, _PyObject_DictOrValuesPointer, Include/internal/pycore_object.h.
static void hw_visit_managed_dict(const struct hw_owner *owner, const struct hw_type *type)
{
	const struct hw_python_layout *l = owner->layout;
	// Before the GC head, where there is one.
	const uint32_t dict_before = (uint32_t)l->gc_head_size + l->word_bytes;
	uint64_t word = 0, values = 0;
	struct hw_pages *pages = owner->sink->cache->pages;
	if (!hw_pages_read_word(pages, owner->addr - dict_before, &word))
		return;
	if (l->long_lv_tag == HW_ABSENT) { // 3.11: two words
		hw_pages_read_word(pages, owner->addr - dict_before - l->word_bytes, &values);
	} else if (word & 1) { // 3.12: one tagged word; 3.13's values are inline
		values = word + 1;
		word = 0;
	}
	hw_owner_claim(owner, &(struct hw_claim){ .address = word,
						  .kind = HW_CLAIM_OBJECT,
						  .detail = HW_DETAIL_INSTANCE_DICT,
						  .field = "__dict__",
						  .type = type });
	hw_owner_claim(owner, &(struct hw_claim){ .address = values,
						  .kind = HW_CLAIM_DICT_VALUES,
						  .detail = HW_DETAIL_INSTANCE_DICT,
						  .field = "__dict__",
						  .type = type,
						  .is_interior = true });
}

static void hw_visit_dict_slot(const struct hw_owner *owner, const struct hw_type *type)
{
	const unsigned word = owner->layout->word_bytes;
	int64_t offset = type->dictoffset;
	uint64_t dict, items = 0;
	if (offset < 0) { // counted from the end of a variable-sized object
		if (type->itemsize && !hw_owner_word(owner, owner->layout->ob_size, &items))
			return;
		if (type->shape == HW_SHAPE_INT && owner->layout->long_lv_tag != HW_ABSENT)
			items >>= 3;
		if (hw_word_signed(items, word) < 0)
			items = 0 - (uint64_t)hw_word_signed(items, word);
		if (items > UINT32_MAX)
			return;
		offset += (int64_t)hw_align_up(type->basicsize + items * type->itemsize, word);
	}
	if (offset > 0 && hw_owner_word(owner, offset, &dict))
		hw_owner_claim(owner, &(struct hw_claim){ .address = dict,
							  .kind = HW_CLAIM_OBJECT,
							  .detail = HW_DETAIL_INSTANCE_DICT,
							  .field = "__dict__",
							  .type = type });
}

void hw_owners_visit(const struct hw_python_layout *layout, const struct hw_object *object,
		     hw_addr_t block_addr, const uint8_t *block, size_t len,
		     struct hw_claim_sink *sink)
{
	const struct hw_type *type = object->type;
	struct hw_owner owner = { .layout = layout,
				  .object = object,
				  .addr = block_addr + object->offset,
				  .bytes = block + object->offset,
				  .len = len - object->offset,
				  .sink = sink };
	for (unsigned i = 0; i < type->rule_count; i++) {
		if (type->rules[i] >= HW_OWNER_RULE_COUNT) {
			const struct hw_rules *rules = sink->cache->types->rules;
			hw_visit_user_rule(&owner,
					   &rules->list.data[type->rules[i] - HW_OWNER_RULE_COUNT]);
			continue;
		}
		const struct hw_owner_rule *rule = &hw_owner_rules[type->rules[i]];
		uint64_t address;
		if (rule->visit)
			rule->visit(&owner);
		else if (hw_owner_word(&owner, hw_owner_rule_offset(rule, layout), &address))
			hw_owner_claim(&owner, &(struct hw_claim){
						       .address = address,
						       .kind = rule->kind,
						       .detail = rule->detail ? HW_DETAIL_TEXT
									      : HW_DETAIL_OWNERS,
						       .text = rule->detail,
						       .field = hw_owner_rule_member(rule) });
	}
	if (type->flags & HW_TPFLAGS_MANAGED_DICT)
		hw_visit_managed_dict(&owner, type);
	else if (type->dictoffset && !type->is_module && !type->is_type)
		hw_visit_dict_slot(&owner, type);
}

void hw_owners_visit_dict(const struct hw_python_layout *layout, hw_addr_t dict,
			  const uint8_t *bytes, size_t len, struct hw_claim_sink *sink)
{
	hw_visit_dict(&(struct hw_owner){
		.layout = layout, .addr = dict, .bytes = bytes, .len = len, .sink = sink });
}

bool hw_is_ast_arena_block(hw_addr_t user, const uint8_t *bytes, size_t len, uint64_t capacity,
			   unsigned word_bytes)
{
	const unsigned header_bytes = 4 * word_bytes;
	if (len < header_bytes)
		return false;
	uint64_t size = hw_word(bytes, word_bytes),
		 offset = hw_word(bytes + word_bytes, word_bytes);
	uint64_t mem = hw_word(bytes + 3 * (size_t)word_bytes, word_bytes);
	return mem == user + header_bytes && size && size <= capacity - header_bytes &&
	       offset <= size;
}
