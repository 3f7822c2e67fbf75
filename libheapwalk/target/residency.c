/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Linux: fs/proc/task_mmu.c (smaps, pagemap and its PAGEMAP_SCAN, 6.7), fs/proc/array.c (status),
// Documentation/admin-guide/mm/pagemap.rst.
#include "target/residency.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/cleanup.h"

enum { HW_PAGEMAP_WORDS = 1 << 16, HW_SCAN_REGIONS = 4096 };

// ---- runs ----

static struct hw_error *hw_runs_add(struct hw_residency *residency, hw_addr_t start, hw_addr_t end,
				    enum hw_page_state state, bool is_huge)
{
	size_t count = residency->runs.count;
	struct hw_page_run *last = count ? &residency->runs.data[count - 1] : NULL;
	if (start >= end || state == HW_PAGE_ABSENT)
		return NULL;
	if (last && last->end == start && last->state == state && last->is_huge == is_huge) {
		last->end = end;
		return NULL;
	}
	struct hw_page_run run = { start, end, (uint8_t)state, is_huge };
	return hw_vec_push(&residency->runs, run) ? NULL : &hw_enomem;
}

// ---- the kernel's account ----

static FILE *hw_open_proc(struct hw_target *target, const char *name)
{
	int fd = target->ops->open_proc ? target->ops->open_proc(target, name) : -1;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "re");
	if (!file && fd >= 0)
		close(fd);
	return file;
}

static void hw_file_cleanup(FILE **file)
{
	if (*file)
		fclose(*file);
}

// "Name:   123 kB": the value in bytes when the line has that name.
static bool hw_kb_line(const char *line, const char *name, uint64_t *ret)
{
	size_t len = strlen(name);
	unsigned long long kb;
	if (strncmp(line, name, len) || line[len] != ':' ||
	    sscanf(line + len + 1, "%llu", &kb) != 1)
		return false;
	*ret = kb > UINT64_MAX / 1024 ? UINT64_MAX : kb * 1024;
	return true;
}

static void hw_read_counts(struct hw_target *target, struct hw_process_counts *ret)
{
	hw_cleanup_with(hw_file_cleanup) FILE *file = hw_open_proc(target, "status");
	hw_cleanup_free char *line = NULL;
	size_t size = 0;
#define HW_X(name, key) ret->name = HW_UNKNOWN_BYTES;
	HW_PROCESS_COUNTS(HW_X)
#undef HW_X
	while (file && getline(&line, &size, file) > 0) {
#define HW_X(name, key) hw_kb_line(line, key, &ret->name);
		HW_PROCESS_COUNTS(HW_X)
#undef HW_X
	}
}

static void hw_area_line(const char *line, struct hw_area *area)
{
	uint64_t bytes;
	hw_kb_line(line, "Rss", &area->resident_bytes);
	hw_kb_line(line, "Swap", &area->swapped_bytes);
	hw_kb_line(line, "AnonHugePages", &area->huge_bytes);
	if (hw_kb_line(line, "Shared_Hugetlb", &bytes) ||
	    hw_kb_line(line, "Private_Hugetlb", &bytes))
		area->hugetlb_bytes += bytes;
}

// False in *ret_is_there: smaps can't be read.
static struct hw_error *hw_read_areas(struct hw_target *target, struct hw_residency *residency,
				      bool *ret_is_there)
{
	hw_cleanup_with(hw_file_cleanup) FILE *file = hw_open_proc(target, "smaps");
	hw_cleanup_free char *line = NULL;
	size_t size = 0;
	while (file && getline(&line, &size, file) > 0) {
		unsigned long long start, end;
		char permissions[5];
		if (sscanf(line, "%llx-%llx %4s", &start, &end, permissions) == 3 && start < end) {
			struct hw_area area = { .start = start, .end = end };
			if (!hw_vec_push(&residency->areas, area))
				return &hw_enomem;
		} else if (residency->areas.count) {
			hw_area_line(line, &residency->areas.data[residency->areas.count - 1]);
		}
	}
	*ret_is_there = residency->areas.count > 0;
	return NULL;
}

// include/uapi/linux/fs.h of Linux 6.7; older headers don't have it.
struct hw_pm_region {
	uint64_t start, end, categories;
};
struct hw_pm_scan {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define HW_PAGEMAP_SCAN _IOWR('f', 16, struct hw_pm_scan)
enum {
	HW_PM_PRESENT = 1 << 3,
	HW_PM_SWAPPED = 1 << 4,
	HW_PM_ZERO = 1 << 5,
	HW_PM_HUGE = 1 << 6,
	HW_PM_GUARD = 1 << 8, // 6.15
};

static enum hw_page_state hw_scanned_state(uint64_t categories)
{
	if (categories & HW_PM_PRESENT)
		return categories & HW_PM_ZERO ? HW_PAGE_ABSENT : HW_PAGE_RESIDENT;
	return categories & HW_PM_SWAPPED && !(categories & HW_PM_GUARD) ? HW_PAGE_SWAPPED
									 : HW_PAGE_ABSENT;
}

// False in *ret_is_done: this kernel does not know the call; nothing was added.
static struct hw_error *hw_scan_mapping(int fd, const struct hw_mapping *m,
					struct hw_residency *residency, bool *ret_is_done)
{
	size_t before = residency->runs.count;
	hw_cleanup_free struct hw_pm_region *regions = calloc(HW_SCAN_REGIONS, sizeof(*regions));
	if (!regions)
		return &hw_enomem;
	*ret_is_done = false;
	for (hw_addr_t at = m->start; at < m->end;) {
		struct hw_pm_scan scan = {
			.size = sizeof(scan),
			.start = at,
			.end = m->end,
			.vec = (uintptr_t)regions,
			.vec_len = HW_SCAN_REGIONS,
			.category_anyof_mask = HW_PM_PRESENT | HW_PM_SWAPPED,
			.return_mask = HW_PM_PRESENT | HW_PM_SWAPPED | HW_PM_ZERO | HW_PM_HUGE,
		};
		int count = ioctl(fd, HW_PAGEMAP_SCAN, &scan);
		if (count < 0 || scan.walk_end <= at || scan.walk_end > m->end) {
			residency->runs.count = before;
			return NULL;
		}
		for (int i = 0; i < count && i < HW_SCAN_REGIONS; i++)
			HW_TRY(hw_runs_add(residency, regions[i].start, regions[i].end,
					   hw_scanned_state(regions[i].categories),
					   regions[i].categories & HW_PM_HUGE));
		at = scan.walk_end;
	}
	*ret_is_done = true;
	return NULL;
}

// ---- pagemap, word by word: before 6.7 ----

static const uint64_t hw_pagemap_present = 1ull << 63, hw_pagemap_swapped = 1ull << 62,
		      hw_pagemap_file = 1ull << 61, hw_pagemap_guard = 1ull << 58,
		      hw_pagemap_exclusive = 1ull << 56;

// The word of the page of zeros that untouched anonymous memory reads as looks like that of an
// anonymous page shared with a fork: present, of no file, not exclusive.
static bool hw_may_be_zero_page(uint64_t word)
{
	return (word & (hw_pagemap_present | hw_pagemap_file | hw_pagemap_exclusive)) ==
	       hw_pagemap_present;
}

struct hw_pagemap_pass {
	struct hw_residency *residency; // NULL: only count
	uint64_t page_bytes;            // a word of pagemap is of so many
	uint64_t present_pages, doubtful_pages;
	bool doubtful_are_zero;
};

static struct hw_error *hw_pagemap_page(struct hw_pagemap_pass *pass, hw_addr_t addr, uint64_t word)
{
	enum hw_page_state state = HW_PAGE_ABSENT;
	if (word & hw_pagemap_present)
		state = HW_PAGE_RESIDENT;
	else if (word & hw_pagemap_swapped && !(word & hw_pagemap_guard))
		state = HW_PAGE_SWAPPED;
	pass->present_pages += state == HW_PAGE_RESIDENT;
	if (hw_may_be_zero_page(word)) {
		pass->doubtful_pages++;
		if (pass->doubtful_are_zero)
			state = HW_PAGE_ABSENT;
	}
	return pass->residency
		       ? hw_runs_add(pass->residency, addr, addr + pass->page_bytes, state, false)
		       : NULL;
}

// False in *ret_is_done: pagemap can't be read.
static struct hw_error *hw_pagemap_pass(int fd, const struct hw_mapping *m,
					struct hw_pagemap_pass *pass, bool *ret_is_done)
{
	hw_cleanup_free uint64_t *words = malloc(HW_PAGEMAP_WORDS * sizeof(*words));
	if (!words)
		return &hw_enomem;
	*ret_is_done = false;
	for (hw_addr_t at = m->start; at < m->end;) {
		uint64_t want = hw_min((m->end - at) / pass->page_bytes, HW_PAGEMAP_WORDS);
		ssize_t n = pread(fd, words, want * 8, (off_t)(at / pass->page_bytes * 8));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 8)
			return NULL;
		for (ssize_t i = 0; i < n / 8; i++, at += pass->page_bytes)
			HW_TRY(hw_pagemap_page(pass, at, words[i]));
	}
	*ret_is_done = true;
	return NULL;
}

// Which doubtful pages are the page of zeros is known from smaps, which does not count it: none, or all
// of them. A mapping that has both kinds counts as shared with a fork, and the total shows by how much
// that is too much.
static struct hw_error *hw_read_pagemap(int fd, const struct hw_mapping *m,
					struct hw_residency *residency, bool *ret_is_done)
{
	const struct hw_area *area = hw_residency_area(residency, m->start);
	struct hw_pagemap_pass count = { .page_bytes = residency->page_bytes };
	HW_TRY(hw_pagemap_pass(fd, m, &count, ret_is_done));
	if (!*ret_is_done)
		return NULL;
	uint64_t sure = count.present_pages - count.doubtful_pages;
	struct hw_pagemap_pass add = {
		.residency = residency,
		.page_bytes = residency->page_bytes,
		.doubtful_are_zero = area && count.doubtful_pages &&
				     sure * residency->page_bytes == area->resident_bytes,
	};
	HW_TRY(hw_pagemap_pass(fd, m, &add, ret_is_done));
	if (area && area->huge_bytes) // pagemap does not say which pages they are
		residency->knows_huge = false;
	return NULL;
}

static struct hw_error *hw_read_pages(struct hw_target *target, struct hw_residency *residency,
				      bool *ret_is_there)
{
	hw_cleanup_close int fd = target->ops->open_proc(target, "pagemap");
	bool can_scan = true;
	*ret_is_there = fd >= 0;
	residency->knows_huge = true;
	for (size_t i = 0; *ret_is_there && i < target->mappings.count; i++) {
		const struct hw_mapping *m = &target->mappings.data[i];
		if (!hw_mapping_is_private_writable(m))
			continue;
		if (can_scan)
			HW_TRY(hw_scan_mapping(fd, m, residency, &can_scan));
		if (!can_scan)
			HW_TRY(hw_read_pagemap(fd, m, residency, ret_is_there));
	}
	return NULL;
}

static struct hw_error *hw_residency_ask_kernel(struct hw_target *target, struct hw_issues *issues,
						struct hw_residency *residency)
{
	bool has_areas = false, has_pages = false;
	hw_read_counts(target, &residency->counts);
	HW_TRY(hw_read_areas(target, residency, &has_areas));
	if (has_areas)
		HW_TRY(hw_read_pages(target, residency, &has_pages));
	if (has_areas && has_pages) {
		residency->source = HW_RESIDENCY_KERNEL;
		return NULL;
	}
	hw_issues_add(issues, HW_ERROR_OS, 0,
		      "/proc/%d/%s can't be read: which pages are resident is not known",
		      (int)target->pid, has_areas ? "pagemap" : "smaps");
	residency->areas.count = residency->runs.count = 0;
	return NULL;
}

// ---- a core ----

static bool hw_is_zero(const uint8_t *bytes, size_t len)
{
	return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

// [start, end) is in the core: which of its pages hold something? It does not tell a page of zeros from
// one that was never there.
static struct hw_error *hw_core_pages_add(struct hw_target *target, hw_addr_t start, hw_addr_t end,
					  struct hw_residency *residency)
{
	for (hw_addr_t at = start; at < end;) {
		if (target->ops->skip_zeroes)
			at = target->ops->skip_zeroes(target, at);
		if (at >= end)
			break;
		hw_addr_t to = hw_min(hw_align_down(at, HW_PAGE_BYTES) + HW_PAGE_BYTES, end);
		const uint8_t *bytes = hw_target_map(target, at, to - at);
		uint8_t copy[HW_PAGE_BYTES];
		if (!bytes && hw_target_read_some(target, at, copy, to - at) == to - at)
			bytes = copy;
		if (bytes && !hw_is_zero(bytes, to - at)) { // all of its page, then
			const uint64_t page = residency->page_bytes;
			to = hw_min(hw_align_up(to, page), end);
			HW_TRY(hw_runs_add(residency, hw_max(hw_align_down(at, page), start), to,
					   HW_PAGE_RESIDENT, false));
		}
		at = to;
	}
	return NULL;
}

static struct hw_error *hw_residency_ask_core(struct hw_target *target,
					      struct hw_residency *residency)
{
	residency->source = HW_RESIDENCY_CORE;
	hw_vec_foreach(m, &target->mappings)
	{
		if (!hw_mapping_is_private_writable(m))
			continue;
		for (hw_addr_t at = m->start, readable_end; at < m->end; at = readable_end) {
			hw_addr_t next = target->ops->next_readable(target, at, &readable_end);
			next = hw_min(next, m->end);
			readable_end = hw_min(readable_end, m->end);
			HW_TRY(hw_runs_add(residency, at, next, HW_PAGE_MISSING, false));
			HW_TRY(hw_core_pages_add(target, next, readable_end, residency));
		}
	}
	return NULL;
}

// ---- both ----

struct hw_error *hw_residency_read(struct hw_target *target, struct hw_issues *issues,
				   struct hw_residency *ret)
{
	struct hw_residency residency = { .page_bytes = target->page_bytes };
	struct hw_error *err = NULL;
#define HW_X(name, key) residency.counts.name = HW_UNKNOWN_BYTES;
	HW_PROCESS_COUNTS(HW_X)
#undef HW_X
	if (target->ops->open_proc)
		err = hw_residency_ask_kernel(target, issues, &residency);
	else if (target->ops->kind == HW_TARGET_CORE)
		err = hw_residency_ask_core(target, &residency);
	if (err)
		hw_residency_deinit(&residency);
	else
		*ret = residency;
	return err;
}

void hw_residency_deinit(struct hw_residency *residency)
{
	hw_vec_deinit(&residency->runs);
	hw_vec_deinit(&residency->areas);
}

const struct hw_area *hw_residency_area(const struct hw_residency *residency, hw_addr_t start)
{
	size_t at = hw_vec_find_beyond(&residency->areas, end, start);
	if (at == residency->areas.count || residency->areas.data[at].start != start)
		return NULL;
	return &residency->areas.data[at];
}

static void hw_page_sums_add(struct hw_page_sums *sums, const struct hw_page_run *run,
			     uint64_t bytes)
{
	switch (run->state) {
	case HW_PAGE_RESIDENT:
		sums->resident_bytes += bytes;
		sums->huge_bytes += run->is_huge ? bytes : 0;
		break;
	case HW_PAGE_SWAPPED:
		sums->swapped_bytes += bytes;
		break;
	case HW_PAGE_MISSING:
		sums->missing_bytes += bytes;
		break;
	default:
		break;
	}
}

void hw_residency_add(const struct hw_residency *residency, size_t *hint, hw_addr_t start,
		      hw_addr_t end, struct hw_page_sums *sums)
{
	const struct hw_page_run *runs = residency->runs.data;
	size_t at = *hint, count = residency->runs.count;
	if (at > count || (at && runs[at - 1].end > start) ||
	    (at + 1 < count && runs[at + 1].end <= start))
		at = hw_vec_find_beyond(&residency->runs, end, start);
	while (at < count && runs[at].end <= start)
		at++;
	*hint = at;
	for (; at < count && runs[at].start < end; at++)
		hw_page_sums_add(sums, &runs[at],
				 hw_min(runs[at].end, end) - hw_max(runs[at].start, start));
}
