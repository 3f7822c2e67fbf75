/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "symbols/rule_fields.h"

#include <string.h>

#include "base/cleanup.h"
#include "symbols/dwarf.h"

// One member in one module; false: its debug information does not have it.
static bool hw_rule_ask(struct hw_module *module, const struct hw_rule *rule, const char *structure,
			const char *member, struct hw_dwarf_query *ret)
{
	*ret = (struct hw_dwarf_query){ .type = structure, .member = member };
	if (rule->family == HW_RULE_CXX)
		return hw_dwarf_resolve_class(module, ret);
	return hw_dwarf_resolve(module, ret, 1) == 1;
}

// A class of C++ is called by the rule's type, a structure of C by the first part of the member.
static struct hw_error *hw_rule_resolve_field(const struct hw_rules *rules,
					      const struct hw_rule *rule,
					      struct hw_modules *modules,
					      struct hw_rule_field *field)
{
	const struct hw_module *first = NULL;
	if (!field->member)
		return NULL;
	const char *dot = strchr(field->member, '.');
	bool is_class = rule->family == HW_RULE_CXX;
	hw_cleanup_free char *structure = is_class ? strdup(rule->type)
						   : strndup(field->member,
							     (size_t)(dot - field->member));
	if (!structure)
		return &hw_enomem;
	for (size_t i = 0; modules && i < hw_modules_count(modules); i++) {
		struct hw_module *module = hw_modules_get(modules, i);
		struct hw_dwarf_query found;
		if (!hw_rule_ask(module, rule, structure, is_class ? field->member : dot + 1,
				 &found))
			continue;
		if (found.offset > HW_RULE_FIELD_MAX || (found.size != 8 && found.size != 4))
			return hw_error_create(
				HW_ERROR_INVALID,
				"%s:%u: %s is at offset %llu of %s and has %llu bytes: "
				"a field has 4 or 8, in the first %d",
				rules->path, rule->line, field->member,
				(unsigned long long)found.offset, structure,
				(unsigned long long)found.size, HW_RULE_FIELD_MAX);
		if (first && field->offset != (int32_t)found.offset)
			return hw_error_create(
				HW_ERROR_INVALID,
				"%s:%u: %s is at offset %d of %s in %s, and at %llu in "
				"%s: give the offset, +BYTES",
				rules->path, rule->line, field->member, field->offset, structure,
				first->path, (unsigned long long)found.offset, module->path);
		first = module;
		field->offset = (int32_t)found.offset;
		field->bytes = (uint32_t)found.size;
	}
	return first ? NULL
		     : hw_error_create(HW_ERROR_INVALID,
				       "%s:%u: no debug information of this process has the member "
				       "%s of %s: give its offset, +BYTES",
				       rules->path, rule->line, is_class ? field->member : dot + 1,
				       structure);
}

struct hw_error *hw_rules_resolve(struct hw_rules *rules, struct hw_modules *modules)
{
	hw_vec_foreach(rule, &rules->list)
	{
		HW_TRY(hw_rule_resolve_field(rules, rule, modules, &rule->field));
		if (rule->field.bytes != 8)
			return hw_error_create(
				HW_ERROR_INVALID, "%s:%u: %s has %u bytes: it is no pointer",
				rules->path, rule->line, rule->field.member, rule->field.bytes);
		HW_TRY(hw_rule_resolve_field(rules, rule, modules, &rule->count));
	}
	return NULL;
}
