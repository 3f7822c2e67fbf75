/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `stats`: the text of sys._debugmallocstats(), byte for byte. Its form has been the same since 3.3: Python/
// sysmodule.c sys__debugmallocstats(), Objects/obmalloc.c _PyObject_DebugMallocStats() and printone(),
// Objects/object.c _PyObject_DebugTypeStats().
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "report/stats.h"

enum {
	HW_STATS_LABEL_WIDTH = 35,  // printone() pads its message to this
	HW_STATS_NUMBER_WIDTH = 21, // and writes a number into this much, dropping what is before
	HW_STATS_THRESHOLD = 512,   // SMALL_REQUEST_THRESHOLD
};

static void hw_stats_put(struct hw_report *report, const char *label, const char *number)
{
	size_t len = strlen(number);
	if (len > HW_STATS_NUMBER_WIDTH)
		number += len - HW_STATS_NUMBER_WIDTH;
	hw_sink_printf(&report->sink, "%-*s=%*s\n", HW_STATS_LABEL_WIDTH, label,
		       HW_STATS_NUMBER_WIDTH, number);
}

static void hw_stats_line(struct hw_report *report, const char *label, uint64_t number)
{
	char buf[32];
	hw_stats_put(report, label, hw_commas(number, buf));
}

static void hw_stats_line_if(struct hw_report *report, const char *label, bool is_known,
			     uint64_t number)
{
	if (is_known)
		hw_stats_line(report, label, number);
	else
		hw_stats_put(report, label, "?");
}

static void hw_stats_class_lines(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_pymalloc *pm = &report->session->pymalloc;
	hw_sink_printf(&report->sink,
		       "Small block threshold = %d, in %u size classes.\n"
		       "\n"
		       "class   size   num pools   blocks in use  avail blocks\n"
		       "-----   ----   ---------   -------------  ------------\n",
		       HW_STATS_THRESHOLD, pm->size_class_count);
	for (uint32_t i = 0; i < pm->size_class_count; i++) {
		const struct hw_size_class_stats *class = &stats->state->classes[i];
		if (class->pools)
			hw_sink_printf(&report->sink,
				       "%5u %6u %11" PRIu64 " %15" PRIu64 " %13" PRIu64 "\n", i,
				       (i + 1) * pm->alignment, class->pools, class->blocks_in_use,
				       class->blocks_free);
	}
	hw_sink_puts(&report->sink, "\n");
}

static void hw_stats_arena_lines(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_pymalloc *pm = &report->session->pymalloc;
	const struct hw_pymalloc_state *s = stats->state;
	char label[64];
	if (hw_stats_counts_calls(&report->session->pymalloc, s))
		hw_stats_line(report, "# times object malloc called", s->malloc_calls);
	if (!hw_stats_lacks_totals(s)) {
		bool is_known = s->has_arena_totals;
		hw_stats_line_if(report, "# arenas allocated total", is_known,
				 s->arenas_allocated_total);
		hw_stats_line_if(report, "# arenas reclaimed", is_known,
				 s->arenas_allocated_total - s->arena_count);
		hw_stats_line_if(report, "# arenas highwater mark", is_known, s->arenas_highwater);
	}
	hw_stats_line(report, "# arenas allocated current", s->arena_count);
	snprintf(label, sizeof(label), "%" PRIu64 " arenas * %" PRIu32 " bytes/arena",
		 s->arena_count, pm->arena_bytes);
	hw_stats_line(report, label, s->arena_count * pm->arena_bytes);
	hw_sink_puts(&report->sink, "\n");
	hw_stats_line(report, "# bytes in allocated blocks", s->allocated_bytes);
	hw_stats_line(report, "# bytes in available blocks", s->available_bytes);
	snprintf(label, sizeof(label), "%" PRIu64 " unused pools * %" PRIu32 " bytes",
		 s->unused_pools, pm->pool_bytes);
	hw_stats_line(report, label, s->unused_pool_bytes);
	hw_stats_line(report, "# bytes lost to pool headers", s->pool_header_bytes);
	hw_stats_line(report, "# bytes lost to quantization", s->quantization_bytes);
	hw_stats_line(report, "# bytes lost to arena alignment", s->arena_alignment_bytes);
	hw_stats_line(report, "Total", stats->total_bytes);
}

// Since 3.10: the radix tree that tells whether an address is an arena's.
static void hw_stats_map_lines(struct hw_report *report, const struct hw_pymalloc_state *s,
			       const struct hw_python_layout *l)
{
	if (hw_stats_map_is_flat(l)) {
		hw_sink_puts(&report->sink, "\narena map counts\n");
		hw_stats_line(report, "# bytes lost to arena map root",
			      (uint64_t)l->arena_map_bot_size);
	}
	if (!hw_stats_has_map(l))
		return;
	bool is_known = s->has_arena_map;
	uint64_t root = (uint64_t)l->arena_map_top_size;
	uint64_t mid = s->arena_map_mid_count * (uint64_t)l->arena_map_mid_size;
	uint64_t bot = s->arena_map_bot_count * (uint64_t)l->arena_map_bot_size;
	hw_sink_puts(&report->sink, "\narena map counts\n");
	hw_stats_line_if(report, "# arena map mid nodes", is_known, s->arena_map_mid_count);
	hw_stats_line_if(report, "# arena map bot nodes", is_known, s->arena_map_bot_count);
	hw_sink_puts(&report->sink, "\n");
	hw_stats_line(report, "# bytes lost to arena map root", root);
	hw_stats_line_if(report, "# bytes lost to arena map mid", is_known, mid);
	hw_stats_line_if(report, "# bytes lost to arena map bot", is_known, bot);
	hw_stats_line_if(report, "Total", is_known, root + mid + bot);
}

// CPython's own words and form: Objects/obmalloc.c py_mimalloc_print_stats().
static void hw_stats_heap_lines(struct hw_report *report, const struct hw_stats_heap *heap)
{
	const struct {
		const char *label;
		uint64_t value;
	} lines[] = {
		{ "Allocated Blocks", heap->blocks },
		{ "Allocated Bytes", heap->bytes },
		{ "Allocated Bytes w/ Overhead", heap->full_bytes },
		{ "Bytes Reserved", heap->reserved_bytes },
		{ "Bytes Committed", heap->committed_bytes },
	};
	hw_sink_printf(&report->sink,
		       "Small block threshold = %" PRIu64 ", in %" PRIu64 " size classes.\n"
		       "Medium block threshold = %" PRIu64 "\n"
		       "Large object max size = %" PRIu64 "\n",
		       heap->small_max, heap->bins, heap->medium_max, heap->large_max);
	for (size_t i = 0; i < HW_ARRAY_COUNT(lines); i++) {
		if (heap->is_known)
			hw_sink_printf(&report->sink, "    %s: %" PRIu64 "\n", lines[i].label,
				       lines[i].value);
		else
			hw_sink_printf(&report->sink, "    %s: ?\n", lines[i].label);
	}
}

static void hw_stats_type_lines(struct hw_report *report, const struct hw_stats *stats)
{
	hw_vec_foreach(list, &stats->free_lists.list)
	{
		char name[64], text[128], label[160];
		if (list->length)
			snprintf(name, sizeof(name), "free %" PRIu32 "-sized %s", list->length,
				 list->type);
		else
			snprintf(name, sizeof(name), "free %s", list->type);
		snprintf(text, sizeof(text), "%" PRId32 " %ss * %" PRIu64 " bytes each",
			 list->count, name, list->object_bytes);
		snprintf(label, sizeof(label), "%48s ", text);
		// The interpreter multiplies an int by a size_t.
		hw_stats_line(report, label, (uint64_t)(int64_t)list->count * list->object_bytes);
	}
}

static void hw_stats_text(struct hw_report *report, const struct hw_stats *stats)
{
	report->tells_stop = true;
	hw_report_begin(report, "stats");
	if (stats->has_pool_lines) {
		hw_stats_class_lines(report, stats);
		hw_stats_arena_lines(report, stats);
		hw_stats_map_lines(report, stats->state, &report->session->python.layout);
		if (stats->has_type_lines)
			hw_sink_puts(&report->sink, "\n");
	}
	if (stats->has_heap_lines) {
		hw_stats_heap_lines(report, &stats->heap);
		hw_sink_puts(&report->sink, "\n");
	}
	if (stats->has_type_lines)
		hw_stats_type_lines(report, stats);
	if (hw_argument(report->arguments, "explain"))
		hw_stats_explain(report, stats);
}

// What keeps the text from being what the process itself would print; NULL: nothing.
static struct hw_error *hw_stats_shortfall(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_python *python = &report->session->python;
	const struct hw_pymalloc_state *s = stats->state;
	if (stats->bad_pools || (s->has_arenas_allocated && s->arenas_allocated != s->arena_count))
		return hw_error_create(HW_ERROR_PARTIAL,
				       "the report is partial: %" PRIu64 " pools and %" PRId64
				       " arenas could not be counted; its issues say why",
				       stats->bad_pools,
				       s->has_arenas_allocated
					       ? (int64_t)(s->arenas_allocated - s->arena_count)
					       : 0);
	if (stats->has_heap_lines && !stats->heap.is_known)
		return hw_error_create(HW_ERROR_PARTIAL,
				       "the report is partial: which of mimalloc's heaps "
				       "interpreter %" PRId64 " allocates from can't be told",
				       stats->interpreter_id);
	bool has_counters = !stats->has_pool_lines ||
			    ((s->has_arena_totals || hw_stats_lacks_totals(s)) &&
			     (s->has_arena_map || !hw_stats_has_map(&python->layout)));
	bool has_lists = !stats->has_type_lines || stats->free_lists.is_known;
	if (has_counters && has_lists)
		return NULL;
	return hw_error_create(
		HW_ERROR_PARTIAL,
		"the report is partial: neither symbols nor debug information of %s "
		"tell where CPython %s keeps %s%s%s; install its debug information",
		python->module->path, python->version, has_counters ? "" : "obmalloc's counters",
		has_counters || has_lists ? "" : " and ", has_lists ? "" : "its free lists");
}

struct hw_error *hw_report_stats(struct hw_report *report)
{
	struct hw_stats stats;
	HW_TRY(hw_session_stats(report->session, hw_argument(report->arguments, "interpreter"),
				&stats));
	if (report->format == HW_FORMAT_JSON)
		hw_stats_json(report, &stats);
	else if (report->format == HW_FORMAT_CSV)
		hw_stats_csv(report, &stats);
	else
		hw_stats_text(report, &stats);
	struct hw_error *err = hw_stats_shortfall(report, &stats);
	hw_stats_deinit(&stats);
	return err;
}
