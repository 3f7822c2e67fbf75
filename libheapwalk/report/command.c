/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The table of commands, and running one.
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "report/report.h"

// clang-format off
static const char *const hw_formats[] = { "text", "json", "csv", NULL };
static const char *const hw_census_by[] = { "domain", "kind", "type", "size", "module", "arena",
					    "allocator", "state", NULL };
static const char *const hw_census_keys[] = { "bytes", "count", "domain", "kind", "detail", "size",
					      "state", "allocator", "module", "arena", NULL };
static const char *const hw_block_keys[] = { "start", "end", "size", "allocator", "state", "domain",
					     "kind", "detail", "bytes", "count", "module", "arena",
					     NULL };
static const char *const hw_size_keys[] = { "bytes", "count", "size", "allocator", NULL };
static const char *const hw_arena_keys[] = { "index", "address", "system_bytes", "in_use_bytes",
					     "tcache_bytes", "fastbin_bytes", "bin_bytes", "top_bytes",
					     "in_use_chunks", "free_chunks", NULL };
static const char *const hw_referrer_keys[] = { "level", "pointer", "target", "start", "size",
						"domain", "kind", "detail", NULL };
static const char *const hw_retained_by[] = { "object", "type", NULL };
static const char *const hw_retained_keys[] = { "retained_bytes", "retained_blocks", "size", "object",
						"kind", "detail", "dominator", "count", "bytes", NULL };
static const char *const hw_pin_keys[] = { "allocator", "start", "free_bytes", "free_resident_bytes",
					   "used_count", "used_bytes", "pin_domain", "pin_kind",
					   "pin_count", "pin_bytes", "freed_bytes", "trim_bytes",
					   NULL };
static const char *const hw_pin_show[] = { "pins", "holders", NULL };
static const char *const hw_map_keys[] = { "what", "virtual_bytes", "resident_bytes",
					   "swapped_bytes", "huge_bytes", "missing_bytes", NULL };
static const char *const hw_pyarena_keys[] = { "arena_object", "start", "pools_free", "pools_total",
					       NULL };
static const char *const hw_bin_keys[] = { "bin", "index", "from_size", "to_size", "count", "bytes",
					   NULL };
static const char *const hw_bin_show[] = { "bins", "chunks", NULL };
static const char *const hw_pyarena_show[] = { "arenas", "classes", NULL };

static const char *const hw_diff_by[] = { "category", "domain", "kind", "module", "state", "size",
					  "allocator", "class", "block", NULL };
static const char *const hw_diff_keys[] = { "bytes_change", "count_change", "bytes", "count", "domain",
					    "kind", "detail", "state", "size", "allocator", "module", NULL };

#define HW_OPTION_FORMAT                                                                           \
	{ "format", "FORMAT", "Print text, json or csv; text is the default.", hw_formats }
#define HW_OPTION_TOP { "top", "N", "Print the first N rows only; totals still count all.", NULL }
#define HW_OPTION_SORT(keys)                                                                       \
	{ "sort", "KEY", "Order rows by KEY; KEY:asc or KEY:desc says which way.", keys }
#define HW_OPTION_OUTPUT                                                                           \
	{ "output", "FILE", "Write the report to FILE, which is replaced when it is whole.", NULL }
#define HW_OPTION_RULES                                                                            \
	{ "rules", "FILE", "Name what objects own by the rules in FILE as well.", NULL }
#define HW_OPTION_END { NULL, NULL, NULL, NULL }

static const struct hw_command_option hw_census_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_TOP, HW_OPTION_SORT(hw_census_keys), HW_OPTION_OUTPUT,
	{ "by", "WHAT", "Group by domain, kind, type, size, module, arena, ...", hw_census_by },
	HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_select_options[] = {
	HW_OPTION_FORMAT,
	{ "top", "N", "Print the first N rows only, as \"limit N\" in the query.", NULL },
	HW_OPTION_SORT(hw_block_keys), HW_OPTION_OUTPUT,
	{ "by", "WHAT", "Group the blocks by domain, kind, type, size, module, arena, ...", hw_census_by },
	HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_size_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_TOP, HW_OPTION_SORT(hw_size_keys), HW_OPTION_OUTPUT,
	HW_OPTION_END,
};
static const struct hw_command_option hw_arena_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_TOP, HW_OPTION_SORT(hw_arena_keys), HW_OPTION_OUTPUT,
	HW_OPTION_END,
};
static const struct hw_command_option hw_bin_options[] = {
	HW_OPTION_FORMAT,
	{ "top", "N", "Print the first N rows of each table only.", NULL },
	HW_OPTION_SORT(hw_bin_keys), HW_OPTION_OUTPUT,
	{ "show", "WHAT", "Show the bins only, or the chunks only.", hw_bin_show }, HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_pyarena_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_TOP, HW_OPTION_SORT(hw_pyarena_keys), HW_OPTION_OUTPUT,
	{ "show", "WHAT", "Show the arenas only, or the size classes only.", hw_pyarena_show },
	{ "lists", NULL, "Follow the allocator's lists too: usedpools, freepools, arenas.", NULL },
	HW_OPTION_END,
};
static const struct hw_command_option hw_explain_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_OUTPUT, HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_referrer_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_TOP, HW_OPTION_SORT(hw_referrer_keys), HW_OPTION_OUTPUT,
	{ "depth", "N", "Also who holds these, up to N levels; 1 is the default.", NULL },
	HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_path_options[] = {
	HW_OPTION_FORMAT,
	{ "top", "N", "Show the N shortest paths, each from another object; 3 is the default.", NULL },
	HW_OPTION_OUTPUT, HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_retained_options[] = {
	HW_OPTION_FORMAT,
	{ "top", "N", "Print the N that retain most; 20 is the default, of types all.", NULL },
	HW_OPTION_SORT(hw_retained_keys), HW_OPTION_OUTPUT,
	{ "by", "WHAT", "Show object by object, or type by type.", hw_retained_by },
	HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_pin_options[] = {
	HW_OPTION_FORMAT,
	{ "top", "N", "Print the first N rows of each table only; text prints 20 by itself.", NULL },
	HW_OPTION_SORT(hw_pin_keys), HW_OPTION_OUTPUT,
	{ "show", "WHAT", "Show the pins only, or the holders only.", hw_pin_show }, HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_map_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_TOP, HW_OPTION_SORT(hw_map_keys), HW_OPTION_OUTPUT,
	HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_stats_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_OUTPUT,
	{ "interpreter", "ID", "Of the interpreter with this number; 0, the main one, is the default.",
	  NULL },
	{ "explain", NULL, "Say below the text what follows from it.", NULL },
	HW_OPTION_END,
};
static const struct hw_command_option hw_hexdump_options[] = {
	HW_OPTION_FORMAT,
	{ "top", "N", "Print the first N rows of 32 bytes only.", NULL },
	HW_OPTION_OUTPUT,
	{ "length", "BYTES", "How many bytes; 512 is the default. 0x, K, M are understood.", NULL },
	{ "c", NULL, "Characters only, without the hexadecimal columns.", NULL },
	HW_OPTION_END,
};

static const struct hw_command_option hw_save_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_OUTPUT,
	{ "contents", "BYTES", "Store the first BYTES of each block in use as well; else none are.", NULL },
	HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_diff_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_TOP, HW_OPTION_SORT(hw_diff_keys), HW_OPTION_OUTPUT,
	{ "by", "WHAT", "Compare by that instead of by category.",
	  hw_diff_by },
	HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_label_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_OUTPUT, HW_OPTION_RULES, HW_OPTION_END,
};
static const struct hw_command_option hw_log_options[] = {
	HW_OPTION_FORMAT, HW_OPTION_TOP, HW_OPTION_OUTPUT, HW_OPTION_END,
};

#define HW_BLOCK_HELP                                                                              \
	"A block is the whole of it: a chunk with its header, a pymalloc block of its size\n"      \
	"class. End is its last byte."

#define HW_QUERY_HELP                                                                              \
	"QUERY compares attributes of blocks and joins comparisons with and, or, not and\n"       \
	"parentheses; an empty one takes every block:\n"                                           \
	"  domain kind detail state allocator   texts, in \"...\" or '...'\n"                          \
	"  addr start end size                  numbers: 1000, 0x3e8, 4K, 2M, 1G\n"                \
	"  < <= = == != >= >                    for both\n"                                        \
	"  ~ !~                                 a text matches an extended regular expression\n"   \
	"state is \"in use\", \"free\", \"overhead\", \"unknown\", or which kind of free.\n"        \
	"\"order by ATTRIBUTE [asc|desc], ...\" and \"limit N\" may follow. For example:\n"         \
	"  select domain = 'python' and kind ~ '^(dict|list)$' and size >= 1K order by size desc"

// What a command is besides; HW_TAKES_TEXT is true, 0 is false.
enum { HW_TAKES_TEXT = 1, HW_RUNS_DETACHED = 2, HW_IS_OF_SESSION = 4 };

// One row a command; hw_commands() and hw_runs are made from it, in this order.
#define HW_COMMANDS(X)                                                                             \
	X(census, "census", "", false, hw_census_options,                                          \
	  "Where is my RAM: memory by domain, kind and detail.",                                   \
	  "Every byte of every private writable mapping is in one row, biggest rows first: what\n" \
	  "is in use, what is free but kept by an allocator, what an allocator needs for itself,\n" \
	  "and what is unknown. The lines below the table add these up and say how much of the\n" \
	  "heap could be seen and where the facts came from.")                                     \
	X(select, "select", "[QUERY]", true, hw_select_options,                                    \
	  "List blocks that match a query.", HW_QUERY_HELP)                                        \
	X(used, "used", "", false, hw_select_options, "List blocks in use, by address.",           \
	  HW_BLOCK_HELP)                                                                           \
	X(free, "free", "", false, hw_select_options,                                              \
	  "List free blocks that an allocator keeps, by address.", HW_BLOCK_HELP)                  \
	X(all, "all", "", false, hw_select_options,                                                \
	  "List all blocks, in use or not, by address.", HW_BLOCK_HELP)                            \
	X(sizes, "sizes", "", false, hw_size_options, "Count blocks in use by their size.",        \
	  "What malloc and pymalloc gave out and did not get back. A size is that of the whole\n"  \
	  "block: a chunk with its header, a pymalloc size class.")                                \
	X(arenas, "arenas", "", false, hw_arena_options,                                           \
	  "Show glibc malloc's arenas and what is in them.",                                       \
	  "Bytes are whole chunks. Chunks in a thread's cache (tcache) and in fastbins are\n"     \
	  "free, though malloc does not mark them so. Chunks that are a mapping of their own\n"   \
	  "come last.")                                                                            \
	X(arena, "arena", "N", false, hw_bin_options,                                              \
	  "Show one of glibc malloc's arenas: bins and chunks.",                                   \
	  "N is an arena's number in the list that \"arenas\" shows, or its address. Bins are those\n" \
	  "that hold a chunk, a thread arena's as well; a tcache bin is that of all threads\n"     \
	  "together. \"sort\" orders the bins, chunks come by address. As csv it is one table: the\n" \
	  "bins, or the chunks if \"show\" is chunks.")                                            \
	X(cpython_allocators, "cpython-allocators", "", false, hw_pyarena_options,                 \
	  "Show CPython's arenas and size classes, per interpreter.",                         \
	  "Free pools are \"free / total\" of an arena. Size classes are those that have a pool;\n" \
	  "the numbers are what sys._debugmallocstats() prints in the process itself. Lists are in\n" \
	  "the allocator's order: the first member is the one that it takes next. As csv it\n" \
	  "is one table: the arenas, or the size classes if \"show\" is classes.")                 \
	X(stats, "stats", "", false, hw_stats_options,                                             \
	  "Print what sys._debugmallocstats() would print in the process itself.",                 \
	  "Byte for byte the text of that version of CPython: size classes, arenas, what their\n"  \
	  "bytes are used for, and free lists. With explain: efficiency, how full arenas are and\n" \
	  "how little keeps them, and what free lists hold. A process that sleeps is read without\n" \
	  "stopping it, another is stopped only while pool headers and counters are read.")        \
	X(explain, "explain", "ADDR", true, hw_explain_options,                                    \
	  "Tell everything that is known of one address.",                                         \
	  "Which mapping, which arena and pool or chunk, in use or which kind of free; the object\n" \
	  "that is there with its type, references, size and value; who owns it, what it owns, and\n" \
	  "its neighbours. ADDR may lead anywhere into a block. The address of a pool, of an\n"   \
	  "arena_object, of malloc's own structures or of a file's data shows these.")             \
	X(referrers, "referrers", "ADDR", true, hw_referrer_options,                               \
	  "Show what points at an object or into a block: who holds it.",                          \
	  "All private writable memory is looked through, once a level; free blocks are left out.\n" \
	  "An object is pointed at where a word is its address, any other block where a word leads\n" \
	  "into it. Of a depth above 1 the levels climb: a string's keys table, its dict, the\n"  \
	  "object whose dict it is. A word is taken for a pointer by its value: weak references\n" \
	  "and numbers that happen to be the address are shown too.")                              \
	X(path, "path", "ADDR", true, hw_path_options,                                             \
	  "Show the shortest paths from a root to an object: what keeps it alive.",                \
	  "A root is a module, a function that runs, static data, a structure of the interpreter,\n" \
	  "memory of C or a stack; then come objects, each holding the next one, and last what\n" \
	  "was asked for. Only references that are counted are followed: no weak ones.")           \
	X(retained, "retained", "[QUERY]", true, hw_retained_options,                              \
	  "Show what would be freed if an object went.",                                           \
	  "What an object retains is itself and all that only it keeps alive. An object counts its\n" \
	  "references: when it has more than objects hold, something else holds it too (a stack,\n" \
	  "static data, memory of C) and keeps it alive. QUERY says which objects are shown, as for\n" \
	  "select; without one all are, but of a chain (a linked list) only the first. Below stands\n" \
	  "what would go if all of these went at once. By type, what one of a type retains is not\n" \
	  "counted again for another above it. docs/commands/retained.md says what is not known.") \
	X(pins, "pins", "", false, hw_pin_options,                                                 \
	  "Show free memory that is not given back, and what holds it.",                          \
	  "An arena of pymalloc is held by any block in use in it: shown is the category that has\n" \
	  "most bytes. A region of malloc's is held by its last chunk before top: that pin is\n"   \
	  "shown. \"Goes with it\" is what would be given back, resident bytes. Then, by category,\n" \
	  "what is in use in arenas of pymalloc that are at least half free.")                     \
	X(map, "map", "", false, hw_map_options,                                                   \
	  "Show the whole process in lines that add up to VmSize and VmRSS.",                      \
	  "Private writable memory comes first, cut by what it is used for; its TOTAL is what\n"   \
	  "smaps says of those mappings. Then the other mappings, the sum of all, the kernel's\n" \
	  "own sums and the difference. VmRSS is a counter that the kernel lets lag by some\n"     \
	  "pages, smaps is exact. Of a core, pages that are not all zeros stand for resident.")    \
	X(save, "save", "FILE", false, hw_save_options, "Write a snapshot of the heap to a file.",  \
	  "FILE is a SQLite database; docs/snapshot.md is its schema. It takes the place of what\n" \
	  "had the name only when all of it is on the disk. \"diff\" compares snapshots.")          \
	X(diff, "diff", "[LABEL|FILE [LABEL|FILE [LABEL|FILE]]]", HW_RUNS_DETACHED, hw_diff_options,           \
	  "Show what changed between two snapshots, or since one.",                                \
	  "A snapshot is a label of this session or a file that \"save\" wrote. Without one the\n" \
	  "newest label is compared with now; one is compared with now; two with each other. Of\n" \
	  "three, A B C, it shows what is new in B and still there in C.\n"                         \
	  "By category and the like: what there is more or less of, biggest change first. By\n"    \
	  "class: pymalloc's size classes, as the difference of two sys._debugmallocstats(). By\n" \
	  "block: each block in use that was freed, is new, or is something else now.")             \
	X(label, "label", "NAME...", HW_IS_OF_SESSION, hw_label_options,                                      \
	  "Take a snapshot and keep it under a name while the process runs on.",                   \
	  "It lasts as long as the session, in a temporary file ($TMPDIR, else /tmp) that nobody\n" \
	  "else sees. \"log\" lists labels, \"diff\" compares them.")                               \
	X(log, "log", "", HW_RUNS_DETACHED | HW_IS_OF_SESSION, hw_log_options, "List the labels of this session, newest first.", \
	  "Each with what it has in use, and how much more that is than the label before.")         \
	X(hexdump, "hexdump", "ADDR [LENGTH]", false, hw_hexdump_options, "Show bytes of the target.",      \
	  "ADDR and LENGTH are decimal or 0x numbers; 512 bytes are shown without a LENGTH. It\n"  \
	  "ends with an error where memory can't be read.")

// clang-format on

static const struct hw_command hw_command_table[] = {
#define HW_X(function, command_name, command_usage, flags, command_options, command_summary,       \
	     command_help)                                                                         \
	{ .name = command_name,                                                                    \
	  .usage = command_usage,                                                                  \
	  .summary = command_summary,                                                              \
	  .help = command_help,                                                                    \
	  .options = command_options,                                                              \
	  .takes_text = (flags)&HW_TAKES_TEXT,                                                     \
	  .runs_detached = (flags)&HW_RUNS_DETACHED,                                               \
	  .is_of_session = (flags)&HW_IS_OF_SESSION },
	HW_COMMANDS(HW_X)
#undef HW_X
		{ 0 },
};

static struct hw_error *(*const hw_runs[])(struct hw_report *) = {
#define HW_X(function, ...) hw_report_##function,
	HW_COMMANDS(HW_X)
#undef HW_X
};

const struct hw_command *hw_commands(void)
{
	return hw_command_table;
}

static struct hw_error *hw_command_find(int argc, const char *const *argv, size_t *ret)
{
	char known[512] = "";
	size_t used = 0;
	for (size_t i = 0; hw_command_table[i].name; i++) {
		if (argc > 0 && !strcmp(hw_command_table[i].name, argv[0])) {
			*ret = i;
			return NULL;
		}
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s",
					 used ? ", " : "", hw_command_table[i].name);
		used = hw_min(used, sizeof(known) - 1);
	}
	if (argc <= 0)
		return hw_error_create(HW_ERROR_INVALID, "no command was given: there are %s",
				       known);
	return hw_error_create(HW_ERROR_INVALID, "there is no command \"%.100s\": there are %s",
			       argv[0], known);
}

static enum hw_format hw_format_of(const struct hw_arguments *arguments)
{
	const char *format = hw_argument(arguments, "format");
	if (format && !strcmp(format, "json"))
		return HW_FORMAT_JSON;
	return format && !strcmp(format, "csv") ? HW_FORMAT_CSV : HW_FORMAT_TEXT;
}

// Ends a report that was begun, with what is missing from it. Takes err, returns what the caller is
// told.
static struct hw_error *hw_report_finish(struct hw_report *report, struct hw_error *err)
{
	struct hw_session *session = report->session;
	if (!report->is_begun)
		return err;
	bool is_walked = !session->heap || !hw_heap_is_partial(session->heap);
	if (!err && is_walked && hw_progress_stopped(&session->progress))
		err = hw_error_create(HW_ERROR_INTERRUPTED,
				      "interrupted: the report ends where it was");
	if (!err)
		err = hw_session_shortfall(session);
	hw_report_end(report, err);
	bool was_open = !report->sink.is_closed;
	if (!hw_sink_flush(&report->sink) && !err && (!was_open || !report->sink.err))
		err = hw_error_create(HW_ERROR_INTERRUPTED,
				      "the output was closed before the report had ended");
	return err;
}

// A command that names blocks names them by the rules that it was given, and by no others.
static struct hw_error *hw_use_rules(struct hw_session *session,
				     const struct hw_arguments *arguments)
{
	for (const struct hw_command_option *o = arguments->command->options; o->name; o++)
		if (!strcmp(o->name, "rules"))
			return hw_session_use_rules(session, hw_argument(arguments, "rules"));
	return NULL;
}

static struct hw_error *hw_run(struct hw_session *session, const struct hw_arguments *arguments,
			       size_t index, const struct hw_output *out)
{
	struct hw_report report = { .session = session,
				    .arguments = arguments,
				    .format = hw_format_of(arguments) };
	HW_TRY(hw_argument_number(arguments, "top", UINT64_MAX, &report.top));
	HW_TRY(hw_use_rules(session, arguments));
	const char *file = hw_argument(arguments, "output");
	report.styles = report.format == HW_FORMAT_TEXT && !file ? out->styles : NULL;
	HW_TRY(hw_sink_open(out, file, &report.sink));
	struct hw_error *err = hw_runs[index](&report);
	err = hw_report_finish(&report, err);
	struct hw_error *sink_err = hw_sink_close(&report.sink, report.is_begun);
	if (sink_err) {
		hw_error_destroy(err);
		err = sink_err;
	}
	hw_vec_deinit(&report.table.held);
	hw_vec_deinit(&report.scratch);
	json_object_put(report.row);
	return err;
}

struct hw_error *hw_session_run(struct hw_session *session, enum hw_option_style style, int argc,
				const char *const *argv, const struct hw_output *out)
{
	size_t index = 0;
	HW_TRY(hw_command_find(argc, argv, &index));
	struct hw_arguments arguments;
	if (session->is_detached && !hw_command_table[index].runs_detached)
		HW_TRY(hw_session_stop(session)); // says that there is no target
	HW_TRY(hw_arguments_parse(&hw_command_table[index], style, argc, argv, &arguments));
	struct hw_error *err = hw_defaults_apply(session, &arguments);
	if (!err)
		err = hw_run(session, &arguments, index, out);
	hw_arguments_deinit(&arguments);
	hw_session_settle(session);
	return err;
}
