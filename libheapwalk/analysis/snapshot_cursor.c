/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The blocks of a snapshot, one after the other, out of one run at a time.
#include <string.h>

#include "analysis/snapshot_read.h"

struct hw_snapshot_cursor {
	struct hw_snapshot *snapshot;
	sqlite3_stmt *stmt;
	const uint8_t *codes; // of the run at hand, borrowed from stmt
	uint32_t count, index, width;
	hw_addr_t at, end; // of the next block, of the run
	uint64_t block_count;
	struct hw_tally {
		uint64_t count, bytes;
	} * tallies; // by category
};

struct hw_error *hw_snapshot_cursor_open(struct hw_snapshot *snapshot,
					 struct hw_snapshot_cursor **ret)
{
	struct hw_snapshot_cursor *cursor = calloc(1, sizeof(*cursor));
	if (!cursor)
		return &hw_enomem;
	cursor->snapshot = snapshot;
	cursor->tallies = calloc(snapshot->categories.count + 1, sizeof(*cursor->tallies));
	struct hw_error *err =
		cursor->tallies
			? hw_db_prepare(
				  &snapshot->db,
				  "SELECT start,bytes,count,width,codes FROM runs ORDER BY start",
				  &cursor->stmt)
			: &hw_enomem;
	if (err)
		hw_snapshot_cursor_close(cursor);
	else
		*ret = cursor;
	return err;
}

void hw_snapshot_cursor_close(struct hw_snapshot_cursor *cursor)
{
	if (!cursor)
		return;
	sqlite3_finalize(cursor->stmt);
	free(cursor->tallies);
	free(cursor);
}

// All of it is there: the blocks are those that the snapshot counted.
static struct hw_error *hw_cursor_end(const struct hw_snapshot_cursor *cursor)
{
	const struct hw_snapshot *snapshot = cursor->snapshot;
	bool agrees = cursor->block_count == snapshot->info.block_count;
	for (size_t i = 0; i < snapshot->categories.count; i++)
		agrees &= cursor->tallies[i].count == snapshot->categories.data[i].count &&
			  cursor->tallies[i].bytes == snapshot->categories.data[i].bytes;
	return agrees ? NULL
		      : hw_snapshot_damage(snapshot, "its blocks are not those that it counts");
}

static struct hw_error *hw_cursor_run(struct hw_snapshot_cursor *cursor, bool *ret_end)
{
	struct hw_snapshot *snapshot = cursor->snapshot;
	bool is_there;
	uint64_t start, bytes, count, width;
	HW_TRY(hw_db_step(&snapshot->db, cursor->stmt, &is_there));
	*ret_end = !is_there;
	if (!is_there)
		return hw_cursor_end(cursor);
	bool ok = hw_snapshot_number(cursor->stmt, 0, &start) &&
		  hw_snapshot_number(cursor->stmt, 1, &bytes) &&
		  hw_snapshot_number(cursor->stmt, 2, &count) &&
		  hw_snapshot_number(cursor->stmt, 3, &width) && start >= cursor->end && count &&
		  count <= HW_SNAPSHOT_RUN_BLOCKS && width >= 1 &&
		  width <= HW_SNAPSHOT_CODE_BYTES_MAX;
	// In this order: the blob may be converted, which changes how long it is.
	const uint8_t *codes = ok ? sqlite3_column_blob(cursor->stmt, 4) : NULL;
	ok = codes && (uint64_t)sqlite3_column_bytes(cursor->stmt, 4) == count * width;
	uint64_t sum = 0;
	for (uint32_t i = 0; ok && i < count; i++) {
		uint32_t code = 0;
		for (uint32_t j = 0; j < width; j++)
			code = code << 8 | codes[i * width + j];
		ok = code < snapshot->shapes[width].count &&
		     !__builtin_add_overflow(sum, snapshot->shapes[width].data[code].size_bytes,
					     &sum);
	}
	if (!ok || sum != bytes)
		return hw_snapshot_damage(snapshot, "a run of its blocks has values that can't be");
	cursor->codes = codes;
	cursor->width = (uint32_t)width;
	cursor->count = (uint32_t)count;
	cursor->index = 0;
	cursor->at = start;
	cursor->end = start + bytes; // both are below 2^63
	return NULL;
}

struct hw_error *hw_snapshot_cursor_next(struct hw_snapshot_cursor *cursor,
					 struct hw_snapshot_block *ret, bool *ret_end)
{
	if (cursor->index == cursor->count) {
		HW_TRY(hw_cursor_run(cursor, ret_end));
		if (*ret_end)
			return NULL;
	}
	const uint8_t *bytes = cursor->codes + (size_t)cursor->index * cursor->width;
	uint32_t code = bytes[0];
	for (uint32_t i = 1; i < cursor->width; i++)
		code = code << 8 | bytes[i];
	const struct hw_shape *shape = &cursor->snapshot->shapes[cursor->width].data[code];
	ret->start = cursor->at;
	ret->size_bytes = shape->size_bytes;
	ret->category = shape->category;
	ret->allocator = shape->allocator;
	struct hw_tally *tally = &cursor->tallies[shape->category];
	tally->count++;
	tally->bytes += shape->size_bytes;
	cursor->at += shape->size_bytes;
	cursor->index++;
	cursor->block_count++;
	*ret_end = false;
	return NULL;
}
