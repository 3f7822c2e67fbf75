/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Files that become shorter while they are mapped, and what becomes of SIGBUS that is none of ours.
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mapped_file.h"
#include "check.h"

enum { PAGE = 4096, PAGES = 8 };

static sigjmp_buf back;

static void jump(int number)
{
	siglongjmp(back, number);
}

static int make_file(void)
{
	uint8_t page[PAGE];
	int fd = memfd_create("mapped", MFD_CLOEXEC);
	memset(page, 'x', sizeof(page));
	for (int i = 0; i < PAGES; i++)
		CHECK(write(fd, page, PAGE) == PAGE);
	return fd;
}

static void test_cut(void)
{
	int fd = make_file();
	const volatile uint8_t *file = hw_map_file(fd, PAGES * PAGE);
	uint64_t before = hw_files_cut();
	CHECK(file && file[0] == 'x' && file[(PAGES - 1) * PAGE] == 'x');
	CHECK(!ftruncate(fd, 2 * PAGE));
	CHECK(file && file[5 * PAGE] == 0 && file[PAGE] == 'x');
	CHECK_EQUAL(hw_files_cut(), before + 1);
	CHECK(file && file[(PAGES - 1) * PAGE] == 0);
	CHECK_EQUAL(hw_files_cut(), before + 1);
	CHECK(file && file[2 * PAGE] == 0); // before the first fault: one more
	CHECK_EQUAL(hw_files_cut(), before + 2);
	hw_unmap_file((const uint8_t *)file, PAGES * PAGE);
	close(fd);
}

// Somebody else's mapping: their handler is called while ours is there, and is back afterwards.
static void test_others(void)
{
	struct sigaction theirs = { .sa_handler = jump }, was, now;
	int fd = make_file(), ours = make_file();
	volatile uint8_t *other = mmap(NULL, PAGES * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
	uint64_t before = hw_files_cut();
	sigaction(SIGBUS, &theirs, &was);
	const uint8_t *file = hw_map_file(ours, PAGES * PAGE);
	CHECK(!ftruncate(fd, 0));
	int number = sigsetjmp(back, 1);
	if (!number) {
		CHECK(other[PAGE] == 'x', "nothing happened");
		CHECK(false, "no signal");
	}
	CHECK_EQUAL(number, SIGBUS);
	CHECK_EQUAL(hw_files_cut(), before);
	hw_unmap_file(file, PAGES * PAGE);
	sigaction(SIGBUS, &was, &now);
	CHECK(now.sa_handler == jump);
	munmap((void *)other, PAGES * PAGE);
	close(fd);
	close(ours);
}

int main(void)
{
	test_cut();
	test_others();
	CHECK(!hw_map_file(-1, PAGE));
	return check_finish();
}
