/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the ELF header and program headers say, of a file or of its image in the target's memory, and a
// mapped ELF file. No section headers here: memory has none. All of it may be forged.
#ifndef HW_TARGET_ELF_FILE_H
#define HW_TARGET_ELF_FILE_H

#include <elf.h>

#include "base/error.h"
#include "base/vector.h"
#include "target/machine.h"

enum {
	HW_ELF_BUILD_ID_BYTES = 64, // longer ones are cut: SHA-1 is 20, SHA-512 64
	HW_ELF_PHDR_COUNT = 4096, // of a program or library; cores have more and are not read here
	HW_ELF_NOTES_BYTES = 1 << 16,
};

struct hw_elf_headers {
	uint16_t type; // ET_EXEC, ET_DYN, …
	uint16_t machine;
	uint8_t elf_class; // ELFCLASS32: the headers below are converted
	hw_addr_t entry;
	uint64_t phdr_offset;
	HW_VEC(Elf64_Phdr) phdrs;
	uint8_t build_id[HW_ELF_BUILD_ID_BYTES];
	size_t build_id_bytes; // 0: none, or its page can't be read
};

// All of [offset, offset + len) or false.
typedef bool hw_elf_read_fn(void *payload, uint64_t offset, void *buf, size_t len);

// Offsets are into the file, or (`is_memory`) from the address that offset 0 of the file is mapped at.
// False: not a little-endian ELF header, or it can't be read. A build-id that can't be read is
// no failure.
bool hw_elf_headers_read(struct hw_elf_headers *headers, hw_elf_read_fn *read, void *payload,
			 bool is_memory);
void hw_elf_headers_deinit(struct hw_elf_headers *headers);

// Of all PT_LOAD: lowest address rounded down to a page (of the target), end of the highest rounded up. False:
// none.
bool hw_elf_headers_span(const struct hw_elf_headers *headers, uint64_t page_bytes,
			 hw_addr_t *ret_low, hw_addr_t *ret_high);
// What to add to the file's addresses when file offset 0 is mapped at `start`. False: offset 0 is in no
// segment.
bool hw_elf_headers_bias(const struct hw_elf_headers *headers, hw_addr_t start, hw_addr_t *ret);

// Can the two be of one file? By build-id when both have one, else by entry point and segments.
bool hw_elf_headers_match(const struct hw_elf_headers *a, const struct hw_elf_headers *b);

// A mapped file. The rest of the library only reads it.
struct hw_elf_file {
	char *path; // where it was opened
	int fd;
	const uint8_t *bytes;
	size_t size;
	struct hw_elf_headers headers;
};

// HW_ERROR_INVALID when it is not an ELF file of a machine that we read. *ret is owned.
struct hw_error *hw_elf_file_open(const char *path, struct hw_elf_file **ret) HW_MUST_USE;
void hw_elf_file_close(struct hw_elf_file *file); // accepts NULL
// The file's bytes at one of its own addresses (no bias), and how many follow in that segment. NULL: none.
const uint8_t *hw_elf_file_at(const struct hw_elf_file *file, hw_addr_t vaddr, size_t *ret_len);

// Build-id as lower-case hex; size ≥ 2 × HW_ELF_BUILD_ID_BYTES + 1.
void hw_elf_build_id_text(const struct hw_elf_headers *headers, char *buf, size_t size);

// "ROOT/PATH", owned; NULL when out of memory. `root` may be NULL or "".
char *hw_elf_join(const char *root, const char *path);

#endif
