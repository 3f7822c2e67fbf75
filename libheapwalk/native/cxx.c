/* SPDX-License-Identifier: LGPL-2.1-or-later */
// C++ objects: a block that starts with a pointer into a class's vtable; what the containers in it own, by
// debug information; and what a user's rules say that objects of the class own.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "native/classifiers.h"
#include "native/cxx_containers.h"
#include "native/cxx_vtable.h"

struct hw_cxx {
	struct hw_vtables *vtables;
	struct hw_rules *rules; // NULL: none is about a class
};

static struct hw_error *hw_cxx_open(const struct hw_native *native, void **ret)
{
	struct hw_vtables *vtables;
	HW_TRY(hw_vtables_create(native->target, native->modules, native->absences, &vtables));
	if (!vtables)
		return NULL;
	struct hw_cxx *cxx = calloc(1, sizeof(*cxx));
	if (!cxx) {
		hw_vtables_destroy(vtables);
		return &hw_enomem;
	}
	cxx->vtables = vtables;
	for (size_t i = 0; native->rules && i < native->rules->list.count; i++)
		if (native->rules->list.data[i].family == HW_RULE_CXX)
			cxx->rules = native->rules;
	*ret = cxx;
	return NULL;
}

static void hw_cxx_close(void *state)
{
	struct hw_cxx *cxx = state;
	hw_vtables_destroy(cxx->vtables);
	free(cxx);
}

// 4 or 8 bytes of the object in the block.
static bool hw_cxx_read(struct hw_native_sink *sink, const struct hw_native_block *block,
			const struct hw_rule_field *field, uint64_t *ret)
{
	uint8_t bytes[8] = { 0 };
	if ((uint64_t)field->offset + field->bytes > block->capacity ||
	    !hw_pages_read(sink->pages, block->start + (uint64_t)field->offset, bytes,
			   field->bytes))
		return false;
	*ret = hw_u64(bytes);
	return true;
}

static void hw_cxx_apply_rule(struct hw_native_sink *sink, const struct hw_native_block *block,
			      const struct hw_rule *rule)
{
	uint64_t address, count = 1, bytes = 0, capacity;
	if (!hw_cxx_read(sink, block, &rule->field, &address) ||
	    (rule->has_count && !hw_cxx_read(sink, block, &rule->count, &count)) ||
	    (rule->has_size && !hw_rule_size(rule, count, &bytes)) ||
	    !sink->find(sink, address, &capacity) || capacity < bytes)
		return;
	sink->claim(sink, address, &(struct hw_native_kind){ rule->domain, rule->kind, "" });
}

static bool hw_cxx_classify(void *state, struct hw_native_sink *sink,
			    const struct hw_native_block *block, struct hw_native_kind *ret)
{
	struct hw_cxx *cxx = state;
	const char *name;
	const struct hw_std_members *members;
	if (block->len < 8 || !hw_vtable_class(cxx->vtables, hw_u64(block->bytes), &name, &members))
		return false;
	if (members)
		hw_cxx_claim_members(sink, name, members, block->start);
	for (size_t i = 0; cxx->rules && i < cxx->rules->list.count; i++) {
		struct hw_rule *rule = &cxx->rules->list.data[i];
		if (rule->family != HW_RULE_CXX || strcmp(rule->type, name) != 0)
			continue;
		rule->is_used = true;
		hw_cxx_apply_rule(sink, block, rule);
	}
	*ret = (struct hw_native_kind){ "C++", name, "" };
	return true;
}

// Objects that own nothing that is known are all said at first sight.
static enum hw_glance hw_cxx_glance(void *state, const struct hw_native_block *block,
				    struct hw_native_kind *ret)
{
	struct hw_cxx *cxx = state;
	const char *name;
	const struct hw_std_members *members;
	if (block->len < 8 || !hw_vtable_class(cxx->vtables, hw_u64(block->bytes), &name, &members))
		return HW_GLANCE_NOTHING;
	if (members || cxx->rules)
		return HW_GLANCE_LATER;
	*ret = (struct hw_native_kind){ "C++", name, "" };
	return HW_GLANCE_KNOWN;
}

static void hw_cxx_beginnings(void *state, struct hw_beginnings *ret)
{
	const struct hw_cxx *cxx = state;
	hw_vtables_bounds(cxx->vtables, &ret->low, &ret->high);
}

const struct hw_classifier hw_cxx_classifier = {
	.name = "C++",
	.open = hw_cxx_open,
	.close = hw_cxx_close,
	.classify = hw_cxx_classify,
	.glance = hw_cxx_glance,
	.beginnings = hw_cxx_beginnings,
};
