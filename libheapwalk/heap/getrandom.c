/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What libc's getrandom() maps for itself, where the kernel has it in the vDSO: pages of states, which a fork
// wipes and gdb's gcore leaves out, and a list of the states that no thread uses now. No symbol leads there.
// Unnamed, they would look like anybody's anonymous memory, or like that of another malloc.
//
// Upstream: glibc 2.41 to 2.44 sysdeps/unix/sysv/linux/getrandom.c (grnd_alloc), nptl/descr.h
// (struct pthread.getrandom_buf).
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "heap/heap_internal.h"

enum {
	HW_RANDOM_BSS_MAX = 16 << 20,   // a static program's may be anything
	HW_RANDOM_LIST_MAX = 1 << 16,   // states: a thread has one at most
	HW_RANDOM_STATE_ALIGNMENT = 64, // a state has cache lines of its own
	// struct grnd_alloc: lock, then
	HW_RANDOM_STATES = 8,
	HW_RANDOM_LEN = 16,
	HW_RANDOM_TOTAL = 24,
	HW_RANDOM_CAP = 32,
	HW_RANDOM_BYTES = 40,
};

static int hw_addr_order(const void *a, const void *b)
{
	hw_addr_t x = *(const hw_addr_t *)a, y = *(const hw_addr_t *)b;
	return (x > y) - (x < y);
}

static uint64_t hw_random_page(const struct hw_plain *plain)
{
	return plain->pages.target->page_bytes;
}

static uint64_t hw_gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

// How far states are from each other, when these words are a list of them: none straddles a page, and at
// first each place of a page was listed. 0: they are not.
static uint64_t hw_random_stride(const uint8_t *words, size_t count, uint64_t page_bytes)
{
	uint64_t stride = 0;
	size_t listed = 0;
	for (size_t i = 0; i < count; i++) {
		hw_addr_t state = hw_u64(words + 8 * i);
		if (!state)
			continue;
		listed++;
		stride = hw_gcd(stride, state % page_bytes);
	}
	if (!stride || stride % HW_RANDOM_STATE_ALIGNMENT || listed < page_bytes / stride)
		return 0;
	for (size_t i = 0; i < count; i++)
		if (hw_u64(words + 8 * i) % page_bytes > page_bytes - stride)
			return 0;
	return stride;
}

// Of `bytes`, which may be grnd_alloc. *ret_stride 0: they are not. False: out of memory.
static bool hw_random_read(struct hw_plain *plain, const uint8_t *bytes, uint64_t *ret_stride)
{
	hw_addr_t list = hw_u64(bytes + HW_RANDOM_STATES);
	uint64_t unused = hw_u64(bytes + HW_RANDOM_LEN), total = hw_u64(bytes + HW_RANDOM_TOTAL);
	uint64_t places = hw_u64(bytes + HW_RANDOM_CAP);
	const uint64_t page_bytes = hw_random_page(plain);
	*ret_stride = 0;
	if (!list || list % page_bytes || !total || unused > total || total > places ||
	    places > HW_RANDOM_LIST_MAX || places * 8 % page_bytes)
		return true;
	uint8_t *words = malloc(total * 8);
	bool ok = words;
	if (ok && hw_pages_read(&plain->pages, list, words, total * 8))
		*ret_stride = hw_random_stride(words, total, page_bytes);
	for (size_t i = 0; ok && *ret_stride && i < total; i++)
		if (hw_u64(words + 8 * i))
			ok = hw_vec_push(&plain->random,
					 hw_align_down(hw_u64(words + 8 * i), page_bytes));
	for (hw_addr_t page = list; ok && *ret_stride && page < list + places * 8;
	     page += page_bytes)
		ok = hw_vec_push(&plain->random, page);
	free(words);
	return ok;
}

// The pages of states that threads have taken: their control blocks lead there. False: out of memory.
static bool hw_random_add_taken(struct hw_plain *plain, const struct hw_target *target,
				uint64_t stride)
{
	const uint64_t page_bytes = hw_random_page(plain);
	for (size_t i = 0; i < target->threads.count; i++) {
		uint8_t bytes[HW_PTHREAD_BYTES];
		hw_addr_t tcb = hw_thread_pthread(target, &target->threads.data[i]);
		if (!tcb || !hw_pages_read(&plain->pages, tcb, bytes, sizeof(bytes)))
			continue;
		for (size_t at = 0; at + 8 <= sizeof(bytes); at += 8) {
			hw_addr_t state = hw_u64(bytes + at);
			const struct hw_mapping *m = hw_target_find_mapping(target, state);
			if (m && !*m->path && hw_mapping_is_private_writable(m) &&
			    state % page_bytes % stride == 0 &&
			    state % page_bytes <= page_bytes - stride &&
			    !hw_vec_push(&plain->random, hw_align_down(state, page_bytes)))
				return false;
		}
	}
	return true;
}

static struct hw_module *hw_random_module(struct hw_heap *heap)
{
	struct hw_symbol symbol;
	struct hw_module *libc = hw_modules_with_symbol(heap->in.modules, "gnu_get_libc_version",
							&symbol);
	for (size_t i = 0; !libc && i < hw_modules_count(heap->in.modules); i++) {
		struct hw_module *module = hw_modules_get(heap->in.modules, i);
		if (heap->in.target->exe && !strcmp(module->path, heap->in.target->exe))
			libc = module; // static, without symbols
	}
	return libc;
}

// False: out of memory.
static bool hw_random_find(struct hw_plain *plain, struct hw_heap *heap)
{
	struct hw_module *libc = hw_random_module(heap);
	hw_addr_t bss;
	uint64_t size, stride = 0;
	if (!libc || !hw_module_section(libc, ".bss", &bss, &size))
		return true;
	hw_addr_t end = bss + hw_min(size, HW_RANDOM_BSS_MAX);
	for (hw_addr_t at = hw_align_up(bss, 8); !stride && at < end; at += 8) {
		uint8_t bytes[HW_RANDOM_BYTES];
		if (end - at < sizeof(bytes))
			break;
		if (!hw_pages_read(&plain->pages, at, bytes, sizeof(bytes)))
			at = hw_align_down(at, HW_PAGE_BYTES) + HW_PAGE_BYTES - 8;
		else if (!hw_random_read(plain, bytes, &stride))
			return false;
	}
	if (stride && !hw_random_add_taken(plain, heap->in.target, stride))
		return false;
	if (plain->random.count)
		qsort(plain->random.data, plain->random.count, sizeof(hw_addr_t), hw_addr_order);
	return true;
}

static bool hw_random_has(const struct hw_plain *plain, hw_addr_t page)
{
	return plain->random.count && bsearch(&page, plain->random.data, plain->random.count,
					      sizeof(hw_addr_t), hw_addr_order);
}

bool hw_plain_is_getrandom(struct hw_plain *plain, struct hw_heap *heap, hw_addr_t start,
			   hw_addr_t end)
{
	if (!plain->is_random_sought) {
		plain->is_random_sought = true;
		if (heap->in.target->machine->word_bytes != 8)
			return false; // the kernel has it for 64-bit programs
		// Out of memory for a few pages' names: they keep none.
		if (!hw_random_find(plain, heap))
			hw_vec_deinit(&plain->random);
	}
	for (hw_addr_t page = start; page < end; page += hw_random_page(plain))
		if (!hw_random_has(plain, page))
			return false;
	return true;
}
