/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Core files made in memory, whole or damaged.
#ifndef FORGE_H
#define FORGE_H

#include <elf.h>
#include <stddef.h>
#include <stdint.h>

#include "target/machine.h"

struct forge {
	const struct hw_machine *machine; // NULL: x86-64

	uint8_t *bytes;
	size_t size, capacity;
	char path[64]; // after forge_publish()
	int fd;
};

void forge_free(struct forge *forge);
size_t forge_add(struct forge *forge, const void *bytes, size_t len); // returns the offset
void forge_note(struct forge *forge, const char *name, uint32_t type, const void *desc, size_t len);
// Makes the bytes a file of that name for other parts of this process.
void forge_publish(struct forge *forge, size_t size);

struct forge_file {
	uint64_t start, end, offset_pages;
	const char *path;
};
void forge_note_files(struct forge *forge, const struct forge_file *files, size_t count);
void forge_note_thread(struct forge *forge, int tid, uint64_t sp, uint64_t tp);

struct forge_segment {
	uint64_t vaddr, memsz, filesz;
	uint32_t flags;
	const void *bytes; // filesz of them
};
// A core of these segments and notes (of another forge; may be NULL).
void forge_core(struct forge *core, const struct forge *notes, const struct forge_segment *segments,
		size_t count);

#endif
