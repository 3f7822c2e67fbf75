/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A live process, through /proc and process_vm_readv(2).
//
// /proc/PID is held open from the start: when the process ends and its pid goes to somebody else, what
// is opened below it fails instead of showing a stranger.
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "target/live_private.h"
#include "target/read_set.h"
#include "target/rest.h"

static size_t hw_live_read_mem(struct hw_live *live, hw_addr_t addr, void *buf, size_t len)
{
	size_t done = 0;
	while (done < len && addr + done <= INT64_MAX) {
		ssize_t n = pread(live->mem_fd, (char *)buf + done, len - done,
				  (off_t)(addr + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) // EIO: a hole, or a guard page
			break;
		done += (size_t)n;
	}
	return done;
}

static size_t hw_live_read_some(struct hw_target *self, hw_addr_t addr, void *buf, size_t len)
{
	struct hw_live *live = (struct hw_live *)self;
	size_t done = 0;
	if (__atomic_load_n(&live->has_no_readv, __ATOMIC_RELAXED))
		return hw_live_read_mem(live, addr, buf, len);
	while (done < len) {
		struct iovec local = { (char *)buf + done, len - done };
		// NOLINTNEXTLINE: the kernel's interface takes remote addresses as pointers
		struct iovec remote = { (void *)(uintptr_t)(addr + done), len - done };
		ssize_t n = process_vm_readv(live->task, &local, 1, &remote, 1, 0);
		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == ENOSYS || errno == EPERM)) {
			__atomic_store_n(&live->has_no_readv, true, __ATOMIC_RELAXED);
			return done +
			       hw_live_read_mem(live, addr + done, (char *)buf + done, len - done);
		}
		break; // EFAULT: a hole; ESRCH: it has exited
	}
	return done;
}

static size_t hw_live_copy_read_some(struct hw_target *self, hw_addr_t addr, void *buf, size_t len)
{
	struct hw_live *live = (struct hw_live *)self;
	size_t done = 0;
	while (live->copy && done < len) {
		size_t have;
		const uint8_t *bytes = hw_copy_at(live->copy, addr + done, &have);
		if (!bytes)
			break;
		have = hw_min(have, len - done);
		memcpy((char *)buf + done, bytes, have);
		done += have;
	}
	// What it can't have changed since, or shares with others.
	return done < len
		       ? done + hw_live_read_some(self, addr + done, (char *)buf + done, len - done)
		       : done;
}

static const void *hw_live_copy_map(struct hw_target *self, hw_addr_t addr, size_t len)
{
	struct hw_live *live = (struct hw_live *)self;
	size_t have;
	const uint8_t *bytes = live->copy ? hw_copy_at(live->copy, addr, &have) : NULL;
	return bytes && have >= len ? bytes : NULL;
}

static size_t hw_live_read_many(struct hw_target *self, const struct hw_span *spans, size_t count,
				void *buf)
{
	struct hw_live *live = (struct hw_live *)self;
	struct iovec remote[IOV_MAX];
	size_t done = 0;
	uint8_t *to = buf;
	if (__atomic_load_n(&live->has_no_readv, __ATOMIC_RELAXED))
		return 0; // hw_target_read_many() takes the other way
	while (done < count) {
		size_t n = hw_min(count - done, IOV_MAX), want = 0, got = 0;
		for (size_t i = 0; i < n; i++) {
			// NOLINTNEXTLINE: the kernel's interface takes remote addresses as pointers
			remote[i].iov_base = (void *)(uintptr_t)spans[done + i].addr;
			remote[i].iov_len = spans[done + i].len;
			want += spans[done + i].len;
		}
		struct iovec local = { to, want };
		ssize_t result = process_vm_readv(live->task, &local, 1, remote, n, 0);
		if (result < 0 && errno == EINTR)
			continue;
		if (result <= 0)
			return done;
		// What was read ends inside a span when its second page is missing.
		for (size_t i = 0; i < n && got + spans[done].len <= (size_t)result; i++)
			got += spans[done++].len;
		if (got < want)
			return done;
		to += want;
	}
	return done;
}

// Opens /proc/PID/mem of the program that runs now: a descriptor from before an execve shows the old one.
static struct hw_error *hw_live_open_mem(struct hw_live *live)
{
	int fd = openat(live->task_fd, "mem", O_RDONLY | O_CLOEXEC);
	if (fd < 0 && (errno == EACCES || errno == EPERM))
		return hw_error_create(
			HW_ERROR_OS,
			"no permission to read process %d: run as root, or with "
			"CAP_SYS_PTRACE, or as the process's own user with "
			"/proc/sys/kernel/yama/ptrace_scope at 0 (of a setuid program nobody "
			"else may)",
			(int)live->target.pid);
	if (fd < 0 && (errno == ENOENT || errno == ESRCH))
		return hw_error_create(HW_ERROR_NOT_FOUND, "process %d has exited",
				       (int)live->target.pid);
	if (fd < 0)
		return hw_error_os(errno, "can't open /proc/%d/mem", (int)live->target.pid);
	if (live->mem_fd >= 0)
		close(live->mem_fd);
	live->mem_fd = fd;
	return NULL;
}

static bool hw_live_is_ended(char state)
{
	return !state || state == 'Z' || state == 'X';
}

// Finds a thread that lives, the main one if it can be. False: the process has exited.
static bool hw_live_find_task(struct hw_live *live)
{
	char path[64];
	if (live->task_fd >= 0 && !hw_live_is_ended(hw_proc_state(live->proc_fd, live->task)))
		return true;
	int fd = openat(live->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd < 0 ? NULL : fdopendir(fd);
	if (!tasks) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	pid_t tid;
	while ((tid = hw_proc_next_task(tasks)) &&
	       hw_live_is_ended(hw_proc_state(live->proc_fd, tid)))
		;
	closedir(tasks);
	snprintf(path, sizeof(path), "task/%d", (int)tid);
	fd = tid ? openat(live->proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0)
		return false;
	if (live->task_fd >= 0)
		close(live->task_fd);
	live->task_fd = fd;
	live->task = tid;
	return true;
}

// Nobody stopped it, not even somebody else: then what is read is of no one moment.
static struct hw_error *hw_live_note_race(struct hw_live *live)
{
	hw_vec_foreach(thread, &live->target.threads)
	{
		char state = hw_proc_state(live->proc_fd, thread->tid);
		if (live->target.shortfall || !state || strchr("tTZX", state))
			continue;
		live->target.shortfall = strdup(
			"the process ran while it was read, what it changed "
			"meanwhile may be counted twice or not at all");
		if (!live->target.shortfall)
			return &hw_enomem;
	}
	return NULL;
}

static struct hw_error *hw_live_refresh(struct hw_target *self)
{
	struct hw_live *live = (struct hw_live *)self;
	if (live->copy && !live->tracer)
		return NULL; // it runs again: what is known is of the moment of the copy
	if (!hw_live_find_task(live))
		return hw_error_create(HW_ERROR_NOT_FOUND, "process %d has exited", (int)self->pid);
	HW_TRY(hw_live_open_mem(live));
	HW_TRY(hw_live_read_maps(live));
	HW_TRY(hw_live_read_threads(live));
	// A program that looks at itself knows what it does meanwhile.
	return live->no_stop && self->pid != getpid() ? hw_live_note_race(live) : NULL;
}

static void hw_live_let_go(struct hw_live *live)
{
	if (!live->tracer)
		return;
	uint64_t ended = hw_tracer_resume(live->tracer);
	live->tracer = NULL;
	live->target.stopped_nanoseconds += ended - live->target.stop_began;
	live->target.stop_began = 0;
}

static void hw_live_resume(struct hw_target *self)
{
	struct hw_live *live = (struct hw_live *)self;
	if (!live->stop_count || --live->stop_count)
		return;
	hw_live_let_go(live);
	hw_copy_free(live->copy);
	live->copy = NULL;
}

static int hw_live_open_proc(struct hw_target *self, const char *name)
{
	if (((struct hw_live *)self)->copy)
		return -1; // it runs: the kernel would tell of another moment than the copy's
	return openat(((struct hw_live *)self)->task_fd, name, O_RDONLY | O_CLOEXEC);
}

static bool hw_live_is_alive(struct hw_target *self)
{
	if (((struct hw_live *)self)->copy)
		return true; // as far as the copy goes
	return hw_live_find_task((struct hw_live *)self);
}

// NULL: it stays stopped, and an issue says why.
static struct hw_copy *hw_live_prepare_copy(struct hw_live *live, int pagemap_fd)
{
	struct hw_copy *copy = NULL;
	struct hw_error *err = hw_live_find_task(live) ? hw_live_read_maps(live) : NULL;
	if (!err)
		err = hw_copy_prepare(&live->target, pagemap_fd, &copy);
	if (err && live->issues)
		hw_issues_add(live->issues, HW_ERROR_OS, 0,
			      "process %d is not copied but stays stopped while it is read: %s",
			      (int)live->target.pid, err->message);
	hw_error_destroy(err);
	return copy;
}

static struct hw_error *hw_live_stop(struct hw_target *self)
{
	struct hw_live *live = (struct hw_live *)self;
	if (live->stop_count++)
		return NULL;
	struct hw_error *err = NULL;
	hw_cleanup_close int pagemap_fd = -1;
	struct hw_copy *copy = NULL;
	if (!hw_live_is_alive(self))
		err = hw_error_create(HW_ERROR_NOT_FOUND, "process %d has exited", (int)self->pid);
	if (!err && live->copies) {
		pagemap_fd = openat(live->task_fd, "pagemap", O_RDONLY | O_CLOEXEC);
		copy = hw_live_prepare_copy(live, pagemap_fd);
	}
	if (!err && !live->no_stop) {
		err = hw_tracer_stop(self->pid, live->proc_fd, self->machine, &live->tracer);
		if (!err)
			self->stop_began = hw_tracer_began(live->tracer);
	}
	if (!err)
		err = hw_live_refresh(self);
	if (!err && copy) {
		err = hw_copy_take(copy, self, pagemap_fd, hw_live_read_some);
		if (!err) {
			live->copy = copy;
			copy = NULL;
			hw_live_let_go(live);
		}
	}
	hw_copy_free(copy);
	if (err)
		hw_live_resume(self);
	return err;
}

// One look at a process that is stopped for no longer than it takes to copy what the look reads.
struct hw_live_look {
	void (*run)(void *payload);
	void *payload;
	struct hw_read_set *reads; // owned by hw_live_look_once()
	bool is_foreseen;          // what it reads: the rehearsals read the same
	bool is_last; // the answer must come now: it looks while the process is stopped
	bool is_done;
};

static void hw_live_rehearse(void *arg)
{
	struct hw_live_look *look = arg;
	hw_read_set_begin_record(look->reads);
	look->run(look->payload);
	hw_read_set_end(look->reads);
	look->is_foreseen = !look->is_last && hw_read_set_seal(look->reads) &&
			    hw_read_set_fill(look->reads);
	if (!look->is_foreseen)
		return;
	// What goes astray even now, because the heap grows all the time, would do so again.
	hw_read_set_begin_replay(look->reads);
	look->run(look->payload);
	hw_read_set_end(look->reads);
	look->is_foreseen = !hw_read_set_has_missed(look->reads) && hw_read_set_fill(look->reads);
}

static void hw_live_take(void *arg)
{
	struct hw_live_look *look = arg;
	look->is_foreseen = look->is_foreseen && hw_read_set_fill(look->reads);
	if (look->is_foreseen)
		return;
	look->run(look->payload);
	look->is_done = true;
}

static struct hw_error *hw_live_look_once(struct hw_live *live, struct hw_live_look *look)
{
	struct hw_target *target = &live->target;
	uint64_t nanoseconds = 0;
	HW_TRY(hw_read_set_create(target, &look->reads));
	struct hw_error *err = hw_tracer_run_stopped(target->pid, live->proc_fd, target->machine,
						     hw_live_rehearse, hw_live_take, look,
						     &nanoseconds);
	target->stopped_nanoseconds += nanoseconds;
	if (!err && !look->is_done) {
		hw_read_set_begin_replay(look->reads);
		look->run(look->payload);
		look->is_done = !hw_read_set_has_missed(look->reads);
	}
	hw_read_set_destroy(look->reads);
	return err;
}

static struct hw_error *hw_live_run_stopped(struct hw_target *self, void (*run)(void *payload),
					    void *payload)
{
	struct hw_live *live = (struct hw_live *)self;
	struct hw_live_look look = { .run = run, .payload = payload };
	struct hw_error *err = NULL;
	if (!hw_live_is_alive(self))
		return hw_error_create(HW_ERROR_NOT_FOUND, "process %d has exited", (int)self->pid);
	if (live->stop_count++ || live->no_stop) {
		run(payload);
		look.is_done = true;
	}
	while (!err && !look.is_done) {
		err = hw_live_look_once(live, &look);
		look.is_last = true;
	}
	live->stop_count--;
	return err;
}

static char *hw_live_rest(struct hw_target *self)
{
	return hw_proc_rest(((struct hw_live *)self)->proc_fd);
}

static void hw_live_close(struct hw_target *self)
{
	struct hw_live *live = (struct hw_live *)self;
	hw_tracer_resume(live->tracer);
	hw_copy_free(live->copy);
	if (live->mem_fd >= 0)
		close(live->mem_fd);
	if (live->task_fd >= 0)
		close(live->task_fd);
	if (live->proc_fd >= 0)
		close(live->proc_fd);
	hw_target_deinit(self);
	free(live);
}

static const struct hw_reader_ops hw_live_ops = {
	.name = "live process",
	.kind = HW_TARGET_LIVE,
	.is_live = true,
	.is_thread_safe = true,
	.read_some = hw_live_read_some,
	.read_many = hw_live_read_many,
	.stop = hw_live_stop,
	.run_stopped = hw_live_run_stopped,
	.resume = hw_live_resume,
	.refresh = hw_live_refresh,
	.rest = hw_live_rest,
	.open_proc = hw_live_open_proc,
	.is_alive = hw_live_is_alive,
	.close = hw_live_close,
};

static const struct hw_reader_ops hw_live_copy_ops = {
	.name = "live process",
	.kind = HW_TARGET_LIVE,
	.is_live = true,
	.is_thread_safe = true,
	.read_some = hw_live_copy_read_some,
	.map = hw_live_copy_map,
	.stop = hw_live_stop,
	.resume = hw_live_resume,
	.refresh = hw_live_refresh,
	.open_proc = hw_live_open_proc,
	.is_alive = hw_live_is_alive,
	.close = hw_live_close,
};

void hw_target_copy_when_stopped(struct hw_target *target, struct hw_issues *issues)
{
	struct hw_live *live = (struct hw_live *)target;
	if (target->ops != &hw_live_ops || live->no_stop)
		return;
	live->copies = true;
	live->issues = issues;
	target->ops = &hw_live_copy_ops;
}

// The target's own name of its executable, and whether this is a program that we can read.
static struct hw_error *hw_live_check_exe(struct hw_live *live)
{
	int pid = (int)live->target.pid;
	char name[PATH_MAX];
	ssize_t n = readlinkat(live->task_fd, "exe", name, sizeof(name) - 1);
	if (n < 0 && (errno == EACCES || errno == EPERM))
		return hw_error_create(
			HW_ERROR_OS,
			"no permission to read process %d: run as root, or with "
			"CAP_SYS_PTRACE, or as the process's own user with "
			"/proc/sys/kernel/yama/ptrace_scope at 0 (of a setuid program nobody "
			"else may)",
			pid);
	if (n < 0)
		return hw_error_create(
			HW_ERROR_NOT_FOUND,
			"process %d has no memory of its own: it has exited, or is a "
			"thread of the kernel",
			pid);
	name[n] = 0;
	live->target.exe = strdup(name);
	if (!live->target.exe)
		return &hw_enomem;
	hw_cleanup_close int fd = openat(live->task_fd, "exe", O_RDONLY | O_CLOEXEC);
	uint8_t head[sizeof(Elf64_Ehdr)];
	ssize_t got = fd < 0 ? -1 : read(fd, head, sizeof(head));
	Elf64_Ehdr header;
	if (got < 0 || !hw_elf_get_ehdr(head, (size_t)got, &header))
		return NULL; // execute permission only: the map tells the rest
	live->target.machine = hw_machine_find(header.e_machine, header.e_ident[EI_CLASS]);
	if (!live->target.machine)
		return hw_error_create(HW_ERROR_UNSUPPORTED,
				       "process %d (%s) is a program for ELF machine %u, %u bits: "
				       "heapwalk reads programs of " HW_MACHINES_TEXT,
				       pid, name, header.e_machine,
				       header.e_ident[EI_CLASS] == ELFCLASS32 ? 32u : 64u);
	return NULL;
}

// "" when the process sees the same files as we do: its names then work as they are, also after its end.
static char *hw_live_file_root(const struct hw_live *live)
{
	char ours[64], theirs[64], *root;
	struct stat our_root, their_root;
	ssize_t a = readlink("/proc/self/ns/mnt", ours, sizeof(ours));
	ssize_t b = readlinkat(live->task_fd, "ns/mnt", theirs, sizeof(theirs));
	if (a > 0 && a == b && !memcmp(ours, theirs, (size_t)a) && !stat("/", &our_root) &&
	    !fstatat(live->task_fd, "root", &their_root, 0) &&
	    our_root.st_dev == their_root.st_dev && our_root.st_ino == their_root.st_ino)
		return strdup("");
	return asprintf(&root, "/proc/%d/root", (int)live->target.pid) < 0 ? NULL : root;
}

// A thread's number has a /proc directory too, but only its process can be stopped as a whole.
static struct hw_error *hw_live_check_pid(struct hw_live *live)
{
	int pid = (int)live->target.pid;
	if (!hw_live_find_task(live))
		return hw_error_create(
			HW_ERROR_NOT_FOUND,
			"process %d is a zombie: it has exited and its memory is gone", pid);
	hw_cleanup_free char *status = hw_live_slurp(live, "status");
	const char *line = status ? strstr(status, "\nTgid:") : NULL;
	long process = line ? strtol(line + 6, NULL, 10) : 0;
	if (process > 0 && process != pid)
		return hw_error_create(HW_ERROR_INVALID,
				       "%d is a thread of process %ld: give the process's number",
				       pid, process);
	return NULL;
}

// Field 22 of /proc/PID/stat, behind a name that may have anything in it. 0: not known.
static uint64_t hw_live_birth(const struct hw_live *live)
{
	char text[1024];
	hw_cleanup_close int fd = openat(live->proc_fd, "stat", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	text[n < 0 ? 0 : n] = 0;
	const char *at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

struct hw_error *hw_target_open_live(pid_t pid, const char *sysroot, bool no_stop,
				     struct hw_target **ret)
{
	char path[64];
	if (pid <= 0)
		return hw_error_create(HW_ERROR_INVALID, "%d is not a process number", (int)pid);
	struct hw_live *live = calloc(1, sizeof(*live));
	if (!live)
		return &hw_enomem;
	struct hw_target *target = &live->target;
	target->ops = &hw_live_ops;
	target->pid = pid;
	target->machine = hw_machine_host() ? hw_machine_host() : hw_machine_default();
	target->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	hw_strtab_init(&target->strings);
	live->no_stop = no_stop;
	live->mem_fd = live->task_fd = -1;
	live->task = pid;
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	live->proc_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct hw_error *err = NULL;
	if (live->proc_fd < 0)
		err = errno == ENOENT ? hw_error_create(HW_ERROR_NOT_FOUND,
							"no process has number %d", (int)pid)
				      : hw_error_os(errno, "can't open %s", path);
	if (!err)
		err = hw_live_check_pid(live);
	if (!err)
		err = hw_live_check_exe(live);
	if (!err)
		err = hw_live_refresh(target);
	if (!err) {
		target->file_root = sysroot ? strdup(sysroot) : hw_live_file_root(live);
		if (!target->file_root)
			err = &hw_enomem;
	}
	if (err) {
		hw_live_close(target);
		return err;
	}
	target->birth = hw_live_birth(live);
	*ret = target;
	return NULL;
}
