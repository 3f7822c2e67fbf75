/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The JSON form of `explain`; docs/commands/explain.md says what each name means.
#include "report/explain.h"

static void hw_add_optional_address(struct json_object *object, const char *key, hw_addr_t addr)
{
	hw_json_add(object, key, addr ? hw_json_address(addr) : NULL);
}

static void hw_add_optional_number(struct json_object *object, const char *key, bool is_known,
				   uint64_t number)
{
	hw_json_add(object, key, is_known ? json_object_new_uint64(number) : NULL);
}

// "end" is the last byte, as everywhere in reports.
static void hw_add_range(struct json_object *object, hw_addr_t start, uint64_t size_bytes)
{
	hw_json_add_address(object, "start", start);
	hw_json_add_address(object, "end", start + size_bytes - 1);
}

static struct json_object *hw_json_mapping(struct hw_report *report, const struct hw_mapping *m)
{
	struct json_object *object = json_object_new_object();
	char permissions[5];
	hw_add_range(object, m->start, m->end - m->start);
	hw_json_add_text(report, object, "permissions", hw_permissions(m->flags, permissions));
	hw_json_add_number(object, "file_offset", m->file_offset);
	hw_json_add_text(report, object, "path", m->path);
	return object;
}

static struct json_object *hw_json_symbol(struct hw_report *report, const struct hw_explanation *e)
{
	if (!e->symbol_file)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_text(report, object, "name", e->symbol.name);
	hw_json_add_number(object, "offset", e->address - e->symbol.address);
	hw_json_add_number(object, "size", e->symbol.size);
	hw_json_add_text(report, object, "file", e->symbol_file);
	return object;
}

static struct json_object *hw_json_stack(const struct hw_explanation *e)
{
	if (!e->stack_thread)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_number(object, "tid", (uint64_t)e->stack_thread);
	hw_json_add_address(object, "stack_pointer", e->stack_pointer);
	return object;
}

// As a row of `all` is.
static struct json_object *hw_json_block(struct hw_report *report,
					 const struct hw_explained_row *row)
{
	if (!row->is_there)
		return NULL;
	const struct hw_block *block = &row->block;
	struct json_object *object = json_object_new_object();
	hw_add_range(object, block->start, block->size_bytes);
	hw_json_add_number(object, "size", block->size_bytes);
	hw_json_add_text(report, object, "allocator", block->allocator);
	hw_json_add_text(report, object, "state", block->state_word);
	hw_json_add_text(report, object, "domain", block->domain);
	hw_json_add_text(report, object, "kind", block->kind);
	hw_json_add_text(report, object, "detail", block->detail);
	hw_add_optional_address(object, "object", block->object);
	hw_json_add(object, "refcount",
		    block->object && block->refcount >= 0 ? json_object_new_int64(block->refcount)
							  : NULL);
	return object;
}

static struct json_object *hw_json_this_block(struct hw_report *report,
					      const struct hw_explanation *e)
{
	struct json_object *object = hw_json_block(report, &e->row);
	if (!object)
		return NULL;
	hw_json_add_number(object, "offset", e->address - e->row.block.start);
	hw_json_add_address(object, "data", e->data);
	return object;
}

// A member that is not known is null, and so is one that is known to be on no list.
static void hw_add_place(struct hw_report *report, struct json_object *object,
			 const struct hw_explained_place *place)
{
	hw_json_add_text(report, object, "list", place->list);
	hw_add_optional_number(object, "list_position", place->list, place->position);
	hw_json_add_bool(object, "list_is_known", !place->is_unknown);
}

static struct json_object *hw_json_arena(const struct hw_session *session,
					 const struct hw_explanation *e)
{
	const struct hw_arena *arena = e->arena;
	if (!arena)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_address(object, "arena_object", arena->arena_object);
	hw_json_add_number(object, "index", arena->index);
	hw_json_add(object, "interpreter",
		    json_object_new_int64(
			    session->pymalloc.states.data[arena->interpreter].interpreter_id));
	hw_add_range(object, arena->start, session->pymalloc.arena_bytes);
	hw_json_add_number(object, "pools_free", arena->pools_free);
	hw_json_add_number(object, "pools_total", arena->pools_total);
	return object;
}

static struct json_object *hw_json_arena_object(struct hw_report *report,
						const struct hw_explanation *e)
{
	const struct hw_explained_arena_object *ao = &e->arena_object;
	if (!ao->is_there)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_address(object, "start", ao->address);
	hw_json_add_number(object, "index", ao->index);
	hw_json_add(object, "interpreter", json_object_new_int64(ao->interpreter_id));
	hw_json_add_address(object, "address", ao->object.address);
	hw_json_add_address(object, "pool_address", ao->object.pool_address);
	hw_json_add_number(object, "nfreepools", ao->object.nfreepools);
	hw_json_add_number(object, "ntotalpools", ao->object.ntotalpools);
	hw_json_add_address(object, "freepools", ao->object.freepools);
	hw_json_add_address(object, "nextarena", ao->object.nextarena);
	hw_json_add_address(object, "prevarena", ao->object.prevarena);
	hw_add_place(report, object, &ao->place);
	return object;
}

static void hw_add_pool_header(struct json_object *object, const struct hw_pool_header *header)
{
	struct json_object *fields = json_object_new_object();
	hw_json_add_number(fields, "ref_count", header->ref_count);
	hw_json_add_address(fields, "freeblock", header->freeblock);
	hw_json_add_address(fields, "nextpool", header->nextpool);
	hw_json_add_address(fields, "prevpool", header->prevpool);
	hw_json_add_number(fields, "arenaindex", header->arenaindex);
	hw_json_add_number(fields, "szidx", header->szidx);
	hw_json_add_number(fields, "nextoffset", header->nextoffset);
	hw_json_add_number(fields, "maxnextoffset", header->maxnextoffset);
	hw_json_add(object, "header", fields);
}

static void hw_add_free_list(struct json_object *object, const struct hw_explained_pool *p)
{
	struct json_object *list = json_object_new_array();
	for (size_t i = 0; list && i < p->free_list.count; i++)
		json_object_array_add(list, hw_json_address(p->free_list.data[i]));
	hw_json_add(object, "free_list", list);
	hw_json_add_bool(object, "free_list_is_whole", p->free_list_is_whole);
}

static struct json_object *hw_json_pool(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_explained_pool *p = &e->pool;
	if (!p->is_there)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_address(object, "start", p->start);
	hw_json_add_number(object, "index", p->index);
	hw_json_add_text(report, object, "state", p->state);
	if (!p->pool)
		return object;
	if (p->has_header)
		hw_add_pool_header(object, &p->header);
	hw_add_place(report, object, &p->place);
	if (p->pool->is_empty || p->pool->is_bad)
		return object;
	hw_json_add_number(object, "size_class", p->pool->szidx);
	hw_json_add_number(object, "block_size",
			   hw_pool_block_bytes(&report->session->pymalloc, p->pool));
	hw_json_add_number(object, "blocks", p->pool->capacity);
	hw_json_add_number(object, "blocks_in_use", p->pool->ref_count);
	hw_json_add_number(object, "blocks_free", p->free_blocks);
	hw_json_add_number(object, "blocks_virgin", p->virgin_blocks);
	hw_add_optional_number(object, "block_index", p->has_block, p->block_index);
	hw_add_optional_number(object, "free_list_position", p->block_is_listed, p->block_position);
	hw_add_free_list(object, p);
	return object;
}

static struct json_object *hw_json_chunk(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_explained_chunk *c = &e->chunk;
	if (!c->is_there)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_address(object, "address", c->address);
	hw_json_add_number(object, "size", c->size_bytes);
	hw_json_add_number(object, "index", c->index);
	if (c->has_header) {
		hw_json_add_number(object, "prev_size", c->prev_size);
		hw_json_add_address(object, "size_field", c->size_field);
		hw_json_add_bool(object, "prev_in_use", c->size_field & 1);
		hw_json_add_bool(object, "is_mmapped", c->size_field >> 1 & 1);
		hw_json_add_bool(object, "non_main_arena", c->size_field >> 2 & 1);
	}
	struct json_object *region = json_object_new_object();
	hw_json_add_text(report, region, "kind", hw_region_kind_word(c->region->kind));
	hw_add_range(region, c->region->start, c->region->end - c->region->start);
	hw_json_add(object, "region", region);
	hw_add_optional_address(object, "arena", c->arena ? c->arena->address : 0);
	return object;
}

// null but in a build without the GIL
static struct json_object *hw_json_split_count(const struct hw_inspected_object *o)
{
	const struct hw_split_count *c = &o->split;
	if (!o->is_split)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_add_optional_address(object, "owner_thread", c->owner);
	hw_add_optional_number(object, "local", !c->is_immortal, c->local);
	hw_json_add(object, "shared", c->is_immortal ? NULL : json_object_new_int64(c->shared));
	hw_json_add_bool(object, "deferred", c->is_deferred);
	hw_json_add_bool(object, "tracked", c->gc_bits & HW_GC_TRACKED);
	hw_json_add_bool(object, "finalized", c->gc_bits & HW_GC_FINALIZED);
	hw_json_add_bool(object, "frozen", c->gc_bits & HW_GC_FROZEN);
	return object;
}

static struct json_object *hw_json_object(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_inspected_object *o = &e->object;
	if (!e->has_object)
		return NULL;
	struct json_object *object = json_object_new_object();
	hw_json_add_address(object, "address", o->address);
	hw_json_add_text(report, object, "type", o->type);
	hw_json_add_address(object, "type_address", o->type_address);
	hw_json_add(object, "refcount", o->is_immortal ? NULL : json_object_new_int64(o->refcount));
	hw_json_add_bool(object, "immortal", o->is_immortal);
	hw_json_add(object, "counts", hw_json_split_count(o));
	hw_add_optional_number(object, "size", o->size_bytes, o->size_bytes);
	hw_json_add_number(object, "head_bytes", o->head_bytes);
	hw_json_add_text(report, object, "value", e->value);
	hw_json_add_bool(object, "value_is_exact", e->value_is_exact);
	return object;
}

// Each with the owner's object when others own this block, without it when it is the owner itself.
static struct json_object *hw_json_links(struct hw_report *report,
					 const struct hw_explained_links *links, bool with_owner)
{
	struct json_object *array = json_object_new_array();
	hw_vec_foreach(link, &links->list)
	{
		struct json_object *object = json_object_new_object();
		if (with_owner) {
			hw_json_add_address(object, "owner", link->ownership.owner);
			hw_json_add_text(report, object, "type", link->ownership.owner_type);
		}
		hw_json_add_text(report, object, "field", link->ownership.field);
		hw_json_add_address(object, "pointer", link->ownership.target);
		hw_json_add(object, "block", hw_json_block(report, &link->row));
		if (!array || json_object_array_add(array, object))
			json_object_put(object);
	}
	return array;
}

struct json_object *hw_explain_json(struct hw_report *report, const struct hw_explanation *e)
{
	struct json_object *object = json_object_new_object();
	if (!object)
		return NULL;
	hw_json_add_address(object, "address", e->address);
	hw_json_add_text(report, object, "what", e->what);
	hw_json_add(object, "mapping", hw_json_mapping(report, &e->mapping));
	hw_json_add(object, "symbol", hw_json_symbol(report, e));
	hw_json_add(object, "stack", hw_json_stack(e));
	hw_add_optional_address(object, "malloc_state",
				e->malloc_state ? e->malloc_state->address : 0);
	hw_json_add(object, "block", hw_json_this_block(report, e));
	hw_json_add(object, "arena", hw_json_arena(report->session, e));
	hw_json_add(object, "arena_object", hw_json_arena_object(report, e));
	hw_json_add(object, "pool", hw_json_pool(report, e));
	hw_json_add(object, "mimalloc", hw_explain_mimalloc_json(report, e));
	hw_json_add(object, "chunk", hw_json_chunk(report, e));
	hw_json_add(object, "object", hw_json_object(report, e));
	hw_json_add(object, "owners", hw_json_links(report, &e->owners, true));
	hw_json_add_number(object, "owner_count", e->owners.count);
	hw_json_add_text(report, object, "root", *e->root ? e->root : NULL);
	hw_json_add(object, "owns", hw_json_links(report, &e->owns, false));
	hw_json_add_number(object, "owns_count", e->owns.count);
	hw_json_add(object, "before", hw_json_block(report, &e->before));
	hw_json_add(object, "after", hw_json_block(report, &e->after));
	return object;
}
