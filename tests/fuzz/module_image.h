/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The image of a program or library as the loader has mapped it: ELF headers with one writable segment, without
// symbols, and with no file anywhere.
#ifndef MODULE_IMAGE_H
#define MODULE_IMAGE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// The image is of mem_bytes; what lies behind file_bytes is .bss.
static inline void module_image(uint8_t *image, uint64_t file_bytes, uint64_t mem_bytes)
{
	const Elf64_Ehdr ehdr = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
				  .e_type = ET_DYN,
				  .e_machine = EM_X86_64,
				  .e_version = 1,
				  .e_phoff = sizeof(Elf64_Ehdr),
				  .e_ehsize = sizeof(Elf64_Ehdr),
				  .e_phentsize = sizeof(Elf64_Phdr),
				  .e_phnum = 1 };
	const Elf64_Phdr phdr = { .p_type = PT_LOAD,
				  .p_flags = PF_R | PF_W,
				  .p_filesz = file_bytes,
				  .p_memsz = mem_bytes,
				  .p_align = 0x1000 };
	memcpy(image, &ehdr, sizeof(ehdr));
	memcpy(image + sizeof(ehdr), &phdr, sizeof(phdr));
}

// Exports for it: a dynamic section, a table of symbols and what tells how many they are, in the 1 KiB of the image
// from `at` on. Call it last.
struct module_symbol {
	const char *name;
	uint64_t place; // in the image
};

static inline void module_exports(uint8_t *image, uint64_t at, const struct module_symbol *symbols,
				  size_t count)
{
	enum { TABLE = 0x100, HASH = 0x200, STRINGS = 0x300, STRINGS_BYTES = 0x100 };
	const Elf64_Phdr phdr = {
		.p_type = PT_DYNAMIC, .p_offset = at, .p_vaddr = at, .p_filesz = TABLE
	};
	const Elf64_Dyn dynamic[] = {
		{ DT_SYMTAB, { at + TABLE } },
		{ DT_HASH, { at + HASH } },
		{ DT_STRTAB, { at + STRINGS } },
		{ DT_STRSZ, { STRINGS_BYTES } },
	};
	const uint32_t hash[] = { 1, (uint32_t)count + 1 }; // buckets, symbols
	size_t name = 1;
	memcpy(image + sizeof(Elf64_Ehdr) + sizeof(phdr), &phdr, sizeof(phdr));
	image[offsetof(Elf64_Ehdr, e_phnum)] = 2;
	memcpy(image + at, dynamic, sizeof(dynamic));
	memcpy(image + at + HASH, hash, sizeof(hash));
	for (size_t i = 0; i < count; i++) {
		const Elf64_Sym symbol = { .st_name = (uint32_t)name,
					   .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
					   .st_shndx = 1,
					   .st_value = symbols[i].place,
					   .st_size = 8 };
		memcpy(image + at + TABLE + (i + 1) * sizeof(symbol), &symbol, sizeof(symbol));
		memcpy(image + at + STRINGS + name, symbols[i].name, strlen(symbols[i].name) + 1);
		name += strlen(symbols[i].name) + 1;
	}
}

#endif
