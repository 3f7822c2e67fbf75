/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A core file, in four parts: core.c (headers, segments, reads), core_notes.c (what the notes say),
// core_maps.c (mappings with names as /proc/PID/maps has them, and the files that stand in for pages
// that the core leaves out), core_holes.c (what its file has no blocks for).
#ifndef HW_TARGET_CORE_PRIVATE_H
#define HW_TARGET_CORE_PRIVATE_H

#include "target/elf_file.h"
#include "target/target.h"

// One PT_LOAD.
struct hw_core_segment {
	hw_addr_t start, end;
	hw_addr_t dumped_end; // [start, dumped_end) was written to the core …
	hw_addr_t
		seen_end; // … of which [start, seen_end) is there: less when the core is cut short
	uint64_t offset;  // of start in the core
	uint32_t flags;   // enum hw_map_flags
};

// One line of NT_FILE.
struct hw_core_file {
	hw_addr_t start, end;
	uint64_t offset;  // bytes into the file
	const char *path; // in the core
};

// Bytes in our memory that are the target's: of the core or of a mapped file.
struct hw_core_piece {
	hw_addr_t start, end;
	const uint8_t *bytes;
};

// A part of the core's file that is all zeroes: offsets, whole pages.
struct hw_core_hole {
	uint64_t start, end;
};

// Segments that share bytes of the core, and mappings that share bytes of a file, count up to so many times what
// is there: else a few kilobytes of headers could ask for terabytes of memory to be looked at.
enum { HW_CORE_SHARED_TIMES = 4 };

struct hw_core {
	struct hw_target target;
	char *path;
	const uint8_t *bytes;
	size_t size;
	struct hw_issues *issues; // while it is opened, may be NULL

	HW_VEC(struct hw_core_segment) segments; // by address, disjoint
	HW_VEC(struct hw_core_file) files;       // by address, disjoint
	HW_VEC(struct hw_core_piece) pieces;     // by address, disjoint
	HW_VEC(struct hw_elf_file *) opened;     // owned; the pieces point into them
	HW_VEC(struct hw_core_hole) holes;       // by offset, disjoint

	// Of the auxiliary vector, 0: not known.
	hw_addr_t at_phdr, at_entry, at_vdso, at_execfn;
	uint64_t at_phnum;
	struct hw_machine_thread registers; // of the thread whose notes are read
};

// Fills threads, files, pid, the auxiliary vector out of one PT_NOTE. Stops quietly where it is damaged.
struct hw_error *hw_core_read_notes(struct hw_core *core, const uint8_t *notes, size_t len,
				    size_t align) HW_MUST_USE;
// After all notes: sorts.
void hw_core_finish_notes(struct hw_core *core);

// Mappings out of segments and files, named; target.exe; pieces of files. `exe`: the user's, or NULL.
struct hw_error *hw_core_make_maps(struct hw_core *core, const char *exe) HW_MUST_USE;

// The piece that contains addr, or NULL.
const struct hw_core_piece *hw_core_find_piece(const struct hw_core *core, hw_addr_t addr);
struct hw_error *hw_core_add_piece(struct hw_core *core, hw_addr_t start, hw_addr_t end,
				   const uint8_t *bytes) HW_MUST_USE;
// As hw_reader_ops.read_some.
size_t hw_core_read_some(const struct hw_core *core, hw_addr_t addr, void *buf, size_t len);
void hw_core_sort_pieces(struct hw_core *core);

// core_holes.c: once the file is mapped. `fd` is the file.
void hw_core_find_holes(struct hw_core *core, int fd);
hw_addr_t hw_core_skip_zeroes(struct hw_target *self, hw_addr_t addr); // hw_reader_ops.skip_zeroes

#endif
