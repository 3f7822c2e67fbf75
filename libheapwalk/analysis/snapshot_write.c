/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The session's table into a database. Blocks go in by run, a byte or two each: a row a block would take
// many times the census.
#include "analysis/snapshot_db.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "analysis/query.h"
#include "base/bytes.h"
#include "base/cleanup.h"

enum { HW_SHAPES_MAX = 1 << 24, HW_POLL_RUNS = 64 };

#define HW_SETTINGS                                                                                \
	"PRAGMA page_size=16384; PRAGMA encoding='UTF-8'; PRAGMA journal_mode=OFF; "               \
	"PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY; "        \
	"PRAGMA cache_size=-16384; "

struct hw_run_writer {
	struct hw_session *session;
	struct hw_db *db;
	sqlite3_stmt *insert, *insert_place, *insert_content; // insert_content NULL: no contents
	// The shapes met so far, hashed; their indexes are the codes.
	HW_VEC(struct hw_shape) shapes;
	uint32_t *slots; // shape + 1, 0: empty
	uint32_t slot_count;
	// The run under way.
	hw_addr_t start, end;
	uint32_t codes[HW_SNAPSHOT_RUN_BLOCKS], count;
	// Where each block is, from the first on, in units of HW_PLACE_BYTES.
	uint16_t places[HW_SNAPSHOT_RUN_BLOCKS];
	uint32_t same;       // how many of the last ones are of one size
	uint64_t same_bytes; // that size
	uint8_t bytes[HW_SNAPSHOT_RUN_BLOCKS * HW_SNAPSHOT_CODE_BYTES_MAX];
	bool has_width[HW_SNAPSHOT_CODE_BYTES_MAX + 1];
	uint64_t block_count, run_count;
	struct hw_window window;
	uint64_t content_bytes;
	struct hw_error *err;
};

// ---- shapes ----

static bool hw_shape_equals(const struct hw_shape *a, const struct hw_shape *b)
{
	return a->size_bytes == b->size_bytes && a->category == b->category &&
	       a->allocator == b->allocator;
}

static uint32_t hw_shape_hash(const struct hw_shape *shape)
{
	uint64_t h = (shape->size_bytes ^ (uint64_t)shape->category << 40 ^
		      (uint64_t)shape->allocator << 62) *
		     0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32);
}

static bool hw_shapes_rehash(struct hw_run_writer *writer)
{
	uint32_t count = writer->slot_count ? writer->slot_count * 2 : 1 << 12;
	uint32_t *slots = calloc(count, sizeof(*slots));
	if (!slots)
		return false;
	for (uint32_t i = 0; i < writer->shapes.count; i++) {
		uint32_t at = hw_shape_hash(&writer->shapes.data[i]);
		while (slots[at & (count - 1)])
			at++;
		slots[at & (count - 1)] = i + 1;
	}
	free(writer->slots);
	writer->slots = slots;
	writer->slot_count = count;
	return true;
}

static struct hw_error *hw_shape_code(struct hw_run_writer *writer, const struct hw_shape *shape,
				      uint32_t *ret)
{
	if (writer->shapes.count * 2 >= writer->slot_count && !hw_shapes_rehash(writer))
		return &hw_enomem;
	uint32_t at = hw_shape_hash(shape), slot;
	for (; (slot = writer->slots[at & (writer->slot_count - 1)]); at++) {
		if (hw_shape_equals(&writer->shapes.data[slot - 1], shape)) {
			*ret = slot - 1;
			return NULL;
		}
	}
	if (writer->shapes.count == HW_SHAPES_MAX)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "the heap has more than %u kinds of blocks by size and "
				       "category: a snapshot can't hold them",
				       (unsigned)HW_SHAPES_MAX);
	if (!hw_vec_push(&writer->shapes, *shape))
		return &hw_enomem;
	*ret = (uint32_t)writer->shapes.count - 1;
	writer->slots[at & (writer->slot_count - 1)] = *ret + 1;
	return NULL;
}

static uint32_t hw_code_width(uint32_t code)
{
	return code < 1 << 8 ? 1 : code < 1 << 16 ? 2 : 3;
}

// The most significant byte first: then the codes of a width sort by their number.
static uint8_t *hw_put_code(uint8_t *to, uint32_t code, uint32_t width)
{
	for (uint32_t shift = 8 * width; shift; shift -= 8)
		*to++ = (uint8_t)(code >> (shift - 8));
	return to;
}

// One row a code and width: the same shape may be in narrow runs and in wide ones.
static struct hw_error *hw_write_codes(struct hw_run_writer *writer)
{
	hw_cleanup_stmt sqlite3_stmt *insert = NULL;
	HW_TRY(hw_db_prepare(writer->db, "INSERT INTO codes VALUES(?,?,?,?)", &insert));
	for (uint32_t width = 1; width <= HW_SNAPSHOT_CODE_BYTES_MAX; width++) {
		if (!writer->has_width[width])
			continue;
		size_t count = hw_min(writer->shapes.count, (uint64_t)1 << 8 * width);
		for (uint32_t i = 0; i < count; i++) {
			const struct hw_shape *shape = &writer->shapes.data[i];
			uint8_t code[HW_SNAPSHOT_CODE_BYTES_MAX];
			hw_put_code(code, i, width);
			HW_TRY(hw_db_insert(writer->db, insert, "bnit", code, (size_t)width,
					    shape->size_bytes, (int64_t)shape->category,
					    hw_allocator_word(shape->allocator)));
		}
	}
	return NULL;
}

// ---- runs ----

enum {
	HW_PLACE_BYTES = 8,
	HW_UNIFORM_BLOCKS =
		32, // so many of one size are a run of their own: their places need no saying
};

// The first `count` of the blocks at hand, which end at `end`.
static struct hw_error *hw_run_insert(struct hw_run_writer *writer, uint32_t count, hw_addr_t end)
{
	uint32_t code_max = 0;
	uint8_t *to = writer->bytes;
	if (writer->end > INT64_MAX)
		return hw_error_at(HW_ERROR_UNSUPPORTED, writer->start,
				   "memory at 0x%llx: a snapshot holds addresses below 2^63 only",
				   (unsigned long long)writer->start);
	for (uint32_t i = 0; i < count; i++)
		code_max = hw_max(code_max, writer->codes[i]);
	uint32_t width = hw_code_width(code_max);
	for (uint32_t i = 0; i < count; i++)
		to = hw_put_code(to, writer->codes[i], width);
	writer->has_width[width] = true;
	HW_TRY(hw_db_insert(writer->db, writer->insert, "nniib", writer->start, end - writer->start,
			    (int64_t)count, (int64_t)width, writer->bytes,
			    (size_t)(to - writer->bytes)));
	if (writer->same >= count)
		return NULL;
	to = writer->bytes;
	for (uint32_t i = 0; i < count; i++)
		to = hw_put_code(to, writer->places[i], sizeof(writer->places[i]));
	return hw_db_insert(writer->db, writer->insert_place, "nb", writer->start, writer->bytes,
			    (size_t)(to - writer->bytes));
}

static struct hw_error *hw_run_flush(struct hw_run_writer *writer)
{
	if (!writer->count)
		return NULL;
	HW_TRY(hw_run_insert(writer, writer->count, writer->end));
	writer->block_count += writer->count;
	writer->count = writer->same = 0;
	atomic_store_explicit(&writer->session->progress.done, writer->block_count,
			      memory_order_relaxed);
	if (!(++writer->run_count % HW_POLL_RUNS) && hw_progress_poll(&writer->session->progress))
		return hw_error_create(HW_ERROR_INTERRUPTED, "interrupted while %s was written",
				       writer->db->name);
	return NULL;
}

static struct hw_error *hw_write_content(struct hw_run_writer *writer, const struct hw_row *row)
{
	const struct hw_category *category = hw_heap_category(writer->session->heap, row->category);
	if (category->state != HW_STATE_IN_USE || row->allocator == HW_ALLOCATOR_NONE)
		return NULL;
	uint64_t header = row->allocator == HW_ALLOCATOR_GLIBC
				  ? hw_min(row->size_bytes,
					   2u * writer->session->target->machine->word_bytes)
				  : 0;
	size_t len = hw_min(row->size_bytes - header, writer->content_bytes);
	const uint8_t *bytes = len ? hw_window_get(&writer->window, row->start + header, len)
				   : NULL;
	return bytes ? hw_db_insert(writer->db, writer->insert_content, "nb", row->start, bytes,
				    len)
		     : NULL;
}

// The last blocks are many of one size, those before them are not: two runs.
static struct hw_error *hw_run_split(struct hw_run_writer *writer)
{
	const uint32_t kept = writer->same, first = writer->count - kept;
	const hw_addr_t start = writer->end - kept * writer->same_bytes;
	writer->same = 0; // of those before
	HW_TRY(hw_run_insert(writer, first, start));
	memmove(writer->codes, writer->codes + first, kept * sizeof(*writer->codes));
	writer->block_count += first;
	writer->start = start;
	writer->count = writer->same = kept;
	return NULL;
}

// Does the row go on the run under way?
static bool hw_run_takes(const struct hw_run_writer *writer, const struct hw_row *row)
{
	const uint64_t offset = row->start - writer->start;
	if (writer->count == HW_SNAPSHOT_RUN_BLOCKS || writer->end != row->start)
		return false;
	const bool is_uniform = writer->same == writer->count;
	if (is_uniform && row->size_bytes == writer->same_bytes)
		return true;
	if (is_uniform && (writer->count >= HW_UNIFORM_BLOCKS ||
			   (writer->count > 1 && writer->same_bytes % HW_PLACE_BYTES)))
		return false;
	return offset % HW_PLACE_BYTES == 0 && offset / HW_PLACE_BYTES <= UINT16_MAX;
}

static struct hw_error *hw_run_add(struct hw_run_writer *writer, const struct hw_row *row)
{
	uint32_t code = 0;
	struct hw_shape shape = { row->size_bytes, row->category, row->allocator };
	HW_TRY(hw_shape_code(writer, &shape, &code));
	if (!hw_run_takes(writer, row))
		HW_TRY(hw_run_flush(writer));
	if (!writer->count)
		writer->start = row->start;
	writer->same = writer->same && row->size_bytes == writer->same_bytes ? writer->same + 1 : 1;
	writer->same_bytes = row->size_bytes;
	writer->places[writer->count] = (uint16_t)((row->start - writer->start) / HW_PLACE_BYTES);
	writer->codes[writer->count++] = code;
	writer->end = row->start + row->size_bytes;
	if (writer->same == HW_UNIFORM_BLOCKS && writer->count > writer->same)
		HW_TRY(hw_run_split(writer));
	return writer->insert_content ? hw_write_content(writer, row) : NULL;
}

static bool hw_run_row(void *payload, const struct hw_row *row)
{
	struct hw_run_writer *writer = payload;
	writer->err = hw_run_add(writer, row);
	return !writer->err;
}

static struct hw_error *hw_write_runs(struct hw_run_writer *writer)
{
	struct hw_db *db = writer->db;
	HW_TRY(hw_db_prepare(db, "INSERT INTO runs VALUES(?,?,?,?,?)", &writer->insert));
	HW_TRY(hw_db_prepare(db, "INSERT INTO places VALUES(?,?)", &writer->insert_place));
	if (writer->content_bytes)
		HW_TRY(hw_db_prepare(db, "INSERT INTO contents VALUES(?,?)",
				     &writer->insert_content));
	struct hw_progress *progress = &writer->session->progress;
	progress->what = "writing the snapshot";
	atomic_store(&progress->done, 0);
	progress->total = 0;
	size_t categories;
	const struct hw_census_row *census = hw_heap_census(writer->session->heap, &categories);
	for (size_t i = 0; i < categories; i++)
		progress->total += census[i].count;
	hw_heap_visit(writer->session->heap, 0, UINT64_MAX, hw_run_row, writer);
	if (!writer->err)
		writer->err = hw_run_flush(writer);
	if (!writer->err)
		writer->err = hw_write_codes(writer);
	return writer->err;
}

// What the view counts with.
static struct hw_error *hw_write_numbers(struct hw_db *db)
{
	hw_cleanup_stmt sqlite3_stmt *numbers = NULL;
	hw_cleanup_stmt sqlite3_stmt *bytes = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO numbers VALUES(?)", &numbers));
	HW_TRY(hw_db_prepare(db, "INSERT INTO bytes VALUES(?,?)", &bytes));
	for (int64_t i = 0; i < HW_SNAPSHOT_RUN_BLOCKS; i++)
		HW_TRY(hw_db_insert(db, numbers, "i", i));
	for (int64_t i = 0; i <= UINT8_MAX; i++) {
		const uint8_t byte = (uint8_t)i;
		HW_TRY(hw_db_insert(db, bytes, "bi", &byte, sizeof(byte), i));
	}
	return NULL;
}

static struct hw_error *hw_write_blocks(struct hw_session *session, struct hw_db *db,
					uint64_t content_bytes, uint64_t *ret_blocks)
{
	struct hw_run_writer *writer = calloc(1, sizeof(*writer));
	if (!writer)
		return &hw_enomem;
	writer->session = session;
	writer->db = db;
	writer->content_bytes = content_bytes;
	hw_window_init(&writer->window, session->target);
	struct hw_error *err = hw_write_numbers(db);
	if (!err)
		err = hw_write_runs(writer);
	*ret_blocks = writer->block_count;
	hw_window_deinit(&writer->window);
	sqlite3_finalize(writer->insert);
	sqlite3_finalize(writer->insert_place);
	sqlite3_finalize(writer->insert_content);
	hw_vec_deinit(&writer->shapes);
	free(writer->slots);
	free(writer);
	return err;
}

// ---- what is said once ----

struct hw_named_number {
	const char *name;
	uint64_t number;
};

static struct hw_error *hw_write_coverage(struct hw_session *session, struct hw_db *db)
{
	const struct hw_ledger *ledger = hw_heap_ledger(session->heap);
	const struct hw_named_number numbers[] = {
		{ "mapped_bytes", ledger->mapped_bytes },
		{ "in_use_bytes", ledger->in_use_bytes },
		{ "in_use_count", ledger->in_use_count },
		{ "free_bytes", ledger->free_bytes },
		{ "overhead_bytes", ledger->overhead_bytes },
		{ "unknown_bytes", ledger->unknown_bytes },
		{ "heap_bytes", ledger->heap_bytes },
		{ "missing_bytes", ledger->missing_bytes },
	};
	hw_cleanup_stmt sqlite3_stmt *insert = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO coverage VALUES(?,?)", &insert));
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		HW_TRY(hw_db_insert(db, insert, "tn", numbers[i].name, numbers[i].number));
	return NULL;
}

static struct hw_error *hw_write_target(struct hw_session *session, struct hw_db *db)
{
	const struct hw_target *target = session->target;
	const struct hw_python *python = &session->python;
	hw_cleanup_stmt sqlite3_stmt *insert = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO target VALUES(?,?)", &insert));
	HW_TRY(hw_db_insert(db, insert, "tt", "kind", hw_target_kind_word(target->ops->kind)));
	if (target->pid)
		HW_TRY(hw_db_insert(db, insert, "ti", "pid", (int64_t)target->pid));
	if (target->exe)
		HW_TRY(hw_db_insert(db, insert, "tt", "exe", target->exe));
	if (target->birth)
		HW_TRY(hw_db_insert(db, insert, "tn", "birth", target->birth));
	if (session->glibc.main_arena && session->glibc.facts)
		HW_TRY(hw_db_insert(db, insert, "tt", "malloc_facts", session->glibc.facts));
	if (!python->module)
		return NULL;
	HW_TRY(hw_db_insert(db, insert, "tt", "python_version", python->version));
	HW_TRY(hw_db_insert(db, insert, "tt", "python_build", python->build));
	return hw_db_insert(db, insert, "tt", "python_facts", python->facts);
}

static struct hw_error *hw_write_categories(const struct hw_moment *moment, struct hw_db *db)
{
	struct hw_session *session = moment->session;
	size_t count;
	const struct hw_census_row *census = hw_heap_census(session->heap, &count);
	hw_cleanup_stmt sqlite3_stmt *insert = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO categories VALUES(?,?,?,?,?,?,?,?,?,?)", &insert));
	for (size_t i = 0; i < count; i++) {
		const struct hw_category *category = hw_heap_category(session->heap,
								      census[i].category);
		HW_TRY(hw_db_insert(db, insert, "itttttitnn", (int64_t)census[i].category,
				    category->domain, category->kind, category->detail,
				    hw_state_class_word(category->state), category->state_word,
				    (int64_t)category->type, moment->modules.data[i],
				    census[i].count, census[i].bytes));
	}
	return NULL;
}

static struct hw_error *hw_write_issues(struct hw_db *db, sqlite3_stmt *insert,
					const struct hw_issues *issues)
{
	for (size_t i = 0; i < issues->list.count; i++) {
		const struct hw_error *issue = issues->list.data[i];
		HW_TRY(hw_db_insert(db, insert, "tnt", hw_error_code_word(issue->code),
				    issue->has_address && issue->address ? issue->address
									 : UINT64_MAX,
				    issue->message));
	}
	return NULL;
}

static struct hw_error *hw_write_mappings(struct hw_session *session, struct hw_db *db)
{
	hw_cleanup_stmt sqlite3_stmt *insert = NULL, *issue = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO mappings VALUES(?,?,?,?,?)", &insert));
	hw_vec_foreach(m, &session->target->mappings)
	{
		const char flags[] = { m->flags & HW_MAP_READ ? 'r' : '-',
				       m->flags & HW_MAP_WRITE ? 'w' : '-',
				       m->flags & HW_MAP_EXEC ? 'x' : '-',
				       m->flags & HW_MAP_SHARED ? 's' : 'p', 0 };
		if (m->end <= INT64_MAX) // the vsyscall page
			HW_TRY(hw_db_insert(db, insert, "nntnt", m->start, m->end - m->start, flags,
					    m->file_offset, m->path));
	}
	HW_TRY(hw_db_prepare(db, "INSERT INTO issues VALUES(?,?,?)", &issue));
	HW_TRY(hw_write_issues(db, issue, &session->open_issues));
	return hw_write_issues(db, issue, &session->issues);
}

// ---- allocators ----

static struct hw_error *hw_write_malloc(struct hw_session *session, struct hw_db *db)
{
	hw_cleanup_stmt sqlite3_stmt *insert = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO malloc_arenas VALUES(?,?,?,?,?,?,?,?,?,?,?,?)",
			     &insert));
	hw_vec_foreach(arena, &session->glibc.arenas)
	{
		HW_TRY(hw_db_insert(
			db, insert, "ninnnnnnnnnn", arena->address, (int64_t)arena->is_main,
			arena->system_bytes, arena->in_use_bytes, arena->tcache_bytes,
			arena->fastbin_bytes, arena->bin_bytes, arena->top_bytes,
			arena->overhead_bytes, arena->unknown_bytes, arena->in_use_chunks,
			arena->tcache_chunks + arena->fastbin_chunks + arena->bin_chunks));
	}
	return NULL;
}

static struct hw_error *hw_write_states(const struct hw_pymalloc *pm, struct hw_db *db)
{
	hw_cleanup_stmt sqlite3_stmt *insert = NULL, *insert_class = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO pymalloc VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
			     &insert));
	HW_TRY(hw_db_prepare(db, "INSERT INTO size_classes VALUES(?,?,?,?,?,?)", &insert_class));
	hw_vec_foreach(state, &pm->states)
	{
		uint64_t unknown = UINT64_MAX; // NULL
		HW_TRY(hw_db_insert(
			db, insert, "inniiinnnnnnnnn", state->interpreter_id, state->address,
			(uint64_t)pm->arena_bytes, (int64_t)pm->pool_bytes, (int64_t)pm->alignment,
			(int64_t)pm->size_class_count, state->arena_count,
			state->has_arena_totals ? state->arenas_allocated_total : unknown,
			state->has_arena_totals ? state->arenas_highwater : unknown,
			state->allocated_bytes, state->available_bytes, state->unused_pools,
			state->pool_header_bytes, state->quantization_bytes,
			state->arena_alignment_bytes));
		for (uint32_t i = 0; i < hw_min(pm->size_class_count, HW_PYMALLOC_SIZE_CLASSES_MAX);
		     i++) {
			const struct hw_size_class_stats *class = &state->classes[i];
			if (!class->pools)
				continue;
			HW_TRY(hw_db_insert(db, insert_class, "iinnnn", state->interpreter_id,
					    (int64_t)i, (uint64_t)(i + 1) * pm->alignment,
					    class->pools, class->blocks_in_use,
					    class->blocks_free));
		}
	}
	return NULL;
}

static const char *hw_pool_state_word(const struct hw_pool *pool)
{
	return pool->is_bad                        ? "damaged"
	       : pool->is_empty                    ? "empty"
	       : pool->ref_count == pool->capacity ? "full"
						   : "used";
}

static struct hw_error *hw_write_pools(const struct hw_pymalloc *pm, struct hw_db *db)
{
	hw_cleanup_stmt sqlite3_stmt *insert = NULL, *insert_arena = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO pymalloc_arenas VALUES(?,?,?,?,?,?)", &insert_arena));
	hw_vec_foreach(arena, &pm->arenas)
	{
		int64_t interpreter = arena->interpreter < pm->states.count
					      ? pm->states.data[arena->interpreter].interpreter_id
					      : -1;
		HW_TRY(hw_db_insert(db, insert_arena, "ninnnn", arena->start, interpreter,
				    arena->arena_object, (uint64_t)pm->arena_bytes,
				    (uint64_t)arena->pools_free, (uint64_t)arena->pools_total));
	}
	HW_TRY(hw_db_prepare(db, "INSERT INTO pools VALUES(?,?,?,?,?,?)", &insert));
	hw_vec_foreach(pool, &pm->pools)
	{
		bool is_known = !pool->is_empty && !pool->is_bad;
		uint64_t unknown = UINT64_MAX; // NULL: its header is stale
		HW_TRY(hw_db_insert(db, insert, "nnnnnt", pool->start,
				    is_known ? pool->szidx : unknown,
				    is_known ? hw_pool_block_bytes(pm, pool) : unknown,
				    is_known ? pool->capacity : unknown,
				    pool->is_bad     ? unknown
				    : pool->is_empty ? 0
						     : pool->ref_count,
				    hw_pool_state_word(pool)));
	}
	return NULL;
}

// Named as sys._debugmallocstats() does: "PyDictObject", "3-sized PyTupleObject".
static struct hw_error *hw_write_free_lists(const struct hw_moment *moment, struct hw_db *db)
{
	hw_cleanup_stmt sqlite3_stmt *insert = NULL;
	HW_TRY(hw_db_prepare(db, "INSERT INTO free_lists VALUES(?,?,?,?)", &insert));
	hw_vec_foreach(each, &moment->free_lists)
	{
		hw_vec_foreach(list, &each->lists.list)
		{
			char name[80];
			snprintf(name, sizeof(name), list->length ? "%u-sized %s" : "%.0u%s",
				 list->length, list->type);
			HW_TRY(hw_db_insert(db, insert, "itin", each->interpreter, name,
					    (int64_t)list->count, list->object_bytes));
		}
	}
	return NULL;
}

// "known"; "none": no CPython, or one that does not count them (2.7); "unknown".
static const char *hw_free_lists_word(const struct hw_moment *moment)
{
	const struct hw_python *python = &moment->session->python;
	if (!python->module || python->layout.str_ascii_size == HW_ABSENT)
		return "none";
	hw_vec_foreach(each, &moment->free_lists)
	{
		if (!each->lists.is_known)
			return "unknown";
	}
	return moment->free_lists.count ? "known" : "unknown";
}

static struct hw_error *hw_write_snapshot(const struct hw_moment *moment, struct hw_db *db,
					  uint64_t blocks)
{
	hw_cleanup_stmt sqlite3_stmt *insert = NULL;
	time_t now = time(NULL);
	struct tm utc;
	char words[32] = "";
	if (gmtime_r(&now, &utc))
		strftime(words, sizeof(words), "%Y-%m-%dT%H:%M:%SZ", &utc);
	hw_cleanup_error struct hw_error *lacks = hw_session_shortfall(moment->session);
	HW_TRY(hw_db_prepare(db, "INSERT INTO snapshot VALUES(?,?)", &insert));
	HW_TRY(hw_db_insert(db, insert, "tt", "heapwalk", hw_version()));
	HW_TRY(hw_db_insert(db, insert, "ti", "taken", (int64_t)now));
	HW_TRY(hw_db_insert(db, insert, "tt", "taken_utc", words));
	HW_TRY(hw_db_insert(db, insert, "tn", "blocks", blocks));
	HW_TRY(hw_db_insert(db, insert, "tn", "content_bytes", moment->content_bytes));
	HW_TRY(hw_db_insert(db, insert, "tt", "free_lists", hw_free_lists_word(moment)));
	return hw_db_insert(db, insert, "tt", "partial", lacks ? hw_error_message(lacks) : "");
}

struct hw_error *hw_snapshot_write(const struct hw_moment *moment, struct hw_db *db,
				   uint64_t *ret_blocks)
{
	struct hw_session *session = moment->session;
	HW_TRY(hw_db_exec(db, HW_SETTINGS));
	char *ids = sqlite3_mprintf("PRAGMA application_id=%d; PRAGMA user_version=%d; BEGIN",
				    HW_SNAPSHOT_APPLICATION_ID, HW_SNAPSHOT_SCHEMA);
	struct hw_error *err = ids ? hw_db_exec(db, ids) : &hw_enomem;
	sqlite3_free(ids);
	HW_TRY(err);
	for (const struct hw_snapshot_table *table = hw_snapshot_tables(HW_SNAPSHOT_SCHEMA);
	     table->name; table++)
		HW_TRY(hw_db_exec(db, table->sql));
	HW_TRY(hw_write_target(session, db));
	HW_TRY(hw_write_coverage(session, db));
	HW_TRY(hw_write_categories(moment, db));
	HW_TRY(hw_write_mappings(session, db));
	HW_TRY(hw_write_malloc(session, db));
	HW_TRY(hw_write_states(&session->pymalloc, db));
	HW_TRY(hw_write_pools(&session->pymalloc, db));
	HW_TRY(hw_write_free_lists(moment, db));
	HW_TRY(hw_write_blocks(session, db, moment->content_bytes, ret_blocks));
	HW_TRY(hw_write_snapshot(moment, db, *ret_blocks));
	return hw_db_exec(db, "COMMIT");
}
