/* SPDX-License-Identifier: LGPL-2.1-or-later */
// libdw inflates every compressed .debug section when it opens a file. Half of python3.11's (line numbers,
// lists of locations and of ranges) answer no question of ours: a sparse copy in memory, in which they are
// marked empty, opens in half the time.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "symbols/modules_private.h"

enum {
	// Compressed bytes that must be saved for a copy to be worth it.
	HW_SLIM_BYTES = 1 << 18,
	HW_SLIM_SECTIONS = 256,
};

// Variables that have a fixed address have it in .debug_info; none of these is asked for.
static const char *const hw_slim_unused[] = {
	".debug_line",     ".debug_loc",     ".debug_loclists", ".debug_ranges",
	".debug_rnglists", ".debug_aranges", ".debug_frame",    ".debug_macro",
};

static bool hw_slim_is_unused(const struct hw_elf_file *file, const Elf64_Shdr *section)
{
	const char *name = hw_file_section_name(file, section);
	for (size_t i = 0; i < sizeof(hw_slim_unused) / sizeof(*hw_slim_unused); i++)
		if (!strcmp(name, hw_slim_unused[i]))
			return section->sh_flags & SHF_COMPRESSED;
	return false;
}

static bool hw_slim_copy(const struct hw_elf_file *file, int fd, uint64_t offset, uint64_t len)
{
	if (offset > file->size || len > file->size - offset)
		return false; // damaged: let libelf say so
	while (len) {
		ssize_t n = pwrite(fd, file->bytes + offset, len, (off_t)offset);
		if (n <= 0)
			return false;
		offset += (uint64_t)n;
		len -= (uint64_t)n;
	}
	return true;
}

static bool hw_slim_fill(const struct hw_elf_file *file, const Elf64_Ehdr *ehdr, int fd)
{
	if (ftruncate(fd, (off_t)file->size) || !hw_slim_copy(file, fd, 0, sizeof(*ehdr)) ||
	    !hw_slim_copy(file, fd, ehdr->e_phoff, ehdr->e_phnum * sizeof(Elf64_Phdr)))
		return false;
	for (size_t i = 0; i < ehdr->e_shnum; i++) {
		Elf64_Shdr section;
		if (!hw_file_section(file, i, &section))
			return false;
		if (hw_slim_is_unused(file, &section)) {
			section.sh_type = SHT_NOBITS;
			section.sh_flags = 0;
		} else if (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL &&
			   !hw_slim_copy(file, fd, section.sh_offset, section.sh_size)) {
			return false;
		}
		if (pwrite(fd, &section, sizeof(section),
			   (off_t)(ehdr->e_shoff + i * sizeof(section))) !=
		    (ssize_t)sizeof(section))
			return false;
	}
	return true;
}

int hw_debug_file_slim(const struct hw_elf_file *file)
{
	Elf64_Ehdr ehdr;
	Elf64_Shdr section;
	uint64_t saved = 0;
	memcpy(&ehdr, file->bytes, sizeof(ehdr));
	if (!ehdr.e_shnum || ehdr.e_shnum > HW_SLIM_SECTIONS)
		return -1;
	for (size_t i = 0; hw_file_section(file, i, &section); i++) {
		// dwz: libdw looks for the other file beside this one
		if (!strcmp(hw_file_section_name(file, &section), ".gnu_debugaltlink"))
			return -1;
		if (hw_slim_is_unused(file, &section))
			saved += section.sh_size;
	}
	if (saved < HW_SLIM_BYTES)
		return -1;
	int fd = memfd_create("heapwalk debug information", MFD_CLOEXEC);
	if (fd >= 0 && hw_slim_fill(file, &ehdr, fd))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}
