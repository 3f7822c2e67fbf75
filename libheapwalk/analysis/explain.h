/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Everything that is known of one address, gathered under one stop: plain values, nothing is printed.
#ifndef HW_ANALYSIS_EXPLAIN_H
#define HW_ANALYSIS_EXPLAIN_H

#include "analysis/session.h"
#include "cpython/obmalloc_lists.h"
#include "heap/inspect.h"

enum { HW_EXPLAIN_LINKS_MAX = 64 };

// A row of the table, with the object in it.
struct hw_explained_row {
	bool is_there;
	struct hw_row row;
	struct hw_block block; // strings borrowed from the session
};

// A pointer between an owner and what it owns.
struct hw_explained_link {
	struct hw_ownership ownership;
	struct hw_explained_row row; // of the other side: the owner's block, or what is owned
};

struct hw_explained_links {
	HW_VEC(struct hw_explained_link) list; // the first HW_EXPLAIN_LINKS_MAX
	uint64_t count;
};

// Where a member is on one of obmalloc's lists.
struct hw_explained_place {
	const char *list;  // "usedpools", "freepools", …; NULL: on none
	bool is_unknown;   // nothing tells where the list is, or it is damaged before its end
	uint64_t position; // 0: the first
};

struct hw_explained_pool {
	bool is_there;
	const struct hw_pool *pool; // NULL: never carved
	hw_addr_t start;
	uint32_t index;    // in the arena
	const char *state; // "used", "full", "empty", "never carved", "damaged"
	bool has_header;
	struct hw_pool_header header;
	uint32_t free_blocks, virgin_blocks;
	HW_VEC(hw_addr_t) free_list; // in the allocator's order
	bool free_list_is_whole;
	struct hw_explained_place place;
	bool has_block; // the address is in a block of it
	uint32_t block_index;
	bool block_is_listed; // a free one: where on the pool's list
	uint32_t block_position;
};

struct hw_explained_arena_object {
	bool is_there;
	hw_addr_t address;
	uint32_t index;
	int64_t interpreter_id;
	struct hw_arena_object object;
	struct hw_explained_place place;
};

// A segment of mimalloc and the page, or the free run of slices, in it.
struct hw_explained_mi {
	const struct hw_mi_segment *segment; // NULL: the address is in none
	uint32_t slice;                      // the address's, in the segment
	const struct hw_mi_page *page;       // NULL: the segment's header
	const struct hw_mi_heap *heap;       // the page's; NULL: abandoned, or no page
	bool is_listed_abandoned;            // the segment is in an interpreter's pool
	int64_t abandoned_interpreter;
	bool has_lists;
	struct hw_mi_lists lists;
	struct hw_explained_place place; // of the page, among its heap's pages of that size
	uint64_t qsbr_goal;              // 0: none
	bool has_block;                  // the address is in a block that was carved
	uint32_t block_index;
	enum hw_mi_block block_list;
	bool has_block_position;
	uint32_t block_position;
};

struct hw_explained_chunk {
	bool is_there, has_header;
	hw_addr_t address;
	uint64_t size_bytes; // from the walk
	uint64_t prev_size, size_field;
	uint32_t index; // in its region
	const struct hw_region *region;
	const struct hw_glibc_arena *arena; // NULL: an mmapped chunk has none
};

struct hw_explanation {
	hw_addr_t address;
	const char
		*what; // what starts at, or contains, the address: "block in use", "pool header", …
	struct hw_mapping mapping;
	struct hw_symbol symbol;
	const char *symbol_file; // of the symbol; NULL: there is no symbol
	pid_t stack_thread;      // whose stack it is, 0: it is none
	hw_addr_t stack_pointer;
	const struct hw_glibc_arena *malloc_state; // the address is in it; NULL: no
	struct hw_explained_row row, before, after;
	hw_addr_t data;               // of the row: where the application's bytes begin
	const struct hw_arena *arena; // NULL: in none
	struct hw_explained_arena_object arena_object; // the address is in one
	struct hw_explained_pool pool;
	struct hw_explained_mi mi;
	struct hw_explained_chunk chunk;
	bool has_object;
	struct hw_inspected_object object;
	char value[HW_VALUE_TEXT_MAX];
	bool value_is_exact;
	struct hw_explained_links owners, owns;
	const char *root; // the interpreter's structure that owns it, "" for none
};

// Builds the table when there is none. HW_ERROR_NOT_FOUND: no mapping contains addr. Lists that are
// damaged are issues of the session.
struct hw_error *hw_explain(struct hw_session *session, hw_addr_t addr,
			    struct hw_explanation *ret) HW_MUST_USE;
// explain_mimalloc.c: fills e->mi of e->address. Out of memory: fails.
struct hw_error *hw_explain_mimalloc(struct hw_session *session, struct hw_pages *pages,
				     struct hw_explanation *e) HW_MUST_USE;
void hw_explanation_deinit(struct hw_explanation *explanation);

#endif
