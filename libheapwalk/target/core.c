/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A core file, mapped and never copied. What it says is believed only as far as it fits together: a core
// may come from a stranger.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/mapped_file.h"
#include "target/core_private.h"
#include "target/unpack.h"

// The first piece that ends beyond addr, or NULL.
static const struct hw_core_piece *hw_core_piece_from(const struct hw_core *core, hw_addr_t addr)
{
	const struct hw_core_piece *p = core->pieces.data;
	size_t lo = 0, hi = core->pieces.count;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (p[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < core->pieces.count ? &p[lo] : NULL;
}

const struct hw_core_piece *hw_core_find_piece(const struct hw_core *core, hw_addr_t addr)
{
	const struct hw_core_piece *piece = hw_core_piece_from(core, addr);
	return piece && piece->start <= addr ? piece : NULL;
}

struct hw_error *hw_core_add_piece(struct hw_core *core, hw_addr_t start, hw_addr_t end,
				   const uint8_t *bytes)
{
	struct hw_core_piece piece = { start, end, bytes };
	return start >= end || hw_vec_push(&core->pieces, piece) ? NULL : &hw_enomem;
}

static int hw_core_piece_compare(const void *a, const void *b)
{
	const struct hw_core_piece *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

// Pieces that follow each other here and there become one, so that map() reaches across mappings.
void hw_core_sort_pieces(struct hw_core *core)
{
	struct hw_core_piece *p = core->pieces.data;
	size_t kept = 0;
	if (!core->pieces.count)
		return;
	qsort(p, core->pieces.count, sizeof(*p), hw_core_piece_compare);
	for (size_t i = 0; i < core->pieces.count; i++) {
		struct hw_core_piece *last = kept ? &p[kept - 1] : NULL;
		if (last && last->end == p[i].start &&
		    last->bytes + (last->end - last->start) == p[i].bytes)
			last->end = p[i].end;
		else
			p[kept++] = p[i];
	}
	core->pieces.count = kept;
}

size_t hw_core_read_some(const struct hw_core *core, hw_addr_t addr, void *buf, size_t len)
{
	size_t done = 0;
	while (done < len) {
		const struct hw_core_piece *piece = hw_core_find_piece(core, addr + done);
		if (!piece)
			break;
		size_t n = hw_min(len - done, piece->end - (addr + done));
		memcpy((char *)buf + done, piece->bytes + (addr + done - piece->start), n);
		done += n;
	}
	return done;
}

static size_t hw_core_read(struct hw_target *self, hw_addr_t addr, void *buf, size_t len)
{
	return hw_core_read_some((struct hw_core *)self, addr, buf, len);
}

static const void *hw_core_map(struct hw_target *self, hw_addr_t addr, size_t len)
{
	const struct hw_core_piece *piece = hw_core_find_piece((struct hw_core *)self, addr);
	if (!piece || piece->end - addr < len)
		return NULL;
	return piece->bytes + (addr - piece->start);
}

static hw_addr_t hw_core_next_readable(struct hw_target *self, hw_addr_t addr, hw_addr_t *ret_end)
{
	const struct hw_core_piece *piece = hw_core_piece_from((struct hw_core *)self, addr);
	*ret_end = piece ? piece->end : UINT64_MAX;
	return !piece ? UINT64_MAX : piece->start > addr ? piece->start : addr;
}

static void hw_core_close(struct hw_target *self)
{
	struct hw_core *core = (struct hw_core *)self;
	hw_vec_foreach(file, &core->opened) hw_elf_file_close(*file);
	hw_vec_deinit(&core->opened);
	hw_vec_deinit(&core->segments);
	hw_vec_deinit(&core->files);
	hw_vec_deinit(&core->pieces);
	hw_vec_deinit(&core->holes);
	hw_unmap_file(core->bytes, core->size);
	free(core->path);
	hw_target_deinit(self);
	free(core);
}

static const struct hw_reader_ops hw_core_ops = {
	.name = "core",
	.kind = HW_TARGET_CORE,
	.is_thread_safe = true,
	.read_some = hw_core_read,
	.map = hw_core_map,
	.next_readable = hw_core_next_readable,
	.skip_zeroes = hw_core_skip_zeroes,
	.close = hw_core_close,
};

// The bytes of a core that is compressed. *fd becomes that of the unpacked ones.
static struct hw_error *hw_core_unpack(struct hw_core *core, int *fd, struct hw_progress *progress)
{
	uint8_t magic[HW_UNPACK_MAGIC_BYTES];
	struct hw_unpacked unpacked;
	ssize_t got = pread(*fd, magic, sizeof(magic), 0);
	if (got < 0)
		return hw_error_os(errno, "can't read core file %s", core->path);
	if (!hw_unpack_format(magic, (size_t)got))
		return NULL;
	HW_TRY(hw_unpack(*fd, core->size, core->path, progress, &unpacked));
	close(*fd);
	*fd = unpacked.fd;
	core->size = (size_t)unpacked.size;
	core->target.shortfall = unpacked.shortfall;
	if (unpacked.shortfall && core->issues)
		hw_issues_add(core->issues, HW_ERROR_CORRUPT, 0, "core %s: %s", core->path,
			      unpacked.shortfall);
	return NULL;
}

static struct hw_error *hw_core_map_file(struct hw_core *core, struct hw_progress *progress)
{
	struct stat st;
	hw_cleanup_close int fd = open(core->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		return hw_error_create(errno == ENOENT ? HW_ERROR_NOT_FOUND : HW_ERROR_OS,
				       "can't open core file %s: %s", core->path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return hw_error_create(HW_ERROR_INVALID,
				       "%s is not a regular file: give a core file", core->path);
	if (!st.st_size)
		return hw_error_create(
			HW_ERROR_INVALID,
			"%s is empty: was the core cut off by a size limit or a full "
			"disk?",
			core->path);
	core->size = (size_t)st.st_size;
	HW_TRY(hw_core_unpack(core, &fd, progress));
	core->bytes = hw_map_file(fd, core->size);
	if (!core->bytes)
		return hw_error_os(errno, "can't map core file %s", core->path);
	hw_core_find_holes(core, fd);
	return NULL;
}

// Why this is not a core that we read; NULL: it is one. Its whole header is there.
static struct hw_error *hw_core_check_header(struct hw_core *core)
{
	Elf64_Ehdr ehdr;
	const char *packed = hw_unpack_format(core->bytes, core->size);
	if (packed || (core->size >= 3 && !memcmp(core->bytes, "BZh", 3)))
		return hw_error_create(HW_ERROR_UNSUPPORTED, "%s is compressed %s: unpack it first",
				       core->path, packed ? "twice" : "with bzip2");
	if (core->size < EI_NIDENT || memcmp(core->bytes, ELFMAG, SELFMAG))
		return hw_error_create(HW_ERROR_INVALID, "%s is not a core file (not even ELF)",
				       core->path);
	unsigned elf_class = core->bytes[EI_CLASS];
	if ((elf_class != ELFCLASS32 && elf_class != ELFCLASS64) ||
	    core->bytes[EI_DATA] != ELFDATA2LSB)
		return hw_error_create(
			HW_ERROR_UNSUPPORTED,
			"%s is not little-endian ELF: heapwalk reads cores of " HW_MACHINES_TEXT,
			core->path);
	if (!hw_elf_get_ehdr(core->bytes, core->size, &ehdr))
		return hw_error_create(HW_ERROR_INVALID,
				       "%s is cut off inside its ELF header: %zu bytes", core->path,
				       core->size);
	core->target.machine = hw_machine_find(ehdr.e_machine, elf_class);
	if (!core->target.machine)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "%s is for ELF machine %u, %u bits: heapwalk reads cores "
				       "of " HW_MACHINES_TEXT,
				       core->path, ehdr.e_machine,
				       elf_class == ELFCLASS32 ? 32u : 64u);
	if (ehdr.e_type != ET_CORE)
		return hw_error_create(
			HW_ERROR_INVALID,
			"%s is an ELF file but no core file (%s): is it the program?", core->path,
			ehdr.e_type == ET_REL ? "an object file" : "a program or library");
	return NULL;
}

// How many program headers there are, and how many of them the file is long enough for.
static uint64_t hw_core_phdr_count(const struct hw_core *core, const Elf64_Ehdr *ehdr,
				   uint64_t *ret_seen)
{
	uint64_t count = ehdr->e_phnum;
	unsigned elf_class = ehdr->e_ident[EI_CLASS];
	size_t phdr_bytes = hw_elf_phdr_bytes(elf_class);
	*ret_seen = 0;
	// More than 65534 mappings: the real number is in the first section header.
	if (count == PN_XNUM && ehdr->e_shoff <= core->size &&
	    core->size - ehdr->e_shoff >= hw_elf_shdr_bytes(elf_class)) {
		Elf64_Shdr section;
		hw_elf_get_shdr(core->bytes + ehdr->e_shoff, elf_class, &section);
		count = section.sh_info;
	}
	if (ehdr->e_phentsize == phdr_bytes && ehdr->e_phoff < core->size)
		*ret_seen = hw_min(count, (core->size - ehdr->e_phoff) / phdr_bytes);
	return count;
}

static void hw_core_phdr(const struct hw_core *core, const Elf64_Ehdr *ehdr, uint64_t i,
			 Elf64_Phdr *ret)
{
	unsigned elf_class = ehdr->e_ident[EI_CLASS];
	hw_elf_get_phdr(core->bytes + ehdr->e_phoff + i * hw_elf_phdr_bytes(elf_class), elf_class,
			ret);
}

static struct hw_error *hw_core_add_segment(struct hw_core *core, const Elf64_Phdr *phdr)
{
	hw_addr_t room = UINT64_MAX - phdr->p_vaddr;
	uint64_t memory = hw_min(hw_max(phdr->p_memsz, phdr->p_filesz), room);
	uint64_t dumped = hw_min(phdr->p_filesz, memory);
	uint64_t left = phdr->p_offset < core->size ? core->size - phdr->p_offset : 0;
	if (!memory)
		return NULL;
	struct hw_core_segment segment = {
		.start = phdr->p_vaddr,
		.end = phdr->p_vaddr + memory,
		.dumped_end = phdr->p_vaddr + dumped,
		.seen_end = phdr->p_vaddr + hw_min(dumped, left),
		.offset = phdr->p_offset,
		.flags = (phdr->p_flags & PF_R ? HW_MAP_READ : 0) |
			 (phdr->p_flags & PF_W ? HW_MAP_WRITE : 0) |
			 (phdr->p_flags & PF_X ? HW_MAP_EXEC : 0),
	};
	return hw_vec_push(&core->segments, segment) ? NULL : &hw_enomem;
}

static int hw_core_segment_compare(const void *a, const void *b)
{
	const struct hw_core_segment *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

// Sorted and disjoint: one ends where the next begins, so that an absurd size harms nobody else.
static void hw_core_sort_segments(struct hw_core *core)
{
	struct hw_core_segment *s = core->segments.data;
	size_t kept = 0, clipped = 0;
	if (!core->segments.count)
		return;
	qsort(s, core->segments.count, sizeof(*s), hw_core_segment_compare);
	for (size_t i = 0; i < core->segments.count; i++) {
		struct hw_core_segment *last = kept ? &s[kept - 1] : NULL;
		if (last && s[i].start < last->end) {
			clipped++;
			if (s[i].start == last->start)
				continue;
			last->end = s[i].start;
			last->dumped_end = hw_min(last->dumped_end, last->end);
			last->seen_end = hw_min(last->seen_end, last->end);
		}
		s[kept++] = s[i];
	}
	core->segments.count = kept;
	if (clipped && core->issues)
		hw_issues_add(
			core->issues, HW_ERROR_CORRUPT, 0,
			"core %s: %zu segments overlap the one before, which counts up to there",
			core->path, clipped);
}

// What the core has of each segment.
static struct hw_error *hw_core_add_pieces(struct hw_core *core)
{
	uint64_t left = HW_CORE_SHARED_TIMES *
			hw_min(core->size, UINT64_MAX / HW_CORE_SHARED_TIMES);
	size_t clipped = 0;
	hw_vec_foreach(s, &core->segments)
	{
		if (s->start == s->seen_end) // its offset may be anything
			continue;
		uint64_t bytes = hw_min(s->seen_end - s->start, left);
		clipped += bytes < s->seen_end - s->start;
		left -= bytes;
		s->seen_end = s->start + bytes;
		HW_TRY(hw_core_add_piece(core, s->start, s->seen_end, core->bytes + s->offset));
	}
	if (clipped && core->issues)
		hw_issues_add(core->issues, HW_ERROR_CORRUPT, 0,
			      "core %s: its segments share bytes of the file: %zu of them are not "
			      "read, or not whole",
			      core->path, clipped);
	return NULL;
}

// A core that was cut short says how much of it is there.
static void hw_core_report_cut(struct hw_core *core, uint64_t whole, uint64_t phdrs,
			       uint64_t phdrs_seen)
{
	if (whole <= core->size && phdrs_seen == phdrs)
		return;
	if (!core->target.shortfall &&
	    asprintf(&core->target.shortfall,
		     "the core is cut short at %.1f %% of its length; get the whole file, or raise "
		     "what limited it (ulimit -c, room on the disk)",
		     whole ? 100.0 * (double)core->size / (double)whole : 0) < 0)
		core->target.shortfall = NULL; // the issue says it
	if (!core->issues)
		return;
	if (phdrs_seen < phdrs)
		hw_issues_add(
			core->issues, HW_ERROR_FAULT, 0,
			"core %s is cut short inside its program headers: %llu of %llu are there",
			core->path, (unsigned long long)phdrs_seen, (unsigned long long)phdrs);
	else
		hw_issues_add(core->issues, HW_ERROR_FAULT, 0,
			      "core %s is cut short: %llu of %llu bytes (%.1f %%) are there",
			      core->path, (unsigned long long)core->size, (unsigned long long)whole,
			      100.0 * (double)core->size / (double)whole);
}

// What a core leaves out that no file has: coredump_filter, MADV_DONTDUMP, and pages nobody ever touched
// look the same in it.
static void hw_core_report_left_out(struct hw_core *core)
{
	uint64_t all = 0, missing = 0;
	hw_vec_foreach(m, &core->target.mappings)
	{
		if (!hw_mapping_is_private_writable(m) || *m->path == '/')
			continue;
		all += m->end - m->start;
		for (hw_addr_t at = m->start, readable_end; at < m->end; at = readable_end) {
			hw_addr_t next = hw_core_next_readable(&core->target, at, &readable_end);
			missing += hw_min(next, m->end) - at;
		}
	}
	if (!missing || core->target.shortfall)
		return;
	if (asprintf(&core->target.shortfall,
		     "the core leaves out %llu of %llu bytes of private memory (%.1f %%), by its "
		     "coredump_filter, by MADV_DONTDUMP or because they were never touched; gcore "
		     "-a writes all there is",
		     (unsigned long long)missing, (unsigned long long)all,
		     100.0 * (double)missing / (double)all) < 0)
		core->target.shortfall = NULL; // the ledger has the numbers
}

static struct hw_error *hw_core_load(struct hw_core *core, const char *exe)
{
	HW_TRY(hw_core_check_header(core));
	Elf64_Ehdr ehdr = { 0 };
	hw_elf_get_ehdr(core->bytes, core->size, &ehdr); // it was checked
	uint64_t seen, count = hw_core_phdr_count(core, &ehdr, &seen), whole = 0;
	uint64_t notes_left = core->size; // headers may lead to the same notes again and again
	bool has_notes = false;
	for (uint64_t i = 0; i < seen; i++) {
		Elf64_Phdr phdr;
		hw_core_phdr(core, &ehdr, i, &phdr);
		if (phdr.p_filesz) {
			uint64_t end = phdr.p_offset + phdr.p_filesz;
			whole = hw_max(whole, end < phdr.p_offset ? UINT64_MAX : end);
		}
		if (phdr.p_type == PT_LOAD) {
			HW_TRY(hw_core_add_segment(core, &phdr));
		} else if (phdr.p_type == PT_NOTE && phdr.p_offset < core->size) {
			uint64_t len = hw_min(phdr.p_filesz, core->size - phdr.p_offset);
			has_notes = true;
			len = hw_min(len, notes_left);
			notes_left -= len;
			HW_TRY(hw_core_read_notes(core, core->bytes + phdr.p_offset, len,
						  phdr.p_align == 8 ? 8 : 4));
		}
	}
	hw_core_report_cut(core, whole, count, seen);
	if (!has_notes && core->issues)
		hw_issues_add(core->issues, HW_ERROR_FAULT, 0,
			      "core %s has no notes: names of files and threads are not known",
			      core->path);
	hw_core_sort_segments(core);
	HW_TRY(hw_core_add_pieces(core));
	if (!core->pieces.count)
		return hw_error_create(HW_ERROR_INVALID, "core %s has no memory in it%s",
				       core->path,
				       whole > core->size || seen < count
					       ? ": it is cut off before the first byte of it"
					       : "");
	hw_core_sort_pieces(core);
	hw_core_finish_notes(core);
	HW_TRY(hw_core_make_maps(core, exe));
	hw_core_report_left_out(core);
	return NULL;
}

struct hw_error *hw_target_open_core(const char *path, const char *exe, const char *sysroot,
				     struct hw_issues *issues, struct hw_progress *progress,
				     struct hw_target **ret)
{
	struct hw_core *core = calloc(1, sizeof(*core));
	if (!core)
		return &hw_enomem;
	struct hw_target *target = &core->target;
	target->ops = &hw_core_ops;
	target->machine = hw_machine_default();
	target->page_bytes = HW_PAGE_BYTES;
	hw_strtab_init(&target->strings);
	core->issues = issues;
	core->path = strdup(path);
	target->file_root = strdup(sysroot ? sysroot : "");
	struct hw_error *err = NULL;
	if (!core->path || !target->file_root)
		err = &hw_enomem;
	if (!err)
		err = hw_core_map_file(core, progress);
	if (!err)
		err = hw_core_load(core, exe);
	core->issues = NULL;
	if (err) {
		hw_core_close(target);
		return err;
	}
	*ret = target;
	return NULL;
}
