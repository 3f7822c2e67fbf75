/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Holes of a core's file: memory that was nothing but zeroes, and that a file system keeps no blocks for.
// Read through the mapping of the file each page of a hole would become a page of the page cache, and of
// ours: a sparse core of 100 GB would take 100 GB. So large holes are mapped from no file instead, where
// the kernel has one page of zeroes for all of them, and walks from page to page leave them out.
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "target/core_private.h"

enum {
	// A smaller one costs more as a mapping of its own than it saves.
	HW_HOLE_BYTES = 1 << 20,
	// A process may have 65530 mappings (vm.max_map_count); each hole makes two.
	HW_HOLES_MAX = 1 << 13,
	HW_HOLE_EXTENTS_MAX =
		1 << 20, // of a file that is all small pieces: the rest counts as data
};

static void hw_core_add_hole(struct hw_core *core, uint64_t start, uint64_t end)
{
	// Of this machine's pages: a mapping replaces whole ones.
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct hw_core_hole hole = { hw_align_up(start, page), hw_align_down(end, page) };
	if (hole.start >= hole.end || hole.end - hole.start < HW_HOLE_BYTES)
		return;
	size_t len = (size_t)(hole.end - hole.start);
	// Failing is no loss but of memory: the file's own zeroes stay mapped there.
	if (!hw_vec_reserve(&core->holes, core->holes.count + 1) ||
	    mmap((uint8_t *)core->bytes + hole.start, len, PROT_READ,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return;
	(void)madvise((uint8_t *)core->bytes + hole.start, len, MADV_HUGEPAGE);
	hw_vec_push(&core->holes, hole);
}

void hw_core_find_holes(struct hw_core *core, int fd)
{
	uint64_t at = 0;
	for (size_t i = 0;
	     at < core->size && i < HW_HOLE_EXTENTS_MAX && core->holes.count < HW_HOLES_MAX; i++) {
		off_t hole = lseek(fd, (off_t)at, SEEK_HOLE);
		if (hole < 0 || (uint64_t)hole >= core->size)
			return; // the end counts as one
		off_t data = lseek(fd, hole, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			return;
		at = data < 0 ? core->size : (uint64_t)data;
		if (at <= (uint64_t)hole)
			return;
		hw_core_add_hole(core, (uint64_t)hole, hw_min(at, core->size));
	}
}

hw_addr_t hw_core_skip_zeroes(struct hw_target *self, hw_addr_t addr)
{
	const struct hw_core *core = (struct hw_core *)self;
	if (!core->holes.count)
		return addr;
	for (;;) {
		const struct hw_core_piece *piece = hw_core_find_piece(core, addr);
		if (!piece || piece->bytes < core->bytes ||
		    piece->bytes >= core->bytes + core->size)
			return addr;
		uint64_t offset = (uint64_t)(piece->bytes - core->bytes) + (addr - piece->start);
		size_t i = hw_vec_find_beyond(&core->holes, start, offset);
		if (!i || offset >= core->holes.data[i - 1].end)
			return addr;
		addr = hw_min(addr + (core->holes.data[i - 1].end - offset), piece->end);
	}
}
