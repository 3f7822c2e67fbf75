/* SPDX-License-Identifier: LGPL-2.1-or-later */
// `stats` with `explain`: what the lines above mean for the process.
#include <inttypes.h>
#include <stdio.h>

#include "report/stats.h"

struct hw_stats_text {
	char text[32];
};

static struct hw_stats_text hw_number(uint64_t number)
{
	struct hw_stats_text ret;
	hw_commas(number, ret.text);
	return ret;
}

static struct hw_stats_text hw_share(uint64_t part, uint64_t whole)
{
	struct hw_stats_text ret;
	hw_percent(part, whole, ret.text);
	return ret;
}

static void hw_stats_explain_tags(struct hw_report *report, const struct hw_stats *stats)
{
	char blocks[32], bytes[32];
	hw_report_line(
		report,
		"allocator: mimalloc; sys._debugmallocstats() looks at a heap that nothing is "
		"allocated from: in %zu heaps, and in what ended threads left, there are",
		report->session->mimalloc.heaps.count);
	for (unsigned tag = 0; tag < HW_MI_TAG_COUNT; tag++)
		hw_report_line(report, "%10s blocks of %s bytes in heaps for %s",
			       hw_commas(stats->tags[tag].blocks, blocks),
			       hw_commas(stats->tags[tag].block_bytes, bytes), hw_mi_tag_word(tag));
}

static void hw_explain_allocator(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_session *session = report->session;
	size_t count = session->python.interpreters.count;
	if (count > 1)
		hw_report_line(report,
			       "interpreter %" PRId64 " of %zu; the option interpreter shows "
			       "another",
			       stats->interpreter_id, count);
	switch (session->pymalloc.in_force) {
	case HW_IN_FORCE_MALLOC:
		hw_report_line(report, "allocator: malloc; pymalloc is switched off, and "
				       "sys._debugmallocstats() prints free lists only");
		break;
	case HW_IN_FORCE_MIMALLOC:
		if (stats->has_tags) {
			hw_stats_explain_tags(report, stats);
			break;
		}
		hw_report_line(report,
			       "allocator: mimalloc; the numbers are of one thread's heap, the "
			       "main thread's or that of the interpreter's newest one: "
			       "cpython-allocators shows all %zu heaps",
			       session->mimalloc.heaps.count);
		break;
	case HW_IN_FORCE_OTHER:
		hw_report_line(report,
			       "allocator: hooks stand before pymalloc (tracemalloc for one), and "
			       "sys._debugmallocstats() then prints free lists only");
		break;
	default:
		break;
	}
}

static void hw_explain_arenas(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_pymalloc *pm = &report->session->pymalloc;
	const struct hw_pymalloc_state *s = stats->state;
	hw_report_line(report, "arenas: %s of %s bytes are allocated, %s bytes",
		       hw_number(s->arena_count).text, hw_number(pm->arena_bytes).text,
		       hw_number(stats->total_bytes).text);
	if (s->has_arena_totals)
		hw_report_line(report,
			       "  %s were allocated in all, %s of these were given back "
			       "(reclaimed); there were never more than %s at a time",
			       hw_number(s->arenas_allocated_total).text,
			       hw_number(s->arenas_allocated_total - s->arena_count).text,
			       hw_number(s->arenas_highwater).text);
	else
		hw_report_line(report, "  how many were allocated and given back before is not "
				       "known");
}

static void hw_explain_part(struct hw_report *report, const char *what, uint64_t bytes,
			    uint64_t whole)
{
	hw_report_line(report, "  %15s bytes %7s  %s", hw_number(bytes).text,
		       hw_share(bytes, whole).text, what);
}

static void hw_explain_bytes(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_pymalloc_state *s = stats->state;
	uint64_t whole = stats->total_bytes;
	char what[96];
	hw_report_line(report, "efficiency: %s of the arenas' bytes are in allocated blocks",
		       hw_share(s->allocated_bytes, whole).text);
	snprintf(what, sizeof(what), "in %s allocated blocks",
		 hw_number(stats->blocks_in_use).text);
	hw_explain_part(report, what, s->allocated_bytes, whole);
	snprintf(what, sizeof(what), "in free blocks of %s pools that are in use",
		 hw_number(stats->pools_in_use).text);
	hw_explain_part(report, what, s->available_bytes, whole);
	snprintf(what, sizeof(what), "in unused pools (%s): free for any size",
		 hw_number(s->unused_pools).text);
	hw_explain_part(report, what, s->unused_pool_bytes, whole);
	hw_explain_part(report, "lost to pool headers", s->pool_header_bytes, whole);
	hw_explain_part(report,
			"lost to quantization: what remains of a pool behind its last block",
			s->quantization_bytes, whole);
	hw_explain_part(report, "lost to arena alignment", s->arena_alignment_bytes, whole);
}

static void hw_explain_free_lists(struct hw_report *report, const struct hw_stats *stats)
{
	if (stats->free_lists.is_known)
		hw_report_line(report,
			       "free lists: %s dead objects are kept for reuse, in blocks of %s "
			       "bytes that count as allocated",
			       hw_number(stats->free_list_objects).text,
			       hw_number(stats->free_list_bytes).text);
	else
		hw_report_line(report, "free lists: where they are is not known");
}

enum { HW_BIN_FULL, HW_BIN_ARENAS, HW_BIN_BLOCKS, HW_BIN_BYTES, HW_BIN_POOLS, HW_BIN_CELLS };

static const struct hw_column hw_bin_columns[HW_BIN_CELLS] = {
	[HW_BIN_FULL] = { "Full to", NULL },         [HW_BIN_ARENAS] = { "Arenas", NULL },
	[HW_BIN_BLOCKS] = { "Blocks in use", NULL }, [HW_BIN_BYTES] = { "Bytes in use", NULL },
	[HW_BIN_POOLS] = { "Unused pools", NULL },
};

static void hw_explain_histogram(struct hw_report *report, const struct hw_stats *stats)
{
	hw_report_line(report, "an arena is given back when no block of it is in use; what keeps "
			       "them, by how full they are:");
	hw_table_begin(report, "histogram", hw_bin_columns, HW_BIN_CELLS);
	for (unsigned i = 0; i < HW_STATS_BINS; i++) {
		const struct hw_stats_bin *bin = &stats->bins[i];
		char full[32];
		snprintf(full, sizeof(full), "%u - %u %%", i * 100 / HW_STATS_BINS,
			 (i + 1) * 100 / HW_STATS_BINS);
		const struct hw_cell cells[HW_BIN_CELLS] = {
			[HW_BIN_FULL] = hw_cell_text(full),
			[HW_BIN_ARENAS] = hw_cell_number(bin->arenas),
			[HW_BIN_BLOCKS] = hw_cell_number(bin->blocks),
			[HW_BIN_BYTES] = hw_cell_number(bin->bytes),
			[HW_BIN_POOLS] = hw_cell_number(bin->free_pools),
		};
		hw_table_row(report, cells);
	}
	hw_table_end(report);
}

static void hw_explain_packing(struct hw_report *report, const struct hw_stats *stats)
{
	const struct hw_pymalloc *pm = &report->session->pymalloc;
	const struct hw_stats_bin *low = &stats->bins[0];
	if (low->arenas)
		hw_report_line(
			report,
			"arenas that are less than a tenth full: %s; if nothing lived in "
			"them, %s bytes could be given back, which %s blocks (%s bytes) keep",
			hw_number(low->arenas).text, hw_number(low->arenas * pm->arena_bytes).text,
			hw_number(low->blocks).text, hw_number(low->bytes).text);
	uint64_t spare = stats->state->arena_count > stats->packed_arenas
				 ? stats->state->arena_count - stats->packed_arenas
				 : 0;
	hw_report_line(report,
		       "packed, the blocks in use would fill %s pools instead of %s, in %s arenas "
		       "instead of %s: %s bytes could be given back",
		       hw_number(stats->packed_pools).text, hw_number(stats->pools_in_use).text,
		       hw_number(stats->packed_arenas).text,
		       hw_number(stats->state->arena_count).text,
		       hw_number(spare * pm->arena_bytes).text);
}

void hw_stats_explain(struct hw_report *report, const struct hw_stats *stats)
{
	hw_report_line(report, "%s", "");
	hw_explain_allocator(report, stats);
	if (stats->state->arena_count) {
		hw_explain_arenas(report, stats);
		hw_explain_bytes(report, stats);
	}
	hw_explain_free_lists(report, stats);
	if (stats->state->arena_count) {
		hw_explain_histogram(report, stats);
		hw_explain_packing(report, stats);
	}
	if (report->session->stop_nanoseconds)
		hw_report_line(report, "the process was stopped for %.3f ms",
			       (double)report->session->stop_nanoseconds / 1e6);
	else if (report->session->was_at_rest)
		hw_report_line(report, "the process was not stopped: it slept while it was read");
}
