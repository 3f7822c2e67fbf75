/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Snapshots: the table of one moment in a SQLite database, a file that the user named or a temporary
// one without a name (a label). docs/snapshot.md is the schema.
//
// A file may come from a stranger: everything read from one is checked, nothing in it is trusted.
#ifndef HW_ANALYSIS_SNAPSHOT_H
#define HW_ANALYSIS_SNAPSHOT_H

#include "analysis/session.h"

enum { HW_SNAPSHOT_CONTENT_BYTES_MAX = 1 << 20 };

struct hw_snapshot; // an open one

// What it says of itself. Strings are the snapshot's.
struct hw_snapshot_info {
	const char *name;       // what the user calls it: a file, a label; "now"
	const char *writer;     // version of the heapwalk that wrote it
	int64_t taken;          // seconds since 1970
	const char *kind;       // "live", "core", "callback"
	int64_t pid;            // 0: none
	int64_t birth;          // when the process began (ticks since boot), 0: not known
	const char *exe;        // "" when not known
	const char *partial;    // what it lacks; "": nothing
	const char *free_lists; // "known", "unknown", "none": this CPython does not count them
	struct hw_ledger ledger;
	uint64_t block_count;   // rows of the table
	uint64_t content_bytes; // stored of each block in use at most; 0: no contents
};

struct hw_snapshot_category {
	const char *domain, *kind, *detail, *state_word, *module;
	enum hw_state state;
	uint64_t count, bytes;
};

// One block in it.
struct hw_snapshot_block {
	hw_addr_t start;
	uint64_t size_bytes;
	uint32_t category; // index of hw_snapshot_category()
	enum hw_allocator allocator;
};

// ---- taking one: makes the session's table first ----

struct hw_snapshot_written {
	uint64_t blocks, file_bytes;
};
// Replaces `path` when all of it is on the disk, else leaves it alone. What the table lacks is in the
// snapshot too. `content_bytes`: of each block in use, 0: none.
struct hw_error *hw_snapshot_save(struct hw_session *session, const char *path,
				  uint64_t content_bytes,
				  struct hw_snapshot_written *ret) HW_MUST_USE;
// Into a temporary file ($TMPDIR, else /tmp) that has no name any more; it goes with the snapshot.
struct hw_error *hw_snapshot_take(struct hw_session *session, const char *name,
				  struct hw_snapshot **ret) HW_MUST_USE;

// ---- reading one ----

// Refuses, each with one sentence: no such file, not a snapshot, one of a newer heapwalk, one that is
// cut or damaged. `progress` (borrowed) can stop long reads.
struct hw_error *hw_snapshot_open(const char *path, struct hw_progress *progress,
				  struct hw_snapshot **ret) HW_MUST_USE;
void hw_snapshot_close(struct hw_snapshot *snapshot); // accepts NULL

const struct hw_snapshot_info *hw_snapshot_info(const struct hw_snapshot *snapshot);
size_t hw_snapshot_category_count(const struct hw_snapshot *snapshot);
const struct hw_snapshot_category *hw_snapshot_category(const struct hw_snapshot *snapshot,
							uint32_t id);

// The blocks in address order. A cursor's memory does not grow with the file. When it has come to the
// end it has also checked the blocks against the snapshot's own counts.
struct hw_snapshot_cursor;
struct hw_error *hw_snapshot_cursor_open(struct hw_snapshot *snapshot,
					 struct hw_snapshot_cursor **ret) HW_MUST_USE;
void hw_snapshot_cursor_close(struct hw_snapshot_cursor *cursor); // accepts NULL
// `*ret_end`: there was no further block. Out of the line below for what is not in the run at hand.
struct hw_error *hw_snapshot_cursor_next(struct hw_snapshot_cursor *cursor,
					 struct hw_snapshot_block *ret, bool *ret_end) HW_MUST_USE;

// pymalloc as sys._debugmallocstats() counts it, all interpreters added up.
struct hw_snapshot_pymalloc {
	bool is_known; // there was a CPython, and its arenas were found
	uint32_t arena_bytes, pool_bytes, size_class_count, alignment;
	bool has_arena_totals;
	uint64_t arenas_allocated_total, arenas_highwater, arenas;
	uint64_t allocated_bytes, available_bytes, unused_pools, pool_header_bytes;
	uint64_t quantization_bytes, arena_alignment_bytes;
	struct hw_size_class_stats classes[HW_PYMALLOC_SIZE_CLASSES_MAX];
};
struct hw_error *hw_snapshot_read_pymalloc(struct hw_snapshot *snapshot,
					   struct hw_snapshot_pymalloc *ret) HW_MUST_USE;

// A line of free lists as sys._debugmallocstats() has it, all interpreters added up.
struct hw_snapshot_free_list {
	const char *name; // "PyDictObject", "3-sized PyTupleObject"; the snapshot's
	int64_t count;
	uint64_t object_bytes;
};
struct hw_snapshot_free_lists {
	HW_VEC(struct hw_snapshot_free_list) list; // by name, then size; owned by the caller
};
struct hw_error *hw_snapshot_read_free_lists(struct hw_snapshot *snapshot,
					     struct hw_snapshot_free_lists *ret) HW_MUST_USE;

// ---- labels: snapshots of a session by name; they outlive hw_session_invalidate() ----

struct hw_label {
	char *name;
	struct hw_snapshot *snapshot;
};
struct hw_labels {
	HW_VEC(struct hw_label) list; // oldest first
};

// Takes a snapshot and gives it that name; `*ret_replaced`: another one had it.
struct hw_error *hw_session_label(struct hw_session *session, const char *name,
				  bool *ret_replaced) HW_MUST_USE;
// NULL: there is none of that name.
struct hw_snapshot *hw_session_find_label(const struct hw_session *session, const char *name);
void hw_labels_destroy(struct hw_labels *labels); // accepts NULL

#endif
