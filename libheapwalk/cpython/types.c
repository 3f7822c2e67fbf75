/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/types.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cpython/owners.h"

enum {
	HW_TYPE_BYTES_MAX = 1 << 24, // largest tp_basicsize that is believed
	HW_TYPE_DEPTH_MAX = 64,      // metatypes and bases followed
	HW_TYPE_SLOTS_MAX = 1 << 18, // verdicts kept; beyond, negative ones are not
	HW_TYPE_STRUCT_MAX = 1024,   // bytes of a type object that are looked at
};

struct hw_error *hw_types_init(struct hw_types *types, const struct hw_python *python)
{
	*types = (struct hw_types){ .python = python };
	pthread_rwlock_init(&types->lock, NULL);
	// A flag means what its name says only where the structure that goes with it exists: managed
	// dicts came with inline (3.11) values, managed weak references with lv_tag (3.12).
	const struct hw_python_layout *l = &python->layout;
	types->known_flags = ~(uint32_t)(HW_TPFLAGS_INLINE_VALUES | HW_TPFLAGS_MANAGED_WEAKREF |
					 HW_TPFLAGS_MANAGED_DICT);
	if (l->ht_tpname != HW_ABSENT)
		types->known_flags |= HW_TPFLAGS_MANAGED_DICT;
	if (l->long_lv_tag != HW_ABSENT)
		types->known_flags |= HW_TPFLAGS_MANAGED_WEAKREF;
	if (l->dict_values_capacity != HW_ABSENT)
		types->known_flags |= HW_TPFLAGS_INLINE_VALUES;
	types->slot_count = 4096;
	types->slots = calloc(types->slot_count, sizeof(*types->slots));
	return types->slots ? NULL : &hw_enomem;
}

void hw_types_deinit(struct hw_types *types)
{
	hw_vec_foreach(type, &types->all)
	{
		free((*type)->name);
		free(*type);
	}
	hw_vec_deinit(&types->all);
	free(types->slots);
	if (types->python)
		pthread_rwlock_destroy(&types->lock);
	*types = (struct hw_types){ 0 };
}

static size_t hw_type_hash(hw_addr_t addr)
{
	return (size_t)((addr >> 3) * 0x9e3779b97f4a7c15u >> 20);
}

static struct hw_type_slot *hw_types_slot(struct hw_type_slot *slots, size_t count, hw_addr_t addr)
{
	size_t at = hw_type_hash(addr) & (count - 1);
	while (slots[at].address && slots[at].address != addr)
		at = (at + 1) & (count - 1);
	return &slots[at];
}

// Caller holds the lock for writing. Out of memory: the verdict is made again next time.
static void hw_types_remember(struct hw_types *types, hw_addr_t addr, struct hw_type *type)
{
	if (types->used_count * 2 >= types->slot_count) {
		if (!type && types->slot_count >= HW_TYPE_SLOTS_MAX)
			return;
		size_t count = types->slot_count * 2;
		struct hw_type_slot *slots = calloc(count, sizeof(*slots));
		if (!slots)
			return;
		for (size_t i = 0; i < types->slot_count; i++)
			if (types->slots[i].address)
				*hw_types_slot(slots, count,
					       types->slots[i].address) = types->slots[i];
		free(types->slots);
		types->slots = slots;
		types->slot_count = count;
	}
	struct hw_type_slot *slot = hw_types_slot(types->slots, types->slot_count, addr);
	if (!slot->address)
		types->used_count++;
	*slot = (struct hw_type_slot){ addr, type };
}

static bool hw_type_name_is_sane(const char *name)
{
	if (!*name)
		return false;
	for (const unsigned char *p = (const unsigned char *)name; *p; p++)
		if (*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

static enum hw_type_shape hw_type_shape_of(const struct hw_type *type)
{
	if (type->flags & HW_TPFLAGS_LONG_SUBCLASS)
		return HW_SHAPE_INT;
	for (const struct hw_type *t = type; t; t = t->base) {
		if (t->flags & HW_TPFLAGS_HEAPTYPE)
			continue;
		if (!strcmp(t->name, "str") || !strcmp(t->name, "unicode"))
			return t->flags & HW_TPFLAGS_UNICODE_SUBCLASS ? HW_SHAPE_STR
								      : HW_SHAPE_PLAIN;
		if (!strcmp(t->name, "frame") || !strcmp(t->name, "generator") ||
		    !strcmp(t->name, "coroutine") || !strcmp(t->name, "async_generator"))
			return HW_SHAPE_AT_LEAST;
	}
	return HW_SHAPE_PLAIN;
}

// Everything that is said of a type by its own bytes; NULL when they contradict themselves.
static struct hw_type *hw_type_create(struct hw_type_cache *cache, hw_addr_t addr,
				      const uint8_t *bytes)
{
	const struct hw_python *python = cache->types->python;
	const struct hw_python_layout *l = &python->layout;
	char name[256];
	uint64_t basicsize = hw_u64(bytes + l->tp_basicsize);
	uint64_t itemsize = hw_u64(bytes + l->tp_itemsize);
	uint32_t flags = hw_u32(bytes + l->tp_flags);
	if (basicsize > HW_TYPE_BYTES_MAX || itemsize > HW_TYPE_BYTES_MAX ||
	    // 2.7 never makes some static types ready, method_descriptor for one.
	    (flags & (HW_TPFLAGS_READY | HW_TPFLAGS_HEAPTYPE)) == HW_TPFLAGS_HEAPTYPE ||
	    !hw_pages_read_string(cache->pages, hw_u64(bytes + l->tp_name), name, sizeof(name)) ||
	    !hw_type_name_is_sane(name))
		return NULL;
	struct hw_type *type = calloc(1, sizeof(*type));
	if (!type || !(type->name = strdup(name))) {
		free(type);
		return NULL;
	}
	type->address = addr;
	type->basicsize = (uint32_t)basicsize;
	type->itemsize = (uint32_t)itemsize;
	type->flags = flags & cache->types->known_flags;
	type->has_gc = flags & HW_TPFLAGS_HAVE_GC;
	type->has_preheader = type->flags & (HW_TPFLAGS_MANAGED_DICT | HW_TPFLAGS_MANAGED_WEAKREF);
	type->head_bytes =
		(uint8_t)((type->has_gc ? l->gc_head_size : 0) + (type->has_preheader ? 16 : 0));
	int64_t dictoffset = (int64_t)hw_u64(bytes + l->tp_dictoffset);
	if (!(type->flags & HW_TPFLAGS_MANAGED_DICT) && dictoffset > -(1 << 20) &&
	    dictoffset < HW_TYPE_BYTES_MAX)
		type->dictoffset = (int32_t)dictoffset;
	if (flags & HW_TPFLAGS_HEAPTYPE && l->ht_cached_keys != HW_ABSENT)
		hw_pages_read_u64(cache->pages, addr + (uint64_t)l->ht_cached_keys,
				  &type->cached_keys);
	return type;
}

static const struct hw_type *hw_type_prove(struct hw_type_cache *cache, hw_addr_t addr,
					   unsigned depth);

static const struct hw_type *hw_type_look_up(struct hw_type_cache *cache, hw_addr_t addr,
					     unsigned depth)
{
	struct hw_types *types = cache->types;
	pthread_rwlock_rdlock(&types->lock);
	struct hw_type_slot slot = *hw_types_slot(types->slots, types->slot_count, addr);
	pthread_rwlock_unlock(&types->lock);
	if (slot.address)
		return slot.type;
	return depth < HW_TYPE_DEPTH_MAX ? hw_type_prove(cache, addr, depth + 1) : NULL;
}

// Is the object at addr an instance of a type of types?
static bool hw_type_has_metatype(struct hw_type_cache *cache, hw_addr_t addr, hw_addr_t metatype,
				 unsigned depth)
{
	if (metatype == cache->types->python->type_type)
		return true;
	if (metatype == addr || !metatype || metatype & 7)
		return false;
	const struct hw_type *meta = hw_type_look_up(cache, metatype, depth);
	return meta && meta->flags & HW_TPFLAGS_TYPE_SUBCLASS;
}

static const struct hw_type *hw_type_prove(struct hw_type_cache *cache, hw_addr_t addr,
					   unsigned depth)
{
	struct hw_types *types = cache->types;
	const struct hw_python_layout *l = &types->python->layout;
	struct hw_type *type = NULL;
	uint64_t metatype;
	uint8_t bytes[HW_TYPE_STRUCT_MAX];
	// Cheapest first: most words that are asked about point at no type at all.
	if (hw_pages_read_u64(cache->pages, addr + (uint64_t)l->ob_type, &metatype) &&
	    hw_type_has_metatype(cache, addr, metatype, depth) &&
	    (size_t)l->type_size <= sizeof(bytes) &&
	    hw_pages_read(cache->pages, addr, bytes, (size_t)l->type_size)) {
		type = hw_type_create(cache, addr, bytes);
		if (type) {
			hw_addr_t base = hw_u64(bytes + l->tp_base);
			if (base && base != addr && !(base & 7))
				type->base = hw_type_look_up(cache, base, depth);
			type->shape = hw_type_shape_of(type);
			hw_owners_bind(type, l);
			hw_type_measure(type);
		}
	}

	pthread_rwlock_wrlock(&types->lock);
	struct hw_type_slot *slot = hw_types_slot(types->slots, types->slot_count, addr);
	if (slot->address) { // another thread was faster
		if (type) {
			free(type->name);
			free(type);
		}
		type = slot->type;
	} else if (type && !hw_vec_push(&types->all, type)) {
		free(type->name);
		free(type);
		type = NULL;
	} else {
		if (type)
			type->index = (uint32_t)types->all.count - 1;
		hw_types_remember(types, addr, type);
	}
	pthread_rwlock_unlock(&types->lock);
	return type;
}

const struct hw_type *hw_type_at_slow(struct hw_type_cache *cache, hw_addr_t addr)
{
	// No type object is in the first page, or unaligned, or in the kernel's half.
	if (addr & 7 || addr < HW_PAGE_BYTES || addr >> 47)
		return NULL;
	// Most words that are no type lead to other blocks: those take no room in the cache.
	if (cache->pymalloc && hw_pymalloc_find_arena(cache->pymalloc, addr))
		return NULL;
	const struct hw_type *type = hw_type_look_up(cache, addr, 0);
	cache->slots[(addr >> 4 ^ addr >> 16) & (HW_TYPE_CACHE_SLOTS - 1)] =
		(struct hw_type_slot){ addr, (struct hw_type *)type };
	return type;
}
