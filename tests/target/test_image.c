/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Images in memory, callbacks, windows and pages: holes, borders, wraps.
#include <stdlib.h>

#include "check.h"
#include "target/window.h"

enum { PAGE = 4096, BASE = 0x10000 };

static uint8_t bytes_a[3 * PAGE], bytes_b[PAGE + 100];

static struct hw_target *open_image(void)
{
	for (size_t i = 0; i < sizeof(bytes_a); i++)
		bytes_a[i] = (uint8_t)(i * 7 + i / PAGE);
	for (size_t i = 0; i < sizeof(bytes_b); i++)
		bytes_b[i] = (uint8_t)(i * 3 + 1);
	struct hw_image_piece pieces[] = {
		{ UINT64_MAX - 2 * PAGE + 1, bytes_a, 2 * PAGE - 1, HW_MAP_READ, "[top]" },
		{ BASE, bytes_a, sizeof(bytes_a), HW_MAP_READ | HW_MAP_WRITE, "" },
		{ BASE + sizeof(bytes_a), bytes_b, sizeof(bytes_b), HW_MAP_READ, "/b" },
		{ BASE + 16 * PAGE, NULL, PAGE, HW_MAP_READ, "/hole" },
		{ BASE + 17 * PAGE, bytes_a, PAGE, HW_MAP_READ, "/after" },
	};
	struct hw_target *target = NULL;
	CHECK_OK(hw_target_open_image(pieces, 5, &target));
	return target;
}

static void test_reads(void)
{
	struct hw_target *target = open_image();
	uint8_t buf[8 * PAGE];
	const struct hw_mapping *m = hw_target_find_mapping(target, BASE + PAGE);
	CHECK(m && m->start == BASE && m->end == BASE + sizeof(bytes_a) && !*m->path);
	CHECK(m && hw_mapping_is_private_writable(m));
	CHECK(!hw_target_find_mapping(target, BASE - 1));
	CHECK(!hw_target_find_mapping(target, BASE + 18 * PAGE));
	// across two pieces, then to the end of the second
	CHECK_EQUAL(hw_target_read_some(target, BASE + 2 * PAGE, buf, sizeof(buf)),
		    PAGE + sizeof(bytes_b));
	CHECK(!memcmp(buf, bytes_a + 2 * PAGE, PAGE) &&
	      !memcmp(buf + PAGE, bytes_b, sizeof(bytes_b)));
	struct hw_error *err = hw_target_read(target, BASE + 2 * PAGE, buf, sizeof(buf));
	CHECK(err && err->has_address && err->address == BASE + sizeof(bytes_a) + sizeof(bytes_b));
	hw_error_destroy(err);
	CHECK_EQUAL(hw_target_read_some(target, BASE + 16 * PAGE, buf, 8), 0);
	CHECK_EQUAL(hw_target_read_some(target, BASE, buf, 0), 0);
	CHECK(hw_target_map(target, BASE + 10, 2 * PAGE) == bytes_a + 10);
	CHECK(!hw_target_map(target, BASE + 10, sizeof(bytes_a)));
	// never around the top
	CHECK_EQUAL(hw_target_read_some(target, UINT64_MAX - 15, buf, 64), 15);
	CHECK_ERROR(hw_target_read(target, UINT64_MAX - 15, buf, 64), HW_ERROR_FAULT, "can't read");
	CHECK(!hw_target_map(target, UINT64_MAX - 15, 64));
	CHECK(hw_target_is_alive(target));
	CHECK_OK(hw_target_stop(target));
	hw_target_resume(target);
	CHECK_OK(hw_target_refresh(target));
	hw_target_close(target);
	hw_target_close(NULL);
}

// Several small reads at once: missing ones are zeroes, the rest are there.
static void test_read_many(void)
{
	struct hw_target *target = open_image();
	uint8_t buf[40];
	struct hw_span spans[] = { { .addr = BASE + 5, .len = 8 },
				   { .addr = BASE + 16 * PAGE, .len = 16 },
				   { .addr = BASE + 17 * PAGE, .len = 16 } };
	memset(buf, 0xee, sizeof(buf));
	CHECK_EQUAL(hw_target_read_many(target, spans, 3, buf), 1);
	CHECK(!spans[0].is_missing && spans[1].is_missing && !spans[2].is_missing);
	CHECK(!memcmp(buf, bytes_a + 5, 8) && !buf[8] && !buf[23] &&
	      !memcmp(buf + 24, bytes_a, 16));
	hw_target_close(target);
}

static void test_image_refusals(void)
{
	struct hw_target *target = NULL;
	struct hw_image_piece overlap[] = { { BASE, bytes_a, PAGE, 3, "" },
					    { BASE + 8, bytes_a, PAGE, 3, "" } };
	struct hw_image_piece wrap = { UINT64_MAX - 8, bytes_a, PAGE, 3, "" };
	CHECK_ERROR(hw_target_open_image(overlap, 2, &target), HW_ERROR_INVALID, "overlap");
	CHECK_ERROR(hw_target_open_image(&wrap, 1, &target), HW_ERROR_INVALID, "wraps");
	CHECK_OK(hw_target_open_image(NULL, 0, &target));
	CHECK_EQUAL(hw_target_read_some(target, 0, bytes_b, 1), 0);
	hw_target_close(target);
}

static void check_window(struct hw_target *target)
{
	struct hw_window window;
	size_t len;
	hw_window_init(&window, target);
	CHECK(!hw_window_get(&window, 0, 1));
	for (size_t i = 0; i < sizeof(bytes_a) - 100; i += 100) {
		const uint8_t *p = hw_window_get(&window, BASE + i, 100);
		CHECK(p && !memcmp(p, bytes_a + i, 100));
	}
	// backwards
	for (size_t i = sizeof(bytes_a) - 100; i > 100; i -= 100) {
		const uint8_t *p = hw_window_get(&window, BASE + i, 100);
		CHECK(p && !memcmp(p, bytes_a + i, 100));
	}
	// across the border of two mappings, and up to the hole after the second
	const uint8_t *p = hw_window_get(&window, BASE + sizeof(bytes_a) - 8, 16);
	CHECK(p && !memcmp(p, bytes_a + sizeof(bytes_a) - 8, 8) && !memcmp(p + 8, bytes_b, 8));
	p = hw_window_get_some(&window, BASE + sizeof(bytes_a) + PAGE, PAGE, &len);
	CHECK_EQUAL(len, 100);
	CHECK(p && !memcmp(p, bytes_b + PAGE, 100));
	CHECK(!hw_window_get(&window, BASE + sizeof(bytes_a) + PAGE, 101));
	CHECK(!hw_window_get(&window, BASE + 16 * PAGE, 1));
	CHECK(!hw_window_get_some(&window, BASE + 16 * PAGE, 1, &len) && !len);
	CHECK(hw_window_get(&window, BASE + 17 * PAGE, PAGE));
	CHECK(!hw_window_get(&window, UINT64_MAX - 15, 64));
	CHECK(hw_window_get(&window, BASE, sizeof(bytes_a) + sizeof(bytes_b)));
	hw_window_deinit(&window);
}

static void check_pages(struct hw_target *target)
{
	struct hw_pages pages;
	uint8_t buf[2 * PAGE];
	uint64_t u64;
	uint32_t u32;
	hw_pages_init(&pages, target);
	for (int round = 0; round < 2; round++) {
		CHECK(hw_pages_read(&pages, BASE + PAGE - 4, buf, PAGE + 8));
		CHECK(!memcmp(buf, bytes_a + PAGE - 4, PAGE + 8));
		CHECK(hw_pages_read_u64(&pages, BASE + PAGE - 4, &u64) &&
		      !memcmp(&u64, bytes_a + PAGE - 4, 8));
		CHECK(hw_pages_read_u32(&pages, BASE + 1, &u32) && !memcmp(&u32, bytes_a + 1, 4));
		CHECK(!hw_pages_read(&pages, BASE + 16 * PAGE, buf, 1));
		CHECK(!hw_pages_read(&pages, BASE + 4, buf, SIZE_MAX));
		CHECK(!hw_pages_read_u64(&pages, UINT64_MAX - 3, &u64));
		CHECK(!hw_pages_read_u64(&pages, 0, &u64));
		// the part of a page that is there
		CHECK(hw_pages_read(&pages, BASE + sizeof(bytes_a) + PAGE, buf, 100));
		CHECK(!memcmp(buf, bytes_b + PAGE, 100));
		CHECK(!hw_pages_read(&pages, BASE + sizeof(bytes_a) + PAGE, buf, 101));
		hw_pages_drop(&pages);
	}
	hw_pages_deinit(&pages);
}

static void check_strings(struct hw_target *target)
{
	struct hw_pages pages;
	char text[64];
	hw_pages_init(&pages, target);
	// across a page border
	memcpy(bytes_a + PAGE - 3, "across", 7);
	CHECK(hw_pages_read_string(&pages, BASE + PAGE - 3, text, sizeof(text)));
	CHECK_TEXT(text, "across");
	CHECK(hw_pages_read_string(&pages, BASE + PAGE - 3, text, 7));
	CHECK(!hw_pages_read_string(&pages, BASE + PAGE - 3, text, 6));
	CHECK(!hw_pages_read_string(&pages, BASE + PAGE - 3, text, 0));
	// the last bytes that can be read: terminated, and not
	memcpy(bytes_b + sizeof(bytes_b) - 4, "end", 4);
	CHECK(hw_pages_read_string(&pages, BASE + sizeof(bytes_a) + sizeof(bytes_b) - 4, text,
				   sizeof(text)));
	CHECK_TEXT(text, "end");
	bytes_b[sizeof(bytes_b) - 1] = '!';
	hw_pages_drop(&pages);
	CHECK(!hw_pages_read_string(&pages, BASE + sizeof(bytes_a) + sizeof(bytes_b) - 4, text,
				    sizeof(text)));
	CHECK(!hw_pages_read_string(&pages, BASE + 16 * PAGE, text, sizeof(text)));
	hw_pages_deinit(&pages);
}

static void test_views(void)
{
	struct hw_target *target = open_image();
	check_window(target);
	check_pages(target);
	check_strings(target);
	hw_target_close(target);
}

// ---- callbacks: the same image, read by somebody else ----

static size_t callback_count;

static bool read_image(void *payload, hw_addr_t addr, void *buf, size_t len)
{
	callback_count++;
	return hw_target_read_some(payload, addr, buf, len) == len;
}

static void test_callbacks(void)
{
	struct hw_target *image = open_image(), *target = NULL;
	struct hw_map_entry maps[16];
	size_t count = 0;
	hw_vec_foreach(m, &image->mappings)
		maps[count++] = (struct hw_map_entry){ .start = m->start,
						       .end = m->end,
						       .read = true,
						       .write = m->flags & HW_MAP_WRITE,
						       .path = m->path };
	struct hw_callbacks callbacks = { .size = sizeof(callbacks),
					  .read = read_image,
					  .payload = image,
					  .maps = maps,
					  .map_count = count,
					  .pid = 42 };
	CHECK_OK(hw_target_open_callbacks(&callbacks, "/exe", "/sysroot", &target));
	CHECK_EQUAL(target->pid, 42);
	CHECK_TEXT(target->exe, "/exe");
	CHECK_TEXT(target->file_root, "/sysroot");
	CHECK_EQUAL(target->mappings.count, count);
	check_window(target);
	check_pages(target);
	check_strings(target);
	// a hole in the middle of a mapping is found in few calls
	static struct hw_map_entry whole = { .start = BASE, .end = BASE + 64 * PAGE, .read = true };
	callbacks.maps = &whole;
	callbacks.map_count = 1;
	struct hw_target *holed = NULL;
	uint8_t buf[64 * PAGE];
	CHECK_OK(hw_target_open_callbacks(&callbacks, NULL, NULL, &holed));
	callback_count = 0;
	CHECK_EQUAL(hw_target_read_some(holed, BASE, buf, sizeof(buf)),
		    sizeof(bytes_a) +
			    PAGE); // page by page: the last 100 bytes share one with a hole
	CHECK(!memcmp(buf, bytes_a, sizeof(bytes_a)));
	CHECK(callback_count < 12);
	hw_target_close(holed);
	hw_target_close(target);
	maps[0].end = maps[0].start;
	callbacks.maps = maps;
	CHECK_ERROR(hw_target_open_callbacks(&callbacks, NULL, NULL, &target), HW_ERROR_INVALID,
		    "memory map");
	callbacks.read = NULL;
	CHECK_ERROR(hw_target_open_callbacks(&callbacks, NULL, NULL, &target), HW_ERROR_INVALID,
		    "read function");
	hw_target_close(image);
}

int main(void)
{
	test_reads();
	test_read_many();
	test_image_refusals();
	test_views();
	test_callbacks();
	return check_finish();
}
