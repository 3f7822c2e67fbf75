/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The slice allocator (glib/gslice.c, GLib 2.14 – 2.74; removed in 2.76). `allocator`, a static in .bss, is
// found by its own sizes: pages are powers of two, and the largest chunk is what fits eight times into the
// larger of them. From it hang, for each size of chunks, a ring of slabs, each with a list of free chunks,
// and the depot of magazines; each thread has two magazines of free chunks besides.
//
// A slab does not say where its first chunk is: somewhere in the room that is left over ("colour"). A free
// chunk tells, or the objects do; where neither does, the slab stays one block.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "native/gslice.h"

enum { P2ALIGNMENT = 16, PADDING = 16, SLAB_INFO_BYTES = 48, CHUNKS_A_SLAB = 8 };
// struct Allocator
enum {
	AL_MIN_PAGE = 0,
	AL_MAX_PAGE = 8,
	AL_ALWAYS_MALLOC = 16,
	AL_BYPASS = 20,
	AL_DEBUG = 24,
	AL_WORKING_SET = 32,
	AL_MAX_CHUNK = 48, // for magazines; 0 without
	AL_MAGAZINES = 64,
	AL_SLABS = 104,
	AL_BYTES = 120,
};
// struct SlabInfo, at the end of its page
enum { SLAB_CHUNKS = 0, SLAB_ALLOCATED = 8, SLAB_NEXT = 16, SLAB_PREV = 24, SLAB_BYTES = 32 };
enum { LINK_NEXT = 0, LINK_DATA = 8 }; // struct ChunkLink
enum { THREAD_HEAD = 16, MAGAZINE_BYTES = 16, MAGAZINE_COUNT = 8 };
enum {
	PAGE_MIN = 128, // where posix_memalign() gives pages; else the system's
	PAGE_MAX = 128 * 1024,
	WORKING_SET_MAX = 100 * 1000 * 1000, // ms
	SECTION_MAX = 1 << 20,
	SLAB_CHUNKS_MAX = PAGE_MAX / P2ALIGNMENT,
};

struct hw_gslice {
	uint64_t min_page, max_page;
	uint32_t sizes; // of chunks: (1 … sizes) × P2ALIGNMENT
	hw_addr_t magazines, slabs;
	pthread_mutex_t lock;
	HW_VEC(hw_addr_t) threads; // their caches
	HW_VEC(hw_addr_t) free;    // chunks that no slab's list has, sorted
};

static bool hw_is_power_of_two(uint64_t value)
{
	return value && !(value & (value - 1));
}

static bool hw_gslice_is_allocator(const uint8_t *al, struct hw_gslice *ret)
{
	uint64_t min = hw_u64(al + AL_MIN_PAGE), max = hw_u64(al + AL_MAX_PAGE);
	if (min < PAGE_MIN || max < min || max > PAGE_MAX || !hw_is_power_of_two(min) ||
	    !hw_is_power_of_two(max))
		return false;
	uint64_t largest = (max - SLAB_INFO_BYTES) / CHUNKS_A_SLAB;
	uint32_t bypass = hw_u32(al + AL_BYPASS);
	if (hw_u32(al + AL_ALWAYS_MALLOC) || bypass > 1 || hw_u32(al + AL_DEBUG) > 1 ||
	    hw_u64(al + AL_MAX_CHUNK) != (bypass ? 0 : largest) ||
	    hw_u64(al + AL_WORKING_SET) > WORKING_SET_MAX || !hw_u64(al + AL_SLABS) ||
	    hw_u64(al + AL_SLABS) & 7 || hw_u64(al + AL_MAGAZINES) & 7)
		return false;
	ret->min_page = min;
	ret->max_page = max;
	ret->sizes = (uint32_t)(largest / P2ALIGNMENT);
	ret->magazines = hw_u64(al + AL_MAGAZINES);
	ret->slabs = hw_u64(al + AL_SLABS);
	return true;
}

struct hw_error *hw_gslice_find(const struct hw_native *native, struct hw_gslice **ret)
{
	struct hw_module *glib = hw_native_library(native, "libglib-2.0", "g_slice_alloc");
	hw_addr_t addr;
	uint64_t bytes;
	if (!glib || !hw_module_section(glib, ".bss", &addr, &bytes) || bytes > SECTION_MAX) {
		if (glib)
			hw_native_lacks_module(native, glib);
		return NULL;
	}
	struct hw_gslice *slices = calloc(1, sizeof(*slices));
	uint8_t *bss = slices ? malloc(bytes + 1) : NULL;
	if (!bss) {
		free(slices);
		return &hw_enomem;
	}
	bytes = hw_target_read_some(native->target, addr, bss, bytes);
	bool is_found = false;
	for (size_t at = 0; at + AL_BYTES <= bytes && !is_found; at += 8)
		is_found = hw_gslice_is_allocator(bss + at, slices);
	free(bss);
	if (!is_found) {
		free(slices);
		return NULL;
	}
	pthread_mutex_init(&slices->lock, NULL);
	*ret = slices;
	return NULL;
}

void hw_gslice_destroy(struct hw_gslice *slices)
{
	if (!slices)
		return;
	pthread_mutex_destroy(&slices->lock);
	hw_vec_deinit(&slices->threads);
	hw_vec_deinit(&slices->free);
	free(slices);
}

bool hw_gslice_is_thread_memory(struct hw_gslice *slices, const struct hw_native_block *block)
{
	uint64_t half = (uint64_t)slices->sizes * MAGAZINE_BYTES;
	if (block->len < THREAD_HEAD || block->capacity < THREAD_HEAD + 2 * half ||
	    hw_u64(block->bytes) != block->start + THREAD_HEAD ||
	    hw_u64(block->bytes + 8) != block->start + THREAD_HEAD + half)
		return false;
	pthread_mutex_lock(&slices->lock);
	bool ok = hw_vec_push(&slices->threads, block->start);
	pthread_mutex_unlock(&slices->lock);
	return ok;
}

// ---- free chunks -------------------------------------------------------------------------------

// A list of `count` chunks, linked by their first word. False: it has fewer.
static bool hw_gslice_add_free(struct hw_gslice *slices, struct hw_native_sink *sink, hw_addr_t at,
			       uint64_t count)
{
	hw_addr_t mark = 0; // Brent: moves up to the walker at every power of two
	for (uint64_t i = 0; i < count; i++) {
		if (!at || at == mark || at & (P2ALIGNMENT - 1) || !hw_native_step(sink) ||
		    !hw_vec_push(&slices->free, at) ||
		    !hw_pages_read_u64(sink->pages, at + LINK_NEXT, &at))
			return false;
		if (!(i & (i + 1)))
			mark = slices->free.data[slices->free.count - 1];
	}
	return true;
}

static void hw_gslice_read_threads(struct hw_gslice *slices, struct hw_native_sink *sink)
{
	hw_vec_foreach(thread, &slices->threads)
	{
		for (uint32_t i = 0; i < 2 * slices->sizes; i++) {
			hw_addr_t magazine = *thread + THREAD_HEAD + (uint64_t)i * MAGAZINE_BYTES;
			uint64_t chunks, count;
			if (!hw_pages_read_u64(sink->pages, magazine, &chunks) ||
			    !hw_pages_read_u64(sink->pages, magazine + MAGAZINE_COUNT, &count))
				break;
			hw_gslice_add_free(slices, sink, chunks, count);
		}
	}
}

// The first four chunks of a magazine in the depot have in `data`: the magazine before, the one after, when
// it came, how many chunks it has.
static bool hw_gslice_read_magazine(struct hw_gslice *slices, struct hw_native_sink *sink,
				    hw_addr_t at, hw_addr_t *ret_next)
{
	uint64_t data[4];
	hw_addr_t chunk = at;
	for (unsigned i = 0; i < 4; i++)
		if (!chunk || !hw_pages_read_u64(sink->pages, chunk + LINK_DATA, &data[i]) ||
		    !hw_pages_read_u64(sink->pages, chunk + LINK_NEXT, &chunk))
			return false;
	*ret_next = data[1];
	return hw_gslice_add_free(slices, sink, at, data[3]);
}

static void hw_gslice_read_depot(struct hw_gslice *slices, struct hw_native_sink *sink)
{
	for (uint32_t i = 0; slices->magazines && i < slices->sizes; i++) {
		uint64_t first, at;
		if (!hw_pages_read_u64(sink->pages, slices->magazines + 8 * (hw_addr_t)i, &first))
			return;
		at = first;
		while (at && hw_native_step(sink) &&
		       hw_gslice_read_magazine(slices, sink, at, &at) && at != first)
			;
	}
}

static int hw_addr_order(const void *a, const void *b)
{
	hw_addr_t x = *(const hw_addr_t *)a, y = *(const hw_addr_t *)b;
	return x < y ? -1 : x > y;
}

// ---- slabs -------------------------------------------------------------------------------------

struct hw_slab {
	hw_addr_t start, end;              // of what is cut into chunks
	uint32_t chunk_bytes, count, room; // room: what is left over
	HW_VEC(hw_addr_t) free;
};

// The addresses of its free chunks: of its own list, and of the magazines.
static bool hw_slab_find_free(const struct hw_gslice *slices, struct hw_native_sink *sink,
			      hw_addr_t chunk, struct hw_slab *slab)
{
	for (uint32_t i = 0; chunk; i++)
		if (i == slab->count || chunk < slab->start || chunk >= slab->end ||
		    !hw_vec_push(&slab->free, chunk) ||
		    !hw_pages_read_u64(sink->pages, chunk + LINK_NEXT, &chunk))
			return false;
	size_t low = 0, high = slices->free.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (slices->free.data[middle] < slab->start)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < slices->free.count && slices->free.data[low] < slab->end; low++)
		if (!hw_vec_push(&slab->free, slices->free.data[low]))
			return false;
	return true;
}

// How many chunks are objects of a known type when the first is at `colour`.
static uint32_t hw_slab_count_objects(const struct hw_slab *slab, uint32_t colour,
				      const struct hw_gtypes *types, const uint8_t *bytes)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < slab->count; i++) {
		size_t at = colour + (size_t)i * slab->chunk_bytes;
		found += hw_gtypes_match(types, bytes + at, slab->chunk_bytes, slab->chunk_bytes) !=
			 NULL;
	}
	return found;
}

// Where the first chunk is. False: nothing tells.
static bool hw_slab_colour(const struct hw_slab *slab, const struct hw_gtypes *types,
			   struct hw_native_sink *sink, uint32_t *ret)
{
	if (slab->free.count) {
		*ret = (uint32_t)((slab->free.data[0] - slab->start) % slab->chunk_bytes);
		return *ret <= slab->room;
	}
	*ret = 0;
	if (slab->room <= P2ALIGNMENT)
		return true; // the colour is less than the room, in steps of P2ALIGNMENT
	size_t len = (size_t)(slab->end - slab->start);
	uint8_t *bytes = types ? malloc(len) : NULL;
	uint32_t proofs = 0;
	if (bytes && hw_pages_read(sink->pages, slab->start, bytes, len))
		for (uint32_t at = 0; at < slab->room; at += P2ALIGNMENT)
			if (hw_slab_count_objects(slab, at, types, bytes)) {
				*ret = at;
				proofs++;
			}
	free(bytes);
	return proofs == 1;
}

static void hw_slab_split(const struct hw_slab *slab, uint32_t colour, struct hw_native_sink *sink)
{
	static const struct hw_native_kind whole = { "GLib", "GSlice slab", "" };
	uint64_t is_free[SLAB_CHUNKS_MAX / 64 + 1] = { 0 };
	for (size_t i = 0; i < slab->free.count; i++) {
		uint64_t offset = slab->free.data[i] - slab->start - colour;
		uint64_t n = offset / slab->chunk_bytes;
		if (slab->free.data[i] < slab->start + colour || offset % slab->chunk_bytes ||
		    n >= slab->count || is_free[n / 64] >> n % 64 & 1) {
			sink->claim(sink, slab->start, &whole); // damaged
			return;
		}
		is_free[n / 64] |= 1ull << n % 64;
	}
	const struct hw_native_run run = { slab->start + colour, slab->chunk_bytes, slab->count,
					   is_free };
	sink->split(sink, &(struct hw_native_slab){ .start = slab->start,
						    .runs = &run,
						    .run_count = 1,
						    .overhead = { "GLib", "GSlice", "overhead" },
						    .free = { "GLib", "free slice", "" } });
}

static void hw_gslice_visit_slab(const struct hw_gslice *slices, const struct hw_gtypes *types,
				 struct hw_native_sink *sink, uint32_t chunk_bytes, hw_addr_t info,
				 const uint8_t *bytes)
{
	uint64_t page = slices->min_page, capacity;
	while (page < (uint64_t)chunk_bytes * CHUNKS_A_SLAB + SLAB_INFO_BYTES)
		page *= 2;
	struct hw_slab slab = { .start = info + SLAB_INFO_BYTES - page, .end = info };
	uint64_t usable = page - SLAB_INFO_BYTES;
	uint32_t colour;
	slab.chunk_bytes = chunk_bytes;
	slab.count = (uint32_t)(usable / chunk_bytes);
	slab.room = (uint32_t)(usable % chunk_bytes);
	if (slab.start & (page - 1) || page > slices->max_page ||
	    !sink->find(sink, slab.start, &capacity) || capacity < page - PADDING ||
	    hw_u32(bytes + SLAB_ALLOCATED) > slab.count)
		return;
	if (hw_slab_find_free(slices, sink, hw_u64(bytes + SLAB_CHUNKS), &slab) &&
	    hw_slab_colour(&slab, types, sink, &colour))
		hw_slab_split(&slab, colour, sink);
	else
		sink->claim(sink, slab.start,
			    &(struct hw_native_kind){ "GLib", "GSlice slab", "" });
	hw_vec_deinit(&slab.free);
}

void hw_gslice_split(struct hw_gslice *slices, const struct hw_gtypes *types,
		     struct hw_native_sink *sink)
{
	hw_gslice_read_threads(slices, sink);
	hw_gslice_read_depot(slices, sink);
	if (slices->free.count)
		qsort(slices->free.data, slices->free.count, sizeof(*slices->free.data),
		      hw_addr_order);
	for (uint32_t i = 0; i < slices->sizes; i++) {
		uint64_t first, at, prev = 0;
		uint8_t info[SLAB_BYTES];
		if (!hw_pages_read_u64(sink->pages, slices->slabs + 8 * (hw_addr_t)i, &first))
			return;
		// A ring; each slab points back at the one before.
		for (at = first; at && hw_native_step(sink); at = hw_u64(info + SLAB_NEXT)) {
			if (!hw_pages_read(sink->pages, at, info, sizeof(info)) ||
			    (prev && (at == first || hw_u64(info + SLAB_PREV) != prev)))
				break;
			hw_gslice_visit_slab(slices, types, sink, (i + 1) * P2ALIGNMENT, at, info);
			prev = at;
		}
	}
}
