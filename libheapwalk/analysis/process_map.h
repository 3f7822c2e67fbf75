/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The ledger of the whole process: every mapping's bytes in one line, virtual, resident and swapped.
//
// Two parts. Private writable memory, cut by what the table knows of it: its lines add up to what smaps
// says of those mappings. And everything else that counts for VmSize and VmRSS, cut by mappings.
#ifndef HW_ANALYSIS_PROCESS_MAP_H
#define HW_ANALYSIS_PROCESS_MAP_H

#include "heap/heap.h"
#include "target/residency.h"

// In the order of the report; the words are part of heapwalk.map/1.
#define HW_MAP_LINES(X)                                                                            \
	X(PYTHON_OBJECTS, "Python objects")                                                        \
	X(PYTHON_BUFFERS, "Python objects' buffers")                                               \
	X(PYMALLOC_USED, "pymalloc, other blocks in use")                                          \
	X(PYMALLOC_FREE, "pymalloc free")                                                          \
	X(PYMALLOC_OVERHEAD, "pymalloc overhead")                                                  \
	X(MIMALLOC_USED, "mimalloc, other blocks in use")                                          \
	X(MIMALLOC_FREE, "mimalloc free")                                                          \
	X(MIMALLOC_OVERHEAD, "mimalloc overhead")                                                  \
	X(MALLOC_USED, "malloc in use")                                                            \
	X(MALLOC_FREE, "malloc free")                                                              \
	X(MALLOC_OVERHEAD, "malloc overhead")                                                      \
	X(OTHER_MALLOC, "another malloc's memory")                                                 \
	X(STACKS, "thread stacks")                                                                 \
	X(FILES, "files' private pages")                                                           \
	X(ANONYMOUS, "other anonymous memory")                                                     \
	X(UNKNOWN, "unknown")                                                                      \
	X(FILES_READ_ONLY, "files mapped read-only")                                               \
	X(READ_ONLY, "read-only anonymous memory")                                                 \
	X(SHARED, "shared memory and shared files")                                                \
	X(RESERVED, "reserved, without access")                                                    \
	X(KERNEL, "the kernel's pages (vdso)")

enum hw_map_line {
#define HW_X(name, word) HW_LINE_##name,
	HW_MAP_LINES(HW_X)
#undef HW_X
		HW_LINE_COUNT,
	HW_LINE_FIRST_ELSEWHERE = HW_LINE_FILES_READ_ONLY, // from here on: not private and writable
};

struct hw_map_sum {
	uint64_t virtual_bytes;
	struct hw_page_sums pages;
};

struct hw_process_map {
	struct hw_map_sum lines[HW_LINE_COUNT];
	char other_malloc
		[80]; // the word of HW_LINE_OTHER_MALLOC: "jemalloc's memory"; "": no such line
	struct hw_map_sum private_writable, elsewhere; // sums of the two parts
	uint64_t hugetlb_bytes;                        // resident, but not in VmRSS
	uint64_t smaps_resident_bytes; // of all mappings together; HW_UNKNOWN_BYTES: not known
	enum hw_residency_source source;
	bool knows_swapped, knows_huge;
};

// Interrupted: the sums until then, see hw_progress_stopped().
struct hw_error *hw_process_map_make(const struct hw_heap *heap, const struct hw_target *target,
				     const struct hw_other_malloc *other,
				     const struct hw_residency *residency,
				     struct hw_progress *progress,
				     struct hw_process_map *ret) HW_MUST_USE;

// NULL: this process has no such line.
const char *hw_map_line_word(const struct hw_process_map *map, enum hw_map_line line);

#endif
