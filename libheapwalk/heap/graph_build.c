/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Makes the graph in two passes over the heap, each on several threads. The first finds the objects, what
// they count, and how much of a list's buffer the list uses; the second the links, holder by holder, so
// that a node's links come out side by side.
#include <string.h>

#include "base/bytes.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "cpython/references.h"
#include "heap/graph_internal.h"

enum { HW_LINKS_MAX = 1 << 27 }; // of deques and ordered dicts, a thread

struct hw_build;

// One thread.
struct hw_graph_worker {
	struct hw_worker worker; // its sink makes links of what an owner says
	struct hw_build *build;
	struct hw_window beside; // on words outside of what is at hand
	const struct hw_seen_block *block;
	struct hw_piece *piece;
	const struct hw_type *type; // of the object under way
	bool is_out_of_memory;
};

// What one piece of work found.
struct hw_piece {
	HW_VEC(uint32_t) links; // by holder
	HW_VEC(struct hw_reference_limit) limits;
};

struct hw_build {
	struct hw_graph *graph;
	struct hw_heap *heap;
	const struct hw_python_layout *layout;
	hw_items items;
	struct hw_piece *pieces;                  // one an item
	HW_VEC(struct hw_reference_limit) limits; // of all, sorted
	hw_addr_t low, high;                      // of all memory that has nodes
	struct hw_graph_worker *workers;
	unsigned worker_count;
	_Atomic size_t next;
	bool (*visit)(void *payload, const struct hw_seen_block *block);
	bool (*wants)(const struct hw_heap *heap, uint32_t slot);
};

static const struct hw_type *hw_slot_type(const struct hw_heap *heap, uint32_t slot)
{
	uint32_t type = hw_heap_category(heap, HW_SLOT_CATEGORY(slot))->type;
	return type ? heap->types.all.data[type - 1] : NULL;
}

// ---- the first pass ------------------------------------------------------------------------------

static bool hw_wants_objects(const struct hw_heap *heap, uint32_t slot)
{
	return hw_heap_category(heap, HW_SLOT_CATEGORY(slot))->type != 0;
}

static bool hw_take_limit(void *payload, const struct hw_reference_limit *limit)
{
	struct hw_graph_worker *worker = payload;
	return hw_vec_push(&worker->piece->limits, *limit);
}

// `object` is its first bytes.
static uint32_t hw_graph_count(const struct hw_heap *heap, const uint8_t *object)
{
	uint64_t refcount = hw_refcount(heap->prover.refcount_bits, heap->prover.layout, object,
					hw_heap_word_bytes(heap));
	if (hw_heap_is_immortal(heap, refcount))
		return HW_GRAPH_NEVER_DIES;
	return (uint32_t)hw_min(refcount, HW_GRAPH_NEVER_DIES - 1);
}

static bool hw_meet_object(void *payload, const struct hw_seen_block *block)
{
	struct hw_graph_worker *worker = payload;
	struct hw_graph *graph = worker->build->graph;
	const struct hw_heap *heap = worker->build->heap;
	const struct hw_python_layout *l = worker->build->layout;
	const struct hw_type *type = hw_slot_type(heap, *block->slot);
	uint64_t requested;
	uint32_t at = type->head_bytes + hw_debug_head(block->bytes, block->len, block->capacity,
						       l->word_bytes, &requested);
	if (at + (uint64_t)l->object_size > block->len ||
	    at / HW_GRAPH_AT_BYTES + 1 > HW_GRAPH_OBJECT_AT_MAX)
		return true;
	struct hw_slot slot = hw_heap_slot_at(heap, block->user);
	uint32_t node = hw_graph_node_of(graph, &slot);
	graph->object_at[node] = (uint8_t)(at / HW_GRAPH_AT_BYTES + 1);
	graph->references[node] = hw_graph_count(heap, block->bytes + at);
	if (!hw_references_may_limit(type))
		return true;
	const struct hw_reference_owner owner = {
		l, type, block->user + at, block->bytes + at, block->len - at, block->capacity - at
	};
	worker->is_out_of_memory |= !hw_references_visit_limits(&owner, &worker->worker.sink,
								hw_take_limit, worker);
	return !worker->is_out_of_memory;
}

// 2.7: numbers that share a chunk.
static void hw_meet_numbers(struct hw_build *build)
{
	struct hw_graph_worker *worker = &build->workers[0];
	struct hw_graph *graph = build->graph;
	const struct hw_heap *heap = build->heap;
	hw_vec_foreach(block, &heap->slot_blocks)
	{
		for (uint32_t i = 0; i < block->count && !block->is_native; i++) {
			uint32_t slot = block->slots + i, node = graph->numbers_first + slot;
			hw_addr_t object = block->first + (uint64_t)i * block->slot_bytes;
			const uint8_t *bytes;
			if (!hw_slot_type(heap, heap->slot_categories.data[slot]) ||
			    !(bytes = hw_window_get(&worker->worker.window, object,
						    (size_t)build->layout->object_size)))
				continue;
			graph->object_at[node] = 1;
			graph->references[node] = hw_graph_count(heap, bytes);
		}
	}
}

// ---- the second pass -----------------------------------------------------------------------------

static bool hw_wants_holders(const struct hw_heap *heap, uint32_t slot)
{
	const struct hw_category_entry *entry = hw_category_entry(&heap->categories,
								  HW_SLOT_CATEGORY(slot));
	// What is interned is not counted by the dict that has it.
	if (!strcmp(entry->category.detail, "interned") && entry->claim_kind != HW_CLAIM_OBJECT)
		return false;
	return entry->category.type ||
	       (slot & HW_SLOT_CLAIMED && entry->claim_kind < HW_CLAIM_USER);
}

static void hw_link_to(struct hw_graph_worker *worker, uint32_t node)
{
	if (!hw_vec_push(&worker->piece->links, node))
		worker->is_out_of_memory = true;
}

// A word that may be the address of an object.
static inline void hw_link_word(struct hw_graph_worker *worker, uint64_t word)
{
	const struct hw_build *build = worker->build;
	const struct hw_graph *graph = build->graph;
	if (word - build->low >= build->high - build->low || word & (HW_GRAPH_AT_BYTES - 1))
		return;
	struct hw_slot slot;
	uint32_t node = hw_graph_find(graph, word, &slot);
	if (node && graph->object_at[node] &&
	    word == slot.user + HW_GRAPH_AT_BYTES * (hw_addr_t)(graph->object_at[node] - 1))
		hw_link_to(worker, node);
}

static void hw_link_run(void *payload, const struct hw_reference_run *run)
{
	struct hw_graph_worker *worker = payload;
	const struct hw_seen_block *block = worker->block;
	hw_addr_t at = run->first;
	uint64_t left = run->count, before = at - block->user;
	const unsigned word = hw_heap_word_bytes(worker->build->heap);
	if (!left || run->stride_bytes < word || (left - 1) > (UINT64_MAX - at) / run->stride_bytes)
		return;
	// Most are at hand.
	for (; left && before + word <= block->len; left--, before += run->stride_bytes)
		hw_link_word(worker, hw_word(block->bytes + before, word));
	at = block->user + before;
	while (left && !worker->is_out_of_memory) {
		size_t len;
		const uint64_t want = hw_min((left - 1) * run->stride_bytes + word,
					     HW_WINDOW_BYTES);
		const uint8_t *bytes = hw_window_get_some(&worker->beside, at, (size_t)want, &len);
		if (!bytes || len < word)
			return; // what can't be read is not known: the report says so
		uint64_t offset = 0;
		for (; left && offset + word <= len; left--, offset += run->stride_bytes)
			hw_link_word(worker, hw_word(bytes + offset, word));
		at += offset;
	}
}

// hw_claim_sink.claim: what the object under way owns.
static void hw_link_claim(struct hw_claim_sink *sink, const struct hw_claim *claim)
{
	struct hw_graph_worker *worker = (struct hw_graph_worker *)sink;
	const struct hw_heap *heap = worker->build->heap;
	if (claim->kind == HW_CLAIM_OBJECT) {
		// A dict that stands in no word of the object, but before it; others are met as words.
		if (worker->type->flags & HW_TPFLAGS_MANAGED_DICT &&
		    claim->detail == HW_DETAIL_INSTANCE_DICT && claim->type == worker->type &&
		    claim->address)
			hw_link_word(worker, claim->address);
		return;
	}
	struct hw_slot slot = hw_heap_claimed_slot(heap, claim);
	if (slot.category && *slot.category & HW_SLOT_CLAIMED &&
	    !hw_slot_type(heap, *slot.category))
		hw_link_to(worker, hw_graph_node_of(worker->build->graph, &slot));
}

static void hw_link_object(struct hw_graph_worker *worker, const struct hw_seen_block *block,
			   uint32_t at)
{
	const struct hw_python_layout *l = worker->build->layout;
	const struct hw_object object = { .type = worker->type, .offset = at };
	const struct hw_reference_owner owner = { l,
						  worker->type,
						  block->user + at,
						  block->bytes + at,
						  block->len - at,
						  block->capacity - at };
	hw_references_visit(&owner, hw_link_run, worker);
	if (!hw_owners_may_claim(l, worker->type, block->bytes + at, block->len - at))
		return;
	worker->worker.sink.block = block->user;
	worker->worker.sink.block_end = block->user + block->capacity;
	hw_owners_visit(l, &object, block->user, block->bytes, block->len, &worker->worker.sink);
}

static void hw_link_buffer(struct hw_graph_worker *worker, const struct hw_seen_block *block,
			   enum hw_claim_kind kind)
{
	const struct hw_build *build = worker->build;
	uint64_t requested;
	uint32_t at = hw_debug_head(block->bytes, block->len, block->capacity,
				    build->layout->word_bytes, &requested);
	struct hw_reference_buffer buffer = {
		.layout = build->layout,
		.kind = kind,
		.address = block->user + at,
		.bytes = block->bytes + at,
		.len = block->len - at,
		.room = at ? hw_min(requested, block->capacity - at) : block->capacity,
	};
	if (hw_buffer_needs_limit(build->layout, kind)) {
		// Of two lists in one block the first one's: no list has another's.
		size_t i = hw_vec_find_beyond(&build->limits, buffer, buffer.address - 1);
		if (i == build->limits.count || build->limits.data[i].buffer != buffer.address)
			return;
		buffer.from = build->limits.data[i].from;
		buffer.to = build->limits.data[i].to;
	}
	hw_references_visit_buffer(&buffer, hw_link_run, worker);
}

static bool hw_meet_holder(void *payload, const struct hw_seen_block *block)
{
	struct hw_graph_worker *worker = payload;
	struct hw_graph *graph = worker->build->graph;
	const struct hw_heap *heap = worker->build->heap;
	struct hw_slot slot = hw_heap_slot_at(heap, block->user);
	uint32_t node = hw_graph_node_of(graph, &slot);
	size_t before = worker->piece->links.count;
	worker->block = block;
	worker->type = hw_slot_type(heap, *block->slot);
	if (!worker->type)
		hw_link_buffer(worker, block,
			       hw_category_entry(&heap->categories, HW_SLOT_CATEGORY(*block->slot))
				       ->claim_kind);
	else if (graph->object_at[node])
		hw_link_object(worker, block, HW_GRAPH_AT_BYTES * (graph->object_at[node] - 1u));
	graph->held.first[node] = (uint32_t)(worker->piece->links.count - before);
	return !worker->is_out_of_memory;
}

// ---- passes --------------------------------------------------------------------------------------

static void hw_build_run(void *payload, unsigned index)
{
	struct hw_build *build = payload;
	struct hw_graph_worker *worker = &build->workers[index];
	struct hw_progress *progress = build->heap->in.progress;
	const struct hw_block_visitor visitor = { build->heap, &worker->worker.window, build->wants,
						  build->visit, worker };
	size_t i;
	while ((i = atomic_fetch_add(&build->next, 1)) < build->items.count &&
	       !hw_progress_stopped(progress)) {
		worker->piece = &build->pieces[i];
		if (!hw_heap_visit_item(&visitor, &build->items.data[i]))
			break;
		atomic_fetch_add(&progress->done,
				 hw_item_bytes(build->heap, &build->items.data[i]));
		if (!index && hw_progress_poll(progress))
			break;
	}
}

static struct hw_error *hw_build_pass(struct hw_build *build,
				      bool (*wants)(const struct hw_heap *, uint32_t),
				      bool (*visit)(void *, const struct hw_seen_block *))
{
	struct hw_progress *progress = build->heap->in.progress;
	build->wants = wants;
	build->visit = visit;
	atomic_store(&build->next, 0);
	hw_parallel(build->worker_count, hw_build_run, build);
	for (unsigned i = 0; i < build->worker_count; i++)
		if (build->workers[i].is_out_of_memory)
			return &hw_enomem;
	if (hw_progress_stopped(progress))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted while references were looked for");
	return NULL;
}

static int hw_limit_order(const void *a, const void *b)
{
	const struct hw_reference_limit *x = a, *y = b;
	return (x->buffer > y->buffer) - (x->buffer < y->buffer);
}

static struct hw_error *hw_build_gather_limits(struct hw_build *build)
{
	size_t count = 0;
	for (size_t i = 0; i < build->items.count; i++)
		count += build->pieces[i].limits.count;
	if (!hw_vec_reserve(&build->limits, count))
		return &hw_enomem;
	for (size_t i = 0; i < build->items.count; i++) {
		struct hw_piece *piece = &build->pieces[i];
		if (piece->limits.count)
			memcpy(build->limits.data + build->limits.count, piece->limits.data,
			       piece->limits.count * sizeof(*piece->limits.data));
		build->limits.count += piece->limits.count;
		hw_vec_deinit(&piece->limits);
	}
	if (count)
		qsort(build->limits.data, count, sizeof(*build->limits.data), hw_limit_order);
	return NULL;
}

// ---- tables --------------------------------------------------------------------------------------

static bool hw_links_table_init(struct hw_links_table *table, uint32_t node_count)
{
	table->first_bytes = ((size_t)node_count + 1) * sizeof(*table->first);
	table->first = hw_map_zeroed(table->first_bytes);
	return table->first;
}

static bool hw_links_table_reserve(struct hw_links_table *table, uint64_t link_count)
{
	table->to_bytes = (link_count + 1) * sizeof(*table->to);
	table->to = hw_map_zeroed(table->to_bytes);
	return table->to;
}

// held.first has each node's number of links: it becomes where they begin, and the pieces one table.
static struct hw_error *hw_build_join(struct hw_build *build)
{
	struct hw_graph *graph = build->graph;
	for (size_t i = 0; i < build->items.count; i++)
		graph->link_count += build->pieces[i].links.count;
	if (graph->link_count > UINT32_MAX - 1)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "%llu references are more than can be kept, %u",
				       (unsigned long long)graph->link_count, UINT32_MAX - 1);
	if (!hw_links_table_reserve(&graph->held, graph->link_count))
		return &hw_enomem;
	uint32_t *first = graph->held.first, total = 0;
	for (uint32_t node = 0; node <= graph->node_count; node++) {
		uint32_t count = first[node];
		first[node] = total;
		total += count;
	}
	for (size_t i = 0; i < build->items.count; i++) {
		struct hw_piece *piece = &build->pieces[i];
		if (piece->links.count)
			memcpy(graph->held.to +
				       first[hw_graph_first_node(graph, &build->items.data[i])],
			       piece->links.data, piece->links.count * sizeof(*piece->links.data));
		hw_vec_deinit(&piece->links);
	}
	return NULL;
}

// The same links seen from the other end, by holder since holders are visited in order.
static struct hw_error *hw_build_turn(struct hw_graph *graph)
{
	struct hw_links_table *held = &graph->held, *holders = &graph->holders;
	if (!hw_links_table_init(holders, graph->node_count) ||
	    !hw_links_table_reserve(holders, graph->link_count))
		return &hw_enomem;
	// Two places ahead, so that filling leaves each where it has to be.
	uint32_t *first = holders->first;
	for (uint64_t i = 0; i < graph->link_count; i++)
		if (held->to[i] + 2 <= graph->node_count)
			first[held->to[i] + 2]++;
	for (uint32_t node = 1; node <= graph->node_count; node++)
		first[node] += first[node - 1];
	for (uint32_t node = 0; node < graph->node_count; node++)
		for (uint32_t i = held->first[node]; i < held->first[node + 1]; i++)
			holders->to[first[held->to[i] + 1]++] = node;
	return NULL;
}

// A buffer that nothing is known to own is held by something else.
static void hw_build_roots(struct hw_graph *graph)
{
	for (uint32_t node = 1; node < graph->node_count; node++) {
		bool is_held = graph->holders.first[node + 1] > graph->holders.first[node];
		bool is_root = graph->object_at[node] ? hw_graph_unexplained(graph, node) != 0
						      : !is_held && graph->held.first[node + 1] >
									    graph->held.first[node];
		if (is_root)
			graph->roots[node / 64] |= UINT64_C(1) << node % 64;
	}
}

// ---- all of it -----------------------------------------------------------------------------------

struct hw_block_order {
	uint32_t slots, index;
};

static int hw_block_order(const void *a, const void *b)
{
	const struct hw_block_order *x = a, *y = b;
	return (x->slots > y->slots) - (x->slots < y->slots);
}

static struct hw_error *hw_graph_order_numbers(struct hw_graph *graph)
{
	const struct hw_heap *heap = graph->heap;
	const size_t count = heap->slot_blocks.count;
	struct hw_block_order *order = calloc(count + 1, sizeof(*order));
	graph->number_blocks = calloc(count + 1, sizeof(*graph->number_blocks));
	if (!order || !graph->number_blocks) {
		free(order);
		return &hw_enomem;
	}
	for (size_t i = 0; i < count; i++)
		order[i] = (struct hw_block_order){ heap->slot_blocks.data[i].slots, (uint32_t)i };
	qsort(order, count, sizeof(*order), hw_block_order);
	for (size_t i = 0; i < count; i++)
		graph->number_blocks[i] = order[i].index;
	free(order);
	return NULL;
}

static struct hw_error *hw_graph_number(struct hw_graph *graph)
{
	const struct hw_heap *heap = graph->heap;
	const struct hw_glibc *glibc = heap->in.glibc;
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	uint64_t count = 1;
	uint64_t pages = heap->page_slots_bytes / sizeof(uint32_t);
	uint64_t numbers = heap->slot_categories.count, chunks = 0;
	hw_vec_foreach(pool, &pm->pools) if (hw_pool_slots_of(heap->pool_slots, pool))
		count += pool->capacity;
	hw_vec_foreach(region, &glibc->regions) chunks += region->count;
	if (count + pages + numbers + chunks > UINT32_MAX - 2)
		return hw_error_create(
			HW_ERROR_UNSUPPORTED, "%llu blocks are more than a graph can have, %u",
			(unsigned long long)(count + pages + numbers + chunks), UINT32_MAX - 2);
	graph->pages_first = (uint32_t)count;
	graph->numbers_first = (uint32_t)(count + pages);
	graph->node_count = (uint32_t)(count + pages + numbers);
	graph->pool_first = malloc((pm->pools.count + 1) * sizeof(*graph->pool_first));
	graph->region_first = calloc(glibc->regions.count + 1, sizeof(*graph->region_first));
	if (!graph->pool_first || !graph->region_first)
		return &hw_enomem;
	graph->pool_first[0] = 1;
	for (size_t i = 0; i < pm->pools.count; i++) {
		const struct hw_pool *pool = &pm->pools.data[i];
		bool has_blocks = hw_pool_slots_of(heap->pool_slots, pool);
		graph->pool_first[i + 1] = graph->pool_first[i] + (has_blocks ? pool->capacity : 0);
	}
	for (size_t i = 0; i < glibc->regions.count; i++) {
		graph->region_first[i] = graph->node_count;
		graph->node_count += glibc->regions.data[i].count;
	}
	graph->object_at = hw_map_zeroed(graph->node_count);
	graph->references = hw_map_zeroed(graph->node_count * sizeof(*graph->references));
	graph->roots = hw_map_zeroed((graph->node_count / 64 + 1) * sizeof(*graph->roots));
	if (!graph->object_at || !graph->references || !graph->roots ||
	    !hw_links_table_init(&graph->held, graph->node_count))
		return &hw_enomem;
	return hw_graph_order_numbers(graph);
}

static void hw_build_bounds(struct hw_build *build)
{
	const struct hw_heap *heap = build->heap;
	build->low = UINT64_MAX;
	hw_vec_foreach(span, &heap->spans)
	{
		if (span->kind == HW_STRETCH_PLAIN || span->kind == HW_STRETCH_AREA)
			continue;
		build->low = hw_min(build->low, span->start);
		build->high = hw_max(build->high, span->end);
	}
	build->low = hw_min(build->low, build->high);
}

static struct hw_error *hw_build_workers(struct hw_build *build)
{
	const struct hw_heap *heap = build->heap;
	unsigned count = heap->in.target->ops->is_thread_safe ? heap->in.threads : 1;
	count = (unsigned)hw_min(hw_max(count, 1), HW_PARALLEL_MAX);
	build->workers = calloc(count, sizeof(*build->workers));
	if (!build->workers)
		return &hw_enomem;
	for (; build->worker_count < count; build->worker_count++) {
		struct hw_graph_worker *worker = &build->workers[build->worker_count];
		HW_TRY(hw_worker_init(&worker->worker, build->heap));
		hw_window_init(&worker->beside, heap->in.target);
		worker->worker.sink.claim = hw_link_claim;
		worker->worker.sink.links_left = HW_LINKS_MAX;
		worker->build = build;
	}
	return NULL;
}

static struct hw_error *hw_build_all(struct hw_build *build)
{
	struct hw_heap *heap = build->heap;
	struct hw_progress *progress = heap->in.progress;
	HW_TRY(hw_graph_number(build->graph));
	if (!hw_heap_add_items(heap, &build->items))
		return &hw_enomem;
	build->pieces = calloc(build->items.count + 1, sizeof(*build->pieces));
	if (!build->pieces)
		return &hw_enomem;
	HW_TRY(hw_build_workers(build));
	hw_build_bounds(build);
	progress->what = "references";
	progress->total = 0;
	atomic_store(&progress->done, 0);
	hw_vec_foreach(item, &build->items) progress->total += 2 * hw_item_bytes(heap, item);
	HW_TRY(hw_build_pass(build, hw_wants_objects, hw_meet_object));
	hw_meet_numbers(build);
	HW_TRY(hw_build_gather_limits(build));
	HW_TRY(hw_build_pass(build, hw_wants_holders, hw_meet_holder));
	HW_TRY(hw_build_join(build));
	HW_TRY(hw_build_turn(build->graph));
	hw_build_roots(build->graph);
	return NULL;
}

static void hw_build_deinit(struct hw_build *build)
{
	for (unsigned i = 0; i < build->worker_count; i++) {
		hw_window_deinit(&build->workers[i].beside);
		hw_worker_deinit(&build->workers[i].worker);
	}
	free(build->workers);
	for (size_t i = 0; build->pieces && i < build->items.count; i++) {
		hw_vec_deinit(&build->pieces[i].links);
		hw_vec_deinit(&build->pieces[i].limits);
	}
	free(build->pieces);
	hw_vec_deinit(&build->items);
	hw_vec_deinit(&build->limits);
}

struct hw_error *hw_graph_build(struct hw_heap *heap, struct hw_graph **ret)
{
	if (heap->in.python->module && !heap->has_python)
		return hw_error_create(
			HW_ERROR_UNSUPPORTED,
			"CPython allocates from mimalloc, which heapwalk reads in 64-bit "
			"programs, and this is a 32-bit one (%s): who holds its objects is "
			"not known",
			heap->in.target->machine->name);
	if (!heap->has_python)
		return hw_error_create(
			HW_ERROR_NOT_FOUND,
			"no CPython was found in this process: only its objects count "
			"who holds them");
	if (heap->in.python->is_free_threaded)
		return hw_error_create(
			HW_ERROR_UNSUPPORTED,
			"CPython %s is built without the GIL: references that a thread "
			"counts for itself can't be told from those of C",
			heap->in.python->version);
	struct hw_graph *graph = calloc(1, sizeof(*graph));
	if (!graph)
		return &hw_enomem;
	graph->heap = heap;
	struct hw_build build = { .graph = graph,
				  .heap = heap,
				  .layout = &heap->in.python->layout };
	struct hw_error *err = hw_build_all(&build);
	hw_build_deinit(&build);
	if (err) {
		hw_graph_destroy(graph);
		return err;
	}
	*ret = graph;
	return NULL;
}
