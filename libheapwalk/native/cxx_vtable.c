/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A word that is the address point of a vtable names a class (Itanium C++ ABI, 2.5.2): before it stand the
// offset to the top of the object, 0 at the start of a block, and the class's typeinfo. That proves itself:
// its own first word leads to the vtable of one of the three classes of typeinfos, whose typeinfo has the
// name that the ABI gives it. So stripped programs have names too. A vtable without typeinfo (-fno-rtti)
// needs its symbol `vtable for X` (_ZTV…); and where a core lacks these words, the symbol is all there is.
//
// Names are demangled by libstdc++'s __cxa_demangle, a C function that every Debian with gdb or g++ has:
// a demangler of our own would be a second, worse one, and libiberty's is static and the same code.
#include "native/cxx_vtable.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strtab.h"

enum {
	HW_VERDICT_SLOTS = 1 << 16, // distinct first words that lie in a module
	HW_VERDICT_PROBES = 32,
	HW_MANGLED_MAX = 4096, // bounds the demangler's recursion: names are the target's
	HW_ADDRESS_POINT =
		16, // of a vtable without virtual bases: behind offset to top and typeinfo
};

// cxxabi.h is C++ only; the function is not.
char *__cxa_demangle(const char *mangled, char *buf, size_t *len, int *status);

struct hw_verdict {
	hw_addr_t address;
	const char *class_name; // NULL: no vtable
	struct hw_std_members members;
};

struct hw_module_range {
	hw_addr_t start, end;
};

struct hw_vtables {
	struct hw_target *target;
	struct hw_modules *modules;
	struct hw_absences *absences;
	HW_VEC(struct hw_module_range) ranges; // sorted, merged
	// Written once, under the lock; read without it.
	_Atomic(struct hw_verdict *) slots[HW_VERDICT_SLOTS];
	pthread_mutex_t lock;                 // modules, pages, names, verdicts
	HW_VEC(struct hw_verdict *) verdicts; // what the slots lead to
	struct hw_pages pages;
	struct hw_strtab names;
};

static int hw_compare_ranges(const void *a, const void *b)
{
	const struct hw_module_range *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

struct hw_error *hw_vtables_create(struct hw_target *target, struct hw_modules *modules,
				   struct hw_absences *absences, struct hw_vtables **ret)
{
	*ret = NULL;
	size_t count = modules ? hw_modules_count(modules) : 0;
	if (!count)
		return NULL;
	struct hw_vtables *vtables = calloc(1, sizeof(*vtables));
	if (!vtables)
		return &hw_enomem;
	vtables->target = target;
	vtables->modules = modules;
	vtables->absences = absences;
	pthread_mutex_init(&vtables->lock, NULL);
	hw_strtab_init(&vtables->names);
	hw_pages_init(&vtables->pages, target);
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
	hw_vec_foreach(verdict, &vtables->verdicts)
	{
		hw_vec_deinit(&(*verdict)->members.list);
		free(*verdict);
	}
	hw_vec_deinit(&vtables->verdicts);
	hw_strtab_deinit(&vtables->names);
	hw_pages_deinit(&vtables->pages);
	hw_vec_deinit(&vtables->ranges);
	pthread_mutex_destroy(&vtables->lock);
	free(vtables);
}

void hw_vtables_bounds(const struct hw_vtables *vtables, hw_addr_t *ret_low, hw_addr_t *ret_high)
{
	*ret_low = vtables->ranges.data[0].start;
	*ret_high = vtables->ranges.data[vtables->ranges.count - 1].end;
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

static const struct hw_verdict *hw_find_verdict(struct hw_vtables *vtables, hw_addr_t addr)
{
	for (size_t probe = 0; probe < HW_VERDICT_PROBES; probe++) {
		struct hw_verdict *verdict = atomic_load_explicit(
			&vtables->slots[hw_verdict_slot(addr, probe)], memory_order_acquire);
		if (!verdict || verdict->address == addr)
			return verdict;
	}
	return NULL;
}

// The class's name, interned; NULL: out of memory, and the block stays without one. `mangled` is the class
// as symbols and typeinfos have it: "3Foo", "N6shapes6circleE".
static const char *hw_name_class(struct hw_vtables *vtables, const char *mangled, size_t len)
{
	static const char prefix[] = "vtable for ";
	char symbol[sizeof("_ZTV") + HW_MANGLED_MAX];
	const char *text = mangled;
	hw_cleanup_free char *demangled = NULL;
	if (len <= HW_MANGLED_MAX) {
		int status;
		snprintf(symbol, sizeof(symbol), "_ZTV%.*s", (int)len, mangled);
		demangled = __cxa_demangle(symbol, NULL, NULL, &status);
		if (demangled && !strncmp(demangled, prefix, strlen(prefix))) {
			text = demangled + strlen(prefix);
			len = strlen(text);
		}
	}
	uint32_t id = hw_strtab_intern(&vtables->names, text, len);
	return id == UINT32_MAX ? NULL : hw_strtab_get(&vtables->names, id);
}

// A typeinfo's name, "*" before it when it is of one file alone. False and *ret_absent not NULL: it is in that
// file, which is not at hand.
static bool hw_typeinfo_name(struct hw_vtables *vtables, hw_addr_t typeinfo, char *buf, size_t size,
			     const char **ret_absent)
{
	uint64_t text;
	*ret_absent = NULL;
	if (!typeinfo || typeinfo & 7 || !hw_is_in_module(vtables, typeinfo) ||
	    !hw_pages_read_u64(&vtables->pages, typeinfo + 8, &text) ||
	    !hw_is_in_module(vtables, text))
		return false;
	if (hw_pages_read_string(&vtables->pages, text, buf, size))
		return true;
	*ret_absent = hw_target_absent_text(vtables->target, text);
	return false;
}

// Is the object at `typeinfo` one of the classes that describe classes?
static bool hw_is_typeinfo(struct hw_vtables *vtables, hw_addr_t typeinfo)
{
	static const char *const classes[] = { "N10__cxxabiv117__class_type_infoE",
					       "N10__cxxabiv120__si_class_type_infoE",
					       "N10__cxxabiv121__vmi_class_type_infoE" };
	char name[64];
	const char *absent_file;
	uint64_t vtable, its_typeinfo;
	if (!hw_pages_read_u64(&vtables->pages, typeinfo, &vtable) ||
	    !hw_is_in_module(vtables, vtable) ||
	    !hw_pages_read_u64(&vtables->pages, vtable - 8, &its_typeinfo))
		return false;
	if (!hw_typeinfo_name(vtables, its_typeinfo, name, sizeof(name), &absent_file)) {
		if (absent_file) // libstdc++'s: no class can be told
			hw_absences_add(vtables->absences, absent_file, 0, 0);
		return false;
	}
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (!strcmp(name, classes[i]))
			return true;
	return false;
}

// By the symbol that contains `addr`. Under the lock. Vtables are constants; what leads into variables of
// a library (malloc's bins, as freed memory has them) is not worth an index of its symbols.
static const char *hw_class_of_symbol(struct hw_vtables *vtables, hw_addr_t addr)
{
	struct hw_module *module = hw_modules_at(vtables->modules, addr);
	const struct hw_mapping *mapping = hw_target_find_mapping(vtables->target, addr);
	struct hw_symbol symbol;
	if (!module || (mapping && mapping->flags & HW_MAP_WRITE) ||
	    !hw_module_symbol_at(module, addr, &symbol) || strncmp(symbol.name, "_ZTV", 4) != 0 ||
	    symbol.is_function || addr - symbol.address != HW_ADDRESS_POINT)
		return NULL;
	const char *mangled = symbol.name + strlen("_ZTV");
	return hw_name_class(vtables, mangled, strcspn(mangled, "@."));
}

// Under the lock.
static const char *hw_class_of(struct hw_vtables *vtables, hw_addr_t addr)
{
	char name[HW_MANGLED_MAX + 1];
	const char *absent_file;
	uint64_t to_top, typeinfo;
	if (!hw_pages_read_u64(&vtables->pages, addr - 16, &to_top) ||
	    !hw_pages_read_u64(&vtables->pages, addr - 8, &typeinfo))
		return hw_class_of_symbol(vtables, addr);
	if (to_top)
		return NULL; // of a base inside the object, or no vtable
	if (!typeinfo)
		return hw_class_of_symbol(vtables, addr);
	if (!hw_typeinfo_name(vtables, typeinfo, name, sizeof(name), &absent_file)) {
		if (!absent_file || !hw_is_typeinfo(vtables, typeinfo))
			return NULL;
		hw_absences_add(vtables->absences, absent_file, 0, 0);
		int len = hw_absent_name(name, sizeof(name), "unknown class", absent_file);
		uint32_t id = len > 0 ? hw_strtab_intern(&vtables->names, name, strlen(name))
				      : UINT32_MAX;
		return id == UINT32_MAX ? NULL : hw_strtab_get(&vtables->names, id);
	}
	if (!hw_is_typeinfo(vtables, typeinfo))
		return NULL;
	const char *mangled = *name == '*' ? name + 1 : name;
	return hw_name_class(vtables, mangled, strlen(mangled));
}

// Under the lock. NULL: no slot is left, or no memory; then the answer is found anew each time.
static const struct hw_verdict *hw_keep_verdict(struct hw_vtables *vtables, hw_addr_t addr,
						const char *name)
{
	for (size_t probe = 0; probe < HW_VERDICT_PROBES; probe++) {
		_Atomic(struct hw_verdict *) *slot = &vtables->slots[hw_verdict_slot(addr, probe)];
		if (atomic_load_explicit(slot, memory_order_relaxed))
			continue;
		struct hw_verdict *verdict = calloc(1, sizeof(*verdict));
		if (!verdict || !hw_vec_push(&vtables->verdicts, verdict)) {
			free(verdict);
			return NULL;
		}
		verdict->address = addr;
		verdict->class_name = name;
		struct hw_module *module = name ? hw_modules_at(vtables->modules, addr) : NULL;
		if (module)
			hw_dwarf_class_containers(module, name, &verdict->members);
		atomic_store_explicit(slot, verdict, memory_order_release);
		return verdict;
	}
	return NULL;
}

bool hw_vtable_class(struct hw_vtables *vtables, hw_addr_t first_word, const char **ret_class,
		     const struct hw_std_members **ret_members)
{
	if (first_word & 7 || !hw_is_in_module(vtables, first_word))
		return false;
	const char *name = NULL;
	const struct hw_verdict *verdict = hw_find_verdict(vtables, first_word);
	if (!verdict) {
		pthread_mutex_lock(&vtables->lock);
		verdict = hw_find_verdict(vtables, first_word);
		if (!verdict) {
			name = hw_class_of(vtables, first_word);
			verdict = hw_keep_verdict(vtables, first_word, name);
		}
		pthread_mutex_unlock(&vtables->lock);
	}
	if (verdict)
		name = verdict->class_name;
	if (!name)
		return false;
	*ret_class = name;
	*ret_members = verdict && verdict->members.list.count ? &verdict->members : NULL;
	return true;
}
