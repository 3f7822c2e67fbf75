/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Rules from a user's file: what an object of some type owns. docs/CLASSIFIERS.md has the language.
//
//	python mymod.Matrix +24 "Matrix data" size +16*8
//	c++ net::Session buffer "session buffer" domain net
#ifndef HW_BASE_RULES_H
#define HW_BASE_RULES_H

#include "base/error.h"
#include "base/vector.h"

enum hw_rule_family { HW_RULE_PYTHON, HW_RULE_CXX };

enum { HW_RULES_MAX = 200, HW_RULE_FIELD_MAX = 1 << 20 };

// A place in an object: so many bytes from its start, or a member that debug information knows.
struct hw_rule_field {
	const char *member; // "MatrixObject.data", "buffer.start"; NULL: the offset is given
	int32_t offset;     // -1: not known (yet)
	uint32_t bytes;     // of what stands there, 4 or 8
};

struct hw_rule {
	unsigned line;
	enum hw_rule_family family;
	const char *type;           // tp_name, or the class as C++ writes it
	struct hw_rule_field field; // where the pointer is
	const char *kind, *domain;  // of the block that it leads to
	bool has_size, has_count;   // a block with less room than this is not claimed:
	uint64_t size_bytes;        // so many, or
	struct hw_rule_field count; // so many times what stands there
	_Atomic bool is_used;       // some type of the target was given this rule
};

struct hw_rules {
	char *path;
	char *text; // of the file, as it was; the rules' own words are in `words`
	size_t text_len;
	char *words;
	HW_VEC(struct hw_rule) list;
};

// All errors are HW_ERROR_INVALID or HW_ERROR_OS: "FILE:LINE: what is wrong, what was expected".
struct hw_error *hw_rules_read(const char *path, struct hw_rules **ret) HW_MUST_USE;
struct hw_error *hw_rules_parse(const char *path, const char *text, size_t len,
				struct hw_rules **ret) HW_MUST_USE;
void hw_rules_destroy(struct hw_rules *rules); // accepts NULL

// How many bytes `count` items are; false when that is more than an address space has.
bool hw_rule_size(const struct hw_rule *rule, uint64_t count, uint64_t *ret);

#endif
