/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The ledger: private writable mappings cut into spans, without gap or overlap. What no allocator
// claims is named by plain.c.
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

// Everything that an allocator or the interpreter claims, sorted.
static bool hw_heap_claimed_spans(struct hw_heap *heap, hw_stretch_vec *spans)
{
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	const struct hw_glibc *glibc = heap->in.glibc;
	for (uint32_t i = 0; i < pm->arenas.count; i++) {
		hw_addr_t start = pm->arenas.data[i].start;
		if (pm->arenas.data[i].is_given_back)
			continue; // its memory may be somebody else's by now
		if (!hw_vec_push(spans, ((struct hw_stretch){ start, start + pm->arena_bytes,
							      HW_STRETCH_ARENA, i })))
			return false;
	}
	if (!hw_heap_add_segments(heap, spans))
		return false;
	for (uint32_t i = 0; i < glibc->regions.count; i++) {
		const struct hw_region *region = &glibc->regions.data[i];
		if (!hw_vec_push(spans, ((struct hw_stretch){ region->start, region->end,
							      HW_STRETCH_REGION, i })))
			return false;
	}
	if (!hw_heap_add_tails(heap, spans))
		return false;
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

struct hw_error *hw_heap_build_spans(struct hw_heap *heap)
{
	hw_stretch_vec claimed = { 0 };
	struct hw_plain plain = { 0 };
	const struct hw_target *target = heap->in.target;
	struct hw_issues *issues = heap->in.issues;
	bool ok = hw_heap_claimed_spans(heap, &claimed) && hw_plain_init(&plain, heap);
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
				ok = hw_heap_add_plain(heap, &plain, m, data, at, gap_end);
			at = gap_end;
			if (at < m->end && ok) {
				ok = hw_vec_push(&heap->spans, claimed.data[next]);
				at = done = claimed.data[next].end;
				next++;
			}
		}
	}
	hw_vec_deinit(&claimed);
	hw_plain_report(&plain, heap->in.issues);
	hw_plain_deinit(&plain);
	return ok ? NULL : &hw_enomem;
}
