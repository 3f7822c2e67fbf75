/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The numbers of `stats` as fields: JSON, and CSV as one table of names and values.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "report/stats.h"

enum { HW_STATS_NUMBERS = 40, HW_STATS_NAME_BYTES = 96 };

struct hw_stats_number {
	const char *key;
	bool is_known;
	uint64_t value;
};

static const char *hw_in_force_word(enum hw_in_force in_force)
{
	switch (in_force) {
	case HW_IN_FORCE_PYMALLOC:
		return "pymalloc";
	case HW_IN_FORCE_MALLOC:
		return "malloc";
	case HW_IN_FORCE_MIMALLOC:
		return "mimalloc";
	case HW_IN_FORCE_OTHER:
		return "other";
	case HW_IN_FORCE_UNKNOWN:
		break;
	}
	return NULL;
}

// Every number that is one by itself, in the order of the text; how many.
static size_t hw_stats_numbers(const struct hw_session *session, const struct hw_stats *stats,
			       struct hw_stats_number *ret)
{
	const struct hw_pymalloc *pm = &session->pymalloc;
	const struct hw_pymalloc_state *s = stats->state;
	const struct hw_python_layout *l = &session->python.layout;
	bool has_map = hw_stats_has_map(l), knows_map = has_map && s->has_arena_map;
	bool is_flat = hw_stats_map_is_flat(l);
	const struct hw_stats_number numbers[] = {
		{ "size_class_count", true, pm->size_class_count },
		{ "malloc_calls", hw_stats_counts_calls(pm, s), s->malloc_calls },
		{ "arenas_allocated_total", s->has_arena_totals, s->arenas_allocated_total },
		{ "arenas_reclaimed", s->has_arena_totals,
		  s->arenas_allocated_total - s->arena_count },
		{ "arenas_highwater", s->has_arena_totals, s->arenas_highwater },
		{ "arenas", true, s->arena_count },
		{ "arena_bytes", true, pm->arena_bytes },
		{ "arenas_bytes", true, s->arena_count * pm->arena_bytes },
		{ "allocated_bytes", true, s->allocated_bytes },
		{ "available_bytes", true, s->available_bytes },
		{ "unused_pools", true, s->unused_pools },
		{ "pool_bytes", true, pm->pool_bytes },
		{ "unused_pool_bytes", true, s->unused_pool_bytes },
		{ "pool_header_bytes", true, s->pool_header_bytes },
		{ "quantization_bytes", true, s->quantization_bytes },
		{ "arena_alignment_bytes", true, s->arena_alignment_bytes },
		{ "total_bytes", true, stats->total_bytes },
		{ "arena_map_mid_nodes", knows_map, s->arena_map_mid_count },
		{ "arena_map_bot_nodes", knows_map, s->arena_map_bot_count },
		{ "arena_map_root_bytes", has_map || is_flat,
		  (uint64_t)(is_flat ? l->arena_map_bot_size : l->arena_map_top_size) },
		{ "arena_map_mid_bytes", knows_map,
		  s->arena_map_mid_count * (uint64_t)l->arena_map_mid_size },
		{ "arena_map_bot_bytes", knows_map,
		  s->arena_map_bot_count * (uint64_t)l->arena_map_bot_size },
		{ "blocks_in_use", true, stats->blocks_in_use },
		{ "pools_in_use", true, stats->pools_in_use },
		{ "packed_pools", true, stats->packed_pools },
		{ "packed_arenas", true, stats->packed_arenas },
		{ "free_list_objects", stats->free_lists.is_known, stats->free_list_objects },
		{ "free_list_block_bytes", stats->free_lists.is_known, stats->free_list_bytes },
	};
	size_t count = HW_ARRAY_COUNT(numbers);
	_Static_assert(sizeof(numbers) / sizeof(numbers[0]) <= HW_STATS_NUMBERS, "room for them");
	for (size_t i = 0; i < count; i++)
		ret[i] = numbers[i];
	return count;
}

// mimalloc's; how many.
static size_t hw_stats_heap_numbers(const struct hw_stats *stats, struct hw_stats_number *ret)
{
	const struct hw_stats_heap *heap = &stats->heap;
	const struct hw_stats_number numbers[] = {
		{ "small_block_threshold", true, heap->small_max },
		{ "medium_block_threshold", true, heap->medium_max },
		{ "large_object_max", true, heap->large_max },
		{ "size_classes", true, heap->bins },
		{ "allocated_blocks", heap->is_known, heap->blocks },
		{ "allocated_bytes", heap->is_known, heap->bytes },
		{ "allocated_bytes_with_overhead", heap->is_known, heap->full_bytes },
		{ "reserved_bytes", heap->is_known, heap->reserved_bytes },
		{ "committed_bytes", heap->is_known, heap->committed_bytes },
	};
	_Static_assert(sizeof(numbers) / sizeof(numbers[0]) <= HW_STATS_NUMBERS, "room for them");
	memcpy(ret, numbers, sizeof(numbers));
	return stats->has_heap_lines ? HW_ARRAY_COUNT(numbers) : 0;
}

// ---- JSON ----

// null with the GIL
static struct json_object *hw_json_tags(struct hw_report *report, const struct hw_stats *stats)
{
	if (!stats->has_tags)
		return NULL;
	struct json_object *array = json_object_new_array();
	for (unsigned tag = 0; array && tag < HW_MI_TAG_COUNT; tag++) {
		const struct hw_mi_heap *sum = &stats->tags[tag];
		struct json_object *object = json_object_new_object();
		hw_json_add_text(report, object, "tag", hw_mi_tag_word(tag));
		hw_json_add_number(object, "blocks", sum->blocks);
		hw_json_add_number(object, "bytes", sum->block_bytes);
		hw_json_add_number(object, "reserved_bytes", sum->reserved_bytes);
		hw_json_add_number(object, "committed_bytes", sum->committed_bytes);
		if (json_object_array_add(array, object))
			json_object_put(object);
	}
	return array;
}

static struct json_object *hw_json_heap(struct hw_report *report, const struct hw_stats *stats)
{
	struct hw_stats_number numbers[HW_STATS_NUMBERS];
	size_t count = hw_stats_heap_numbers(stats, numbers);
	struct json_object *object = count ? json_object_new_object() : NULL;
	for (size_t i = 0; object && i < count; i++)
		hw_json_add(object, numbers[i].key,
			    numbers[i].is_known ? json_object_new_uint64(numbers[i].value) : NULL);
	if (object)
		hw_json_add(object, "tags", hw_json_tags(report, stats));
	return object;
}

static struct json_object *hw_json_classes(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_pymalloc *pm = &report->session->pymalloc;
	struct json_object *array = json_object_new_array();
	for (uint32_t i = 0; array && i < pm->size_class_count; i++) {
		const struct hw_size_class_stats *class = &stats->state->classes[i];
		if (!class->pools)
			continue;
		struct json_object *object = json_object_new_object();
		hw_json_add_number(object, "class", i);
		hw_json_add_number(object, "size", (uint64_t)(i + 1) * pm->alignment);
		hw_json_add_number(object, "pools", class->pools);
		hw_json_add_number(object, "blocks_in_use", class->blocks_in_use);
		hw_json_add_number(object, "blocks_free", class->blocks_free);
		json_object_array_add(array, object);
	}
	return array;
}

static struct json_object *hw_json_free_lists(struct hw_report *report,
					      const struct hw_stats *stats)
{
	struct json_object *array = NULL;
	if (!stats->free_lists.is_known)
		return NULL;
	array = json_object_new_array();
	hw_vec_foreach(list, &stats->free_lists.list)
	{
		struct json_object *object = json_object_new_object();
		hw_json_add_text(report, object, "type", list->type);
		hw_json_add(object, "length",
			    list->length ? json_object_new_uint64(list->length) : NULL);
		hw_json_add(object, "count", json_object_new_int64(list->count));
		hw_json_add_number(object, "object_bytes", list->object_bytes);
		hw_json_add_number(object, "block_bytes", list->block_bytes);
		if (!array || json_object_array_add(array, object))
			json_object_put(object);
	}
	return array;
}

static struct json_object *hw_json_histogram(const struct hw_stats *stats)
{
	struct json_object *array = json_object_new_array();
	for (unsigned i = 0; array && i < HW_STATS_BINS; i++) {
		const struct hw_stats_bin *bin = &stats->bins[i];
		struct json_object *object = json_object_new_object();
		hw_json_add_number(object, "percent", i * 100 / HW_STATS_BINS);
		hw_json_add_number(object, "arenas", bin->arenas);
		hw_json_add_number(object, "blocks_in_use", bin->blocks);
		hw_json_add_number(object, "bytes_in_use", bin->bytes);
		hw_json_add_number(object, "unused_pools", bin->free_pools);
		json_object_array_add(array, object);
	}
	return array;
}

void hw_stats_json(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_session *session = report->session;
	struct hw_stats_number numbers[HW_STATS_NUMBERS];
	const char *allocator = hw_in_force_word(session->pymalloc.in_force);
	report->tells_stop = true;
	hw_report_begin(report, "stats");
	hw_report_member(report, "interpreter", json_object_new_int64(stats->interpreter_id));
	hw_report_member(report, "interpreter_count",
			 json_object_new_uint64(session->python.interpreters.count));
	hw_report_member(report, "allocator", allocator ? json_object_new_string(allocator) : NULL);
	hw_report_member(report, "debug_hooks",
			 session->pymalloc.is_in_force_inferred
				 ? NULL
				 : json_object_new_boolean(session->pymalloc.has_debug_hooks));
	size_t count = hw_stats_numbers(session, stats, numbers);
	for (size_t i = 0; i < count; i++)
		hw_report_member(report, numbers[i].key,
				 numbers[i].is_known ? json_object_new_uint64(numbers[i].value)
						     : NULL);
	hw_report_member(report, "mimalloc", hw_json_heap(report, stats));
	hw_report_member(report, "size_classes", hw_json_classes(report, stats));
	hw_report_member(report, "free_lists", hw_json_free_lists(report, stats));
	hw_report_member(report, "histogram", hw_json_histogram(stats));
	hw_report_member(report, "stopped_seconds",
			 session->stop_nanoseconds || session->was_at_rest
				 ? json_object_new_double((double)session->stop_nanoseconds / 1e9)
				 : NULL);
}

// ---- CSV ----

static const struct hw_column hw_stats_columns[] = { { "Name", "name" }, { "Value", "value" } };

static void hw_csv_number(struct hw_report *report, const char *name, struct hw_cell value)
{
	const struct hw_cell cells[] = { hw_cell_text(name), value };
	hw_table_row(report, cells);
}

static void hw_csv_classes(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_pymalloc *pm = &report->session->pymalloc;
	char name[HW_STATS_NAME_BYTES];
	for (uint32_t i = 0; i < pm->size_class_count; i++) {
		const struct hw_size_class_stats *class = &stats->state->classes[i];
		const struct hw_stats_number numbers[] = {
			{ "pools", true, class->pools },
			{ "blocks_in_use", true, class->blocks_in_use },
			{ "blocks_free", true, class->blocks_free },
		};
		for (size_t k = 0; class->pools && k < HW_ARRAY_COUNT(numbers); k++) {
			snprintf(name, sizeof(name), "size_classes.%" PRIu32 ".%s",
				 (i + 1) * pm->alignment, numbers[k].key);
			hw_csv_number(report, name, hw_cell_number(numbers[k].value));
		}
	}
}

void hw_stats_csv(struct hw_report *report, const struct hw_stats *stats)
{
	struct hw_stats_number numbers[HW_STATS_NUMBERS];
	char name[HW_STATS_NAME_BYTES];
	report->tells_stop = true;
	hw_report_begin(report, "stats");
	hw_table_begin(report, "rows", hw_stats_columns, HW_ARRAY_COUNT(hw_stats_columns));
	size_t count = hw_stats_numbers(report->session, stats, numbers);
	for (size_t i = 0; i < count; i++)
		hw_csv_number(report, numbers[i].key,
			      numbers[i].is_known ? hw_cell_number(numbers[i].value)
						  : hw_cell_none());
	count = hw_stats_heap_numbers(stats, numbers);
	for (size_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "mimalloc.%s", numbers[i].key);
		hw_csv_number(report, name,
			      numbers[i].is_known ? hw_cell_number(numbers[i].value)
						  : hw_cell_none());
	}
	hw_csv_classes(report, stats);
	hw_vec_foreach(list, &stats->free_lists.list)
	{
		if (list->length)
			snprintf(name, sizeof(name), "free_lists.%s.%" PRIu32, list->type,
				 list->length);
		else
			snprintf(name, sizeof(name), "free_lists.%s", list->type);
		hw_csv_number(report, name, hw_cell_signed(list->count));
	}
	hw_table_end(report);
}
