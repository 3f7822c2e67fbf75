/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/machine.h"

#include <string.h>

// clang-format off
static const struct hw_machine hw_machines[] = {
	// linux/arch/x86/include/asm/user_64.h; glibc sysdeps/x86_64/nptl/tls.h
	{ .name = "x86-64", .elf_machine = EM_X86_64, .elf_class = ELFCLASS64, .word_bytes = 8,
	  .relative = R_X86_64_RELATIVE,
	  .prstatus_bytes = 112 + 27 * 8, .prstatus_pid = 32, .prstatus_regs = 112, .regs_sp = 19 * 8,
	  .regs_tp = 21 * 8, .prpsinfo_bytes = 136, .prpsinfo_pid = 24,
	  .has_tls_below = true, .pthread_tid = 720, .dyn_base = 0x555555554000 },
	// linux/arch/arm64/include/uapi/asm/ptrace.h (struct user_pt_regs); glibc sysdeps/aarch64/nptl/tls.h
	{ .name = "aarch64", .elf_machine = EM_AARCH64, .elf_class = ELFCLASS64, .word_bytes = 8,
	  .relative = R_AARCH64_RELATIVE,
	  .prstatus_bytes = 112 + 34 * 8, .prstatus_pid = 32, .prstatus_regs = 112, .regs_sp = 31 * 8,
	  .prpsinfo_bytes = 136, .prpsinfo_pid = 24, .tls_note = NT_ARM_TLS,
	  .pthread_bytes = 1856, .pthread_tid = 208, .dyn_base = 0xaaaaaaaaa000 },
	// linux/arch/x86/include/asm/user_32.h; glibc sysdeps/i386/nptl/tls.h
	{ .name = "i386", .elf_machine = EM_386, .elf_class = ELFCLASS32, .word_bytes = 4,
	  .relative = R_386_RELATIVE,
	  .prstatus_bytes = 72 + 17 * 4, .prstatus_pid = 24, .prstatus_regs = 72, .regs_sp = 15 * 4,
	  .regs_gs = 10 * 4, .prpsinfo_bytes = 124, .prpsinfo_pid = 12, .tls_note = NT_386_TLS,
	  .has_tls_below = true, .pthread_tid = 104, .dyn_base = 0x56555000 },
};
// clang-format on

const struct hw_machine *hw_machine_find(unsigned elf_machine, unsigned elf_class)
{
	for (size_t i = 0; i < sizeof(hw_machines) / sizeof(hw_machines[0]); i++)
		if (hw_machines[i].elf_machine == elf_machine &&
		    hw_machines[i].elf_class == elf_class)
			return &hw_machines[i];
	return NULL;
}

const struct hw_machine *hw_machine_default(void)
{
	return &hw_machines[0];
}

const struct hw_machine *hw_machine_host(void)
{
#if defined(__x86_64__)
	return hw_machine_find(EM_X86_64, ELFCLASS64);
#elif defined(__aarch64__)
	return hw_machine_find(EM_AARCH64, ELFCLASS64);
#elif defined(__i386__)
	return hw_machine_find(EM_386, ELFCLASS32);
#else
	return NULL;
#endif
}

// linux/arch/x86/include/uapi/asm/ldt.h, struct user_desc: entry_number, base_addr, limit, flags
enum { HW_USER_DESC_BYTES = 16, HW_USER_DESC_BASE = 4 };

void hw_machine_registers(const struct hw_machine *machine, const void *regs, size_t len,
			  struct hw_machine_thread *ret)
{
	const uint8_t *bytes = regs;
	unsigned word = machine->word_bytes;
	*ret = (struct hw_machine_thread){ 0 };
	if (len < (size_t)machine->regs_sp + word || len < (size_t)machine->regs_tp + word ||
	    len < (size_t)machine->regs_gs + word)
		return;
	ret->sp = hw_word(bytes + machine->regs_sp, word);
	if (machine->regs_tp)
		ret->tp = hw_word(bytes + machine->regs_tp, word);
	if (machine->regs_gs) // a selector: the index of a descriptor above three bits
		ret->descriptor = (hw_u32(bytes + machine->regs_gs) & 0xffff) >> 3;
}

void hw_machine_tls(const struct hw_machine *machine, const void *note, size_t len,
		    struct hw_machine_thread *thread)
{
	const uint8_t *bytes = note;
	if (!machine->regs_gs && len >= machine->word_bytes)
		thread->tp = hw_word(bytes, machine->word_bytes);
	if (!machine->regs_gs)
		return;
	for (; len >= HW_USER_DESC_BYTES; len -= HW_USER_DESC_BYTES, bytes += HW_USER_DESC_BYTES)
		if (hw_u32(bytes) == thread->descriptor)
			thread->tp = hw_u32(bytes + HW_USER_DESC_BASE);
}

#define HW_COPY_EHDR(to, from)                                                                     \
	((to)->e_type = (from).e_type, (to)->e_machine = (from).e_machine,                         \
	 (to)->e_version = (from).e_version, (to)->e_entry = (from).e_entry,                       \
	 (to)->e_phoff = (from).e_phoff, (to)->e_shoff = (from).e_shoff,                           \
	 (to)->e_flags = (from).e_flags, (to)->e_ehsize = (from).e_ehsize,                         \
	 (to)->e_phentsize = (from).e_phentsize, (to)->e_phnum = (from).e_phnum,                   \
	 (to)->e_shentsize = (from).e_shentsize, (to)->e_shnum = (from).e_shnum,                   \
	 (to)->e_shstrndx = (from).e_shstrndx)

bool hw_elf_get_ehdr(const void *bytes, size_t len, Elf64_Ehdr *ret)
{
	const uint8_t *ident = bytes;
	if (len < EI_NIDENT || memcmp(ident, ELFMAG, SELFMAG) || ident[EI_DATA] != ELFDATA2LSB ||
	    (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64) ||
	    len < hw_elf_ehdr_bytes(ident[EI_CLASS]))
		return false;
	if (!hw_elf_is_32(ident[EI_CLASS])) {
		memcpy(ret, bytes, sizeof(*ret));
		return true;
	}
	Elf32_Ehdr ehdr;
	memcpy(&ehdr, bytes, sizeof(ehdr));
	memcpy(ret->e_ident, ehdr.e_ident, EI_NIDENT);
	HW_COPY_EHDR(ret, ehdr);
	return true;
}

void hw_elf_get_phdr(const void *bytes, unsigned elf_class, Elf64_Phdr *ret)
{
	if (!hw_elf_is_32(elf_class)) {
		memcpy(ret, bytes, sizeof(*ret));
		return;
	}
	Elf32_Phdr p;
	memcpy(&p, bytes, sizeof(p));
	*ret = (Elf64_Phdr){ p.p_type,  p.p_flags,  p.p_offset, p.p_vaddr,
			     p.p_paddr, p.p_filesz, p.p_memsz,  p.p_align };
}

void hw_elf_get_shdr(const void *bytes, unsigned elf_class, Elf64_Shdr *ret)
{
	if (!hw_elf_is_32(elf_class)) {
		memcpy(ret, bytes, sizeof(*ret));
		return;
	}
	Elf32_Shdr s;
	memcpy(&s, bytes, sizeof(s));
	*ret = (Elf64_Shdr){ s.sh_name, s.sh_type, s.sh_flags, s.sh_addr,      s.sh_offset,
			     s.sh_size, s.sh_link, s.sh_info,  s.sh_addralign, s.sh_entsize };
}

void hw_elf_get_sym(const void *bytes, unsigned elf_class, Elf64_Sym *ret)
{
	if (!hw_elf_is_32(elf_class)) {
		memcpy(ret, bytes, sizeof(*ret));
		return;
	}
	Elf32_Sym s;
	memcpy(&s, bytes, sizeof(s));
	*ret = (Elf64_Sym){ s.st_name, s.st_info, s.st_other, s.st_shndx, s.st_value, s.st_size };
}
