/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The interpreter's statics in a binary without symbols, by what they lead to: every word of its .data and
// .bss that points at a block is asked whether it is one of them. Two different answers are none.
// Upstream, all up to 3.11: Objects/unicodeobject.c, stringobject.c (interned), obmalloc.c
// (arena_map_root), floatobject.c, intobject.c (free_list, block_list), dictobject.c (keys_free_list).
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cpython/containers.h"
#include "heap/heap_internal.h"

enum {
	HW_STATICS_BYTES_MAX = 16 << 20, // of a section; Python's have about 1 MiB
	HW_INTERNED_MIN = 64, // strings; an interpreter that runs has more than a thousand
	HW_INTERNED_SLOTS = 1024,
	HW_FREE_FLOATS_MAX = 100, // PyFloat_MAXFREELIST
	HW_FREE_KEYS_SLOTS = 8,   // PyDict_MINSIZE
	HW_MAP_ARENAS_PROVED = 16,
	HW_EMPTY_BLOCKS_MAX = 4096, // in a row
	HW_ARENA_BITS = 20,         // 3.10, which brought the radix tree
};

struct hw_static_search {
	struct hw_worker *worker;
	const struct hw_python_layout *layout;
	struct hw_statics *found;
	bool has_two_interned, has_two_roots, has_two_floats;
	unsigned free_floats; // how many the list has
};

static bool hw_static_read(const struct hw_static_search *search, hw_addr_t addr, int32_t member,
			   uint64_t *ret)
{
	return member != HW_ABSENT &&
	       hw_pages_read_word(&search->worker->pages, addr + (uint64_t)member, ret);
}

static const struct hw_type *hw_static_type_of(const struct hw_static_search *search,
					       hw_addr_t object)
{
	uint64_t type;
	return hw_static_read(search, object, search->layout->ob_type, &type)
		       ? hw_type_at(&search->worker->cache, type)
		       : NULL;
}

static bool hw_item_is_its_key(void *payload, hw_addr_t key, hw_addr_t value)
{
	uint64_t *count = payload;
	if (key != value) {
		*count = 0;
		return false;
	}
	++*count;
	return true;
}

// The dict of interned strings: each is its own value.
static void hw_static_try_interned(struct hw_static_search *search, hw_addr_t dict)
{
	const struct hw_type *type = hw_static_type_of(search, dict);
	uint64_t count = 0;
	if (!type || type->flags & HW_TPFLAGS_HEAPTYPE || strcmp(type->name, "dict"))
		return;
	if (hw_dict_visit(search->layout, &search->worker->pages, dict, HW_INTERNED_SLOTS,
			  hw_item_is_its_key, &count) == HW_ITEMS_UNREADABLE ||
	    count < HW_INTERNED_MIN)
		return;
	search->has_two_interned |= search->found->interned && search->found->interned != dict;
	search->found->interned = dict;
}

// Does the tree at `root` know the arena? Its leaf has, for each of the two MiB that an arena may reach
// into, how far; -1 for an arena that fills one.
static bool hw_map_knows(const struct hw_static_search *search, hw_addr_t root, hw_addr_t arena)
{
	const struct hw_python_layout *l = search->layout;
	uint64_t leaf_count = (uint64_t)l->arena_map_bot_size / 8;
	uint64_t middle_count = (uint64_t)l->arena_map_mid_size / 8;
	uint64_t top_count = (uint64_t)l->arena_map_top_size / 8;
	uint64_t index = arena >> HW_ARENA_BITS, middle, leaf;
	uint32_t tail, want = arena & ((1u << HW_ARENA_BITS) - 1);
	struct hw_pages *pages = &search->worker->pages;
	return hw_pages_read_word(pages, root + index / leaf_count / middle_count % top_count * 8,
				  &middle) &&
	       middle &&
	       hw_pages_read_word(pages, middle + index / leaf_count % middle_count * 8, &leaf) &&
	       leaf && hw_pages_read_u32(pages, leaf + index % leaf_count * 8, &tail) &&
	       tail == (want ? want : UINT32_MAX);
}

static void hw_static_try_map_root(struct hw_static_search *search, hw_addr_t place)
{
	const struct hw_python_layout *l = search->layout;
	const struct hw_pymalloc *pm = search->worker->heap->in.pymalloc;
	uint64_t below = (uint64_t)l->arena_map_bot_size / 8 *
			 ((uint64_t)l->arena_map_mid_size / 8);
	uint64_t top = (pm->arenas.data[0].start >> HW_ARENA_BITS) / below %
		       ((uint64_t)l->arena_map_top_size / 8);
	hw_addr_t root = place - top * 8;
	for (size_t i = 0; i < pm->arenas.count && i < HW_MAP_ARENAS_PROVED; i++)
		if (!hw_map_knows(search, root, pm->arenas.data[i].start))
			return;
	search->has_two_roots |= search->found->arena_map_root &&
				 search->found->arena_map_root != root;
	search->found->arena_map_root = root;
}

// Freed floats: a count of 0, and the next one where the type was.
static void hw_static_try_floats(struct hw_static_search *search, hw_addr_t place, hw_addr_t first)
{
	unsigned count = 0;
	hw_addr_t object = first;
	uint64_t refcount, value = 0;
	for (; object && count <= HW_FREE_FLOATS_MAX; count++) {
		struct hw_slot slot = hw_heap_slot_at(search->worker->heap, object);
		uint64_t into = object - slot.user;
		if (!slot.category || HW_SLOT_CATEGORY(hw_slot_load(slot.category)) ||
		    (into != 0 && into != 2 * hw_heap_word_bytes(search->worker->heap)) ||
		    slot.bytes > 32 + 3 * into ||
		    !hw_static_read(search, object, search->layout->ob_refcnt, &refcount) ||
		    refcount || !hw_static_read(search, object, search->layout->ob_size, &value) ||
		    !hw_static_read(search, object, search->layout->ob_type, &object))
			return;
	}
	// A block of zeros looks like a list of one.
	if (object || (count == 1 && !value) || count < search->free_floats)
		return;
	search->has_two_floats = count == search->free_floats;
	search->free_floats = count;
	search->found->free_floats = place;
}

// Keys of eight slots that a static points at: {count, size 8, a function of the interpreter's that looks
// up}. The count is 0, or 1 for those of a dict that grew; the list's old entries may have got an owner, whose
// claim is the better one.
static void hw_static_try_keys(struct hw_static_search *search, hw_addr_t keys)
{
	const struct hw_module *module = search->worker->heap->in.python->module;
	const int32_t word = (int32_t)search->layout->word_bytes;
	uint64_t refcount, size, lookup;
	if (!hw_static_read(search, keys, 0, &refcount) || refcount > 1 ||
	    !hw_static_read(search, keys, search->layout->keys_size, &size) ||
	    size != HW_FREE_KEYS_SLOTS ||
	    !hw_static_read(search, keys, search->layout->keys_size + word, &lookup) ||
	    lookup < module->start || lookup >= module->end)
		return;
	if (!hw_vec_push(&search->found->free_keys, keys))
		hw_issues_take(search->worker->heap->in.issues, &hw_enomem);
}

static bool hw_static_is_slot_block(const struct hw_static_search *search, hw_addr_t block)
{
	struct hw_slot slot = hw_heap_slot_at(search->worker->heap, block);
	uint64_t bytes = (uint64_t)search->layout->int_block_size;
	return slot.category && block == slot.user && slot.bytes > bytes &&
	       slot.bytes <= bytes + 32;
}

// 2.7: a chunk of int or float objects; in those that are free, ob_type is a link. False: it is none.
static bool hw_static_block_type(const struct hw_static_search *search, hw_addr_t block,
				 const struct hw_type **ret)
{
	const struct hw_python_layout *l = search->layout;
	for (int32_t at = l->int_block_objects; at + l->int_size <= l->int_block_size;
	     at += l->int_size) {
		uint64_t word;
		if (!hw_static_read(search, block + (uint64_t)at, l->ob_type, &word))
			return false;
		if (!word || hw_heap_slot_at(search->worker->heap, word).category)
			continue;
		const struct hw_type *type = hw_type_at(&search->worker->cache, word);
		if (!type || (*ret && type != *ret) ||
		    (strcmp(type->name, "int") && strcmp(type->name, "float")))
			return false;
		*ret = type;
	}
	return true;
}

// The newest blocks may have no object that is alive: the list goes on until one tells.
static void hw_static_try_block_list(struct hw_static_search *search, hw_addr_t place,
				     hw_addr_t block)
{
	const struct hw_type *of = NULL;
	for (unsigned n = 0; !of && n < HW_EMPTY_BLOCKS_MAX; n++)
		if (!hw_static_is_slot_block(search, block) ||
		    !hw_static_block_type(search, block, &of) ||
		    !hw_static_read(search, block, 0, &block))
			return;
	if (of && !strcmp(of->name, "int"))
		search->found->int_blocks = place;
	else if (of)
		search->found->float_blocks = place;
}

static void hw_static_try(struct hw_static_search *search, hw_addr_t place, hw_addr_t value)
{
	const struct hw_python_layout *l = search->layout;
	struct hw_heap *heap = search->worker->heap;
	struct hw_slot slot = hw_heap_slot_at(heap, value);
	if (!slot.category || value < slot.user)
		return;
	if (l->interned_strings == HW_ABSENT)
		hw_static_try_interned(search, value);
	if (l->arena_map_bot_size > 0 && l->arena_map_mid_size > 0 && l->arena_map_top_size > 0 &&
	    l->obmalloc_state_size == HW_ABSENT && heap->in.pymalloc->arenas.count)
		hw_static_try_map_root(search, place);
	if (l->int_block_size > 0 && l->int_size > 0 && l->int_block_objects >= 0) {
		hw_static_try_block_list(search, place, value);
		return; // 2.7 has no other lists that are looked for
	}
	if (l->interp_float_free_list == HW_ABSENT && l->ob_size != HW_ABSENT)
		hw_static_try_floats(search, place, value);
	if (l->interp_keys_free_list == HW_ABSENT && l->keys_size != HW_ABSENT)
		hw_static_try_keys(search, value);
}

void hw_statics_find(struct hw_worker *worker, struct hw_statics *ret)
{
	static const char *const sections[] = { ".data", ".bss" };
	struct hw_heap *heap = worker->heap;
	struct hw_static_search search = { .worker = worker,
					   .layout = &heap->in.python->layout,
					   .found = ret };
	const unsigned word = hw_heap_word_bytes(heap);
	for (size_t s = 0; s < sizeof(sections) / sizeof(sections[0]); s++) {
		hw_addr_t start;
		uint64_t bytes;
		if (!hw_module_section(heap->in.python->module, sections[s], &start, &bytes))
			continue;
		bytes = hw_min(bytes, HW_STATICS_BYTES_MAX);
		hw_cleanup_free uint8_t *words = malloc(bytes + 1);
		size_t got = words ? hw_target_read_some(heap->in.target, start, words, bytes) : 0;
		for (size_t at = hw_align_up(start, word) - start; at + word <= got; at += word) {
			hw_addr_t value = hw_word(words + at, word);
			if (value && value % 8 == 0)
				hw_static_try(&search, start + at, value);
		}
	}
	if (search.has_two_interned)
		ret->interned = 0;
	if (search.has_two_roots)
		ret->arena_map_root = 0;
	if (search.has_two_floats)
		ret->free_floats = 0;
}

void hw_statics_deinit(struct hw_statics *statics)
{
	hw_vec_deinit(&statics->free_keys);
}
