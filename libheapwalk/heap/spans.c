/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The ledger: private writable mappings cut into spans, without gap or overlap. What no allocator
// claims is named by its mapping: a stack, a file's data; the rest is unknown, and shown as that.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "heap/heap_internal.h"

static int hw_stretch_order(const void *a, const void *b)
{
	const struct hw_stretch *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->kind > y->kind) - (x->kind < y->kind);
}

typedef HW_VEC(struct hw_stretch) hw_stretch_vec;

// Everything that an allocator or the interpreter claims, sorted.
static bool hw_heap_claimed_spans(struct hw_heap *heap, hw_stretch_vec *spans)
{
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	const struct hw_glibc *glibc = heap->in.glibc;
	for (uint32_t i = 0; i < pm->arenas.count; i++) {
		hw_addr_t start = pm->arenas.data[i].start;
		if (!hw_vec_push(spans, ((struct hw_stretch){ start, start + pm->arena_bytes,
							      HW_STRETCH_ARENA, i })))
			return false;
	}
	for (uint32_t i = 0; i < glibc->regions.count; i++) {
		const struct hw_region *region = &glibc->regions.data[i];
		if (!hw_vec_push(spans, ((struct hw_stretch){ region->start, region->end,
							      HW_STRETCH_REGION, i })))
			return false;
	}
	hw_vec_foreach(chunk, &heap->stack_chunks)
	{
		uint32_t id = hw_category_of_claim(&heap->categories, HW_CLAIM_STACK_CHUNK, "");
		if (!hw_vec_push(spans, ((struct hw_stretch){ chunk->start, chunk->end,
							      HW_STRETCH_PLAIN, id })))
			return false;
	}
	if (spans->count)
		qsort(spans->data, spans->count, sizeof(spans->data[0]), hw_stretch_order);
	// An allocator's own walk proves more than a chunk's say about its size.
	for (size_t i = 0; i + 1 < spans->count; i++)
		if (spans->data[i].kind == HW_STRETCH_PLAIN)
			spans->data[i].end = hw_min(spans->data[i].end, spans->data[i + 1].start);
	return true;
}

static const char *hw_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static uint32_t hw_file_category(struct hw_heap *heap, const char *path, const char *section)
{
	return hw_category_intern(&heap->categories,
				  &(struct hw_category){ .domain = "file",
							 .kind = hw_base_name(path),
							 .detail = section,
							 .state = HW_STATE_IN_USE,
							 .state_word = "in use" },
				  HW_CLAIM_KIND_COUNT);
}

static bool hw_heap_has_stack(const struct hw_heap *heap, hw_addr_t start, hw_addr_t end)
{
	const struct hw_target *target = heap->in.target;
	for (size_t i = 0; i < target->threads.count; i++)
		if (target->threads.data[i].sp >= start && target->threads.data[i].sp < end)
			return true;
	return false;
}

// Add [start, end) of mapping `m`, which nobody claims; `data` is the file mapping that ends where m
// starts, NULL when there is none.
static bool hw_heap_add_plain(struct hw_heap *heap, const struct hw_mapping *m,
			      const struct hw_mapping *data, hw_addr_t start, hw_addr_t end)
{
	uint32_t id = HW_CATEGORY_ANONYMOUS;
	if (hw_mapping_is_file(m)) {
		id = hw_file_category(heap, m->path, "data");
	} else if (!strcmp(m->path, "[stack]")) {
		id = HW_CATEGORY_STACK;
	} else if (hw_heap_has_stack(heap, m->start, m->end) && start == m->start) {
		id = HW_CATEGORY_THREAD_STACK;
	} else if (data && start == m->start) {
		hw_addr_t bss;
		uint64_t bytes;
		struct hw_module *module = hw_modules_at(heap->in.modules, data->start);
		if (module && hw_module_section(module, ".bss", &bss, &bytes) &&
		    bss + bytes > start && bss < end) {
			hw_addr_t bss_end = hw_min(hw_align_up(bss + bytes, HW_PAGE_BYTES), end);
			id = hw_file_category(heap, data->path, "bss");
			if (bss_end < end) {
				if (!hw_vec_push(&heap->spans,
						 ((struct hw_stretch){ start, bss_end,
								       HW_STRETCH_PLAIN, id })))
					return false;
				start = bss_end;
				id = HW_CATEGORY_ANONYMOUS;
			}
		}
	}
	return hw_vec_push(&heap->spans, ((struct hw_stretch){ start, end, HW_STRETCH_PLAIN, id }));
}

struct hw_error *hw_heap_build_spans(struct hw_heap *heap)
{
	hw_stretch_vec claimed = { 0 };
	const struct hw_target *target = heap->in.target;
	struct hw_issues *issues = heap->in.issues;
	bool ok = hw_heap_claimed_spans(heap, &claimed);
	size_t next = 0;
	hw_addr_t done = 0; // everything below is settled
	const struct hw_mapping *before = NULL;
	for (size_t i = 0; ok && i < target->mappings.count; i++) {
		const struct hw_mapping *m = &target->mappings.data[i];
		const struct hw_mapping *data = before && before->end == m->start &&
								hw_mapping_is_file(before)
							? before
							: NULL;
		before = m;
		if (!hw_mapping_is_private_writable(m))
			continue;
		heap->ledger.mapped_bytes += m->end - m->start;
		hw_addr_t at = hw_max(m->start, done);
		while (ok && at < m->end) {
			while (next < claimed.count && claimed.data[next].start < at) {
				const struct hw_stretch *lost = &claimed.data[next++];
				hw_issues_add(issues, HW_ERROR_INVARIANT, lost->start,
					      "span %#llx-%#llx: overlaps another one, or is in no "
					      "private writable mapping",
					      (unsigned long long)lost->start,
					      (unsigned long long)lost->end);
			}
			hw_addr_t gap_end = m->end;
			if (next < claimed.count && claimed.data[next].start < m->end)
				gap_end = claimed.data[next].start;
			if (gap_end > at)
				ok = hw_heap_add_plain(heap, m, data, at, gap_end);
			at = gap_end;
			if (at < m->end && ok) {
				ok = hw_vec_push(&heap->spans, claimed.data[next]);
				at = done = claimed.data[next].end;
				next++;
			}
		}
	}
	hw_vec_deinit(&claimed);
	return ok ? NULL : &hw_enomem;
}
