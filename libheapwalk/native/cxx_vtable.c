/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A word that lies inside a symbol `vtable for X` (_ZTV…, Itanium C++ ABI 2.5) names X. Symbols come from
// .symtab, a detached file, or .dynsym: a stripped library still exports the vtables of its classes.
//
// Names are demangled by libstdc++'s __cxa_demangle, a C function that every Debian with gdb or g++ has:
// a demangler of our own would be a second, worse one, and libiberty's is static and the same code.
#include "native/cxx_vtable.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strtab.h"

enum {
	HW_VERDICT_SLOTS = 1 << 16, // distinct first words that lie in a module
	HW_VERDICT_PROBES = 32,
	HW_MANGLED_MAX = 4096, // bounds the demangler's recursion: symbol names are the target's
};

// cxxabi.h is C++ only; the function is not.
char *__cxa_demangle(const char *mangled, char *buf, size_t *len, int *status);

struct hw_verdict {
	hw_addr_t address;
	const char *class_name; // NULL: no vtable
};

struct hw_module_range {
	hw_addr_t start, end;
};

struct hw_vtables {
	struct hw_modules *modules;
	HW_VEC(struct hw_module_range) ranges; // sorted, merged
	// Written once, under the lock; read without it.
	_Atomic(struct hw_verdict *) slots[HW_VERDICT_SLOTS];
	pthread_mutex_t lock; // modules, names
	struct hw_strtab names;
};

static int hw_compare_ranges(const void *a, const void *b)
{
	const struct hw_module_range *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

struct hw_error *hw_vtables_create(struct hw_modules *modules, struct hw_vtables **ret)
{
	*ret = NULL;
	size_t count = modules ? hw_modules_count(modules) : 0;
	if (!count)
		return NULL;
	struct hw_vtables *vtables = calloc(1, sizeof(*vtables));
	if (!vtables)
		return &hw_enomem;
	vtables->modules = modules;
	pthread_mutex_init(&vtables->lock, NULL);
	hw_strtab_init(&vtables->names);
	if (!hw_vec_reserve(&vtables->ranges, count)) {
		hw_vtables_destroy(vtables);
		return &hw_enomem;
	}
	for (size_t i = 0; i < count; i++) {
		const struct hw_module *module = hw_modules_get(modules, i);
		vtables->ranges.data[vtables->ranges.count++] =
			(struct hw_module_range){ module->start, module->end };
	}
	qsort(vtables->ranges.data, count, sizeof(*vtables->ranges.data), hw_compare_ranges);
	size_t kept = 0; // neighbours become one: fewer steps for each of millions of words
	for (size_t i = 1; i < count; i++) {
		struct hw_module_range *last = &vtables->ranges.data[kept];
		const struct hw_module_range *range = &vtables->ranges.data[i];
		if (range->start > last->end)
			vtables->ranges.data[++kept] = *range;
		else if (range->end > last->end)
			last->end = range->end;
	}
	vtables->ranges.count = kept + 1;
	*ret = vtables;
	return NULL;
}

void hw_vtables_destroy(struct hw_vtables *vtables)
{
	if (!vtables)
		return;
	for (size_t i = 0; i < HW_VERDICT_SLOTS; i++)
		free(atomic_load_explicit(&vtables->slots[i], memory_order_relaxed));
	hw_strtab_deinit(&vtables->names);
	hw_vec_deinit(&vtables->ranges);
	pthread_mutex_destroy(&vtables->lock);
	free(vtables);
}

static bool hw_is_in_module(const struct hw_vtables *vtables, hw_addr_t addr)
{
	const struct hw_module_range *ranges = vtables->ranges.data;
	size_t low = 0, high = vtables->ranges.count;
	if (addr < ranges[0].start || addr >= ranges[high - 1].end)
		return false;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		if (ranges[middle].start <= addr)
			low = middle;
		else
			high = middle;
	}
	return addr < ranges[low].end;
}

static size_t hw_verdict_slot(hw_addr_t addr, size_t probe)
{
	return (((addr >> 3) * 0x9e3779b97f4a7c15u >> 40) + probe) & (HW_VERDICT_SLOTS - 1);
}

static bool hw_find_verdict(struct hw_vtables *vtables, hw_addr_t addr, const char **ret_class)
{
	for (size_t probe = 0; probe < HW_VERDICT_PROBES; probe++) {
		struct hw_verdict *verdict = atomic_load_explicit(
			&vtables->slots[hw_verdict_slot(addr, probe)], memory_order_acquire);
		if (!verdict)
			return false;
		if (verdict->address == addr) {
			*ret_class = verdict->class_name;
			return true;
		}
	}
	return false;
}

// The class's name, interned; NULL: out of memory, and the block stays without one.
static const char *hw_name_class(struct hw_vtables *vtables, const char *mangled, size_t len)
{
	static const char prefix[] = "vtable for ";
	char symbol[HW_MANGLED_MAX + 1];
	const char *text = mangled + strlen("_ZTV");
	size_t text_len = len - strlen("_ZTV");
	hw_cleanup_free char *demangled = NULL;
	if (len <= HW_MANGLED_MAX) {
		int status;
		memcpy(symbol, mangled, len);
		symbol[len] = 0;
		demangled = __cxa_demangle(symbol, NULL, NULL, &status);
		if (demangled && !strncmp(demangled, prefix, strlen(prefix))) {
			text = demangled + strlen(prefix);
			text_len = strlen(text);
		}
	}
	uint32_t id = hw_strtab_intern(&vtables->names, text, text_len);
	return id == UINT32_MAX ? NULL : hw_strtab_get(&vtables->names, id);
}

// Under the lock.
static const char *hw_class_of(struct hw_vtables *vtables, hw_addr_t addr)
{
	struct hw_module *module = hw_modules_at(vtables->modules, addr);
	struct hw_symbol symbol;
	if (!module || !hw_module_symbol_at(module, addr, &symbol) ||
	    strncmp(symbol.name, "_ZTV", 4) != 0 || symbol.is_function)
		return NULL;
	// An object points behind offset-to-top and typeinfo.
	if (addr - symbol.address < 16)
		return NULL;
	return hw_name_class(vtables, symbol.name, strcspn(symbol.name, "@."));
}

bool hw_vtable_class(struct hw_vtables *vtables, hw_addr_t first_word, const char **ret_class)
{
	const char *name;
	if (first_word & 7 || !hw_is_in_module(vtables, first_word))
		return false;
	if (!hw_find_verdict(vtables, first_word, &name)) {
		pthread_mutex_lock(&vtables->lock);
		if (!hw_find_verdict(vtables, first_word, &name)) {
			name = hw_class_of(vtables, first_word);
			// Where there is no slot left, the answer is found anew each time.
			for (size_t probe = 0; probe < HW_VERDICT_PROBES; probe++) {
				_Atomic(struct hw_verdict *) *slot =
					&vtables->slots[hw_verdict_slot(first_word, probe)];
				if (atomic_load_explicit(slot, memory_order_relaxed))
					continue;
				struct hw_verdict *verdict = malloc(sizeof(*verdict));
				if (!verdict)
					break;
				*verdict = (struct hw_verdict){ first_word, name };
				atomic_store_explicit(slot, verdict, memory_order_release);
				break;
			}
		}
		pthread_mutex_unlock(&vtables->lock);
	}
	if (name)
		*ret_class = name;
	return name;
}
