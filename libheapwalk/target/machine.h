/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What differs between the machines that a target may have been made for, as rows of data. heapwalk itself
// may run on any of them: nothing here is asked of the machine that it runs on.
#ifndef HW_TARGET_MACHINE_H
#define HW_TARGET_MACHINE_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

// Addresses of user space are below this many bits: 47 on x86-64, 48 on aarch64, 32 on i386.
enum { HW_ADDRESS_BITS = 48 };

struct hw_machine {
	const char *name;
	uint16_t elf_machine; // EM_…
	uint8_t elf_class;    // ELFCLASS32, ELFCLASS64
	uint8_t word_bytes;   // of a pointer, size_t and long
	uint32_t relative;    // R_…_RELATIVE

	// Notes of cores: offsets in bytes (linux/include/uapi/linux/elfcore.h, each architecture's asm/ptrace.h).
	uint16_t prstatus_bytes, prstatus_pid, prstatus_regs; // pr_reg: NT_PRSTATUS of ptrace(2)
	uint16_t prpsinfo_bytes, prpsinfo_pid;
	// Of pr_reg.
	uint16_t regs_sp;
	uint16_t regs_tp; // thread pointer, 0: in a note of its own
	uint16_t regs_gs; // 0: that note begins with the thread pointer
	// That note, or register set, which follows the thread's NT_PRSTATUS; 0: none. i386 has a row of the
	// thread's descriptors there (struct user_desc), of which %gs selects one.
	uint32_t tls_note;

	// Of glibc. Thread-local variables lie below the thread pointer, as the thread's control block lies above
	// it, or the other way round (variants II and I of "ELF Handling For Thread-Local Storage").
	bool has_tls_below;
	uint16_t pthread_bytes; // variant I: from struct pthread to the thread pointer
	uint16_t pthread_tid;   // of struct pthread
	// Where the kernel maps the heap of a program without an interpreter (ELF_ET_DYN_BASE).
	uint64_t dyn_base;
};

// NULL: none that heapwalk reads.
const struct hw_machine *hw_machine_find(unsigned elf_machine, unsigned elf_class);
// The first is that of targets that don't say (images in memory, callbacks without an ELF file).
const struct hw_machine *hw_machine_default(void);
// That of this build; NULL: heapwalk was built for a machine that it does not read.
const struct hw_machine *hw_machine_host(void);

// What a thread's registers say, and the other note. Both are cut short where they are damaged.
struct hw_machine_thread {
	uint64_t sp, tp; // 0: not known
	uint32_t descriptor;
};
void hw_machine_registers(const struct hw_machine *machine, const void *regs, size_t len,
			  struct hw_machine_thread *ret);
void hw_machine_tls(const struct hw_machine *machine, const void *note, size_t len,
		    struct hw_machine_thread *thread);

// "x86-64, aarch64 and i386"
#define HW_MACHINES_TEXT "x86-64, aarch64 and i386"

// ELF structures of either class as those of ELFCLASS64; `bytes` are little-endian, of any alignment and as
// many as hw_elf_*_bytes() says. All of it may be forged.
enum {
	HW_ELF_EHDR_MIN = 52, // of class 32
};
static inline bool hw_elf_is_32(unsigned elf_class)
{
	return elf_class == ELFCLASS32;
}
static inline size_t hw_elf_ehdr_bytes(unsigned elf_class)
{
	return hw_elf_is_32(elf_class) ? sizeof(Elf32_Ehdr) : sizeof(Elf64_Ehdr);
}
static inline size_t hw_elf_phdr_bytes(unsigned elf_class)
{
	return hw_elf_is_32(elf_class) ? sizeof(Elf32_Phdr) : sizeof(Elf64_Phdr);
}
static inline size_t hw_elf_shdr_bytes(unsigned elf_class)
{
	return hw_elf_is_32(elf_class) ? sizeof(Elf32_Shdr) : sizeof(Elf64_Shdr);
}
static inline size_t hw_elf_sym_bytes(unsigned elf_class)
{
	return hw_elf_is_32(elf_class) ? sizeof(Elf32_Sym) : sizeof(Elf64_Sym);
}
// False: not little-endian ELF of a class that there is, or cut short. e_ident[EI_CLASS] tells the class.
bool hw_elf_get_ehdr(const void *bytes, size_t len, Elf64_Ehdr *ret);
void hw_elf_get_phdr(const void *bytes, unsigned elf_class, Elf64_Phdr *ret);
void hw_elf_get_shdr(const void *bytes, unsigned elf_class, Elf64_Shdr *ret);
void hw_elf_get_sym(const void *bytes, unsigned elf_class, Elf64_Sym *ret);

#endif
