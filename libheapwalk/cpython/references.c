/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/references.h"

#include <string.h>

#include "base/bytes.h"
#include "cpython/containers.h"

// tp_name as it is since some version; plain names are the builtin's only, never a user's class.
static const struct {
	const char *type;
	enum hw_holds holds;
} hw_reference_rules[] = {
	{ "int", HW_HOLDS_NOTHING },
	{ "long", HW_HOLDS_NOTHING },
	{ "float", HW_HOLDS_NOTHING },
	{ "complex", HW_HOLDS_NOTHING },
	{ "str", HW_HOLDS_NOTHING },
	{ "unicode", HW_HOLDS_NOTHING },
	{ "bytes", HW_HOLDS_NOTHING },
	{ "list", HW_HOLDS_BUFFERS },
	{ "collections.deque", HW_HOLDS_BUFFERS },
	{ "dict", HW_HOLDS_DICT },
	{ "set", HW_HOLDS_SET },
	{ "frozenset", HW_HOLDS_SET },
	{ "weakref", HW_HOLDS_CALLBACK },
	{ "weakproxy", HW_HOLDS_CALLBACK },
	{ "weakcallableproxy", HW_HOLDS_CALLBACK },
	{ "weakref.ReferenceType", HW_HOLDS_CALLBACK },
	{ "weakref.ProxyType", HW_HOLDS_CALLBACK },
	{ "weakref.CallableProxyType", HW_HOLDS_CALLBACK },
	{ "frame", HW_HOLDS_FRAME },
	{ "generator", HW_HOLDS_GENERATOR },
	{ "coroutine", HW_HOLDS_GENERATOR },
	{ "async_generator", HW_HOLDS_GENERATOR },
	{ "code", HW_HOLDS_CODE },
};
enum { HW_REFERENCE_RULES = sizeof(hw_reference_rules) / sizeof(hw_reference_rules[0]) };

void hw_references_bind(struct hw_type *type, const struct hw_python_layout *layout)
{
	if (!(type->flags & HW_TPFLAGS_HEAPTYPE) || strchr(type->name, '.')) {
		for (unsigned i = 0; i < HW_REFERENCE_RULES; i++) {
			if (strcmp(type->name, hw_reference_rules[i].type) != 0)
				continue;
			type->holds = (uint8_t)hw_reference_rules[i].holds;
			type->held_from = type->basicsize;
			// Where the interpreter's own frames are objects, a generator is as plain.
			if (type->holds == HW_HOLDS_GENERATOR && layout->gen_iframe == HW_ABSENT)
				type->holds = HW_HOLDS_WORDS;
			return;
		}
	}
	if (type->base) {
		type->holds = type->base->holds;
		type->held_from = type->base->held_from;
	}
}

// ---- objects -------------------------------------------------------------------------------------

struct hw_reference_visit {
	const struct hw_reference_owner *owner;
	hw_reference_run_fn *visit;
	void *payload;
};

static void hw_reference_run(const struct hw_reference_visit *v, hw_addr_t first, uint64_t count,
			     uint64_t stride)
{
	if (count)
		v->visit(v->payload, &(struct hw_reference_run){ first, count, stride });
}

// Words [from, to) of the object, offsets of bytes, but for the one at `but`.
static void hw_reference_words(const struct hw_reference_visit *v, uint64_t from, uint64_t to,
			       uint64_t but)
{
	const hw_addr_t object = v->owner->address;
	const unsigned word = v->owner->layout->word_bytes;
	to = hw_min(to, v->owner->room);
	from = hw_align_up(from, word);
	if (but >= from && but < to) {
		hw_reference_run(v, object + from, (but - from) / word, word);
		from = but + word;
	}
	if (from < to)
		hw_reference_run(v, object + from, (to - from) / word, word);
}

static bool hw_reference_word(const struct hw_reference_owner *owner, int32_t offset, uint64_t *ret)
{
	const unsigned word = owner->layout->word_bytes;
	if (offset < 0 || (uint32_t)offset + word > owner->len)
		return false;
	*ret = hw_word(owner->bytes + offset, word);
	return true;
}

// From an offset to the end of the object, without its pointer to weak references.
static void hw_reference_rest(const struct hw_reference_visit *v, uint64_t from)
{
	const struct hw_reference_owner *owner = v->owner;
	const struct hw_type *type = owner->type;
	uint64_t end = hw_object_bytes(owner->layout, type, owner->bytes, owner->len);
	uint64_t but = type->weaklistoffset ? (uint64_t)type->weaklistoffset : UINT64_MAX;
	hw_reference_words(v, from, end, but);
	// Objects/dictobject.c, 3.13: values of attributes, as long as the dict has not taken them over.
	const struct hw_python_layout *l = owner->layout;
	if (!(type->flags & HW_TPFLAGS_INLINE_VALUES) || l->dict_values < 0 ||
	    l->dict_values_valid == HW_ABSENT || owner->len < type->basicsize + l->word_bytes)
		return;
	const uint8_t *values = owner->bytes + type->basicsize;
	if (values[l->dict_values_valid])
		hw_reference_words(v, type->basicsize + (uint64_t)l->dict_values,
				   type->basicsize + (uint64_t)l->dict_values +
					   l->word_bytes *
						   (uint64_t)values[l->dict_values_capacity],
				   UINT64_MAX);
}

// A table of entries that is inside the object itself, as small ones are.
static void hw_reference_inner_table(const struct hw_reference_visit *v, int32_t table_at,
				     int32_t mask_at, int32_t entry_bytes, int32_t key_at,
				     int32_t value_at)
{
	const struct hw_reference_owner *owner = v->owner;
	uint64_t table, mask;
	if (entry_bytes <= 0 || !hw_reference_word(owner, table_at, &table) ||
	    !hw_reference_word(owner, mask_at, &mask) || table - owner->address >= owner->room ||
	    mask >= (owner->room - (table - owner->address)) / (uint32_t)entry_bytes)
		return;
	hw_reference_run(v, table + (uint64_t)key_at, mask + 1, (uint64_t)entry_bytes);
	if (value_at >= 0)
		hw_reference_run(v, table + (uint64_t)value_at, mask + 1, (uint64_t)entry_bytes);
}

// Include/internal/pycore_frame.h: what runs here; what it borrows are the dicts of its function. How much
// of its stack is in use is known while it does not run.
static void hw_reference_iframe(const struct hw_reference_visit *v, uint64_t at, bool is_running)
{
	const struct hw_reference_owner *owner = v->owner;
	const struct hw_python_layout *l = owner->layout;
	const unsigned word = l->word_bytes;
	uint64_t locals = 0, pointer, start = at + (uint64_t)l->iframe_localsplus;
	if (l->iframe_localsplus == HW_ABSENT || start > owner->len)
		return;
	if (l->iframe_stackpointer != HW_ABSENT) {
		pointer = hw_word(owner->bytes + at + l->iframe_stackpointer, word);
		if (pointer >= owner->address + start && pointer <= owner->address + owner->room)
			locals = (pointer - owner->address - start) / word;
	} else if (l->iframe_stacktop != HW_ABSENT) {
		int32_t top = (int32_t)hw_u32(owner->bytes + at + l->iframe_stacktop);
		locals = top > 0 ? (uint64_t)top : 0;
	}
	const int32_t borrowed[] = { l->iframe_globals, l->iframe_builtins };
	for (uint64_t offset = 0; offset < (uint64_t)l->iframe_localsplus; offset += word)
		if (offset != (uint64_t)borrowed[0] && offset != (uint64_t)borrowed[1])
			hw_reference_words(v, at + offset, at + offset + word, UINT64_MAX);
	if (!is_running)
		hw_reference_words(v, start, start + word * locals, UINT64_MAX);
}

static void hw_reference_frame(const struct hw_reference_visit *v)
{
	const struct hw_reference_owner *owner = v->owner;
	const struct hw_python_layout *l = owner->layout;
	uint64_t iframe, stack;
	if (l->frame_data != HW_ABSENT) {
		hw_reference_words(v, (uint64_t)l->ob_type, (uint64_t)l->frame_data, UINT64_MAX);
		// Elsewhere as long as its function runs.
		if (hw_reference_word(owner, l->frame_iframe, &iframe) &&
		    iframe == owner->address + (uint64_t)l->frame_data)
			hw_reference_iframe(v, (uint64_t)l->frame_data, false);
		return;
	}
	if (!hw_reference_word(owner, l->frame_valuestack, &stack) || l->frame_localsplus < 0)
		return;
	// Objects on the stack are counted, but how many these are only the interpreter knows.
	hw_reference_words(v, (uint64_t)l->ob_type, (uint64_t)l->frame_localsplus,
			   (uint64_t)(int64_t)l->frame_gen);
	if (stack - owner->address <= owner->room)
		hw_reference_words(v, (uint64_t)l->frame_localsplus, stack - owner->address,
				   UINT64_MAX);
}

static void hw_reference_generator(const struct hw_reference_visit *v)
{
	const struct hw_reference_owner *owner = v->owner;
	const struct hw_python_layout *l = owner->layout;
	hw_reference_words(v, (uint64_t)l->ob_type, (uint64_t)l->gen_iframe,
			   owner->type->weaklistoffset ? (uint64_t)owner->type->weaklistoffset
						       : UINT64_MAX);
	if (l->gen_frame_state == HW_ABSENT || (uint32_t)l->gen_frame_state >= owner->len ||
	    l->frame_executing == HW_ABSENT)
		return;
	// Include/internal/pycore_frame.h, enum _framestate: below FRAME_EXECUTING it waits, above it has
	// ended. That is 0 up to 3.14, 4 in 3.15.
	int8_t state = (int8_t)owner->bytes[l->gen_frame_state];
	if (state <= l->frame_executing)
		hw_reference_iframe(v, (uint64_t)l->gen_iframe, state == l->frame_executing);
}

void hw_references_visit(const struct hw_reference_owner *owner, hw_reference_run_fn *visit,
			 void *payload)
{
	const struct hw_reference_visit v = { owner, visit, payload };
	const struct hw_python_layout *l = owner->layout;
	const struct hw_type *type = owner->type;
	const hw_addr_t type_at = owner->address + (uint64_t)l->ob_type;
	switch ((enum hw_holds)type->holds) {
	case HW_HOLDS_WORDS:
		hw_reference_rest(&v, (uint64_t)l->ob_type);
		return;
	case HW_HOLDS_FRAME:
		hw_reference_frame(&v);
		return;
	case HW_HOLDS_GENERATOR:
		hw_reference_generator(&v);
		return;
	case HW_HOLDS_CODE:
		// Behind it are instructions, whose caches borrow.
		hw_reference_words(
			&v, (uint64_t)l->ob_type,
			l->code_co_code_adaptive == HW_ABSENT ? type->held_from
							      : (uint64_t)l->code_co_code_adaptive,
			type->weaklistoffset ? (uint64_t)type->weaklistoffset : UINT64_MAX);
		return;
	case HW_HOLDS_DICT:
		if (l->dict_ma_table != HW_ABSENT)
			hw_reference_inner_table(&v, l->dict_ma_table, l->dict_ma_mask,
						 l->dict_entry_size, l->dict_me_key,
						 l->dict_me_value);
		break;
	case HW_HOLDS_SET:
		hw_reference_inner_table(&v, l->set_table, l->set_mask, l->setentry_size,
					 l->setentry_key, HW_ABSENT);
		break;
	case HW_HOLDS_CALLBACK:
		if (l->weakref_callback != HW_ABSENT)
			hw_reference_run(&v, owner->address + (uint64_t)l->weakref_callback, 1,
					 l->word_bytes);
		break;
	case HW_HOLDS_NOTHING:
	case HW_HOLDS_BUFFERS:
		break;
	}
	if (type->flags & HW_TPFLAGS_HEAPTYPE) {
		hw_reference_run(&v, type_at, 1, l->word_bytes);
		hw_reference_rest(&v, type->held_from);
	}
}

// ---- limits --------------------------------------------------------------------------------------

bool hw_buffer_needs_limit(const struct hw_python_layout *l, enum hw_claim_kind kind)
{
	return kind == HW_CLAIM_LIST_ITEMS || kind == HW_CLAIM_DEQUE_BLOCK ||
	       (kind == HW_CLAIM_DICT_VALUES && l->dict_values == HW_ABSENT);
}

enum { HW_DEQUE_BLOCK_WORDS = 64 };

// Modules/_collectionsmodule.c: the first block is used from leftindex on, the last one up to rightindex.
static bool hw_deque_limits(const struct hw_reference_owner *owner, struct hw_claim_sink *sink,
			    hw_reference_limit_fn *visit, void *payload)
{
	const struct hw_python_layout *l = owner->layout;
	uint64_t block, last, left, right, items;
	if (l->deque_block_data < 0 || l->deque_block_rightlink < 0 ||
	    !hw_reference_word(owner, l->deque_leftblock, &block) ||
	    !hw_reference_word(owner, l->deque_rightblock, &last) ||
	    !hw_reference_word(owner, l->deque_leftindex, &left) ||
	    !hw_reference_word(owner, l->deque_rightindex, &right) ||
	    !hw_reference_word(owner, l->ob_size, &items) || left >= HW_DEQUE_BLOCK_WORDS ||
	    right >= HW_DEQUE_BLOCK_WORDS || !items)
		return true;
	const uint32_t data = (uint32_t)l->deque_block_data / l->word_bytes;
	const uint64_t blocks = items / HW_DEQUE_BLOCK_WORDS + 2;
	struct hw_links links = { 0 };
	while (links.count < blocks && hw_links_enter(&links, sink, block)) {
		const struct hw_reference_limit limit = {
			.buffer = block,
			.from = data + (links.count == 1 ? (uint32_t)left : 0),
			.to = data +
			      (block == last ? (uint32_t)right + 1 : (uint32_t)HW_DEQUE_BLOCK_WORDS)
		};
		if (!visit(payload, &limit))
			return false;
		if (block == last ||
		    !hw_pages_read_word(sink->cache->pages,
					block + (uint64_t)l->deque_block_rightlink, &block))
			break;
	}
	return true;
}

bool hw_references_visit_limits(const struct hw_reference_owner *owner, struct hw_claim_sink *sink,
				hw_reference_limit_fn *visit, void *payload)
{
	const struct hw_python_layout *l = owner->layout;
	struct hw_reference_limit limit = { 0 };
	uint64_t buffer, count;
	if (owner->type->holds == HW_HOLDS_DICT) {
		// An instance's dict up to 3.10: values stand in the order of their keys, none is missing.
		if (l->dict_values != HW_ABSENT ||
		    !hw_reference_word(owner, l->dict_ma_values, &buffer) || !buffer ||
		    !hw_reference_word(owner, l->dict_ma_used, &count))
			return true;
	} else {
		// A deque has a buffer for each run of items, a list has one for all.
		const struct hw_type *type = owner->type;
		while (type->base && type->base->holds == HW_HOLDS_BUFFERS)
			type = type->base;
		if (strcmp(type->name, "list") != 0)
			return hw_deque_limits(owner, sink, visit, payload);
		if (!hw_reference_word(owner, l->list_ob_item, &buffer) || !buffer ||
		    !hw_reference_word(owner, l->ob_size, &count))
			return true;
	}
	limit.buffer = buffer;
	limit.to = (uint32_t)hw_min(count, UINT32_MAX);
	return visit(payload, &limit);
}

// ---- buffers -------------------------------------------------------------------------------------

static void hw_references_visit_keys(const struct hw_reference_buffer *buffer,
				     const struct hw_reference_visit *v)
{
	struct hw_entries entries;
	if (!hw_dict_keys_entries(buffer->layout, buffer->address, buffer->bytes, buffer->len,
				  &entries))
		return;
	uint64_t before = entries.first - buffer->address;
	if (before > buffer->room || entries.count > (buffer->room - before) / entries.bytes)
		return;
	hw_reference_run(v, entries.first + entries.key_at, entries.count, entries.bytes);
	hw_reference_run(v, entries.first + entries.value_at, entries.count, entries.bytes);
}

// 3.11 and 3.12, Objects/dictobject.c new_values(): are the block's first bytes the order of as many values as it has
// room for? The order takes a byte a value, two for numbers, and is a multiple of words. What is not used of it is
// whatever the block held before, and may end in the same number.
static bool hw_is_values_prefix(const struct hw_reference_buffer *buffer, uint64_t prefix)
{
	enum { ROUNDED_BYTES = 32 }; // at most, by which an allocator's block is larger
	const unsigned word = buffer->layout->word_bytes;
	const uint64_t most = prefix - 2, fewest = most > word - 1 ? most - (word - 1) : 0;
	return buffer->bytes[prefix - 1] == prefix && buffer->bytes[prefix - 2] <= most &&
	       prefix + fewest * word <= buffer->room &&
	       buffer->room <= prefix + most * word + ROUNDED_BYTES;
}

// Objects/dictobject.c. 3.11 and 3.12: the values stand behind the bytes of their insertion order, the length
// of which is right before them; 3.13: behind their capacity.
static void hw_references_visit_values(const struct hw_reference_buffer *buffer,
				       const struct hw_reference_visit *v)
{
	const struct hw_python_layout *l = buffer->layout;
	const unsigned word = l->word_bytes;
	uint64_t first = 0, count = 0;
	if (l->dict_values_capacity != HW_ABSENT) {
		if (buffer->len < l->word_bytes)
			return;
		first = (uint64_t)l->dict_values;
		count = buffer->bytes[l->dict_values_capacity];
	} else {
		// Each place in the order is an index; what was never set is NULL. Prefixes are as long
		// as their last byte says: look for the one that agrees.
		for (first = word; first <= 40 && first <= buffer->len; first += word)
			if (hw_is_values_prefix(buffer, first))
				break;
		if (first > 40 || first > buffer->len)
			return;
		uint64_t used = buffer->bytes[first - 2];
		for (uint64_t i = 0; i < used && i + 3 <= first; i++)
			count = hw_max(count, buffer->bytes[first - 3 - i] + 1u);
	}
	if (first <= buffer->room && count <= (buffer->room - first) / word)
		hw_reference_run(v, buffer->address + first, count, word);
}

void hw_references_visit_buffer(const struct hw_reference_buffer *buffer,
				hw_reference_run_fn *visit, void *payload)
{
	const struct hw_reference_visit v = { NULL, visit, payload };
	const struct hw_python_layout *l = buffer->layout;
	const unsigned word = l->word_bytes;
	const uint64_t words = buffer->room / word;
	if (hw_buffer_needs_limit(l, buffer->kind)) {
		if (buffer->from < buffer->to && buffer->to <= words)
			hw_reference_run(&v, buffer->address + word * (uint64_t)buffer->from,
					 buffer->to - buffer->from, word);
		return;
	}
	switch (buffer->kind) {
	case HW_CLAIM_DICT_KEYS:
		hw_references_visit_keys(buffer, &v);
		return;
	case HW_CLAIM_DICT_VALUES:
		hw_references_visit_values(buffer, &v);
		return;
	case HW_CLAIM_DICT_TABLE:
		if (l->dict_entry_size <= 0)
			return;
		hw_reference_run(&v, buffer->address + (uint64_t)l->dict_me_key,
				 buffer->room / (uint64_t)l->dict_entry_size,
				 (uint64_t)l->dict_entry_size);
		hw_reference_run(&v, buffer->address + (uint64_t)l->dict_me_value,
				 buffer->room / (uint64_t)l->dict_entry_size,
				 (uint64_t)l->dict_entry_size);
		return;
	case HW_CLAIM_SET_TABLE:
		if (l->setentry_size > 0)
			hw_reference_run(&v, buffer->address + (uint64_t)l->setentry_key,
					 buffer->room / (uint64_t)l->setentry_size,
					 (uint64_t)l->setentry_size);
		return;
	case HW_CLAIM_ODICT_NODE: // its key
		hw_reference_run(&v, buffer->address, words ? 1 : 0, word);
		return;
	default:
		return;
	}
}
