/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Symbols of a module by name and by address. One index a module, made when the first name is asked for:
// libpython has 30 000 symbols and a census asks for a hundred.
#include <elfutils/libdwfl.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "symbols/modules_private.h"

enum {
	// Sized symbols may nest (a label inside an object); look back this far for one around addr.
	HW_SYMTAB_LOOK_BACK = 32,
	// A longer name is left out: a million symbols may share a name of a million bytes.
	HW_SYMTAB_NAME_MAX = 4096,
};

struct hw_symtab_entry {
	const char *name; // in the file's string table
	const char *file; // base name, NULL for globals
	uint64_t value;   // run-time address; TLS: offset
	uint64_t size;
	uint32_t base_len; // of the name without ".lto_priv.N", "@@VERSION"
	uint32_t next;     // in the hash chain, 1 + index; 0 ends it
	bool is_tls, is_function, is_global;
};

struct hw_symtab {
	HW_VEC(struct hw_symtab_entry) entries;
	uint32_t *heads; // 1 + index; 0: empty
	size_t head_count;
	uint32_t *by_address; // indices of the sized and the named, sorted; NULL: not made yet
	size_t by_address_count;
	char *strings; // where no file holds them; NULL
};

void hw_symtab_destroy(struct hw_symtab *symtab)
{
	if (!symtab)
		return;
	hw_vec_deinit(&symtab->entries);
	free(symtab->heads);
	free(symtab->by_address);
	free(symtab->strings);
	free(symtab);
}

// A local symbol that link-time optimisation made unique, or a versioned one, counts as its plain name; a
// part of a function ("NAME.lto_priv.0.cold") does not.
static size_t hw_symtab_base_len(const char *name)
{
	static const char lto_suffix[] = ".lto_priv.";
	const char *lto = strstr(name, lto_suffix);
	if (lto && lto[sizeof(lto_suffix) - 1 + strspn(lto + sizeof(lto_suffix) - 1, "0123456789")])
		lto = NULL;
	size_t len = lto ? (size_t)(lto - name) : strlen(name);
	const char *version = memchr(name, '@', len);
	return version && version != name ? (size_t)(version - name) : len;
}

static uint64_t hw_symtab_hash(const char *name, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u; // FNV-1a
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * 0x100000001b3u;
	return h ^ h >> 32;
}

static bool hw_symtab_is_wanted(const GElf_Sym *sym)
{
	// Absolute ones have no place in the image.
	if (sym->st_shndx == SHN_UNDEF || sym->st_shndx == SHN_ABS)
		return false;
	switch (GELF_ST_TYPE(sym->st_info)) {
	case STT_NOTYPE:
	case STT_OBJECT:
	case STT_FUNC:
	case STT_TLS:
	case STT_COMMON:
	case STT_GNU_IFUNC:
		return true;
	default:
		return false;
	}
}

static bool hw_symtab_is_short(const char *name)
{
	return strnlen(name, HW_SYMTAB_NAME_MAX) < HW_SYMTAB_NAME_MAX;
}

static const char *hw_symtab_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

// The first section of that type with its strings; false: none, or damaged.
static bool hw_symtab_find_section(Elf *elf, GElf_Word type, Elf_Data **ret_symbols,
				   Elf_Data **ret_strings)
{
	GElf_Shdr shdr;
	for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn));) {
		if (!gelf_getshdr(scn, &shdr) || shdr.sh_type != type)
			continue;
		Elf_Scn *strings = elf_getscn(elf, shdr.sh_link);
		*ret_symbols = elf_getdata(scn, NULL);
		*ret_strings = strings ? elf_getdata(strings, NULL) : NULL;
		return *ret_symbols && *ret_strings && (*ret_strings)->d_buf &&
		       (*ret_strings)->d_size &&
		       !((const char *)(*ret_strings)->d_buf)[(*ret_strings)->d_size - 1];
	}
	return false;
}

// `name` is borrowed; `file` is the one that a local symbol is of, or NULL.
static void hw_symtab_add(struct hw_symtab *symtab, const GElf_Sym *sym, const char *name,
			  const char *file, hw_addr_t bias)
{
	int kind = GELF_ST_TYPE(sym->st_info);
	if (!*name || !hw_symtab_is_wanted(sym))
		return;
	bool is_global = GELF_ST_BIND(sym->st_info) != STB_LOCAL;
	struct hw_symtab_entry entry = {
		.name = name,
		.file = is_global || !file || !*file ? NULL : file,
		.value = sym->st_value + (kind == STT_TLS ? 0 : bias),
		.size = sym->st_size,
		.base_len = (uint32_t)hw_symtab_base_len(name),
		.is_tls = kind == STT_TLS,
		.is_function = kind == STT_FUNC || kind == STT_GNU_IFUNC,
		.is_global = is_global,
	};
	hw_vec_push(&symtab->entries, entry);
}

// False: out of memory.
static bool hw_symtab_add_section(struct hw_symtab *symtab, Elf *elf, GElf_Word type,
				  hw_addr_t bias)
{
	Elf_Data *symbols, *strings;
	const char *file = NULL;
	if (!elf || !hw_symtab_find_section(elf, type, &symbols, &strings))
		return true;
	size_t count = symbols->d_size / gelf_fsize(elf, ELF_T_SYM, 1, EV_CURRENT);
	if (count > INT32_MAX - symtab->entries.count)
		count = INT32_MAX - symtab->entries.count;
	if (!hw_vec_reserve(&symtab->entries, symtab->entries.count + count))
		return false;
	for (size_t i = 1; i < count; i++) {
		GElf_Sym sym;
		if (!gelf_getsym(symbols, (int)i, &sym) || sym.st_name >= strings->d_size)
			continue;
		const char *name = (const char *)strings->d_buf + sym.st_name;
		if (!hw_symtab_is_short(name))
			continue;
		if (GELF_ST_TYPE(sym.st_info) == STT_FILE)
			file = hw_symtab_base_name(name);
		hw_symtab_add(symtab, &sym, name, file, bias);
	}
	return true;
}

// The exported symbols of a file without section headers, or of a module without a file.
static bool hw_symtab_add_dynamic(struct hw_symtab *symtab, struct hw_module *module)
{
	hw_cleanup_free Elf64_Sym *symbols = NULL;
	size_t strings_bytes, count = hw_module_dynamic_symbols(module, &symbols, &symtab->strings,
								&strings_bytes);
	if (!hw_vec_reserve(&symtab->entries, symtab->entries.count + count))
		return false;
	for (size_t i = 1; i < count; i++)
		if (symbols[i].st_name < strings_bytes &&
		    hw_symtab_is_short(symtab->strings + symbols[i].st_name))
			hw_symtab_add(symtab, &symbols[i], symtab->strings + symbols[i].st_name,
				      NULL, module->priv->bias);
	return true;
}

static bool hw_symtab_same_name(const struct hw_symtab_entry *a, const char *name, size_t len)
{
	return a->base_len == len && !memcmp(a->name, name, len);
}

// Chains keep the table's order.
static bool hw_symtab_hash_all(struct hw_symtab *symtab)
{
	symtab->head_count = 64;
	while (symtab->head_count < symtab->entries.count * 2)
		symtab->head_count *= 2;
	symtab->heads = calloc(symtab->head_count, sizeof(*symtab->heads));
	if (!symtab->heads)
		return false;
	for (size_t i = symtab->entries.count; i-- > 0;) {
		struct hw_symtab_entry *entry = &symtab->entries.data[i];
		uint64_t hash = hw_symtab_hash(entry->name, entry->base_len);
		uint32_t *head = &symtab->heads[hash & (symtab->head_count - 1)];
		entry->next = *head;
		*head = (uint32_t)i + 1;
	}
	return true;
}

// The ELF file that has the full table: the module's own, else its debug file, else none.
static Elf *hw_symtab_full_elf(Dwfl_Module *dwfl_module)
{
	GElf_Addr bias, address;
	GElf_Sym sym;
	Elf *elf = dwfl_module_getelf(dwfl_module, &bias), *debug_elf = NULL;
	Elf_Data *symbols, *strings;
	if (elf && hw_symtab_find_section(elf, SHT_SYMTAB, &symbols, &strings))
		return elf;
	// Each symbol tells which file it is of; .gnu_debugdata mixes its own with the main file's.
	int count = dwfl_module_getsymtab(dwfl_module);
	for (int i = 1; i < count; i++) {
		if (dwfl_module_getsym_info(dwfl_module, i, &sym, &address, NULL, &debug_elf,
					    &bias) &&
		    debug_elf && debug_elf != elf)
			return debug_elf;
	}
	return NULL;
}

static struct hw_symtab *hw_module_symtab(struct hw_module *module)
{
	struct hw_module_private *priv = module->priv;
	GElf_Addr bias;
	if (priv->tried_symtab)
		return priv->symtab;
	priv->tried_symtab = true;
	Dwfl_Module *dwfl_module = hw_module_dwfl(module, HW_DWFL_SYMBOLS);
	struct hw_symtab *symtab = calloc(1, sizeof(*symtab));
	if (!symtab)
		return NULL;
	bool ok = true;
	if (dwfl_module) {
		Elf *elf = dwfl_module_getelf(dwfl_module, &bias);
		Elf *full = hw_symtab_full_elf(dwfl_module);
		const char *debug_file = NULL;
		hw_module_guard_elf(module, full);
		ok = hw_symtab_add_section(symtab, full, SHT_SYMTAB, priv->bias);
		dwfl_module_info(dwfl_module, NULL, NULL, NULL, NULL, NULL, NULL, &debug_file);
		// A full table repeats .dynsym; the one in .gnu_debugdata leaves out what is there.
		if (ok && (!symtab->entries.count || (full != elf && !debug_file)))
			ok = hw_symtab_add_section(symtab, elf, SHT_DYNSYM, priv->bias);
	}
	if (ok && !symtab->entries.count)
		ok = hw_symtab_add_dynamic(symtab, module);
	if (!ok || !hw_symtab_hash_all(symtab)) {
		hw_symtab_destroy(symtab);
		return NULL;
	}
	return priv->symtab = symtab;
}

static void hw_symtab_fill(const struct hw_symtab_entry *entry, struct hw_symbol *ret)
{
	*ret = (struct hw_symbol){
		.address = entry->value,
		.size = entry->size,
		.is_tls = entry->is_tls,
		.is_function = entry->is_function,
		.name = entry->name,
		.file = entry->file,
	};
}

static const struct hw_symtab_entry *hw_symtab_next(const struct hw_symtab *symtab, uint32_t link,
						    const char *name, size_t len)
{
	for (; link; link = symtab->entries.data[link - 1].next)
		if (hw_symtab_same_name(&symtab->entries.data[link - 1], name, len))
			return &symtab->entries.data[link - 1];
	return NULL;
}

static const struct hw_symtab_entry *hw_symtab_first(const struct hw_symtab *symtab,
						     const char *name)
{
	size_t len = strlen(name);
	uint64_t hash = hw_symtab_hash(name, len);
	return hw_symtab_next(symtab, symtab->heads[hash & (symtab->head_count - 1)], name, len);
}

bool hw_module_symbol(struct hw_module *module, const char *name, struct hw_symbol *ret)
{
	const struct hw_symtab *symtab = hw_module_symtab(module);
	const struct hw_symtab_entry *best = NULL;
	int best_rank = -1;
	if (!symtab)
		return false;
	for (const struct hw_symtab_entry *e = hw_symtab_first(symtab, name); e;
	     e = hw_symtab_next(symtab, e->next, name, e->base_len)) {
		int rank = (e->size ? 4 : 0) + (e->is_global ? 2 : 0) + !e->name[e->base_len];
		if (rank > best_rank) {
			best = e;
			best_rank = rank;
		}
	}
	if (best)
		hw_symtab_fill(best, ret);
	return best;
}

void hw_module_visit_symbols(struct hw_module *module, const char *name,
			     bool (*visit)(void *payload, const struct hw_symbol *symbol),
			     void *payload)
{
	const struct hw_symtab *symtab = hw_module_symtab(module);
	if (!symtab)
		return;
	for (const struct hw_symtab_entry *e = hw_symtab_first(symtab, name); e;
	     e = hw_symtab_next(symtab, e->next, name, e->base_len)) {
		struct hw_symbol symbol;
		hw_symtab_fill(e, &symbol);
		if (!visit(payload, &symbol))
			return;
	}
}

static int hw_symtab_compare_address(const void *a, const void *b, void *arg)
{
	const struct hw_symtab_entry *entries = arg;
	const struct hw_symtab_entry *x = &entries[*(const uint32_t *)a];
	const struct hw_symtab_entry *y = &entries[*(const uint32_t *)b];
	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	if (x->size != y->size)
		return x->size < y->size ? -1 : 1;
	return x->is_global - y->is_global; // the last of equals is the one that is shown
}

static bool hw_symtab_sort(struct hw_symtab *symtab)
{
	if (symtab->by_address)
		return true;
	symtab->by_address = calloc(symtab->entries.count + 1, sizeof(*symtab->by_address));
	if (!symtab->by_address)
		return false;
	for (size_t i = 0; i < symtab->entries.count; i++)
		if (!symtab->entries.data[i].is_tls)
			symtab->by_address[symtab->by_address_count++] = (uint32_t)i;
	qsort_r(symtab->by_address, symtab->by_address_count, sizeof(*symtab->by_address),
		hw_symtab_compare_address, symtab->entries.data);
	return true;
}

bool hw_module_symbol_at(struct hw_module *module, hw_addr_t addr, struct hw_symbol *ret)
{
	struct hw_symtab *symtab = hw_module_symtab(module);
	if (!symtab || !hw_symtab_sort(symtab))
		return false;
	size_t lo = 0, hi = symtab->by_address_count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (symtab->entries.data[symtab->by_address[mid]].value <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (size_t back = 0; back < HW_SYMTAB_LOOK_BACK && back < lo; back++) {
		const struct hw_symtab_entry *e =
			&symtab->entries.data[symtab->by_address[lo - 1 - back]];
		if (addr - e->value < e->size || (!e->size && e->value == addr)) {
			hw_symtab_fill(e, ret);
			return true;
		}
	}
	return false;
}
