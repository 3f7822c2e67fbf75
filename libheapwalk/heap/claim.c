/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Claims: an owner says what a block is. They settle at once, from any thread, and the outcome does
// not depend on the order: a claim beats a header, of two claims the one of the earlier kind wins, then
// the lesser text. A block that its allocator calls free takes no claim.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "heap/heap_internal.h"

// How far behind the start of a block's user data a pointer may lead, in words: debug hooks put two or four
// there, an object has its GC head and pre-header too, dict values of 3.11 and 3.12 their insertion order.
// What is aligned to lines of the cache (3.14t) begins up to one later.
enum {
	HW_CLAIM_SLACK = 4,
	HW_CLAIM_OBJECT_SLACK = 12,
	HW_CLAIM_INTERIOR_SLACK = 12,
	HW_CLAIM_ALIGNED_SLACK = 14
};

uint32_t hw_heap_make_object_category(struct hw_heap *heap, const struct hw_type *type,
				      enum hw_type_category which)
{
	uint32_t id = 0;
	struct hw_category category = { .domain = "python",
					.kind = type->name,
					.detail = "",
					.state = HW_STATE_IN_USE,
					.state_word = "in use",
					.type = type->index + 1 };
	char detail[300];
	switch (which) {
	case HW_TYPE_CATEGORY_FREE_LISTED:
		category.domain = "cpython";
		category.kind = hw_claim_kind_word(HW_CLAIM_FREE_LIST);
		category.detail = type->name;
		category.type = 0;
		break;
	case HW_TYPE_CATEGORY_INSTANCE_KEYS:
	case HW_TYPE_CATEGORY_INSTANCE_VALUES:
		snprintf(detail, sizeof(detail), "%s.__dict__", type->name);
		id = hw_category_of_claim(&heap->categories,
					  which == HW_TYPE_CATEGORY_INSTANCE_KEYS
						  ? HW_CLAIM_DICT_KEYS
						  : HW_CLAIM_DICT_VALUES,
					  detail);
		break;
	default:
		break;
	}
	if (!id)
		id = hw_category_intern(&heap->categories, &category, HW_CLAIM_OBJECT);
	atomic_store_explicit((_Atomic uint32_t *)&type->categories[which], id,
			      memory_order_release);
	return id;
}

// A slab's slots are blocks: `slot`, which is the slab's, becomes that of the slot around addr.
static void hw_slot_in_slab(const struct hw_heap *heap, hw_addr_t addr, struct hw_slot *slot)
{
	const struct hw_slot_block *block = hw_heap_slot_block_at(heap, addr);
	if (!block || !block->is_native || addr < block->first)
		return;
	uint64_t i = (addr - block->first) / block->slot_bytes;
	if (i >= block->count)
		return;
	slot->start = slot->user = block->first + i * block->slot_bytes;
	slot->bytes = block->slot_bytes;
	slot->region = UINT32_MAX;
	slot->category = &heap->slot_categories.data[block->slots + i];
}

struct hw_slot hw_heap_slot_at(const struct hw_heap *heap, hw_addr_t addr)
{
	struct hw_slot slot = { .region = UINT32_MAX };
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	const struct hw_pool *pool = hw_pool_slots_find(heap->pool_slots, addr);
	if (pool) {
		hw_addr_t first = pool->start + pm->header_bytes;
		if (pool->is_empty || pool->is_bad || addr < first)
			return slot;
		uint32_t bytes = hw_pool_block_bytes(pm, pool);
		uint32_t i = (uint32_t)(addr - first) / bytes;
		if (i >= pool->capacity)
			return slot;
		slot.start = slot.user = first + (hw_addr_t)i * bytes;
		slot.bytes = bytes;
		slot.category = hw_pool_slots_of(heap->pool_slots, pool) + i;
		slot.pool = pool;
		return slot;
	}
	struct hw_region *region = hw_glibc_find_region(heap->in.glibc, addr);
	if (!region)
		return hw_heap_segment_slot(heap, addr);
	uint32_t i = hw_region_find_chunk(region, addr);
	if (i >= region->count)
		return slot;
	// What the application has of a chunk runs on over the next one's prev_size: with the debug
	// hooks, a block of no bytes "is" there.
	const uint32_t header_bytes = heap->in.glibc->header_bytes;
	if (i && addr - hw_region_chunk_start(region, i) < header_bytes / 2)
		i--;
	hw_addr_t chunk = hw_region_chunk_start(region, i);
	slot.start = chunk;
	slot.bytes = hw_region_chunk_end(region, i) - chunk;
	slot.user = (region->kind == HW_REGION_MMAPPED ? region->mmapped_chunk : chunk) +
		    header_bytes;
	slot.category = &region->state[i];
	slot.region = (uint32_t)(region - heap->in.glibc->regions.data);
	if (HW_SLOT_CATEGORY(hw_slot_load(slot.category)) == HW_CATEGORY_SLOT_HEADER)
		hw_slot_in_slab(heap, addr, &slot);
	return slot;
}

static bool hw_claim_is_better(const struct hw_category_entry *a, const struct hw_category_entry *b)
{
	if (a->claim_kind != b->claim_kind)
		return a->claim_kind < b->claim_kind;
	// Named beats unnamed: a dict's own claim on its table carries no detail, its owner's does.
	if (!*a->category.detail != !*b->category.detail)
		return *a->category.detail;
	int order = strcmp(a->category.detail, b->category.detail);
	return order ? order < 0 : strcmp(a->category.kind, b->category.kind) < 0;
}

// What was in the slot before; 0 too when the claim was not taken.
static uint32_t hw_slot_claim(struct hw_heap *heap, uint32_t *slot, uint32_t id, hw_addr_t block)
{
	uint32_t old = hw_slot_load(slot);
	for (;;) {
		if (hw_category_is_fixed_not_in_use(HW_SLOT_CATEGORY(old)))
			return 0;
		if (old & HW_SLOT_CLAIMED) {
			if (HW_SLOT_CATEGORY(old) == id)
				return 0;
			const struct hw_category_entry *a = hw_category_entry(&heap->categories,
									      id);
			const struct hw_category_entry *b =
				hw_category_entry(&heap->categories, HW_SLOT_CATEGORY(old));
			if (*a->category.detail && *b->category.detail) {
				atomic_fetch_add(&heap->conflict_count, 1);
				if (heap->in.debug)
					hw_issues_add(heap->in.issues, HW_ERROR_CONFLICT, block,
						      "block %#llx: claimed as %s %s and as %s %s",
						      (unsigned long long)block, a->category.kind,
						      a->category.detail, b->category.kind,
						      b->category.detail);
			}
			if (!hw_claim_is_better(a, b))
				return 0;
		}
		if (__atomic_compare_exchange_n(slot, &old, id | HW_SLOT_CLAIMED, true,
						__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return old;
	}
}

// An owner says something about an object: its kind stays its type's name.
static void hw_worker_claim_object(struct hw_worker *worker, const struct hw_claim *claim,
				   const struct hw_slot *slot)
{
	struct hw_heap *heap = worker->heap;
	uint64_t type_addr;
	if (!hw_pages_read_word(&worker->pages,
				claim->address + (uint64_t)heap->in.python->layout.ob_type,
				&type_addr))
		return;
	const struct hw_type *type = hw_type_at(&worker->cache, type_addr);
	if (!type)
		return;
	uint32_t id = 0;
	_Atomic uint32_t *cached = NULL;
	char text[300];
	const char *detail = claim->text;
	if (claim->detail == HW_DETAIL_INSTANCE_DICT) {
		if (type->is_dict && !(type->flags & HW_TPFLAGS_HEAPTYPE) && !type->dictoffset &&
		    !strcmp(type->name, "dict"))
			cached = (_Atomic uint32_t *)&claim->type
					 ->categories[HW_TYPE_CATEGORY_INSTANCE_DICT];
		if (cached)
			id = atomic_load_explicit(cached, memory_order_acquire);
		snprintf(text, sizeof(text), "%s.__dict__", claim->type->name);
		detail = text;
	}
	if (!id)
		id = hw_category_intern(&heap->categories,
					&(struct hw_category){ .domain = "python",
							       .kind = claim->kind_text
									       ? claim->kind_text
									       : type->name,
							       .detail = detail,
							       .state = HW_STATE_IN_USE,
							       .state_word = "in use",
							       .type = type->index + 1 },
					HW_CLAIM_OBJECT);
	if (cached)
		atomic_store_explicit(cached, id, memory_order_release);
	uint32_t old = hw_slot_claim(heap, slot->category, id, slot->start);
	// Visited before it had this detail: its table gets it afterwards.
	if (old && type->is_dict &&
	    !hw_vec_push(&worker->pending, ((struct hw_pending_dict){ claim->address, id })))
		hw_issues_take(heap->in.issues, &hw_enomem);
}

void hw_worker_claim_buffer(struct hw_worker *worker, hw_addr_t address, uint32_t owner,
			    enum hw_claim_kind kind)
{
	struct hw_heap *heap = worker->heap;
	struct hw_slot slot = hw_heap_slot_at(heap, address);
	if (slot.category && address >= slot.user &&
	    address - slot.user <= HW_CLAIM_SLACK * heap->prover.word_bytes)
		hw_slot_claim(heap, slot.category,
			      hw_category_companion(&heap->categories, owner, kind), slot.start);
}

struct hw_slot hw_heap_claimed_slot(const struct hw_heap *heap, const struct hw_claim *claim)
{
	struct hw_slot slot = hw_heap_slot_at(heap, claim->address);
	static const uint8_t further[HW_CLAIM_KIND_COUNT] = {
		[HW_CLAIM_OBJECT] = HW_CLAIM_OBJECT_SLACK - HW_CLAIM_SLACK,
		[HW_CLAIM_INTERPRETER] = HW_CLAIM_ALIGNED_SLACK - HW_CLAIM_SLACK,
		[HW_CLAIM_THREAD] = HW_CLAIM_ALIGNED_SLACK - HW_CLAIM_SLACK,
		[HW_CLAIM_QSBR] = HW_CLAIM_ALIGNED_SLACK - HW_CLAIM_SLACK,
	};
	uint32_t slack = HW_CLAIM_SLACK + further[claim->kind];
	if (claim->is_interior)
		slack = HW_CLAIM_INTERIOR_SLACK;
	if (claim->address < slot.user ||
	    claim->address - slot.user > slack * heap->prover.word_bytes ||
	    slot.start + slot.bytes + 8 - claim->address < claim->bytes_min)
		slot.category = NULL;
	return slot;
}

// A user's rule: its words, on a block that has the room that it asks for.
static void hw_worker_claim_by_rule(struct hw_worker *worker, const struct hw_claim *claim,
				    const struct hw_slot *slot)
{
	uint32_t id = hw_category_intern(&worker->heap->categories,
					 &(struct hw_category){ .domain = claim->rule->domain,
								.kind = claim->rule->kind,
								.detail = "",
								.state = HW_STATE_IN_USE,
								.state_word = "in use" },
					 HW_CLAIM_USER);
	hw_slot_claim(worker->heap, slot->category, id, slot->start);
}

void hw_worker_claim(struct hw_claim_sink *sink, const struct hw_claim *claim)
{
	struct hw_worker *worker = (struct hw_worker *)sink;
	struct hw_heap *heap = worker->heap;
	struct hw_slot slot = hw_heap_claimed_slot(heap, claim);
	if (!slot.category)
		return;
	if (claim->kind == HW_CLAIM_OBJECT) {
		hw_worker_claim_object(worker, claim, &slot);
		return;
	}
	uint32_t id;
	if (claim->kind == HW_CLAIM_USER) {
		hw_worker_claim_by_rule(worker, claim, &slot);
		return;
	}
	switch (claim->detail) {
	case HW_DETAIL_INSTANCE_DICT:
		id = hw_heap_object_category(heap, claim->type,
					     claim->kind == HW_CLAIM_DICT_KEYS
						     ? HW_TYPE_CATEGORY_INSTANCE_KEYS
						     : HW_TYPE_CATEGORY_INSTANCE_VALUES);
		break;
	case HW_DETAIL_TEXT:
		id = hw_category_of_claim(&heap->categories, claim->kind, claim->text);
		break;
	default:
		id = hw_category_companion(&heap->categories, worker->owner_category, claim->kind);
		break;
	}
	hw_slot_claim(heap, slot.category, id, slot.start);
}

static int hw_pending_order(const void *a, const void *b)
{
	const struct hw_pending_dict *x = a, *y = b;
	return x->dict < y->dict ? -1 : x->dict > y->dict;
}

void hw_worker_settle(struct hw_worker *worker)
{
	const struct hw_python_layout *layout = &worker->heap->in.python->layout;
	if (!worker->pending.count)
		return;
	// In address order, so that the window moves forward through the heap once.
	qsort(worker->pending.data, worker->pending.count, sizeof(worker->pending.data[0]),
	      hw_pending_order);
	for (size_t i = 0; i < worker->pending.count; i++) {
		struct hw_pending_dict pending = worker->pending.data[i];
		size_t len = (size_t)layout->dict_size;
		const uint8_t *bytes = hw_window_get(&worker->window, pending.dict, len);
		worker->owner_category = pending.category;
		worker->sink.block = pending.dict;
		worker->sink.block_end = pending.dict + len;
		if (bytes)
			hw_owners_visit_dict(layout, pending.dict, bytes, len, &worker->sink);
	}
	worker->pending.count = 0;
}
