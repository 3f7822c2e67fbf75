/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The table, grouped: counts and bytes by category, domain, size, …
#ifndef HW_ANALYSIS_CENSUS_H
#define HW_ANALYSIS_CENSUS_H

#include "heap/heap.h"

struct hw_query;

enum hw_group {
	HW_GROUP_CATEGORY, // domain, kind, detail, state; uncategorized blocks are one group
	HW_GROUP_DOMAIN,
	HW_GROUP_KIND, // domain, kind
	HW_GROUP_TYPE, // by type object (two types of one name stay two), else by kind
	HW_GROUP_SIZE, // domain, size of the block
	HW_GROUP_ALLOCATOR,
	HW_GROUP_STATE,
	HW_GROUP_MODULE, // domain, and of an object its class's module, of a file's data the file
	HW_GROUP_ARENA,  // allocator, arena: a malloc arena, all mmapped chunks, a pymalloc arena
	HW_GROUP_USED_SIZE, // allocator, size; only what an allocator gave out and is in use
};

// Members that a group does not tell apart are NULL. Strings borrowed from the heap, and from the rows.
struct hw_group_row {
	const char *domain, *kind, *detail, *state, *allocator;
	const char *module; // "": none, or not known
	const char *arena;  // "arena 0", "mmapped", "0x…" (where a pymalloc arena is), ""
	bool has_size;
	uint64_t size_bytes;
	uint32_t type;
	uint64_t count, bytes;
};

struct hw_group_rows {
	HW_VEC(struct hw_group_row) list; // in no order
	struct hw_strtab strings;         // modules and arenas
};

// Groups by size, allocator and arena go over all blocks, the others over the categories; by module, the
// target is read, which has to be stopped. Interrupted: the rows until then, see hw_progress_stopped().
struct hw_error *hw_census_group(const struct hw_heap *heap, struct hw_target *target,
				 enum hw_group group, struct hw_progress *progress,
				 struct hw_group_rows *ret) HW_MUST_USE;
// The same of the rows that a query (NULL: none) finds, one by one.
struct hw_error *hw_census_group_query(const struct hw_heap *heap, struct hw_target *target,
				       enum hw_group group, struct hw_query *query,
				       struct hw_progress *progress,
				       struct hw_group_rows *ret) HW_MUST_USE;
// What a category is called in a group, without counts; groups by size and by allocator take more than a
// category: the domain, and nothing.
struct hw_group_row hw_group_of(const struct hw_category *category, enum hw_group group);
// The module of what is in a category: of an object its class's, of a file's data the file, else "". Reads
// the target, which has to be stopped; the text is in `strings`, or the heap's.
const char *hw_census_module(const struct hw_heap *heap, uint32_t category, struct hw_pages *pages,
			     struct hw_strtab *strings);
// For qsort(): by everything but count and bytes. 0: one group.
int hw_group_order(const void *left, const void *right);
void hw_group_rows_deinit(struct hw_group_rows *rows);

#endif
