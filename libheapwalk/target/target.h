/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Bytes of the target: one reader table, four sources (live.c, core.c, callback.c, image.c fill it in
// the same order). Everything that reads the target goes through here.
//
// The awkward cases, once:
//  - a short read or EINTR is continued by the source, never seen by callers;
//  - a page that a core leaves out comes from the mapped file when the file's build-id (or, for a file
//    without one, its size and the note) matches; else it is missing: a fault here, and counted;
//  - a segment's bytes beyond p_filesz, but inside p_memsz, are missing, not zero, unless the mapping
//    is a file's (then: the file);
//  - a core cut short: everything beyond the end of the file is missing;
//  - a guard page inside a mapping (MADV_GUARD_INSTALL: EIO): a fault at that page only;
//  - addr + len that wraps: a fault.
#ifndef HW_TARGET_TARGET_H
#define HW_TARGET_TARGET_H

#include <sys/types.h>

#include "base/error.h"
#include "base/issues.h"
#include "base/progress.h"
#include "base/strtab.h"
#include "base/vector.h"
#include "target/machine.h"

enum hw_map_flags {
	HW_MAP_READ = 1,
	HW_MAP_WRITE = 2,
	HW_MAP_EXEC = 4,
	HW_MAP_SHARED = 8,
};

struct hw_mapping {
	hw_addr_t start, end;
	uint64_t file_offset; // bytes
	uint32_t flags;       // enum hw_map_flags
	const char *path;     // "" anonymous, "[heap]", "[stack]", a file; borrowed from the target
};

struct hw_thread {
	pid_t tid;
	hw_addr_t sp; // stack pointer, 0 when not known
	hw_addr_t tp; // thread pointer, 0 when not known
};

enum hw_target_kind {
	HW_TARGET_UNKNOWN,
	HW_TARGET_LIVE,
	HW_TARGET_CORE,
	HW_TARGET_CALLBACK,
	HW_TARGET_IMAGE
};

// "live", "core", "callback", "image", "unknown"
const char *hw_target_kind_word(enum hw_target_kind kind);

struct hw_target;
struct hw_read_set;

// A small piece of the target among many.
struct hw_span {
	hw_addr_t addr;
	uint32_t len;
	bool is_missing; // answer: not all of it can be read
};

// One instance per source. `self` is the struct hw_target, first member of the source's own struct.
struct hw_reader_ops {
	const char *name;
	enum hw_target_kind kind;
	bool is_live;        // bytes may change under us between stops
	bool is_thread_safe; // read() may be called by several threads at once
	// As many leading bytes of [addr, addr + len) as can be read: 0 … len. Never an error: a hole
	// is where it stops. Inside one call, bytes after a hole are not looked for.
	size_t (*read_some)(struct hw_target *self, hw_addr_t addr, void *buf, size_t len);
	// Span after span into buf; how many leading spans were read whole. The slot may be NULL:
	// then each is read by read_some.
	size_t (*read_many)(struct hw_target *self, const struct hw_span *spans, size_t count,
			    void *buf);
	// A pointer to all of [addr, addr + len) when the source has it in memory in one piece, else
	// NULL. Valid until the target is closed. The slot may be NULL.
	const void *(*map)(struct hw_target *self, hw_addr_t addr, size_t len);
	// The lowest address from addr on that can be read, UINT64_MAX: none, and where what is readable
	// from there ends. The slot may be NULL: not known without trying.
	hw_addr_t (*next_readable)(struct hw_target *self, hw_addr_t addr, hw_addr_t *ret_end);
	// The lowest address from addr on that may hold anything but zeroes, as far as the source knows that
	// without reading: addr itself where it does not. The slot may be NULL.
	hw_addr_t (*skip_zeroes)(struct hw_target *self, hw_addr_t addr);
	// Stop / let go all threads. Nested calls count. Slots may be NULL (cores, images).
	struct hw_error *(*stop)(struct hw_target *self);
	// See hw_target_run_stopped(). NULL: stop() does as well.
	struct hw_error *(*run_stopped)(struct hw_target *self, void (*run)(void *payload),
					void *payload);
	void (*resume)(struct hw_target *self);
	// Read mappings and threads again. NULL: they never change.
	struct hw_error *(*refresh)(struct hw_target *self);
	// See hw_target_rest(). NULL: this source does not know.
	char *(*rest)(struct hw_target *self);
	// A descriptor of /proc/PID/NAME, for reading; -1: it can't be opened. NULL: no process of this
	// kernel.
	int (*open_proc)(struct hw_target *self, const char *name);
	// NULL: always alive.
	bool (*is_alive)(struct hw_target *self);
	void (*close)(struct hw_target *self); // frees self
};

// Of the smallest pages that any kernel has, and of the largest: aarch64 has 4, 16 or 64 KiB.
enum { HW_PAGE_BYTES = 4096, HW_PAGE_BYTES_MAX = 1 << 16 };

struct hw_target {
	const struct hw_reader_ops *ops;
	pid_t pid;                        // 0: none
	uint64_t birth;                   // of a live process: clock ticks since boot; 0: not known
	const struct hw_machine *machine; // never NULL: one that is not known is refused
	uint64_t page_bytes; // of its kernel's pages; HW_PAGE_BYTES where nothing tells
	char *exe;           // the target's name of its executable (no sysroot), may be NULL
	char *file_root;     // what to put before the target's file names to open them here: the
			     // sysroot, else "/proc/PID/root" of a process that lives in another
			     // root or mount namespace, else ""
	uint64_t stopped_nanoseconds; // how long it stood still for us, stops that ended
	uint64_t stop_began;          // of the stop under way, CLOCK_MONOTONIC; 0: none
	char *shortfall; // why its bytes are not all there, a clause; NULL: nothing is known of that
	struct hw_read_set
		*read_set; // its reads are recorded or replayed (read_set.h); NULL: they are not
	HW_VEC(struct hw_mapping) mappings; // sorted, disjoint
	HW_VEC(struct hw_thread) threads;
	struct hw_strtab strings; // owns the mappings' paths: they outlive a refresh
};

// Refuses, each with one clear sentence: no such process, no permission, a zombie, another machine.
struct hw_error *hw_target_open_live(pid_t pid, const char *sysroot, bool no_stop,
				     struct hw_target **ret) HW_MUST_USE;
// Refuses: no such file, not an ELF core, other byte order, another machine, a core with no memory in it,
// an `exe` that is not the one the core was made from. A core cut short opens; issues and `shortfall` say so. A
// compressed one is unpacked first: `progress` (may be NULL) shows how far that is.
struct hw_error *hw_target_open_core(const char *path, const char *exe, const char *sysroot,
				     struct hw_issues *issues, struct hw_progress *progress,
				     struct hw_target **ret) HW_MUST_USE;
struct hw_error *hw_target_open_callbacks(const struct hw_callbacks *callbacks, const char *exe,
					  const char *sysroot, struct hw_target **ret) HW_MUST_USE;

// An image in memory, for tests: pieces are borrowed.
struct hw_image_piece {
	hw_addr_t addr;
	const void *bytes; // NULL: a mapping whose bytes can't be read
	size_t len;
	uint32_t flags; // enum hw_map_flags
	const char *path;
};
struct hw_error *hw_target_open_image(const struct hw_image_piece *pieces, size_t count,
				      struct hw_target **ret) HW_MUST_USE;

void hw_target_close(struct hw_target *target); // accepts NULL

// A live process, from its next stop on, runs again as soon as its private writable memory was copied into
// ours: reads until hw_target_resume() are of the copy. Where that takes more than half of the memory that is
// available it stays stopped; `issues` (borrowed as long as the target lives) say so.
void hw_target_copy_when_stopped(struct hw_target *target, struct hw_issues *issues);

// The outermost stop also refreshes mappings and threads.
struct hw_error *hw_target_stop(struct hw_target *target) HW_MUST_USE;
// Lets run(payload) see the target as it is at one moment, and stops it for as short a time as can be. Mappings and
// threads are as they were read last: for a look at addresses that are known already. run() is called several
// times, perhaps on other threads, and begins anew each time: the last call counts. Of a live process the first
// ones are rehearsals while it runs, and to copy what they read is all that is done while it is stopped
// (read_set.h). An error: the target could not be stopped, what run() has seen is worth nothing.
struct hw_error *hw_target_run_stopped(struct hw_target *target, void (*run)(void *payload),
				       void *payload) HW_MUST_USE;
void hw_target_resume(struct hw_target *target);
// For how long a live process stood still for us until now.
uint64_t hw_target_stopped_nanoseconds(const struct hw_target *target);

// A live process whose threads all sleep need not be stopped to be read: a text (owned) that says when each
// was on a processor last, NULL when one is there now or nothing tells. What was read between two
// equal answers was read in a process that ran none of its code meanwhile.
char *hw_target_rest(struct hw_target *target);

// Read /proc/PID/maps (and threads) again: live, while stopped (by us or, with no_stop, by somebody
// else). Pointers to mappings are invalid after it, their paths stay. A no-op for other sources.
struct hw_error *hw_target_refresh(struct hw_target *target) HW_MUST_USE;

// All or HW_ERROR_FAULT with the first address that can't be read.
struct hw_error *hw_target_read(struct hw_target *target, hw_addr_t addr, void *buf,
				size_t len) HW_MUST_USE;
// A word of the target's machine: pointer, size_t, long. False: not all of it can be read.
bool hw_target_read_word(struct hw_target *target, hw_addr_t addr, uint64_t *ret);
size_t hw_target_read_some(struct hw_target *target, hw_addr_t addr, void *buf, size_t len);
// Many small pieces, a system call for hundreds of them: all the spans' bytes, one after the other,
// into buf (as many as their lengths add up to). A missing span's bytes are zero. Returns how many
// are missing.
size_t hw_target_read_many(struct hw_target *target, struct hw_span *spans, size_t count,
			   void *buf);
const void *hw_target_map(struct hw_target *target, hw_addr_t addr, size_t len);

// The page after addr's, or the first one after it that has bytes other than zero, where the source knows
// what it lacks and what is zero; at most `end`. A walk over pages takes no longer than there are bytes: a
// forged core has mappings of any size, a real one may be sparse.
hw_addr_t hw_target_next_page(struct hw_target *target, hw_addr_t addr, hw_addr_t end);

// The mapping that contains addr, or NULL.
const struct hw_mapping *hw_target_find_mapping(const struct hw_target *target, hw_addr_t addr);

// Is the process still there? False once it has exited (live only; others: true).
bool hw_target_is_alive(struct hw_target *target);

// Where glibc's struct pthread of a thread is; 0: not known.
static inline hw_addr_t hw_thread_pthread(const struct hw_target *target,
					  const struct hw_thread *thread)
{
	return thread->tp > target->machine->pthread_bytes
		       ? thread->tp - target->machine->pthread_bytes
		       : 0;
}

static inline bool hw_mapping_is_private_writable(const struct hw_mapping *m)
{
	return (m->flags & (HW_MAP_WRITE | HW_MAP_SHARED)) == HW_MAP_WRITE;
}

// For the sources: append a mapping (its path is copied), then sort once.
struct hw_error *hw_target_add_mapping(struct hw_target *target,
				       const struct hw_mapping *mapping) HW_MUST_USE;
void hw_target_sort_mappings(struct hw_target *target);
void hw_target_deinit(struct hw_target *target); // frees what struct hw_target owns, not itself

#endif
