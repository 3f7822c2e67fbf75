/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "forge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void forge_free(struct forge *forge)
{
	free(forge->bytes);
	if (*forge->path)
		close(forge->fd);
	*forge = (struct forge){ 0 };
}

size_t forge_add(struct forge *forge, const void *bytes, size_t len)
{
	size_t at = forge->size;
	if (!len)
		return at;
	if (at + len > forge->capacity) {
		forge->capacity = (at + len) * 2;
		forge->bytes = realloc(forge->bytes, forge->capacity);
		if (!forge->bytes)
			abort();
	}
	if (bytes)
		memcpy(forge->bytes + at, bytes, len);
	else
		memset(forge->bytes + at, 0, len);
	forge->size += len;
	return at;
}

static void forge_pad(struct forge *forge, size_t align)
{
	if (forge->size % align)
		forge_add(forge, NULL, align - forge->size % align);
}

void forge_note(struct forge *forge, const char *name, uint32_t type, const void *desc, size_t len)
{
	Elf64_Nhdr header = { (uint32_t)strlen(name) + 1, (uint32_t)len, type };
	forge_add(forge, &header, sizeof(header));
	forge_add(forge, name, strlen(name) + 1);
	forge_pad(forge, 4);
	forge_add(forge, desc, len);
	forge_pad(forge, 4);
}

void forge_note_files(struct forge *forge, const struct forge_file *files, size_t count)
{
	struct forge desc = { 0 };
	uint64_t head[2] = { count, 4096 };
	forge_add(&desc, head, sizeof(head));
	for (size_t i = 0; i < count; i++)
		forge_add(&desc, &files[i], 24);
	for (size_t i = 0; i < count; i++)
		forge_add(&desc, files[i].path, strlen(files[i].path) + 1);
	forge_note(forge, "CORE", NT_FILE, desc.bytes, desc.size);
	forge_free(&desc);
}

void forge_note_thread(struct forge *forge, int tid, uint64_t sp, uint64_t fs_base)
{
	uint8_t status[336] = { 0 };
	memcpy(status + 32, &tid, 4);
	memcpy(status + 112 + 19 * 8, &sp, 8);
	memcpy(status + 112 + 21 * 8, &fs_base, 8);
	forge_note(forge, "CORE", NT_PRSTATUS, status, sizeof(status));
}

void forge_core(struct forge *core, const struct forge *notes, const struct forge_segment *segments,
		size_t count)
{
	size_t phdrs = count + (notes ? 1 : 0);
	Elf64_Ehdr ehdr = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_phoff = sizeof(ehdr),
		.e_ehsize = sizeof(ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (uint16_t)phdrs,
	};
	forge_add(core, &ehdr, sizeof(ehdr));
	size_t at = forge_add(core, NULL, phdrs * sizeof(Elf64_Phdr));
	if (notes) {
		Elf64_Phdr phdr = { .p_type = PT_NOTE, .p_filesz = notes->size, .p_align = 4 };
		phdr.p_offset = forge_add(core, notes->bytes, notes->size);
		memcpy(core->bytes + at, &phdr, sizeof(phdr));
		at += sizeof(phdr);
	}
	forge_pad(core, 4096);
	for (size_t i = 0; i < count; i++, at += sizeof(Elf64_Phdr)) {
		Elf64_Phdr phdr = {
			.p_type = PT_LOAD,
			.p_flags = segments[i].flags,
			.p_vaddr = segments[i].vaddr,
			.p_filesz = segments[i].filesz,
			.p_memsz = segments[i].memsz,
			.p_align = 4096,
		};
		phdr.p_offset = forge_add(core, segments[i].bytes, segments[i].filesz);
		memcpy(core->bytes + at, &phdr, sizeof(phdr));
	}
}

void forge_publish(struct forge *forge, size_t size)
{
	if (!*forge->path) {
		forge->fd = memfd_create("forged", MFD_CLOEXEC);
		if (forge->fd < 0)
			abort();
		snprintf(forge->path, sizeof(forge->path), "/proc/self/fd/%d", forge->fd);
	}
	if (ftruncate(forge->fd, 0) || ftruncate(forge->fd, (off_t)size) ||
	    pwrite(forge->fd, forge->bytes, size, 0) != (ssize_t)size)
		abort();
}
