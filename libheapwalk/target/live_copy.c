/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/live_copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/parallel.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 // Linux 5.14
#endif

enum {
	HW_COPY_ENTRIES = 8192, // of pagemap at once
	HW_COPY_RANGE_BYTES = 8 << 20,
	HW_COPY_THREADS = 8,
};

// linux/Documentation/admin-guide/mm/pagemap.rst
#define HW_PAGE_IS_THERE (3ull << 62) // present, swapped

struct hw_copy_piece {
	hw_addr_t start, end;
	uint8_t *bytes;
	bool is_taken;
};

struct hw_copy {
	HW_VEC(struct hw_copy_piece) pieces; // by address, disjoint
};

static bool hw_copy_wants(const struct hw_mapping *m)
{
	return hw_mapping_is_private_writable(m) && m->flags & HW_MAP_READ;
}

// Calls visit() for each run of pages that are there.
static struct hw_error *
hw_copy_runs(int pagemap_fd, uint64_t page_bytes, hw_addr_t start, hw_addr_t end,
	     struct hw_error *(*visit)(void *payload, hw_addr_t start, hw_addr_t end),
	     void *payload)
{
	uint64_t entries[HW_COPY_ENTRIES];
	hw_addr_t run = end; // where the run under way began; `end`: none
	for (hw_addr_t at = start; at < end;) {
		size_t want = (size_t)hw_min((end - at) / page_bytes, HW_COPY_ENTRIES);
		ssize_t got = pagemap_fd < 0 ? -1
					     : pread(pagemap_fd, entries, want * 8,
						     (off_t)(at / page_bytes * 8));
		if (got < (ssize_t)(want * 8)) // this kernel does not tell
			memset(entries, 0xff, want * 8);
		for (size_t i = 0; i < want; i++, at += page_bytes) {
			bool is_there = entries[i] & HW_PAGE_IS_THERE;
			if (is_there && run == end)
				run = at;
			if (is_there || run == end)
				continue;
			HW_TRY(visit(payload, run, at));
			run = end;
		}
	}
	return run < end ? visit(payload, run, end) : NULL;
}

static struct hw_error *hw_copy_add(struct hw_copy *copy, hw_addr_t start, hw_addr_t end)
{
	void *bytes = mmap(NULL, end - start, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (bytes == MAP_FAILED)
		return &hw_enomem;
	struct hw_copy_piece piece = { start, end, bytes, false };
	if (hw_vec_push(&copy->pieces, piece))
		return NULL;
	munmap(bytes, end - start);
	return &hw_enomem;
}

static struct hw_error *hw_copy_sum(void *payload, hw_addr_t start, hw_addr_t end)
{
	*(uint64_t *)payload += end - start;
	return NULL;
}

static struct hw_error *hw_copy_populate(void *payload, hw_addr_t start, hw_addr_t end)
{
	const struct hw_copy_piece *piece = payload;
	// Advice: a page that is not there yet is made when it is written to.
	(void)madvise(piece->bytes + (start - piece->start), end - start, MADV_POPULATE_WRITE);
	return NULL;
}

// Of the whole machine, UINT64_MAX: not known.
static uint64_t hw_available_bytes(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[128];
	unsigned long long kib = UINT64_MAX >> 10;
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	return (uint64_t)kib << 10;
}

struct hw_error *hw_copy_prepare(const struct hw_target *target, int pagemap_fd,
				 struct hw_copy **ret)
{
	uint64_t want = 0;
	hw_vec_foreach(m, &target->mappings)
	{
		if (hw_copy_wants(m))
			HW_TRY(hw_copy_runs(pagemap_fd, target->page_bytes, m->start, m->end,
					    hw_copy_sum, &want));
	}
	if (want > hw_available_bytes() / 2)
		return hw_error_create(HW_ERROR_NO_MEMORY,
				       "a copy of %llu MB is more than half of the memory that is "
				       "available",
				       (unsigned long long)want >> 20);
	struct hw_copy *copy = calloc(1, sizeof(*copy));
	if (!copy)
		return &hw_enomem;
	struct hw_error *err = NULL;
	hw_vec_foreach(m, &target->mappings)
	{
		if (err || !hw_copy_wants(m))
			continue;
		err = hw_copy_add(copy, m->start, m->end);
		if (!err)
			err = hw_copy_runs(pagemap_fd, target->page_bytes, m->start, m->end,
					   hw_copy_populate,
					   &copy->pieces.data[copy->pieces.count - 1]);
	}
	if (err) {
		hw_copy_free(copy);
		return err;
	}
	*ret = copy;
	return NULL;
}

// Ranges of the pieces, for several threads: the kernel copies with as many as ask it to.
struct hw_copy_range {
	const struct hw_copy_piece *piece;
	hw_addr_t start, end;
};

struct hw_copy_work {
	struct hw_target *target;
	hw_copy_read_fn *read;
	int pagemap_fd;
	HW_VEC(struct hw_copy_range) ranges;
};

struct hw_copy_run {
	const struct hw_copy_work *work;
	const struct hw_copy_piece *piece;
};

static struct hw_error *hw_copy_run(void *payload, hw_addr_t start, hw_addr_t end)
{
	const struct hw_copy_run *run = payload;
	const struct hw_copy_piece *piece = run->piece;
	const uint64_t page = run->work->target->page_bytes;
	size_t got;
	// A guard page inside a run is a hole; the copy has zeroes there.
	for (; start < end; start += got + page) {
		got = run->work->read(run->work->target, start,
				      piece->bytes + (start - piece->start), end - start);
		got = hw_align_down(got, page);
	}
	return NULL;
}

static void hw_copy_work_run(void *payload, size_t i)
{
	struct hw_copy_work *work = payload;
	const struct hw_copy_range *range = &work->ranges.data[i];
	struct hw_copy_run run = { work, range->piece };
	// hw_copy_run() never fails
	hw_error_destroy(hw_copy_runs(work->pagemap_fd, work->target->page_bytes, range->start,
				      range->end, hw_copy_run, &run));
}

static int hw_copy_compare(const void *a, const void *b)
{
	const struct hw_copy_piece *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

// What was mapped, unmapped, grown or shrunk since it was prepared: pieces of other borders go.
static struct hw_error *hw_copy_match(struct hw_copy *copy, const struct hw_target *target)
{
	struct hw_copy_piece *p = copy->pieces.data;
	size_t old = copy->pieces.count, kept = 0, i = 0;
	hw_vec_foreach(m, &target->mappings)
	{
		if (!hw_copy_wants(m))
			continue;
		while (i < old && p[i].start < m->start)
			i++;
		if (i < old && p[i].start == m->start && p[i].end == m->end)
			p[i].is_taken = true;
	}
	for (i = 0; i < old; i++) {
		if (p[i].is_taken)
			p[kept++] = p[i];
		else
			munmap(p[i].bytes, p[i].end - p[i].start);
	}
	copy->pieces.count = kept;
	i = 0;
	hw_vec_foreach(m, &target->mappings)
	{
		while (i < kept && copy->pieces.data[i].start < m->start)
			i++;
		if (hw_copy_wants(m) && (i == kept || copy->pieces.data[i].start != m->start))
			HW_TRY(hw_copy_add(copy, m->start, m->end));
	}
	if (copy->pieces.count)
		qsort(copy->pieces.data, copy->pieces.count, sizeof(*p), hw_copy_compare);
	return NULL;
}

struct hw_error *hw_copy_take(struct hw_copy *copy, struct hw_target *target, int pagemap_fd,
			      hw_copy_read_fn *read)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct hw_copy_work work = { .target = target, .read = read, .pagemap_fd = pagemap_fd };
	bool ok = true;
	HW_TRY(hw_copy_match(copy, target));
	hw_vec_foreach(piece, &copy->pieces)
	{
		for (hw_addr_t at = piece->start; ok && at < piece->end;
		     at += HW_COPY_RANGE_BYTES) {
			hw_addr_t end = at + hw_min(piece->end - at, HW_COPY_RANGE_BYTES);
			ok = hw_vec_push(&work.ranges, ((struct hw_copy_range){ piece, at, end }));
		}
	}
	if (ok)
		hw_parallel_each(processors > 1 ? (unsigned)hw_min(processors, HW_COPY_THREADS) : 1,
				 work.ranges.count, hw_copy_work_run, &work);
	hw_vec_deinit(&work.ranges);
	return ok ? NULL : &hw_enomem;
}

void hw_copy_free(struct hw_copy *copy)
{
	if (!copy)
		return;
	hw_vec_foreach(piece, &copy->pieces) munmap(piece->bytes, piece->end - piece->start);
	hw_vec_deinit(&copy->pieces);
	free(copy);
}

const uint8_t *hw_copy_at(const struct hw_copy *copy, hw_addr_t addr, size_t *ret_len)
{
	size_t i = hw_vec_find_beyond(&copy->pieces, start, addr);
	const struct hw_copy_piece *piece = i ? &copy->pieces.data[i - 1] : NULL;
	if (!piece || addr >= piece->end)
		return NULL;
	*ret_len = (size_t)(piece->end - addr);
	return piece->bytes + (addr - piece->start);
}
