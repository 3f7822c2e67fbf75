/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/elf_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/mapped_file.h"

enum { HW_ELF_PAGE_BYTES = 4096 };

// The build-id among the notes of one PT_NOTE segment.
static bool hw_elf_find_build_id(struct hw_elf_headers *headers, const uint8_t *notes, size_t len,
				 size_t align)
{
	for (size_t at = 0; len - at >= sizeof(Elf64_Nhdr);) {
		uint64_t name_bytes = hw_u32(notes + at), desc_bytes = hw_u32(notes + at + 4);
		uint32_t type = hw_u32(notes + at + 8);
		uint64_t name = at + sizeof(Elf64_Nhdr);
		uint64_t desc = hw_align_up(name + name_bytes, align);
		uint64_t next = hw_align_up(desc + desc_bytes, align);
		if (desc > len || desc_bytes > len - desc)
			return false;
		if (type == NT_GNU_BUILD_ID && name_bytes == 4 && !memcmp(notes + name, "GNU", 4) &&
		    desc_bytes) {
			headers->build_id_bytes = hw_min(desc_bytes, HW_ELF_BUILD_ID_BYTES);
			memcpy(headers->build_id, notes + desc, headers->build_id_bytes);
			return true;
		}
		if (next > len)
			return false;
		at = next;
	}
	return false;
}

static void hw_elf_read_build_id(struct hw_elf_headers *headers, hw_elf_read_fn *read,
				 void *payload, bool is_memory)
{
	hw_addr_t bias = 0;
	if (is_memory && !hw_elf_headers_bias(headers, 0, &bias))
		return;
	hw_vec_foreach(phdr, &headers->phdrs)
	{
		if (phdr->p_type != PT_NOTE || phdr->p_filesz > HW_ELF_NOTES_BYTES ||
		    phdr->p_filesz < sizeof(Elf64_Nhdr))
			continue;
		hw_cleanup_free uint8_t *notes = malloc(phdr->p_filesz);
		uint64_t from = is_memory ? phdr->p_vaddr + bias : phdr->p_offset;
		if (notes && read(payload, from, notes, phdr->p_filesz) &&
		    hw_elf_find_build_id(headers, notes, phdr->p_filesz,
					 phdr->p_align == 8 ? 8 : 4))
			return;
	}
}

bool hw_elf_headers_read(struct hw_elf_headers *headers, hw_elf_read_fn *read, void *payload,
			 bool is_memory)
{
	Elf64_Ehdr ehdr;
	uint8_t head[sizeof(ehdr)] = { 0 };
	*headers = (struct hw_elf_headers){ 0 };
	if (!read(payload, 0, head, HW_ELF_EHDR_MIN) ||
	    (!hw_elf_is_32(head[EI_CLASS]) && !read(payload, 0, head, sizeof(head))) ||
	    !hw_elf_get_ehdr(head, sizeof(head), &ehdr))
		return false;
	headers->elf_class = ehdr.e_ident[EI_CLASS];
	headers->type = ehdr.e_type;
	headers->machine = ehdr.e_machine;
	headers->entry = ehdr.e_entry;
	headers->phdr_offset = ehdr.e_phoff;
	if (!ehdr.e_phnum)
		return true;
	size_t phdr_bytes = hw_elf_phdr_bytes(headers->elf_class);
	if (ehdr.e_phentsize != phdr_bytes || ehdr.e_phnum > HW_ELF_PHDR_COUNT)
		return false;
	hw_cleanup_free uint8_t *table = malloc(ehdr.e_phnum * phdr_bytes);
	if (!table || !hw_vec_reserve(&headers->phdrs, ehdr.e_phnum) ||
	    !read(payload, ehdr.e_phoff, table, ehdr.e_phnum * phdr_bytes)) {
		hw_elf_headers_deinit(headers);
		return false;
	}
	headers->phdrs.count = ehdr.e_phnum;
	for (size_t i = 0; i < ehdr.e_phnum; i++)
		hw_elf_get_phdr(table + i * phdr_bytes, headers->elf_class,
				&headers->phdrs.data[i]);
	hw_elf_read_build_id(headers, read, payload, is_memory);
	return true;
}

void hw_elf_headers_deinit(struct hw_elf_headers *headers)
{
	hw_vec_deinit(&headers->phdrs);
}

bool hw_elf_headers_span(const struct hw_elf_headers *headers, uint64_t page_bytes,
			 hw_addr_t *ret_low, hw_addr_t *ret_high)
{
	hw_addr_t low = UINT64_MAX, high = 0;
	hw_vec_foreach(phdr, &headers->phdrs)
	{
		if (phdr->p_type != PT_LOAD || phdr->p_vaddr + phdr->p_memsz < phdr->p_vaddr)
			continue;
		low = hw_min(low, hw_align_down(phdr->p_vaddr, page_bytes));
		high = hw_max(high, hw_align_up(phdr->p_vaddr + phdr->p_memsz, page_bytes));
	}
	if (low >= high)
		return false;
	*ret_low = low;
	*ret_high = high;
	return true;
}

bool hw_elf_headers_bias(const struct hw_elf_headers *headers, hw_addr_t start, hw_addr_t *ret)
{
	hw_vec_foreach(phdr, &headers->phdrs)
	{
		if (phdr->p_type != PT_LOAD || phdr->p_offset >= HW_ELF_PAGE_BYTES)
			continue;
		*ret = start - (phdr->p_vaddr - phdr->p_offset);
		return true;
	}
	return false;
}

// Program headers alone: a file that was stripped since has other section headers.
static bool hw_elf_headers_same_segments(const struct hw_elf_headers *a,
					 const struct hw_elf_headers *b)
{
	if (a->type != b->type || a->machine != b->machine || a->entry != b->entry ||
	    a->phdrs.count != b->phdrs.count)
		return false;
	for (size_t i = 0; i < a->phdrs.count; i++) {
		const Elf64_Phdr *x = &a->phdrs.data[i], *y = &b->phdrs.data[i];
		if (x->p_type != y->p_type || x->p_vaddr != y->p_vaddr ||
		    x->p_memsz != y->p_memsz || x->p_filesz != y->p_filesz ||
		    x->p_offset != y->p_offset)
			return false;
	}
	return true;
}

bool hw_elf_headers_match(const struct hw_elf_headers *a, const struct hw_elf_headers *b)
{
	if (a->build_id_bytes && b->build_id_bytes)
		return a->build_id_bytes == b->build_id_bytes &&
		       !memcmp(a->build_id, b->build_id, a->build_id_bytes);
	return hw_elf_headers_same_segments(a, b);
}

static bool hw_elf_file_read(void *payload, uint64_t offset, void *buf, size_t len)
{
	const struct hw_elf_file *file = payload;
	if (offset > file->size || len > file->size - offset)
		return false;
	memcpy(buf, file->bytes + offset, len);
	return true;
}

struct hw_error *hw_elf_file_open(const char *path, struct hw_elf_file **ret)
{
	struct hw_elf_file *file = calloc(1, sizeof(*file));
	struct stat st;
	if (!file || !(file->path = strdup(path))) {
		free(file);
		return &hw_enomem;
	}
	struct hw_error *err = NULL;
	// Not for reading what blocks: a mapped path may be a FIFO by now.
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0 || fstat(file->fd, &st))
		err = hw_error_os(errno, "can't open %s", path);
	else if (!S_ISREG(st.st_mode))
		err = hw_error_create(HW_ERROR_INVALID, "%s is not a regular file", path);
	else if (st.st_size < HW_ELF_EHDR_MIN)
		err = hw_error_create(HW_ERROR_INVALID, "%s is too short for an ELF file", path);
	if (!err) {
		file->bytes = hw_map_file(file->fd, (size_t)st.st_size);
		file->size = (size_t)st.st_size;
		if (!file->bytes)
			err = hw_error_os(errno, "can't map %s", path);
	}
	if (!err && (!hw_elf_headers_read(&file->headers, hw_elf_file_read, file, false) ||
		     !hw_machine_find(file->headers.machine, file->headers.elf_class)))
		err = hw_error_create(HW_ERROR_INVALID,
				      "%s is not an ELF file of " HW_MACHINES_TEXT, path);
	if (err) {
		hw_elf_file_close(file);
		return err;
	}
	*ret = file;
	return NULL;
}

void hw_elf_file_close(struct hw_elf_file *file)
{
	if (!file)
		return;
	hw_elf_headers_deinit(&file->headers);
	hw_unmap_file(file->bytes, file->size);
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}

const uint8_t *hw_elf_file_at(const struct hw_elf_file *file, hw_addr_t vaddr, size_t *ret_len)
{
	hw_vec_foreach(phdr, &file->headers.phdrs)
	{
		if (phdr->p_type != PT_LOAD || vaddr < phdr->p_vaddr ||
		    vaddr - phdr->p_vaddr >= phdr->p_filesz)
			continue;
		uint64_t into = vaddr - phdr->p_vaddr;
		if (phdr->p_offset > file->size || into >= file->size - phdr->p_offset)
			return NULL; // the file is cut short
		*ret_len = hw_min(phdr->p_filesz - into, file->size - phdr->p_offset - into);
		return file->bytes + phdr->p_offset + into;
	}
	return NULL;
}

void hw_elf_build_id_text(const struct hw_elf_headers *headers, char *buf, size_t size)
{
	*buf = 0;
	for (size_t i = 0; i < headers->build_id_bytes && (i + 1) * 2 < size; i++)
		snprintf(buf + i * 2, size - i * 2, "%02x", headers->build_id[i]);
}

char *hw_elf_join(const char *root, const char *path)
{
	char *joined;
	size_t len = root ? strlen(root) : 0;
	while (len && root[len - 1] == '/' && *path == '/')
		len--;
	return asprintf(&joined, "%.*s%s", (int)len, root ? root : "", path) < 0 ? NULL : joined;
}
