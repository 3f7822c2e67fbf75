/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Whose malloc the program calls. The dynamic linker binds `malloc` to the first file of its list that
// defines it: the program itself, what LD_PRELOAD names, the libraries in the order they are needed.
//
// Upstream, for the names: each allocator's own exports (jemalloc's mallctl(), gperftools' tc_malloc(), …).
// __libc_malloc proves nothing: tcmalloc and mimalloc export it too. CPython 3.13 and later have mimalloc
// inside, under names that they don't export and without a `malloc`.
// musl: elf/dynlink.c (debug), malloc/mallocng/meta.h (struct malloc_context, struct meta_area), 1.2.1 and later.
#include <string.h>

#include "base/bytes.h"
#include "glibc/walker.h"

enum {
	HW_LINK_MAPS_MAX = 1 << 16,
	HW_R_DEBUG_MAP = HW_GLIBC_WORD, // struct r_debug: r_version, r_map
	HW_LINK_MAP_LD = 2 * HW_GLIBC_WORD,
	HW_LINK_MAP_NEXT = 3 * HW_GLIBC_WORD,
	HW_MUSL_DATA_MAX = 1 << 20, // libc.so's is a few pages; a static program's is the program's
};

static const struct {
	const char *symbol, *name;
} hw_mallocs[] = {
	{ "mallctl", "jemalloc" },          { "tc_malloc", "tcmalloc" },
	{ "mi_malloc", "mimalloc" },        { "__asan_init", "AddressSanitizer" },
	{ "rpmalloc", "rpmalloc" },         { "sn_malloc", "snmalloc" },
	{ "__scudo_print_stats", "Scudo" },
};

static bool hw_defines_malloc(struct hw_module *module)
{
	struct hw_symbol symbol;
	return hw_module_symbol(module, "malloc", &symbol) && symbol.is_function;
}

// The first file of the dynamic linker's list that defines malloc; NULL: none, or no list.
static struct hw_module *hw_first_in_link_map(struct hw_glibc_walker *w)
{
	struct hw_symbol debug;
	hw_addr_t map, r_debug, dynamic;
	if (hw_modules_with_symbol(w->in.modules, "_r_debug", &debug))
		r_debug = debug.address;
	else if (!hw_modules_with_symbol(w->in.modules, "_dl_debug_addr", &debug) || // musl's
		 !hw_glibc_read_word(&w->pages, debug.address, &r_debug))
		return NULL;
	if (debug.is_tls || !hw_glibc_read_word(&w->pages, r_debug + HW_R_DEBUG_MAP, &map))
		return NULL;
	for (unsigned i = 0; map && i < HW_LINK_MAPS_MAX; i++) {
		struct hw_module *module = hw_glibc_read_word(&w->pages, map + HW_LINK_MAP_LD,
							      &dynamic)
						   ? hw_modules_at(w->in.modules, dynamic)
						   : NULL;
		if (module && hw_defines_malloc(module))
			return module;
		if (!hw_glibc_read_word(&w->pages, map + HW_LINK_MAP_NEXT, &map))
			break;
	}
	return NULL;
}

// A name of its exports; NULL: none of those that are known.
static const char *hw_name_of_malloc(struct hw_module *module)
{
	struct hw_symbol symbol;
	for (size_t i = 0; i < sizeof(hw_mallocs) / sizeof(hw_mallocs[0]); i++)
		if (hw_module_symbol(module, hw_mallocs[i].symbol, &symbol))
			return hw_mallocs[i].name;
	return NULL;
}

// Its dynamic linker and libc are one file, of any name.
static bool hw_is_musl(struct hw_module *module)
{
	struct hw_symbol symbol;
	return hw_module_symbol(module, "_dl_debug_addr", &symbol);
}

// Memory that a program got for itself: from brk(2), or from mmap(2) without a file.
static bool hw_is_its_own(const struct hw_mapping *m)
{
	return m && hw_mapping_is_private_writable(m) && *m->path != '/';
}

// Is it mallocng? Its context begins with a secret, and each of its areas, a page apart from anything
// else, begins with the same one: so some word of libc's data leads to a page whose first word is
// another word of that data.
static bool hw_has_mallocng(struct hw_glibc_walker *w, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i + 8 <= len; i += HW_GLIBC_WORD) {
		uint64_t area = hw_glibc_word(data + i), secret;
		if (!area || area % HW_GLIBC_PAGE ||
		    !hw_is_its_own(hw_target_find_mapping(w->in.target, area)) ||
		    !hw_pages_read_u64(&w->pages, area, &secret) ||
		    secret >> 32 == 0) // 64 random bits; a pointer or a count is no secret
			continue;
		const struct hw_mapping *m = hw_target_find_mapping(w->in.target, secret);
		for (size_t k = 0; !m && k < i; k += HW_GLIBC_WORD)
			if (hw_u64(data + k) == secret)
				return true;
	}
	return false;
}

static bool hw_module_has_mallocng(struct hw_glibc_walker *w, const struct hw_module *module)
{
	bool is_found = false;
	const struct hw_mapping *m = hw_target_find_mapping(w->in.target, module->start);
	const struct hw_mapping *end = w->in.target->mappings.data + w->in.target->mappings.count;
	hw_addr_t at = m ? m->start : 0;
	// the file's mappings and the .bss that follows them
	for (; m && m < end && m->start == at && !is_found; at = m->end, m++) {
		if (*m->path && strcmp(m->path, module->path) != 0)
			break;
		size_t len = (size_t)hw_min(m->end - m->start, HW_MUSL_DATA_MAX);
		hw_cleanup_free uint8_t *data = hw_mapping_is_private_writable(m) ? malloc(len)
										  : NULL;
		if (data)
			is_found = hw_has_mallocng(
				w, data, hw_target_read_some(w->in.target, m->start, data, len));
	}
	return is_found;
}

// A program without shared libraries has no list of files: what its own symbols and data say.
static void hw_find_in_program(struct hw_glibc_walker *w, struct hw_module *program)
{
	struct hw_other_malloc *other = &w->glibc->other;
	if (hw_defines_malloc(program))
		other->name = hw_name_of_malloc(program);
	if (!other->name && !w->glibc->main_arena && hw_module_has_mallocng(w, program))
		other->name = "musl's mallocng";
	// A program that never frees gets a malloc that only moves a pointer: malloc/lite_malloc.c.
	struct hw_symbol symbol;
	if (!other->name && hw_module_symbol(program, "__simple_malloc", &symbol))
		other->name = "musl's bump allocator";
	// One of its own, that its symbols name and nobody else knows.
	if (!other->name && !w->glibc->main_arena && hw_defines_malloc(program))
		other->name = hw_glibc_base_name(program->path);
	if (other->name)
		other->file = program->path;
}

void hw_glibc_find_other(struct hw_glibc_walker *w)
{
	struct hw_glibc *glibc = w->glibc;
	struct hw_symbol symbol;
	size_t count = w->in.modules ? hw_modules_count(w->in.modules) : 0;
	struct hw_module *owner = count ? hw_first_in_link_map(w) : NULL;
	if (!owner) {
		for (size_t i = 0; i < count; i++)
			if (w->in.target->exe &&
			    strcmp(hw_modules_get(w->in.modules, i)->path, w->in.target->exe) == 0)
				hw_find_in_program(w, hw_modules_get(w->in.modules, i));
		return;
	}
	if (owner == w->module || hw_module_symbol(owner, "gnu_get_libc_version", &symbol))
		return;
	const char *name = hw_name_of_malloc(owner);
	if (!name && hw_is_musl(owner))
		name = hw_module_has_mallocng(w, owner) ? "musl's mallocng" : "musl's malloc";
	// One that is not known, and glibc's is at work: it passes its calls on (a profiler does).
	if (!name && !glibc->is_initialized)
		name = hw_glibc_base_name(owner->path);
	glibc->other = (struct hw_other_malloc){ .name = name, .file = name ? owner->path : NULL };
}
