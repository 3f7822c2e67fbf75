/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Two ways of looking at target bytes without a system call per field.
//
// hw_window: sequential. A pointer into the source itself where it has the bytes in memory (a core),
// else into a local buffer that is filled in pieces of HW_WINDOW_BYTES, so that decoding stays in cache.
// hw_pages: random access. A direct-mapped cache of pages; for pointers that lead anywhere.
// One of each per thread. Both show the target as it was at the stop: drop them when it runs on.
#ifndef HW_TARGET_WINDOW_H
#define HW_TARGET_WINDOW_H

#include "target/target.h"

enum { HW_WINDOW_BYTES = 1 << 18, HW_PAGES_SLOTS = 1024 };

struct hw_window {
	struct hw_target *target;
	hw_addr_t start; // of what is in the window
	size_t len;
	const uint8_t *data; // start … start + len
	uint8_t *buf;        // owned
	size_t buf_bytes;
};

void hw_window_init(struct hw_window *window, struct hw_target *target);
void hw_window_deinit(struct hw_window *window);
// The slow half of the two below: fills the window anew.
const uint8_t *hw_window_get_more(struct hw_window *window, hw_addr_t addr, size_t len,
				  size_t *ret_len);
// A pointer to as many leading bytes of [addr, addr + len) as there are, borrowed until the next call on
// this window. *ret_len may be less than len; NULL and 0: a hole at addr. Reads ahead to the end of the
// mapping or HW_WINDOW_BYTES, whichever is nearer.
static inline const uint8_t *hw_window_get_some(struct hw_window *window, hw_addr_t addr,
						size_t len, size_t *ret_len)
{
	uint64_t offset = addr - window->start;
	if (offset >= window->len || window->len - offset < len)
		return hw_window_get_more(window, addr, len, ret_len);
	*ret_len = len;
	return len ? window->data + offset : NULL;
}
// The same for all of it: NULL when any byte can't be read.
static inline const uint8_t *hw_window_get(struct hw_window *window, hw_addr_t addr, size_t len)
{
	size_t got;
	const uint8_t *data = hw_window_get_some(window, addr, len, &got);
	return got == len ? data : NULL;
}

// The low bits of a page's address say what is known of it; 0 is an empty slot.
enum hw_pages_state { HW_PAGES_WHOLE = 1, HW_PAGES_UNREADABLE, HW_PAGES_IN_PART };

struct hw_pages_slot {
	hw_addr_t tag;       // page address | enum hw_pages_state
	const uint8_t *data; // HW_PAGES_WHOLE: in the source's own memory or in `bytes`
};

struct hw_pages {
	struct hw_target *target;
	struct hw_pages_slot *slots; // HW_PAGES_SLOTS, made on first use
	uint8_t *
		bytes; // HW_PAGES_SLOTS × HW_PAGE_BYTES; pages the source has no map of, made for the first
};

void hw_pages_init(struct hw_pages *pages, struct hw_target *target);
void hw_pages_deinit(struct hw_pages *pages);
void hw_pages_drop(struct hw_pages *pages); // forget all content
// Copy out, false when any byte can't be read. Crosses pages.
bool hw_pages_read(struct hw_pages *pages, hw_addr_t addr, void *buf, size_t len);
bool hw_pages_read_u64(struct hw_pages *pages, hw_addr_t addr, uint64_t *ret);
// A word of the target's machine.
bool hw_pages_read_word(struct hw_pages *pages, hw_addr_t addr, uint64_t *ret);
static inline unsigned hw_pages_word_bytes(const struct hw_pages *pages)
{
	return pages->target->machine->word_bytes;
}
bool hw_pages_read_u32(struct hw_pages *pages, hw_addr_t addr, uint32_t *ret);
// A NUL-terminated string of at most size - 1 bytes; false when unreadable or not terminated.
bool hw_pages_read_string(struct hw_pages *pages, hw_addr_t addr, char *buf, size_t size);

#endif
