/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the interpreter's own structures point at: they are no objects, so no pass over blocks finds
// their owners.
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "heap/heap_internal.h"

enum {
	HW_MAP_NODE_BYTES_MAX = 1 << 20, // of a radix tree node
	HW_BASES_MAX = 64,
};

void hw_root_claim(struct hw_worker *worker, hw_addr_t addr, enum hw_claim_kind kind,
		   const char *detail)
{
	if (addr)
		hw_worker_claim(&worker->sink, &(struct hw_claim){ .address = addr,
								   .kind = kind,
								   .detail = HW_DETAIL_TEXT,
								   .text = detail });
}

static bool hw_claim_interned(void *payload, const struct hw_symbol *symbol)
{
	struct hw_worker *worker = payload;
	uint64_t dict;
	if (!symbol->is_function && hw_pages_read_word(&worker->pages, symbol->address, &dict))
		hw_root_claim(worker, dict, HW_CLAIM_OBJECT, "interned");
	return true;
}

// Each non-zero word of a radix tree node is a node of the next level.
static void hw_claim_map_nodes(struct hw_worker *worker, hw_addr_t node, int32_t bytes,
			       int32_t child_bytes)
{
	if (bytes <= 0 || bytes > HW_MAP_NODE_BYTES_MAX)
		return;
	hw_cleanup_free uint8_t *words = malloc((size_t)bytes);
	size_t got = words ? hw_target_read_some(worker->heap->in.target, node, words,
						 (size_t)bytes)
			   : 0;
	const unsigned word = hw_heap_word_bytes(worker->heap);
	for (size_t at = 0; at + word <= got; at += word) {
		hw_addr_t child = hw_word(words + at, word);
		struct hw_links one = { 0 };
		if (!hw_links_enter(&one, &worker->sink, child))
			continue;
		hw_root_claim(worker, child, HW_CLAIM_ARENA_MAP, "");
		// Two levels are nodes of pointers, the third holds offsets.
		if (child_bytes > 0)
			hw_claim_map_nodes(worker, child, child_bytes, 0);
	}
}

static void hw_claim_allocator_roots(struct hw_worker *worker)
{
	struct hw_heap *heap = worker->heap;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	const struct hw_python_layout *l = &heap->in.python->layout;
	hw_vec_foreach(arena, &pm->arenas) hw_root_claim(
		worker,
		arena->arena_object - (hw_addr_t)arena->index * (uint64_t)l->arena_object_size,
		HW_CLAIM_ARENA_OBJECTS, "");
	struct hw_symbol root;
	if (!hw_module_symbol(heap->in.python->module, "arena_map_root", &root))
		root.address = heap->statics.arena_map_root;
	if (root.address)
		hw_claim_map_nodes(worker, root.address, l->arena_map_top_size,
				   l->arena_map_mid_size);
	hw_vec_foreach(state, &pm->states)
	{
		if (!state->address)
			continue;
		hw_root_claim(worker, state->address, HW_CLAIM_OBMALLOC_STATE, "");
		if (l->obmalloc_arena_map_root != HW_ABSENT)
			hw_claim_map_nodes(worker,
					   state->address + (uint64_t)l->obmalloc_arena_map_root,
					   l->arena_map_top_size, l->arena_map_mid_size);
	}
}

// ---- free lists ----------------------------------------------------------------------------------

enum { HW_FREE_LIST_MAX = 1 << 20, HW_FREE_ARRAY_MAX = 256, HW_BUCKETS_MAX = 1 << 20 };

// Keys of eight slots, linked through their first word (3.14).
static void hw_claim_free_key_chain(struct hw_worker *worker, hw_addr_t head)
{
	uint64_t keys;
	struct hw_links links = { 0 };
	if (!hw_pages_read_word(&worker->pages, head, &keys))
		return;
	while (links.count < HW_FREE_LIST_MAX && hw_links_enter(&links, &worker->sink, keys)) {
		hw_root_claim(worker, keys, HW_CLAIM_FREE_KEYS, "");
		if (!hw_pages_read_word(&worker->pages, keys, &keys))
			return;
	}
}

// Freed floats are linked through ob_type (up to 3.13): no header tells them.
static void hw_claim_free_floats(struct hw_worker *worker, hw_addr_t head)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	uint64_t object;
	if (!hw_pages_read_word(&worker->pages, head, &object))
		return;
	for (unsigned n = 0; object && n < HW_FREE_LIST_MAX; n++) {
		struct hw_slot slot = hw_heap_slot_at(worker->heap, object);
		if (!slot.category || HW_SLOT_CATEGORY(hw_slot_load(slot.category)))
			return; // met already, or no block: the list is damaged or empty
		hw_root_claim(worker, object, HW_CLAIM_FREE_LIST, "float");
		if (!hw_pages_read_word(&worker->pages, object + (uint64_t)l->ob_type, &object))
			return;
	}
}

static void hw_claim_free_keys(struct hw_worker *worker, hw_addr_t array, hw_addr_t count_addr)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	uint32_t count;
	uint64_t keys;
	if (!hw_pages_read_u32(&worker->pages, count_addr, &count))
		return;
	for (uint32_t i = 0; i < count && i < HW_FREE_ARRAY_MAX; i++)
		if (hw_pages_read_word(&worker->pages, array + l->word_bytes * (hw_addr_t)i, &keys))
			hw_root_claim(worker, keys, HW_CLAIM_FREE_KEYS, "");
}

void hw_heap_claim_free_lists(struct hw_worker *worker, hw_addr_t owner)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	if (l->interp_float_free_list != HW_ABSENT)
		hw_claim_free_floats(worker, owner + (uint64_t)l->interp_float_free_list);
	if (l->interp_keys_free_list != HW_ABSENT && l->interp_keys_free_count != HW_ABSENT)
		hw_claim_free_keys(worker, owner + (uint64_t)l->interp_keys_free_list,
				   owner + (uint64_t)l->interp_keys_free_count);
	if (l->interp_keys_free_chain != HW_ABSENT)
		hw_claim_free_key_chain(worker, owner + (uint64_t)l->interp_keys_free_chain);
}

static void hw_claim_static_free_lists(struct hw_worker *worker)
{
	const struct hw_python *python = worker->heap->in.python;
	const struct hw_statics *statics = &worker->heap->statics;
	hw_addr_t floats = 0, keys, count;
	// 2.7's floats live in blocks of many: hw_heap_find_slot_blocks() has them.
	if (python->layout.int_block_size == HW_ABSENT &&
	    !hw_python_static(python, "floatobject.c", "free_list", &floats))
		floats = statics->free_floats;
	if (floats)
		hw_claim_free_floats(worker, floats);
	hw_vec_foreach(each, &statics->free_keys)
		hw_root_claim(worker, *each, HW_CLAIM_FREE_KEYS, "");
	if (hw_python_static(python, "dictobject.c", "keys_free_list", &keys) &&
	    hw_python_static(python, "dictobject.c", "numfreekeys", &count))
		hw_claim_free_keys(worker, keys, count);
}

// ---- tables of static interned strings, of constants ---------------------------------------------------------

static void hw_claim_hashtable(struct hw_worker *worker, hw_addr_t pointer, const char *detail)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	struct hw_pages *pages = &worker->pages;
	uint64_t table, count, buckets, entry;
	if (l->hashtable_buckets == HW_ABSENT || l->hashtable_bucket_count == HW_ABSENT ||
	    !hw_pages_read_word(pages, pointer, &table) || !table ||
	    !hw_pages_read_word(pages, table + (uint64_t)l->hashtable_bucket_count, &count) ||
	    !hw_pages_read_word(pages, table + (uint64_t)l->hashtable_buckets, &buckets))
		return;
	hw_root_claim(worker, table, HW_CLAIM_HASHTABLE, detail);
	hw_root_claim(worker, buckets, HW_CLAIM_HASHTABLE_BUCKETS, detail);
	for (uint64_t i = 0; i < count && i < HW_BUCKETS_MAX; i++) {
		if (!hw_pages_read_word(pages, buckets + l->word_bytes * i, &entry))
			return;
		struct hw_links links = { 0 };
		while (hw_links_enter(&links, &worker->sink, entry)) {
			hw_root_claim(worker, entry, HW_CLAIM_HASHTABLE_ENTRY, detail);
			if (!hw_pages_read_word(pages, entry, &entry))
				break;
		}
	}
}

void hw_heap_claim_roots(struct hw_heap *heap, struct hw_worker *worker)
{
	const struct hw_python *python = heap->in.python;
	const struct hw_python_layout *l = &python->layout;
	hw_module_visit_symbols(python->module, "interned", hw_claim_interned, worker);
	hw_root_claim(worker, heap->statics.interned, HW_CLAIM_OBJECT, "interned");
	hw_vec_foreach(interpreter, &python->interpreters)
	{
		uint64_t dict;
		hw_root_claim(worker, *interpreter, HW_CLAIM_INTERPRETER, "");
		if (l->interned_strings != HW_ABSENT &&
		    hw_pages_read_word(&worker->pages, *interpreter + (uint64_t)l->interned_strings,
				       &dict))
			hw_root_claim(worker, dict, HW_CLAIM_OBJECT, "interned");
		hw_heap_claim_threads(worker, *interpreter);
		if (l->interp_constants != HW_ABSENT)
			hw_claim_hashtable(worker, *interpreter + (uint64_t)l->interp_constants,
					   "constants");
		if (l->tstate_freelists == HW_ABSENT)
			hw_heap_claim_free_lists(worker, *interpreter);
	}
	if (l->interp_float_free_list == HW_ABSENT && l->interp_keys_free_chain == HW_ABSENT)
		hw_claim_static_free_lists(worker);
	if (l->runtime_interned_table != HW_ABSENT && python->runtime)
		hw_claim_hashtable(worker, python->runtime + (uint64_t)l->runtime_interned_table,
				   "interned");
	hw_claim_allocator_roots(worker);
}

void hw_heap_claim_static_type(struct hw_worker *worker, hw_addr_t addr)
{
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	uint8_t bytes[1024];
	size_t len = (size_t)hw_min((uint64_t)l->type_size, sizeof(bytes));
	if (hw_heap_slot_at(worker->heap, addr).category ||
	    !hw_pages_read(&worker->pages, addr, bytes, len))
		return;
	struct hw_object object = { .type = hw_type_at(&worker->cache, hw_word(bytes + l->ob_type,
									       l->word_bytes)) };
	if (!object.type)
		return;
	worker->owner_category = HW_CATEGORY_UNCATEGORIZED;
	worker->sink.block = addr;
	worker->sink.block_end = addr + len;
	hw_owners_visit(l, &object, addr, bytes, len, &worker->sink);
}

// Types that are no blocks own blocks all the same: their dicts. Only types that have instances, and their
// bases: what else was taken for a type's address on the way depends on the order of the threads.
void hw_heap_claim_static_types(struct hw_heap *heap, struct hw_worker *worker)
{
	for (size_t i = 0; i < heap->types.all.count; i++) {
		struct hw_type *type = heap->types.all.data[i];
		if (!type->categories[HW_TYPE_CATEGORY_OBJECT])
			continue;
		for (unsigned n = 0; type && !type->is_settled && n < HW_BASES_MAX; n++) {
			type->is_settled = true;
			hw_heap_claim_static_type(worker, type->address);
			type = (struct hw_type *)type->base;
		}
	}
}

// ---- 2.7: int and float blocks -------------------------------------------------------------------

// Objects/intobject.c, floatobject.c: BLOCK_SIZE - BHEAD_SIZE, which N_INTOBJECTS and N_FLOATOBJECTS divide.
enum { HW_SLOT_BLOCK_BYTES = 1000 - 8 };

struct hw_slot_block_visit {
	struct hw_worker *worker;
	hw_addr_t
		floats; // the variable with the list of their blocks, 0: floats are as large as ints
	struct hw_error *err;
};

static struct hw_error *hw_heap_add_slot_block(struct hw_worker *worker, const struct hw_slot *slot,
					       uint32_t slot_bytes)
{
	struct hw_heap *heap = worker->heap;
	const struct hw_python_layout *l = &heap->in.python->layout;
	struct hw_slot_block block = {
		.chunk = slot->start,
		.chunk_end = slot->start + slot->bytes,
		.first = slot->user + (uint64_t)l->int_block_objects,
		.slot_bytes = slot_bytes,
		.count = HW_SLOT_BLOCK_BYTES / slot_bytes,
		.slots = (uint32_t)heap->slot_categories.count,
		.header = HW_CATEGORY_SLOT_HEADER,
		.padding = HW_CATEGORY_SLOT_PADDING,
	};
	// Data runs on over the next chunk's prev_size, where 32-bit ints do.
	if (block.first + (uint64_t)block.count * slot_bytes > block.chunk_end + l->word_bytes)
		return NULL; // the chunk is no such block
	for (uint32_t i = 0; i < block.count; i++) {
		hw_addr_t object = block.first + (uint64_t)i * block.slot_bytes;
		uint64_t type_addr = 0, refcount = 0;
		uint32_t id = HW_CATEGORY_SLOT_FREE;
		// A freed slot's ob_type links to the next free one.
		if (hw_pages_read_word(&worker->pages, object + (uint64_t)l->ob_type, &type_addr) &&
		    hw_pages_read_word(&worker->pages, object + (uint64_t)l->ob_refcnt,
				       &refcount)) {
			const struct hw_type *type = hw_type_at(&worker->cache, type_addr);
			if (type && refcount && type->basicsize == block.slot_bytes)
				id = hw_heap_object_category(heap, type, HW_TYPE_CATEGORY_OBJECT);
		} else {
			id = HW_CATEGORY_MISSING;
		}
		if (!hw_vec_push(&heap->slot_categories, id))
			return &hw_enomem;
	}
	*slot->category = HW_CATEGORY_SLOT_HEADER;
	return hw_vec_push(&heap->slot_blocks, block) ? NULL : &hw_enomem;
}

static bool hw_visit_block_list(void *payload, const struct hw_symbol *symbol)
{
	struct hw_slot_block_visit *visit = payload;
	struct hw_worker *worker = visit->worker;
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	const int32_t slot_bytes = visit->floats && symbol->address == visit->floats ? l->float_size
										     : l->int_size;
	uint64_t block;
	if (symbol->is_function || !hw_pages_read_word(&worker->pages, symbol->address, &block))
		return true;
	struct hw_links links = { 0 };
	while (!visit->err && hw_links_enter(&links, &worker->sink, block)) {
		struct hw_slot slot = hw_heap_slot_at(worker->heap, block);
		// Not a block in use, or met already: the list is damaged, or is another's.
		if (!slot.category || slot.user != block || *slot.category != HW_CATEGORY_NONE)
			break;
		visit->err = hw_heap_add_slot_block(worker, &slot, (uint32_t)slot_bytes);
		if (!hw_pages_read_word(&worker->pages, block, &block))
			break;
	}
	return !visit->err;
}

static int hw_slot_block_order(const void *a, const void *b)
{
	const struct hw_slot_block *x = a, *y = b;
	return x->chunk < y->chunk ? -1 : x->chunk > y->chunk;
}

void hw_heap_sort_slot_blocks(struct hw_heap *heap)
{
	if (heap->slot_blocks.count)
		qsort(heap->slot_blocks.data, heap->slot_blocks.count,
		      sizeof(heap->slot_blocks.data[0]), hw_slot_block_order);
}

struct hw_error *hw_heap_find_slot_blocks(struct hw_heap *heap, struct hw_worker *worker)
{
	const struct hw_python_layout *l = &heap->in.python->layout;
	struct hw_slot_block_visit visit = { .worker = worker };
	if (l->int_block_size <= 0 || l->int_size <= 0 || l->int_block_objects < 0)
		return NULL;
	if (l->float_size > 0 && l->float_size != l->int_size &&
	    !hw_python_static(heap->in.python, "floatobject.c", "block_list", &visit.floats))
		visit.floats = heap->statics.float_blocks;
	hw_module_visit_symbols(heap->in.python->module, "block_list", hw_visit_block_list, &visit);
	const hw_addr_t lists[] = { heap->statics.int_blocks, heap->statics.float_blocks };
	for (size_t i = 0; i < 2 && !visit.err; i++)
		if (lists[i])
			hw_visit_block_list(&visit, &(struct hw_symbol){ .address = lists[i] });
	hw_heap_sort_slot_blocks(heap);
	return visit.err;
}

struct hw_slot_block *hw_heap_slot_block_at(const struct hw_heap *heap, hw_addr_t addr)
{
	size_t low = hw_vec_find_beyond(&heap->slot_blocks, chunk_end, addr);
	return low < heap->slot_blocks.count && heap->slot_blocks.data[low].chunk <= addr
		       ? &heap->slot_blocks.data[low]
		       : NULL;
}
