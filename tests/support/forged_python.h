/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the forged Pythons have in common: where the members of their structures are (the numbers are those of a
// GIL build of 3.12, nearly), and a pool and a type at these places.
#ifndef FORGED_PYTHON_H
#define FORGED_PYTHON_H

#include <string.h>

#include "cpython/mimalloc.h"
#include "cpython/types.h"
#include "layout/python.h"

enum {
	// Of a type.
	OFF_NAME = 24,
	OFF_BASICSIZE = 32,
	OFF_ITEMSIZE = 40,
	OFF_FLAGS = 168,
	OFF_BASE = 256,
	OFF_DICTOFFSET = 288,
	GC_HEAD = 16,
	// Of an interpreter, then of its obmalloc state.
	OFF_OBMALLOC = 64,
	OFF_USED = 0,
	OFF_ARENAS = 512,
	OFF_MAXARENAS = 520,
	OFF_NARENAS = 1064,
	POOL = 4096,
	POOL_HEADER = 48,
	ARENA = 256 << 10,
	ARENA_OBJECT = 48,
	// Of a mimalloc segment: where its slices' table begins, and an entry of it.
	MI_SLICES = 64,
	MI_PAGE_BYTES = 112,
	MI_HEAP_BYTES = 256,
};

// A target of one writable mapping, whose bytes are borrowed. Once in a program.
static inline struct hw_error *forged_open(hw_addr_t base, const uint8_t *bytes, size_t len,
					   struct hw_target **ret)
{
	static struct hw_image_piece piece;
	piece = (struct hw_image_piece){ .addr = base,
					 .bytes = bytes,
					 .len = len,
					 .flags = HW_MAP_READ | HW_MAP_WRITE,
					 .path = "" };
	return hw_target_open_image(&piece, 1, ret);
}

static inline void put64(void *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

static inline void put32(void *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

// HW_ABSENT everywhere: what a test does not forge.
static inline void forged_layout(struct hw_python_layout *l)
{
	memset(l, 0xff, sizeof(*l));
	l->str_state_shift = 0;
	l->word_bytes = 8;
}

static inline void forged_layout_obmalloc(struct hw_python_layout *l)
{
	l->obmalloc_is_pointer = false;
	l->usedpools_count = 64;
	l->pool_header_size = POOL_HEADER;
	l->pool_ref_count = 0;
	l->pool_freeblock = 8;
	l->pool_nextpool = 16;
	l->pool_prevpool = 24;
	l->pool_arenaindex = 32;
	l->pool_szidx = 36;
	l->pool_nextoffset = 40;
	l->pool_maxnextoffset = 44;
	l->arena_object_size = ARENA_OBJECT;
	l->arena_address = 0;
	l->arena_pool_address = 8;
	l->arena_nfreepools = 16;
	l->arena_ntotalpools = 20;
	l->arena_freepools = 24;
	l->obmalloc_state_size = 2048;
	l->interp_obmalloc = OFF_OBMALLOC;
	l->obmalloc_used = OFF_USED;
	l->obmalloc_arenas = OFF_ARENAS;
	l->obmalloc_maxarenas = OFF_MAXARENAS;
	l->obmalloc_arenas_allocated = OFF_NARENAS;
}

// Dicts, sets and strings.
static inline void forged_layout_containers(struct hw_python_layout *l)
{
	l->dict_ma_used = 16;
	l->dict_ma_keys = 32;
	l->dict_ma_values = 40;
	l->dict_values = 0;
	l->keys_log2_index_bytes = 9;
	l->keys_kind = 10;
	l->keys_nentries = 24;
	l->keys_indices = 32;
	l->keys_entry_size = 24;
	l->keys_entry_key = 8;
	l->keys_entry_value = 16;
	l->keys_text_entry_size = 16;
	l->keys_text_entry_key = 0;
	l->keys_text_entry_value = 8;
	l->set_used = 24;
	l->set_mask = 32;
	l->set_table = 40;
	l->setentry_size = 16;
	l->setentry_key = 0;
	l->setentry_hash = 8;
	l->str_ascii_size = 40;
	l->str_compact_size = 56;
	l->str_length = 16;
	l->str_state = 32;
	l->str_data = 56;
}

static inline void forged_layout_objects(struct hw_python_layout *l)
{
	l->object_size = 16;
	l->ob_refcnt = 0;
	l->ob_type = 8;
	l->ob_size = 16;
	l->gc_head_size = GC_HEAD;
	l->type_size = 416;
	l->tp_name = OFF_NAME;
	l->tp_basicsize = OFF_BASICSIZE;
	l->tp_itemsize = OFF_ITEMSIZE;
	l->tp_flags = OFF_FLAGS;
	l->tp_base = OFF_BASE;
	l->tp_dictoffset = OFF_DICTOFFSET;
	l->ht_tpname = 888;
	l->long_lv_tag = 16;
	l->list_ob_item = 24;
}

// The pool at `start`, whose bytes begin at `pool`. Its first `carved` blocks were handed out; `freed` of them,
// from the last down, are on its list.
static inline void forged_pool(uint8_t *pool, hw_addr_t start, unsigned arena, unsigned szidx,
			       unsigned carved, unsigned freed)
{
	unsigned size = (szidx + 1) * 16;
	hw_addr_t head = 0;
	for (unsigned i = 0; i < freed; i++) {
		unsigned offset = POOL_HEADER + (carved - 1 - i) * size;
		put64(pool + offset, head);
		head = start + offset;
	}
	put32(pool, carved - freed);
	put64(pool + 8, head);
	put32(pool + 32, arena);
	put32(pool + 36, szidx);
	put32(pool + 40, POOL_HEADER + carved * size);
	put32(pool + 44, POOL - size);
}

// A ready type, whose bytes begin at `type`; its name is at the address `name`.
static inline void forged_type(uint8_t *type, hw_addr_t metatype, hw_addr_t name, uint64_t flags,
			       uint64_t basicsize, uint64_t itemsize)
{
	put64(type, 1);
	put64(type + 8, metatype);
	put64(type + OFF_NAME, name);
	put64(type + OFF_BASICSIZE, basicsize);
	put64(type + OFF_ITEMSIZE, itemsize);
	put64(type + OFF_FLAGS, flags | HW_TPFLAGS_READY);
}

// Include/internal/mimalloc/mimalloc/types.h, 3.13
static inline void forged_layout_mimalloc(struct hw_python_layout *l)
{
	l->mi_segment_size = MI_SLICES + (HW_MI_SLICES + 1) * MI_PAGE_BYTES;
	l->mi_segment_used = 0;
	l->mi_segment_cookie = 8;
	l->mi_segment_segment_slices = 16;
	l->mi_segment_info_slices = 24;
	l->mi_segment_kind = 32;
	l->mi_segment_slice_entries = 40;
	l->mi_segment_thread_id = 48;
	l->mi_segment_slices = MI_SLICES;
	l->mi_page_size = MI_PAGE_BYTES;
	l->mi_page_slice_count = 0;
	l->mi_page_slice_offset = 4;
	l->mi_page_capacity = 10;
	l->mi_page_reserved = 12;
	l->mi_page_free = 16;
	l->mi_page_used = 24;
	l->mi_page_xblock_size = 28;
	l->mi_page_local_free = 32;
	l->mi_page_xthread_free = 40;
	l->mi_page_xheap = 48;
	l->mi_heap_size = MI_HEAP_BYTES;
	l->mi_heap_thread_delayed_free = 0;
	l->mi_heap_thread_id = 8;
	l->mi_heap_cookie = 16;
	l->mi_heap_keys = 24;
	l->mi_heap_page_count = 40;
}

#endif
