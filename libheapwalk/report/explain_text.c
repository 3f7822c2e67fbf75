/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The text form of `explain`: a sentence, then a line for each thing that is known.
#include "report/explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { HW_TEXT_LINKS_MAX = 10, HW_TEXT_ADDRESSES_A_LINE = 6 };

void hw_explain_say(struct hw_report *report, const char *label, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int len = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (len < 0)
		return;
	hw_report_line(report, "  %-9s %s", label, hw_clean_text(report, text));
	free(text);
}

// "64 bytes, in use: python dict Foo.__dict__"
static void hw_say_row(struct hw_report *report, const char *label,
		       const struct hw_explained_row *row)
{
	char bytes[32], object[48] = "";
	const struct hw_block *b = &row->block;
	if (!row->is_there)
		return;
	if (b->object && b->object != b->start)
		snprintf(object, sizeof(object), ", object 0x%" PRIx64, b->object);
	hw_explain_say(report, label, "0x%" PRIx64 "-0x%" PRIx64 "  %s bytes, %s: %s%s%s%s%s%s",
		       b->start, b->start + b->size_bytes - 1, hw_commas(b->size_bytes, bytes),
		       b->state_word, b->domain, *b->kind ? " " : "", b->kind,
		       *b->detail ? " " : "", b->detail, object);
}

static void hw_say_place(struct hw_report *report, const struct hw_explained_place *place,
			 const char *which)
{
	if (place->list)
		hw_explain_say(report, "", "number %" PRIu64 " on %s%s", place->position,
			       place->list, which);
	else
		hw_explain_say(report, "", "%s",
			       place->is_unknown ? "which list it is on can't be told"
						 : "on no list");
}

// ---- where it is ----

static void hw_say_mapping(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_mapping *m = &e->mapping;
	char permissions[5];
	hw_explain_say(report, "mapping", "0x%" PRIx64 "-0x%" PRIx64 "  %s  %s", m->start,
		       m->end - 1, hw_permissions(m->flags, permissions),
		       *m->path ? m->path : "anonymous");
	if (e->symbol_file)
		hw_explain_say(report, "symbol", "%s + %" PRIu64 ", of %s", e->symbol.name,
			       e->address - e->symbol.address, e->symbol_file);
	if (e->stack_thread)
		hw_explain_say(
			report, "stack",
			"of thread %d, whose stack pointer is 0x%" PRIx64 ": the address is %s",
			(int)e->stack_thread, e->stack_pointer,
			e->address >= e->stack_pointer ? "in the part in use" : "below it, unused");
	if (e->malloc_state)
		hw_explain_say(report, "malloc", "in the malloc_state at 0x%" PRIx64 ": %s arena",
			       e->malloc_state->address,
			       e->malloc_state->is_main ? "the main" : "a thread's");
}

static void hw_say_arena(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_pymalloc *pm = &report->session->pymalloc;
	const struct hw_arena *arena = e->arena;
	if (!arena)
		return;
	hw_explain_say(report, "arena",
		       "0x%" PRIx64 "-0x%" PRIx64 "  number %" PRIu32 " of interpreter %" PRId64
		       ", arena_object 0x%" PRIx64 ", %" PRIu32 " of %" PRIu32 " pools free",
		       arena->start, arena->start + pm->arena_bytes - 1, arena->index,
		       pm->states.data[arena->interpreter].interpreter_id, arena->arena_object,
		       arena->pools_free, arena->pools_total);
}

static void hw_say_arena_object(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_explained_arena_object *ao = &e->arena_object;
	if (!ao->is_there)
		return;
	hw_explain_say(report, "struct",
		       "arena_object at 0x%" PRIx64 ", number %" PRIu32 " of interpreter %" PRId64,
		       ao->address, ao->index, ao->interpreter_id);
	hw_explain_say(report, "", "address       0x%" PRIx64 "%s", ao->object.address,
		       ao->object.address ? "" : "  (the slot has no arena)");
	hw_explain_say(report, "", "pool_address  0x%" PRIx64, ao->object.pool_address);
	hw_explain_say(report, "", "nfreepools    %" PRIu32, ao->object.nfreepools);
	hw_explain_say(report, "", "ntotalpools   %" PRIu32, ao->object.ntotalpools);
	hw_explain_say(report, "", "freepools     0x%" PRIx64, ao->object.freepools);
	hw_explain_say(report, "", "nextarena     0x%" PRIx64, ao->object.nextarena);
	hw_explain_say(report, "", "prevarena     0x%" PRIx64, ao->object.prevarena);
	hw_say_place(report, &ao->place, "");
}

static void hw_say_addresses(struct hw_report *report, const hw_addr_t *addresses, size_t count)
{
	for (size_t i = 0; i < count; i += HW_TEXT_ADDRESSES_A_LINE) {
		char line[HW_TEXT_ADDRESSES_A_LINE * 20] = "";
		size_t used = 0;
		for (size_t k = i; k < count && k < i + HW_TEXT_ADDRESSES_A_LINE; k++)
			used += (size_t)snprintf(line + used, sizeof(line) - used, "%s0x%" PRIx64,
						 used ? " " : "", addresses[k]);
		hw_explain_say(report, "", "  %s", line);
	}
}

static void hw_say_pool_header(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_explained_pool *p = &e->pool;
	const struct hw_pool_header *h = &p->header;
	hw_explain_say(report, "struct", "pool_header at 0x%" PRIx64 "%s", p->start,
		       p->pool->is_empty ? ", as it was when the pool was last used" : "");
	hw_explain_say(report, "", "ref.count      %" PRIu32, h->ref_count);
	hw_explain_say(report, "", "freeblock      0x%" PRIx64, h->freeblock);
	hw_explain_say(report, "", "nextpool       0x%" PRIx64, h->nextpool);
	hw_explain_say(report, "", "prevpool       0x%" PRIx64, h->prevpool);
	hw_explain_say(report, "", "arenaindex     %" PRIu32, h->arenaindex);
	hw_explain_say(report, "", "szidx          %" PRIu32, h->szidx);
	hw_explain_say(report, "", "nextoffset     %" PRIu32, h->nextoffset);
	hw_explain_say(report, "", "maxnextoffset  %" PRIu32, h->maxnextoffset);
	if (p->pool->is_empty || p->pool->is_bad)
		return;
	hw_explain_say(report, "", "free blocks, the next one first: %s%s",
		       p->free_list.count ? "" : "none", p->free_list_is_whole ? "" : " (damaged)");
	hw_say_addresses(report, p->free_list.data, p->free_list.count);
}

static void hw_say_pool(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_explained_pool *p = &e->pool;
	if (!p->is_there)
		return;
	hw_explain_say(report, "pool", "0x%" PRIx64 "  number %" PRIu32 " of the arena, %s",
		       p->start, p->index, p->state);
	if (!p->pool)
		return;
	if (!p->pool->is_empty && !p->pool->is_bad)
		hw_explain_say(
			report, "",
			"size class %u: %" PRIu32 " bytes; of %u blocks %" PRIu32
			" are in use, %" PRIu32 " free, %" PRIu32 " virgin",
			p->pool->szidx, hw_pool_block_bytes(&report->session->pymalloc, p->pool),
			p->pool->capacity, p->pool->ref_count, p->free_blocks, p->virgin_blocks);
	char which[32] = "";
	if (p->place.list && !strcmp(p->place.list, "usedpools"))
		snprintf(which, sizeof(which), " of size class %u", p->pool->szidx);
	hw_say_place(report, &p->place, which);
	bool is_header = e->address - p->start < report->session->pymalloc.header_bytes;
	if (p->has_header && (is_header || p->pool->is_empty || p->pool->is_bad))
		hw_say_pool_header(report, e);
	if (p->has_block)
		hw_explain_say(report, "", "the address is in block %" PRIu32 " of it",
			       p->block_index);
	if (p->block_is_listed)
		hw_explain_say(report, "", "number %" PRIu32 " on its list of free blocks",
			       p->block_position);
}

static void hw_say_chunk(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_explained_chunk *c = &e->chunk;
	char bytes[32];
	if (!c->is_there)
		return;
	if (c->arena)
		hw_explain_say(report, "chunk",
			       "0x%" PRIx64 "  %s bytes, number %" PRIu32
			       " of the region 0x%" PRIx64 "-0x%" PRIx64 " of %s 0x%" PRIx64,
			       c->address, hw_commas(c->size_bytes, bytes), c->index,
			       c->region->start, c->region->end - 1,
			       c->arena->is_main ? "main_arena" : "the thread arena",
			       c->arena->address);
	else
		hw_explain_say(report, "chunk", "0x%" PRIx64 "  %s bytes, a mapping of its own",
			       c->address, hw_commas(c->size_bytes, bytes));
	if (c->has_header)
		hw_explain_say(report, "", "size field 0x%" PRIx64 ":%s%s%s", c->size_field,
			       c->size_field & 1 ? " PREV_INUSE" : "",
			       c->size_field & 2 ? " IS_MMAPPED" : "",
			       c->size_field & 4 ? " NON_MAIN_ARENA" : "");
}

// ---- what it is ----

// What the header of a build without the GIL says.
static void hw_say_split_count(struct hw_report *report, const struct hw_inspected_object *o)
{
	const struct hw_split_count *c = &o->split;
	if (!o->is_split)
		return;
	if (!c->is_immortal)
		hw_explain_say(
			report, "",
			"%" PRIu32 " by the thread 0x%" PRIx64 ", %" PRId64 " by all others%s",
			c->local, c->owner, c->shared,
			c->is_deferred ? "; references on stacks are not counted (deferred)" : "");
	hw_explain_say(report, "", "collector: %stracked%s%s",
		       c->gc_bits & HW_GC_TRACKED ? "" : "not ",
		       c->gc_bits & HW_GC_FINALIZED ? ", finalized" : "",
		       c->gc_bits & HW_GC_FROZEN ? ", frozen" : "");
}

static void hw_say_object(struct hw_report *report, const struct hw_explanation *e)
{
	const struct hw_inspected_object *o = &e->object;
	char references[64] = "immortal", size[64] = "", bytes[32];
	if (!e->has_object)
		return;
	if (!o->is_immortal)
		snprintf(references, sizeof(references), "%s%" PRId64 " reference%s",
			 o->split.is_deferred ? "at least " : "", o->refcount,
			 o->refcount == 1 ? "" : "s");
	if (o->size_bytes)
		snprintf(size, sizeof(size), ", %s bytes", hw_commas(o->size_bytes, bytes));
	hw_explain_say(report, "object", "0x%" PRIx64 "  %s (type 0x%" PRIx64 "), %s%s", o->address,
		       o->type, o->type_address, references, size);
	hw_say_split_count(report, o);
	hw_explain_say(report, "value", "%s", e->value);
}

static void hw_say_links(struct hw_report *report, const char *label,
			 const struct hw_explained_links *links, bool are_owners)
{
	size_t shown = 0;
	hw_vec_foreach(link, &links->list)
	{
		const struct hw_ownership *o = &link->ownership;
		const struct hw_block *b = &link->row.block;
		if (shown == HW_TEXT_LINKS_MAX)
			break;
		if (are_owners)
			hw_explain_say(report, shown ? "" : label, "0x%" PRIx64 "  %s, by its %s",
				       o->owner, o->owner_type, o->field ? o->field : "pointer");
		else if (link->row.is_there)
			hw_explain_say(report, shown ? "" : label,
				       "%s 0x%" PRIx64 ": %" PRIu64 " bytes, %s %s%s%s",
				       o->field ? o->field : "a pointer", o->target, b->size_bytes,
				       b->domain, b->kind, *b->detail ? " " : "", b->detail);
		shown++;
	}
	if (links->count > shown)
		hw_explain_say(report, "", "(%" PRIu64 " more)", links->count - shown);
}

void hw_explain_text(struct hw_report *report, const struct hw_explanation *e)
{
	uint64_t offset = e->row.is_there ? e->address - e->row.block.start : 0;
	char at[80] = "";
	if (offset)
		snprintf(at, sizeof(at), ", byte %" PRIu64 " of the block at 0x%" PRIx64, offset,
			 e->row.block.start);
	hw_report_line(report, "0x%" PRIx64 ": %s%s%s", e->address, e->what, at,
		       e->has_object && e->object.address == e->address
			       ? ", where its object begins"
			       : "");
	hw_say_mapping(report, e);
	hw_say_arena(report, e);
	hw_say_arena_object(report, e);
	hw_say_pool(report, e);
	hw_explain_mimalloc_text(report, e);
	hw_say_chunk(report, e);
	hw_say_row(report, "block", &e->row);
	hw_say_object(report, e);
	hw_say_links(report, "owned by", &e->owners, true);
	if (*e->root)
		hw_explain_say(report, "owned by", "%s", e->root);
	hw_say_links(report, "owns", &e->owns, false);
	hw_say_row(report, "before", &e->before);
	hw_say_row(report, "after", &e->after);
}
