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

static const struct hw_machine *forge_machine(const struct forge *forge)
{
	return forge->machine ? forge->machine : hw_machine_default();
}

// As wide as a word of that machine is.
static void forge_add_words(struct forge *to, const struct forge *like, const uint64_t *words,
			    size_t count)
{
	for (size_t i = 0; i < count; i++)
		forge_add(to, &words[i], forge_machine(like)->word_bytes);
}

void forge_note_files(struct forge *forge, const struct forge_file *files, size_t count)
{
	struct forge desc = { 0 };
	uint64_t head[2] = { count, 4096 };
	forge_add_words(&desc, forge, head, 2);
	for (size_t i = 0; i < count; i++)
		forge_add_words(&desc, forge, &files[i].start, 3); // start, end, offset_pages
	for (size_t i = 0; i < count; i++)
		forge_add(&desc, files[i].path, strlen(files[i].path) + 1);
	forge_note(forge, "CORE", NT_FILE, desc.bytes, desc.size);
	forge_free(&desc);
}

void forge_note_thread(struct forge *forge, int tid, uint64_t sp, uint64_t tp)
{
	const struct hw_machine *m = forge_machine(forge);
	uint8_t status[512] = { 0 };
	uint16_t selector = 6 << 3 | 3;
	uint32_t tls[] = { 7, 0xbad, 0, 0, 6, (uint32_t)tp, 0, 0 }; // struct user_desc
	memcpy(status + m->prstatus_pid, &tid, 4);
	memcpy(status + m->prstatus_regs + m->regs_sp, &sp, m->word_bytes);
	if (m->regs_tp)
		memcpy(status + m->prstatus_regs + m->regs_tp, &tp, m->word_bytes);
	if (m->regs_gs)
		memcpy(status + m->prstatus_regs + m->regs_gs, &selector, sizeof(selector));
	forge_note(forge, "CORE", NT_PRSTATUS, status, m->prstatus_bytes);
	if (m->regs_gs)
		forge_note(forge, "LINUX", m->tls_note, tls, sizeof(tls));
	else if (m->tls_note)
		forge_note(forge, "LINUX", m->tls_note, &tp, m->word_bytes);
}

static size_t forge_add_ehdr(struct forge *core, size_t phdrs)
{
	const struct hw_machine *m = forge_machine(core);
	Elf64_Ehdr ehdr = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, m->elf_class, ELFDATA2LSB,
			     EV_CURRENT },
		.e_type = ET_CORE,
		.e_machine = m->elf_machine,
		.e_version = EV_CURRENT,
		.e_phoff = hw_elf_ehdr_bytes(m->elf_class),
		.e_ehsize = (uint16_t)hw_elf_ehdr_bytes(m->elf_class),
		.e_phentsize = (uint16_t)hw_elf_phdr_bytes(m->elf_class),
		.e_phnum = (uint16_t)phdrs,
	};
	Elf32_Ehdr small = {
		.e_type = ehdr.e_type,
		.e_machine = ehdr.e_machine,
		.e_version = ehdr.e_version,
		.e_phoff = (uint32_t)ehdr.e_phoff,
		.e_ehsize = ehdr.e_ehsize,
		.e_phentsize = ehdr.e_phentsize,
		.e_phnum = ehdr.e_phnum,
	};
	memcpy(small.e_ident, ehdr.e_ident, EI_NIDENT);
	if (m->elf_class == ELFCLASS32)
		forge_add(core, &small, sizeof(small));
	else
		forge_add(core, &ehdr, sizeof(ehdr));
	return forge_add(core, NULL, phdrs * ehdr.e_phentsize);
}

static void forge_set_phdr(struct forge *core, size_t *at, const Elf64_Phdr *phdr)
{
	Elf32_Phdr small = { phdr->p_type,
			     (uint32_t)phdr->p_offset,
			     (uint32_t)phdr->p_vaddr,
			     0,
			     (uint32_t)phdr->p_filesz,
			     (uint32_t)phdr->p_memsz,
			     phdr->p_flags,
			     (uint32_t)phdr->p_align };
	if (forge_machine(core)->elf_class == ELFCLASS32)
		memcpy(core->bytes + *at, &small, sizeof(small));
	else
		memcpy(core->bytes + *at, phdr, sizeof(*phdr));
	*at += hw_elf_phdr_bytes(forge_machine(core)->elf_class);
}

void forge_core(struct forge *core, const struct forge *notes, const struct forge_segment *segments,
		size_t count)
{
	size_t at = forge_add_ehdr(core, count + (notes ? 1 : 0));
	if (notes) {
		Elf64_Phdr phdr = { .p_type = PT_NOTE, .p_filesz = notes->size, .p_align = 4 };
		phdr.p_offset = forge_add(core, notes->bytes, notes->size);
		forge_set_phdr(core, &at, &phdr);
	}
	forge_pad(core, 4096);
	for (size_t i = 0; i < count; i++) {
		Elf64_Phdr phdr = {
			.p_type = PT_LOAD,
			.p_flags = segments[i].flags,
			.p_vaddr = segments[i].vaddr,
			.p_filesz = segments[i].filesz,
			.p_memsz = segments[i].memsz,
			.p_align = 4096,
		};
		phdr.p_offset = forge_add(core, segments[i].bytes, segments[i].filesz);
		forge_set_phdr(core, &at, &phdr);
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
