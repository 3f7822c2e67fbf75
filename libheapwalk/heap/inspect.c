/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "heap/inspect.h"

#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "heap/heap_internal.h"

struct hw_inspector {
	struct hw_worker worker; // its sink asks instead of claiming
	hw_ownership_fn *visit;
	void *payload;
	struct hw_ownership ownership; // the owner under way
	hw_addr_t wanted;              // start of the block whose owners are looked for, 0: any
	bool is_stopped;
};

// hw_claim_sink.claim of an inspector.
static void hw_inspector_claim(struct hw_claim_sink *sink, const struct hw_claim *claim)
{
	struct hw_inspector *inspector = (struct hw_inspector *)sink;
	struct hw_slot slot = hw_heap_claimed_slot(inspector->worker.heap, claim);
	// An old-style instance tells its own name that way.
	bool is_itself = claim->address == inspector->ownership.owner;
	if (inspector->is_stopped || is_itself || !slot.category ||
	    (inspector->wanted && slot.start != inspector->wanted))
		return;
	inspector->ownership.field = claim->field;
	inspector->ownership.target = claim->address;
	inspector->is_stopped = !inspector->visit(inspector->payload, &inspector->ownership);
}

struct hw_error *hw_inspector_create(struct hw_heap *heap, struct hw_inspector **ret)
{
	struct hw_inspector *inspector = calloc(1, sizeof(*inspector));
	if (!inspector)
		return &hw_enomem;
	struct hw_error *err = hw_worker_init(&inspector->worker, heap);
	if (err) {
		free(inspector);
		return err;
	}
	inspector->worker.sink.claim = hw_inspector_claim;
	*ret = inspector;
	return NULL;
}

void hw_inspector_destroy(struct hw_inspector *inspector)
{
	if (!inspector)
		return;
	hw_worker_deinit(&inspector->worker);
	free(inspector);
}

struct hw_pages *hw_inspector_pages(struct hw_inspector *inspector)
{
	return &inspector->worker.pages;
}

struct hw_type_cache *hw_inspector_types(struct hw_inspector *inspector)
{
	return &inspector->worker.cache;
}

// ---- one object ----

static const struct hw_type *hw_inspect_type(struct hw_inspector *inspector, hw_addr_t addr)
{
	struct hw_worker *worker = &inspector->worker;
	uint64_t type_addr;
	if (!worker->heap->has_python || addr & (hw_heap_word_bytes(worker->heap) - 1) ||
	    !hw_pages_read_word(&worker->pages,
				addr + (uint64_t)worker->heap->in.python->layout.ob_type,
				&type_addr))
		return NULL;
	return hw_type_at(&worker->cache, type_addr);
}

// sys.getsizeof() of an object without buffers: its own bytes and what its type puts before it.
static uint64_t hw_inspect_size(struct hw_inspector *inspector, hw_addr_t addr,
				const struct hw_type *type)
{
	struct hw_worker *worker = &inspector->worker;
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	uint8_t bytes[HW_OBJECT_LOOK_BYTES];
	size_t len = (size_t)hw_min(type->basicsize, sizeof(bytes));
	if (type->shape == HW_SHAPE_AT_LEAST || type->flags & HW_TPFLAGS_INLINE_VALUES ||
	    !hw_pages_read(&worker->pages, addr, bytes, len))
		return 0;
	if (type->is_type) {
		// A static type is smaller than its type says, and has no GC head.
		const struct hw_type *self = hw_type_at(&worker->cache, addr);
		if (self && !(self->flags & HW_TPFLAGS_HEAPTYPE))
			return (uint64_t)l->type_size;
	}
	uint64_t size = hw_object_bytes(l, type, bytes, len);
	if (size && type->shape == HW_SHAPE_INT && type->itemsize) {
		// int counts from where its digits are: bool's own size has a digit already (to 3.11).
		uint64_t digits = (uint64_t)l->ob_size + l->word_bytes;
		if (l->long_lv_tag == HW_ABSENT)
			size -= type->basicsize - digits;
		// Zero has one too since the type has a name of its own, 3.11.
		if (l->ht_tpname != HW_ABSENT)
			size = hw_max(size, digits + type->itemsize);
	}
	return size ? size + type->head_bytes : 0;
}

bool hw_inspect_object(struct hw_inspector *inspector, hw_addr_t addr,
		       struct hw_inspected_object *ret)
{
	struct hw_worker *worker = &inspector->worker;
	const struct hw_heap *heap = worker->heap;
	const struct hw_type *type = hw_inspect_type(inspector, addr);
	uint64_t refcount;
	bool is_part;
	if (!type ||
	    !hw_object_refcount(&heap->prover, &worker->pages, addr, &refcount, &is_part) ||
	    !refcount || !hw_refcount_is_sane(&heap->prover, refcount))
		return false;
	uint8_t header[HW_OBJECT_HEADER_MAX];
	*ret = (struct hw_inspected_object){
		.address = addr,
		.type = type->name,
		.type_address = type->address,
		.refcount = (int64_t)refcount,
		.is_immortal = hw_heap_is_immortal(heap, refcount),
		.head_bytes = type->head_bytes,
		.size_bytes = hw_inspect_size(inspector, addr, type),
		.is_split = heap->prover.refcount_bits.is_split &&
			    hw_pages_read(&worker->pages, addr, header, heap->prover.object_size),
	};
	if (ret->is_split)
		hw_split_count_read(&heap->in.python->layout, header, &ret->split);
	return true;
}

bool hw_inspect_value(struct hw_inspector *inspector, const struct hw_inspected_object *object,
		      char *buf)
{
	return hw_value_text(&inspector->worker.cache, object->address, buf);
}

// ---- ownership ----

static void hw_inspector_begin(struct hw_inspector *inspector, hw_addr_t wanted,
			       hw_ownership_fn *visit, void *payload)
{
	inspector->visit = visit;
	inspector->payload = payload;
	inspector->wanted = wanted;
	inspector->is_stopped = false;
}

bool hw_inspect_owned(struct hw_inspector *inspector, const struct hw_inspected_object *object,
		      hw_ownership_fn *visit, void *payload)
{
	struct hw_worker *worker = &inspector->worker;
	const struct hw_python_layout *l = &worker->heap->in.python->layout;
	const struct hw_type *type = hw_inspect_type(inspector, object->address);
	uint8_t bytes[HW_OBJECT_LOOK_BYTES];
	if (!type)
		return true;
	size_t len = (size_t)hw_min(type->basicsize, sizeof(bytes));
	if (!hw_pages_read(&worker->pages, object->address, bytes, len))
		return true;
	struct hw_object proved = { .type = type };
	hw_inspector_begin(inspector, 0, visit, payload);
	inspector->ownership = (struct hw_ownership){ .owner = object->address,
						      .owner_type = type->name };
	worker->sink.block = object->address - type->head_bytes;
	worker->sink.block_end = object->address + hw_max(object->size_bytes, type->basicsize);
	hw_owners_visit(l, &proved, object->address, bytes, len, &worker->sink);
	return !inspector->is_stopped;
}

static bool hw_type_may_own(const struct hw_type *type)
{
	return type->rule_count || type->dictoffset || type->flags & HW_TPFLAGS_MANAGED_DICT;
}

// Is there an object in a block of that category, of a type that may own something?
static bool hw_slot_may_own(const struct hw_heap *heap, uint32_t slot)
{
	uint32_t type = hw_heap_category(heap, HW_SLOT_CATEGORY(slot))->type;
	return type && hw_type_may_own(heap->types.all.data[type - 1]);
}

// The claims of the object in a block.
static bool hw_inspect_owner(void *payload, const struct hw_seen_block *block)
{
	struct hw_inspector *inspector = payload;
	struct hw_worker *worker = &inspector->worker;
	struct hw_heap *heap = worker->heap;
	struct hw_object object;
	size_t len = (size_t)hw_min(block->len, HW_OBJECT_LOOK_BYTES);
	if (!hw_object_prove(block->prover, &worker->cache, block->bytes, len, block->capacity,
			     &object) ||
	    object.is_dead)
		return true;
	inspector->ownership = (struct hw_ownership){ .owner = block->user + object.offset,
						      .owner_type = object.type->name };
	worker->sink.block = block->user;
	worker->sink.block_end = block->user + block->capacity;
	hw_owners_visit(&heap->in.python->layout, &object, block->user, block->bytes, len,
			&worker->sink);
	return !inspector->is_stopped;
}

static struct hw_error *hw_inspect_all(struct hw_inspector *inspector)
{
	struct hw_heap *heap = inspector->worker.heap;
	struct hw_progress *progress = heap->in.progress;
	const struct hw_block_visitor visitor = { heap, &inspector->worker.window, hw_slot_may_own,
						  hw_inspect_owner, inspector };
	hw_items items = { 0 };
	if (!hw_heap_add_items(heap, &items)) {
		hw_vec_deinit(&items);
		return &hw_enomem;
	}
	progress->what = "owners";
	progress->total = items.count;
	atomic_store(&progress->done, 0);
	hw_vec_foreach(item, &items)
	{
		if (!hw_heap_visit_item(&visitor, item) || hw_progress_poll(progress))
			break;
		atomic_fetch_add(&progress->done, 1);
	}
	hw_vec_deinit(&items);
	// By index: a look-up may find a type that was not met before.
	for (size_t i = 0;
	     i < heap->types.all.count && !inspector->is_stopped && !hw_progress_stopped(progress);
	     i++) {
		const struct hw_type *type = heap->types.all.data[i];
		const struct hw_type *meta = hw_inspect_type(inspector, type->address);
		inspector->ownership = (struct hw_ownership){ .owner = type->address,
							      .owner_type = meta ? meta->name
										 : "type" };
		hw_heap_claim_static_type(&inspector->worker, type->address);
	}
	return NULL;
}

// The slot that a row was made from; category NULL: a row of nobody's.
static struct hw_slot hw_row_slot(const struct hw_heap *heap, const struct hw_row *row)
{
	struct hw_slot none = { 0 };
	if (row->allocator == HW_ALLOCATOR_NONE)
		return none;
	// Behind a chunk's first word, which may be its neighbour's.
	return hw_heap_slot_at(heap, row->start + (row->allocator == HW_ALLOCATOR_GLIBC
							   ? heap->in.glibc->header_bytes
							   : 0));
}

struct hw_error *hw_inspect_owners(struct hw_inspector *inspector, const struct hw_row *row,
				   hw_ownership_fn *visit, void *payload)
{
	struct hw_heap *heap = inspector->worker.heap;
	struct hw_slot slot = hw_row_slot(heap, row);
	if (!heap->has_python || !slot.category || !(hw_slot_load(slot.category) & HW_SLOT_CLAIMED))
		return NULL;
	hw_inspector_begin(inspector, slot.start, visit, payload);
	HW_TRY(hw_inspect_all(inspector));
	if (hw_progress_stopped(heap->in.progress))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted while the owners of the block at 0x%llx were "
				       "looked for",
				       (unsigned long long)row->start);
	return NULL;
}

// By what a claim says, for claims that no object makes (roots.c).
static const char *const hw_root_words[HW_CLAIM_KIND_COUNT] = {
	[HW_CLAIM_ARENA_OBJECTS] = "obmalloc's arenas",
	[HW_CLAIM_ARENA_MAP] = "obmalloc's radix tree of arenas",
	[HW_CLAIM_OBMALLOC_STATE] = "an interpreter's obmalloc",
	[HW_CLAIM_INTERPRETER] = "the runtime's list of interpreters",
	[HW_CLAIM_THREAD] = "an interpreter's list of thread states",
	[HW_CLAIM_STACK_CHUNK] = "a thread state's data stack",
	[HW_CLAIM_FREE_LIST] = "an interpreter's free list",
	[HW_CLAIM_THREAD_COUNTS] = "a thread state",
	[HW_CLAIM_UNIQUE_IDS] = "an interpreter",
	[HW_CLAIM_QSBR] = "an interpreter",
	[HW_CLAIM_DELAYED_FREE] = "a queue of delayed frees",
	[HW_CLAIM_FREE_QUEUE] = "a queue of delayed frees",
	[HW_CLAIM_FREE_KEYS] = "an interpreter's free list of dict keys",
	[HW_CLAIM_HASHTABLE] = "a table of interned strings or constants",
	[HW_CLAIM_HASHTABLE_BUCKETS] = "a table of interned strings or constants",
	[HW_CLAIM_HASHTABLE_ENTRY] = "a table of interned strings or constants",
	[HW_CLAIM_AST_ARENA] = "the compiler's arena of syntax trees",
};

const char *hw_inspect_root(const struct hw_inspector *inspector, const struct hw_row *row)
{
	const struct hw_heap *heap = inspector->worker.heap;
	const struct hw_category_entry *entry = hw_category_entry(&heap->categories, row->category);
	if (entry->category.type && !strcmp(entry->category.detail, "interned"))
		return "the interpreter's interned strings";
	if (!strcmp(entry->category.kind, hw_claim_kind_word(HW_CLAIM_FREE_LIST)))
		return hw_root_words[HW_CLAIM_FREE_LIST];
	const char *word = entry->claim_kind < HW_CLAIM_KIND_COUNT
				   ? hw_root_words[entry->claim_kind]
				   : NULL;
	return word ? word : "";
}
