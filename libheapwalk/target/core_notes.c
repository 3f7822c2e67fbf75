/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The notes of a core: linux/fs/binfmt_elf.c and linux/include/uapi/linux/elfcore.h say what is in them,
// gdb's gcore writes the same.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "target/core_private.h"

static struct hw_error *hw_core_read_prstatus(struct hw_core *core, const uint8_t *desc, size_t len)
{
	const struct hw_machine *machine = core->target.machine;
	if (len < machine->prstatus_bytes)
		return NULL;
	hw_machine_registers(machine, desc + machine->prstatus_regs, len - machine->prstatus_regs,
			     &core->registers);
	struct hw_thread thread = {
		.tid = (pid_t)hw_u32(desc + machine->prstatus_pid),
		.sp = core->registers.sp,
		.tp = core->registers.tp,
	};
	return hw_vec_push(&core->target.threads, thread) ? NULL : &hw_enomem;
}

// Of the thread whose NT_PRSTATUS came last.
static void hw_core_read_tls(struct hw_core *core, const uint8_t *desc, size_t len)
{
	if (!core->target.threads.count)
		return;
	hw_machine_tls(core->target.machine, desc, len, &core->registers);
	core->target.threads.data[core->target.threads.count - 1].tp = core->registers.tp;
}

// count, page size, count × {start, end, offset in pages}, count names. gcore's pages there are of one byte:
// how large the kernel's are is asked of the auxiliary vector.
static struct hw_error *hw_core_read_files(struct hw_core *core, const uint8_t *desc, size_t len)
{
	const unsigned word = core->target.machine->word_bytes;
	if (len < 2 * word)
		return NULL;
	uint64_t count = hw_word(desc, word), page_bytes = hw_word(desc + word, word);
	if (count > (len - 2 * word) / (3 * word)) {
		if (core->issues)
			hw_issues_add(
				core->issues, HW_ERROR_CORRUPT, 0,
				"core %s: its list of files (NT_FILE) is cut short or damaged: "
				"names of files are not known",
				core->path);
		return NULL;
	}
	const char *name = (const char *)desc + 2 * word + count * 3 * word;
	const char *end = (const char *)desc + len;
	for (uint64_t i = 0; i < count; i++) {
		const uint8_t *row = desc + 2 * word + i * 3 * word;
		struct hw_core_file file = { .start = hw_word(row, word),
					     .end = hw_word(row + word, word) };
		size_t name_len = strnlen(name, (size_t)(end - name));
		if (name_len == (size_t)(end - name))
			break; // not terminated: so are those that follow
		uint32_t id = hw_strtab_intern(&core->target.strings, name, name_len);
		if (id == UINT32_MAX)
			return &hw_enomem;
		file.path = hw_strtab_get(&core->target.strings, id);
		name += name_len + 1;
		if (file.start >= file.end ||
		    __builtin_mul_overflow(hw_word(row + 2 * word, word), page_bytes, &file.offset))
			continue;
		if (!hw_vec_push(&core->files, file))
			return &hw_enomem;
	}
	return NULL;
}

static void hw_core_read_auxv(struct hw_core *core, const uint8_t *desc, size_t len)
{
	const unsigned word = core->target.machine->word_bytes;
	for (size_t at = 0; len - at >= 2 * word; at += 2 * word) {
		uint64_t value = hw_word(desc + at + word, word);
		switch (hw_word(desc + at, word)) {
		case AT_NULL:
			return;
		case AT_PAGESZ:
			if (value >= HW_PAGE_BYTES && value <= HW_PAGE_BYTES_MAX &&
			    !(value & (value - 1)))
				core->target.page_bytes = value;
			break;
		case AT_PHDR:
			core->at_phdr = value;
			break;
		case AT_PHNUM:
			core->at_phnum = value;
			break;
		case AT_ENTRY:
			core->at_entry = value;
			break;
		case AT_SYSINFO_EHDR:
			core->at_vdso = value;
			break;
		case AT_EXECFN:
			core->at_execfn = value;
			break;
		default:
			break;
		}
	}
}

struct hw_error *hw_core_read_notes(struct hw_core *core, const uint8_t *notes, size_t len,
				    size_t align)
{
	const struct hw_machine *machine = core->target.machine;
	for (size_t at = 0; len - at >= sizeof(Elf64_Nhdr);) {
		uint64_t name_bytes = hw_u32(notes + at), desc_bytes = hw_u32(notes + at + 4);
		uint32_t type = hw_u32(notes + at + 8);
		uint64_t name = at + sizeof(Elf64_Nhdr);
		uint64_t desc_at = hw_align_up(name + name_bytes, align);
		uint64_t next = hw_align_up(desc_at + desc_bytes, align);
		if (desc_at > len || desc_bytes > len - desc_at) {
			if (core->issues)
				hw_issues_add(
					core->issues, HW_ERROR_CORRUPT, 0,
					"core %s: its notes are cut short or damaged after %zu "
					"bytes",
					core->path, at);
			return NULL;
		}
		const uint8_t *desc = notes + desc_at;
		bool is_core = name_bytes >= 4 && !memcmp(notes + name, "CORE", 4);
		if (is_core && type == NT_PRSTATUS)
			HW_TRY(hw_core_read_prstatus(core, desc, desc_bytes));
		else if (is_core && type == NT_FILE)
			HW_TRY(hw_core_read_files(core, desc, desc_bytes));
		else if (is_core && type == NT_AUXV)
			hw_core_read_auxv(core, desc, desc_bytes);
		else if (machine->tls_note && type == machine->tls_note && name_bytes >= 5 &&
			 !memcmp(notes + name, "LINUX", 5))
			hw_core_read_tls(core, desc, desc_bytes);
		else if (is_core && type == NT_PRPSINFO && desc_bytes >= machine->prpsinfo_bytes)
			core->target.pid = (pid_t)hw_u32(desc + machine->prpsinfo_pid);
		if (next > len)
			return NULL;
		at = next;
	}
	return NULL;
}

static int hw_core_file_compare(const void *a, const void *b)
{
	const struct hw_core_file *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

static int hw_core_thread_compare(const void *a, const void *b)
{
	const struct hw_thread *x = a, *y = b;
	return (x->tid > y->tid) - (x->tid < y->tid);
}

void hw_core_finish_notes(struct hw_core *core)
{
	struct hw_core_file *f = core->files.data;
	size_t kept = 0;
	if (core->files.count)
		qsort(f, core->files.count, sizeof(*f), hw_core_file_compare);
	for (size_t i = 0; i < core->files.count; i++)
		if (!kept || f[i].start >= f[kept - 1].end)
			f[kept++] = f[i];
	core->files.count = kept;
	// The thread that crashed comes first in the core; a live process lists the main one first.
	if (core->target.threads.count)
		qsort(core->target.threads.data, core->target.threads.count,
		      sizeof(struct hw_thread), hw_core_thread_compare);
	if (!core->target.pid && core->target.threads.count)
		core->target.pid = core->target.threads.data[0].tid;
}
