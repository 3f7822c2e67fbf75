/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Forged cores: what is read out of a good one, and that no damage does more than lose what it damages.
#include <stdlib.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "check.h"
#include "forge.h"
#include "symbols/modules.h"
#include "target/window.h"

enum { PAGE = 4096, HEAP = 0x500000, STACK = 0x7ff000000000, LIB = 0x7f0000000000 };

static uint8_t page_a[PAGE], page_b[PAGE], pages[4 * PAGE];

static const struct forge_segment good_segments[] = {
	{ HEAP, 4 * PAGE, 4 * PAGE, PF_R | PF_W, pages },
	{ LIB, PAGE, PAGE, PF_R, page_a },
	{ LIB + PAGE, 2 * PAGE, 0, PF_R | PF_X, NULL },
	{ LIB + 3 * PAGE, PAGE, PAGE, PF_R | PF_W, page_b },
	{ STACK, 2 * PAGE, PAGE, PF_R | PF_W, page_b },
};
enum { SEGMENTS = sizeof(good_segments) / sizeof(*good_segments) };

static const struct forge_file good_files[] = {
	{ LIB, LIB + PAGE, 0, "/no/such/lib with space.so" },
	{ LIB + PAGE, LIB + 3 * PAGE, 1, "/no/such/lib with space.so" },
	{ LIB + 3 * PAGE, LIB + 4 * PAGE, 3, "/no/such/lib with space.so" },
};

static void make_notes(struct forge *notes)
{
	uint8_t info[136] = { 0 };
	int pid = 4242;
	uint64_t auxv[] = { AT_EXECFN, STACK + PAGE - 64, AT_NULL, 0 };
	memcpy(info + 24, &pid, 4);
	forge_note_thread(notes, 4250, LIB, 0x1111);
	forge_note(notes, "CORE", NT_PRPSINFO, info, sizeof(info));
	forge_note(notes, "LINUX", NT_PRSTATUS, info, 4); // another owner's: not a thread
	forge_note(notes, "CORE", NT_AUXV, auxv, sizeof(auxv));
	forge_note_files(notes, good_files, 3);
	forge_note_thread(notes, 4242, STACK + 8, 0x2222);
}

static void make_core(struct forge *core)
{
	struct forge notes = { 0 };
	for (size_t i = 0; i < PAGE; i++) {
		page_a[i] = (uint8_t)(i * 5);
		page_b[i] = (uint8_t)(i * 11 + 3);
	}
	for (size_t i = 0; i < sizeof(pages); i++)
		pages[i] = (uint8_t)(i + i / 256);
	make_notes(&notes);
	forge_core(core, &notes, good_segments, SEGMENTS);
	forge_free(&notes);
}

static struct hw_error *open_core(struct forge *core, size_t size, struct hw_issues *issues,
				  struct hw_target **ret)
{
	*ret = NULL;
	forge_publish(core, size);
	return hw_target_open_core(core->path, NULL, "/no/such/root", issues, NULL, ret);
}

static void test_good(void)
{
	struct forge core = { 0 };
	struct hw_issues issues;
	struct hw_target *target;
	uint8_t buf[8 * PAGE];
	hw_issues_init(&issues);
	make_core(&core);
	CHECK_OK(open_core(&core, core.size, &issues, &target));
	CHECK_EQUAL(issues.list.count, 0);
	CHECK_EQUAL(target->pid, 4242);
	CHECK_EQUAL(target->threads.count, 2);
	CHECK_EQUAL(target->threads.data[0].tid, 4242);
	CHECK_EQUAL(target->threads.data[0].sp, STACK + 8);
	CHECK_EQUAL(target->threads.data[0].tp, 0x2222);
	CHECK_EQUAL(target->threads.data[1].tp, 0x1111);
	CHECK_EQUAL(target->mappings.count, SEGMENTS);
	const struct hw_mapping *m = hw_target_find_mapping(target, LIB + PAGE + 5);
	CHECK(m && m->start == LIB + PAGE && m->end == LIB + 3 * PAGE && m->file_offset == PAGE);
	CHECK_TEXT(m ? m->path : NULL, "/no/such/lib with space.so");
	CHECK_EQUAL(m ? m->flags : 0, HW_MAP_READ | HW_MAP_EXEC);
	m = hw_target_find_mapping(target, STACK);
	CHECK_TEXT(m ? m->path : NULL, "[stack]");
	CHECK_OK(hw_target_read(target, HEAP + 10, buf, 2 * PAGE));
	CHECK(!memcmp(buf, pages + 10, 2 * PAGE));
	CHECK(!memcmp(hw_target_map(target, HEAP, 4 * PAGE), pages, 4 * PAGE));
	// left out, and its file is not here: missing
	CHECK_EQUAL(hw_target_read_some(target, LIB, buf, 4 * PAGE), PAGE);
	CHECK_EQUAL(hw_target_read_some(target, LIB + PAGE, buf, 1), 0);
	// beyond p_filesz: missing, not zero
	CHECK_EQUAL(hw_target_read_some(target, STACK, buf, 2 * PAGE), PAGE);
	CHECK_OK(hw_target_stop(target));
	hw_target_resume(target);
	hw_target_close(target);
	hw_issues_deinit(&issues);
	forge_free(&core);
}

// Every length: an error that is one sentence, or a target that has what is left.
static void test_cut(void)
{
	struct forge core = { 0 };
	make_core(&core);
	size_t opened = 0, refused = 0;
	for (size_t size = 0; size < core.size; size += size < PAGE ? 1 : 511) {
		struct hw_issues issues;
		struct hw_target *target;
		hw_issues_init(&issues);
		struct hw_error *err = open_core(&core, size, &issues, &target);
		if (err) {
			refused++;
			CHECK(*hw_error_message(err) && !strchr(hw_error_message(err), '\n'));
			CHECK(size <= 2 * PAGE);
			hw_error_destroy(err);
		} else {
			opened++;
			CHECK(issues.list.count > 0 &&
			      strstr(issues.list.data[0]->message, "cut short"));
			uint8_t buf[4 * PAGE];
			size_t got = hw_target_read_some(target, HEAP, buf, sizeof(buf));
			CHECK(got <= size && !memcmp(buf, pages, got));
			CHECK_EQUAL(target->mappings.count, SEGMENTS);
			hw_target_close(target);
		}
		hw_issues_deinit(&issues);
	}
	CHECK(opened > 10 && refused > 100);
	// the share: half of the file
	struct hw_issues issues;
	struct hw_target *target;
	hw_issues_init(&issues);
	CHECK_OK(open_core(&core, core.size / 2, &issues, &target));
	CHECK(issues.list.count == 1 && strstr(issues.list.data[0]->message, "(50.0 %)"));
	hw_target_close(target);
	hw_issues_deinit(&issues);
	forge_free(&core);
}

static void refuse_bytes(const char *bytes, size_t len, enum hw_error_code code, const char *words)
{
	struct forge file = { 0 };
	struct hw_target *target;
	forge_add(&file, bytes, len);
	CHECK_ERROR(open_core(&file, len, NULL, &target), code, words);
	CHECK(!target);
	forge_free(&file);
}

static void refuse_header(void (*damage)(Elf64_Ehdr *), enum hw_error_code code, const char *words)
{
	struct forge core = { 0 };
	struct hw_target *target;
	make_core(&core);
	damage((Elf64_Ehdr *)core.bytes);
	CHECK_ERROR(open_core(&core, core.size, NULL, &target), code, words);
	forge_free(&core);
}

// x32: the machine is known, not with that class
static void make_32_bit(Elf64_Ehdr *e)
{
	e->e_ident[EI_CLASS] = ELFCLASS32;
}
static void make_big_endian(Elf64_Ehdr *e)
{
	e->e_ident[EI_DATA] = ELFDATA2MSB;
}
static void make_arm(Elf64_Ehdr *e)
{
	e->e_machine = EM_ARM;
}
static void make_program(Elf64_Ehdr *e)
{
	e->e_type = ET_DYN;
}
static void make_empty(Elf64_Ehdr *e)
{
	e->e_phnum = 0;
}
static void make_far_phdrs(Elf64_Ehdr *e)
{
	e->e_phoff = UINT64_MAX - 8;
}
static void make_odd_phdrs(Elf64_Ehdr *e)
{
	e->e_phentsize = 3;
}
static void make_many_phdrs(Elf64_Ehdr *e)
{
	e->e_phnum = PN_XNUM;
	e->e_shoff = UINT64_MAX - 4;
}

static void test_refusals(void)
{
	struct hw_target *target = NULL;
	refuse_bytes("", 0, HW_ERROR_INVALID, "is empty");
	refuse_bytes("just a text\n", 12, HW_ERROR_INVALID, "not a core file");
	refuse_bytes("\x7f"
		     "ELF",
		     4, HW_ERROR_INVALID, "not a core file");
	refuse_bytes("\x7f"
		     "ELF\2\1\1\0\0\0\0\0\0\0\0\0",
		     16, HW_ERROR_INVALID, "cut off");
	refuse_bytes("\x28\xb5\x2f\xfd....", 8, HW_ERROR_INVALID, "zstd");
	refuse_header(make_32_bit, HW_ERROR_UNSUPPORTED, "32 bits");
	refuse_header(make_big_endian, HW_ERROR_UNSUPPORTED, "little-endian");
	refuse_header(make_arm, HW_ERROR_UNSUPPORTED, "machine");
	refuse_header(make_program, HW_ERROR_INVALID, "no core file");
	refuse_header(make_empty, HW_ERROR_INVALID, "no memory");
	refuse_header(make_far_phdrs, HW_ERROR_INVALID, "no memory");
	refuse_header(make_odd_phdrs, HW_ERROR_INVALID, "no memory");
	CHECK_ERROR(hw_target_open_core("/no/such/core", NULL, NULL, NULL, NULL, &target),
		    HW_ERROR_NOT_FOUND, "No such file");
	CHECK_ERROR(hw_target_open_core("/dev/null", NULL, NULL, NULL, NULL, &target),
		    HW_ERROR_INVALID, "regular file");
	CHECK_ERROR(hw_target_open_core("/", NULL, NULL, NULL, NULL, &target), HW_ERROR_INVALID,
		    "regular file");
	CHECK(!target);
	// absurd counts are cut to what is there
	struct forge core = { 0 };
	make_core(&core);
	make_many_phdrs((Elf64_Ehdr *)core.bytes);
	struct hw_error *err = open_core(&core, core.size, NULL, &target);
	hw_error_destroy(err);
	hw_target_close(target);
	forge_free(&core);
}

// More than 65534 segments: their number is in a section header.
static void test_many_segments(void)
{
	struct forge core = { 0 };
	struct hw_target *target;
	make_core(&core);
	Elf64_Shdr section = { .sh_info = SEGMENTS + 1 };
	size_t at = forge_add(&core, &section, sizeof(section));
	((Elf64_Ehdr *)core.bytes)->e_phnum = PN_XNUM;
	((Elf64_Ehdr *)core.bytes)->e_shoff = at;
	CHECK_OK(open_core(&core, core.size, NULL, &target));
	CHECK_EQUAL(target->mappings.count, SEGMENTS);
	hw_target_close(target);
	forge_free(&core);
}

// Segments that say something of one address twice: sorted and disjoint afterwards, the rest is there.
static void test_overlap(void)
{
	struct forge core = { 0 };
	struct hw_issues issues;
	struct hw_target *target;
	uint8_t buf[4 * PAGE];
	struct forge_segment segments[] = {
		{ HEAP + 2 * PAGE, 2 * PAGE, 2 * PAGE, PF_R | PF_W, pages + 2 * PAGE },
		{ HEAP, 3 * PAGE, 3 * PAGE, PF_R | PF_W, pages },
		{ HEAP + PAGE, PAGE, PAGE, PF_R, page_a },           // inside the second
		{ UINT64_MAX - PAGE, 4 * PAGE, PAGE, PF_R, page_a }, // around the top
		{ LIB, PAGE, UINT64_MAX, PF_R, NULL },
	};
	hw_issues_init(&issues);
	segments[4].filesz = 0;
	forge_core(&core, NULL, segments, 5);
	CHECK_OK(open_core(&core, core.size, &issues, &target));
	CHECK(issues.list.count >= 2); // overlaps, no notes
	hw_addr_t last = 0;
	hw_vec_foreach(m, &target->mappings)
	{
		CHECK(m->start < m->end && m->start >= last);
		last = m->end;
	}
	CHECK_EQUAL(hw_target_read_some(target, HEAP, buf, sizeof(buf)), sizeof(buf));
	CHECK(!memcmp(buf, pages, PAGE) && !memcmp(buf + PAGE, page_a, PAGE) &&
	      !memcmp(buf + 2 * PAGE, pages + 2 * PAGE, 2 * PAGE));
	hw_target_close(target);
	hw_issues_deinit(&issues);
	forge_free(&core);
}

// A segment that claims more than the file has.
static void test_absurd_sizes(void)
{
	static const uint64_t sizes[] = { UINT64_MAX, UINT64_MAX - PAGE, 1ull << 63, 1ull << 47,
					  0 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (size_t field = 0; field < 4; field++) {
			struct forge core = { 0 };
			struct hw_issues issues;
			struct hw_target *target;
			uint8_t buf[PAGE];
			hw_issues_init(&issues);
			make_core(&core);
			Elf64_Phdr *phdr = (Elf64_Phdr *)(core.bytes + sizeof(Elf64_Ehdr)) + 1;
			*(field == 0   ? &phdr->p_filesz
			  : field == 1 ? &phdr->p_memsz
			  : field == 2 ? &phdr->p_offset
				       : &phdr->p_vaddr) = sizes[i];
			CHECK_OK(open_core(&core, core.size, &issues, &target));
			// the others are what they were
			CHECK_EQUAL(hw_target_read_some(target, LIB + 3 * PAGE, buf, PAGE), PAGE);
			CHECK(!memcmp(buf, page_b, PAGE));
			hw_target_read_some(target, HEAP, buf, PAGE);
			// a walk over pages sees those that are there, not those that are said to be
			unsigned steps = 0;
			for (hw_addr_t page = 0; page < UINT64_MAX && steps < 100; steps++)
				page = hw_target_next_page(target, page, UINT64_MAX);
			CHECK(steps < 100);
			hw_target_close(target);
			hw_issues_deinit(&issues);
			forge_free(&core);
		}
	}
}

// Headers that lead to the same bytes of the file again and again: memory and threads are as many as are there.
static void test_shared_bytes(void)
{
	enum { COUNT = 300 };
	struct forge core = { 0 }, notes = { 0 };
	struct hw_issues issues;
	struct hw_target *target;
	struct forge_segment segments[COUNT];
	uint64_t seen = 0;
	uint8_t byte;
	make_notes(&notes);
	for (size_t i = 0; i < COUNT; i++)
		segments[i] = (struct forge_segment){ HEAP + i * 4 * PAGE, 4 * PAGE,
						      i ? 0 : 4 * PAGE, PF_R | PF_W, pages };
	forge_core(&core, &notes, segments, COUNT);
	Elf64_Phdr *phdrs = (Elf64_Phdr *)(core.bytes + sizeof(Elf64_Ehdr));
	for (size_t i = 2; i <= COUNT; i++) {
		uint64_t vaddr = phdrs[i].p_vaddr;
		phdrs[i] = phdrs[i % 2 ? 0 : 1];
		if (i % 2 == 0)
			phdrs[i].p_vaddr = vaddr;
	}
	hw_issues_init(&issues);
	CHECK_OK(open_core(&core, core.size, &issues, &target));
	for (size_t i = 0; i < COUNT; i++)
		seen += 4 * PAGE * hw_target_read_some(target, HEAP + i * 4 * PAGE, &byte, 1);
	CHECK(seen >= 4 * PAGE && seen <= 5 * core.size, "%zu of %zu", (size_t)seen, core.size);
	CHECK(target->threads.count <= 2 * (core.size / notes.size + 1), "%zu threads",
	      target->threads.count);
	bool is_told = false;
	hw_vec_foreach(issue, &issues.list) is_told |= strstr((*issue)->message, "share") != NULL;
	CHECK(is_told);
	hw_target_close(target);
	hw_issues_deinit(&issues);
	forge_free(&notes);
	forge_free(&core);
}

// The file becomes shorter while it is open: what is gone reads as zeroes, and is told.
static void test_shortened(void)
{
	struct forge core = { 0 };
	struct hw_target *target;
	uint8_t buf[PAGE], zeroes[PAGE] = { 0 };
	make_core(&core);
	CHECK_OK(open_core(&core, core.size, NULL, &target));
	uint64_t before = hw_files_cut();
	CHECK_EQUAL(hw_target_read_some(target, STACK, buf, PAGE), PAGE);
	CHECK(!memcmp(buf, page_b, PAGE));
	CHECK(!ftruncate(core.fd, (off_t)core.size / 2 / PAGE * PAGE));
	CHECK_EQUAL(hw_target_read_some(target, LIB + 3 * PAGE, buf, PAGE), PAGE);
	CHECK(!memcmp(buf, zeroes, PAGE));
	CHECK_EQUAL(hw_files_cut(), before + 1);
	CHECK_EQUAL(hw_target_read_some(target, STACK, buf, PAGE), PAGE);
	CHECK_EQUAL(hw_files_cut(), before + 1); // the rest of the file at once
	CHECK_EQUAL(hw_target_read_some(target, HEAP, buf, PAGE), PAGE);
	CHECK(!memcmp(buf, pages, PAGE));
	hw_target_close(target);
	forge_free(&core);
}

// Notes: every 4 bytes of them set to absurd numbers.
static void test_damaged_notes(void)
{
	static const uint32_t words[] = { 0xffffffff, 0x7fffffff, 0x80000000, 1, 0 };
	struct forge core = { 0 };
	make_core(&core);
	Elf64_Phdr *phdr = (Elf64_Phdr *)(core.bytes + sizeof(Elf64_Ehdr));
	size_t start = phdr->p_offset, end = phdr->p_offset + phdr->p_filesz;
	for (size_t at = start; at + 4 <= end; at += 4) {
		for (size_t i = 0; i < 5; i++) {
			struct hw_target *target;
			struct hw_issues issues;
			uint8_t buf[PAGE], was[4];
			hw_issues_init(&issues);
			memcpy(was, core.bytes + at, 4);
			memcpy(core.bytes + at, &words[i], 4);
			struct hw_error *err = open_core(&core, core.size, &issues, &target);
			CHECK(!err);
			if (!err)
				CHECK_EQUAL(hw_target_read_some(target, HEAP, buf, PAGE), PAGE);
			hw_error_destroy(err);
			hw_target_close(target);
			hw_issues_deinit(&issues);
			memcpy(core.bytes + at, was, 4);
		}
	}
	forge_free(&core);
}

// Random damage to the headers; a sanitizer or a crash is the judge, and that all ends.
static void test_random_damage(void)
{
	struct forge good = { 0 };
	make_core(&good);
	uint64_t random = 0x9e3779b97f4a7c15u;
	for (int round = 0; round < 3000; round++) {
		struct forge core = { 0 };
		struct hw_target *target;
		struct hw_issues issues;
		struct hw_modules *modules = NULL;
		uint8_t buf[PAGE];
		forge_add(&core, good.bytes, good.size);
		for (int hits = 0; hits < 1 + round % 7; hits++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			size_t at = (random >> 33) % (2 * PAGE);
			core.bytes[at] = (uint8_t)(random >> 20);
		}
		hw_issues_init(&issues);
		struct hw_error *err = open_core(&core, core.size, &issues, &target);
		if (!err) {
			hw_vec_foreach(m, &target->mappings)
				hw_target_read_some(target, m->start, buf, PAGE);
			err = hw_modules_open(target, NULL, NULL, &issues, &modules);
			CHECK(!err);
			hw_modules_close(modules);
		}
		hw_error_destroy(err);
		hw_target_close(target);
		hw_issues_deinit(&issues);
		forge_free(&core);
	}
	forge_free(&good);
}

static void test_shared_names(void)
{
	struct forge core = { 0 }, notes = { 0 };
	struct hw_target *target;
	static const char *const names[] = { "/dev/zero (deleted)", "/SYSV00000000 (deleted)",
					     "/memfd:x (deleted)",  "/dev/shm/y",
					     "/removed (deleted)",  "/anon_hugepage (deleted)" };
	enum { COUNT = 6 };
	struct forge_file files[COUNT];
	struct forge_segment segments[COUNT + 1];
	for (size_t i = 0; i < COUNT; i++) {
		files[i] = (struct forge_file){ LIB + i * PAGE, LIB + (i + 1) * PAGE, 0, names[i] };
		segments[i] = (struct forge_segment){ LIB + i * PAGE, PAGE, PAGE, PF_R | PF_W,
						      page_a };
	}
	segments[COUNT] = good_segments[0];
	forge_note_files(&notes, files, COUNT);
	forge_core(&core, &notes, segments, COUNT + 1);
	CHECK_OK(open_core(&core, core.size, NULL, &target));
	for (size_t i = 0; i < COUNT; i++) {
		const struct hw_mapping *m = hw_target_find_mapping(target, LIB + i * PAGE);
		CHECK(m && !(m->flags & HW_MAP_SHARED) == (i == COUNT - 1));
	}
	CHECK(hw_mapping_is_private_writable(hw_target_find_mapping(target, HEAP)));
	hw_target_close(target);
	forge_free(&notes);
	forge_free(&core);
}

int main(void)
{
	test_good();
	test_cut();
	test_refusals();
	test_many_segments();
	test_overlap();
	test_absurd_sizes();
	test_shared_bytes();
	test_shortened();
	test_damaged_notes();
	test_random_damage();
	test_shared_names();
	return check_finish();
}
