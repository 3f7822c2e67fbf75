/* SPDX-License-Identifier: LGPL-2.1-or-later */
// CPython in a program that exports none of its symbols (it links with libpython.a): PyType_Type is the one
// object that is its own type and is called "type", and every other type has it for its type.
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "layout/python_internal.h"

enum {
	HW_HIDDEN_BYTES_MAX = 64 << 20, // of a section
	// Include/object.h, all versions without Py_TRACE_REFS: PyVarObject, then tp_name.
	HW_HIDDEN_OB_TYPE = 8,
	HW_HIDDEN_TP_NAME = 24,
	HW_HIDDEN_HEAD = HW_HIDDEN_TP_NAME + 8,
};

static bool hw_text_is(struct hw_target *target, struct hw_module *module, hw_addr_t addr,
		       const char *text)
{
	char bytes[32];
	size_t len = strlen(text) + 1;
	return len <= sizeof(bytes) &&
	       (hw_target_read_some(target, addr, bytes, len) == len ||
		hw_module_read_file(module, addr, bytes, len)) &&
	       !memcmp(bytes, text, len);
}

static bool hw_search_data(struct hw_target *target, struct hw_module *module, hw_addr_t type_type,
			   const char *name, hw_addr_t *ret)
{
	hw_addr_t start;
	uint64_t size;
	if (!hw_module_section(module, ".data", &start, &size) || size < HW_HIDDEN_HEAD)
		return false;
	size = hw_min(size, HW_HIDDEN_BYTES_MAX);
	hw_cleanup_free uint8_t *bytes = malloc(size);
	size_t got = bytes ? hw_target_read_some(target, start, bytes, size) : 0;
	for (size_t at = hw_align_up(start, 8) - start; at + HW_HIDDEN_HEAD <= got; at += 8) {
		hw_addr_t wanted = type_type ? type_type : start + at;
		if (hw_u64(bytes + at + HW_HIDDEN_OB_TYPE) == wanted &&
		    hw_text_is(target, module, hw_u64(bytes + at + HW_HIDDEN_TP_NAME), name)) {
			*ret = start + at;
			return true;
		}
	}
	return false;
}

bool hw_python_search_type_type(struct hw_target *target, struct hw_module *module, hw_addr_t *ret)
{
	return hw_search_data(target, module, 0, "type", ret);
}

bool hw_python_search_static_type(struct hw_target *target, const struct hw_python *python,
				  const char *name, hw_addr_t *ret)
{
	return hw_search_data(target, python->module, python->type_type, name, ret);
}

bool hw_python_search_runtime(struct hw_target *target, struct hw_module *module, hw_addr_t *ret)
{
	static const char *const sections[] = { ".PyRuntime", ".data" };
	struct hw_debug_offsets offsets;
	for (size_t s = 0; s < sizeof(sections) / sizeof(sections[0]); s++) {
		hw_addr_t start;
		uint64_t size;
		if (!hw_module_section(module, sections[s], &start, &size))
			continue;
		size = hw_min(size, HW_HIDDEN_BYTES_MAX);
		hw_cleanup_free uint8_t *bytes = malloc(size + 1);
		size_t got = bytes ? hw_target_read_some(target, start, bytes, size) : 0;
		for (size_t at = hw_align_up(start, 8) - start; at + 8 <= got; at += 8) {
			if (!memcmp(bytes + at, "xdebugpy", 8) &&
			    hw_python_debug_offsets(target, start + at, &offsets)) {
				*ret = start + at;
				return true;
			}
		}
	}
	return false;
}

bool hw_python_has_debug_text(struct hw_target *target, struct hw_module *module)
{
	static const char text[] = "negative ref count";
	hw_addr_t start;
	uint64_t size;
	if (!hw_module_section(module, ".rodata", &start, &size))
		return false;
	size = hw_min(size, HW_HIDDEN_BYTES_MAX);
	hw_cleanup_free uint8_t *bytes = malloc(size + 1);
	return bytes &&
	       (hw_target_read_some(target, start, bytes, size) == size ||
		hw_module_read_file(module, start, bytes, size)) &&
	       memmem(bytes, size, text, sizeof(text) - 1);
}
