/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Where obmalloc keeps its state: statics of obmalloc.c up to 3.11, a member of each interpreter in
// 3.12 (gh-100227), a pointer in each interpreter since 3.13 (gh-113055). The layout tells which one.
#include <inttypes.h>

#include "cpython/obmalloc_internal.h"

enum {
	HW_STATIC_CANDIDATES_MAX = 8,
	HW_ARENA_OBJECTS_PROVED = 16,
	HW_USE_MAIN_OBMALLOC =
		1 << 5, // Py_RTFLAGS_USE_MAIN_OBMALLOC, pycore_interp.h, 3.12 and later
};

// Variables of one name; LTO describes each twice, and another file may have one too.
struct hw_static_candidates {
	hw_addr_t addresses[HW_STATIC_CANDIDATES_MAX];
	uint64_t sizes[HW_STATIC_CANDIDATES_MAX]; // bytes, 0: not known
	unsigned count;
	uint64_t want_bytes; // 0: any
};

static void hw_add_candidate(struct hw_static_candidates *all, hw_addr_t addr, uint64_t size)
{
	for (unsigned i = 0; i < all->count; i++) {
		if (all->addresses[i] != addr)
			continue;
		if (!all->sizes[i])
			all->sizes[i] = size;
		return;
	}
	if (all->count == HW_STATIC_CANDIDATES_MAX)
		return;
	all->addresses[all->count] = addr;
	all->sizes[all->count++] = size;
}

static bool hw_take_candidate(void *payload, const struct hw_symbol *symbol)
{
	struct hw_static_candidates *all = payload;
	if (!symbol->is_function && !symbol->is_tls && symbol->address &&
	    (!all->want_bytes || !symbol->size || symbol->size == all->want_bytes))
		hw_add_candidate(all, symbol->address, symbol->size);
	return true;
}

// want_bytes: the variable's size, 0: any.
static void hw_find_candidates(const struct hw_python *python, const char *name,
			       uint64_t want_bytes, struct hw_static_candidates *ret)
{
	hw_addr_t addr;
	*ret = (struct hw_static_candidates){ .want_bytes = want_bytes };
	if (hw_dwarf_variable(python->module, "obmalloc.c", name, &addr))
		hw_add_candidate(ret, addr, 0);
	hw_module_visit_symbols(python->module, name, hw_take_candidate, ret);
	if (!ret->count && hw_dwarf_variable(python->module, NULL, name, &addr))
		hw_add_candidate(ret, addr, 0);
}

static hw_addr_t hw_find_static(const struct hw_python *python, const char *name)
{
	struct hw_static_candidates all;
	hw_find_candidates(python, name, python->layout.word_bytes, &all);
	return all.count ? all.addresses[0] : 0;
}

uint32_t hw_obmalloc_prove_usedpools(struct hw_target *target,
				     const struct hw_python_layout *layout, hw_addr_t used,
				     uint32_t used_count)
{
	const unsigned word = layout->word_bytes;
	uint8_t words[2 * HW_PYMALLOC_SIZE_CLASSES_MAX * 8];
	uint32_t class_count = used_count / 2;
	if (!used || (class_count != 32 && class_count != HW_PYMALLOC_SIZE_CLASSES_MAX) ||
	    hw_target_read_some(target, used, words, (size_t)class_count * 2 * word) !=
		    (size_t)class_count * 2 * word)
		return 0;
	struct hw_span spans[HW_PYMALLOC_SIZE_CLASSES_MAX];
	uint8_t sizes[4 * HW_PYMALLOC_SIZE_CLASSES_MAX];
	uint32_t classes[HW_PYMALLOC_SIZE_CLASSES_MAX], count = 0;
	for (uint32_t i = 0; i < class_count; i++) {
		// A fake pool header whose nextpool and prevpool are these two words.
		hw_addr_t self = used + i * 2 * word - (hw_addr_t)layout->pool_nextpool;
		hw_addr_t next = hw_word(words + i * 2 * word, word);
		hw_addr_t prev = hw_word(words + (i * 2 + 1) * word, word);
		if (next == self && prev == self)
			continue;
		if (next % HW_POOL_BYTES_MIN || prev % HW_POOL_BYTES_MIN)
			return 0;
		classes[count] = i;
		spans[count++] = (struct hw_span){ .addr = next + (hw_addr_t)layout->pool_szidx,
						   .len = 4 };
	}
	if (hw_target_read_many(target, spans, count, sizes))
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		if (hw_u32(sizes + (size_t)i * 4) != classes[i])
			return 0;
	}
	return class_count;
}

static bool hw_arena_object_is_plausible(const struct hw_python_layout *layout,
					 const uint8_t *object)
{
	const unsigned word = layout->word_bytes;
	hw_addr_t address = hw_word(object + layout->arena_address, word);
	hw_addr_t pool_address = hw_word(object + layout->arena_pool_address, word);
	uint32_t nfree = hw_u32(object + layout->arena_nfreepools);
	uint32_t ntotal = hw_u32(object + layout->arena_ntotalpools);
	return !address || (address % HW_POOL_BYTES_MIN == 0 && pool_address >= address && ntotal &&
			    nfree <= ntotal && ntotal <= 1024);
}

// 0: these two are not obmalloc's; 1: nothing speaks against it (no arena was ever made); 2: they are.
static int hw_prove_arenas(struct hw_target *target, const struct hw_python_layout *layout,
			   hw_addr_t arenas, hw_addr_t max_arenas)
{
	uint8_t objects[HW_ARENA_OBJECTS_PROVED * HW_ARENA_OBJECT_BYTES_MAX];
	uint64_t array;
	uint32_t count;
	if (!hw_target_read_word(target, arenas, &array) ||
	    !hw_obmalloc_read_u32(target, max_arenas, &count))
		return 0;
	if (!array || !count)
		return !array && !count;
	size_t size = (size_t)layout->arena_object_size;
	size_t proved = hw_min(count, HW_ARENA_OBJECTS_PROVED);
	if (array % layout->word_bytes || count > HW_MAX_ARENAS ||
	    hw_target_read_some(target, array, objects, proved * size) != proved * size)
		return 0;
	for (size_t i = 0; i < proved; i++) {
		if (!hw_arena_object_is_plausible(layout, objects + i * size))
			return 0;
	}
	return 2;
}

static struct hw_error *hw_no_roots(const struct hw_python *python, const char *name)
{
	return hw_error_create(HW_ERROR_NO_DEBUG_INFO,
			       "neither the symbols nor the debug information of %s (CPython %s) "
			       "tell where obmalloc's %s is; install its debug information",
			       python->module->path, python->version, name);
}

// What only some versions have: an address stays 0 without it.
static void hw_find_late_statics(const struct hw_python *python, struct hw_obmalloc_roots *roots)
{
	if (python->layout.arena_map_bot_size != HW_ABSENT) {
		hw_python_static(python, "obmalloc.c", "arena_map_mid_count",
				 &roots->map_mid_count);
		hw_python_static(python, "obmalloc.c", "arena_map_bot_count",
				 &roots->map_bot_count);
	}
	hw_python_static(python, "obmalloc.c", "serialno", &roots->serial);
}

static struct hw_error *hw_find_statics(struct hw_target *target, const struct hw_python *python,
					struct hw_obmalloc_roots *roots, const char **ret_facts)
{
	const struct hw_python_layout *layout = &python->layout;
	struct hw_static_candidates arenas, max_arenas, used;
	hw_find_candidates(python, "arenas", layout->word_bytes, &arenas);
	hw_find_candidates(python, "maxarenas", 4, &max_arenas);
	hw_find_candidates(python, "usedpools", 0, &used);
	if (!arenas.count || !max_arenas.count) {
		*ret_facts = "statics of obmalloc.c, found by their pattern";
		if (layout->word_bytes == 8 && hw_obmalloc_search_statics(target, python, roots))
			return NULL;
		return hw_no_roots(python, arenas.count ? "maxarenas" : "arenas");
	}
	*ret_facts = "statics of obmalloc.c";
	int best = -1;
	for (unsigned a = 0; a < arenas.count; a++) {
		for (unsigned m = 0; m < max_arenas.count; m++) {
			int proof = hw_prove_arenas(target, layout, arenas.addresses[a],
						    max_arenas.addresses[m]);
			if (proof <= best)
				continue;
			best = proof;
			roots->arenas = arenas.addresses[a];
			roots->max_arenas = max_arenas.addresses[m];
		}
	}
	for (unsigned i = 0; i < used.count; i++) {
		// 64 classes of 8 bytes begin like 32 of 16: the longer one first.
		uint32_t known = (uint32_t)hw_min(used.sizes[i] / layout->word_bytes, 1024);
		for (uint32_t n = 2 * HW_PYMALLOC_SIZE_CLASSES_MAX; n >= 64; n /= 2) {
			if ((known && known != n) ||
			    !hw_obmalloc_prove_usedpools(target, layout, used.addresses[i], n))
				continue;
			roots->used = used.addresses[i];
			roots->used_count = n;
			break;
		}
		if (roots->used)
			break;
	}
	roots->usable = hw_find_static(python, "usable_arenas");
	roots->unused = hw_find_static(python, "unused_arena_objects");
	roots->arenas_allocated = hw_find_static(python, "narenas_currently_allocated");
	roots->arenas_total = hw_find_static(python, "ntimes_arena_allocated");
	roots->arenas_highwater = hw_find_static(python, "narenas_highwater");
	roots->raw_blocks = hw_find_static(python, "raw_allocated_blocks");
	hw_find_late_statics(python, roots);
	return NULL;
}

static hw_addr_t hw_member(hw_addr_t state, int32_t offset)
{
	return offset == HW_ABSENT ? 0 : state + (hw_addr_t)offset;
}

static struct hw_obmalloc_roots hw_roots_of_state(const struct hw_python_layout *layout,
						  hw_addr_t state, int64_t interpreter_id)
{
	return (struct hw_obmalloc_roots){
		.interpreter_id = interpreter_id,
		.state = state,
		.used = hw_member(state, layout->obmalloc_used),
		.used_count = layout->usedpools_count,
		.arenas = hw_member(state, layout->obmalloc_arenas),
		.max_arenas = hw_member(state, layout->obmalloc_maxarenas),
		.usable = hw_member(state, layout->obmalloc_usable_arenas),
		.unused = hw_member(state, layout->obmalloc_unused_arena_objects),
		.arenas_allocated = hw_member(state, layout->obmalloc_arenas_allocated),
		.arenas_total = hw_member(state, layout->obmalloc_arenas_total),
		.arenas_highwater = hw_member(state, layout->obmalloc_arenas_highwater),
		.raw_blocks = hw_member(state, layout->obmalloc_raw_blocks),
		.map_mid_count = hw_member(state, layout->obmalloc_map_mid_count),
		.map_bot_count = hw_member(state, layout->obmalloc_map_bot_count),
	};
}

// The state of one interpreter; *ret 0: it has none of its own.
static struct hw_error *hw_find_interpreter_state(struct hw_target *target,
						  const struct hw_python_layout *layout,
						  hw_addr_t interp, bool is_main, hw_addr_t *ret)
{
	uint64_t word;
	*ret = 0;
	if (layout->interp_obmalloc == HW_ABSENT) {
		if (layout->word_bytes == 8 &&
		    hw_obmalloc_search_interpreter(target, layout, interp, ret))
			return NULL;
		return hw_error_at(HW_ERROR_NO_DEBUG_INFO, interp,
				   "the obmalloc state of the interpreter at 0x%" PRIx64
				   " is not where any known build has it, and was not found by its "
				   "pattern; install debug information",
				   interp);
	}
	if (layout->obmalloc_is_pointer) {
		if (!hw_target_read_word(target, interp + (hw_addr_t)layout->interp_obmalloc, ret))
			return hw_error_at(HW_ERROR_FAULT, interp,
					   "the obmalloc pointer of the interpreter at 0x%" PRIx64
					   " can't be read",
					   interp);
		return NULL;
	}
	// One that uses the main interpreter's allocator has an embedded state all the same: unused.
	if (!is_main && layout->interp_feature_flags != HW_ABSENT &&
	    hw_target_read_word(target, interp + (hw_addr_t)layout->interp_feature_flags, &word) &&
	    (word & HW_USE_MAIN_OBMALLOC))
		return NULL;
	*ret = interp + (hw_addr_t)layout->interp_obmalloc;
	return NULL;
}

static struct hw_error *hw_find_interpreter_states(struct hw_target *target,
						   const struct hw_python *python,
						   struct hw_issues *issues,
						   struct hw_obmalloc_states *ret)
{
	const struct hw_python_layout *layout = &python->layout;
	size_t count = python->interpreters.count;
	hw_addr_t finished = 0;
	// After Py_Finalize() no interpreter is listed, but the main one's arenas are still there.
	if (!count && python->runtime && layout->runtime_main_interpreter != HW_ABSENT) {
		finished = python->runtime + (hw_addr_t)layout->runtime_main_interpreter;
		count = 1;
	}
	for (size_t i = 0; i < count; i++) {
		hw_addr_t interp = finished ? finished : python->interpreters.data[i], state;
		uint64_t id = i;
		struct hw_error *err = hw_find_interpreter_state(target, layout, interp, i == 0,
								 &state);
		if (err) {
			hw_issues_take(issues, err);
			continue;
		}
		uint8_t id_bytes[8]; // int64_t in any build
		hw_addr_t id_at = interp + (hw_addr_t)layout->interp_id;
		if (layout->interp_id != HW_ABSENT &&
		    hw_target_read_some(target, id_at, id_bytes, sizeof(id_bytes)) ==
			    sizeof(id_bytes))
			id = hw_u64(id_bytes);
		bool is_known = !state;
		for (size_t k = 0; k < ret->roots.count && !is_known; k++)
			is_known = ret->roots.data[k].state == state;
		if (is_known)
			continue;
		struct hw_obmalloc_roots roots = hw_roots_of_state(layout, state, (int64_t)id);
		if (!hw_vec_push(&ret->roots, roots))
			return &hw_enomem;
	}
	return NULL;
}

struct hw_error *hw_obmalloc_find_states(struct hw_target *target, const struct hw_python *python,
					 struct hw_issues *issues, struct hw_obmalloc_states *ret)
{
	if (python->layout.obmalloc_state_size != HW_ABSENT) {
		if (python->layout.obmalloc_arenas == HW_ABSENT ||
		    python->layout.obmalloc_maxarenas == HW_ABSENT)
			return hw_no_roots(python, "mgmt.arenas");
		ret->facts = python->layout.obmalloc_is_pointer ? "interp->obmalloc, a pointer"
								: "interp->obmalloc, embedded";
		return hw_find_interpreter_states(target, python, issues, ret);
	}
	struct hw_obmalloc_roots roots = { .interpreter_id = 0 };
	HW_TRY(hw_find_statics(target, python, &roots, &ret->facts));
	return hw_vec_push(&ret->roots, roots) ? NULL : &hw_enomem;
}

bool hw_pymalloc_state_of(const struct hw_pymalloc *pymalloc, const struct hw_python *python,
			  size_t index, size_t *ret)
{
	hw_addr_t state = 0;
	if (!pymalloc->states.count || (index && index >= python->interpreters.count))
		return false;
	*ret = 0; // the statics, or the main interpreter's
	if (python->layout.interp_obmalloc == HW_ABSENT || !index)
		return true;
	struct hw_error *err = hw_find_interpreter_state(
		pymalloc->target, &python->layout, python->interpreters.data[index], false, &state);
	bool is_found = !err && !state; // it uses the main interpreter's
	hw_error_destroy(err);
	for (size_t i = 0; state && i < pymalloc->states.count; i++) {
		if (pymalloc->states.data[i].address != state)
			continue;
		*ret = i;
		is_found = true;
	}
	return is_found;
}

void hw_pymalloc_prepare(struct hw_target *target, const struct hw_python *python)
{
	struct hw_issues issues;
	struct hw_obmalloc_states states = { .facts = NULL };
	struct hw_pymalloc nothing = { .target = target };
	hw_issues_init(&issues);
	hw_error_destroy(hw_obmalloc_find_states(target, python, &issues, &states));
	hw_obmalloc_find_in_force(target, python, &nothing);
	hw_vec_deinit(&states.roots);
	hw_issues_deinit(&issues);
}
