/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The arrays of arena objects, and the geometry that the arenas themselves prove.
#include <inttypes.h>

#include "base/cleanup.h"
#include "cpython/obmalloc_internal.h"

enum {
	HW_ARENAS_CHUNK_BYTES = 1 << 16, // of an array, read at once
	HW_GEOMETRY_SAMPLE = 256,        // arenas whose first pool's header is looked at
};

// A new geometry: a row here. Objects/obmalloc.c, ARENA_BITS and POOL_BITS.
static const struct hw_geometry {
	uint32_t arena_bytes, pool_bytes;
} hw_geometries[] = {
	{ 256 << 10, 4 << 10 }, // up to 3.9
	{ 1 << 20, 16 << 10 },  // 3.10, together with the radix tree
	{ 2 << 20, 16 << 10 },  // 3.15 configured with huge pages
};
enum { HW_GEOMETRY_COUNT = sizeof(hw_geometries) / sizeof(hw_geometries[0]) };

static struct hw_arena hw_decode_arena(const struct hw_python_layout *layout, const uint8_t *object)
{
	return (struct hw_arena){
		.start = hw_word(object + layout->arena_address, layout->word_bytes),
		.pool_address = hw_word(object + layout->arena_pool_address, layout->word_bytes),
		.freepools = hw_word(object + layout->arena_freepools, layout->word_bytes),
		.pools_free = hw_u32(object + layout->arena_nfreepools),
		.pools_total = hw_u32(object + layout->arena_ntotalpools),
	};
}

struct hw_error *hw_obmalloc_read_arenas(struct hw_target *target,
					 const struct hw_python_layout *layout,
					 const struct hw_obmalloc_roots *roots,
					 uint32_t state_index, struct hw_issues *issues,
					 struct hw_pymalloc *pm)
{
	struct hw_pymalloc_state *state = &pm->states.data[state_index];
	uint64_t array;
	uint32_t count;
	if (!roots->arenas)
		return NULL; // proved to have none
	if (!hw_target_read_word(target, roots->arenas, &array) ||
	    !hw_obmalloc_read_u32(target, roots->max_arenas, &count))
		return hw_error_at(HW_ERROR_FAULT, roots->arenas,
				   "obmalloc's arenas and maxarenas at 0x%" PRIx64 " can't be read",
				   roots->arenas);
	state->max_arenas = count;
	if (!array && !count)
		return NULL;
	if (!array || array % layout->word_bytes || !count || count > HW_MAX_ARENAS)
		return hw_error_at(HW_ERROR_CORRUPT, roots->arenas,
				   "obmalloc's arenas is 0x%" PRIx64 " and maxarenas %" PRIu32
				   ": they can't both be right",
				   array, count);
	state->arena_objects = array;
	size_t size = (size_t)layout->arena_object_size;
	uint32_t per_chunk = (uint32_t)(HW_ARENAS_CHUNK_BYTES / size);
	hw_cleanup_free uint8_t *chunk = malloc(per_chunk * size);
	if (!chunk)
		return &hw_enomem;
	for (uint32_t at = 0; at < count;) {
		uint32_t want = (uint32_t)hw_min(per_chunk, count - at);
		hw_addr_t addr = array + (uint64_t)at * size;
		uint32_t got =
			(uint32_t)(hw_target_read_some(target, addr, chunk, want * size) / size);
		for (uint32_t i = 0; i < got; i++) {
			struct hw_arena arena = hw_decode_arena(layout, chunk + i * size);
			if (!arena.start)
				continue;
			arena.arena_object = addr + i * size;
			arena.index = at + i;
			arena.interpreter = state_index;
			if (!hw_vec_push(&pm->arenas, arena))
				return &hw_enomem;
		}
		at += got;
		if (got == want)
			continue;
		if (!at)
			return hw_error_at(HW_ERROR_FAULT, array,
					   "obmalloc's array of arena objects at 0x%" PRIx64
					   " can't be read",
					   array);
		hw_issues_add(issues, HW_ERROR_FAULT, array + (uint64_t)at * size,
			      "only %" PRIu32 " of the %" PRIu32 " arena objects at 0x%" PRIx64
			      " can be read",
			      at, count, array);
		break;
	}
	return NULL;
}

// Do an arena object's members agree under this geometry? new_arena() made them from it.
static bool hw_arena_fits(const struct hw_arena *arena, const struct hw_geometry *geometry)
{
	uint64_t pool = geometry->pool_bytes;
	if (arena->start % HW_POOL_BYTES_MIN || arena->start > INT64_MAX)
		return false;
	hw_addr_t first = hw_align_up(arena->start, pool);
	uint64_t total = geometry->arena_bytes / pool - (first != arena->start);
	return arena->pools_total == total && arena->pools_free <= total &&
	       arena->pool_address >= first && arena->pool_address <= first + total * pool &&
	       (arena->pool_address - first) % pool == 0;
}

// maxnextoffset is POOL_SIZE - block size in every pool that was ever carved, empty ones too.
static bool hw_header_proves(const struct hw_python_layout *layout, const uint8_t *header,
			     uint32_t arena_index, uint32_t pool_bytes, uint32_t alignment)
{
	uint64_t szidx = hw_u32(header + layout->pool_szidx);
	return szidx < HW_SMALL_REQUEST_THRESHOLD / alignment &&
	       hw_u32(header + layout->pool_arenaindex) == arena_index &&
	       (szidx + 1) * alignment + hw_u32(header + layout->pool_maxnextoffset) == pool_bytes;
}

// How many arenas have the objects that this geometry makes, and in how many of the first of them the
// first pool agrees as well. One system call for all these pools: the target may be stopped.
static void hw_weigh_geometry(struct hw_target *target, const struct hw_python_layout *layout,
			      const struct hw_pymalloc *pm, const struct hw_geometry *geometry,
			      uint32_t alignment, size_t *ret_fits, size_t *ret_proofs)
{
	struct hw_span spans[HW_GEOMETRY_SAMPLE];
	uint8_t headers[HW_GEOMETRY_SAMPLE * HW_POOL_HEADER_BYTES_MAX];
	uint32_t indices[HW_GEOMETRY_SAMPLE];
	size_t count = 0;
	*ret_fits = *ret_proofs = 0;
	hw_vec_foreach(arena, &pm->arenas)
	{
		if (!hw_arena_fits(arena, geometry))
			continue;
		++*ret_fits;
		hw_addr_t first = hw_align_up(arena->start, geometry->pool_bytes);
		if (*ret_fits > HW_GEOMETRY_SAMPLE || arena->pool_address == first)
			continue;
		indices[count] = arena->index;
		spans[count++] = (struct hw_span){ .addr = first, .len = pm->header_bytes };
	}
	hw_target_read_many(target, spans, count, headers);
	for (size_t i = 0; i < count; i++)
		*ret_proofs += !spans[i].is_missing &&
			       hw_header_proves(layout, headers + i * pm->header_bytes, indices[i],
						geometry->pool_bytes, alignment);
}

// The row that is usual where the layout has a radix tree of arenas or has none.
static unsigned hw_usual_geometry(const struct hw_python_layout *layout)
{
	return layout->arena_map_bot_size == HW_ABSENT ? 0 : 1;
}

uint32_t hw_obmalloc_usual_arena_bytes(const struct hw_python_layout *layout)
{
	return hw_geometries[hw_usual_geometry(layout)].arena_bytes;
}

struct hw_error *hw_obmalloc_prove_geometry(struct hw_target *target,
					    const struct hw_python_layout *layout,
					    struct hw_pymalloc *pm)
{
	// Without a proof by usedpools the pools tell the alignment: 16, or 8 in old 2.7, 3.6, 3.7.
	uint32_t alignments[2] = { 16, 8 };
	unsigned alignment_count = 2;
	if (pm->alignment) {
		alignments[0] = pm->alignment;
		alignment_count = 1;
	}
	unsigned usual = hw_usual_geometry(layout);
	pm->arena_bytes = hw_geometries[usual].arena_bytes;
	pm->pool_bytes = hw_geometries[usual].pool_bytes;
	pm->alignment = alignments[0];
	size_t best = 0, best_fits = 0;
	for (unsigned i = 0; i < HW_GEOMETRY_COUNT * alignment_count; i++) {
		const struct hw_geometry *geometry =
			&hw_geometries[(i / alignment_count + usual) % HW_GEOMETRY_COUNT];
		uint32_t alignment = alignments[i % alignment_count];
		size_t fits, proofs;
		hw_weigh_geometry(target, layout, pm, geometry, alignment, &fits, &proofs);
		if (fits + proofs <= best)
			continue;
		best = fits + proofs;
		best_fits = fits;
		pm->arena_bytes = geometry->arena_bytes;
		pm->pool_bytes = geometry->pool_bytes;
		pm->alignment = alignment;
	}
	pm->size_class_count = HW_SMALL_REQUEST_THRESHOLD / pm->alignment;
	if (best_fits * 2 < pm->arenas.count)
		return hw_error_at(HW_ERROR_CORRUPT, pm->arenas.data[0].arena_object,
				   "%zu of obmalloc's %zu arena objects contradict themselves, the "
				   "first at 0x%" PRIx64 ": no known size of arenas and pools fits",
				   pm->arenas.count - best_fits, pm->arenas.count,
				   pm->arenas.data[0].arena_object);
	return NULL;
}

bool hw_obmalloc_arena_is_sound(const struct hw_pymalloc *pm, const struct hw_arena *arena)
{
	struct hw_geometry geometry = { pm->arena_bytes, pm->pool_bytes };
	return hw_arena_fits(arena, &geometry);
}

// What a pool says of itself without an arena that leads to it: its block size, where its free list begins,
// how many blocks are in use.
static bool hw_is_unlisted_pool(const struct hw_pymalloc *pm, const struct hw_python_layout *layout,
				hw_addr_t pool, const uint8_t *header)
{
	uint64_t szidx = hw_u32(header + layout->pool_szidx);
	uint64_t block = (szidx + 1) * pm->alignment,
		 free = hw_word(header + layout->pool_freeblock, pm->word_bytes);
	return szidx < pm->size_class_count &&
	       hw_u32(header + layout->pool_arenaindex) < HW_MAX_ARENAS &&
	       block + hw_u32(header + layout->pool_maxnextoffset) == pm->pool_bytes &&
	       hw_u32(header + layout->pool_ref_count) <=
		       (pm->pool_bytes - pm->header_bytes) / block &&
	       (!free || (free > pool && free - pool < pm->pool_bytes));
}

uint64_t hw_pymalloc_count_unlisted(const struct hw_pymalloc *pymalloc,
				    const struct hw_python_layout *layout, hw_addr_t start,
				    hw_addr_t end)
{
	struct hw_span spans[HW_GEOMETRY_SAMPLE];
	uint8_t headers[HW_GEOMETRY_SAMPLE * HW_POOL_HEADER_BYTES_MAX];
	uint64_t found = 0;
	const uint64_t step = pymalloc->pool_bytes;
	for (hw_addr_t at = hw_align_up(start, step); at < end && end - at >= step;) {
		size_t count = 0;
		for (; count < HW_GEOMETRY_SAMPLE && at < end && end - at >= step; at += step)
			spans[count++] = (struct hw_span){ .addr = at,
							   .len = pymalloc->header_bytes };
		hw_target_read_many(pymalloc->target, spans, count, headers);
		for (size_t i = 0; i < count; i++)
			found += !spans[i].is_missing &&
				 hw_is_unlisted_pool(pymalloc, layout, spans[i].addr,
						     headers + i * pymalloc->header_bytes);
	}
	return found;
}
