/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Forged cores of every machine that is read: headers, notes, thread pointers.
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "forge.h"
#include "target/residency.h"
#include "target/window.h"

enum { PAGE = 4096, HEAP = 0x500000, LIB = 0xf7000000, STACK = 0xff000000 };

static uint8_t page[PAGE], pages[4 * PAGE];

static const struct forge_segment segments[] = {
	{ HEAP, 4 * PAGE, 4 * PAGE, PF_R | PF_W, pages },
	{ LIB, PAGE, PAGE, PF_R, page },
	{ STACK, 2 * PAGE, PAGE, PF_R | PF_W, page },
};
static const struct forge_file files[] = { { LIB, LIB + PAGE, 3, "/no/such/lib.so" } };

static void test_core(const struct hw_machine *machine)
{
	struct forge notes = { .machine = machine }, core = { .machine = machine };
	struct hw_issues issues;
	struct hw_target *target;
	uint8_t info[136] = { 0 }, buf[2 * PAGE];
	uint64_t words[] = { AT_EXECFN, STACK + PAGE - 64, AT_NULL, 0 }, word;
	uint32_t small[] = { AT_EXECFN, STACK + PAGE - 64, AT_NULL, 0 };
	int pid = 4242;
	hw_issues_init(&issues);
	memcpy(info + machine->prpsinfo_pid, &pid, 4);
	forge_note_thread(&notes, 4250, LIB, 0x11110);
	forge_note(&notes, "CORE", NT_PRPSINFO, info, machine->prpsinfo_bytes);
	forge_note(&notes, "CORE", NT_AUXV, machine->word_bytes == 8 ? (void *)words : small,
		   4 * machine->word_bytes);
	forge_note_files(&notes, files, 1);
	forge_note_thread(&notes, 4242, STACK + 8, 0x22220);
	forge_core(&core, &notes, segments, 3);
	forge_publish(&core, core.size);
	CHECK_OK(hw_target_open_core(core.path, NULL, "/no/such/root", &issues, NULL, &target));
	CHECK_EQUAL(issues.list.count, 0);
	CHECK_TEXT(target->machine->name, machine->name);
	CHECK_EQUAL(target->pid, 4242);
	CHECK_EQUAL(target->threads.count, 2);
	CHECK_EQUAL(target->threads.data[0].sp, STACK + 8);
	CHECK_EQUAL(target->threads.data[0].tp, 0x22220);
	CHECK_EQUAL(target->threads.data[1].sp, LIB);
	CHECK_EQUAL(target->threads.data[1].tp, 0x11110);
	CHECK_EQUAL(target->mappings.count, 3);
	const struct hw_mapping *m = hw_target_find_mapping(target, LIB + 5);
	CHECK_TEXT(m ? m->path : NULL, "/no/such/lib.so");
	CHECK_EQUAL(m ? m->file_offset : 0, 3 * PAGE);
	m = hw_target_find_mapping(target, STACK);
	CHECK_TEXT(m ? m->path : NULL, "[stack]");
	CHECK_OK(hw_target_read(target, HEAP + 10, buf, sizeof(buf)));
	CHECK(!memcmp(buf, pages + 10, sizeof(buf)));
	struct hw_pages cache;
	hw_pages_init(&cache, target);
	CHECK(hw_pages_read_word(&cache, HEAP + 8, &word));
	CHECK_EQUAL(word, hw_word(pages + 8, machine->word_bytes));
	hw_pages_deinit(&cache);
	hw_target_close(target);
	// cut anywhere in what describes it: refused or read, never worse
	for (size_t size = 0; size < 4096; size += 7) {
		forge_publish(&core, size);
		target = NULL;
		hw_error_destroy(hw_target_open_core(core.path, NULL, "/no/such/root", &issues,
						     NULL, &target));
		hw_target_close(target);
	}
	hw_issues_deinit(&issues);
	forge_free(&core);
	forge_free(&notes);
}

// The numbers of linux/arch/arm64/include/uapi/asm/ptrace.h, not those of the rows.
static void test_aarch64_registers(void)
{
	const struct hw_machine *m = hw_machine_find(EM_AARCH64, ELFCLASS64);
	uint64_t regs[34] = { [31] = 0x1000 /* sp */, [32] = 0x2000 /* pc */ }, tpidr = 0x3000;
	struct hw_machine_thread thread;
	CHECK_EQUAL(m->prstatus_bytes, 112 + sizeof(regs));
	hw_machine_registers(m, regs, sizeof(regs), &thread);
	CHECK_EQUAL(thread.sp, 0x1000);
	CHECK_EQUAL(thread.tp, 0);
	hw_machine_tls(m, &tpidr, 7, &thread); // cut short
	CHECK_EQUAL(thread.tp, 0);
	hw_machine_tls(m, &tpidr, sizeof(tpidr), &thread);
	CHECK_EQUAL(thread.tp, 0x3000);
	hw_machine_registers(m, regs, 31 * 8, &thread);
	CHECK_EQUAL(thread.sp, 0);
}

// What is resident is told by the pages of the target, whatever this machine's are.
static void test_page_bytes(uint64_t said, uint64_t page_bytes)
{
	enum { MARK = 20000, LARGE = 1 << 16 };
	static uint8_t memory[4 * LARGE];
	const struct forge_segment heap = { HEAP, sizeof(memory), sizeof(memory), PF_R | PF_W,
					    memory };
	uint64_t words[] = { AT_PAGESZ, said, AT_NULL, 0 };
	struct forge core = { 0 }, notes = { 0 };
	struct hw_issues issues;
	struct hw_target *target;
	struct hw_residency residency;
	struct hw_page_sums sums = { 0 };
	size_t hint = 0;
	hw_issues_init(&issues);
	memory[MARK] = 1;
	memory[MARK + LARGE] = 1;
	forge_note(&notes, "CORE", NT_AUXV, words, sizeof(words));
	forge_core(&core, &notes, &heap, 1);
	forge_publish(&core, core.size);
	CHECK_OK(hw_target_open_core(core.path, NULL, "/no/such/root", &issues, NULL, &target));
	CHECK_EQUAL(target->page_bytes, page_bytes);
	CHECK_OK(hw_residency_read(target, &issues, &residency));
	hw_residency_add(&residency, &hint, HEAP, HEAP + sizeof(memory), &sums);
	CHECK_EQUAL(sums.resident_bytes, 2 * page_bytes);
	CHECK_EQUAL(residency.runs.data[0].start, HEAP + MARK / page_bytes * page_bytes);
	hw_residency_deinit(&residency);
	hw_target_close(target);
	hw_issues_deinit(&issues);
	forge_free(&notes);
	forge_free(&core);
}

int main(void)
{
	static const struct {
		unsigned machine, elf_class;
	} known[] = { { EM_X86_64, ELFCLASS64 },
		      { EM_AARCH64, ELFCLASS64 },
		      { EM_386, ELFCLASS32 } };
	for (size_t i = 0; i < sizeof(pages); i++)
		pages[i] = (uint8_t)(i + i / 256);
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		const struct hw_machine *m = hw_machine_find(known[i].machine, known[i].elf_class);
		CHECK(m);
		test_core(m);
	}
	CHECK(!hw_machine_find(EM_X86_64, ELFCLASS32)); // x32
	CHECK(!hw_machine_find(EM_386, ELFCLASS64));
	test_aarch64_registers();
	for (uint64_t bytes = 4096; bytes <= 1 << 16; bytes *= 2)
		test_page_bytes(bytes, bytes);
	test_page_bytes(0, 4096);
	test_page_bytes(5000, 4096);
	test_page_bytes(1ull << 40, 4096);
	return check_finish();
}
