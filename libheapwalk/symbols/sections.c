/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What a module's file says of its own image: sections by name, and the words that the loader makes
// point into it.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "symbols/modules_private.h"

// Offset and count of a table inside the mapped file; NULL when it sticks out of it.
static const uint8_t *hw_file_table(const struct hw_elf_file *file, uint64_t offset, uint64_t count,
				    size_t item_bytes)
{
	if (offset > file->size || count > (file->size - offset) / item_bytes)
		return NULL;
	return file->bytes + offset;
}

bool hw_file_section(const struct hw_elf_file *file, size_t index, Elf64_Shdr *ret)
{
	Elf64_Ehdr ehdr;
	size_t shdr_bytes = hw_elf_shdr_bytes(file->headers.elf_class);
	if (!hw_elf_get_ehdr(file->bytes, file->size, &ehdr))
		return false;
	const uint8_t *table = hw_file_table(file, ehdr.e_shoff, ehdr.e_shnum, shdr_bytes);
	if (!ehdr.e_shoff || !table || index >= ehdr.e_shnum || ehdr.e_shentsize != shdr_bytes)
		return false;
	hw_elf_get_shdr(table + index * shdr_bytes, file->headers.elf_class, ret);
	return true;
}

const char *hw_file_section_name(const struct hw_elf_file *file, const Elf64_Shdr *section)
{
	Elf64_Ehdr ehdr;
	Elf64_Shdr names;
	if (!hw_elf_get_ehdr(file->bytes, file->size, &ehdr) ||
	    !hw_file_section(file, ehdr.e_shstrndx, &names))
		return "";
	const uint8_t *text = hw_file_table(file, names.sh_offset, names.sh_size, 1);
	if (!text || section->sh_name >= names.sh_size ||
	    !memchr(text + section->sh_name, 0, names.sh_size - section->sh_name))
		return "";
	return (const char *)text + section->sh_name;
}

bool hw_module_section(struct hw_module *module, const char *name, hw_addr_t *ret_addr,
		       uint64_t *ret_size)
{
	struct hw_elf_file *file = hw_module_file(module);
	Elf64_Shdr section;
	for (size_t i = 1; file && hw_file_section(file, i, &section); i++) {
		if (!(section.sh_flags & SHF_ALLOC) ||
		    strcmp(hw_file_section_name(file, &section), name))
			continue;
		*ret_addr = section.sh_addr + module->priv->bias;
		*ret_size = section.sh_size;
		return true;
	}
	if (file && hw_file_section(file, 0, &section))
		return false;
	return hw_module_segment_of_section(module, name, ret_addr, ret_size);
}

struct hw_relocation_visit {
	const struct hw_elf_file *file;
	const struct hw_machine *machine;
	hw_addr_t bias;
	bool (*visit)(void *payload, const struct hw_relocation *relocation);
	void *payload;
};

static uint64_t hw_relocation_type(const struct hw_machine *machine, uint64_t info)
{
	return machine->word_bytes == 8 ? ELF64_R_TYPE(info) : ELF32_R_TYPE(info);
}

static bool hw_visit_rela(const struct hw_relocation_visit *v, const struct hw_dynamic *dynamic)
{
	size_t have = 0;
	const uint8_t *at = hw_elf_file_at(v->file, dynamic->rela, &have);
	unsigned word = v->machine->word_bytes; // r_offset, r_info, r_addend
	for (uint64_t left = at ? hw_min(dynamic->rela_bytes, have) : 0; left >= 3 * word;
	     left -= 3 * word, at += 3 * word) {
		if (hw_relocation_type(v->machine, hw_word(at + word, word)) !=
		    v->machine->relative)
			continue;
		struct hw_relocation relocation = { hw_word(at, word) + v->bias,
						    hw_word(at + 2 * word, word) + v->bias };
		if (!v->visit(v->payload, &relocation))
			return false;
	}
	return true;
}

// A packed place: what it is made to point at is in the place itself.
static bool hw_visit_packed(const struct hw_relocation_visit *v, uint64_t place)
{
	size_t have;
	const uint8_t *word = hw_elf_file_at(v->file, place, &have);
	if (!word || have < v->machine->word_bytes)
		return true;
	struct hw_relocation relocation = { place + v->bias,
					    hw_word(word, v->machine->word_bytes) + v->bias };
	return v->visit(v->payload, &relocation);
}

// DT_REL: i386's, whose addends are in place.
static bool hw_visit_rel(const struct hw_relocation_visit *v, const struct hw_dynamic *dynamic)
{
	size_t have = 0;
	const uint8_t *at = hw_elf_file_at(v->file, dynamic->rel, &have);
	unsigned word = v->machine->word_bytes; // r_offset, r_info
	for (uint64_t left = at ? hw_min(dynamic->rel_bytes, have) : 0; left >= 2 * word;
	     left -= 2 * word, at += 2 * word)
		if (hw_relocation_type(v->machine, hw_word(at + word, word)) ==
			    v->machine->relative &&
		    !hw_visit_packed(v, hw_word(at, word)))
			return false;
	return true;
}

// DT_RELR (the generic ELF specification's draft of 2018): an even word is a place; an odd one a bitmap
// of the words, one less than it has bits, that follow the last place.
static bool hw_visit_relr(const struct hw_relocation_visit *v, const struct hw_dynamic *dynamic)
{
	size_t have = 0;
	uint64_t next = 0;
	const uint8_t *at = hw_elf_file_at(v->file, dynamic->relr, &have);
	const unsigned bytes = v->machine->word_bytes;
	for (uint64_t left = at ? hw_min(dynamic->relr_bytes, have) : 0; left >= bytes;
	     left -= bytes, at += bytes) {
		uint64_t word = hw_word(at, bytes);
		if (!(word & 1)) {
			if (!hw_visit_packed(v, word))
				return false;
			next = word + bytes;
			continue;
		}
		for (unsigned bit = 1; bit < 8 * bytes; bit++)
			if (word >> bit & 1 && !hw_visit_packed(v, next + (bit - 1) * bytes))
				return false;
		next += (8 * bytes - 1) * bytes;
	}
	return true;
}

void hw_module_visit_relative_relocations(struct hw_module *module,
					  bool (*visit)(void *payload,
							const struct hw_relocation *),
					  void *payload)
{
	struct hw_dynamic dynamic;
	const struct hw_elf_file *file = hw_module_file(module);
	struct hw_relocation_visit v = { file, module->priv->owner->target->machine,
					 module->priv->bias, visit, payload };
	if (file && hw_module_dynamic(module, &dynamic) && hw_visit_rela(&v, &dynamic) &&
	    hw_visit_rel(&v, &dynamic))
		hw_visit_relr(&v, &dynamic);
}
