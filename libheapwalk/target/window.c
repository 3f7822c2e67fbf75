/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/window.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

// One huge page of our own holds the buffer, where the machine has them.
enum { HW_WINDOW_ALIGN = 2 << 20 };

void hw_window_init(struct hw_window *window, struct hw_target *target)
{
	*window = (struct hw_window){ .target = target };
}

void hw_window_deinit(struct hw_window *window)
{
	free(window->buf);
	*window = (struct hw_window){ .target = window->target };
}

// As much as the source has in one piece of its own memory. The whole mapping when it can be had: then
// going back costs nothing either.
static bool hw_window_borrow(struct hw_window *window, const struct hw_mapping *mapping,
			     hw_addr_t addr, size_t len)
{
	hw_addr_t starts[] = { mapping ? mapping->start : addr, addr, addr };
	hw_addr_t ends[] = { mapping ? mapping->end : addr, mapping ? mapping->end : addr,
			     addr + len };
	for (size_t i = 0; i < 3; i++) {
		if (starts[i] >= ends[i] || ends[i] - addr < len)
			continue;
		const void *data = hw_target_map(window->target, starts[i], ends[i] - starts[i]);
		if (!data)
			continue;
		window->start = starts[i];
		window->len = ends[i] - starts[i];
		window->data = data;
		return true;
	}
	return false;
}

static bool hw_window_reserve(struct hw_window *window, size_t want)
{
	if (want <= window->buf_bytes)
		return true;
	size_t bytes = hw_align_up(want, HW_WINDOW_ALIGN);
	free(window->buf);
	window->buf = bytes < want ? NULL : aligned_alloc(HW_WINDOW_ALIGN, bytes);
	window->buf_bytes = window->buf ? bytes : 0;
	return window->buf;
}

// Make the window begin at or before addr, and hold [addr, addr + len) as far as it can be read.
static void hw_window_fill(struct hw_window *window, hw_addr_t addr, size_t len)
{
	const struct hw_mapping *mapping = hw_target_find_mapping(window->target, addr);
	window->len = 0;
	if (window->target->ops->map && hw_window_borrow(window, mapping, addr, len))
		return;
	// From the start of the page: the kernel copies between pages at the same offset, which is
	// several times as fast as between others.
	hw_addr_t from = addr;
	size_t want = len;
	if (mapping) {
		from = hw_max(hw_align_down(addr, HW_PAGE_BYTES), mapping->start);
		want = addr - from + len;
		want = hw_max(want, hw_min(HW_WINDOW_BYTES, mapping->end - from));
	}
	if (!hw_window_reserve(window, want))
		return;
	window->start = from;
	window->data = window->buf;
	window->len = hw_target_read_some(window->target, from, window->buf, want);
	if (addr - from > window->len) { // a hole before addr, in its own page
		window->start = addr;
		window->len = hw_target_read_some(window->target, addr, window->buf, len);
	}
}

const uint8_t *hw_window_get_more(struct hw_window *window, hw_addr_t addr, size_t len,
				  size_t *ret_len)
{
	if (len && addr + (len - 1) < addr)
		len = (size_t)(0 - addr);
	hw_window_fill(window, addr, len);
	if (addr < window->start || addr - window->start > window->len) {
		*ret_len = 0;
		return NULL;
	}
	*ret_len = hw_min(len, window->len - (addr - window->start));
	return *ret_len ? window->data + (addr - window->start) : NULL;
}

void hw_pages_init(struct hw_pages *pages, struct hw_target *target)
{
	*pages = (struct hw_pages){ .target = target };
}

void hw_pages_deinit(struct hw_pages *pages)
{
	free(pages->slots);
	free(pages->bytes);
	*pages = (struct hw_pages){ .target = pages->target };
}

void hw_pages_drop(struct hw_pages *pages)
{
	if (pages->slots)
		memset(pages->slots, 0, HW_PAGES_SLOTS * sizeof(*pages->slots));
}

// Fill the slot of a page that is not cached. Room for bytes is made when there is a page to keep. False: no memory.
static bool hw_pages_load(struct hw_pages *pages, struct hw_pages_slot *slot, hw_addr_t page,
			  uint8_t scratch[HW_PAGE_BYTES])
{
	size_t offset = (size_t)(slot - pages->slots) * HW_PAGE_BYTES;
	slot->data = hw_target_map(pages->target, page, HW_PAGE_BYTES);
	slot->tag = page | HW_PAGES_WHOLE;
	if (slot->data)
		return true;
	uint8_t *bytes = pages->bytes ? pages->bytes + offset : scratch;
	size_t got = hw_target_read_some(pages->target, page, bytes, HW_PAGE_BYTES);
	if (got < HW_PAGE_BYTES) {
		// A mapping that begins or ends inside the page (images, a core cut short): the parts that
		// can be read are asked for each time. Else the whole page is a hole.
		const struct hw_mapping *m = hw_target_find_mapping(pages->target, page);
		bool is_hole = !got && m && m->end - page >= HW_PAGE_BYTES;
		slot->tag = page | (is_hole ? HW_PAGES_UNREADABLE : HW_PAGES_IN_PART);
		return true;
	}
	if (!pages->bytes) {
		pages->bytes = malloc((size_t)HW_PAGES_SLOTS * HW_PAGE_BYTES);
		if (!pages->bytes) {
			slot->tag = 0;
			return false;
		}
		memcpy(pages->bytes + offset, scratch, HW_PAGE_BYTES);
	}
	slot->data = pages->bytes + offset;
	return true;
}

// A pointer to [addr, addr + len), which lies inside one page, or NULL.
static const uint8_t *hw_pages_find(struct hw_pages *pages, hw_addr_t addr, size_t len,
				    uint8_t scratch[HW_PAGE_BYTES])
{
	if (!pages->slots) {
		pages->slots = calloc(HW_PAGES_SLOTS, sizeof(*pages->slots));
		if (!pages->slots)
			return NULL;
	}
	hw_addr_t page = hw_align_down(addr, HW_PAGE_BYTES);
	struct hw_pages_slot *slot = &pages->slots[page / HW_PAGE_BYTES % HW_PAGES_SLOTS];
	bool is_cached = (slot->tag & ~(hw_addr_t)3) == page && (slot->tag & 3);
	if (!is_cached && !hw_pages_load(pages, slot, page, scratch))
		return NULL;
	switch (slot->tag & 3) {
	case HW_PAGES_WHOLE:
		return slot->data + (addr - page);
	case HW_PAGES_IN_PART:
		return hw_target_read_some(pages->target, addr, scratch, len) == len ? scratch
										     : NULL;
	default:
		return NULL;
	}
}

bool hw_pages_read(struct hw_pages *pages, hw_addr_t addr, void *buf, size_t len)
{
	uint8_t scratch[HW_PAGE_BYTES], *to = buf;
	if (len && addr + (len - 1) < addr)
		return false;
	while (len) {
		size_t piece = hw_min(len, HW_PAGE_BYTES - addr % HW_PAGE_BYTES);
		const uint8_t *from = hw_pages_find(pages, addr, piece, scratch);
		if (!from)
			return false;
		memcpy(to, from, piece);
		to += piece;
		addr += piece;
		len -= piece;
	}
	return true;
}

bool hw_pages_read_u64(struct hw_pages *pages, hw_addr_t addr, uint64_t *ret)
{
	uint8_t raw[8];
	if (!hw_pages_read(pages, addr, raw, sizeof(raw)))
		return false;
	*ret = hw_u64(raw);
	return true;
}

bool hw_pages_read_word(struct hw_pages *pages, hw_addr_t addr, uint64_t *ret)
{
	uint32_t half;
	if (hw_pages_word_bytes(pages) == 8)
		return hw_pages_read_u64(pages, addr, ret);
	if (!hw_pages_read_u32(pages, addr, &half))
		return false;
	*ret = half;
	return true;
}

bool hw_pages_read_u32(struct hw_pages *pages, hw_addr_t addr, uint32_t *ret)
{
	uint8_t raw[4];
	if (!hw_pages_read(pages, addr, raw, sizeof(raw)))
		return false;
	*ret = hw_u32(raw);
	return true;
}

bool hw_pages_read_string(struct hw_pages *pages, hw_addr_t addr, char *buf, size_t size)
{
	// Byte by byte inside a page that is readable only in part: the string may end before its end.
	for (size_t done = 0; done < size;) {
		hw_addr_t at = addr + done, page = hw_align_down(at, HW_PAGE_BYTES);
		size_t piece = hw_min(size - done, HW_PAGE_BYTES - at % HW_PAGE_BYTES);
		struct hw_pages_slot *slot =
			pages->slots ? &pages->slots[page / HW_PAGE_BYTES % HW_PAGES_SLOTS] : NULL;
		if (at < addr)
			return false;
		if (slot && slot->tag == (page | HW_PAGES_IN_PART))
			piece = 1;
		if (!hw_pages_read(pages, at, buf + done, piece)) {
			// The page was not in the cache; now it is known what it is.
			if (piece == 1 || pages->slots == NULL ||
			    pages->slots[page / HW_PAGE_BYTES % HW_PAGES_SLOTS].tag !=
				    (page | HW_PAGES_IN_PART))
				return false;
			continue;
		}
		if (memchr(buf + done, 0, piece))
			return true;
		done += piece;
	}
	return false;
}
