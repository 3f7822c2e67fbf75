/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "heap/heap.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "heap/heap_internal.h"

// Room for a category id of every block.
static struct hw_error *hw_heap_reserve(struct hw_heap *heap)
{
	HW_TRY(hw_pool_slots_create(heap->in.pymalloc, &heap->pool_slots));
	return hw_heap_reserve_segments(heap);
}

// A rule for a type that nobody met is most likely misspelt.
static void hw_heap_check_rules(const struct hw_heap *heap)
{
	const struct hw_rules *rules = heap->in.rules;
	for (size_t i = 0; rules && i < rules->list.count && !heap->is_partial; i++) {
		const struct hw_rule *rule = &rules->list.data[i];
		if (!rule->is_used)
			hw_issues_add(heap->in.issues, HW_ERROR_NOT_FOUND, 0,
				      "%s:%u: no %s %s was found in this process: the rule names "
				      "nothing",
				      rules->path, rule->line,
				      rule->family == HW_RULE_PYTHON ? "Python type" : "class",
				      rule->type);
	}
}

// A tag says where in its blocks objects begin, if there are any.
static void hw_heap_make_page_provers(struct hw_heap *heap)
{
	static const struct {
		uint32_t head, head_count;
	} places[HW_MI_TAG_COUNT] = {
		[HW_MI_TAG_MEM] = { 0, 0 },
		[HW_MI_TAG_OBJECT] = { 0, 1 },
		[HW_MI_TAG_GC] = { 0, 1 },
		[HW_MI_TAG_GC_PRE] = { 16, 1 },
	};
	for (unsigned tag = 0; tag < HW_MI_TAG_COUNT; tag++) {
		heap->page_provers[tag] = heap->prover;
		hw_object_prover_at(&heap->page_provers[tag], places[tag].head,
				    places[tag].head_count);
	}
}

// A library of which the target does not even have the ELF header is no module: nothing can be told of what it
// may have given out, or of its .bss.
static void hw_heap_note_lost_modules(struct hw_heap *heap)
{
	struct hw_target *target = heap->in.target;
	hw_vec_foreach(m, &target->mappings)
	{
		// Programs map code of other formats too, which no ELF header is missing of.
		const char *slash = strrchr(m->path, '/');
		if (!(m->flags & HW_MAP_EXEC) || !slash ||
		    (!strstr(slash, ".so") &&
		     (!target->exe || strcmp(m->path, target->exe) != 0)) ||
		    (heap->in.modules && hw_modules_at(heap->in.modules, m->start)))
			continue;
		const char *path = hw_target_absent_file(target, m->start);
		if (path)
			hw_absences_add(&heap->absences, path, 0, 0);
	}
}

static struct hw_error *hw_heap_open_into(struct hw_heap *heap)
{
	const struct hw_heap_inputs *in = &heap->in;
	HW_TRY(hw_categories_init(&heap->categories));
	for (size_t i = 0; in->rules && i < in->rules->list.count; i++)
		in->rules->list.data[i].is_used = false;
	hw_heap_note_lost_modules(heap);
	HW_TRY(hw_heap_open_classifiers(heap));
	heap->lookers = calloc(HW_PARALLEL_MAX, sizeof(*heap->lookers));
	if (!heap->lookers)
		return &hw_enomem;
	for (unsigned i = 0; i < HW_PARALLEL_MAX; i++)
		heap->lookers[i].heap = heap;
	return NULL;
}

struct hw_error *hw_heap_open(const struct hw_heap_inputs *inputs, struct hw_heap **ret)
{
	struct hw_heap *heap = calloc(1, sizeof(*heap));
	if (!heap)
		return &hw_enomem;
	heap->in = *inputs;
	hw_absences_init(&heap->absences);
	struct hw_error *err = hw_heap_open_into(heap);
	if (err) {
		hw_heap_destroy(heap);
		return err;
	}
	*ret = heap;
	return NULL;
}

struct hw_error *hw_heap_fill(struct hw_heap *heap)
{
	const struct hw_heap_inputs *in = &heap->in;
	HW_TRY(hw_heap_reserve(heap));
	heap->has_python = in->python->module && in->python->has_objects;
	if (heap->has_python) {
		HW_TRY(hw_types_init(&heap->types, in->python, in->rules, in->issues));
		hw_object_prover_init(&heap->prover, in->python, in->target);
		heap->prover.shrinks_to_half = in->mimalloc->segments.count != 0;
		hw_heap_make_page_provers(heap);
	}
	HW_TRY(hw_heap_scan(heap));
	HW_TRY(hw_pool_slots_finish(heap->pool_slots));
	hw_heap_check_rules(heap);
	hw_heap_mark_gaps(heap);
	if (heap->categories.is_exhausted) // the report is partial then
		hw_issues_add(heap->in.issues, HW_ERROR_NO_MEMORY, 0,
			      "not all categories could be kept (%u are): the blocks of the others "
			      "are shown as uncategorized",
			      (unsigned)heap->categories.count);
	HW_TRY(hw_heap_build_spans(heap));
	return hw_heap_count(heap);
}

void hw_heap_destroy(struct hw_heap *heap)
{
	if (!heap)
		return;
	free(heap->lookers);
	hw_heap_close_classifiers(heap);
	hw_categories_deinit(&heap->categories);
	hw_types_deinit(&heap->types);
	hw_pool_slots_destroy(heap->pool_slots);
	hw_unmap(heap->page_slots, heap->page_slots_bytes);
	free(heap->page_first_slot);
	hw_vec_deinit(&heap->slot_blocks);
	hw_vec_deinit(&heap->split_blocks);
	hw_vec_deinit(&heap->slot_categories);
	hw_statics_deinit(&heap->statics);
	hw_vec_deinit(&heap->stack_chunks);
	hw_vec_deinit(&heap->spans);
	hw_vec_deinit(&heap->census);
	hw_absences_deinit(&heap->absences);
	free(heap);
}

bool hw_heap_is_partial(const struct hw_heap *heap)
{
	return heap->is_partial;
}

const struct hw_category *hw_heap_category(const struct hw_heap *heap, uint32_t id)
{
	return &hw_category_entry(&heap->categories, id)->category;
}

hw_addr_t hw_heap_type_address(const struct hw_heap *heap, uint32_t type)
{
	return type ? heap->types.all.data[type - 1]->address : 0;
}

uint32_t hw_heap_category_count(const struct hw_heap *heap)
{
	return heap->categories.count;
}

const struct hw_ledger *hw_heap_ledger(const struct hw_heap *heap)
{
	return &heap->ledger;
}

const struct hw_absence *hw_heap_absences(const struct hw_heap *heap, size_t *ret_count)
{
	*ret_count = heap->absences.list.count;
	return heap->absences.list.data;
}

const struct hw_census_row *hw_heap_census(const struct hw_heap *heap, size_t *ret_count)
{
	*ret_count = heap->census.count;
	return heap->census.data;
}
