/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What no allocator claims: stacks, files' data, what libc and ld.so map for themselves. A mapping that
// none of these proves stays unknown, and is shown as that.
//
// Upstream: glibc nptl/allocatestack.c (stacks and their cache), sysdeps/x86_64/nptl/tls.h (tcbhead_t),
// elf/link.h (r_debug, link_map), elf/dl-minimal.c, malloc/arena.c (heap_info).
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "heap/heap_internal.h"

enum {
	HW_LINK_MAPS_MAX = 1 << 16,
	HW_LINK_MAP_BYTES = 1024, // less than any glibc's struct link_map, and most pointers of it
	HW_LOADER_MAPPING_MAX = 1 << 20, // ld.so maps a few pages at a time for itself
	HW_TCB_SEARCH =
		16 << 10, // above the stack there are the thread's control block and variables
	HW_TCB_ALIGNMENT = 64,
	HW_TLS_MODULES_MAX = 1 << 12,
	// What ld.so maps at once for the main thread's variables, and has room left in for its own.
	HW_TLS_BESIDE_MAX = 16 << 10,
};

// ---- ld.so's own ----

static int hw_addr_order(const void *a, const void *b)
{
	hw_addr_t x = *(const hw_addr_t *)a, y = *(const hw_addr_t *)b;
	return (x > y) - (x < y);
}

// The words of a link_map lead to its files, to other link_maps, and to what was allocated for them.
static bool hw_plain_add_link_map(struct hw_plain *plain, hw_addr_t link_map)
{
	uint8_t bytes[HW_LINK_MAP_BYTES];
	if (!hw_vec_push(&plain->loader, link_map))
		return false;
	if (!hw_pages_read(&plain->pages, link_map, bytes, sizeof(bytes)))
		return true;
	const unsigned word_bytes = plain->pages.target->machine->word_bytes;
	for (size_t i = 0; i < sizeof(bytes); i += word_bytes) {
		hw_addr_t word = hw_word(bytes + i, word_bytes);
		if (word >= HW_PAGE_BYTES && word < 1ull << HW_ADDRESS_BITS &&
		    !hw_vec_push(&plain->loader, word))
			return false;
	}
	return true;
}

bool hw_plain_init(struct hw_plain *plain, struct hw_heap *heap)
{
	struct hw_symbol debug;
	const unsigned word_bytes = heap->in.target->machine->word_bytes;
	hw_pages_init(&plain->pages, heap->in.target);
	// Where another malloc is in force, what nothing else explains is that one's.
	const char *other = heap->in.glibc->other.name;
	plain->anonymous =
		!other ? HW_CATEGORY_ANONYMOUS
		       : hw_category_intern(&heap->categories,
					    &(struct hw_category){ .domain = other,
								   .kind = HW_OTHER_MALLOC_KIND,
								   .detail = "not walked",
								   .state = HW_STATE_UNKNOWN,
								   .state_word = "unknown" },
					    HW_CLAIM_KIND_COUNT);
	hw_addr_t map;
	// struct r_debug: version, then the first link_map; a link_map's fourth word is the next one
	if (!hw_modules_with_symbol(heap->in.modules, "_r_debug", &debug) || debug.is_tls ||
	    !hw_pages_read_word(&plain->pages, debug.address + word_bytes, &map))
		return true;
	for (unsigned i = 0; map && i < HW_LINK_MAPS_MAX; i++) {
		if (!hw_plain_add_link_map(plain, map))
			return false;
		if (!hw_pages_read_word(&plain->pages, map + 3 * word_bytes, &map))
			break;
	}
	if (plain->loader.count)
		qsort(plain->loader.data, plain->loader.count, sizeof(hw_addr_t), hw_addr_order);
	return true;
}

void hw_plain_deinit(struct hw_plain *plain)
{
	hw_pages_deinit(&plain->pages);
	hw_vec_deinit(&plain->loader);
	hw_vec_deinit(&plain->random);
}

static bool hw_plain_is_loader(const struct hw_plain *plain, hw_addr_t start, hw_addr_t end)
{
	size_t low = 0, high = plain->loader.count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (plain->loader.data[middle] < start)
			low = middle + 1;
		else
			high = middle;
	}
	return end - start <= HW_LOADER_MAPPING_MAX && low < plain->loader.count &&
	       plain->loader.data[low] < end;
}

// ---- stacks and thread control blocks ----

static bool hw_heap_has_stack(const struct hw_heap *heap, hw_addr_t start, hw_addr_t end)
{
	const struct hw_target *target = heap->in.target;
	for (size_t i = 0; i < target->threads.count; i++)
		if (target->threads.data[i].sp >= start && target->threads.data[i].sp < end)
			return true;
	return false;
}

// Is [start, end) a stack whose thread lives? gdb's stop does not tell us thread pointers: then the
// control block says which thread it is (struct pthread.tid, which the kernel clears at the thread's end).
static bool hw_plain_is_live(struct hw_plain *plain, const struct hw_heap *heap, hw_addr_t tcb,
			     hw_addr_t start, hw_addr_t end)
{
	const struct hw_target *target = heap->in.target;
	const struct hw_machine *machine = target->machine;
	for (size_t i = 0; i < target->threads.count && !machine->has_tls_below; i++)
		if (target->threads.data[i].tp >= start && target->threads.data[i].tp < end)
			return true;
	if (!machine->has_tls_below)
		return false;
	uint32_t tid = 0;
	hw_pages_read_u32(&plain->pages, tcb + machine->pthread_tid, &tid);
	for (size_t i = 0; i < target->threads.count; i++) {
		const struct hw_thread *thread = &target->threads.data[i];
		if (thread->tp ? thread->tp == tcb : (uint32_t)thread->tid == tid)
			return true;
	}
	return false;
}

// A thread's control block begins with its own address, and has it again as `self`. 0: none.
static hw_addr_t hw_plain_next_tcb(struct hw_plain *plain, hw_addr_t from, hw_addr_t end)
{
	const unsigned word = plain->pages.target->machine->word_bytes;
	for (hw_addr_t tcb = hw_align_up(from, HW_TCB_ALIGNMENT);
	     tcb < end && end - tcb >= 3 * word; tcb += HW_TCB_ALIGNMENT) {
		uint8_t words[3 *
			      8]; // of one page: it is larger than they are, and they are aligned
		if (!hw_pages_read(&plain->pages, tcb, words, 3 * word))
			tcb = hw_target_next_page(plain->pages.target, tcb, end) - HW_TCB_ALIGNMENT;
		else if (hw_word(words, word) == tcb && hw_word(words + 2 * word, word) == tcb)
			return tcb;
	}
	return 0;
}

// Does a thread's control block say that its stack is this mapping, below a guard perhaps? It has the
// stack's start and size side by side.
static bool hw_tcb_owns_stack(struct hw_plain *plain, hw_addr_t tcb, hw_addr_t start, hw_addr_t end)
{
	uint8_t bytes[HW_PTHREAD_BYTES];
	size_t len = (size_t)hw_min(sizeof(bytes), end - tcb);
	if (!hw_pages_read(&plain->pages, tcb, bytes, len))
		return false;
	const unsigned word = plain->pages.target->machine->word_bytes;
	for (size_t i = 0; i + 2 * word <= len; i += word) {
		hw_addr_t block = hw_word(bytes + i, word);
		uint64_t size = hw_word(bytes + i + word, word);
		if (block <= start && block && size == end - block)
			return true;
	}
	return false;
}

// glibc's pthread_create() puts the control block at the end of the stack that it maps. 0: no stack.
static hw_addr_t hw_plain_stack_tcb(struct hw_plain *plain, hw_addr_t start, hw_addr_t end)
{
	hw_addr_t tcb = end - hw_min(HW_TCB_SEARCH, end - start);
	// Where the control block does not begin with its own address: wherever it is, by what it says.
	for (; !plain->pages.target->machine->has_tls_below; tcb += HW_PTHREAD_BYTES / 2) {
		if (tcb >= end)
			return 0;
		if (hw_tcb_owns_stack(plain, tcb, start, end))
			return tcb;
	}
	while ((tcb = hw_plain_next_tcb(plain, tcb, end))) {
		if (hw_tcb_owns_stack(plain, tcb, start, end))
			return tcb;
		tcb += HW_TCB_ALIGNMENT;
	}
	return 0;
}

// ---- variables of threads without a stack of their own mapping: the main thread's ----

// tcbhead_t.dtv, the control block's second word (sysdeps/x86_64/nptl/tls.h, sysdeps/i386/nptl/tls.h; dtv_t is two
// words): what the loaded modules' variables are of this thread, those below the control block in one piece with
// it. Else they are blocks of malloc's, or not there yet. Where the first of them begins, or tcb.
static hw_addr_t hw_tls_first(struct hw_plain *plain, hw_addr_t start, hw_addr_t tcb)
{
	const unsigned word = plain->pages.target->machine->word_bytes;
	hw_addr_t dtv, count, at, first = tcb;
	if (!hw_pages_read_word(&plain->pages, tcb + word, &dtv) || dtv < 2 * word ||
	    !hw_pages_read_word(&plain->pages, dtv - 2 * word, &count))
		return tcb; // dtv[-1].counter
	count = hw_min(count, HW_TLS_MODULES_MAX);
	for (hw_addr_t i = 1; i <= count; i++)
		if (hw_pages_read_word(&plain->pages, dtv + i * 2 * word, &at) && at >= start &&
		    at < first)
			first = at;
	return first;
}

// The pages of [start, end) that are a thread's variables for sure. What ld.so maps for them it fills up with
// its own; but the kernel joins mappings that touch, and then most may be anybody's. False: no thread's.
static bool hw_plain_find_tls(struct hw_plain *plain, hw_addr_t start, hw_addr_t end,
			      hw_addr_t *ret_start, hw_addr_t *ret_end)
{
	const struct hw_target *target = plain->pages.target;
	hw_addr_t tcb = end - start <= HW_LOADER_MAPPING_MAX ? hw_plain_next_tcb(plain, start, end)
							     : 0;
	for (size_t i = 0; i < target->threads.count && !tcb; i++) {
		hw_addr_t tp = target->threads.data[i].tp;
		if (tp >= start && tp < end && hw_plain_next_tcb(plain, tp, tp + 1) == tp)
			tcb = tp;
	}
	if (!tcb)
		return false;
	*ret_start = hw_max(hw_align_down(hw_tls_first(plain, start, tcb), target->page_bytes),
			    start);
	*ret_end = hw_min(hw_align_up(tcb + HW_PTHREAD_BYTES, target->page_bytes), end);
	if (end - start - (*ret_end - *ret_start) <= HW_TLS_BESIDE_MAX) {
		*ret_start = start;
		*ret_end = end;
	}
	return true;
}

// ---- thread heaps ----

bool hw_heap_add_tails(struct hw_heap *heap, hw_stretch_vec *claims)
{
	struct hw_pages pages;
	bool ok = true;
	hw_pages_init(&pages, heap->in.target);
	for (size_t i = 0; ok && i < heap->in.glibc->regions.count; i++) {
		const struct hw_region *region = &heap->in.glibc->regions.data[i];
		const struct hw_mapping *m = region->kind == HW_REGION_HEAP
						     ? hw_target_find_mapping(heap->in.target,
									      region->end)
						     : NULL;
		uint64_t size;
		// heap_info.mprotect_size: as far as it is writable; heap_trim() only lowers heap_info.size
		if (!m || !hw_mapping_is_private_writable(m) ||
		    !hw_pages_read_word(&pages,
					region->start + 3 * heap->in.target->machine->word_bytes,
					&size) ||
		    size <= region->end - region->start || size > m->end - region->start)
			continue;
		ok = hw_vec_push(claims,
				 ((struct hw_stretch){ region->end, region->start + size,
						       HW_STRETCH_PLAIN, HW_CATEGORY_HEAP_TAIL }));
	}
	hw_pages_deinit(&pages);
	return ok;
}

// ---- files ----

static const char *hw_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static uint32_t hw_file_category(struct hw_heap *heap, const char *path, const char *section)
{
	return hw_category_intern(&heap->categories,
				  &(struct hw_category){ .domain = "file",
							 .kind = hw_base_name(path),
							 .detail = section,
							 .state = HW_STATE_IN_USE,
							 .state_word = "in use" },
				  HW_CLAIM_KIND_COUNT);
}

// Where the .bss ends that begins where m does; m->start: there is none.
static hw_addr_t hw_bss_end(struct hw_heap *heap, const struct hw_mapping *m,
			    const struct hw_mapping *data)
{
	hw_addr_t bss;
	uint64_t bytes, page = heap->in.target->page_bytes;
	struct hw_module *module = data ? hw_modules_at(heap->in.modules, data->start) : NULL;
	if (!module || !hw_module_section(module, ".bss", &bss, &bytes) || bss >= m->end ||
	    bytes > m->end - bss + page || bss + bytes <= m->start)
		return m->start;
	return hw_min(hw_align_up(bss + bytes, page), m->end);
}

// ---- arenas that nothing leads to ----

// At least half of the places where pools may begin have one: a part of an arena is never carved.
static bool hw_plain_is_unlisted(struct hw_plain *plain, const struct hw_heap *heap,
				 hw_addr_t start, hw_addr_t end)
{
	const struct hw_pymalloc *pm = heap->in.pymalloc;
	const struct hw_python_layout *layout = &heap->in.python->layout;
	if (!pm->arenas.count || layout->obmalloc_state_size == HW_ABSENT ||
	    end - start < pm->arena_bytes)
		return false;
	// A look at its beginning is enough to know that most mappings are none.
	uint64_t places = (end - start) / pm->pool_bytes;
	if (!hw_pymalloc_count_unlisted(pm, layout, start, start + pm->arena_bytes) ||
	    hw_pymalloc_count_unlisted(pm, layout, start, end) < places / 2)
		return false;
	if (!plain->unlisted_bytes)
		plain->first_unlisted = start;
	plain->unlisted_bytes += end - start;
	return true;
}

void hw_plain_report(const struct hw_plain *plain, struct hw_issues *issues)
{
	if (plain->unlisted_bytes)
		hw_issues_add(
			issues, HW_ERROR_UNSUPPORTED, plain->first_unlisted,
			"%llu bytes, the first at 0x%llx, are arenas that no interpreter lists: "
			"one that has ended left blocks in use behind; they are not walked, "
			"and shown as unknown",
			(unsigned long long)plain->unlisted_bytes,
			(unsigned long long)plain->first_unlisted);
}

// ---- all of it ----

// What a mapping has that a thread's variables are in, besides them: ld.so's, or anybody's.
static uint32_t hw_anonymous_beside(const struct hw_heap *heap, struct hw_plain *plain,
				    const struct hw_mapping *m, hw_addr_t start, hw_addr_t end)
{
	if (m->flags & HW_MAP_EXEC)
		return HW_CATEGORY_CODE;
	return hw_plain_is_unlisted(plain, heap, start, end) ? HW_CATEGORY_UNLISTED_ARENA
							     : plain->anonymous;
}

// HW_CATEGORY_TLS: of that part of it, [*ret_tls, *ret_tls_end).
static uint32_t hw_anonymous_category(struct hw_heap *heap, struct hw_plain *plain,
				      const struct hw_mapping *m, hw_addr_t start, hw_addr_t end,
				      hw_addr_t *ret_tls, hw_addr_t *ret_tls_end)
{
	if (start == m->start && hw_heap_has_stack(heap, start, end))
		return HW_CATEGORY_THREAD_STACK;
	hw_addr_t tcb = hw_plain_stack_tcb(plain, start, end);
	if (tcb)
		return hw_plain_is_live(plain, heap, tcb, start, end) ? HW_CATEGORY_THREAD_STACK
								      : HW_CATEGORY_CACHED_STACK;
	// Without malloc's own walk, the brk area may be malloc's.
	if (!strcmp(m->path, "[heap]") && heap->in.glibc->is_initialized)
		return HW_CATEGORY_BRK_OTHER;
	if (plain->pages.target->machine->has_tls_below &&
	    hw_plain_find_tls(plain, start, end, ret_tls, ret_tls_end))
		return HW_CATEGORY_TLS;
	if (hw_plain_is_loader(plain, start, end))
		return HW_CATEGORY_LOADER;
	if (m->flags & HW_MAP_EXEC)
		return HW_CATEGORY_CODE;
	if (!*m->path && hw_plain_is_getrandom(plain, heap, start, end))
		return HW_CATEGORY_GETRANDOM;
	return hw_plain_is_unlisted(plain, heap, start, end) ? HW_CATEGORY_UNLISTED_ARENA
							     : plain->anonymous;
}

static bool hw_plain_push(struct hw_heap *heap, hw_addr_t start, hw_addr_t end, uint32_t id)
{
	struct hw_stretch span = { start, end, HW_STRETCH_PLAIN, id };
	return start == end || hw_vec_push(&heap->spans, span);
}

bool hw_heap_add_plain(struct hw_heap *heap, struct hw_plain *plain, const struct hw_mapping *m,
		       const struct hw_mapping *data, hw_addr_t start, hw_addr_t end)
{
	uint32_t id;
	hw_addr_t tls = start, tls_end = end;
	hw_addr_t bss_end = start == m->start && !*m->path ? hw_bss_end(heap, m, data) : start;
	bss_end = hw_min(bss_end, end);
	if (bss_end > start) {
		id = hw_file_category(heap, data->path, "bss");
		if (!hw_plain_push(heap, start, bss_end, id))
			return false;
		start = bss_end;
	}
	if (start == end)
		return true;
	if (hw_mapping_is_file(m))
		id = hw_file_category(heap, m->path, "data");
	else if (!strcmp(m->path, "[stack]"))
		id = HW_CATEGORY_STACK;
	else if (start == m->start && !*m->path && data &&
		 !hw_modules_at(heap->in.modules, data->start) &&
		 hw_absences_have(&heap->absences, data->path))
		id = plain->anonymous; // how much of it is .bss, that file would tell
	else
		id = hw_anonymous_category(heap, plain, m, start, end, &tls, &tls_end);
	if (id != HW_CATEGORY_TLS)
		return hw_plain_push(heap, start, end, id);
	return (start == tls ||
		hw_plain_push(heap, start, tls, hw_anonymous_beside(heap, plain, m, start, tls))) &&
	       hw_plain_push(heap, tls, tls_end, id) &&
	       (tls_end == end || hw_plain_push(heap, tls_end, end,
						hw_anonymous_beside(heap, plain, m, tls_end, end)));
}
