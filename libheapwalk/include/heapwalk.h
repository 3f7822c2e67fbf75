/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * @file heapwalk.h
 * Where is my RAM? The one public header of libheapwalk.
 *
 * "hw" is heapwalk (not hardware). A session looks at one process, or at the core file it left, from
 * outside: it walks glibc malloc and CPython's allocators and says what every block is. Nothing is
 * ever written to the target and no code runs in it.
 *
 * Threads: a session is used by one thread at a time, except hw_session_interrupt(), which may be
 * called from anywhere, signal handlers included. Different sessions on different threads are fine.
 *
 * Ownership words: *owned* (you destroy it), *borrowed* (valid until the thing named), *copied*.
 * Results come back through arguments named `ret`, written only on success.
 */
#ifndef HEAPWALK_H
#define HEAPWALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HW_API __attribute__((visibility("default")))
#define HW_MUST_USE __attribute__((warn_unused_result))
#define HW_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

/** An address in the target: never a pointer of this process. */
typedef uint64_t hw_addr_t;

/** Raised when a function or structure below changes in an incompatible way. */
#define HW_API_VERSION 2

/** HW_API_VERSION of the library that is loaded (the header's may be another's). */
HW_API int hw_api_version(void);
/** "0.1.0"; borrowed for ever. */
HW_API const char *hw_version(void);

/* ---- errors ---------------------------------------------------------------------------------- */

/** X(NAME, word, exit status): every error code once; words appear in JSON. */
#define HW_ERROR_CODES(X)                                                                          \
	X(NO_MEMORY, "no-memory", 3)         /* this process, not the target */                    \
	X(FAULT, "fault", 3)                 /* bytes of the target that can't be read */          \
	X(CORRUPT, "corrupt", 3)             /* the target's data contradicts itself */            \
	X(UNSUPPORTED, "unsupported", 4)     /* known, but not by this version of heapwalk */      \
	X(NO_DEBUG_INFO, "no-debug-info", 4) /* a fact is missing that debug information has */    \
	X(NOT_FOUND, "not-found", 3)                                                               \
	X(INVALID, "invalid-argument", 2)  /* the caller's or the user's words */                  \
	X(OS, "os", 3)                     /* a system call failed */                              \
	X(INTERRUPTED, "interrupted", 130) /* hw_session_interrupt() or a progress callback */     \
	X(CONFLICT, "conflict", 3)         /* two claims on one block */                           \
	X(INVARIANT, "invariant", 3)       /* a sum that must close does not */                    \
	X(PARTIAL, "partial", 1)           /* the answer was given and says what it lacks */       \
	X(STALE, "stale", 3)               /* of a walk that was forgotten since */

enum hw_error_code {
	HW_ERROR_UNKNOWN = 0,
#define HW_X(name, word, status) HW_ERROR_##name,
	HW_ERROR_CODES(HW_X)
#undef HW_X
};

/** A failure. NULL is success. Owned by the caller: hw_error_destroy(). */
struct hw_error;

/** None of the functions on an error but hw_error_destroy() accepts NULL. */
HW_API enum hw_error_code hw_error_code(const struct hw_error *err);
/** One sentence without a full stop; borrowed until the error is destroyed. */
HW_API const char *hw_error_message(const struct hw_error *err);
/** The exit status that a command which met this error ends with. */
HW_API int hw_error_exit_status(const struct hw_error *err);
/** "fault", "corrupt", …; borrowed for ever. */
HW_API const char *hw_error_code_word(enum hw_error_code code);
/** Accepts NULL. */
HW_API void hw_error_destroy(struct hw_error *err);

/* ---- sessions -------------------------------------------------------------------------------- */

struct hw_session;

/**
 * Says how far a long walk is: `done` of `total` units (bytes, blocks, runs of them; only the quotient says
 * anything) of `what`, which may be NULL. `total` 0: not known. Return true to stop it: what was found
 * is then marked partial.
 */
typedef bool hw_progress_fn(void *payload, const char *what, uint64_t done, uint64_t total);

/**
 * Start with `.size = sizeof(struct hw_options)`, zero the rest: zero means the default. Strings are copied,
 * and NULL in place of the structure is all defaults.
 */
struct hw_options {
	size_t size;
	const char *exe;        /**< executable of a core; NULL: found from the core's own notes */
	const char *sysroot;    /**< prefix of the target's file names; NULL: none */
	const char *debug_dirs; /**< directories of detached debug files, ':' between; NULL:
				     /usr/lib/debug */
	unsigned threads;       /**< workers of a census; 0: one a processor, at most 8 */
	bool no_stop;           /**< pid: do not stop it (somebody else has, gdb for one); when it
				     runs nevertheless, reports say so and are partial */
	bool debug;             /**< run the dear checks and report every conflict */
	hw_progress_fn *progress; /**< may be NULL; called on the caller's thread only */
	void *progress_payload;
	const char *rules; /**< file of rules that name what objects own; NULL: none */
	bool copy;       /**< pid: copy its private writable memory and let it run on, then look at
			      the copy; takes as much memory as that is */
	bool debuginfod; /**< ask the servers in $DEBUGINFOD_URLS for debug files that are missing */
};

/**
 * Look at a live process; *ret is owned: hw_session_close(). It is stopped (all its threads, by ptrace,
 * without a signal that it could see) when the first walk begins and let go when that walk ends, unless
 * `no_stop`. HW_ERROR_NOT_FOUND: there is no process of that number; HW_ERROR_OS: it can't be read, for want
 * of permission as a rule; HW_ERROR_UNSUPPORTED: it is of another kind of machine.
 */
HW_API struct hw_error *hw_session_open_pid(int pid, const struct hw_options *options,
					    struct hw_session **ret) HW_MUST_USE;

/**
 * Look at a core file, mapped and never copied; *ret is owned. A compressed one is unpacked first, in this
 * call, which progress can stop. HW_ERROR_INVALID: the file is no core; HW_ERROR_UNSUPPORTED: it is one of
 * another kind of machine.
 */
HW_API struct hw_error *hw_session_open_core(const char *path, const struct hw_options *options,
					     struct hw_session **ret) HW_MUST_USE;

/** One line of a target's memory map: [start, end) is file_offset and the bytes behind it of the file. */
struct hw_map_entry {
	hw_addr_t start, end;
	uint64_t file_offset;
	bool read, write, exec, shared;
	const char *path; /**< "" for anonymous memory, "[heap]", "[stack]"; copied */
};

/** A target that somebody else reads: a debugger on a remote machine, a test. Copied, but for the payload. */
struct hw_callbacks {
	size_t size; /**< sizeof(struct hw_callbacks) */
	/** All of [addr, addr + len) into buf, or false. Called on the caller's thread only. */
	bool (*read)(void *payload, hw_addr_t addr, void *buf, size_t len);
	void *payload;
	const struct hw_map_entry *maps; /**< in any order */
	size_t map_count;
	int pid; /**< 0 when there is none */
};

/**
 * Look at a target through callbacks; *ret is owned. HW_ERROR_INVALID: there is no `read`, or a line of the
 * map ends before it begins. Nothing is stopped: whoever reads keeps the target as it is.
 */
HW_API struct hw_error *hw_session_open_callbacks(const struct hw_callbacks *callbacks,
						  const struct hw_options *options,
						  struct hw_session **ret) HW_MUST_USE;

/**
 * No target: for commands that read files alone (diff of snapshots), and to keep labels; *ret is owned. What
 * needs a target is HW_ERROR_INVALID.
 */
HW_API struct hw_error *hw_session_open_detached(const struct hw_options *options,
						 struct hw_session **ret) HW_MUST_USE;

/**
 * The labels of `from` (command "label") become those of `to`, whose own are dropped; no-op when
 * `from` has none. A session that is closed takes its labels with it: this keeps them.
 */
HW_API void hw_session_move_labels(struct hw_session *from, struct hw_session *to);

/**
 * Forget what was walked: the target has run on. The next command walks anew, cursors are stale;
 * labels stay.
 */
HW_API void hw_session_invalidate(struct hw_session *session);

/**
 * Keep a live target stopped over several calls, so that all of them see one moment. Calls nest; the
 * thread that stops it lets it go. A target that somebody else keeps stopped does not notice. After an
 * error it is not stopped: HW_ERROR_NOT_FOUND when the process has ended.
 */
HW_API struct hw_error *hw_session_stop(struct hw_session *session) HW_MUST_USE;
HW_API void hw_session_resume(struct hw_session *session);

/**
 * Workers of the walks to come: 1 to 64, 0: one a processor, at most 8; else HW_ERROR_INVALID. `session` NULL:
 * only checks.
 */
HW_API struct hw_error *hw_session_set_threads(struct hw_session *session,
					       unsigned threads) HW_MUST_USE;

/** Stop the walk under way as soon as it can. Safe in signal handlers. */
HW_API void hw_session_interrupt(struct hw_session *session);

/** Accepts NULL. Cursors of the session are stale then, and still have to be closed. */
HW_API void hw_session_close(struct hw_session *session);

/* ---- blocks ---------------------------------------------------------------------------------- */

enum hw_state { HW_STATE_UNKNOWN, HW_STATE_IN_USE, HW_STATE_FREE, HW_STATE_OVERHEAD };

/** One row of the table: plain values, strings borrowed until the session forgets its walk. */
struct hw_block {
	hw_addr_t start;
	uint64_t size_bytes;   /**< the whole block: a size class, a chunk with its header */
	const char *allocator; /**< "glibc", "pymalloc", "mimalloc", "none" */
	enum hw_state state;
	const char *state_word; /**< "in use", or which kind of free */
	const char *domain, *kind, *detail;
	hw_addr_t object; /**< what Python's id() gives, 0 when it is no Python object */
	int64_t refcount; /**< of that object; -1: immortal, not known (also: not all are counted, in a
				* build without the GIL), or no object */
};

/** Return false to stop. `block` itself is valid for the call. */
typedef bool hw_block_fn(void *payload, const struct hw_block *block);

/**
 * Blocks that match `query` (NULL: all), in its order or by address. HW_ERROR_INVALID: the query is wrong, and no
 * block was visited; HW_ERROR_PARTIAL: all that are known were (hw_session_shortfall()); HW_ERROR_INTERRUPTED:
 * some were. A live target is stopped meanwhile.
 */
HW_API struct hw_error *hw_session_visit_blocks(struct hw_session *session, const char *query,
						hw_block_fn *visit, void *payload) HW_MUST_USE;

/** The same blocks, some at a time, at the caller's pace. */
struct hw_cursor;

/**
 * Before the first block that matches `query` (NULL: all); *ret is owned: hw_cursor_close(). HW_ERROR_INVALID:
 * the query is wrong. Walks the heap when that was not done yet.
 * Rows are made as they are asked for; with "order by" those that match are collected first.
 */
HW_API struct hw_error *hw_cursor_open(struct hw_session *session, const char *query,
				       struct hw_cursor **ret) HW_MUST_USE;

/**
 * The next blocks, at most `max`; *ret_count 0: there are no more. A live target is stopped meanwhile:
 * `object` and `refcount` are read now, the rest is of the walk. HW_ERROR_STALE when that walk was
 * forgotten. After HW_ERROR_INTERRUPTED the same blocks can be asked for again.
 */
HW_API struct hw_error *hw_cursor_next(struct hw_cursor *cursor, struct hw_block *blocks,
				       size_t max, size_t *ret_count) HW_MUST_USE;
/** Accepts NULL. */
HW_API void hw_cursor_close(struct hw_cursor *cursor);

/**
 * The row that contains `addr`, which may lead anywhere into it: a look-up and arithmetic, however large
 * the heap is, once it was walked. *ret_found false: no private writable mapping has the address, and *ret
 * is as it was. A row of allocator "none" is a stack, a file's data or a mapping that nobody claims. What
 * hw_session_shortfall() says may be the reason for a row that is no better known.
 */
HW_API struct hw_error *hw_session_find_block(struct hw_session *session, hw_addr_t addr,
					      struct hw_block *ret, bool *ret_found) HW_MUST_USE;

/** Why what is known is not all of the heap, HW_ERROR_PARTIAL as a rule; owned. NULL: nothing is missing. */
HW_API struct hw_error *hw_session_shortfall(const struct hw_session *session) HW_MUST_USE;

/* ---- commands -------------------------------------------------------------------------------- */

/** How options are spelt: gdb's one dash ("-format json") or GNU's two ("--format=json"). */
enum hw_option_style { HW_OPTION_STYLE_GNU, HW_OPTION_STYLE_GDB };

/**
 * What sets parts of a text report off on a terminal: written before them, "\\033[m" after. NULL or
 * "": nothing is.
 */
struct hw_styles {
	const char *title;     /**< titles of columns, the total */
	const char *address;   /**< addresses */
	const char *metadata;  /**< what is said of the report itself: coverage, rows left out */
	const char *highlight; /**< issues, and that a report is partial */
};

/** Where a command prints. */
struct hw_output {
	/** `len` bytes, valid for the call. Return false to stop the command (a pager that was quit). */
	bool (*write)(void *payload, const char *text, size_t len);
	void *payload;
	const struct hw_styles *styles; /**< NULL: plain text. JSON, CSV and files always are */
	unsigned width;                 /**< columns; 0: no limit */
};

/** An option of a command, without its dashes. */
struct hw_command_option {
	const char *name;
	const char *metavar; /**< NULL: takes no value */
	const char *help;
	const char *const *values; /**< the words it takes, NULL-terminated; NULL: any */
};

/** A command: parser, help and completion of gdb and of heapwalk(1) all come from here. */
struct hw_command {
	const char *name;    /**< "select"; "census" is `heap` alone */
	const char *usage;   /**< metavariables of its arguments, "" when it has none */
	const char *summary; /**< one line, ends with a full stop */
	const char *help;    /**< paragraphs */
	const struct hw_command_option *options; /**< ends with a NULL name */
	bool takes_text;    /**< the rest of the line is one argument, not split into words */
	bool runs_detached; /**< it may need no target: hw_session_open_detached() */
	bool is_of_session; /**< it is about what the session keeps from command to command */
};

/** The table, ended by a NULL name; borrowed for ever. */
HW_API const struct hw_command *hw_commands(void);

/**
 * Run a command: argv[0] is its name. Its report goes to `out`, or to the file of its -output option.
 * A report that was begun and could not be finished ends with a line that says it is partial, and an
 * error comes back as well.
 */
HW_API struct hw_error *hw_session_run(struct hw_session *session, enum hw_option_style style,
				       int argc, const char *const *argv,
				       const struct hw_output *out) HW_MUST_USE;

/**
 * Set what commands take for an option that is not among their words: "top", "20". It holds for every
 * command that has the option and takes that value; NULL or "": none again. Copied. `session` NULL:
 * only checks. HW_ERROR_INVALID: no command has the option, or none of them takes the value.
 */
HW_API struct hw_error *hw_session_set_default(struct hw_session *session, const char *option,
					       const char *value) HW_MUST_USE;

/**
 * Words that may follow: an option, its value, a kind or a domain known to the session. `session`
 * may be NULL. argv[0] is the command's name, or `argc` 0 for the commands themselves; `prefix` is what there
 * is of the word. Each candidate is passed to `emit` once, borrowed for the call. Never walks a heap that
 * was not walked yet.
 */
HW_API void hw_complete(struct hw_session *session, enum hw_option_style style, int argc,
			const char *const *argv, const char *prefix,
			void (*emit)(void *payload, const char *word), void *payload);

#ifdef __cplusplus
}
#endif
#endif
