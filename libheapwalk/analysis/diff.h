/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What changed between snapshots: by what blocks are, and block by block.
#ifndef HW_ANALYSIS_DIFF_H
#define HW_ANALYSIS_DIFF_H

#include "analysis/census.h"
#include "analysis/snapshot.h"

enum { HW_DIFF_MAX = 3 }; // snapshots that are looked at side by side

struct hw_diff_row {
	struct hw_group_row group;   // strings of the snapshots; count and bytes unused
	uint64_t count[2], bytes[2]; // before, after
};
struct hw_diff_rows {
	HW_VEC(struct hw_diff_row) list; // in no order; those that did not change are there too
};

// Groups by category, domain, kind, module and state take no time; by size and allocator they read the blocks.
// HW_GROUP_TYPE is the same as HW_GROUP_KIND: types have no name that outlives a moment.
struct hw_error *hw_diff_group(struct hw_snapshot *before, struct hw_snapshot *after,
			       enum hw_group group, struct hw_diff_rows *ret) HW_MUST_USE;
void hw_diff_rows_deinit(struct hw_diff_rows *rows);

// One address at which some of the snapshots have a block in use; blocks[i] NULL: the i-th has none
// there.
struct hw_diff_step {
	const struct hw_snapshot_block *blocks[HW_DIFF_MAX];
};
// All of them in address order, out of all snapshots at once. visit returns false to stop.
struct hw_error *hw_diff_walk(struct hw_snapshot *const *snapshots, size_t count,
			      bool (*visit)(void *payload, const struct hw_diff_step *step),
			      void *payload) HW_MUST_USE;

// Which categories of several snapshots are the same: domain, kind and detail.
struct hw_diff_categories {
	uint32_t *ids[HW_DIFF_MAX];   // by snapshot and category: equal words, equal number
	uint32_t *kinds[HW_DIFF_MAX]; // the same by domain and kind alone
};
struct hw_error *hw_diff_categories_init(struct hw_snapshot *const *snapshots, size_t count,
					 struct hw_diff_categories *ret) HW_MUST_USE;
void hw_diff_categories_deinit(struct hw_diff_categories *categories);

// One process? NULL: yes, as far as it can be told; else what tells them apart. Owned by the caller.
char *hw_diff_strangers(const struct hw_snapshot *a, const struct hw_snapshot *b);

#endif
