/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/census.h"

#include <stdio.h>
#include <string.h>

#include "analysis/query.h"
#include "base/cleanup.h"

enum { HW_POLL_ROWS = 1 << 16, HW_SLOTS_MIN = 1 << 10 };

#define HW_UNCATEGORIZED "uncategorized"

// A hash of (key, size) to a row of the result; key is a domain's number or an allocator.
struct hw_group_table {
	struct hw_group_rows *rows;
	uint32_t *slots; // row + 1, 0: empty
	uint32_t slot_count;
	HW_VEC(uint32_t) keys; // by row
	bool out_of_memory;
};

struct hw_group_scan {
	const struct hw_heap *heap;
	enum hw_group group;
	struct hw_progress *progress;
	struct hw_group_table table;
	uint32_t *domains;     // by category: the first category of that domain
	struct hw_place place; // of the last row
	uint64_t seen;
};

static uint64_t hw_mix(uint64_t size, uint32_t key)
{
	uint64_t h = (size ^ (uint64_t)key << 48) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 31;
}

static bool hw_group_rehash(struct hw_group_table *table)
{
	uint32_t count = table->slot_count ? table->slot_count * 2 : HW_SLOTS_MIN;
	uint32_t *slots = calloc(count, sizeof(*slots));
	if (!slots)
		return false;
	for (uint32_t i = 0; i < table->rows->list.count; i++) {
		uint64_t at = hw_mix(table->rows->list.data[i].size_bytes, table->keys.data[i]);
		while (slots[at & (count - 1)])
			at++;
		slots[at & (count - 1)] = i + 1;
	}
	free(table->slots);
	table->slots = slots;
	table->slot_count = count;
	return true;
}

// The group of (key, size), made if it is new. NULL: out of memory.
static struct hw_group_row *hw_group_get(struct hw_group_table *table, uint64_t size, uint32_t key)
{
	if (table->rows->list.count * 2 >= table->slot_count && !hw_group_rehash(table))
		return NULL;
	uint64_t at = hw_mix(size, key);
	for (uint32_t slot; (slot = table->slots[at & (table->slot_count - 1)]); at++) {
		struct hw_group_row *row = &table->rows->list.data[slot - 1];
		if (row->size_bytes == size && table->keys.data[slot - 1] == key)
			return row;
	}
	struct hw_group_row fresh = { .size_bytes = size };
	if (!hw_vec_push(&table->keys, key))
		return NULL;
	if (!hw_vec_push(&table->rows->list, fresh)) {
		table->keys.count--;
		return NULL;
	}
	table->slots[at & (table->slot_count - 1)] = (uint32_t)table->rows->list.count;
	return &table->rows->list.data[table->rows->list.count - 1];
}

static const char *hw_group_string(struct hw_group_rows *rows, const char *text)
{
	uint32_t id = hw_strtab_intern(&rows->strings, text, strlen(text));
	return id == UINT32_MAX ? "" : hw_strtab_get(&rows->strings, id);
}

static const char *hw_place_name(struct hw_group_rows *rows, const struct hw_place *place)
{
	char text[32] = "";
	switch (place->kind) {
	case HW_PLACE_MALLOC:
		snprintf(text, sizeof(text), "arena %u", place->index);
		break;
	case HW_PLACE_MMAPPED:
		return "mmapped";
	case HW_PLACE_PYMALLOC:
	case HW_PLACE_MIMALLOC:
		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)place->start);
		break;
	case HW_PLACE_NONE:
		break;
	}
	return hw_group_string(rows, text);
}

// Rows come in address order: most are of the same arena as the one before.
static uint32_t hw_group_place(struct hw_group_scan *scan, const struct hw_row *row)
{
	if (row->start < scan->place.start || row->start >= scan->place.end)
		hw_heap_place(scan->heap, row->start, &scan->place);
	return (uint32_t)scan->place.kind << 29 | (scan->place.index & ~(UINT32_C(7) << 29));
}

static bool hw_group_block(void *payload, const struct hw_row *row)
{
	struct hw_group_scan *scan = payload;
	if (!(++scan->seen & (HW_POLL_ROWS - 1)) && hw_progress_poll(scan->progress))
		return false;
	const struct hw_category *category = hw_heap_category(scan->heap, row->category);
	bool by_domain = scan->group == HW_GROUP_SIZE;
	if (scan->group == HW_GROUP_USED_SIZE &&
	    (category->state != HW_STATE_IN_USE || row->allocator == HW_ALLOCATOR_NONE))
		return true;
	bool by_arena = scan->group == HW_GROUP_ARENA;
	uint32_t key = by_domain  ? scan->domains[row->category]
		       : by_arena ? hw_group_place(scan, row)
				  : (uint32_t)row->allocator;
	bool by_size = scan->group != HW_GROUP_ALLOCATOR && !by_arena;
	struct hw_group_row *group = hw_group_get(&scan->table, by_size ? row->size_bytes : 0, key);
	if (!group) {
		scan->table.out_of_memory = true;
		return false;
	}
	if (!group->count) {
		group->has_size = by_size;
		if (by_domain)
			group->domain = category->domain;
		else
			group->allocator = hw_allocator_word(row->allocator);
		if (by_arena)
			group->arena = hw_place_name(scan->table.rows, &scan->place);
	}
	group->count++;
	group->bytes += row->size_bytes;
	return true;
}

static bool hw_number_domains(struct hw_group_scan *scan)
{
	uint32_t count = hw_heap_category_count(scan->heap);
	HW_VEC(uint32_t) firsts = { 0 }; // one category for each domain: there are few
	scan->domains = calloc(count ? count : 1, sizeof(*scan->domains));
	bool ok = scan->domains != NULL;
	for (uint32_t i = 0; ok && i < count; i++) {
		const char *domain = hw_heap_category(scan->heap, i)->domain;
		size_t j = 0;
		while (j < firsts.count &&
		       strcmp(hw_heap_category(scan->heap, firsts.data[j])->domain, domain) != 0)
			j++;
		if (j == firsts.count)
			ok = hw_vec_push(&firsts, i);
		if (ok)
			scan->domains[i] = firsts.data[j];
	}
	hw_vec_deinit(&firsts);
	return ok;
}

// `query` NULL: all rows.
static struct hw_error *hw_census_by_block(const struct hw_heap *heap, enum hw_group group,
					   struct hw_query *query, struct hw_progress *progress,
					   struct hw_group_rows *rows)
{
	struct hw_error *err = NULL;
	struct hw_group_scan scan = {
		.heap = heap, .group = group, .progress = progress, .table = { .rows = rows }
	};
	if (!hw_number_domains(&scan))
		scan.table.out_of_memory = true;
	else if (query)
		err = hw_query_run(query, heap, progress, hw_group_block, &scan);
	else
		hw_heap_visit(heap, 0, UINT64_MAX, hw_group_block, &scan);
	free(scan.domains);
	free(scan.table.slots);
	hw_vec_deinit(&scan.table.keys);
	return scan.table.out_of_memory ? &hw_enomem : err;
}

// ---- over categories ----

struct hw_group_row hw_group_of(const struct hw_category *category, enum hw_group group)
{
	struct hw_group_row row = { 0 };
	switch (group) {
	case HW_GROUP_CATEGORY:
		row.detail = strcmp(category->domain, HW_UNCATEGORIZED) != 0 ? category->detail
									     : "";
		row.state = category->state_word;
		row.domain = category->domain;
		row.kind = strcmp(category->domain, HW_UNCATEGORIZED) != 0 ? category->kind : "";
		break;
	case HW_GROUP_TYPE:
		row.type = category->type;
		row.domain = category->domain;
		row.kind = category->kind;
		break;
	case HW_GROUP_KIND:
		row.domain = category->domain;
		row.kind = category->kind;
		break;
	case HW_GROUP_DOMAIN:
	case HW_GROUP_MODULE:
		row.domain = category->domain;
		break;
	case HW_GROUP_STATE:
		row.state = hw_state_class_word(category->state);
		break;
	case HW_GROUP_SIZE:
	case HW_GROUP_ALLOCATOR:
	case HW_GROUP_ARENA:
	case HW_GROUP_USED_SIZE:
		break;
	}
	return row;
}

static int hw_text_order(const char *a, const char *b)
{
	return a == b ? 0 : !a ? -1 : !b ? 1 : strcmp(a, b);
}

int hw_group_order(const void *left, const void *right)
{
	const struct hw_group_row *a = left, *b = right;
	int ordering = hw_text_order(a->domain, b->domain);
	if (!ordering)
		ordering = hw_text_order(a->kind, b->kind);
	if (!ordering)
		ordering = hw_text_order(a->detail, b->detail);
	if (!ordering)
		ordering = hw_text_order(a->state, b->state);
	if (!ordering)
		ordering = hw_text_order(a->allocator, b->allocator);
	if (!ordering)
		ordering = hw_text_order(a->module, b->module);
	if (!ordering)
		ordering = (a->size_bytes > b->size_bytes) - (a->size_bytes < b->size_bytes);
	return ordering ? ordering : (a->type > b->type) - (a->type < b->type);
}

const char *hw_census_module(const struct hw_heap *heap, uint32_t id, struct hw_pages *pages,
			     struct hw_strtab *strings)
{
	const struct hw_category *category = hw_heap_category(heap, id);
	char name[256];
	if (!strcmp(category->domain, "file"))
		return category->kind;
	if (!hw_heap_module(heap, id, pages, name, sizeof(name)))
		return "";
	uint32_t text = hw_strtab_intern(strings, name, strlen(name));
	return text == UINT32_MAX ? "" : hw_strtab_get(strings, text);
}

static struct hw_error *hw_census_by_category(const struct hw_heap *heap, struct hw_pages *pages,
					      enum hw_group group,
					      const struct hw_census_row *census, size_t count,
					      struct hw_group_rows *rows)
{
	for (size_t i = 0; i < count; i++) {
		struct hw_group_row row = hw_group_of(hw_heap_category(heap, census[i].category),
						      group);
		if (group == HW_GROUP_MODULE)
			row.module = hw_census_module(heap, census[i].category, pages,
						      &rows->strings);
		row.count = census[i].count;
		row.bytes = census[i].bytes;
		if (!hw_vec_push(&rows->list, row))
			return &hw_enomem;
	}
	if (!count)
		return NULL;
	qsort(rows->list.data, count, sizeof(*rows->list.data), hw_group_order);
	size_t kept = 0;
	for (size_t i = 1; i < count; i++) {
		struct hw_group_row *last = &rows->list.data[kept], *row = &rows->list.data[i];
		if (hw_group_order(last, row)) {
			rows->list.data[++kept] = *row;
		} else {
			last->count += row->count;
			last->bytes += row->bytes;
		}
	}
	rows->list.count = kept + 1;
	return NULL;
}

struct hw_query_count {
	struct hw_census_row *rows; // by category
};

static bool hw_count_row(void *payload, const struct hw_row *row)
{
	struct hw_query_count *counts = payload;
	counts->rows[row->category].count++;
	counts->rows[row->category].bytes += row->size_bytes;
	return true;
}

// The census of what a query finds.
static struct hw_error *hw_census_of_query(const struct hw_heap *heap, struct hw_pages *pages,
					   enum hw_group group, struct hw_query *query,
					   struct hw_progress *progress, struct hw_group_rows *rows)
{
	uint32_t count = hw_heap_category_count(heap);
	size_t kept = 0;
	hw_cleanup_free struct hw_census_row *census = calloc(count + 1, sizeof(*census));
	struct hw_query_count counts = { census };
	if (!census)
		return &hw_enomem;
	HW_TRY(hw_query_run(query, heap, progress, hw_count_row, &counts));
	for (uint32_t id = 0; id < count; id++) {
		census[id].category = id;
		if (census[id].count)
			census[kept++] = census[id];
	}
	return hw_census_by_category(heap, pages, group, census, kept, rows);
}

struct hw_error *hw_census_group_query(const struct hw_heap *heap, struct hw_target *target,
				       enum hw_group group, struct hw_query *query,
				       struct hw_progress *progress, struct hw_group_rows *ret)
{
	struct hw_group_rows rows = { 0 };
	struct hw_error *err;
	struct hw_pages pages;
	size_t count;
	const struct hw_census_row *census = hw_heap_census(heap, &count);
	hw_strtab_init(&rows.strings);
	hw_pages_init(&pages, target);
	switch (group) {
	case HW_GROUP_SIZE:
	case HW_GROUP_ALLOCATOR:
	case HW_GROUP_ARENA:
	case HW_GROUP_USED_SIZE:
		err = hw_census_by_block(heap, group, query, progress, &rows);
		break;
	default:
		err = query ? hw_census_of_query(heap, &pages, group, query, progress, &rows)
			    : hw_census_by_category(heap, &pages, group, census, count, &rows);
	}
	hw_pages_deinit(&pages);
	if (err)
		hw_group_rows_deinit(&rows);
	else
		*ret = rows;
	return err;
}

struct hw_error *hw_census_group(const struct hw_heap *heap, struct hw_target *target,
				 enum hw_group group, struct hw_progress *progress,
				 struct hw_group_rows *ret)
{
	return hw_census_group_query(heap, target, group, NULL, progress, ret);
}

void hw_group_rows_deinit(struct hw_group_rows *rows)
{
	hw_vec_deinit(&rows->list);
	hw_strtab_deinit(&rows->strings);
}
