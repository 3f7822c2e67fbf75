/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "analysis/explain.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "glibc/layout.h"

struct hw_explainer {
	struct hw_session *session;
	struct hw_explanation *e;
	struct hw_inspector *inspector;
	struct hw_pages *pages; // the inspector's
	struct hw_obmalloc_view view;
	bool is_out_of_memory;
};

// ---- rows ----

static void hw_explain_row(struct hw_explainer *x, hw_addr_t addr, struct hw_explained_row *ret)
{
	ret->is_there = hw_heap_find(x->session->heap, addr, &ret->row);
	if (ret->is_there)
		hw_session_block(x->session, &ret->row, x->pages, &ret->block);
}

static void hw_explain_rows(struct hw_explainer *x)
{
	struct hw_explanation *e = x->e;
	hw_explain_row(x, e->address, &e->row);
	if (!e->row.is_there)
		return;
	if (e->row.row.start)
		hw_explain_row(x, e->row.row.start - 1, &e->before);
	hw_explain_row(x, e->row.row.start + e->row.row.size_bytes, &e->after);
	e->data = e->row.row.start;
}

// ---- obmalloc ----

struct hw_place_search {
	hw_addr_t member;
	uint64_t position;
	bool is_found;
};

static bool hw_place_member(void *payload, hw_addr_t member)
{
	struct hw_place_search *search = payload;
	search->is_found = member == search->member;
	search->position += !search->is_found;
	return !search->is_found;
}

static struct hw_explained_place hw_place_of(const struct hw_place_search *search, bool is_whole,
					     const char *list)
{
	if (search->is_found)
		return (struct hw_explained_place){ .list = list, .position = search->position };
	return (struct hw_explained_place){ .is_unknown = !is_whole };
}

static void hw_explain_arena_object(struct hw_explainer *x, hw_addr_t addr)
{
	struct hw_explained_arena_object *ao = &x->e->arena_object;
	const struct hw_pymalloc_state *state = hw_arena_object_at(&x->view, addr, &ao->index,
								   &ao->address);
	if (!state || !hw_arena_object_read(&x->view, ao->address, &ao->object))
		return;
	ao->is_there = true;
	ao->interpreter_id = state->interpreter_id;
	struct hw_place_search search = { .member = ao->address };
	if (ao->object.address) {
		bool is_whole = hw_has_usable_arenas(&x->view, state) &&
				hw_usable_arenas_visit(&x->view, state, hw_place_member, &search);
		ao->place = hw_place_of(&search, is_whole, "usable_arenas");
		x->e->arena = hw_arena_of_object(x->view.pymalloc, ao->address);
		return;
	}
	bool is_whole = hw_has_unused_arena_objects(&x->view, state) &&
			hw_unused_arena_objects_visit(&x->view, state, hw_place_member, &search);
	ao->place = hw_place_of(&search, is_whole, "unused_arena_objects");
}

static struct hw_explained_place hw_explain_pool_place(struct hw_explainer *x,
						       const struct hw_pool *pool)
{
	const struct hw_pymalloc_state *state =
		&x->view.pymalloc->states.data[x->e->arena->interpreter];
	struct hw_place_search search = { .member = pool->start };
	if (pool->is_bad)
		return (struct hw_explained_place){ .is_unknown = true };
	if (pool->is_empty) {
		bool is_whole = hw_freepools_visit(&x->view, x->e->arena, hw_place_member, &search);
		return hw_place_of(&search, is_whole, "freepools");
	}
	bool is_whole = hw_has_usedpools(state) &&
			hw_usedpools_visit(&x->view, state, pool->szidx, hw_place_member, &search);
	return hw_place_of(&search, is_whole, "usedpools");
}

static bool hw_take_free_block(void *payload, hw_addr_t block)
{
	struct hw_explainer *x = payload;
	x->is_out_of_memory |= !hw_vec_push(&x->e->pool.free_list, block);
	return !x->is_out_of_memory;
}

static void hw_explain_free_list(struct hw_explainer *x, const struct hw_pool *pool)
{
	struct hw_explained_pool *p = &x->e->pool;
	const uint32_t size = hw_pool_block_bytes(x->view.pymalloc, pool);
	p->free_list_is_whole = hw_freeblocks_visit(&x->view, pool, hw_take_free_block, x);
	p->free_blocks = (uint32_t)p->free_list.count;
	p->virgin_blocks = pool->capacity -
			   (pool->next_offset - x->view.pymalloc->header_bytes) / size;
}

static void hw_explain_pool_block(struct hw_explainer *x, const struct hw_pool *pool)
{
	struct hw_explanation *e = x->e;
	struct hw_explained_pool *p = &e->pool;
	const uint32_t size = hw_pool_block_bytes(x->view.pymalloc, pool);
	hw_addr_t first = pool->start + x->view.pymalloc->header_bytes;
	if (e->address < first || (e->address - first) / size >= pool->capacity)
		return;
	p->has_block = true;
	p->block_index = (uint32_t)((e->address - first) / size);
	for (uint32_t i = 0; i < p->free_list.count && !p->block_is_listed; i++) {
		p->block_is_listed = p->free_list.data[i] ==
				     first + (uint64_t)p->block_index * size;
		p->block_position = i;
	}
}

static const char *hw_pool_state_word(const struct hw_pool *pool)
{
	return pool->is_bad                        ? "damaged"
	       : pool->is_empty                    ? "empty"
	       : pool->ref_count == pool->capacity ? "full"
						   : "used";
}

static void hw_explain_pool(struct hw_explainer *x)
{
	struct hw_explanation *e = x->e;
	const struct hw_pymalloc *pm = x->view.pymalloc;
	struct hw_explained_pool *p = &e->pool;
	e->arena = hw_pymalloc_find_arena(pm, e->address);
	if (!e->arena || e->arena->is_missing || e->address < e->arena->first_pool)
		return;
	uint64_t index = (e->address - e->arena->first_pool) / pm->pool_bytes;
	if (index >= e->arena->pools_total)
		return; // what is left at the arena's end
	p->is_there = true;
	p->index = (uint32_t)index;
	p->start = e->arena->first_pool + index * pm->pool_bytes;
	p->pool = hw_pymalloc_find_pool(pm, e->address);
	p->state = p->pool ? hw_pool_state_word(p->pool) : "never carved";
	if (!p->pool)
		return;
	p->has_header = hw_pool_header_read(&x->view, p->start, &p->header);
	p->place = hw_explain_pool_place(x, p->pool);
	if (p->pool->is_empty || p->pool->is_bad)
		return;
	hw_explain_free_list(x, p->pool);
	hw_explain_pool_block(x, p->pool);
}

// ---- malloc ----

static void hw_explain_chunk(struct hw_explainer *x)
{
	struct hw_explanation *e = x->e;
	const struct hw_glibc *glibc = &x->session->glibc;
	struct hw_explained_chunk *c = &e->chunk;
	const struct hw_region *region = hw_glibc_find_region(glibc, e->address);
	const unsigned word = x->session->target->machine->word_bytes;
	uint8_t header[16];
	// What a thread's heap begins with is no chunk.
	if (!region || !region->count || (e->row.is_there && e->row.row.category == HW_CHUNK_ARENA))
		return;
	c->is_there = true;
	c->region = region;
	c->index = hw_region_find_chunk(region, e->address);
	c->address = hw_region_chunk_start(region, c->index);
	c->size_bytes = hw_region_chunk_end(region, c->index) - c->address;
	if (region->kind == HW_REGION_MMAPPED)
		c->address = region->mmapped_chunk;
	else if (region->arena_index < glibc->arenas.count)
		c->arena = &glibc->arenas.data[region->arena_index];
	c->has_header = hw_pages_read(x->pages, c->address, header, 2 * word);
	if (c->has_header) {
		c->prev_size = hw_word(header, word);
		c->size_field = hw_word(header + word, word);
	}
	// 2.7's ints are rows inside of a chunk.
	if (e->row.is_there && e->row.row.start == hw_region_chunk_start(region, c->index))
		e->data = c->address + glibc->header_bytes;
}

static const struct hw_glibc_arena *hw_explain_malloc_state(const struct hw_session *session,
							    hw_addr_t addr)
{
	if (!session->glibc.layout)
		return NULL;
	hw_vec_foreach(arena, &session->glibc.arenas)
	{
		if (addr - arena->address < session->glibc.layout->size)
			return arena;
	}
	return NULL;
}

// ---- what is not heap ----

static void hw_explain_symbol(struct hw_explainer *x)
{
	struct hw_explanation *e = x->e;
	struct hw_module *module = hw_modules_at(x->session->modules, e->address);
	if (module && hw_module_symbol_at(module, e->address, &e->symbol))
		e->symbol_file = module->path;
}

static void hw_explain_stack(struct hw_explainer *x)
{
	struct hw_explanation *e = x->e;
	const struct hw_target *target = x->session->target;
	if (e->row.is_there && strcmp(e->row.block.domain, "stack") != 0)
		return;
	for (size_t i = 0; i < target->threads.count; i++) {
		const struct hw_thread *thread = &target->threads.data[i];
		if (thread->sp < e->mapping.start || thread->sp >= e->mapping.end)
			continue;
		e->stack_thread = thread->tid;
		e->stack_pointer = thread->sp;
		return;
	}
}

// ---- objects ----

// The object in the row, or a static one at the address, or where its symbol begins.
static void hw_explain_object(struct hw_explainer *x)
{
	struct hw_explanation *e = x->e;
	if (e->row.is_there && e->row.row.allocator != HW_ALLOCATOR_NONE)
		e->has_object = e->row.block.object &&
				hw_inspect_object(x->inspector, e->row.block.object, &e->object);
	else if (e->mapping.path[0] == '/' || e->symbol_file)
		e->has_object = hw_inspect_object(x->inspector, e->address, &e->object) ||
				(e->symbol_file && !e->symbol.is_function &&
				 hw_inspect_object(x->inspector, e->symbol.address, &e->object));
	if (e->has_object)
		e->value_is_exact = hw_inspect_value(x->inspector, &e->object, e->value);
}

static bool hw_take_link(struct hw_explainer *x, struct hw_explained_links *links,
			 const struct hw_ownership *ownership, hw_addr_t other)
{
	struct hw_explained_link link = { .ownership = *ownership };
	links->count++;
	if (links->list.count == HW_EXPLAIN_LINKS_MAX)
		return true;
	hw_explain_row(x, other, &link.row);
	x->is_out_of_memory |= !hw_vec_push(&links->list, link);
	return !x->is_out_of_memory;
}

static bool hw_take_owner(void *payload, const struct hw_ownership *ownership)
{
	struct hw_explainer *x = payload;
	return hw_take_link(x, &x->e->owners, ownership, ownership->owner);
}

static bool hw_take_owned(void *payload, const struct hw_ownership *ownership)
{
	struct hw_explainer *x = payload;
	return hw_take_link(x, &x->e->owns, ownership, ownership->target);
}

static struct hw_error *hw_explain_ownership(struct hw_explainer *x)
{
	struct hw_explanation *e = x->e;
	if (e->has_object)
		hw_inspect_owned(x->inspector, &e->object, hw_take_owned, x);
	if (!e->row.is_there)
		return NULL;
	HW_TRY(hw_inspect_owners(x->inspector, &e->row.row, hw_take_owner, x));
	if (!e->owners.count)
		e->root = hw_inspect_root(x->inspector, &e->row.row);
	return NULL;
}

// ---- in a word ----

// Of a block whose bytes are missing or damaged nothing is said but that.
static const char *hw_block_word(const struct hw_block *block)
{
	switch (block->state) {
	case HW_STATE_IN_USE:
		return "block in use";
	case HW_STATE_FREE:
		return "free block";
	case HW_STATE_OVERHEAD:
		return "malloc's own";
	case HW_STATE_UNKNOWN:
		break;
	}
	return block->kind;
}

static const char *hw_explain_mi_word(const struct hw_explanation *e)
{
	const struct hw_mi_page *page = e->mi.page;
	if (!page)
		return "segment header";
	if (page->is_free)
		return "free slices of a segment";
	if (page->is_bad)
		return "damaged page";
	if (page->is_missing)
		return hw_block_word(&e->row.block);
	return e->mi.has_block ? hw_block_word(&e->row.block)
	       : e->row.is_there && e->row.block.state == HW_STATE_FREE
		       ? "part of a page never carved"
		       : "padding of a page";
}

static const char *hw_explain_word(const struct hw_explanation *e, const struct hw_pymalloc *pm)
{
	if (e->malloc_state)
		return "malloc_state";
	if (e->arena_object.is_there)
		return "arena_object";
	if (e->pool.is_there) {
		if (!e->pool.pool || e->pool.pool->is_empty)
			return "unused pool";
		if (e->address - e->pool.start < pm->header_bytes)
			return "pool header";
		return e->pool.pool->is_bad ? "damaged pool"
		       : !e->pool.has_block ? "padding of a pool"
					    : hw_block_word(&e->row.block);
	}
	if (e->mi.segment)
		return hw_explain_mi_word(e);
	if (e->arena)
		return e->arena->is_missing ? hw_block_word(&e->row.block) : "padding of an arena";
	if (e->row.is_there && e->row.row.category == HW_CHUNK_ARENA)
		return "malloc's own";
	if (e->chunk.is_there) {
		if (e->address < e->chunk.address)
			return "padding before an mmapped chunk";
		if (e->address - e->chunk.address < 16)
			return "chunk header";
		return hw_block_word(&e->row.block);
	}
	if (e->stack_thread || (e->row.is_there && !strcmp(e->row.block.domain, "stack")))
		return "stack";
	if (e->mapping.path[0] == '/')
		return e->mapping.flags & HW_MAP_EXEC ? "code" : "data of a file";
	if (e->row.is_there && !strcmp(e->row.block.domain, "file"))
		return "data of a file";
	if (e->row.is_there && e->row.block.state == HW_STATE_IN_USE)
		return "block in use";
	return e->mapping.path[0] ? "special mapping" : "anonymous mapping";
}

// ---- all of it ----

static struct hw_error *hw_explain_all(struct hw_explainer *x)
{
	struct hw_session *session = x->session;
	struct hw_explanation *e = x->e;
	HW_TRY(hw_session_need_heap(session));
	const struct hw_mapping *mapping = hw_target_find_mapping(session->target, e->address);
	if (!mapping)
		return hw_error_at(HW_ERROR_NOT_FOUND, e->address,
				   "0x%" PRIx64 " is in no mapping of the target: it is no address "
				   "there",
				   e->address);
	e->mapping = *mapping;
	HW_TRY(hw_inspector_create(session->heap, &x->inspector));
	x->pages = hw_inspector_pages(x->inspector);
	x->view = (struct hw_obmalloc_view){ .pymalloc = &session->pymalloc,
					     .layout = &session->python.layout,
					     .pages = x->pages,
					     .issues = &session->issues };
	hw_explain_rows(x);
	hw_explain_symbol(x);
	e->malloc_state = hw_explain_malloc_state(session, e->address);
	if (session->pymalloc.states.count) {
		hw_explain_pool(x);
		if (!e->arena)
			hw_explain_arena_object(x, e->address);
	}
	HW_TRY(hw_explain_mimalloc(session, x->pages, e));
	if (!e->pool.is_there && !e->mi.segment)
		hw_explain_chunk(x);
	hw_explain_stack(x);
	if (session->python.has_objects)
		hw_explain_object(x);
	HW_TRY(hw_explain_ownership(x));
	e->what = hw_explain_word(e, x->view.pymalloc);
	return x->is_out_of_memory ? &hw_enomem : NULL;
}

struct hw_error *hw_explain(struct hw_session *session, hw_addr_t addr, struct hw_explanation *ret)
{
	*ret = (struct hw_explanation){ .address = addr, .what = "", .root = "" };
	struct hw_explainer x = { .session = session, .e = ret };
	HW_TRY(hw_session_stop(session));
	struct hw_error *err = hw_explain_all(&x);
	hw_session_resume(session);
	hw_inspector_destroy(x.inspector);
	if (err)
		hw_explanation_deinit(ret);
	return err;
}

void hw_explanation_deinit(struct hw_explanation *e)
{
	hw_vec_deinit(&e->pool.free_list);
	hw_vec_deinit(&e->owners.list);
	hw_vec_deinit(&e->owns.list);
}
