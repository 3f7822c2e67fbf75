/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Reads that are recorded, taken at once, replayed: what was not asked for, holes, sizes that are too much.
#include <stdatomic.h>
#include <stdlib.h>

#include "check.h"
#include "target/read_set.h"
#include "target/window.h"

enum { PAGE = 4096, PAGES = 4096, BYTES = PAGES * PAGE };
static const hw_addr_t BASE = 0x100000;

// A source of which everything can change: bytes, where its hole is, whether it answers at all.
struct source {
	struct hw_target target;
	uint8_t *bytes;
	hw_addr_t hole;  // 0: none
	bool is_endless; // whatever is asked for can be read, and is not written
	atomic_size_t reads;
};

static size_t source_read_some(struct hw_target *self, hw_addr_t addr, void *buf, size_t len)
{
	struct source *source = (struct source *)self;
	atomic_fetch_add(&source->reads, 1);
	if (source->is_endless)
		return len;
	hw_addr_t end = BASE + BYTES;
	if (source->hole && addr <= source->hole)
		end = source->hole;
	if (addr < BASE || addr >= end)
		return 0;
	len = len < end - addr ? len : end - addr;
	memcpy(buf, source->bytes + (addr - BASE), len);
	return len;
}

static const struct hw_reader_ops source_ops = {
	.name = "test",
	.is_live = true,
	.is_thread_safe = true,
	.read_some = source_read_some,
};

static struct source *make_source(void)
{
	struct source *source = calloc(1, sizeof(*source));
	source->target.ops = &source_ops;
	source->target.machine = hw_machine_default();
	source->bytes = malloc(BYTES);
	for (size_t i = 0; i < BYTES; i++)
		source->bytes[i] = (uint8_t)(i * 7 + i / PAGE);
	return source;
}

static void free_source(struct source *source)
{
	free(source->bytes);
	free(source);
}

static struct hw_read_set *make_set(struct source *source)
{
	struct hw_read_set *set = NULL;
	CHECK_OK(hw_read_set_create(&source->target, &set));
	return set;
}

static bool reads_as(struct source *source, hw_addr_t addr, size_t len, uint8_t value)
{
	uint8_t buf[3 * PAGE];
	memset(buf, (uint8_t)~value, sizeof(buf));
	if (hw_target_read_some(&source->target, addr, buf, len) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (buf[i] != value)
			return false;
	return true;
}

// What overlaps, touches or shares a page is one piece.
static void test_merge(void)
{
	struct source *source = make_source();
	struct hw_read_set *set = make_set(source);
	uint8_t buf[2 * PAGE];
	static const struct {
		hw_addr_t at;
		size_t len;
	} asked[] = { { 5 * PAGE + 100, 48 }, { 5 * PAGE, 48 },       // one page
		      { 7 * PAGE, 48 },       { 7 * PAGE + 16, 100 }, // overlap
		      { 9 * PAGE - 8, 8 },    { 9 * PAGE, 8 },        // touch
		      { 11 * PAGE - 8, 8 },   { 11 * PAGE + 1, 8 },   // a byte between, two pages
		      { 7 * PAGE + 4, 4 },    { 20 * PAGE, PAGE + 1 } };
	hw_read_set_begin_record(set);
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		CHECK_EQUAL(
			hw_target_read_some(&source->target, BASE + asked[i].at, buf, asked[i].len),
			asked[i].len);
	hw_read_set_end(set);
	CHECK(hw_read_set_seal(set));
	static const struct {
		hw_addr_t at;
		uint32_t len;
	} want[] = { { 5 * PAGE, 148 },    { 7 * PAGE, 116 },    { 9 * PAGE - 8, 16 },
		     { 11 * PAGE - 8, 8 }, { 11 * PAGE + 1, 8 }, { 20 * PAGE, PAGE + 1 } };
	size_t count;
	const struct hw_span *spans = hw_read_set_spans(set, &count);
	CHECK_EQUAL(count, sizeof(want) / sizeof(want[0]));
	for (size_t i = 0; i < count && i < sizeof(want) / sizeof(want[0]); i++) {
		CHECK_EQUAL(spans[i].addr, BASE + want[i].at);
		CHECK_EQUAL(spans[i].len, want[i].len);
	}
	hw_read_set_destroy(set);
	free_source(source);
}

// A replay shows the moment of the last fill, asks the source nothing, and knows what it was not asked before.
static void test_replay(void)
{
	struct source *source = make_source();
	struct hw_read_set *set = make_set(source);
	struct hw_span spans[3] = { { .addr = BASE + 8 * PAGE, .len = 48 },
				    { .addr = BASE + 2 * PAGE, .len = 48 },
				    { .addr = BASE + 4 * PAGE - 100, .len = 100 } };
	uint8_t buf[PAGE];
	hw_read_set_begin_record(set);
	CHECK_EQUAL(hw_target_read_many(&source->target, spans, 3, buf), 0);
	CHECK_EQUAL(hw_target_read_some(&source->target, BASE + 4 * PAGE, buf, 100), 100);
	hw_read_set_end(set);
	CHECK(source->target.ops == &source_ops);
	CHECK(hw_read_set_seal(set));
	CHECK(hw_read_set_fill(set)); // for nothing
	memset(source->bytes, 1, BYTES);
	CHECK(hw_read_set_fill(set));
	memset(source->bytes, 2, BYTES);
	size_t reads = source->reads;
	hw_read_set_begin_replay(set);
	CHECK(reads_as(source, BASE + 2 * PAGE, 48, 1));
	CHECK(reads_as(source, BASE + 8 * PAGE + 10, 20, 1));
	CHECK(reads_as(source, BASE + 4 * PAGE - 50, 100, 1)); // across what touches
	CHECK_EQUAL(hw_target_read_many(&source->target, spans, 3, buf), 0);
	CHECK(hw_target_is_alive(&source->target));
	CHECK(!hw_read_set_has_missed(set));
	CHECK_EQUAL(hw_target_read_some(&source->target, BASE + 2 * PAGE, buf, 49), 48);
	CHECK(hw_read_set_has_missed(set), "a byte after what was recorded");
	hw_read_set_begin_replay(set);
	CHECK(!hw_read_set_has_missed(set));
	CHECK_EQUAL(hw_target_read_some(&source->target, BASE + PAGE, buf, 8), 0);
	CHECK(hw_read_set_has_missed(set), "another page");
	CHECK_EQUAL(source->reads, reads);
	hw_read_set_destroy(set); // while it replays
	CHECK(source->target.ops == &source_ops && !source->target.read_set);
	CHECK(reads_as(source, BASE, 8, 2));
	free_source(source);
}

// A read that ended at a hole ends there again, as long as it is one.
static void test_holes(void)
{
	struct source *source = make_source();
	struct hw_read_set *set = make_set(source);
	uint8_t buf[3 * PAGE];
	source->hole = BASE + 3 * PAGE;
	hw_read_set_begin_record(set);
	CHECK_EQUAL(hw_target_read_some(&source->target, BASE + 2 * PAGE, buf, 2 * PAGE), PAGE);
	CHECK_EQUAL(hw_target_read_some(&source->target, BASE + 3 * PAGE, buf, 8), 0);
	hw_read_set_end(set);
	CHECK(hw_read_set_seal(set));
	CHECK(hw_read_set_fill(set));
	hw_read_set_begin_replay(set);
	CHECK_EQUAL(hw_target_read_some(&source->target, BASE + 2 * PAGE, buf, 2 * PAGE), PAGE);
	CHECK_EQUAL(hw_target_read_some(&source->target, BASE + 3 * PAGE, buf, 8), 0);
	CHECK(!hw_read_set_has_missed(set));
	hw_read_set_end(set);
	source->hole = 0;
	CHECK(!hw_read_set_fill(set), "the hole is none any more");
	source->hole = BASE + 2 * PAGE + 8;
	CHECK(!hw_read_set_fill(set), "what was there is not");
	hw_read_set_destroy(set);
	free_source(source);
}

// More pieces than one thread takes, from both ends and twice: every byte is in its place.
static void test_many(void)
{
	struct source *source = make_source();
	struct hw_read_set *set = make_set(source);
	struct hw_span span;
	uint8_t buf[48];
	size_t count, wrong = 0;
	hw_read_set_begin_record(set);
	for (size_t i = 0; i < PAGES; i++) {
		size_t page = i % 2 ? i : PAGES - 2 - i;
		span = (struct hw_span){ .addr = BASE + page * PAGE, .len = sizeof(buf) };
		CHECK_EQUAL(hw_target_read_many(&source->target, &span, 1, buf), 0);
	}
	hw_read_set_end(set);
	CHECK(hw_read_set_seal(set));
	hw_read_set_spans(set, &count);
	CHECK_EQUAL(count, PAGES);
	for (int turn = 0; turn < 3; turn++) {
		for (size_t i = 0; i < PAGES; i++)
			memset(source->bytes + i * PAGE, (int)(i * 3 + i / 256 + (size_t)turn), 48);
		CHECK(hw_read_set_fill(set));
		hw_read_set_begin_replay(set);
		for (size_t i = 0; i < PAGES; i++)
			wrong += !reads_as(source, BASE + i * PAGE, 48,
					   (uint8_t)(i * 3 + i / 256 + (size_t)turn));
		hw_read_set_end(set);
	}
	CHECK_EQUAL(wrong, 0);
	hw_read_set_destroy(set);
	free_source(source);
}

// What a hostile target can make a walk ask for is not remembered without end.
static void test_too_much(void)
{
	static uint8_t byte;
	static const struct {
		hw_addr_t at, step;
		size_t len, count;
		bool is_fine;
	} cases[] = {
		{ BASE, PAGE, 8, 1000, true },
		{ BASE, PAGE, (size_t)HW_READ_SET_BYTES_MAX + 1, 1, false },
		{ BASE, PAGE, SIZE_MAX, 1, false },
		{ BASE, (hw_addr_t)1 << 30, (HW_READ_SET_BYTES_MAX >> 1) + PAGE, 2, false },
		{ BASE, 2 * PAGE, 1, (size_t)HW_READ_SET_SPANS_MAX + 1, false },
		{ UINT64_MAX - 7, 0, 8, 1, false }, // its end is no address
	};
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct source *source = make_source();
		source->is_endless = true;
		struct hw_read_set *set = make_set(source);
		hw_read_set_begin_record(set);
		for (size_t i = 0; i < cases[c].count; i++)
			hw_target_read_some(&source->target, cases[c].at + i * cases[c].step, &byte,
					    cases[c].len);
		hw_read_set_end(set);
		CHECK(hw_read_set_seal(set) == cases[c].is_fine, "case %zu", c);
		hw_read_set_destroy(set);
		free_source(source);
	}
	struct source *source = make_source();
	struct hw_read_set *set = make_set(source);
	hw_read_set_begin_record(set);
	for (size_t i = 0; i <= HW_READ_SET_HOLES_MAX; i++)
		CHECK_EQUAL(hw_target_read_some(&source->target, i * 8, &byte, 1), 0);
	CHECK(!hw_read_set_seal(set), "a set of holes");
	hw_read_set_destroy(set);
	free_source(source);
}

int main(void)
{
	test_merge();
	test_replay();
	test_holes();
	test_many();
	test_too_much();
	hw_read_set_destroy(NULL);
	return check_finish();
}
