/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The memory map of a core, as /proc/PID/maps would have shown it, and files that stand in for what the
// kernel leaves out of a core.
//
// linux/fs/coredump.c, vma_dump_size(): with the default filter (0x33) a private mapping of a file is in
// the core as a whole once a page of it was written, else not at all, but for the first page of an ELF
// file. So what is left out is what the file has: when it is the same file. An ELF file proves that by its
// build-id (that first page), or else by its segments; another file can't prove it, and its bytes stay
// missing.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "target/core_private.h"

enum {
	// The heap begins this near to the end of the program (brk is moved by at most 1 GiB).
	HW_CORE_BRK_DISTANCE = 1 << 30,
};

static const char hw_core_deleted[] = " (deleted)";

static bool hw_core_has_prefix(const char *text, const char *prefix)
{
	return !strncmp(text, prefix, strlen(prefix));
}

static bool hw_core_has_suffix(const char *text, const char *suffix)
{
	size_t len = strlen(text), suffix_len = strlen(suffix);
	return len >= suffix_len && !strcmp(text + len - suffix_len, suffix);
}

// Memory that has a file's name because it is shared. Cores don't say what is shared.
static bool hw_core_is_shared_name(const char *path)
{
	return !strcmp(path, "/dev/zero (deleted)") || hw_core_has_prefix(path, "/SYSV") ||
	       hw_core_has_prefix(path, "/memfd:") || hw_core_has_prefix(path, "/dev/shm/") ||
	       hw_core_has_prefix(path, "/[aio]") || hw_core_has_prefix(path, "anon_inode:");
}

static const struct hw_core_file *hw_core_file_at(const struct hw_core *core, hw_addr_t addr)
{
	size_t lo = hw_vec_find_beyond(&core->files, end, addr);
	return lo < core->files.count && core->files.data[lo].start <= addr ? &core->files.data[lo]
									    : NULL;
}

// ---- ELF files ----

struct hw_core_reader {
	const struct hw_core *core;
	hw_addr_t start;
};

static bool hw_core_read_image(void *payload, uint64_t offset, void *buf, size_t len)
{
	const struct hw_core_reader *reader = payload;
	return hw_core_read_some(reader->core, reader->start + offset, buf, len) == len;
}

// Is the file loaded at `base` the way its own program headers ask for?
static bool hw_core_fits(const struct hw_core *core, const struct hw_elf_file *elf, hw_addr_t base,
			 const char *path)
{
	hw_addr_t bias;
	if (!hw_elf_headers_bias(&elf->headers, base, &bias) ||
	    (elf->headers.type == ET_EXEC && bias))
		return false;
	hw_vec_foreach(phdr, &elf->headers.phdrs)
	{
		if (phdr->p_type != PT_LOAD || !phdr->p_filesz)
			continue;
		const struct hw_core_file *file = hw_core_file_at(core, bias + phdr->p_vaddr);
		if (!file || strcmp(file->path, path) ||
		    file->offset + (bias + phdr->p_vaddr - file->start) != phdr->p_offset)
			return false;
	}
	return true;
}

// The file `place` when it is the one that was mapped at `base` under the name `path`; *ret NULL: it is
// not.
static struct hw_error *hw_core_open_elf(struct hw_core *core, const char *place, const char *path,
					 hw_addr_t base, struct hw_elf_file **ret)
{
	struct hw_elf_headers image;
	struct hw_elf_file *elf;
	struct hw_core_reader reader = { core, base };
	*ret = NULL;
	struct hw_error *err = hw_elf_file_open(place, &elf);
	if (err) {
		if (err == &hw_enomem)
			return err;
		hw_error_destroy(err);
		return NULL;
	}
	bool is_same;
	if (hw_elf_headers_read(&image, hw_core_read_image, &reader, true)) {
		is_same = hw_elf_headers_match(&image, &elf->headers);
		hw_elf_headers_deinit(&image);
	} else {
		is_same = hw_core_fits(core, elf, base, path);
	}
	if (!is_same) {
		hw_elf_file_close(elf);
		return NULL;
	}
	if (!hw_vec_push(&core->opened, elf)) {
		hw_elf_file_close(elf);
		return &hw_enomem;
	}
	*ret = elf;
	return NULL;
}

// ---- the executable ----

// The line of NT_FILE where the executable begins, or NULL.
static const struct hw_core_file *hw_core_exe_file(const struct hw_core *core)
{
	hw_addr_t inside = core->at_phdr ? core->at_phdr : core->at_entry;
	const struct hw_core_file *file = inside ? hw_core_file_at(core, inside) : NULL;
	if (!file)
		return NULL;
	for (const char *path = file->path; file > core->files.data; file--)
		if (!file->offset || strcmp(file[-1].path, path))
			break;
	return file;
}

static void hw_core_describe(const struct hw_elf_headers *headers, char *buf, size_t size)
{
	char id[2 * HW_ELF_BUILD_ID_BYTES + 1];
	hw_elf_build_id_text(headers, id, sizeof(id));
	snprintf(buf, size, *id ? "build-id %s" : "no build-id", id);
}

// The user's executable must be the one that the core was made from.
static struct hw_error *hw_core_check_exe(const struct hw_core *core, const char *exe,
					  const struct hw_core_file *mapped)
{
	struct hw_elf_file *elf = NULL;
	struct hw_elf_headers image;
	hw_addr_t base = mapped ? mapped->start : 0, bias;
	char ours[160], theirs[160] = "its headers are not in the core";
	HW_TRY(hw_error_prefix(hw_elf_file_open(exe, &elf), "executable"));
	if (!base && core->at_phdr) // no NT_FILE: the program headers follow the ELF header
		base = core->at_phdr - elf->headers.phdr_offset;
	struct hw_core_reader reader = { core, base };
	bool is_same = true;
	if (base && hw_elf_headers_read(&image, hw_core_read_image, &reader, true)) {
		is_same = hw_elf_headers_match(&image, &elf->headers);
		hw_core_describe(&image, theirs, sizeof(theirs));
		hw_elf_headers_deinit(&image);
	} else if (base && core->at_entry && hw_elf_headers_bias(&elf->headers, base, &bias)) {
		is_same = elf->headers.entry + bias == core->at_entry &&
			  (!core->at_phnum || core->at_phnum == elf->headers.phdrs.count) &&
			  (elf->headers.type != ET_EXEC || !bias);
	}
	hw_core_describe(&elf->headers, ours, sizeof(ours));
	hw_elf_file_close(elf);
	return is_same ? NULL
		       : hw_error_create(HW_ERROR_INVALID,
					 "core %s was not made from %s (%s) but from %s (%s)",
					 core->path, exe, ours,
					 mapped ? mapped->path : "another program", theirs);
}

// ---- mappings ----

static struct hw_error *hw_core_add_mapping(struct hw_core *core, hw_addr_t start, hw_addr_t end,
					    uint32_t flags, const struct hw_core_file *file)
{
	struct hw_mapping mapping = {
		.start = start,
		.end = end,
		.flags = flags,
		.file_offset = file ? file->offset + (start - file->start) : 0,
		.path = file ? file->path : "",
	};
	if (file && hw_core_is_shared_name(file->path))
		mapping.flags |= HW_MAP_SHARED;
	return start < end ? hw_target_add_mapping(&core->target, &mapping) : NULL;
}

// One segment is one mapping, but for forged or merged ones: split it at the borders of files.
static struct hw_error *hw_core_add_segment_mappings(struct hw_core *core,
						     const struct hw_core_segment *s,
						     size_t *next_file)
{
	hw_addr_t at = s->start;
	size_t i = *next_file;
	for (; i < core->files.count && core->files.data[i].start < s->end; i++) {
		const struct hw_core_file *file = &core->files.data[i];
		if (file->end <= at)
			continue;
		hw_addr_t from = hw_max(at, file->start), to = hw_min(s->end, file->end);
		HW_TRY(hw_core_add_mapping(core, at, from, s->flags, NULL));
		HW_TRY(hw_core_add_mapping(core, from, to, s->flags, file));
		at = to;
		if (file->end > s->end)
			break; // the next segment goes on with it
	}
	*next_file = i;
	return hw_core_add_mapping(core, at, s->end, s->flags, NULL);
}

// The first segment that ends beyond addr.
static size_t hw_core_segment_after(const struct hw_core *core, hw_addr_t addr)
{
	size_t lo = 0, hi = core->segments.count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (core->segments.data[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

// The segment that contains addr, or NULL.
static const struct hw_core_segment *hw_core_segment_at(const struct hw_core *core, hw_addr_t addr)
{
	size_t at = hw_core_segment_after(core, addr);
	return at < core->segments.count && core->segments.data[at].start <= addr
		       ? &core->segments.data[at]
		       : NULL;
}

static struct hw_error *hw_core_add_mappings(struct hw_core *core)
{
	size_t next_file = 0;
	hw_vec_foreach(s, &core->segments)
		HW_TRY(hw_core_add_segment_mappings(core, s, &next_file));
	// gcore leaves unmodified mappings of files out of the program headers: NT_FILE has them.
	hw_vec_foreach(file, &core->files) if (!hw_core_segment_at(core, file->start))
		HW_TRY(hw_core_add_mapping(core, file->start, file->end, HW_MAP_READ, file));
	hw_target_sort_mappings(&core->target);
	return NULL;
}

// ---- names that /proc/PID/maps has and a core has not ----

static void hw_core_name(struct hw_core *core, struct hw_mapping *mapping, const char *name)
{
	uint32_t id = hw_strtab_intern(&core->target.strings, name, strlen(name));
	if (id != UINT32_MAX)
		mapping->path = hw_strtab_get(&core->target.strings, id);
}

static struct hw_mapping *hw_core_mapping_at(struct hw_core *core, hw_addr_t addr)
{
	return addr ? (struct hw_mapping *)hw_target_find_mapping(&core->target, addr) : NULL;
}

static void hw_core_name_stack(struct hw_core *core)
{
	hw_addr_t main_sp = 0;
	hw_vec_foreach(thread, &core->target.threads) if (thread->tid == core->target.pid)
		main_sp = thread->sp;
	// The kernel put the program's name there; the main thread may run on another stack.
	struct hw_mapping *stack = hw_core_mapping_at(core, core->at_execfn);
	if (!stack)
		stack = hw_core_mapping_at(core, main_sp);
	if (stack && !*stack->path && hw_mapping_is_private_writable(stack))
		hw_core_name(core, stack, "[stack]");
}

static void hw_core_name_kernel_pages(struct hw_core *core)
{
	struct hw_mapping *first = core->target.mappings.data;
	struct hw_mapping *vdso = hw_core_mapping_at(core, core->at_vdso);
	struct hw_mapping *vsyscall = hw_core_mapping_at(core, 0xffffffffff600000u);
	if (vdso && !*vdso->path) {
		hw_core_name(core, vdso, "[vdso]");
		for (struct hw_mapping *m = vdso; m > first && m[-1].end == m->start; m--) {
			if (*m[-1].path || m[-1].flags & (HW_MAP_WRITE | HW_MAP_EXEC))
				break;
			hw_core_name(core, &m[-1], "[vvar]");
		}
	}
	if (vsyscall && !*vsyscall->path)
		hw_core_name(core, vsyscall, "[vsyscall]");
}

// linux/fs/binfmt_elf.c, load_elf_binary(): a program without an interpreter (a static PIE, or ld.so called as
// a program) is mapped where libraries are, and its heap begins at ELF_ET_DYN_BASE.
static bool hw_core_is_static_pie_heap(hw_addr_t base, const struct hw_mapping *m)
{
	return !*m->path && hw_mapping_is_private_writable(m) && m->start >= base &&
	       m->start - base <= HW_CORE_BRK_DISTANCE;
}

static size_t hw_core_heap_of_static_pie(const struct hw_core *core)
{
	size_t at = 0, count = core->target.mappings.count;
	hw_addr_t base = core->target.machine->dyn_base;
	while (at < count && !hw_core_is_static_pie_heap(base, &core->target.mappings.data[at]))
		at++;
	return at;
}

static bool hw_core_is_static_pie(const struct hw_elf_headers *headers)
{
	hw_vec_foreach(phdr, &headers->phdrs) if (phdr->p_type == PT_INTERP) return false;
	return headers->type == ET_DYN;
}

// The heap of brk(2) follows the program's .bss, at a random distance.
static size_t hw_core_heap_behind(const struct hw_core *core, const struct hw_core_file *exe,
				  hw_addr_t bss_end)
{
	const struct hw_mapping *m = core->target.mappings.data;
	size_t count = core->target.mappings.count, at = 0;
	for (size_t i = 0; i < count; i++)
		if (!strcmp(m[i].path, exe->path))
			at = i + 1;
	if (!at)
		return count;
	hw_addr_t end = hw_max(m[at - 1].end, bss_end);
	// Without the program's headers what adjoins it may be either.
	while (!bss_end && at < count && m[at].start == m[at - 1].end)
		at++;
	// .bss itself, unless the heap grew on to it (no address space randomisation).
	while (at < count && !*m[at].path && m[at].start == m[at - 1].end && m[at].end <= end)
		at++;
	return at < count && m[at].start > end && m[at].start - end > HW_CORE_BRK_DISTANCE ? count
											   : at;
}

static void hw_core_name_heap(struct hw_core *core, const struct hw_core_file *exe)
{
	struct hw_core_reader reader = { core, exe->start };
	struct hw_elf_headers image;
	hw_addr_t bss_end = 0, low, high, bias;
	struct hw_mapping *m = core->target.mappings.data;
	size_t count = core->target.mappings.count, at = count;
	if (hw_elf_headers_read(&image, hw_core_read_image, &reader, true)) {
		if (hw_elf_headers_bias(&image, exe->start, &bias) &&
		    hw_elf_headers_span(&image, core->target.page_bytes, &low, &high))
			bss_end = bias + high;
		if (hw_core_is_static_pie(&image))
			at = hw_core_heap_of_static_pie(core);
		hw_elf_headers_deinit(&image);
	}
	if (at == count)
		at = hw_core_heap_behind(core, exe, bss_end);
	for (bool is_first = true; at < count; at++, is_first = false) {
		if (*m[at].path || !hw_mapping_is_private_writable(&m[at]) ||
		    (!is_first && m[at].start != m[at - 1].end))
			return;
		hw_core_name(core, &m[at], "[heap]");
	}
}

// ---- bytes of files ----

// Was private anonymous memory dumped? If not, a writable mapping that is left out may have been written.
static bool hw_core_has_private_memory(const struct hw_core *core)
{
	hw_vec_foreach(s, &core->segments) if (s->flags & HW_MAP_WRITE &&
					       s->start < s->dumped_end &&
					       !hw_core_file_at(core, s->start)) return true;
	return false;
}

// Of one name of NT_FILE: the file, looked for once, where its offset 0 is mapped.
struct hw_core_known_file {
	bool is_known;
	bool is_elf;             // the core has its first bytes, and they are an ELF header's
	struct hw_elf_file *elf; // NULL: none that matches
	uint64_t left;           // bytes of it that mappings may still be filled with
};

// [start, end) of a mapping was left out: take it from the file.
static struct hw_error *hw_core_add_file_bytes(struct hw_core *core,
					       struct hw_core_known_file *known,
					       const struct hw_mapping *m, hw_addr_t start,
					       hw_addr_t end)
{
	const struct hw_elf_file *elf = known->elf;
	uint64_t offset = m->file_offset + (start - m->start);
	// Our mapping of the file ends in the same zeroes as the target's did, as far as the smallest page goes.
	uint64_t size = hw_align_up(elf->size, HW_PAGE_BYTES);
	if (offset < m->file_offset || offset >= size)
		return NULL;
	uint64_t bytes = hw_min(hw_min(end - start, size - offset), known->left);
	known->left -= bytes;
	return hw_core_add_piece(core, start, start + bytes, elf->bytes + offset);
}

// What of a mapping the core leaves out on purpose (not: what is lost because it was cut short).
static struct hw_error *hw_core_fill_mapping(struct hw_core *core, struct hw_core_known_file *known,
					     const struct hw_mapping *m)
{
	hw_addr_t at = m->start;
	for (size_t i = hw_core_segment_after(core, at); i < core->segments.count; i++) {
		const struct hw_core_segment *s = &core->segments.data[i];
		if (s->start >= m->end)
			break;
		HW_TRY(hw_core_add_file_bytes(core, known, m, at, hw_max(at, s->start)));
		at = hw_max(at, s->dumped_end);
		hw_addr_t to = hw_min(s->end, m->end);
		if (at < to)
			HW_TRY(hw_core_add_file_bytes(core, known, m, at, to));
		at = hw_max(at, to);
		if (at >= m->end)
			return NULL;
	}
	return at < m->end ? hw_core_add_file_bytes(core, known, m, at, m->end) : NULL;
}

// Where the file that the core calls `path` is on this machine; owned.
static char *hw_core_place(const struct hw_core *core, const char *path, const char *exe)
{
	size_t len = strlen(path);
	if (exe && core->target.exe && !strcmp(path, core->target.exe))
		return strdup(exe);
	// A file that was replaced while the program ran: it may be there again, the build-id tells.
	hw_cleanup_free char *name = strndup(path, hw_core_has_suffix(path, hw_core_deleted)
							   ? len - strlen(hw_core_deleted)
							   : len);
	return name ? hw_elf_join(core->target.file_root, name) : NULL;
}

static struct hw_error *hw_core_know_file(struct hw_core *core, const struct hw_mapping *m,
					  const char *exe, struct hw_core_known_file *known)
{
	if (known->is_known || m->file_offset)
		return NULL;
	char magic[SELFMAG];
	known->is_known = true;
	known->is_elf = hw_core_read_some(core, m->start, magic, SELFMAG) == SELFMAG &&
			!memcmp(magic, ELFMAG, SELFMAG);
	hw_cleanup_free char *place = hw_core_place(core, m->path, exe);
	if (!place)
		return &hw_enomem;
	HW_TRY(hw_core_open_elf(core, place, m->path, m->start, &known->elf));
	if (known->elf)
		known->left = HW_CORE_SHARED_TIMES * hw_align_up(known->elf->size, HW_PAGE_BYTES);
	return NULL;
}

// A writable mapping of a data file. Written pages of private memory are in the core, those of shared
// memory only when its file has no name any more: so one without bytes is shared, and so is one of a
// removed file, but for huge pages, which glibc's malloc may use.
static bool hw_core_looks_shared(const struct hw_core *core, const struct hw_mapping *m)
{
	const struct hw_core_segment *s = hw_core_segment_at(core, m->start);
	if (!strcmp(m->path, "/anon_hugepage (deleted)"))
		return false;
	return !s || s->dumped_end == s->start || hw_core_has_suffix(m->path, hw_core_deleted);
}

static struct hw_error *hw_core_fill_from_files(struct hw_core *core, const char *exe)
{
	bool has_private = hw_core_has_private_memory(core);
	hw_cleanup_free struct hw_core_known_file *known =
		calloc(core->target.strings.strings.count + 1, sizeof(*known)); // by string id
	if (!known)
		return &hw_enomem;
	hw_vec_foreach(m, &core->target.mappings)
	{
		if (*m->path != '/' || m->flags & HW_MAP_SHARED)
			continue;
		uint32_t id = hw_strtab_intern(&core->target.strings, m->path, strlen(m->path));
		HW_TRY(hw_core_know_file(core, m, exe, &known[id])); // there already: can't fail
		struct hw_elf_file *elf = known[id].elf;
		if (!elf && !known[id].is_elf && m->flags & HW_MAP_WRITE && has_private &&
		    hw_core_looks_shared(core, m))
			m->flags |= HW_MAP_SHARED;
		if (elf && (has_private || !(m->flags & HW_MAP_WRITE)))
			HW_TRY(hw_core_fill_mapping(core, &known[id], m));
	}
	hw_core_sort_pieces(core);
	return NULL;
}

struct hw_error *hw_core_make_maps(struct hw_core *core, const char *exe)
{
	const struct hw_core_file *mapped = hw_core_exe_file(core);
	if (exe)
		HW_TRY(hw_core_check_exe(core, exe, mapped));
	if (mapped || exe) {
		core->target.exe = strdup(mapped ? mapped->path : exe);
		if (!core->target.exe)
			return &hw_enomem;
	}
	HW_TRY(hw_core_add_mappings(core));
	hw_core_name_stack(core);
	hw_core_name_kernel_pages(core);
	if (mapped)
		hw_core_name_heap(core, mapped);
	return hw_core_fill_from_files(core, exe);
}
