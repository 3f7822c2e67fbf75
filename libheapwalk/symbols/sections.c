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
	memcpy(&ehdr, file->bytes, sizeof(ehdr)); // its size was checked when it was opened
	const uint8_t *table = hw_file_table(file, ehdr.e_shoff, ehdr.e_shnum, sizeof(Elf64_Shdr));
	if (!ehdr.e_shoff || !table || index >= ehdr.e_shnum ||
	    ehdr.e_shentsize != sizeof(Elf64_Shdr))
		return false;
	memcpy(ret, table + index * sizeof(Elf64_Shdr), sizeof(*ret));
	return true;
}

const char *hw_file_section_name(const struct hw_elf_file *file, const Elf64_Shdr *section)
{
	Elf64_Ehdr ehdr;
	Elf64_Shdr names;
	memcpy(&ehdr, file->bytes, sizeof(ehdr));
	if (!hw_file_section(file, ehdr.e_shstrndx, &names))
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
	hw_addr_t bias;
	bool (*visit)(void *payload, const struct hw_relocation *relocation);
	void *payload;
};

static bool hw_visit_rela(const struct hw_relocation_visit *v, const struct hw_dynamic *dynamic)
{
	size_t have = 0;
	const uint8_t *at = hw_elf_file_at(v->file, dynamic->rela, &have);
	for (uint64_t left = at ? hw_min(dynamic->rela_bytes, have) : 0; left >= sizeof(Elf64_Rela);
	     left -= sizeof(Elf64_Rela), at += sizeof(Elf64_Rela)) {
		if (ELF64_R_TYPE(hw_u64(at + 8)) != R_X86_64_RELATIVE)
			continue;
		struct hw_relocation relocation = { hw_u64(at) + v->bias,
						    hw_u64(at + 16) + v->bias };
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
	if (!word || have < 8)
		return true;
	struct hw_relocation relocation = { place + v->bias, hw_u64(word) + v->bias };
	return v->visit(v->payload, &relocation);
}

// DT_RELR (the generic ELF specification's draft of 2018): an even word is a place; an odd one a bitmap
// of the 63 words that follow the last place.
static bool hw_visit_relr(const struct hw_relocation_visit *v, const struct hw_dynamic *dynamic)
{
	size_t have = 0;
	uint64_t next = 0;
	const uint8_t *at = hw_elf_file_at(v->file, dynamic->relr, &have);
	for (uint64_t left = at ? hw_min(dynamic->relr_bytes, have) : 0; left >= 8;
	     left -= 8, at += 8) {
		uint64_t word = hw_u64(at);
		if (!(word & 1)) {
			if (!hw_visit_packed(v, word))
				return false;
			next = word + 8;
			continue;
		}
		for (unsigned bit = 1; bit < 64; bit++)
			if (word >> bit & 1 && !hw_visit_packed(v, next + (bit - 1) * 8))
				return false;
		next += 63 * 8;
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
	struct hw_relocation_visit v = { file, module->priv->bias, visit, payload };
	if (file && hw_module_dynamic(module, &dynamic) && hw_visit_rela(&v, &dynamic))
		hw_visit_relr(&v, &dynamic);
}
