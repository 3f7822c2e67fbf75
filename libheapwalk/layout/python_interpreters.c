/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The chain of PyInterpreterState: `interp_head` (a static of pystate.c up to 3.6, bpo-30860), since
// then _PyRuntime.interpreters.head. New interpreters are put in front; the main one is the oldest.
#include <inttypes.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "layout/python_internal.h"

enum {
	HW_INTERPRETERS_MAX = 1 << 16,
	HW_SEARCH_CHAIN_MAX = 64,
	HW_SEARCH_BYTES_MAX = 16 << 20, // of a section; Python's have about 1 MiB
	HW_TYPE_READY = 1 << 12,        // Py_TPFLAGS_READY, all versions
	HW_TYPE_DICT = 1 << 29,         // Py_TPFLAGS_DICT_SUBCLASS
};

// Is the dict of an interpreter's modules one? A fact that is not known is no objection.
static bool hw_has_modules(struct hw_target *target, const struct hw_python *python,
			   hw_addr_t interp)
{
	const struct hw_python_layout *l = &python->layout;
	uint64_t modules, type, flags;
	if (l->interp_modules == HW_ABSENT || l->tp_flags == HW_ABSENT)
		return true;
	return hw_target_read_word(target, interp + (hw_addr_t)l->interp_modules, &modules) &&
	       hw_target_read_word(target, modules + (hw_addr_t)l->ob_type, &type) &&
	       hw_target_read_word(target, type + (hw_addr_t)l->tp_flags, &flags) &&
	       (flags & HW_TYPE_READY) && (flags & HW_TYPE_DICT);
}

// A live interpreter's newest thread state points back at it. One that has none now, an idle sub-interpreter, is
// known by its modules.
static bool hw_interpreter_is_plausible(struct hw_target *target, const struct hw_python *python,
					hw_addr_t interp)
{
	const struct hw_python_layout *layout = &python->layout;
	uint64_t tstate, back;
	if (!interp || interp % target->machine->word_bytes ||
	    !hw_target_read_word(target, interp + (hw_addr_t)layout->interp_threads_head, &tstate))
		return false;
	if (!tstate)
		return hw_has_modules(target, python, interp);
	return hw_target_read_word(target, tstate + (hw_addr_t)layout->tstate_interp, &back) &&
	       back == interp;
}

// Does it lack what proves it, because the target lacks the bytes? Then nothing contradicts it either.
static bool hw_interpreter_is_missing(struct hw_target *target, const struct hw_python *python,
				      hw_addr_t interp)
{
	const struct hw_python_layout *layout = &python->layout;
	uint64_t tstate, back;
	if (!hw_target_read_word(target, interp + (hw_addr_t)layout->interp_threads_head, &tstate))
		return hw_target_find_mapping(target, interp) != NULL;
	return tstate && hw_target_find_mapping(target, tstate) &&
	       !hw_target_read_word(target, tstate + (hw_addr_t)layout->tstate_interp, &back);
}

// How many interpreters follow from here, itself included; 0: it is none. Its dict of modules is a dict:
// two GC heads in a ring would lead back to each other too.
static unsigned hw_chain_length(struct hw_target *target, const struct hw_python *python,
				hw_addr_t interp, hw_addr_t dict_type)
{
	const struct hw_python_layout *layout = &python->layout;
	unsigned count = 0;
	for (; interp && count < HW_SEARCH_CHAIN_MAX; count++) {
		uint64_t tstate, modules, type;
		if (!hw_interpreter_is_plausible(target, python, interp) ||
		    !hw_target_read_word(target, interp + (hw_addr_t)layout->interp_threads_head,
					 &tstate) ||
		    !hw_target_read_word(target, interp + (hw_addr_t)layout->interp_modules,
					 &modules) ||
		    !hw_target_read_word(target, modules + (hw_addr_t)layout->ob_type, &type) ||
		    !tstate || type != dict_type ||
		    !hw_target_read_word(target, interp + (hw_addr_t)layout->interp_next, &interp))
			return 0;
	}
	return count;
}

// interp_head of a build without symbols: the variable that leads to the most interpreters, for other
// statics of pystate.c point to the main one, which is the last.
// The list's head is a member of _PyRuntime since 3.7: then the main interpreter is another of them.
static bool hw_is_in_runtime(struct hw_target *target, const struct hw_python *python,
			     hw_addr_t place)
{
	const struct hw_python_layout *l = &python->layout;
	uint64_t main_interp;
	return l->runtime_interpreters_main == HW_ABSENT ||
	       (hw_target_read_word(target,
				    place - (hw_addr_t)l->runtime_interpreters_head +
					    (hw_addr_t)l->runtime_interpreters_main,
				    &main_interp) &&
		hw_interpreter_is_plausible(target, python, main_interp));
}

static bool hw_search_interpreter_head(struct hw_target *target, const struct hw_python *python,
				       hw_addr_t *ret)
{
	static const char *const sections[] = { ".bss", ".data", ".PyRuntime" };
	struct hw_symbol dict_type;
	unsigned longest = 0;
	if (python->layout.interp_modules == HW_ABSENT || target->machine->word_bytes != 8 ||
	    (!hw_module_symbol(python->module, "PyDict_Type", &dict_type) &&
	     !hw_python_search_static_type(target, python, "dict", &dict_type.address)))
		return false;
	for (size_t s = 0; s < sizeof(sections) / sizeof(sections[0]); s++) {
		hw_addr_t start;
		uint64_t size;
		if (!hw_module_section(python->module, sections[s], &start, &size))
			continue;
		size = hw_min(size, HW_SEARCH_BYTES_MAX);
		hw_cleanup_free uint8_t *bytes = malloc(size + 1);
		size_t got = bytes ? hw_target_read_some(target, start, bytes, size) : 0;
		for (size_t i = 0; i + 8 <= got; i += 8) {
			hw_addr_t value = hw_u64(bytes + i);
			const struct hw_mapping *m = value && value % 8 == 0
							     ? hw_target_find_mapping(target, value)
							     : NULL;
			if (!m || !hw_mapping_is_private_writable(m))
				continue;
			unsigned length = hw_chain_length(target, python, value, dict_type.address);
			if (length > longest && hw_is_in_runtime(target, python, start + i)) {
				longest = length;
				*ret = start + i;
			}
		}
	}
	return longest > 0;
}

static struct hw_error *hw_find_interpreter_head(struct hw_target *target, struct hw_python *python,
						 hw_addr_t *ret)
{
	const struct hw_python_layout *layout = &python->layout;
	hw_addr_t place;
	struct hw_symbol symbol;
	if (python->runtime && layout->runtime_interpreters_head != HW_ABSENT)
		place = python->runtime + (hw_addr_t)layout->runtime_interpreters_head;
	else if (hw_module_symbol(python->module, "interp_head", &symbol))
		place = symbol.address;
	else if (!hw_dwarf_variable(python->module, "pystate.c", "interp_head", &place) &&
		 !hw_search_interpreter_head(target, python, &place))
		return hw_error_create(
			HW_ERROR_NO_DEBUG_INFO,
			"neither _PyRuntime nor interp_head is known in %s, so CPython %s's "
			"interpreters can't be found; install its debug information",
			python->module->path, python->version);
	if (!python->runtime && layout->runtime_interpreters_head != HW_ABSENT)
		python->runtime = place - (hw_addr_t)layout->runtime_interpreters_head;
	if (!hw_target_read_word(target, place, ret))
		return hw_error_at(HW_ERROR_FAULT, place,
				   "CPython's list of interpreters can't be read");
	return NULL;
}

// An empty list is what there is before Python starts, and after its end; or where another build has its list.
// Debug information does not err, and until it starts no type is ready.
static struct hw_error *hw_prove_emptiness(struct hw_target *target, const struct hw_python *python)
{
	uint64_t flags;
	if (!python->is_from_table || python->layout.tp_flags == HW_ABSENT ||
	    !hw_target_read_word(target, python->type_type + (hw_addr_t)python->layout.tp_flags,
				 &flags) ||
	    !(flags & HW_TYPE_READY))
		return NULL;
	return hw_error_create(
		HW_ERROR_CORRUPT,
		"its list of interpreters is empty though its types are ready: either "
		"it has ended or the layout from %s is another build's",
		python->facts);
}

struct hw_error *hw_python_find_interpreters(struct hw_target *target, struct hw_issues *issues,
					     struct hw_python *python)
{
	const struct hw_python_layout *layout = &python->layout;
	hw_addr_t head = 0, main_interp = 0;
	HW_TRY(hw_find_interpreter_head(target, python, &head));
	if (!head)
		HW_TRY(hw_prove_emptiness(target, python));
	if (python->runtime && layout->runtime_interpreters_main != HW_ABSENT &&
	    !hw_target_read_word(target,
				 python->runtime + (hw_addr_t)layout->runtime_interpreters_main,
				 &main_interp))
		main_interp = 0;
	hw_addr_t turtle = 0; // Brent: moves up to the walker at every power of two
	uint32_t steps = 0, leap = 1;
	for (hw_addr_t interp = head; interp;) {
		if (!hw_interpreter_is_plausible(target, python, interp)) {
			if (hw_interpreter_is_missing(target, python, interp))
				hw_issues_add(issues, HW_ERROR_FAULT, interp,
					      "the PyInterpreterState at 0x%" PRIx64
					      ", or its thread state, can't be read",
					      interp);
			else
				hw_issues_add(issues, HW_ERROR_CORRUPT, interp,
					      "no PyInterpreterState at 0x%" PRIx64
					      ": its thread does not lead back to it",
					      interp);
			break;
		}
		if (interp == turtle || steps >= HW_INTERPRETERS_MAX) {
			hw_issues_add(issues, HW_ERROR_CORRUPT, interp,
				      "CPython's list of interpreters has no end");
			// What the cycle repeats was seen already.
			size_t kept = 0;
			for (size_t i = 0; i < python->interpreters.count; i++) {
				hw_addr_t *all = python->interpreters.data;
				bool seen = false;
				for (size_t k = 0; k < kept && !seen; k++)
					seen = all[k] == all[i];
				if (!seen)
					all[kept++] = all[i];
			}
			python->interpreters.count = kept;
			break;
		}
		if (!hw_vec_push(&python->interpreters, interp))
			return &hw_enomem;
		if (++steps == leap) {
			turtle = interp;
			leap *= 2;
		}
		if (!hw_target_read_word(target, interp + (hw_addr_t)layout->interp_next,
					 &interp)) {
			hw_issues_add(issues, HW_ERROR_FAULT, interp,
				      "the PyInterpreterState at 0x%" PRIx64 " can't be read",
				      interp);
			break;
		}
	}
	// Damage in the list does not hide the main interpreter, which the runtime also names.
	hw_addr_t *all = python->interpreters.data;
	size_t count = python->interpreters.count, at = count;
	for (size_t i = 0; main_interp && i < count; i++) {
		if (all[i] == main_interp)
			at = i;
	}
	if (at == count && main_interp && head &&
	    hw_interpreter_is_plausible(target, python, main_interp)) {
		if (!hw_vec_push(&python->interpreters, main_interp))
			return &hw_enomem;
		all = python->interpreters.data;
		count = python->interpreters.count;
	}
	if (head && !count && hw_interpreter_is_missing(target, python, head))
		return hw_error_at(HW_ERROR_FAULT, head,
				   "CPython %s's PyInterpreterState at 0x%" PRIx64
				   ", or its thread state, can't be read",
				   python->version, head);
	if (head && !count)
		return hw_error_at(HW_ERROR_CORRUPT, head,
				   "the list of interpreters of CPython %s leads to 0x%" PRIx64
				   ", which is none; either it is damaged or the layout from %s "
				   "is another build's",
				   python->version, head, python->facts);
	// Oldest first; the main one before all.
	for (size_t i = 0; i < count / 2; i++) {
		hw_addr_t swap = all[i];
		all[i] = all[count - 1 - i];
		all[count - 1 - i] = swap;
	}
	for (size_t i = 1; i < count; i++) {
		if (all[i] != main_interp)
			continue;
		memmove(all + 1, all, i * sizeof(*all));
		all[0] = main_interp;
		break;
	}
	return NULL;
}
