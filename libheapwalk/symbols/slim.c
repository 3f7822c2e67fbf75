/* SPDX-License-Identifier: LGPL-2.1-or-later */
// libdw inflates every compressed .debug section when it opens a file, with zlib. Half of python3.11's
// (line numbers, lists of locations and of ranges) answer no question of ours, and libdeflate needs a
// third of the time for the rest: a sparse copy in memory, in which the ones are marked empty and the
// others stand inflated, opens four times as fast.
#include <libdeflate.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/parallel.h"
#include "symbols/modules_private.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 // Linux 5.14, glibc 2.35
#endif

enum {
	// Compressed bytes that there must be for a copy to be worth it.
	HW_SLIM_BYTES = 1 << 18,
	HW_SLIM_SECTIONS = 256,
	HW_SLIM_RATIO_MAX = 1032, // of deflate
	HW_SLIM_PAGES_BYTES = 1 << 20,
};

// Larger ones are left to libdw.
static const uint64_t hw_slim_size_max = 1ull << 30;

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
			return true;
	return false;
}

// The copy under construction.
struct hw_slim {
	const struct hw_elf_file *file;
	Elf64_Shdr sections[HW_SLIM_SECTIONS]; // as the copy has them
	// Where the bytes of each are in the file. The file is not asked twice: somebody may write to it meanwhile.
	struct {
		uint64_t offset, size_bytes;
		bool is_compressed; // behind an Elf64_Chdr
	} from[HW_SLIM_SECTIONS];
	size_t section_count;
	bool is_filled;
	atomic_bool is_over; // filled, or given up
	uint64_t size_bytes;
	uint8_t *bytes; // size_bytes, mapped
	struct libdeflate_decompressor *decompressor;
};

static void hw_slim_deinit(struct hw_slim *slim)
{
	if (slim->bytes)
		munmap(slim->bytes, slim->size_bytes);
	libdeflate_free_decompressor(slim->decompressor);
}

// Can the section be inflated? Its header as it is now. Sections inside the file only.
static bool hw_slim_compression(const struct hw_elf_file *file, const Elf64_Shdr *section,
				Elf64_Chdr *ret)
{
	if (!(section->sh_flags & SHF_COMPRESSED) || section->sh_size < sizeof(*ret))
		return false;
	memcpy(ret, file->bytes + section->sh_offset, sizeof(*ret));
	return ret->ch_type == ELFCOMPRESS_ZLIB && ret->ch_addralign <= 4096 &&
	       ret->ch_size <= hw_slim_size_max &&
	       ret->ch_size / HW_SLIM_RATIO_MAX <= section->sh_size;
}

static bool hw_slim_is_inside(const struct hw_elf_file *file, uint64_t offset, uint64_t bytes)
{
	return offset <= file->size && bytes <= file->size - offset;
}

// Decides what becomes of each section. False: no copy, because it saves nothing or because the file is
// damaged, which libelf is to say.
static bool hw_slim_plan(struct hw_slim *slim, const Elf64_Ehdr *ehdr)
{
	const struct hw_elf_file *file = slim->file;
	uint64_t saved = 0;
	slim->section_count = ehdr->e_shnum;
	slim->size_bytes = hw_align_up(file->size, 16);
	for (size_t i = 0; i < ehdr->e_shnum; i++) {
		Elf64_Shdr *section = &slim->sections[i];
		if (!hw_file_section(file, i, section))
			return false;
		// dwz: libdw looks for the other file beside this one
		if (!strcmp(hw_file_section_name(file, section), ".gnu_debugaltlink"))
			return false;
		if (section->sh_type == SHT_NOBITS || section->sh_type == SHT_NULL)
			continue;
		if (!hw_slim_is_inside(file, section->sh_offset, section->sh_size))
			return false;
		Elf64_Chdr header;
		bool is_packed = hw_slim_compression(file, section, &header);
		slim->from[i].offset = section->sh_offset;
		slim->from[i].size_bytes = section->sh_size;
		slim->from[i].is_compressed = is_packed;
		bool is_unused = section->sh_flags & SHF_COMPRESSED &&
				 hw_slim_is_unused(file, section);
		if (!is_packed && !is_unused)
			continue;
		saved += section->sh_size;
		section->sh_flags &= ~(uint64_t)SHF_COMPRESSED;
		if (is_unused) {
			section->sh_type = SHT_NOBITS;
			continue;
		}
		section->sh_addralign = header.ch_addralign;
		section->sh_offset = slim->size_bytes;
		section->sh_size = header.ch_size;
		slim->size_bytes += hw_align_up(header.ch_size, 4096);
	}
	return saved >= HW_SLIM_BYTES && slim->size_bytes <= hw_slim_size_max;
}

static bool hw_slim_fill_section(const struct hw_slim *slim, size_t i)
{
	const struct hw_elf_file *file = slim->file;
	const Elf64_Shdr *section = &slim->sections[i];
	if (section->sh_type == SHT_NOBITS || section->sh_type == SHT_NULL)
		return true;
	const uint8_t *from = file->bytes + slim->from[i].offset;
	uint8_t *to = slim->bytes + section->sh_offset;
	if (!slim->from[i].is_compressed) {
		memcpy(to, from, slim->from[i].size_bytes);
		return true;
	}
	return libdeflate_zlib_decompress(slim->decompressor, from + sizeof(Elf64_Chdr),
					  slim->from[i].size_bytes - sizeof(Elf64_Chdr), to,
					  section->sh_size, NULL) == LIBDEFLATE_SUCCESS;
}

// A thread beside the one that inflates has the kernel find pages for what is inflated: a third of the time
// otherwise. Advice only: kernels before 5.14 don't know it.
static void hw_slim_find_pages(struct hw_slim *slim)
{
	for (size_t i = 0; i < slim->section_count; i++) {
		if (!slim->from[i].is_compressed || slim->sections[i].sh_type == SHT_NOBITS)
			continue;
		uint8_t *at = slim->bytes + hw_align_down(slim->sections[i].sh_offset, 4096);
		const uint8_t *end = slim->bytes + slim->sections[i].sh_offset +
				     slim->sections[i].sh_size;
		// Not for what a damaged header says when that was found out.
		for (; at < end && !atomic_load(&slim->is_over); at += HW_SLIM_PAGES_BYTES)
			(void)madvise(at, hw_min((size_t)(end - at), HW_SLIM_PAGES_BYTES),
				      MADV_POPULATE_WRITE);
	}
}

static void hw_slim_fill_sections(void *payload, unsigned worker)
{
	struct hw_slim *slim = payload;
	if (worker) {
		hw_slim_find_pages(slim);
		return;
	}
	slim->is_filled = true;
	for (size_t i = 0; slim->is_filled && i < slim->section_count; i++)
		slim->is_filled = hw_slim_fill_section(slim, i);
	atomic_store(&slim->is_over, true);
}

static bool hw_slim_fill(struct hw_slim *slim, const Elf64_Ehdr *ehdr, int fd)
{
	const struct hw_elf_file *file = slim->file;
	uint64_t programs = (uint64_t)ehdr->e_phnum * sizeof(Elf64_Phdr);
	uint64_t sections = (uint64_t)ehdr->e_shnum * sizeof(Elf64_Shdr);
	if (!hw_slim_is_inside(file, ehdr->e_phoff, programs) ||
	    !hw_slim_is_inside(file, ehdr->e_shoff, sections) ||
	    !(slim->decompressor = libdeflate_alloc_decompressor()) ||
	    ftruncate(fd, (off_t)slim->size_bytes))
		return false;
	void *bytes = mmap(NULL, slim->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return false;
	slim->bytes = bytes;
	memcpy(slim->bytes, ehdr, sizeof(*ehdr));
	memcpy(slim->bytes + ehdr->e_phoff, file->bytes + ehdr->e_phoff, programs);
	hw_parallel(2, hw_slim_fill_sections, slim);
	if (!slim->is_filled)
		return false;
	memcpy(slim->bytes + ehdr->e_shoff, slim->sections, sections);
	return true;
}

int hw_debug_file_slim(const struct hw_elf_file *file)
{
	Elf64_Ehdr ehdr;
	hw_cleanup_with(hw_slim_deinit) struct hw_slim slim = { .file = file };
	if (hw_elf_is_32(file->headers.elf_class))
		return -1; // small enough as it is: what is below writes headers of class 64
	memcpy(&ehdr, file->bytes, sizeof(ehdr));
	if (!ehdr.e_shnum || ehdr.e_shnum > HW_SLIM_SECTIONS || !hw_slim_plan(&slim, &ehdr))
		return -1;
	int fd = memfd_create("heapwalk debug information", MFD_CLOEXEC);
	if (fd >= 0 && hw_slim_fill(&slim, &ehdr, fd))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}
