/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/mapped_file.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// A mapping under guard. The list only grows: the handler walks it without a lock, and free ones are used again.
struct hw_guard {
	_Atomic uintptr_t start, end; // 0: free
	struct hw_guard *next;        // never changes
};

static struct hw_guard *_Atomic hw_guards;
static pthread_mutex_t hw_guards_lock = PTHREAD_MUTEX_INITIALIZER;
static size_t hw_guard_count; // under the lock; the handler is there while it is not 0
static struct sigaction hw_bus_before;
static _Atomic uint64_t hw_cut_count;

// What would have been done without us.
static void hw_bus_pass_on(int number, siginfo_t *info, void *context)
{
	if (hw_bus_before.sa_flags & SA_SIGINFO) {
		hw_bus_before.sa_sigaction(number, info, context);
	} else if (hw_bus_before.sa_handler != SIG_DFL && hw_bus_before.sa_handler != SIG_IGN) {
		hw_bus_before.sa_handler(number);
	} else {
		// The instruction is run again, and ends the program.
		const struct sigaction nothing = { .sa_handler = SIG_DFL };
		sigaction(number, &nothing, NULL);
	}
}

// Only what may be called in a signal handler; mmap() is a system call and nothing else.
static void hw_on_bus(int number, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr, end = 0;
	int os_errno = errno;
	for (struct hw_guard *guard = atomic_load(&hw_guards); guard && !end; guard = guard->next)
		if (at >= atomic_load(&guard->start) && at < atomic_load(&guard->end))
			end = atomic_load(&guard->end);
	if (info->si_code != BUS_ADRERR || !end) {
		hw_bus_pass_on(number, info, context);
		return;
	}
	// From here on there is no file any more: all of it at once, a page a fault would be too many mappings.
	uintptr_t page = at & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
	if (mmap((void *)page, end - page, PROT_READ,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		hw_bus_pass_on(number, info, context);
	else
		atomic_fetch_add(&hw_cut_count, 1);
	errno = os_errno;
}

// A free place in the list, or NULL. Caller holds the lock.
static struct hw_guard *hw_guard_take(void)
{
	for (struct hw_guard *guard = atomic_load(&hw_guards); guard; guard = guard->next)
		if (!atomic_load(&guard->start))
			return guard;
	struct hw_guard *guard = calloc(1, sizeof(*guard));
	if (!guard)
		return NULL;
	guard->next = atomic_load(&hw_guards);
	atomic_store(&hw_guards, guard);
	return guard;
}

bool hw_guard_file(const void *start, size_t bytes)
{
	pthread_mutex_lock(&hw_guards_lock);
	struct hw_guard *guard = hw_guard_take();
	if (guard) {
		atomic_store(&guard->end, (uintptr_t)start + bytes);
		atomic_store(&guard->start, (uintptr_t)start);
		struct sigaction ours = { .sa_sigaction = hw_on_bus,
					  .sa_flags = SA_SIGINFO | SA_ONSTACK };
		sigemptyset(&ours.sa_mask);
		if (!hw_guard_count++)
			sigaction(SIGBUS, &ours, &hw_bus_before);
	}
	pthread_mutex_unlock(&hw_guards_lock);
	return guard;
}

void hw_unguard_file(const void *start)
{
	pthread_mutex_lock(&hw_guards_lock);
	for (struct hw_guard *guard = atomic_load(&hw_guards); guard; guard = guard->next) {
		if (atomic_load(&guard->start) != (uintptr_t)start)
			continue;
		atomic_store(&guard->end, 0);
		atomic_store(&guard->start, 0);
		struct sigaction now;
		// Somebody's that came later stays.
		if (!--hw_guard_count && !sigaction(SIGBUS, NULL, &now) &&
		    now.sa_flags & SA_SIGINFO && now.sa_sigaction == hw_on_bus)
			sigaction(SIGBUS, &hw_bus_before, NULL);
		break;
	}
	pthread_mutex_unlock(&hw_guards_lock);
}

const uint8_t *hw_map_file(int fd, size_t bytes)
{
	void *file = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		return NULL;
	if (hw_guard_file(file, bytes))
		return file;
	munmap(file, bytes);
	return NULL;
}

void hw_unmap_file(const uint8_t *file, size_t bytes)
{
	if (!file)
		return;
	hw_unguard_file(file);
	munmap((void *)file, bytes);
}

uint64_t hw_files_cut(void)
{
	return atomic_load(&hw_cut_count);
}
