/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/process_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

enum { HW_POLL_ROWS = 1 << 16, HW_ALLOCATORS = HW_ALLOCATOR_COUNT };

static const char *const hw_map_words[HW_LINE_COUNT] = {
#define HW_X(name, word) word,
	HW_MAP_LINES(HW_X)
#undef HW_X
};

const char *hw_map_line_word(const struct hw_process_map *map, enum hw_map_line line)
{
	if (line == HW_LINE_OTHER_MALLOC)
		return *map->other_malloc ? map->other_malloc : NULL;
	return hw_map_words[line];
}

// ---- private writable memory ----

struct hw_map_walk {
	const struct hw_residency *residency;
	struct hw_progress *progress;
	struct hw_process_map *map;
	uint8_t *lines; // enum hw_map_line by category and allocator
	size_t hint;    // of hw_residency_add()
	uint64_t seen;
};

static enum hw_map_line hw_line_of_used(const struct hw_category *category,
					enum hw_allocator allocator)
{
	if (!strcmp(category->domain, "python"))
		return HW_LINE_PYTHON_OBJECTS;
	if (!strcmp(category->domain, "cpython"))
		return HW_LINE_PYTHON_BUFFERS;
	if (allocator == HW_ALLOCATOR_PYMALLOC)
		return HW_LINE_PYMALLOC_USED;
	if (allocator == HW_ALLOCATOR_MIMALLOC)
		return HW_LINE_MIMALLOC_USED;
	return allocator == HW_ALLOCATOR_GLIBC ? HW_LINE_MALLOC_USED : HW_LINE_ANONYMOUS;
}

static enum hw_map_line hw_line_of(const struct hw_category *category, enum hw_allocator allocator)
{
	if (allocator == HW_ALLOCATOR_NONE && !strcmp(category->kind, HW_OTHER_MALLOC_KIND))
		return HW_LINE_OTHER_MALLOC;
	if (category->state == HW_STATE_UNKNOWN)
		return HW_LINE_UNKNOWN;
	if (allocator == HW_ALLOCATOR_NONE && !strcmp(category->domain, "stack"))
		return HW_LINE_STACKS;
	if (allocator == HW_ALLOCATOR_NONE && !strcmp(category->domain, "file"))
		return HW_LINE_FILES;
	if (category->state == HW_STATE_IN_USE)
		return hw_line_of_used(category, allocator);
	bool is_free = category->state == HW_STATE_FREE;
	if (allocator == HW_ALLOCATOR_PYMALLOC)
		return is_free ? HW_LINE_PYMALLOC_FREE : HW_LINE_PYMALLOC_OVERHEAD;
	if (allocator == HW_ALLOCATOR_MIMALLOC)
		return is_free ? HW_LINE_MIMALLOC_FREE : HW_LINE_MIMALLOC_OVERHEAD;
	return is_free ? HW_LINE_MALLOC_FREE : HW_LINE_MALLOC_OVERHEAD;
}

// A page that several rows share counts for each with the bytes that are its own.
static bool hw_map_row(void *payload, const struct hw_row *row)
{
	struct hw_map_walk *walk = payload;
	if (!(++walk->seen & (HW_POLL_ROWS - 1)) && hw_progress_poll(walk->progress))
		return false;
	struct hw_map_sum *sum =
		&walk->map->lines[walk->lines[row->category * HW_ALLOCATORS + row->allocator]];
	sum->virtual_bytes += row->size_bytes;
	hw_residency_add(walk->residency, &walk->hint, row->start, row->start + row->size_bytes,
			 &sum->pages);
	return true;
}

static struct hw_error *hw_map_private(const struct hw_heap *heap,
				       const struct hw_residency *residency,
				       struct hw_progress *progress, struct hw_process_map *map)
{
	uint32_t count = hw_heap_category_count(heap);
	hw_cleanup_free uint8_t *lines = malloc((size_t)count * HW_ALLOCATORS + 1);
	if (!lines)
		return &hw_enomem;
	for (uint32_t id = 0; id < count; id++)
		for (unsigned a = 0; a < HW_ALLOCATORS; a++)
			lines[id * HW_ALLOCATORS + a] =
				(uint8_t)hw_line_of(hw_heap_category(heap, id), a);
	struct hw_map_walk walk = {
		.residency = residency, .progress = progress, .map = map, .lines = lines
	};
	hw_heap_visit(heap, 0, UINT64_MAX, hw_map_row, &walk);
	return NULL;
}

// ---- the other mappings ----

static enum hw_map_line hw_line_of_mapping(const struct hw_mapping *m)
{
	if (m->flags & HW_MAP_SHARED)
		return HW_LINE_SHARED;
	if (!strcmp(m->path, "[vdso]") || !strcmp(m->path, "[vvar]"))
		return HW_LINE_KERNEL;
	if (!(m->flags & (HW_MAP_READ | HW_MAP_EXEC)))
		return HW_LINE_RESERVED;
	return *m->path == '/' ? HW_LINE_FILES_READ_ONLY : HW_LINE_READ_ONLY;
}

static void hw_map_mapping(const struct hw_mapping *m, const struct hw_residency *residency,
			   struct hw_process_map *map)
{
	struct hw_map_sum *sum = &map->lines[hw_line_of_mapping(m)];
	const struct hw_area *area = hw_residency_area(residency, m->start);
	sum->virtual_bytes += m->end - m->start;
	if (!area) {
		sum->pages.missing_bytes += m->end - m->start;
		return;
	}
	sum->pages.resident_bytes += area->resident_bytes + area->hugetlb_bytes;
	sum->pages.swapped_bytes += area->swapped_bytes;
	sum->pages.huge_bytes += area->huge_bytes;
}

static void hw_map_elsewhere(const struct hw_target *target, const struct hw_residency *residency,
			     struct hw_process_map *map)
{
	hw_vec_foreach(m, &target->mappings)
	{
		// The kernel shows [vsyscall] in every process and counts it in none.
		if (!hw_mapping_is_private_writable(m) && strcmp(m->path, "[vsyscall]") != 0)
			hw_map_mapping(m, residency, map);
	}
	map->smaps_resident_bytes = residency->areas.count ? 0 : HW_UNKNOWN_BYTES;
	hw_vec_foreach(area, &residency->areas)
	{
		map->smaps_resident_bytes += area->resident_bytes;
		map->hugetlb_bytes += area->hugetlb_bytes;
	}
}

// ---- both ----

static void hw_sum_add(struct hw_map_sum *to, const struct hw_map_sum *from)
{
	to->virtual_bytes += from->virtual_bytes;
	to->pages.resident_bytes += from->pages.resident_bytes;
	to->pages.swapped_bytes += from->pages.swapped_bytes;
	to->pages.huge_bytes += from->pages.huge_bytes;
	to->pages.missing_bytes += from->pages.missing_bytes;
}

struct hw_error *hw_process_map_make(const struct hw_heap *heap, const struct hw_target *target,
				     const struct hw_other_malloc *other,
				     const struct hw_residency *residency,
				     struct hw_progress *progress, struct hw_process_map *ret)
{
	struct hw_process_map map = {
		.source = residency->source,
		.knows_swapped = residency->source == HW_RESIDENCY_KERNEL,
		.knows_huge = residency->source == HW_RESIDENCY_KERNEL && residency->knows_huge,
	};
	if (other->name)
		snprintf(map.other_malloc, sizeof(map.other_malloc), "%s%s", other->name,
			 strstr(other->name, "'s ") ? "" : "'s memory");
	HW_TRY(hw_map_private(heap, residency, progress, &map));
	hw_map_elsewhere(target, residency, &map);
	for (unsigned i = 0; i < HW_LINE_COUNT; i++)
		hw_sum_add(i < HW_LINE_FIRST_ELSEWHERE ? &map.private_writable : &map.elsewhere,
			   &map.lines[i]);
	*ret = map;
	return NULL;
}
