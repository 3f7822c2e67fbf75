/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Between the classifiers of native/ and the table: what they are shown, and what becomes of their claims.
//
// A classifier's claim waits until every block was looked at, because only then is it known which blocks
// are Python's; then the claims of all threads settle in address order.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "heap/heap_internal.h"

// One that does not say how its blocks begin wants to see them all.
static struct hw_open_classifier hw_opened(const struct hw_classifier *classifier, void *state)
{
	struct hw_open_classifier open = { .classifier = classifier, .state = state };
	if (classifier->beginnings)
		classifier->beginnings(state, &open.beginnings);
	else
		memset(open.beginnings.bytes, 0xff, sizeof(open.beginnings.bytes));
	return open;
}

struct hw_error *hw_heap_open_classifiers(struct hw_heap *heap)
{
	const struct hw_native native = { .target = heap->in.target,
					  .modules = heap->in.modules,
					  .rules = heap->in.rules,
					  .issues = heap->in.issues,
					  .absences = &heap->absences };
	bool is_64 = hw_heap_word_bytes(heap) == 8;
	if (!is_64)
		hw_issues_add(heap->in.issues, HW_ERROR_UNSUPPORTED, 0,
			      "the program is a 32-bit one (%s): which classes and libraries its "
			      "blocks belong to is not told",
			      heap->in.target->machine->name);
	for (const struct hw_classifier *const *at = hw_classifiers; *at; at++) {
		void *state = NULL;
		if (!is_64 && !(*at)->reads_32_bit)
			continue;
		struct hw_error *err = (*at)->open(&native, &state);
		if (err && err->code != HW_ERROR_NO_MEMORY) {
			hw_issues_take(heap->in.issues, hw_error_prefix(err, "%s", (*at)->name));
			continue;
		}
		if (err)
			return err;
		if (state && !hw_vec_push(&heap->classifiers, hw_opened(*at, state))) {
			(*at)->close(state);
			return &hw_enomem;
		}
	}
	return NULL;
}

void hw_heap_close_classifiers(struct hw_heap *heap)
{
	hw_vec_foreach(open, &heap->classifiers) open->classifier->close(open->state);
	hw_vec_deinit(&heap->classifiers);
}

// ---- categories --------------------------------------------------------------------------------

uint32_t hw_native_category(struct hw_worker_native *native, const struct hw_native_kind *kind)
{
	// Their strings stay where they are: equal pointers are equal words, and most blocks repeat a kind.
	uintptr_t hash = (uintptr_t)kind->domain + 3 * (uintptr_t)kind->kind +
			 7 * (uintptr_t)kind->detail;
	struct hw_known_kind *known =
		&native->known[(hash ^ hash >> 7) & (HW_NATIVE_KNOWN_KINDS - 1)];
	if (known->kind.kind != kind->kind || known->kind.domain != kind->domain ||
	    known->kind.detail != kind->detail)
		*known = (struct hw_known_kind){
			*kind, hw_category_intern(&native->heap->categories,
						  &(struct hw_category){ .domain = kind->domain,
									 .kind = kind->kind,
									 .detail = kind->detail,
									 .state = HW_STATE_IN_USE,
									 .state_word = "in use" },
						  HW_CLAIM_KIND_COUNT)
		};
	return known->category;
}

static struct hw_native_block hw_native_block_of(const struct hw_heap *heap, hw_addr_t user,
						 const uint8_t *bytes, size_t len,
						 uint64_t capacity)
{
	uint32_t head = 0;
	if (heap->in.python->module) // else nobody puts debug hooks' bytes before a block
		head = hw_debug_head(bytes, len, capacity, hw_heap_word_bytes(heap), &capacity);
	return (struct hw_native_block){ .start = user + head,
					 .bytes = bytes + head,
					 .len = (size_t)hw_min(len - head, capacity),
					 .capacity = capacity };
}

uint32_t hw_worker_classify(struct hw_worker *worker, hw_addr_t user, const uint8_t *bytes,
			    size_t len, uint64_t capacity)
{
	struct hw_heap *heap = worker->heap;
	struct hw_native_block block = hw_native_block_of(heap, user, bytes, len, capacity);
	if (heap->has_python && hw_is_ast_arena_block(block.start, block.bytes, block.len,
						      block.capacity, hw_heap_word_bytes(heap)))
		return hw_category_of_claim(&heap->categories, HW_CLAIM_AST_ARENA, "");
	hw_vec_foreach(open, &heap->classifiers)
	{
		struct hw_native_kind kind;
		worker->native.current = (uint32_t)(open - heap->classifiers.data) + 1;
		if (open->classifier->classify &&
		    open->classifier->classify(open->state, &worker->native.sink, &block, &kind))
			return hw_native_category(&worker->native, &kind);
	}
	return HW_CATEGORY_UNCATEGORIZED;
}

// ---- at first sight ----------------------------------------------------------------------------

bool hw_heap_can_look(const struct hw_heap *heap)
{
	// A block that the first one wants to see again is read again, whatever the others say of it.
	return !heap->in.python->module && heap->classifiers.count &&
	       heap->classifiers.data[0].classifier->glance;
}

uint32_t hw_heap_look(void *payload, unsigned worker, hw_addr_t user, const uint8_t *bytes,
		      size_t len, uint64_t capacity)
{
	struct hw_heap *heap = payload;
	hw_vec_foreach(open, &heap->classifiers)
	{
		if (len >= 8 && !hw_begins_so(&open->beginnings, bytes))
			continue;
		if (!open->classifier->glance)
			return HW_CATEGORY_NONE;
		const struct hw_native_block block = {
			.start = user, .bytes = bytes, .len = len, .capacity = capacity
		};
		struct hw_native_kind kind;
		enum hw_glance glance = open->classifier->glance(open->state, &block, &kind);
		if (glance == HW_GLANCE_KNOWN)
			return hw_native_category(&heap->lookers[worker], &kind);
		if (glance == HW_GLANCE_LATER)
			return HW_CATEGORY_NONE;
	}
	return HW_CATEGORY_UNCATEGORIZED;
}

// ---- the sink ----------------------------------------------------------------------------------

// The chunk in use whose data starts at `start`, behind the debug hooks' bytes if it has them.
static bool hw_native_find(struct hw_native_sink *sink, hw_addr_t start, uint64_t *ret_capacity)
{
	struct hw_worker_native *native = (struct hw_worker_native *)sink;
	struct hw_heap *heap = native->heap;
	if (hw_pymalloc_find_arena(heap->in.pymalloc, start) ||
	    hw_mimalloc_find_segment(heap->in.mimalloc, start))
		return false; // which of its blocks are free is not known yet
	struct hw_slot slot = hw_heap_slot_at(heap, start);
	if (slot.category &&
	    slot.user == slot.start) { // a slab's slot: no header, and none of the hooks'
		*ret_capacity = slot.bytes;
		return start == slot.start &&
		       hw_heap_category(heap, HW_SLOT_CATEGORY(*slot.category))->state ==
			       HW_STATE_IN_USE;
	}
	if (!slot.category || start < slot.user ||
	    hw_category_is_fixed_not_in_use(HW_SLOT_CATEGORY(hw_slot_load(slot.category))))
		return false;
	// Data runs on over the next chunk's prev_size; that of an mmapped one ends with it.
	const unsigned word = hw_heap_word_bytes(heap);
	uint64_t capacity = slot.start + slot.bytes + word - slot.user;
	const struct hw_region *region = hw_glibc_find_region(heap->in.glibc, slot.start);
	if (region && region->kind == HW_REGION_MMAPPED)
		capacity -= word;
	uint8_t bytes[HW_DEBUG_HEADS_MAX * HW_DEBUG_HEAD_BYTES];
	uint32_t head = 0;
	if (start != slot.user) {
		if (start - slot.user > sizeof(bytes) || capacity < sizeof(bytes) ||
		    !hw_pages_read(sink->pages, slot.user, bytes, sizeof(bytes)))
			return false;
		head = hw_debug_head(bytes, sizeof(bytes), capacity, word, &capacity);
	}
	*ret_capacity = capacity;
	return start - slot.user == head;
}

static void hw_native_claim(struct hw_native_sink *sink, hw_addr_t start,
			    const struct hw_native_kind *kind)
{
	struct hw_worker_native *native = (struct hw_worker_native *)sink;
	struct hw_slot slot = hw_heap_slot_at(native->heap, start);
	uint64_t capacity;
	// Slots of a slab that is just being split are found when all are.
	if (!slot.category ||
	    (HW_SLOT_CATEGORY(hw_slot_load(slot.category)) != HW_CATEGORY_SLOT_HEADER &&
	     !hw_native_find(sink, start, &capacity)))
		return;
	struct hw_native_claim claim = { start, hw_native_category(native, kind), 0 };
	if (!hw_vec_push(&native->claims, claim))
		hw_issues_take(native->heap->in.issues, &hw_enomem);
}

static void hw_native_suspect(struct hw_native_sink *sink, const struct hw_native_block *block,
			      const struct hw_native_kind *kind)
{
	struct hw_worker_native *native = (struct hw_worker_native *)sink;
	struct hw_native_claim claim = { block->start, hw_native_category(native, kind),
					 native->current };
	if (!hw_vec_push(&native->claims, claim))
		hw_issues_take(native->heap->in.issues, &hw_enomem);
}

static const char *hw_native_intern(struct hw_native_sink *sink, const char *text)
{
	struct hw_worker_native *native = (struct hw_worker_native *)sink;
	return hw_categories_intern_text(&native->heap->categories, text);
}

void hw_worker_native_init(struct hw_worker_native *native, struct hw_heap *heap,
			   struct hw_pages *pages, uint64_t links)
{
	native->heap = heap;
	native->sink = (struct hw_native_sink){ .pages = pages,
						.find = hw_native_find,
						.claim = hw_native_claim,
						.suspect = hw_native_suspect,
						.split = hw_native_split,
						.intern = hw_native_intern,
						.links_left = links };
}

void hw_heap_claim_native_roots(struct hw_heap *heap, struct hw_worker *worker)
{
	hw_vec_foreach(open, &heap->classifiers) if (open->classifier->roots)
		open->classifier->roots(open->state, &worker->native.sink);
}

// ---- settling ----------------------------------------------------------------------------------

static int hw_native_claim_order(const void *a, const void *b, void *payload)
{
	const struct hw_native_claim *x = a, *y = b;
	const struct hw_categories *categories = payload;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	// A proof before a suspicion; suspicions in the order of the classifiers.
	if (x->suspected_by != y->suspected_by)
		return x->suspected_by < y->suspected_by ? -1 : 1;
	if (x->category == y->category)
		return 0;
	// Not by id: ids depend on which thread was first.
	const struct hw_category *p = &hw_category_entry(categories, x->category)->category;
	const struct hw_category *q = &hw_category_entry(categories, y->category)->category;
	int order = strcmp(p->domain, q->domain);
	if (!order)
		order = strcmp(p->kind, q->kind);
	return order ? order : strcmp(p->detail, q->detail);
}

bool hw_native_may_name(const struct hw_heap *heap, uint32_t slot)
{
	uint32_t id = HW_SLOT_CATEGORY(slot);
	if (slot & HW_SLOT_CLAIMED)
		return false;
	if (id < HW_CATEGORY_FIXED_COUNT)
		return id == HW_CATEGORY_UNCATEGORIZED || id == HW_CATEGORY_C_STRING;
	const struct hw_category_entry *entry = hw_category_entry(&heap->categories, id);
	return entry->claim_kind == HW_CLAIM_KIND_COUNT && entry->category.state == HW_STATE_IN_USE;
}

static bool hw_native_gather(struct hw_worker *workers, unsigned count)
{
	struct hw_worker_native *into = &workers[0].native;
	for (unsigned i = 1; i < count; i++)
		if (!hw_vec_append(&into->claims, &workers[i].native.claims))
			return false;
	return true;
}

// A suspicion names only what has no name, and holds only where its classifier's library is in use.
static bool hw_native_holds(const struct hw_heap *heap, const struct hw_native_claim *claim,
			    uint32_t slot)
{
	if (!hw_native_may_name(heap, slot))
		return false;
	if (!claim->suspected_by)
		return true;
	const struct hw_open_classifier *open = &heap->classifiers.data[claim->suspected_by - 1];
	return HW_SLOT_CATEGORY(slot) < HW_CATEGORY_FIXED_COUNT && open->classifier->is_in_use &&
	       open->classifier->is_in_use(open->state);
}

bool hw_heap_settle_native(struct hw_heap *heap, struct hw_worker *workers, unsigned count)
{
	struct hw_worker_native *native = &workers[0].native;
	if (!hw_native_gather(workers, count))
		return false;
	hw_vec_foreach(open, &heap->classifiers) if (open->classifier->finish)
		open->classifier->finish(open->state, &native->sink);
	if (!hw_heap_classify_slots(heap, &workers[0]))
		return false;
	if (!native->claims.count)
		return true;
	qsort_r(native->claims.data, native->claims.count, sizeof(*native->claims.data),
		hw_native_claim_order, &heap->categories);
	hw_addr_t done = 0;
	hw_vec_foreach(claim, &native->claims)
	{
		struct hw_slot slot = hw_heap_slot_at(heap, claim->start);
		uint64_t capacity;
		if (claim->start == done || !slot.category ||
		    !hw_native_holds(heap, claim, *slot.category) ||
		    !hw_native_find(&native->sink, claim->start, &capacity))
			continue;
		done = claim->start;
		*slot.category = claim->category;
	}
	return true;
}
