/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What /proc/PID says of a live process's mappings and threads.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/live_private.h"

char *hw_live_slurp(const struct hw_live *live, const char *name)
{
	hw_cleanup_close int fd = openat(live->task_fd, name, O_RDONLY | O_CLOEXEC);
	size_t size = 1 << 16, len = 0;
	hw_cleanup_free char *text = fd < 0 ? NULL : malloc(size);
	if (!text)
		return NULL;
	for (;;) {
		ssize_t n = read(fd, text + len, size - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return NULL;
		if (n == 0)
			break;
		len += (size_t)n;
		if (size - len < 1 << 15) {
			char *grown = realloc(text, size * 2);
			if (!grown)
				return NULL;
			text = grown;
			size *= 2;
		}
	}
	text[len] = 0;
	return hw_no_cleanup(text);
}

// The kernel writes a newline in a file name as "\012".
static void hw_live_unescape(char *path)
{
	char *to = path;
	for (const char *from = path; *from;) {
		if (!strncmp(from, "\\012", 4)) {
			*to++ = '\n';
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = 0;
}

// One line of /proc/PID/maps: "start-end perms offset dev inode      path". Modifies the line.
static bool hw_live_parse_map(char *line, struct hw_mapping *ret)
{
	unsigned long long start, end, offset;
	char perms[5];
	int at = 0;
	if (sscanf(line, "%llx-%llx %4s %llx %*s %*s%n", &start, &end, perms, &offset, &at) != 4 ||
	    !at || start >= end)
		return false;
	char *path = line + at;
	path += strspn(path, " ");
	hw_live_unescape(path);
	// A name given by prctl(2) is no file, and a core does not know it.
	if (!strncmp(path, "[anon:", 6) || !strncmp(path, "[anon_shmem:", 12))
		*path = 0;
	if (!strncmp(path, "[vvar_", 6))
		path = "[vvar]"; // kernels since 6.13 split it
	*ret = (struct hw_mapping){
		.start = start,
		.end = end,
		.file_offset = *path == '/' ? offset : 0,
		.flags =
			(perms[0] == 'r' ? HW_MAP_READ : 0) | (perms[1] == 'w' ? HW_MAP_WRITE : 0) |
			(perms[2] == 'x' ? HW_MAP_EXEC : 0) | (perms[3] == 's' ? HW_MAP_SHARED : 0),
		.path = path,
	};
	return true;
}

struct hw_error *hw_live_read_maps(struct hw_live *live)
{
	hw_cleanup_free char *text = hw_live_slurp(live, "maps");
	if (!text && errno == EACCES)
		return hw_error_create(HW_ERROR_OS,
				       "no permission to read the memory map of process %d: run as "
				       "the process's own user or as root",
				       (int)live->target.pid);
	if (!text && errno == ENOMEM)
		return &hw_enomem;
	live->target.mappings.count = 0;
	char *save = NULL;
	for (char *line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save)) {
		struct hw_mapping m;
		if (hw_live_parse_map(line, &m))
			HW_TRY(hw_target_add_mapping(&live->target, &m));
	}
	hw_target_sort_mappings(&live->target);
	if (!live->target.mappings.count)
		return hw_error_create(
			HW_ERROR_NOT_FOUND,
			"process %d has no memory of its own: it has exited, or is a "
			"thread of the kernel",
			(int)live->target.pid);
	return NULL;
}

// "-1 SP PC", "NR ARG×6 SP PC" or "running": the stack pointer of a thread that somebody else stopped.
static hw_addr_t hw_live_read_sp(const struct hw_live *live, pid_t tid)
{
	char path[64], *end;
	snprintf(path, sizeof(path), "../%d/syscall", (int)tid);
	hw_cleanup_free char *text = hw_live_slurp(live, path);
	if (!text || !(end = strrchr(text, ' ')))
		return 0;
	*end = 0;
	char *sp = strrchr(text, ' ');
	return sp ? strtoull(sp + 1, NULL, 16) : 0;
}

struct hw_error *hw_live_read_threads(struct hw_live *live)
{
	size_t count = 0;
	const struct hw_thread *known = live->tracer ? hw_tracer_threads(live->tracer, &count)
						     : NULL;
	live->target.threads.count = 0;
	for (size_t i = 0; i < count; i++)
		if (!hw_vec_push(&live->target.threads, known[i]))
			return &hw_enomem;
	if (live->tracer)
		return NULL;
	int fd = openat(live->proc_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *tasks = fd < 0 ? NULL : fdopendir(fd);
	if (!tasks) {
		if (fd >= 0)
			close(fd);
		return NULL; // it has exited: reads say so
	}
	struct hw_error *err = NULL;
	for (pid_t tid; !err && (tid = hw_proc_next_task(tasks));) {
		struct hw_thread thread = { .tid = tid, .sp = hw_live_read_sp(live, tid) };
		if (!hw_vec_push(&live->target.threads, thread))
			err = &hw_enomem;
	}
	closedir(tasks);
	return err;
}
