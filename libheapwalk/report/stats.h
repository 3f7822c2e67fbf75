/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the files of the command `stats` share: stats.c is the text, stats_explain.c what follows from it,
// stats_json.c its numbers as fields.
#ifndef HW_REPORT_STATS_H
#define HW_REPORT_STATS_H

#include "analysis/stats.h"
#include "report/report.h"

// Below the text.
void hw_stats_explain(struct hw_report *report, const struct hw_stats *stats);
void hw_stats_json(struct hw_report *report, const struct hw_stats *stats);
void hw_stats_csv(struct hw_report *report, const struct hw_stats *stats);

// The debug hooks up to 3.7, and debug builds of 2.7, count and print calls.
static inline bool hw_stats_counts_calls(const struct hw_pymalloc *pm,
					 const struct hw_pymalloc_state *state)
{
	return state->has_malloc_calls && (pm->has_debug_hooks || pm->is_in_force_inferred);
}

// A release build of 2.7 does not count its arenas over time; its symbols, which are known, lack these.
static inline bool hw_stats_lacks_totals(const struct hw_pymalloc_state *state)
{
	return state->has_arenas_allocated && !state->has_arena_totals;
}

static inline bool hw_stats_has_map(const struct hw_python_layout *layout)
{
	return layout->arena_map_top_size != HW_ABSENT && layout->arena_map_mid_size != HW_ABSENT &&
	       layout->arena_map_bot_size != HW_ABSENT;
}
// 32-bit builds have one level of it, which is its root.
static inline bool hw_stats_map_is_flat(const struct hw_python_layout *layout)
{
	return layout->arena_map_top_size == HW_ABSENT && layout->arena_map_mid_size == HW_ABSENT &&
	       layout->arena_map_bot_size != HW_ABSENT && layout->word_bytes == 4;
}

#endif
