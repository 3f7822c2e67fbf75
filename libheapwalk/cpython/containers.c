/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/containers.h"

#include "base/bytes.h"

struct hw_items {
	const struct hw_python_layout *layout;
	struct hw_pages *pages;
	uint64_t slots_max;
	hw_item_fn *visit;
	void *payload;
};

static bool hw_items_word(const struct hw_items *items, hw_addr_t object, int32_t offset,
			  uint64_t *ret)
{
	return offset != HW_ABSENT &&
	       hw_pages_read_word(items->pages, object + (uint64_t)offset, ret);
}

bool hw_dict_length(const struct hw_python_layout *layout, struct hw_pages *pages, hw_addr_t dict,
		    uint64_t *ret)
{
	return layout->dict_ma_used != HW_ABSENT &&
	       hw_pages_read_word(pages, dict + (uint64_t)layout->dict_ma_used, ret);
}

bool hw_set_length(const struct hw_python_layout *layout, struct hw_pages *pages, hw_addr_t set,
		   uint64_t *ret)
{
	return layout->set_used != HW_ABSENT &&
	       hw_pages_read_word(pages, set + (uint64_t)layout->set_used, ret);
}

// ---- dict ----

// 2.7: one open table of {hash, key, value}.
static bool hw_table_entries(const struct hw_items *items, hw_addr_t dict, struct hw_entries *ret)
{
	const struct hw_python_layout *l = items->layout;
	uint64_t table, mask;
	if (!hw_items_word(items, dict, l->dict_ma_table, &table) ||
	    !hw_items_word(items, dict, l->dict_ma_mask, &mask) || l->dict_entry_size <= 0 ||
	    l->dict_me_key < 0 || l->dict_me_value < 0)
		return false;
	*ret = (struct hw_entries){ .first = table,
				    .count = mask + 1,
				    .bytes = (uint64_t)l->dict_entry_size,
				    .key_at = (uint64_t)l->dict_me_key,
				    .value_at = (uint64_t)l->dict_me_value };
	return true;
}

bool hw_dict_keys_entries(const struct hw_python_layout *l, hw_addr_t keys, const uint8_t *header,
			  size_t len, struct hw_entries *ret)
{
	uint64_t index_bytes;
	bool has_texts_only = false;
	if (l->keys_indices <= 0 || len < (size_t)l->keys_indices || l->keys_entry_size <= 0 ||
	    l->keys_entry_key < 0 || l->keys_entry_value < 0 || l->keys_nentries < 0)
		return false;
	if (l->keys_log2_index_bytes != HW_ABSENT) {
		uint8_t log2_bytes = header[l->keys_log2_index_bytes];
		if (log2_bytes > 47)
			return false;
		index_bytes = (uint64_t)1 << log2_bytes;
		has_texts_only = l->keys_kind != HW_ABSENT && l->keys_text_entry_size > 0 &&
				 header[l->keys_kind];
	} else {
		uint64_t size = l->keys_size == HW_ABSENT
					? UINT64_MAX
					: hw_word(header + l->keys_size, l->word_bytes);
		if (size >> 44)
			return false;
		index_bytes = size * (size <= 0xff         ? 1
				      : size <= 0xffff     ? 2
				      : size <= 0xffffffff ? 4
							   : 8);
	}
	*ret = (struct hw_entries){
		.first = keys + (uint64_t)l->keys_indices + index_bytes,
		.count = hw_word(header + l->keys_nentries, l->word_bytes),
		.bytes = (uint64_t)(has_texts_only ? l->keys_text_entry_size : l->keys_entry_size),
		.key_at = (uint64_t)(has_texts_only ? l->keys_text_entry_key : l->keys_entry_key),
		.value_at = (uint64_t)(has_texts_only ? l->keys_text_entry_value
						      : l->keys_entry_value),
	};
	return true;
}

static bool hw_keys_entries(const struct hw_items *items, hw_addr_t keys, struct hw_entries *ret)
{
	const struct hw_python_layout *l = items->layout;
	uint8_t header[HW_DICT_KEYS_HEADER_MAX];
	return l->keys_indices > 0 && (size_t)l->keys_indices <= sizeof(header) &&
	       hw_pages_read(items->pages, keys, header, (size_t)l->keys_indices) &&
	       hw_dict_keys_entries(l, keys, header, sizeof(header), ret);
}

static enum hw_items_end hw_entries_visit(const struct hw_items *items,
					  const struct hw_entries *entries)
{
	for (uint64_t i = 0; i < entries->count; i++) {
		hw_addr_t entry = entries->first + i * entries->bytes;
		uint64_t key, value;
		if (i == items->slots_max)
			return HW_ITEMS_CUT;
		if (!hw_pages_read_word(items->pages, entry + entries->key_at, &key) ||
		    !hw_pages_read_word(items->pages, entry + entries->value_at, &value))
			return HW_ITEMS_UNREADABLE;
		// Empty, or removed.
		if (value && !items->visit(items->payload, key, value))
			break;
	}
	return HW_ITEMS_WHOLE;
}

// Of a split dict, in what order its values came: 3.11 and 3.12 count backwards from before the values
// (their prefix's length and the number of values come first), 3.13 forwards from behind them. Before
// 3.11 keys are in that order themselves: false.
static bool hw_values_order(const struct hw_items *items, hw_addr_t values, uint64_t i,
			    uint64_t *ret_index, bool *ret_readable)
{
	const struct hw_python_layout *l = items->layout;
	uint8_t index = 0, capacity;
	*ret_readable = true;
	if (l->dict_values == HW_ABSENT)
		return false;
	if (l->dict_values_capacity == HW_ABSENT) {
		*ret_readable = hw_pages_read(items->pages, values - 3 - i, &index, 1);
	} else {
		*ret_readable = hw_pages_read(items->pages,
					      values + (uint64_t)l->dict_values_capacity, &capacity,
					      1) &&
				hw_pages_read(items->pages,
					      values + (uint64_t)l->dict_values +
						      l->word_bytes * capacity + i,
					      &index, 1);
	}
	*ret_index = index;
	return true;
}

static enum hw_items_end hw_split_visit(const struct hw_items *items, hw_addr_t dict,
					hw_addr_t values, const struct hw_entries *entries)
{
	uint64_t length;
	if (!hw_dict_length(items->layout, items->pages, dict, &length))
		return HW_ITEMS_UNREADABLE;
	uint64_t at = items->layout->dict_values == HW_ABSENT
			      ? 0
			      : (uint64_t)items->layout->dict_values;
	for (uint64_t i = 0; i < entries->count && length; i++) {
		uint64_t index = i, key, value;
		bool is_readable;
		if (i == items->slots_max)
			return HW_ITEMS_CUT;
		hw_values_order(items, values, i, &index, &is_readable);
		if (!is_readable || index >= entries->count ||
		    !hw_pages_read_word(items->pages,
					values + at + items->layout->word_bytes * index, &value) ||
		    !hw_pages_read_word(items->pages,
					entries->first + index * entries->bytes + entries->key_at,
					&key))
			return HW_ITEMS_UNREADABLE;
		if (!value)
			continue;
		length--;
		if (!items->visit(items->payload, key, value))
			break;
	}
	return HW_ITEMS_WHOLE;
}

enum hw_items_end hw_dict_visit(const struct hw_python_layout *layout, struct hw_pages *pages,
				hw_addr_t dict, uint64_t slots_max, hw_item_fn *visit,
				void *payload)
{
	const struct hw_items items = { layout, pages, slots_max, visit, payload };
	struct hw_entries entries;
	uint64_t keys, values;
	if (layout->dict_ma_keys == HW_ABSENT)
		return hw_table_entries(&items, dict, &entries) ? hw_entries_visit(&items, &entries)
								: HW_ITEMS_UNREADABLE;
	if (!hw_items_word(&items, dict, layout->dict_ma_keys, &keys) ||
	    !hw_items_word(&items, dict, layout->dict_ma_values, &values) ||
	    !hw_keys_entries(&items, keys, &entries))
		return HW_ITEMS_UNREADABLE;
	return values ? hw_split_visit(&items, dict, values, &entries)
		      : hw_entries_visit(&items, &entries);
}

// ---- set ----

static bool hw_set_has(const struct hw_items *items, hw_addr_t entry, uint64_t key,
		       const hw_addr_t *dummies, size_t dummy_count, bool *ret_readable)
{
	uint64_t hash = 0;
	if (!key)
		return false;
	for (size_t i = 0; i < dummy_count; i++)
		if (key == dummies[i])
			return false;
	*ret_readable = hw_items_word(items, entry, items->layout->setentry_hash, &hash);
	return hw_word_signed(hash, items->layout->word_bytes) != -1; // no object has it
}

enum hw_items_end hw_set_visit(const struct hw_python_layout *layout, struct hw_pages *pages,
			       hw_addr_t set, const hw_addr_t *dummies, size_t dummy_count,
			       uint64_t slots_max, hw_item_fn *visit, void *payload)
{
	const struct hw_items items = { layout, pages, slots_max, visit, payload };
	uint64_t table, mask, length;
	if (!hw_items_word(&items, set, layout->set_table, &table) ||
	    !hw_items_word(&items, set, layout->set_mask, &mask) || layout->setentry_size <= 0 ||
	    !hw_set_length(layout, pages, set, &length))
		return HW_ITEMS_UNREADABLE;
	for (uint64_t i = 0; i <= mask && length; i++) {
		hw_addr_t entry = table + i * (uint64_t)layout->setentry_size;
		uint64_t key;
		bool is_readable = true;
		if (i == slots_max)
			return HW_ITEMS_CUT;
		if (!hw_items_word(&items, entry, layout->setentry_key, &key))
			return HW_ITEMS_UNREADABLE;
		bool has = hw_set_has(&items, entry, key, dummies, dummy_count, &is_readable);
		if (!is_readable)
			return HW_ITEMS_UNREADABLE;
		if (!has)
			continue;
		length--;
		if (!visit(payload, key, 0))
			break;
	}
	return HW_ITEMS_WHOLE;
}

// ---- tuple, list ----

enum hw_items_end hw_sequence_visit(struct hw_pages *pages, hw_addr_t items, uint64_t count,
				    uint64_t slots_max, hw_item_fn *visit, void *payload)
{
	const unsigned word = hw_pages_word_bytes(pages);
	for (uint64_t i = 0; i < count; i++) {
		uint64_t item;
		if (i == slots_max)
			return HW_ITEMS_CUT;
		if (!hw_pages_read_word(pages, items + word * i, &item))
			return HW_ITEMS_UNREADABLE;
		if (!visit(payload, item, 0))
			break;
	}
	return HW_ITEMS_WHOLE;
}
