/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "native/classifiers.h"

#include <string.h>

// The certain before the likely: a string is only what nothing else is.
const struct hw_classifier *const hw_classifiers[] = {
	&hw_gobject_classifier, &hw_zlib_classifier, &hw_libxml2_classifier, &hw_openssl_classifier,
	&hw_sqlite_classifier,  &hw_cxx_classifier,  &hw_string_classifier,  NULL,
};

static bool hw_path_has_stem(const char *path, const char *stem)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	size_t len = strlen(stem);
	return !strncmp(name, stem, len) && (name[len] == '.' || name[len] == '-');
}

struct hw_module *hw_native_library(const struct hw_native *native, const char *stem,
				    const char *symbol)
{
	struct hw_symbol found;
	size_t count = native->modules ? hw_modules_count(native->modules) : 0;
	for (size_t i = 0; i < count; i++) {
		struct hw_module *module = hw_modules_get(native->modules, i);
		if (hw_path_has_stem(module->path, stem))
			return module;
	}
	// Reading every library's symbols would take longer than a small census.
	for (size_t i = 0; i < count && native->target->exe; i++) {
		struct hw_module *module = hw_modules_get(native->modules, i);
		if (!strcmp(module->path, native->target->exe))
			return hw_module_symbol(module, symbol, &found) ? module : NULL;
	}
	return NULL;
}

void hw_native_lacks_module(const struct hw_native *native, const struct hw_module *module)
{
	hw_vec_foreach(m, &native->target->mappings)
	{
		const char *path = m->start >= module->start && m->start < module->end
					   ? hw_target_absent_file(native->target, m->start)
					   : NULL;
		if (!path)
			continue;
		hw_absences_add(native->absences, path, 0, 0);
		return;
	}
}
