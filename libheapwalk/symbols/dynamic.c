/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the loader needs of a module, through its program headers: for files without section headers, and
// for modules whose file is gone, of which memory has what the loader mapped.
// Upstream: the ELF gABI, "Dynamic Section"; glibc's elf/dl-lookup.c for DT_GNU_HASH.
#include <stdlib.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "symbols/modules_private.h"

enum {
	HW_DYNAMIC_ENTRIES_MAX = 4096,
	HW_DYNAMIC_BUCKETS_MAX = 1 << 22,
	HW_DYNAMIC_SYMBOLS_MAX = 1 << 22,
	HW_DYNAMIC_STRINGS_MAX = 256 << 20,
};

// Bytes of the module's file at one of its own addresses, or of its image where there is no file.
static bool hw_module_read_image(struct hw_module *module, hw_addr_t vaddr, void *buf, size_t len)
{
	hw_addr_t addr = vaddr + module->priv->bias;
	return hw_module_read_file(module, addr, buf, len) ||
	       (!hw_module_file(module) &&
		hw_target_read_some(module->priv->owner->target, addr, buf, len) == len);
}

// In memory, the loader has added the bias to what is an address.
static uint64_t hw_dynamic_address(const struct hw_module *module, uint64_t value)
{
	bool is_absolute = module->priv->bias && value >= module->start && value < module->end;
	return is_absolute ? value - module->priv->bias : value;
}

static void hw_dynamic_take(const struct hw_module *module, uint64_t tag, uint64_t value,
			    struct hw_dynamic *ret)
{
	const struct {
		uint64_t tag;
		uint64_t *to;
		bool is_address;
	} wanted[] = {
		{ DT_RELA, &ret->rela, true },
		{ DT_RELASZ, &ret->rela_bytes, false },
		{ DT_REL, &ret->rel, true },
		{ DT_RELSZ, &ret->rel_bytes, false },
		{ 36 /* DT_RELR */, &ret->relr, true },
		{ 35 /* DT_RELRSZ */, &ret->relr_bytes, false },
		{ DT_SYMTAB, &ret->symbols, true },
		{ DT_STRTAB, &ret->strings, true },
		{ DT_STRSZ, &ret->strings_bytes, false },
		{ DT_HASH, &ret->hash, true },
		{ DT_GNU_HASH, &ret->gnu_hash, true },
	};
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (wanted[i].tag == tag)
			*wanted[i].to = wanted[i].is_address ? hw_dynamic_address(module, value)
							     : value;
}

bool hw_module_dynamic(struct hw_module *module, struct hw_dynamic *ret)
{
	*ret = (struct hw_dynamic){ 0 };
	hw_vec_foreach(phdr, &module->priv->headers.phdrs)
	{
		if (phdr->p_type != PT_DYNAMIC)
			continue;
		unsigned word = module->priv->owner->target->machine->word_bytes;
		uint64_t count = phdr->p_filesz / (2 * word);
		for (uint64_t i = 0; i < count && i < HW_DYNAMIC_ENTRIES_MAX; i++) {
			uint8_t entry[2 * 8]; // tag, value
			if (!hw_module_read_image(module, phdr->p_vaddr + i * 2 * word, entry,
						  2 * word) ||
			    hw_word(entry, word) == DT_NULL)
				break;
			hw_dynamic_take(module, hw_word(entry, word), hw_word(entry + word, word),
					ret);
		}
		return true;
	}
	return false;
}

// How many symbols DT_GNU_HASH knows: the highest that a chain starts with, and the rest of that chain.
static uint64_t hw_dynamic_count_gnu(struct hw_module *module, hw_addr_t table)
{
	uint8_t head[16]; // u32 buckets, first symbol, words of the filter, shift
	unsigned word_bytes = module->priv->owner->target->machine->word_bytes;
	uint32_t highest = 0;
	if (!table || !hw_module_read_image(module, table, head, sizeof(head)))
		return 0;
	uint32_t bucket_count = hw_u32(head), first = hw_u32(head + 4), filter = hw_u32(head + 8);
	if (!bucket_count || bucket_count > HW_DYNAMIC_BUCKETS_MAX ||
	    filter > HW_DYNAMIC_BUCKETS_MAX)
		return 0;
	hw_addr_t at = table + sizeof(head) + (uint64_t)filter * word_bytes;
	hw_cleanup_free uint8_t *buckets = malloc((size_t)bucket_count * 4);
	if (!buckets || !hw_module_read_image(module, at, buckets, (size_t)bucket_count * 4))
		return 0;
	for (uint32_t i = 0; i < bucket_count; i++)
		highest = (uint32_t)hw_max(highest, hw_u32(buckets + (size_t)i * 4));
	if (highest < first)
		return first;
	at += (uint64_t)bucket_count * 4;
	for (uint64_t i = highest; i < HW_DYNAMIC_SYMBOLS_MAX; i++) {
		uint8_t word[4];
		if (!hw_module_read_image(module, at + (i - first) * 4, word, sizeof(word)))
			return 0;
		if (hw_u32(word) & 1)
			return i + 1;
	}
	return 0;
}

size_t hw_module_dynamic_symbols(struct hw_module *module, Elf64_Sym **ret_symbols,
				 char **ret_strings, size_t *ret_strings_bytes)
{
	struct hw_dynamic dynamic;
	uint8_t head[8]; // u32 buckets, symbols
	if (!hw_module_dynamic(module, &dynamic) || !dynamic.symbols || !dynamic.strings ||
	    !dynamic.strings_bytes || dynamic.strings_bytes > HW_DYNAMIC_STRINGS_MAX)
		return 0;
	uint64_t count = hw_dynamic_count_gnu(module, dynamic.gnu_hash);
	if (!count && dynamic.hash &&
	    hw_module_read_image(module, dynamic.hash, head, sizeof(head)))
		count = hw_u32(head + 4);
	if (!count || count > HW_DYNAMIC_SYMBOLS_MAX)
		return 0;
	unsigned elf_class = module->priv->headers.elf_class;
	size_t sym_bytes = hw_elf_sym_bytes(elf_class);
	hw_cleanup_free uint8_t *table = malloc(count * sym_bytes);
	hw_cleanup_free Elf64_Sym *symbols = malloc(count * sizeof(*symbols));
	hw_cleanup_free char *strings = malloc(dynamic.strings_bytes);
	if (!table || !symbols || !strings ||
	    !hw_module_read_image(module, dynamic.symbols, table, count * sym_bytes) ||
	    !hw_module_read_image(module, dynamic.strings, strings, dynamic.strings_bytes) ||
	    strings[dynamic.strings_bytes - 1])
		return 0;
	for (size_t i = 0; i < count; i++)
		hw_elf_get_sym(table + i * sym_bytes, elf_class, &symbols[i]);
	*ret_symbols = hw_no_cleanup(symbols);
	*ret_strings = hw_no_cleanup(strings);
	*ret_strings_bytes = dynamic.strings_bytes;
	return count;
}

// The parts of the program headers that hold what a linker puts into a section of that name: more than
// the section, never less.
bool hw_module_segment_of_section(struct hw_module *module, const char *name, hw_addr_t *ret_addr,
				  uint64_t *ret_size)
{
	bool is_bss = !strcmp(name, ".bss"), is_data = !strcmp(name, ".data"), is_found = false;
	if (!is_bss && !is_data && strcmp(name, ".rodata"))
		return false;
	hw_vec_foreach(phdr, &module->priv->headers.phdrs)
	{
		// The header's own page and notes are the first segment; constants have the largest.
		bool is_wanted = is_bss || is_data
					 ? phdr->p_flags & PF_W
					 : !(phdr->p_flags & (PF_W | PF_X)) &&
						   (!is_found || phdr->p_filesz > *ret_size);
		if (phdr->p_type != PT_LOAD || !is_wanted || phdr->p_memsz < phdr->p_filesz ||
		    (is_bss ? phdr->p_memsz == phdr->p_filesz : !phdr->p_filesz))
			continue;
		*ret_addr = module->priv->bias + phdr->p_vaddr + (is_bss ? phdr->p_filesz : 0);
		*ret_size = is_bss ? phdr->p_memsz - phdr->p_filesz : phdr->p_filesz;
		is_found = true;
	}
	return is_found;
}
