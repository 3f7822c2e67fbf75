/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Where main_arena and mp_ are, and which layout they have. Symbols first; without them the one
// relocation that glibc makes on itself: main_arena.next is initialised to &main_arena, so libc has a
// RELATIVE relocation whose place and addend are offsetof(struct malloc_state, next) apart, and that
// distance names the layout. A version string is never asked: distributions backport.
#include "base/bytes.h"
#include "glibc/walker.h"
#include "symbols/dwarf.h"

bool hw_glibc_is_libc_path(const char *path)
{
	const char *name = hw_glibc_base_name(path);
	return strncmp(name, "libc.so.6", 9) == 0 || strncmp(name, "libc-2.", 7) == 0;
}

bool hw_glibc_proves_main_arena(struct hw_glibc_walker *w, const struct hw_glibc_layout *layout,
				hw_addr_t addr)
{
	uint8_t state[HW_GLIBC_LARGEST_STATE];
	if (addr % HW_GLIBC_WORD || !hw_pages_read(&w->pages, addr, state, layout->size))
		return false;
	uint64_t system_mem = hw_glibc_word(state + layout->system_mem);
	if (hw_u32(state) > 2 || hw_u32(state + 4) > 7 ||
	    hw_glibc_word(state + layout->max_system_mem) < system_mem ||
	    (system_mem != 0 && system_mem < 4096))
		return false;
	// An attached thread count is small, a system_mem in its place is not: tells 2.17 from 2.23.
	if (layout->attached_threads && hw_glibc_word(state + layout->attached_threads) >= 0x20000)
		return false;
	// Damage further round the ring is arena.c's to report; one step must lead to an arena.
	uint64_t next = hw_glibc_word(state + layout->next);
	if (next == addr)
		return true;
	// Its own bin 127, which is never used, points at itself: that tells 2.27's layout from the ones
	// before, which are the same but for 8 bytes in front.
	uint64_t owner, last_bin, last_at = layout->bins + 2 * HW_GLIBC_WORD * (HW_GLIBC_BINS - 1);
	for (const uint16_t *size = hw_glibc_heap_info_sizes; *size; size++)
		if (hw_glibc_read_word(&w->pages, next - *size, &owner) && owner == next &&
		    hw_glibc_read_word(&w->pages, next + last_at, &last_bin) &&
		    last_bin == next + last_at - HW_GLIBC_FD)
			return true;
	return false;
}

// Does it prove itself, or is at least the rest of the ring there while `next` itself is damaged?
static const struct hw_glibc_layout *hw_prove_any(struct hw_glibc_walker *w, hw_addr_t addr,
						  uint64_t size)
{
	for (const struct hw_glibc_layout *layout = hw_glibc_layouts; layout->since; layout++)
		if ((!size || size == layout->size) && hw_glibc_proves_main_arena(w, layout, addr))
			return layout;
	// The symbol's size names the layout even where the content is damaged.
	for (const struct hw_glibc_layout *layout = hw_glibc_layouts; size && layout->since;
	     layout++)
		if (size == layout->size)
			return layout;
	return NULL;
}

struct hw_self_relocation {
	struct hw_glibc_walker *w;
	const struct hw_glibc_layout *layout;
	hw_addr_t found;
};

static bool hw_visit_relocation(void *payload, const struct hw_relocation *relocation)
{
	struct hw_self_relocation *self = payload;
	uint64_t distance = relocation->place - relocation->addend;
	for (const struct hw_glibc_layout *layout = hw_glibc_layouts; layout->since; layout++) {
		if (distance != layout->next ||
		    !hw_glibc_proves_main_arena(self->w, layout, relocation->addend))
			continue;
		self->layout = layout;
		self->found = relocation->addend;
		return false;
	}
	return true;
}

// A program that is not relocated has the same pattern as data in its file.
static hw_addr_t hw_find_in_file(struct hw_glibc_walker *w, struct hw_module *module,
				 const struct hw_glibc_layout **ret_layout)
{
	hw_addr_t start;
	uint64_t size;
	if (!hw_module_section(module, ".data", &start, &size) || size > (64 << 20))
		return 0;
	hw_cleanup_free uint8_t *bytes = malloc(size);
	if (!bytes || !hw_module_read_file(module, start, bytes, size))
		return 0;
	for (size_t at = 0; at + HW_GLIBC_WORD <= size; at += HW_GLIBC_WORD) {
		uint64_t distance = start + at - hw_glibc_word(bytes + at);
		for (const struct hw_glibc_layout *layout = hw_glibc_layouts; layout->since;
		     layout++)
			if (distance == layout->next && distance <= at &&
			    hw_glibc_proves_main_arena(w, layout, start + at - distance)) {
				*ret_layout = layout;
				return start + at - distance;
			}
	}
	return 0;
}

// Writable data of a file: its own mappings and the .bss behind the last one.
static bool hw_visit_data(struct hw_glibc_walker *w, const char *path,
			  bool (*visit)(struct hw_glibc_walker *w, hw_addr_t start, hw_addr_t end,
					void *payload),
			  void *payload)
{
	bool was_ours = false;
	hw_addr_t end = 0;
	for (size_t i = 0; i < w->in.target->mappings.count; i++) {
		const struct hw_mapping *m = &w->in.target->mappings.data[i];
		bool is_ours = strcmp(m->path, path) == 0 ||
			       (was_ours && m->start == end && !*m->path);
		if (is_ours && hw_mapping_is_private_writable(m) &&
		    visit(w, m->start, m->end, payload))
			return true;
		was_ours = is_ours;
		end = m->end;
	}
	return false;
}

static bool hw_visit_for_arena(struct hw_glibc_walker *w, hw_addr_t start, hw_addr_t end,
			       void *payload)
{
	(void)payload;
	const struct hw_glibc_layout *layout;
	hw_addr_t found = hw_glibc_scan_main_arena(w, start, end, &layout);
	if (!found)
		return false;
	w->glibc->main_arena = found;
	w->layout = layout;
	return true;
}

static bool hw_visit_for_mp(struct hw_glibc_walker *w, hw_addr_t start, hw_addr_t end,
			    void *payload)
{
	(void)payload;
	const struct hw_glibc_mp_layout *layout;
	hw_addr_t found = hw_glibc_scan_mp(w, start, end, &layout);
	if (!found)
		return false;
	w->glibc->mp = found;
	w->mp_layout = layout;
	return true;
}

static const struct hw_glibc_mp_layout *hw_choose_mp(struct hw_glibc_walker *w, hw_addr_t addr)
{
	uint8_t bytes[HW_GLIBC_MP_BYTES];
	const struct hw_glibc_mp_layout *best = NULL;
	int best_score = -1;
	if (!hw_pages_read(&w->pages, addr, bytes, sizeof(bytes)))
		return NULL;
	for (const struct hw_glibc_mp_layout *layout = hw_glibc_mp_layouts; layout->since;
	     layout++) {
		if (layout->mmapped_tail != w->layout->mmapped_tail ||
		    !hw_glibc_plausible_mp(w, layout, bytes))
			continue;
		int score = 2 * (hw_u32(bytes + layout->n_mmaps_max) == 65536) +
			    (hw_glibc_word(bytes + layout->sbrk_base) != 0);
		if (score > best_score) {
			best = layout;
			best_score = score;
		}
	}
	return best;
}

static bool hw_find_in_module(struct hw_glibc_walker *w, struct hw_module *module,
			      bool *ret_is_confirmed)
{
	struct hw_glibc *glibc = w->glibc;
	struct hw_symbol symbol;
	*ret_is_confirmed = false;
	if (hw_module_symbol(module, "main_arena", &symbol) && symbol.address && !symbol.is_tls) {
		w->layout = hw_prove_any(w, symbol.address, symbol.size);
		if (w->layout) {
			glibc->main_arena = symbol.address;
			glibc->facts = "symbols";
		}
	}
	struct hw_self_relocation self = { .w = w };
	hw_module_visit_relative_relocations(module, hw_visit_relocation, &self);
	if (!glibc->main_arena && self.found) {
		glibc->main_arena = self.found;
		w->layout = self.layout;
		glibc->facts = "self-relocation of main_arena";
	} else if (self.found && self.found != glibc->main_arena) {
		hw_issues_add(
			w->in.issues, HW_ERROR_CONFLICT, self.found,
			"main_arena is at 0x%llx by its symbol, and at 0x%llx by libc's relocation "
			"of it; the symbol is used",
			(unsigned long long)glibc->main_arena, (unsigned long long)self.found);
	}
	// the symbol's size and the relocation's distance, which have nothing to do with each other
	*ret_is_confirmed = self.found && self.found == glibc->main_arena &&
			    self.layout == w->layout && strcmp(glibc->facts, "symbols") == 0;
	if (!glibc->main_arena) {
		glibc->main_arena = hw_find_in_file(w, module, &w->layout);
		glibc->facts = "main_arena's initial value in the file";
	}
	if (!glibc->main_arena) {
		hw_visit_data(w, module->path, hw_visit_for_arena, NULL);
		glibc->facts = "the shape of its bins";
	}
	if (!glibc->main_arena)
		return false;
	w->module = module;
	if (hw_module_symbol(module, "mp_", &symbol) && symbol.address && !symbol.is_tls) {
		w->mp_layout = hw_choose_mp(w, symbol.address);
		if (w->mp_layout)
			glibc->mp = symbol.address;
	}
	if (!glibc->mp)
		hw_visit_data(w, module->path, hw_visit_for_mp, NULL);
	return true;
}

// Cores without the file: libc's data by its mapping's name.
static bool hw_find_in_mappings(struct hw_glibc_walker *w)
{
	for (size_t i = 0; i < w->in.target->mappings.count; i++) {
		const struct hw_mapping *m = &w->in.target->mappings.data[i];
		if (!hw_mapping_is_private_writable(m) || !hw_glibc_is_libc_path(m->path) ||
		    !hw_visit_for_arena(w, m->start, m->end, NULL))
			continue;
		w->glibc->facts = "the shape of its bins";
		hw_visit_data(w, m->path, hw_visit_for_mp, NULL);
		return true;
	}
	return false;
}

static bool hw_is_used(struct hw_glibc_walker *w)
{
	uint64_t system_mem, next;
	hw_addr_t arena = w->glibc->main_arena;
	return (hw_glibc_read_word(&w->pages, arena + w->layout->system_mem, &system_mem) &&
		system_mem) ||
	       (hw_glibc_read_word(&w->pages, arena + w->layout->next, &next) && next != arena);
}

static void hw_forget(struct hw_glibc_walker *w)
{
	w->glibc->main_arena = w->glibc->mp = 0;
	w->glibc->facts = NULL;
	w->layout = NULL;
	w->mp_layout = NULL;
	w->module = NULL;
}

// Debug information of the same build knows best: where it disagrees with a row, that is said. Not asked
// when symbol and relocation have named the same layout: it takes 0.2 s to open.
static void hw_confirm_dwarf(struct hw_glibc_walker *w)
{
	const struct hw_glibc_layout *l = w->layout;
	const struct hw_glibc_mp_layout *mp = w->mp_layout;
	if (!w->module || !hw_dwarf_source(w->module))
		return;
	struct {
		struct hw_dwarf_query query;
		uint64_t expected;
	} facts[] = {
		{ { .type = "malloc_state", .member = "top" }, l->top },
		{ { .type = "malloc_state", .member = "bins" }, l->bins },
		{ { .type = "malloc_state", .member = "next" }, l->next },
		{ { .type = "malloc_state", .member = "system_mem" }, l->system_mem },
		{ { .type = "malloc_state", .member = "max_system_mem" }, l->max_system_mem },
		{ { .type = "malloc_state", .member = "fastbinsY" }, l->fastbins },
		{ { .type = "malloc_par", .member = "n_mmaps" }, mp ? mp->n_mmaps : 0 },
		{ { .type = "malloc_par", .member = "mmapped_mem" }, mp ? mp->mmapped_mem : 0 },
		{ { .type = "malloc_par", .member = "sbrk_base" }, mp ? mp->sbrk_base : 0 },
	};
	enum { COUNT = sizeof(facts) / sizeof(facts[0]) };
	struct hw_dwarf_query queries[COUNT];
	size_t count = mp ? COUNT : COUNT - 3;
	for (size_t i = 0; i < count; i++) {
		queries[i] = facts[i].query;
		queries[i].unit = "malloc.c";
	}
	hw_dwarf_resolve(w->module, queries, count);
	for (size_t i = 0; i < count; i++)
		if (queries[i].found && queries[i].offset != facts[i].expected)
			hw_issues_add(
				w->in.issues, HW_ERROR_CONFLICT, w->glibc->main_arena,
				"%s.%s is at offset %llu in %s, and at %llu in the layout of glibc "
				"%s that was recognised",
				queries[i].type, queries[i].member,
				(unsigned long long)queries[i].offset, hw_dwarf_source(w->module),
				(unsigned long long)facts[i].expected, l->since);
}

struct hw_error *hw_glibc_find(struct hw_glibc_walker *w)
{
	struct hw_module *libc = NULL, *debug_malloc = NULL, *program = NULL;
	size_t count = w->in.modules ? hw_modules_count(w->in.modules) : 0;
	for (size_t i = 0; i < count; i++) {
		struct hw_module *module = hw_modules_get(w->in.modules, i);
		// Of several the one that was mapped first, which is the highest.
		if (hw_glibc_is_libc_path(module->path))
			libc = module;
		if (strncmp(hw_glibc_base_name(module->path), "libc_malloc_debug.so", 20) == 0)
			debug_malloc = module;
		if (w->in.target->exe && strcmp(module->path, w->in.target->exe) == 0)
			program = module;
	}
	struct hw_symbol symbol;
	if (w->libc)
		libc = w->libc;
	if (!libc && count)
		libc = hw_modules_with_symbol(w->in.modules, "gnu_get_libc_version", &symbol);
	bool is_confirmed = false;
	bool is_found = libc && hw_find_in_module(w, libc, &is_confirmed);
	if (!is_found && !libc)
		is_found = (program && hw_find_in_module(w, program, &is_confirmed)) ||
			   hw_find_in_mappings(w);
	if (!is_found && libc && libc != program &&
	    hw_module_symbol(libc, "gnu_get_libc_version", &symbol))
		return hw_error_create(
			HW_ERROR_UNSUPPORTED,
			"main_arena was not found in %s: its malloc_state has none of the "
			"layouts of glibc 2.17 to 2.44; install its debug symbols",
			libc->path);
	if (!is_found) {
		hw_forget(w);
		return NULL;
	}
	// MALLOC_CHECK_ and friends: libc_malloc_debug has an arena of its own, libc's stays unused.
	if (debug_malloc && !hw_is_used(w)) {
		hw_forget(w);
		if (!hw_find_in_module(w, debug_malloc, &is_confirmed) &&
		    !hw_find_in_module(w, libc, &is_confirmed))
			return NULL;
	}
	if (!is_confirmed)
		hw_confirm_dwarf(w);
	return NULL;
}
