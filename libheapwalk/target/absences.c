/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "target/absences.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

enum { HW_ABSENT_PAGE_BYTES = 4096, HW_ABSENCES_MAX = 1 << 16 };

void hw_absences_init(struct hw_absences *absences)
{
	*absences = (struct hw_absences){ .lock = PTHREAD_MUTEX_INITIALIZER };
}

void hw_absences_deinit(struct hw_absences *absences)
{
	hw_vec_deinit(&absences->list);
	pthread_mutex_destroy(&absences->lock);
}

const char *hw_target_absent_file(struct hw_target *target, hw_addr_t addr)
{
	uint8_t byte;
	if (target->ops->is_live)
		return NULL;
	const struct hw_mapping *m = hw_target_find_mapping(target, addr);
	if (!m || *m->path != '/' || m->flags & HW_MAP_SHARED)
		return NULL;
	return hw_target_read_some(target, addr, &byte, 1) ? NULL : m->path;
}

const char *hw_target_absent_text(struct hw_target *target, hw_addr_t addr)
{
	const char *path = hw_target_absent_file(target, addr);
	if (path || addr > UINT64_MAX - HW_ABSENT_PAGE_BYTES)
		return path;
	return hw_target_absent_file(target, hw_align_up(addr + 1, HW_ABSENT_PAGE_BYTES));
}

// Few files, and their names are interned: equal text, equal pointer. The caller holds the lock.
static struct hw_absence *hw_absences_find(struct hw_absences *absences, const char *path)
{
	hw_vec_foreach(absence, &absences->list) if (absence->path == path) return absence;
	return NULL;
}

bool hw_absences_have(struct hw_absences *absences, const char *path)
{
	pthread_mutex_lock(&absences->lock);
	bool is_there = hw_absences_find(absences, path);
	pthread_mutex_unlock(&absences->lock);
	return is_there;
}

void hw_absences_add(struct hw_absences *absences, const char *path, uint64_t block_count,
		     uint64_t bytes)
{
	pthread_mutex_lock(&absences->lock);
	struct hw_absence *found = hw_absences_find(absences, path);
	struct hw_absence absence = { .path = path };
	if (!found && absences->list.count < HW_ABSENCES_MAX &&
	    hw_vec_push(&absences->list, absence))
		found = &absences->list.data[absences->list.count - 1];
	if (found) {
		found->block_count += block_count;
		found->bytes += bytes;
	}
	pthread_mutex_unlock(&absences->lock);
}

int hw_absent_name(char *buf, size_t size, const char *what, const char *path)
{
	const char *slash = strrchr(path, '/');
	return snprintf(buf, size, "%s (%s)", what, slash ? slash + 1 : path);
}
