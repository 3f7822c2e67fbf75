/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The public API on a child of ours with known blocks.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heapwalk.h"

enum { HW_BLOCK_COUNT = 1000 };
static const char *const hw_query = "size >= 1500 and size < 1600 and state = \"in use\"";

static int hw_failure_count;

#define HW_CHECK(condition)                                                                        \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);             \
			hw_failure_count++;                                                        \
		}                                                                                  \
	} while (0)

// Says what went wrong, if anything did.
static bool hw_is_ok(struct hw_error *err)
{
	if (err)
		printf("error %s: %s\n", hw_error_code_word(hw_error_code(err)),
		       hw_error_message(err));
	hw_error_destroy(err);
	return !err;
}

static bool hw_has_code(struct hw_error *err, enum hw_error_code code)
{
	bool is_it = err && hw_error_code(err) == code && *hw_error_message(err) &&
		     hw_error_exit_status(err) != 0;
	if (!is_it)
		printf("expected %s, got %s: %s\n", hw_error_code_word(code),
		       err ? hw_error_code_word(hw_error_code(err)) : "success",
		       err ? hw_error_message(err) : "");
	hw_error_destroy(err);
	return is_it;
}

// ---- the child (child.c): HW_BLOCK_COUNT blocks more for each byte it is told ----

struct hw_child {
	pid_t pid;
	int tell, hear;
};

static struct hw_child hw_child_start(const char *program)
{
	int to[2], from[2];
	if (pipe(to) || pipe(from)) {
		perror("pipe");
		exit(1);
	}
	fflush(stdout);
	struct hw_child child = { .pid = fork(), .tell = to[1], .hear = from[0] };
	if (child.pid == 0) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		close(to[0]);
		close(to[1]);
		close(from[0]);
		close(from[1]);
		execl(program, program, (char *)NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	return child;
}

static bool hw_child_grow(const struct hw_child *child)
{
	char byte;
	return write(child->tell, "g", 1) == 1 && read(child->hear, &byte, 1) == 1;
}

// ---- callbacks ----

struct hw_seen {
	unsigned count, limit;
	hw_addr_t last_end;
};

static bool hw_see(void *payload, const struct hw_block *block)
{
	struct hw_seen *seen = payload;
	HW_CHECK(block->start >= seen->last_end); // in address order, no overlap
	HW_CHECK(block->size_bytes >= 1500 && block->size_bytes < 1600);
	HW_CHECK(!strcmp(block->allocator, "glibc") && block->state == HW_STATE_IN_USE);
	HW_CHECK(!block->object);
	seen->last_end = block->start + block->size_bytes;
	seen->count++;
	return !seen->limit || seen->count < seen->limit;
}

struct hw_text {
	char bytes[65536];
	size_t len;
	bool is_closed;
};

static bool hw_take(void *payload, const char *text, size_t len)
{
	struct hw_text *all = payload;
	if (all->is_closed)
		return false;
	size_t room = sizeof(all->bytes) - 1 - all->len;
	memcpy(all->bytes + all->len, text, len < room ? len : room);
	all->len += len < room ? len : room;
	return true;
}

static void hw_count_word(void *payload, const char *word)
{
	if (!strcmp(word, "-format"))
		++*(unsigned *)payload;
}

static bool hw_progress_stop(void *payload, const char *what, uint64_t done, uint64_t total)
{
	(void)done, (void)total;
	HW_CHECK(what && *what);
	return *(bool *)payload;
}

// ---- cases ----

static unsigned hw_count_blocks(struct hw_session *session, unsigned limit)
{
	struct hw_seen seen = { .limit = limit };
	HW_CHECK(hw_is_ok(hw_session_visit_blocks(session, hw_query, hw_see, &seen)));
	return seen.count;
}

static void hw_test_errors(void)
{
	struct hw_session *session = NULL;
	struct hw_options options = { .size = sizeof(options) };
	struct hw_error *err = hw_session_open_pid(0x7ffffff0, &options, &session);
	HW_CHECK(hw_has_code(err, HW_ERROR_NOT_FOUND));
	HW_CHECK(!session);
	err = hw_session_open_core("/nonexistent/core", &options, &session);
	HW_CHECK(err && strstr(hw_error_message(err), "/nonexistent/core"));
	hw_error_destroy(err);
	HW_CHECK(!session);
	hw_error_destroy(NULL);
	hw_session_close(NULL);
}

static void hw_test_table(void)
{
	unsigned count = 0;
	for (const struct hw_command *command = hw_commands(); command->name; command++) {
		HW_CHECK(*command->name && command->usage && *command->summary && command->options);
		HW_CHECK(command->summary[strlen(command->summary) - 1] == '.');
		count++;
	}
	HW_CHECK(count >= 5);
	HW_CHECK(hw_api_version() == HW_API_VERSION);
	HW_CHECK(strchr(hw_version(), '.'));

	unsigned formats = 0;
	const char *argv[] = { "census" };
	hw_complete(NULL, HW_OPTION_STYLE_GDB, 1, argv, "-form", hw_count_word, &formats);
	HW_CHECK(formats == 1);
}

// All blocks of a query by way of a cursor, `max` at a time.
static unsigned hw_count_by_cursor(struct hw_session *session, const char *query, size_t max)
{
	struct hw_seen seen = { 0 };
	struct hw_block blocks[64];
	struct hw_cursor *cursor = NULL;
	size_t count = 0;
	HW_CHECK(hw_is_ok(hw_cursor_open(session, query, &cursor)));
	if (!cursor)
		return 0;
	do {
		HW_CHECK(hw_is_ok(hw_cursor_next(cursor, blocks, max, &count)));
		HW_CHECK(count <= max);
		for (size_t i = 0; i < count; i++) {
			hw_see(&seen, &blocks[i]);
			HW_CHECK(blocks[i].refcount == -1); // no object
		}
	} while (count);
	HW_CHECK(hw_is_ok(hw_cursor_next(cursor, blocks, max, &count)) && !count); // and again
	hw_cursor_close(cursor);
	return seen.count;
}

static void hw_test_cursor(struct hw_session *session)
{
	char limited[256], ordered[256];
	snprintf(limited, sizeof(limited), "%s limit 100", hw_query);
	snprintf(ordered, sizeof(ordered), "%s order by start", hw_query);
	unsigned count = hw_count_blocks(session, 0);
	HW_CHECK(hw_count_by_cursor(session, hw_query, 1) == count);
	HW_CHECK(hw_count_by_cursor(session, hw_query, 64) == count);
	HW_CHECK(hw_count_by_cursor(session, ordered, 7) == count);
	HW_CHECK(hw_count_by_cursor(session, limited, 64) == 100);

	struct hw_cursor *cursor = NULL;
	HW_CHECK(hw_has_code(hw_cursor_open(session, "size >", &cursor), HW_ERROR_INVALID));
	HW_CHECK(!cursor);

	// Two at once; one is closed while the walk is forgotten under the other.
	struct hw_cursor *other = NULL;
	struct hw_block block;
	size_t got = 0;
	HW_CHECK(hw_is_ok(hw_cursor_open(session, hw_query, &cursor)));
	HW_CHECK(hw_is_ok(hw_cursor_open(session, ordered, &other)));
	HW_CHECK(hw_is_ok(hw_cursor_next(cursor, &block, 1, &got)) && got == 1);
	hw_cursor_close(cursor);
	HW_CHECK(hw_is_ok(hw_cursor_next(other, &block, 1, &got)) && got == 1);
	hw_session_invalidate(session);
	HW_CHECK(hw_has_code(hw_cursor_next(other, &block, 1, &got), HW_ERROR_STALE));
	HW_CHECK(hw_count_blocks(session, 0) == count); // a new walk makes it no better
	HW_CHECK(hw_has_code(hw_cursor_next(other, &block, 1, &got), HW_ERROR_STALE));
	hw_cursor_close(other);
	hw_cursor_close(NULL);
}

// Any address of a block finds it, as the rows have it; one of nobody's finds none.
static void hw_test_find(struct hw_session *session)
{
	struct hw_cursor *cursor = NULL;
	struct hw_block blocks[64], found;
	size_t count = 0;
	bool is_found = false;
	HW_CHECK(hw_is_ok(hw_cursor_open(session, NULL, &cursor)));
	if (!cursor || !hw_is_ok(hw_cursor_next(cursor, blocks, 64, &count)))
		return;
	HW_CHECK(count == 64);
	for (size_t i = 0; i < count; i++) {
		const struct hw_block *block = &blocks[i];
		for (unsigned k = 0; k < 3; k++) {
			hw_addr_t addr = block->start + k * (block->size_bytes - 1) / 2;
			is_found = false;
			HW_CHECK(hw_is_ok(hw_session_find_block(session, addr, &found, &is_found)));
			HW_CHECK(is_found && found.start == block->start &&
				 found.size_bytes == block->size_bytes &&
				 found.state == block->state && !strcmp(found.kind, block->kind) &&
				 !strcmp(found.state_word, block->state_word) &&
				 !strcmp(found.allocator, block->allocator));
		}
	}
	hw_cursor_close(cursor);
	static const hw_addr_t nowhere[] = { 0, 1, UINT64_MAX, (hw_addr_t)1 << 63 };
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		is_found = true;
		HW_CHECK(hw_is_ok(hw_session_find_block(session, nowhere[i], &found, &is_found)));
		HW_CHECK(!is_found);
	}
}

static void hw_test_session(struct hw_session *session, const struct hw_child *child, bool *stop)
{
	HW_CHECK(hw_count_blocks(session, 0) == HW_BLOCK_COUNT);
	HW_CHECK(hw_count_blocks(session, 1) == 1);

	// The table is kept until it is declared stale.
	HW_CHECK(hw_child_grow(child));
	HW_CHECK(hw_count_blocks(session, 0) == HW_BLOCK_COUNT);
	hw_session_invalidate(session);
	HW_CHECK(hw_count_blocks(session, 0) == 2 * HW_BLOCK_COUNT);

	hw_test_cursor(session);
	hw_test_find(session);

	struct hw_seen seen = { 0 };
	HW_CHECK(hw_has_code(hw_session_visit_blocks(session, "size >", hw_see, &seen),
			     HW_ERROR_INVALID));

	struct hw_text *text = calloc(1, sizeof(*text));
	if (!text)
		return;
	struct hw_output out = { .write = hw_take, .payload = text };
	const char *census[] = { "census", "-format", "json" };
	HW_CHECK(hw_is_ok(hw_session_run(session, HW_OPTION_STYLE_GDB, 3, census, &out)));
	HW_CHECK(strstr(text->bytes, "heapwalk.census/1"));
	const char *wrong[] = { "census", "-no-such-option" };
	HW_CHECK(hw_has_code(hw_session_run(session, HW_OPTION_STYLE_GDB, 2, wrong, &out),
			     HW_ERROR_INVALID));

	// Nobody reads any more: it ends, and the session goes on.
	text->is_closed = true;
	hw_error_destroy(hw_session_run(session, HW_OPTION_STYLE_GDB, 3, census, &out));
	HW_CHECK(hw_count_blocks(session, 0) == 2 * HW_BLOCK_COUNT);

	// A walk that is told to stop says so, and the next one is whole again.
	hw_session_invalidate(session);
	*stop = true;
	*text = (struct hw_text){ 0 };
	struct hw_error *err = hw_session_run(session, HW_OPTION_STYLE_GDB, 3, census, &out);
	HW_CHECK(hw_has_code(err, HW_ERROR_INTERRUPTED));
	*stop = false;
	HW_CHECK(hw_count_blocks(session, 0) == 2 * HW_BLOCK_COUNT);
	free(text);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		printf("usage: test_api CHILD\n");
		return 2;
	}
	hw_test_errors();
	hw_test_table();

	struct hw_child child = hw_child_start(argv[1]);
	bool stop = false;
	struct hw_session *session = NULL;
	struct hw_options options = {
		.size = sizeof(options),
		.progress = hw_progress_stop,
		.progress_payload = &stop,
	};
	HW_CHECK(hw_child_grow(&child));
	HW_CHECK(hw_is_ok(hw_session_open_pid(child.pid, &options, &session)));
	struct hw_cursor *cursor = NULL;
	struct hw_block block;
	size_t count;
	if (session) {
		hw_test_session(session, &child, &stop);
		HW_CHECK(hw_is_ok(hw_cursor_open(session, NULL, &cursor)));
	}
	hw_session_close(session);
	HW_CHECK(cursor && hw_has_code(hw_cursor_next(cursor, &block, 1, &count), HW_ERROR_STALE));
	hw_cursor_close(cursor);

	HW_CHECK(hw_child_grow(&child)); // it goes on
	int status;
	close(child.tell);
	HW_CHECK(waitpid(child.pid, &status, 0) == child.pid);
	HW_CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
	return hw_failure_count ? 1 : 0;
}
