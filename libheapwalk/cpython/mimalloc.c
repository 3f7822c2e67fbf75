/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Segments and their pages.
#include "cpython/mimalloc.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cpython/mimalloc_internal.h"

enum {
	HW_MI_SEGMENT_NORMAL = 0,
	HW_MI_SEGMENT_HUGE = 1,
	// types.h: sizes of 2 GiB and more don't fit xblock_size, which then says this
	HW_MI_SIZE_BITS = 31,
	HW_MI_STRUCT_BYTES_MAX = 128 << 10,
	HW_MI_HEADER_BYTES_MAX = 1024, // of a segment, before its slices
	HW_MI_VOTERS = 256,
	HW_MI_TAG_BITS = 15,
};

bool hw_mi_variable(const struct hw_python *python, const char *name, hw_addr_t *ret)
{
	struct hw_symbol symbol;
	if (!python->module)
		return false;
	if (hw_module_symbol(python->module, name, &symbol) && !symbol.is_tls) {
		*ret = symbol.address;
		return true;
	}
	return hw_python_static(python, "obmalloc.c", name, ret);
}

// The debug information may be of a damaged file: nothing is indexed by it before this.
static bool hw_mi_layout_is_sound(const struct hw_python_layout *l)
{
	const int32_t segment[] = { l->mi_segment_used,           l->mi_segment_cookie,
				    l->mi_segment_segment_slices, l->mi_segment_info_slices,
				    l->mi_segment_kind,           l->mi_segment_slice_entries,
				    l->mi_segment_thread_id,      l->mi_segment_slices };
	const int32_t page[] = { l->mi_page_slice_count,  l->mi_page_slice_offset,
				 l->mi_page_capacity,     l->mi_page_reserved,
				 l->mi_page_free,         l->mi_page_local_free,
				 l->mi_page_xthread_free, l->mi_page_used,
				 l->mi_page_xheap };
	const int32_t optional[] = { l->mi_page_keys, l->mi_page_xblock_size, l->mi_page_block_size,
				     l->mi_page_page_start };
	const int32_t tags[] = { l->mi_page_heap_tag,
				 l->mi_page_tag_bit == HW_ABSENT ? HW_ABSENT
								 : l->mi_page_tag_bit / 8,
				 l->mi_heap_tag };
	const int32_t heap[] = { l->mi_heap_thread_delayed_free, l->mi_heap_thread_id,
				 l->mi_heap_cookie, l->mi_heap_page_count };
	if (l->mi_segment_size <= 0 || l->mi_segment_size > HW_MI_STRUCT_BYTES_MAX ||
	    l->mi_page_size < 16 || l->mi_heap_size < 16 ||
	    l->mi_heap_size > HW_MI_STRUCT_BYTES_MAX)
		return false;
	if (l->mi_segment_slices > HW_MI_HEADER_BYTES_MAX - 8)
		return false;
	for (size_t i = 0; i < sizeof(segment) / sizeof(segment[0]); i++)
		if (segment[i] < 0 || segment[i] > l->mi_segment_slices)
			return false;
	for (size_t i = 0; i < sizeof(page) / sizeof(page[0]); i++)
		if (page[i] < 0 || page[i] > l->mi_page_size - 8)
			return false;
	for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
		if (optional[i] > l->mi_page_size - (i ? 8 : 16))
			return false;
	for (size_t i = 0; i < sizeof(heap) / sizeof(heap[0]); i++)
		if (heap[i] < 0 || heap[i] > l->mi_heap_size - 8)
			return false;
	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++)
		if (tags[i] >= (i < 2 ? l->mi_page_size : l->mi_heap_size))
			return false;
	if (l->mi_page_tag_bit != HW_ABSENT && l->mi_page_tag_bit % 8 > 4)
		return false; // it would end in the next byte
	// One size or the other; the newer one says where the first block is, too.
	if ((l->mi_page_xblock_size == HW_ABSENT) == (l->mi_page_block_size == HW_ABSENT) ||
	    (l->mi_page_block_size == HW_ABSENT) != (l->mi_page_page_start == HW_ABSENT))
		return false;
	return (l->mi_segment_size - l->mi_segment_slices) / l->mi_page_size >= HW_MI_SLICES;
}

// ---- segments ----

// What a header says; false: it contradicts itself, or is one of a segment that was given back.
static bool hw_mi_segment_decode(const struct hw_python_layout *l, hw_addr_t addr,
				 const uint8_t *header, struct hw_mi_segment *ret)
{
	uint64_t slices = hw_u64(header + l->mi_segment_segment_slices);
	uint64_t info = hw_u64(header + l->mi_segment_info_slices);
	uint64_t entries = hw_u64(header + l->mi_segment_slice_entries);
	uint32_t kind = hw_u32(header + l->mi_segment_kind);
	uint64_t needed = hw_align_up((uint64_t)l->mi_segment_size, HW_MI_SLICE_BYTES) /
			  HW_MI_SLICE_BYTES;
	if (kind > HW_MI_SEGMENT_HUGE || info < needed || info > needed + 1 || slices <= info ||
	    slices > (UINT64_C(1) << HW_ADDRESS_BITS) / HW_MI_SLICE_BYTES ||
	    slices > (UINT64_MAX - addr) / HW_MI_SLICE_BYTES ||
	    entries != hw_min(slices, HW_MI_SLICES) ||
	    (kind == HW_MI_SEGMENT_NORMAL && slices != HW_MI_SLICES))
		return false;
	*ret = (struct hw_mi_segment){
		.start = addr,
		.end = addr + slices * HW_MI_SLICE_BYTES,
		.header_bytes = info * HW_MI_SLICE_BYTES,
		.thread_id = hw_u64(header + l->mi_segment_thread_id),
		.used = hw_u64(header + l->mi_segment_used),
		.secret = hw_u64(header + l->mi_segment_cookie) ^ addr,
		.is_huge = kind == HW_MI_SEGMENT_HUGE,
	};
	return ret->used && ret->used <= HW_MI_SLICES;
}

// Every aligned address of one mapping, from *next on.
static struct hw_error *hw_mi_scan_mapping(struct hw_mi_walk *walk, const struct hw_mapping *m,
					   hw_addr_t *next)
{
	struct hw_mimalloc *mi = walk->mi;
	struct hw_target *target = walk->target;
	uint8_t header[HW_MI_HEADER_BYTES_MAX];
	const size_t len = (size_t)walk->layout->mi_segment_slices + 8;
	hw_addr_t at = hw_align_up(hw_max(m->start, *next), HW_MI_SEGMENT_BYTES);
	while (at >= m->start && at < m->end && m->end - at >= len) {
		hw_addr_t nonzero = target->ops->skip_zeroes ? target->ops->skip_zeroes(target, at)
							     : at;
		if (nonzero - at >= HW_MI_SEGMENT_BYTES) {
			if (nonzero >= m->end)
				break;
			at = hw_align_down(nonzero, HW_MI_SEGMENT_BYTES);
			continue;
		}
		struct hw_mi_segment segment;
		bool is_one = hw_target_read_some(target, at, header, len) == len &&
			      hw_mi_segment_decode(walk->layout, at, header, &segment) &&
			      (!mi->main_heap || segment.secret == mi->secret);
		if (is_one && !hw_vec_push(&mi->segments, segment))
			return &hw_enomem;
		*next = is_one ? segment.end : at + 1;
		at = hw_align_up(*next, HW_MI_SEGMENT_BYTES);
	}
	return NULL;
}

// Without the symbol: the secret that most have is the process's.
static void hw_mi_vote(struct hw_mimalloc *mi)
{
	size_t most = 0, kept = 0;
	for (size_t i = 0; i < mi->segments.count; i++) {
		size_t votes = 0;
		// A few hundred stand for all.
		for (size_t k = 0; i < HW_MI_VOTERS && k < mi->segments.count; k++)
			votes += mi->segments.data[k].secret == mi->segments.data[i].secret;
		if (votes > most) {
			most = votes;
			mi->secret = mi->segments.data[i].secret;
		}
	}
	for (size_t i = 0; i < mi->segments.count; i++)
		if (mi->segments.data[i].secret == mi->secret)
			mi->segments.data[kept++] = mi->segments.data[i];
	mi->segments.count = kept;
}

static struct hw_error *hw_mi_find_segments(struct hw_mi_walk *walk)
{
	struct hw_mimalloc *mi = walk->mi;
	hw_addr_t next = 0, main_heap;
	if (hw_mi_variable(walk->python, "_mi_heap_main", &main_heap) &&
	    hw_pages_read_u64(&walk->pages, main_heap + (hw_addr_t)walk->layout->mi_heap_cookie,
			      &mi->secret))
		mi->main_heap = main_heap;
	// Nothing was ever allocated.
	if (mi->main_heap && !mi->secret)
		return NULL;
	hw_vec_foreach(m, &walk->target->mappings)
	{
		if (hw_mapping_is_private_writable(m) && *m->path != '/')
			HW_TRY(hw_mi_scan_mapping(walk, m, &next));
	}
	if (!mi->main_heap)
		hw_mi_vote(mi);
	return NULL;
}

// ---- pages ----

static uint64_t hw_mi_block_bytes(const struct hw_python_layout *l, const uint8_t *slice,
				  uint64_t bytes)
{
	if (l->mi_page_block_size != HW_ABSENT)
		return hw_u64(slice + l->mi_page_block_size);
	uint32_t size = hw_u32(slice + l->mi_page_xblock_size);
	return size >> HW_MI_SIZE_BITS ? bytes : size;
}

// segment.c _mi_segment_page_start_from_slice(): small pages don't begin with their first block.
static hw_addr_t hw_mi_first_block(const struct hw_python_layout *l, const uint8_t *slice,
				   const struct hw_mi_page *page)
{
	if (l->mi_page_page_start != HW_ABSENT)
		return hw_u64(slice + l->mi_page_page_start);
	uint64_t bytes = page->block_bytes;
	return page->start + (bytes > 512 ? 0 : bytes > 64 ? bytes : 3 * bytes);
}

static bool hw_mi_page_is_sound(const struct hw_mi_page *page)
{
	uint64_t before = page->first - page->start;
	return page->block_bytes && page->block_bytes % 8 == 0 && page->first >= page->start &&
	       before <= page->bytes && page->first % 8 == 0 && page->used <= page->capacity &&
	       page->capacity <= page->reserved &&
	       page->reserved <= (page->bytes - before) / page->block_bytes;
}

// A core that is cut: no room is made for blocks that nobody can see.
static bool hw_mi_is_readable(const struct hw_mi_walk *walk, const struct hw_mi_page *page)
{
	hw_addr_t end;
	return !walk->target->ops->next_readable ||
	       walk->target->ops->next_readable(walk->target, page->start, &end) <
		       page->start + page->bytes;
}

static enum hw_mi_tag hw_mi_page_tag(const struct hw_mimalloc *mi, const struct hw_python_layout *l,
				     const uint8_t *slice)
{
	unsigned tag = HW_MI_TAG_COUNT;
	if (mi->has_tags && l->mi_page_heap_tag != HW_ABSENT)
		tag = slice[l->mi_page_heap_tag];
	else if (mi->has_tags && l->mi_page_tag_bit != HW_ABSENT)
		tag = slice[l->mi_page_tag_bit / 8] >> l->mi_page_tag_bit % 8 & HW_MI_TAG_BITS;
	return hw_min(tag, HW_MI_TAG_COUNT);
}

static void hw_mi_page_decode(const struct hw_mi_walk *walk, const uint8_t *slice,
			      struct hw_mi_page *page)
{
	const struct hw_python_layout *l = walk->layout;
	page->block_bytes = hw_mi_block_bytes(l, slice, page->bytes);
	if (!page->block_bytes) {
		page->is_free = true;
		return;
	}
	page->first = hw_mi_first_block(l, slice, page);
	page->heap = hw_u64(slice + l->mi_page_xheap);
	page->free = hw_u64(slice + l->mi_page_free);
	page->local_free = hw_u64(slice + l->mi_page_local_free);
	page->thread_free = hw_u64(slice + l->mi_page_xthread_free) & ~(uint64_t)3;
	page->capacity = hw_u16(slice + l->mi_page_capacity);
	page->reserved = hw_u16(slice + l->mi_page_reserved);
	page->tag = (uint8_t)hw_mi_page_tag(walk->mi, l, slice);
	page->used = l->mi_page_page_start == HW_ABSENT ? hw_u32(slice + l->mi_page_used)
							: hw_u16(slice + l->mi_page_used);
	if (walk->mi->has_keys) {
		page->keys[0] = hw_u64(slice + l->mi_page_keys);
		page->keys[1] = hw_u64(slice + l->mi_page_keys + 8);
	}
	page->is_bad = !hw_mi_page_is_sound(page);
	page->is_missing = !page->is_bad && !hw_mi_is_readable(walk, page);
	if (page->is_bad)
		hw_issues_add(walk->issues, HW_ERROR_CORRUPT, page->header,
			      "the mimalloc page at 0x%" PRIx64 " contradicts itself: %" PRIu32
			      " of %" PRIu32 " blocks of %" PRIu64 " bytes in %" PRIu64,
			      page->start, page->capacity, page->reserved, page->block_bytes,
			      page->bytes);
}

// Slices from the header's own on; one that contradicts itself ends them: the rest is one bad page.
static struct hw_error *hw_mi_read_pages(struct hw_mi_walk *walk, struct hw_mi_segment *segment,
					 const uint8_t *slices)
{
	const struct hw_python_layout *l = walk->layout;
	struct hw_mimalloc *mi = walk->mi;
	uint64_t count = (segment->end - segment->start) / HW_MI_SLICE_BYTES;
	uint64_t entries = hw_min(count, HW_MI_SLICES),
		 i = segment->header_bytes / HW_MI_SLICE_BYTES;
	if (mi->pages.count > UINT32_MAX - HW_MI_SLICES)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "%zu pages of mimalloc are more than heapwalk can number",
				       mi->pages.count);
	segment->page_first = (uint32_t)mi->pages.count;
	while (i < entries) {
		const uint8_t *slice = slices + i * (uint64_t)l->mi_page_size;
		uint64_t length = hw_u32(slice + l->mi_page_slice_count);
		struct hw_mi_page page = {
			.start = segment->start + i * HW_MI_SLICE_BYTES,
			.header = segment->start + (hw_addr_t)l->mi_segment_slices +
				  i * (uint64_t)l->mi_page_size,
		};
		// A huge segment's page may have more slices than there is a table for.
		if (!length || length > count - i || hw_u32(slice + l->mi_page_slice_offset)) {
			hw_issues_add(walk->issues, HW_ERROR_CORRUPT, page.header,
				      "slice %" PRIu64 " of the mimalloc segment at 0x%" PRIx64
				      " contradicts itself: the segment is not known from there on",
				      i, segment->start);
			page.is_bad = true;
			length = count - i;
		}
		page.bytes = length * HW_MI_SLICE_BYTES;
		if (!page.is_bad)
			hw_mi_page_decode(walk, slice, &page);
		if (!hw_vec_push(&mi->pages, page))
			return &hw_enomem;
		i += length;
	}
	segment->page_count = (uint32_t)mi->pages.count - segment->page_first;
	return NULL;
}

static struct hw_error *hw_mi_read_segments(struct hw_mi_walk *walk, struct hw_progress *progress)
{
	const struct hw_python_layout *l = walk->layout;
	const size_t len = (size_t)l->mi_page_size * HW_MI_SLICES;
	hw_cleanup_free uint8_t *slices = malloc(len);
	if (!slices)
		return &hw_enomem;
	hw_vec_foreach(segment, &walk->mi->segments)
	{
		size_t got = hw_target_read_some(walk->target,
						 segment->start + (hw_addr_t)l->mi_segment_slices,
						 slices, len);
		// What can't be read contradicts itself: no slice is of no length.
		memset(slices + got, 0, len - got);
		HW_TRY(hw_mi_read_pages(walk, segment, slices));
		if (hw_progress_poll(progress))
			return hw_error_create(HW_ERROR_INTERRUPTED,
					       "interrupted while mimalloc's segments were read");
	}
	return NULL;
}

// ---- all of it ----

static struct hw_error *hw_mi_walk_all(struct hw_mi_walk *walk, struct hw_progress *progress)
{
	HW_TRY(hw_mi_find_segments(walk));
	if (!walk->mi->segments.count)
		return NULL;
	HW_TRY(hw_mi_read_segments(walk, progress));
	HW_TRY(hw_mi_find_heaps(walk));
	return hw_mi_find_areas(walk);
}

struct hw_error *hw_mimalloc_walk(struct hw_target *target, const struct hw_python *python,
				  struct hw_issues *issues, struct hw_progress *progress,
				  struct hw_mimalloc *ret)
{
	const struct hw_python_layout *l = &python->layout;
	*ret = (struct hw_mimalloc){ .target = target,
				     .layout = l,
				     .has_keys = l->mi_page_keys != HW_ABSENT,
				     .has_tags = l->ob_gc_bits != HW_ABSENT };
	if (l->mi_segment_size == HW_ABSENT) // up to 3.12
		return NULL;
	if (!hw_mi_layout_is_sound(l)) {
		hw_issues_add(issues, HW_ERROR_UNSUPPORTED, 0,
			      "CPython %s has mimalloc structures of unknown shape (%s): if it "
			      "allocates from mimalloc, those blocks are not seen",
			      python->version, python->facts);
		return NULL;
	}
	struct hw_mi_walk walk = {
		.target = target, .python = python, .layout = l, .issues = issues, .mi = ret
	};
	hw_pages_init(&walk.pages, target);
	struct hw_error *err = hw_mi_walk_all(&walk, progress);
	hw_pages_deinit(&walk.pages);
	if (err)
		hw_mimalloc_deinit(ret);
	return err;
}

void hw_mimalloc_deinit(struct hw_mimalloc *mi)
{
	hw_vec_deinit(&mi->segments);
	hw_vec_deinit(&mi->pages);
	hw_vec_deinit(&mi->heaps);
	hw_vec_deinit(&mi->areas);
	hw_vec_deinit(&mi->delayed);
	*mi = (struct hw_mimalloc){ 0 };
}
