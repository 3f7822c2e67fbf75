/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What all sources share: the mapping table and whole reads.
#include "target/target.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "target/window.h"

struct hw_error *hw_target_add_mapping(struct hw_target *target, const struct hw_mapping *mapping)
{
	struct hw_mapping copy = *mapping;
	const char *path = mapping->path ? mapping->path : "";
	uint32_t id = hw_strtab_intern(&target->strings, path, strlen(path));
	if (id == UINT32_MAX)
		return &hw_enomem;
	copy.path = hw_strtab_get(&target->strings, id);
	return hw_vec_push(&target->mappings, copy) ? NULL : &hw_enomem;
}

static int hw_mapping_compare(const void *a, const void *b)
{
	const struct hw_mapping *x = a, *y = b;
	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x->end > y->end) - (x->end < y->end);
}

// A forged core may describe an address twice: the first description of it stays, so that "sorted,
// disjoint" holds for everybody who adds sizes up.
void hw_target_sort_mappings(struct hw_target *target)
{
	struct hw_mapping *m = target->mappings.data;
	size_t count = target->mappings.count, kept = 0;
	if (!count)
		return;
	qsort(m, count, sizeof(*m), hw_mapping_compare);
	for (size_t i = 0; i < count; i++) {
		struct hw_mapping next = m[i];
		if (kept && next.start < m[kept - 1].end) {
			next.file_offset += m[kept - 1].end - next.start;
			next.start = m[kept - 1].end;
		}
		if (next.start < next.end)
			m[kept++] = next;
	}
	target->mappings.count = kept;
}

void hw_target_deinit(struct hw_target *target)
{
	free(target->exe);
	free(target->file_root);
	free(target->shortfall);
	hw_vec_deinit(&target->mappings);
	hw_vec_deinit(&target->threads);
	hw_strtab_deinit(&target->strings);
	target->exe = target->file_root = target->shortfall = NULL;
}

void hw_target_close(struct hw_target *target)
{
	if (target)
		target->ops->close(target);
}

struct hw_error *hw_target_stop(struct hw_target *target)
{
	return target->ops->stop ? target->ops->stop(target) : NULL;
}

struct hw_error *hw_target_run_stopped(struct hw_target *target, void (*run)(void *payload),
				       void *payload)
{
	if (target->ops->run_stopped)
		return target->ops->run_stopped(target, run, payload);
	HW_TRY(hw_target_stop(target));
	run(payload);
	hw_target_resume(target);
	return NULL;
}

char *hw_target_rest(struct hw_target *target)
{
	return target->ops->rest ? target->ops->rest(target) : NULL;
}

uint64_t hw_target_stopped_nanoseconds(const struct hw_target *target)
{
	uint64_t now = target->stop_began ? hw_now_nanoseconds() - target->stop_began : 0;
	return target->stopped_nanoseconds + now;
}

void hw_target_resume(struct hw_target *target)
{
	if (target->ops->resume)
		target->ops->resume(target);
}

struct hw_error *hw_target_refresh(struct hw_target *target)
{
	return target->ops->refresh ? target->ops->refresh(target) : NULL;
}

bool hw_target_is_alive(struct hw_target *target)
{
	return !target->ops->is_alive || target->ops->is_alive(target);
}

size_t hw_target_read_some(struct hw_target *target, hw_addr_t addr, void *buf, size_t len)
{
	if (len && addr + (len - 1) < addr)
		len = (size_t)(0 - addr); // up to the top of the address space, not around it
	return len ? target->ops->read_some(target, addr, buf, len) : 0;
}

bool hw_target_read_word(struct hw_target *target, hw_addr_t addr, uint64_t *ret)
{
	uint8_t word[8];
	unsigned word_bytes = target->machine->word_bytes;
	if (hw_target_read_some(target, addr, word, word_bytes) != word_bytes)
		return false;
	*ret = hw_word(word, word_bytes);
	return true;
}

struct hw_error *hw_target_read(struct hw_target *target, hw_addr_t addr, void *buf, size_t len)
{
	size_t got = hw_target_read_some(target, addr, buf, len);
	if (got == len)
		return NULL;
	if (!hw_target_is_alive(target))
		return hw_error_at(HW_ERROR_FAULT, addr + got,
				   "process %d exited while it was read", (int)target->pid);
	return hw_error_at(HW_ERROR_FAULT, addr + got,
			   "can't read %zu bytes at 0x%llx: nothing readable at 0x%llx in the %s",
			   len, (unsigned long long)addr, (unsigned long long)(addr + got),
			   target->ops->name);
}

size_t hw_target_read_many(struct hw_target *target, struct hw_span *spans, size_t count, void *buf)
{
	size_t missing = 0;
	uint8_t *to = buf;
	for (size_t i = 0; i < count;) {
		size_t read = target->ops->read_many
				      ? target->ops->read_many(target, spans + i, count - i, to)
				      : 0;
		for (; read && i < count; read--, i++) {
			spans[i].is_missing = false;
			to += spans[i].len;
		}
		if (i == count)
			break;
		// The one that stopped the bulk: its source's other ways may still get it.
		size_t got = hw_target_read_some(target, spans[i].addr, to, spans[i].len);
		spans[i].is_missing = got != spans[i].len;
		if (spans[i].is_missing) {
			memset(to, 0, spans[i].len);
			missing++;
		}
		to += spans[i++].len;
	}
	return missing;
}

const void *hw_target_map(struct hw_target *target, hw_addr_t addr, size_t len)
{
	if (!target->ops->map || !len || addr + (len - 1) < addr)
		return NULL;
	return target->ops->map(target, addr, len);
}

hw_addr_t hw_target_next_page(struct hw_target *target, hw_addr_t addr, hw_addr_t end)
{
	hw_addr_t page = hw_align_down(addr, HW_PAGE_BYTES) + HW_PAGE_BYTES, readable_end;
	if (page < addr || page >= end)
		return end;
	for (hw_addr_t before = 0; before != page && page < end;) {
		before = page;
		if (target->ops->next_readable)
			page = hw_max(page, hw_align_down(target->ops->next_readable(target, page,
										     &readable_end),
							  HW_PAGE_BYTES));
		if (target->ops->skip_zeroes)
			page = hw_max(page, hw_align_down(target->ops->skip_zeroes(target, page),
							  HW_PAGE_BYTES));
	}
	return hw_min(page, end);
}

const char *hw_target_kind_word(enum hw_target_kind kind)
{
	switch (kind) {
	case HW_TARGET_LIVE:
		return "live";
	case HW_TARGET_CORE:
		return "core";
	case HW_TARGET_CALLBACK:
		return "callback";
	case HW_TARGET_IMAGE:
		return "image";
	case HW_TARGET_UNKNOWN:
		break;
	}
	return "unknown";
}

const struct hw_mapping *hw_target_find_mapping(const struct hw_target *target, hw_addr_t addr)
{
	const struct hw_mapping *m = target->mappings.data;
	size_t lo = 0, hi = target->mappings.count;
	while (lo < hi) { // first mapping that ends beyond addr
		size_t mid = lo + (hi - lo) / 2;
		if (m[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < target->mappings.count && m[lo].start <= addr ? &m[lo] : NULL;
}
