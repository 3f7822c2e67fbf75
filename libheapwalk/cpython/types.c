/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/types.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cpython/owners.h"
#include "cpython/references.h"
#include "target/absences.h"

enum {
	HW_TYPE_BYTES_MAX = 1 << 24, // largest tp_basicsize that is believed
	HW_TYPE_METATYPES_MAX = 8,   // metatypes on the way to PyType_Type
	HW_TYPE_BASES_MAX = 256,     // bases on the way to object
	HW_TYPE_SLOTS_MAX = 1 << 18, // verdicts kept; beyond, negative ones are not
	HW_TYPE_STRUCT_MAX = 1024,   // bytes of a type object that are looked at
};

struct hw_error *hw_types_init(struct hw_types *types, const struct hw_python *python,
			       struct hw_rules *rules, struct hw_issues *issues)
{
	*types = (struct hw_types){ .python = python, .rules = rules, .issues = issues };
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

static void hw_type_destroy(struct hw_type *type)
{
	if (type)
		free(type->name);
	free(type);
}

void hw_types_deinit(struct hw_types *types)
{
	hw_vec_foreach(type, &types->all) hw_type_destroy(*type);
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

// By the type's own name, else what its base has.
static enum hw_type_shape hw_type_shape_of(const struct hw_type *type)
{
	if (type->flags & HW_TPFLAGS_LONG_SUBCLASS)
		return HW_SHAPE_INT;
	if (!(type->flags & HW_TPFLAGS_HEAPTYPE)) {
		if (!strcmp(type->name, "str") || !strcmp(type->name, "unicode"))
			return type->flags & HW_TPFLAGS_UNICODE_SUBCLASS ? HW_SHAPE_STR
									 : HW_SHAPE_PLAIN;
		if (!strcmp(type->name, "frame") || !strcmp(type->name, "generator") ||
		    !strcmp(type->name, "coroutine") || !strcmp(type->name, "async_generator"))
			return HW_SHAPE_AT_LEAST;
	}
	return type->base && type->base->shape != HW_SHAPE_INT ? type->base->shape : HW_SHAPE_PLAIN;
}

// ---- proofs ------------------------------------------------------------------------------------
// A verdict is a function of the target's memory alone: not of what was asked about before, or by which
// thread. And it costs a bounded number of reads, whatever that memory says.

// The name of a type; one that is in a file that is not at hand is called after the file.
static bool hw_type_read_name(struct hw_pages *pages, hw_addr_t addr, char *name, size_t name_size,
			      const char **ret_absent)
{
	*ret_absent = NULL;
	if (hw_pages_read_string(pages, addr, name, name_size))
		return hw_type_name_is_sane(name);
	*ret_absent = hw_target_absent_text(pages->target, addr);
	return *ret_absent && hw_absent_name(name, name_size, "unknown type", *ret_absent) > 0;
}

// What a type object says of itself, without contradiction.
static bool hw_type_read(struct hw_type_cache *cache, hw_addr_t addr, uint8_t *bytes, char *name,
			 size_t name_size, const char **ret_absent)
{
	const struct hw_python_layout *l = &cache->types->python->layout;
	if ((size_t)l->type_size > HW_TYPE_STRUCT_MAX ||
	    !hw_pages_read(cache->pages, addr, bytes, (size_t)l->type_size))
		return false;
	const unsigned word = l->word_bytes;
	uint32_t flags = hw_u32(bytes + l->tp_flags);
	return hw_word(bytes + l->tp_basicsize, word) <= HW_TYPE_BYTES_MAX &&
	       hw_word(bytes + l->tp_itemsize, word) <= HW_TYPE_BYTES_MAX &&
	       // 2.7 never makes some static types ready, method_descriptor for one.
	       (flags & (HW_TPFLAGS_READY | HW_TPFLAGS_HEAPTYPE)) != HW_TPFLAGS_HEAPTYPE &&
	       hw_type_read_name(cache->pages, hw_word(bytes + l->tp_name, word), name, name_size,
				 ret_absent);
}

static struct hw_type_slot hw_type_verdict(struct hw_types *types, hw_addr_t addr)
{
	pthread_rwlock_rdlock(&types->lock);
	struct hw_type_slot slot = *hw_types_slot(types->slots, types->slot_count, addr);
	pthread_rwlock_unlock(&types->lock);
	return slot;
}

// How many metatypes it takes from the object at addr to PyType_Type, 1 for most types; 0: it is no
// type, for one of them is none, or they are more than HW_TYPE_METATYPES_MAX (which a ring of them is).
static unsigned hw_type_metatypes(struct hw_type_cache *cache, hw_addr_t addr)
{
	const struct hw_python *python = cache->types->python;
	const struct hw_python_layout *l = &python->layout;
	uint8_t bytes[HW_TYPE_STRUCT_MAX];
	char name[256];
	const char *absent_file;
	for (unsigned n = 1; n <= HW_TYPE_METATYPES_MAX; n++) {
		uint64_t metatype;
		if (!hw_pages_read_word(cache->pages, addr + (uint64_t)l->ob_type, &metatype))
			return 0;
		if (metatype == python->type_type)
			return n;
		if (metatype == addr || metatype < HW_PAGE_BYTES ||
		    metatype & (l->word_bytes - 1) || metatype >> HW_ADDRESS_BITS)
			return 0;
		struct hw_type_slot known = hw_type_verdict(cache->types, metatype);
		if (known.address) {
			n += known.type ? known.type->metatype_count : 0;
			return known.type && known.type->flags & HW_TPFLAGS_TYPE_SUBCLASS &&
					       n <= HW_TYPE_METATYPES_MAX
				       ? n
				       : 0;
		}
		if (!hw_type_read(cache, metatype, bytes, name, sizeof(name), &absent_file) ||
		    !(hw_u32(bytes + l->tp_flags) & HW_TPFLAGS_TYPE_SUBCLASS))
			return 0;
		addr = metatype;
	}
	return 0;
}

// The base of a type, 0: none. No type has one whose bases don't end.
static hw_addr_t hw_type_base(struct hw_type_cache *cache, hw_addr_t addr)
{
	const struct hw_python_layout *l = &cache->types->python->layout;
	hw_addr_t first = 0;
	for (unsigned n = 0; n < HW_TYPE_BASES_MAX; n++) {
		uint64_t base;
		if (!hw_pages_read_word(cache->pages, addr + (uint64_t)l->tp_base, &base) ||
		    !base || base == addr || base & (l->word_bytes - 1))
			return first;
		if (!n)
			first = base;
		addr = base;
	}
	return 0;
}

// Everything that is said of a type by its own bytes; NULL when they contradict themselves.
static struct hw_type *hw_type_create(struct hw_type_cache *cache, hw_addr_t addr)
{
	const struct hw_python_layout *l = &cache->types->python->layout;
	uint8_t bytes[HW_TYPE_STRUCT_MAX];
	char name[256];
	const char *absent_file;
	// Cheapest first: most words that are asked about point at no type at all.
	unsigned metatypes = hw_type_metatypes(cache, addr);
	if (!metatypes || !hw_type_read(cache, addr, bytes, name, sizeof(name), &absent_file))
		return NULL;
	const unsigned word = l->word_bytes;
	uint32_t flags = hw_u32(bytes + l->tp_flags);
	struct hw_type *type = calloc(1, sizeof(*type));
	if (!type || !(type->name = strdup(name))) {
		free(type);
		return NULL;
	}
	type->address = addr;
	type->absent_file = absent_file;
	type->metatype_count = (uint8_t)metatypes;
	type->basicsize = hw_u32(bytes + l->tp_basicsize);
	type->itemsize = hw_u32(bytes + l->tp_itemsize);
	type->flags = flags & cache->types->known_flags;
	type->has_gc = flags & HW_TPFLAGS_HAVE_GC;
	type->has_preheader = type->flags & (HW_TPFLAGS_MANAGED_DICT | HW_TPFLAGS_MANAGED_WEAKREF);
	type->head_bytes = (uint8_t)((type->has_gc ? (uint32_t)l->gc_head_size : 0) +
				     (type->has_preheader ? 2 * word : 0));
	int64_t dictoffset = hw_word_signed(hw_word(bytes + l->tp_dictoffset, word), word);
	if (!(type->flags & HW_TPFLAGS_MANAGED_DICT) && dictoffset > -(1 << 20) &&
	    dictoffset < HW_TYPE_BYTES_MAX)
		type->dictoffset = (int32_t)dictoffset;
	if (l->tp_weaklistoffset != HW_ABSENT) {
		int64_t weaklistoffset = hw_word_signed(hw_word(bytes + l->tp_weaklistoffset, word),
							word);
		if (weaklistoffset > 0 && weaklistoffset < HW_TYPE_BYTES_MAX)
			type->weaklistoffset = (int32_t)weaklistoffset;
	}
	if (flags & HW_TPFLAGS_HEAPTYPE && l->ht_cached_keys != HW_ABSENT)
		hw_pages_read_word(cache->pages, addr + (uint64_t)l->ht_cached_keys,
				   &type->cached_keys);
	return type;
}

// Takes type, which may be NULL. Another thread may have been faster: then its verdict holds.
static const struct hw_type *hw_types_add(struct hw_types *types, hw_addr_t addr,
					  struct hw_type *type)
{
	pthread_rwlock_wrlock(&types->lock);
	const struct hw_type_slot *slot = hw_types_slot(types->slots, types->slot_count, addr);
	if (slot->address) {
		hw_type_destroy(type);
		type = slot->type;
	} else if (type && !hw_vec_push(&types->all, type)) {
		hw_type_destroy(type);
		type = NULL;
	} else {
		if (type)
			type->index = (uint32_t)types->all.count - 1;
		hw_types_remember(types, addr, type);
	}
	pthread_rwlock_unlock(&types->lock);
	return type;
}

static const struct hw_type *hw_type_prove(struct hw_type_cache *cache, hw_addr_t addr)
{
	struct hw_type *chain[HW_TYPE_BASES_MAX + 1]; // it, its base, its base's base, …
	const struct hw_type *type = NULL;
	unsigned count = 0;
	// hw_type_base() has seen the end of the bases: they don't fill the chain.
	while (addr && count <= HW_TYPE_BASES_MAX) {
		struct hw_type_slot known = hw_type_verdict(cache->types, addr);
		if (known.address) {
			type = known.type;
			break;
		}
		chain[count] = hw_type_create(cache, addr);
		if (!chain[count]) {
			hw_types_add(cache->types, addr, NULL);
			break;
		}
		count++;
		addr = hw_type_base(cache, addr);
	}
	while (count) {
		struct hw_type *next = chain[--count];
		next->base = type;
		next->shape = hw_type_shape_of(next);
		hw_owners_bind(next, &cache->types->python->layout, cache->types->rules,
			       cache->types->issues);
		hw_references_bind(next, &cache->types->python->layout);
		hw_type_measure(next, cache->types->python->layout.word_bytes);
		type = hw_types_add(cache->types, next->address, next);
	}
	return type;
}

const struct hw_type *hw_type_at_slow(struct hw_type_cache *cache, hw_addr_t addr)
{
	// No type object is in the first page, or unaligned, or in the kernel's half.
	if (addr & 3 || addr < HW_PAGE_BYTES || addr >> HW_ADDRESS_BITS ||
	    addr & (cache->types->python->layout.word_bytes - 1))
		return NULL;
	// Most words that are no type lead to other blocks: those take no room in the cache.
	if (cache->pymalloc && hw_pymalloc_find_arena(cache->pymalloc, addr))
		return NULL;
	const struct hw_type *type = hw_type_prove(cache, addr);
	cache->slots[(addr >> 4 ^ addr >> 16) & (HW_TYPE_CACHE_SLOTS - 1)] =
		(struct hw_type_slot){ addr, (struct hw_type *)type };
	return type;
}
