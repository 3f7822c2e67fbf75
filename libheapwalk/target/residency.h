/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Which pages of the target are in RAM, which are swapped out. The kernel says it of a live process
// (smaps, pagemap, status); of a core, its own pages do: those that hold something. No other source
// can tell.
//
// Reading a live process's memory makes the kernel map pages that were not there: take this first.
#ifndef HW_TARGET_RESIDENCY_H
#define HW_TARGET_RESIDENCY_H

#include "target/target.h"

#define HW_UNKNOWN_BYTES UINT64_MAX

enum hw_page_state {
	HW_PAGE_ABSENT, // never touched, given back, or the kernel's shared page of zeros
	HW_PAGE_RESIDENT,
	HW_PAGE_SWAPPED,
	HW_PAGE_MISSING, // the core does not have it: can't tell
};

// Pages side by side in one state.
struct hw_page_run {
	hw_addr_t start, end;
	uint8_t state; // enum hw_page_state, never absent
	bool is_huge;  // mapped by a huge page
};

// What smaps says of one mapping, bytes.
struct hw_area {
	hw_addr_t start, end;
	uint64_t resident_bytes, swapped_bytes;
	uint64_t huge_bytes;    // of its anonymous memory (AnonHugePages)
	uint64_t hugetlb_bytes; // of hugetlbfs: neither VmRSS nor Rss counts them
};

// /proc/PID/status, bytes; HW_UNKNOWN_BYTES: this kernel does not say.
#define HW_PROCESS_COUNTS(X)                                                                       \
	X(vm_size, "VmSize")                                                                       \
	X(vm_rss, "VmRSS")                                                                         \
	X(vm_swap, "VmSwap")                                                                       \
	X(rss_anon, "RssAnon")                                                                     \
	X(rss_file, "RssFile")                                                                     \
	X(rss_shmem, "RssShmem")                                                                   \
	X(hugetlb, "HugetlbPages")                                                                 \
	X(page_tables, "VmPTE")

struct hw_process_counts {
#define HW_X(name, key) uint64_t name;
	HW_PROCESS_COUNTS(HW_X)
#undef HW_X
};

enum hw_residency_source { HW_RESIDENCY_NONE, HW_RESIDENCY_KERNEL, HW_RESIDENCY_CORE };

struct hw_residency {
	enum hw_residency_source source;
	uint64_t page_bytes; // of the target
	bool knows_huge;     // of each run; else only the areas' sums are known
	// Private writable mappings only, in address order; between them pages are absent.
	HW_VEC(struct hw_page_run) runs;
	// Kernel only: all mappings, in address order.
	HW_VEC(struct hw_area) areas;
	struct hw_process_counts counts;
};

// Bytes of some stretch of private writable memory.
struct hw_page_sums {
	uint64_t resident_bytes, swapped_bytes;
	uint64_t huge_bytes;    // of resident_bytes
	uint64_t missing_bytes; // can't tell: the core does not have them
};

// The target is stopped. Fails on out of memory only: a source, or a kernel, that can't tell leaves
// HW_RESIDENCY_NONE, and an issue says why when there is more to say than that.
struct hw_error *hw_residency_read(struct hw_target *target, struct hw_issues *issues,
				   struct hw_residency *ret) HW_MUST_USE;
void hw_residency_deinit(struct hw_residency *residency);

// The line of smaps that starts where the mapping does; NULL: the kernel did not say.
const struct hw_area *hw_residency_area(const struct hw_residency *residency, hw_addr_t start);

// Adds what [start, end) has to *sums. *hint is 0 at first and the same variable afterwards: stretches in
// address order cost no search.
void hw_residency_add(const struct hw_residency *residency, size_t *hint, hw_addr_t start,
		      hw_addr_t end, struct hw_page_sums *sums);

#endif
