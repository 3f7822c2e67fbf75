/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Forged malloc heaps of every layout: whole ones, with each kind of damage, and with random damage.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "glibc/layout.h"
#include "glibc/malloc.h"

enum {
	LIBC_BYTES = 0x2000,
	HEAP_BYTES = 0x8000,
	ARENA_BYTES = 0x6000,
	MAPPED_BYTES = 0x43000,
	CHUNKS_MAX = 128,
};

static const hw_addr_t libc_at = 0x7f0000200000, heap_at = 0x555500001000,
		       arena_at = 0x7f0004000000, // a multiple of 64 MiB
	mapped_at = 0x7f0001000000;

struct flavour {
	const char *name;
	int arena_row, mp_row, tcache_row; // -1: none
	bool safe_linking;
	unsigned heap_info_bytes;
};

static const struct flavour flavours[] = {
	{ "2.17", 0, 0, -1, false, 32 }, { "2.23", 1, 0, -1, false, 32 },
	{ "2.26", 1, 1, 0, false, 32 },  { "2.27", 2, 1, 0, false, 32 },
	{ "2.31", 2, 1, 1, false, 32 },  { "2.32", 2, 1, 1, true, 32 },
	{ "2.36", 2, 2, 1, true, 48 },   { "2.42", 2, 2, 2, true, 48 },
	{ "2.43", 3, 3, 2, true, 48 },
};

struct chunk {
	hw_addr_t addr;
	uint64_t size;
	enum hw_chunk_state state;
};

struct forge {
	const struct flavour *flavour;
	const struct hw_glibc_layout *arena;
	const struct hw_glibc_mp_layout *mp;
	const struct hw_glibc_tcache_layout *tcache;
	hw_addr_t main_arena, mp_addr, thread_arena, tcache_mem;
	uint8_t libc[LIBC_BYTES], heap[HEAP_BYTES], heap2[ARENA_BYTES], mapped[MAPPED_BYTES];
	struct chunk chunks[CHUNKS_MAX];
	size_t count;
	hw_addr_t next, tops[2], firsts[2];
	bool before_is_free;
	uint64_t flags;
	uint64_t heap_tail_bytes; // a mapping behind the heap of which nothing can be read
};

static unsigned failures;

#define expect(condition, ...)                                                                     \
	do {                                                                                       \
		if (!(condition) && failures++ < 40) {                                             \
			fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                            \
			fprintf(stderr, __VA_ARGS__);                                              \
			fputc('\n', stderr);                                                       \
		}                                                                                  \
	} while (0)

static uint8_t *at(struct forge *f, hw_addr_t addr)
{
	if (addr - libc_at < LIBC_BYTES)
		return f->libc + (addr - libc_at);
	if (addr - heap_at < HEAP_BYTES)
		return f->heap + (addr - heap_at);
	if (addr - arena_at < ARENA_BYTES)
		return f->heap2 + (addr - arena_at);
	if (addr - mapped_at < MAPPED_BYTES)
		return f->mapped + (addr - mapped_at);
	abort(); // the test's own mistake
}

static void put(struct forge *f, hw_addr_t addr, uint64_t value)
{
	value = htole64(value);
	memcpy(at(f, addr), &value, 8);
}

static uint64_t get(struct forge *f, hw_addr_t addr)
{
	return hw_u64(at(f, addr));
}

static void put32(struct forge *f, hw_addr_t addr, uint32_t value)
{
	value = htole32(value);
	memcpy(at(f, addr), &value, 4);
}

static hw_addr_t bin_head(struct forge *f, hw_addr_t arena, unsigned bin)
{
	return arena + f->arena->bins + 16 * (hw_addr_t)(bin - 1) - 16;
}

static hw_addr_t add_chunk(struct forge *f, uint64_t size, enum hw_chunk_state state)
{
	hw_addr_t addr = f->next;
	bool is_free = state >= HW_CHUNK_UNSORTED && state <= HW_CHUNK_LARGE;
	if (f->before_is_free)
		put(f, addr, f->chunks[f->count - 1].size);
	uint64_t flags = state == HW_CHUNK_TOP || is_free ? 0 : f->flags;
	put(f, addr + 8, size | flags | !f->before_is_free);
	f->chunks[f->count++] = (struct chunk){ addr, size, state };
	f->before_is_free = is_free;
	f->next += size;
	return addr;
}

static void link_bin(struct forge *f, hw_addr_t arena, unsigned bin, const hw_addr_t *members,
		     size_t count)
{
	hw_addr_t head = bin_head(f, arena, bin), before = head;
	for (size_t i = 0; i < count; i++) {
		put(f, before + 16, members[i]);
		put(f, members[i] + 24, before);
		before = members[i];
	}
	put(f, before + 16, head);
	put(f, head + 24, before);
}

static void put_link(struct forge *f, hw_addr_t field, hw_addr_t to)
{
	put(f, field, f->flavour->safe_linking ? to ^ field >> 12 : to);
}

static void init_arena(struct forge *f, hw_addr_t arena, hw_addr_t next, uint64_t system_bytes)
{
	for (unsigned bin = 1; bin < HW_GLIBC_BINS; bin++)
		link_bin(f, arena, bin, NULL, 0);
	// the last pair belongs to bin 127, which no chunk ever enters
	link_bin(f, arena, HW_GLIBC_BINS, NULL, 0);
	put(f, arena + f->arena->next, next);
	if (f->arena->attached_threads)
		put(f, arena + f->arena->attached_threads, 1);
	put(f, arena + f->arena->system_mem, system_bytes);
	put(f, arena + f->arena->max_system_mem, system_bytes);
}

// In-use chunks between free ones, members of every list, then top.
static void fill_arena(struct forge *f, hw_addr_t arena, hw_addr_t end, bool has_tcache)
{
	hw_addr_t lists[8], cached[3];
	add_chunk(f, 0x40, HW_CHUNK_IN_USE);
	for (int i = 0; i < 6; i++) {
		static const uint64_t sizes[] = { 0x90, 0x1a0, 0x120, 0x120, 0x500, 0x520 };
		static const enum hw_chunk_state states[] = {
			HW_CHUNK_UNSORTED, HW_CHUNK_UNSORTED, HW_CHUNK_SMALL,
			HW_CHUNK_SMALL,    HW_CHUNK_LARGE,    HW_CHUNK_LARGE,
		};
		lists[i] = add_chunk(f, sizes[i], states[i]);
		add_chunk(f, 0x30, HW_CHUNK_IN_USE);
	}
	link_bin(f, arena, 1, lists, 2);
	link_bin(f, arena, hw_glibc_bin_of(8, 0x120), lists + 2, 2);
	link_bin(f, arena, hw_glibc_bin_of(8, 0x500), lists + 4, 1);
	link_bin(f, arena, hw_glibc_bin_of(8, 0x520), lists + 5, 1);
	if (hw_glibc_bin_of(8, 0x500) == hw_glibc_bin_of(8, 0x520))
		link_bin(f, arena, hw_glibc_bin_of(8, 0x500), lists + 4, 2);
	if (f->arena->fastbins) {
		hw_addr_t a = add_chunk(f, 0x50, HW_CHUNK_FASTBIN);
		hw_addr_t b = add_chunk(f, 0x50, HW_CHUNK_FASTBIN);
		put(f, arena + f->arena->fastbins + 8 * 3, a);
		put_link(f, a + 16, b);
		put_link(f, b + 16, 0);
	}
	if (has_tcache) {
		for (int i = 0; i < 3; i++)
			cached[i] = add_chunk(f, 0x70, HW_CHUNK_TCACHE) + 16;
		for (int i = 0; i < 3; i++)
			put_link(f, cached[i], i < 2 ? cached[i + 1] : 0);
		unsigned bin = (0x70 - 0x20) / 16;
		put(f, f->tcache_mem + f->tcache->entries + 8 * bin, cached[0]);
		if (f->tcache->count_bytes == 1) {
			*at(f, f->tcache_mem + bin) = 3;
		} else {
			uint16_t count = htole16(f->tcache->counts_left ? 7 - 3 : 3);
			memcpy(at(f, f->tcache_mem + 2 * bin), &count, 2);
		}
	}
	add_chunk(f, 0x60, HW_CHUNK_IN_USE);
	put(f, arena + f->arena->top, f->next);
	add_chunk(f, end - f->next, HW_CHUNK_TOP);
}

static void forge(struct forge *f, const struct flavour *flavour)
{
	memset(f, 0, sizeof(*f));
	f->flavour = flavour;
	f->arena = &hw_glibc_layouts[flavour->arena_row];
	f->mp = &hw_glibc_mp_layouts[flavour->mp_row];
	f->tcache = flavour->tcache_row < 0 ? NULL : &hw_glibc_tcache_layouts[flavour->tcache_row];
	f->main_arena = libc_at + 0x120;
	f->mp_addr = libc_at + 0x1000;
	f->thread_arena = arena_at + flavour->heap_info_bytes;
	init_arena(f, f->main_arena, f->thread_arena, HEAP_BYTES);
	init_arena(f, f->thread_arena, f->main_arena, ARENA_BYTES);

	put(f, f->mp_addr, 0x20000);
	put(f, f->mp_addr + 8, 0x20000);
	put(f, f->mp_addr + 16, 0x20000);
	put(f, f->mp_addr + 24, 8);
	put32(f, f->mp_addr + f->mp->n_mmaps, 2);
	put32(f, f->mp_addr + f->mp->n_mmaps_max, 65536);
	put32(f, f->mp_addr + f->mp->n_mmaps_max + 4, 2);
	put(f, f->mp_addr + f->mp->mmapped_mem, MAPPED_BYTES);
	put(f, f->mp_addr + f->mp->mmapped_mem + 8, MAPPED_BYTES);
	put(f, f->mp_addr + f->mp->sbrk_base, heap_at);
	if (f->mp->tcache_count)
		put(f, f->mp_addr + f->mp->tcache_count, 7);

	f->firsts[0] = f->next = heap_at;
	if (f->tcache) {
		f->tcache_mem = add_chunk(f, f->tcache->chunk_size, HW_CHUNK_TCACHE_STRUCT) + 16;
		uint16_t left = htole16(7);
		for (unsigned i = 0; f->tcache->counts_left && i < f->tcache->bins; i++)
			memcpy(at(f, f->tcache_mem + 2 * i), &left, 2);
	}
	fill_arena(f, f->main_arena, heap_at + HEAP_BYTES, f->tcache);
	f->tops[0] = f->chunks[f->count - 1].addr;

	put(f, arena_at, f->thread_arena);
	put(f, arena_at + 16, ARENA_BYTES);
	put(f, arena_at + 24, ARENA_BYTES);
	f->chunks[f->count++] = (struct chunk){ arena_at, 0, HW_CHUNK_ARENA };
	f->firsts[1] = f->next = (f->thread_arena + f->arena->size + 15) & ~15ull;
	f->before_is_free = false;
	f->flags = HW_GLIBC_NON_MAIN_ARENA;
	fill_arena(f, f->thread_arena, arena_at + ARENA_BYTES, false);
	f->tops[1] = f->chunks[f->count - 1].addr;

	// two mmapped chunks in one mapping, the second from memalign(64)
	uint64_t tail = f->arena->mmapped_tail ? 16 : 0;
	put(f, mapped_at + 8, (0x22000 - tail) | 2);
	put(f, mapped_at + 0x22000 + 8, (0x21000 - tail) | 2);
	put(f, mapped_at + 0x22000 + 0x30, 0x30);
	put(f, mapped_at + 0x22000 + 0x38, (0x21000 - 0x30 - tail) | 2);
}

static struct hw_error *walk(struct forge *f, struct hw_issues *issues,
			     struct hw_target **ret_target, struct hw_glibc *ret)
{
	const struct hw_image_piece pieces[] = {
		{ heap_at, f->heap, HEAP_BYTES, HW_MAP_READ | HW_MAP_WRITE, "[heap]" },
		{ libc_at, f->libc, LIBC_BYTES, HW_MAP_READ | HW_MAP_WRITE, "/nowhere/libc.so.6" },
		{ mapped_at, f->mapped, MAPPED_BYTES, HW_MAP_READ | HW_MAP_WRITE, "" },
		{ arena_at, f->heap2, ARENA_BYTES, HW_MAP_READ | HW_MAP_WRITE, "" },
		{ heap_at + HEAP_BYTES, NULL, f->heap_tail_bytes, HW_MAP_READ | HW_MAP_WRITE,
		  "[heap]" },
	};
	struct hw_error *err = hw_target_open_image(pieces, f->heap_tail_bytes ? 5 : 4, ret_target);
	const struct hw_glibc_inputs inputs = { .target = *ret_target,
						.issues = issues,
						.threads = 1 };
	return err ? err : hw_glibc_walk(&inputs, ret);
}

static enum hw_chunk_state state_at(const struct hw_glibc *glibc, hw_addr_t addr)
{
	struct hw_region *region = hw_glibc_find_region(glibc, addr);
	if (!region)
		return HW_CHUNK_STATE_COUNT;
	uint32_t i = hw_region_find_chunk(region, addr);
	return hw_region_chunk_start(region, i) == addr ? region->state[i] : HW_CHUNK_STATE_COUNT;
}

static void test_whole(const struct flavour *flavour)
{
	static struct forge f;
	struct hw_issues issues;
	struct hw_target *target = NULL;
	struct hw_glibc glibc = { 0 };
	forge(&f, flavour);
	hw_issues_init(&issues);
	struct hw_error *err = walk(&f, &issues, &target, &glibc);
	expect(!err, "%s: %s", flavour->name, err ? hw_error_message(err) : "");
	expect(glibc.main_arena == f.main_arena, "%s: main_arena", flavour->name);
	expect(glibc.mp == f.mp_addr, "%s: mp_", flavour->name);
	expect(glibc.arenas.count == 2, "%s: %zu arenas", flavour->name, glibc.arenas.count);
	expect(glibc.mmapped_count == 2 && glibc.mmapped_bytes == MAPPED_BYTES,
	       "%s: %" PRIu64 " mmapped chunks", flavour->name, glibc.mmapped_count);
	struct hw_region *region = hw_glibc_find_region(&glibc, mapped_at + 0x22000);
	expect(region && region->mmapped_chunk == mapped_at + 0x22030, "%s: memalign",
	       flavour->name);
	if (f.arena->fastbins || f.tcache)
		expect(glibc.safe_linking == flavour->safe_linking, "%s: safe-linking",
		       flavour->name);
	for (size_t i = 0; i < f.count; i++)
		expect(state_at(&glibc, f.chunks[i].addr) == f.chunks[i].state,
		       "%s: chunk 0x%" PRIx64 " is %s, expected %s", flavour->name,
		       f.chunks[i].addr, hw_chunk_state_word(state_at(&glibc, f.chunks[i].addr)),
		       hw_chunk_state_word(f.chunks[i].state));
	hw_glibc_check(&glibc, &issues);
	hw_vec_foreach(issue, &issues.list)
		expect(false, "%s: issue: %s", flavour->name, hw_error_message(*issue));
	hw_error_destroy(err);
	hw_glibc_deinit(&glibc);
	hw_target_close(target);
	hw_issues_deinit(&issues);
}

// ---- damage -----------------------------------------------------------------------------------

static hw_addr_t chunk_in(struct forge *f, enum hw_chunk_state state, size_t nth)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->chunks[i].state == state && !nth--)
			return f->chunks[i].addr;
	return 0;
}

#define DAMAGES(X)                                                                                 \
	X(unsorted_cycle,                                                                          \
	  put(f, chunk_in(f, HW_CHUNK_UNSORTED, 1) + 16, chunk_in(f, HW_CHUNK_UNSORTED, 0)))       \
	X(unsorted_self,                                                                           \
	  put(f, chunk_in(f, HW_CHUNK_UNSORTED, 0) + 16, chunk_in(f, HW_CHUNK_UNSORTED, 0)))       \
	X(unsorted_unmapped, put(f, chunk_in(f, HW_CHUNK_UNSORTED, 0) + 16, 0x4141414141414140))   \
	X(unsorted_misaligned,                                                                     \
	  put(f, chunk_in(f, HW_CHUNK_UNSORTED, 0) + 16, chunk_in(f, HW_CHUNK_UNSORTED, 1) + 8))   \
	X(unsorted_null, put(f, chunk_in(f, HW_CHUNK_UNSORTED, 0) + 16, 0))                        \
	X(unsorted_in_use,                                                                         \
	  put(f, chunk_in(f, HW_CHUNK_UNSORTED, 0) + 16, chunk_in(f, HW_CHUNK_IN_USE, 0)))         \
	X(unsorted_bk, put(f, chunk_in(f, HW_CHUNK_UNSORTED, 0) + 24, 0x4141414141414140))         \
	X(small_other_bin, put(f, bin_head(f, f->main_arena, hw_glibc_bin_of(8, 0x120)) + 16,      \
			       chunk_in(f, HW_CHUNK_LARGE, 0)))                                    \
	X(small_lost, link_bin(f, f->main_arena, hw_glibc_bin_of(8, 0x120), NULL, 0))              \
	X(large_head, put(f, bin_head(f, f->main_arena, hw_glibc_bin_of(8, 0x500)) + 16, 1))       \
	X(large_cycle,                                                                             \
	  put(f, chunk_in(f, HW_CHUNK_LARGE, 1) + 16, chunk_in(f, HW_CHUNK_LARGE, 1)))             \
	X(footer, put(f, chunk_in(f, HW_CHUNK_UNSORTED, 0) + 0x90, 0x80))                          \
	X(size_zero, put(f, chunk_in(f, HW_CHUNK_IN_USE, 2) + 8, 1))                               \
	X(size_small, put(f, chunk_in(f, HW_CHUNK_IN_USE, 2) + 8, 0x11))                           \
	X(size_huge, put(f, chunk_in(f, HW_CHUNK_IN_USE, 2) + 8, 0x7ffffffffffffff1))              \
	X(size_minus, put(f, chunk_in(f, HW_CHUNK_IN_USE, 2) + 8, 0xfffffffffffffff1))             \
	X(size_over_top, put(f, chunk_in(f, HW_CHUNK_IN_USE, 2) + 8, 0x7001))                      \
	X(size_misaligned, put(f, chunk_in(f, HW_CHUNK_IN_USE, 2) + 8, 0x39))                      \
	X(size_mmapped, put(f, chunk_in(f, HW_CHUNK_IN_USE, 2) + 8, 0x33))                         \
	X(first_size, put(f, heap_at + 8, 0x10001))                                                \
	X(top_outside, put(f, f->main_arena + f->arena->top, 0x414141414140))                      \
	X(top_misaligned, put(f, f->main_arena + f->arena->top, f->tops[0] + 8))                   \
	X(top_early, put(f, f->main_arena + f->arena->top, heap_at + 0x150))                       \
	X(top_in_libc, put(f, f->main_arena + f->arena->top, f->main_arena))                       \
	X(top_null, put(f, f->main_arena + f->arena->top, 0))                                      \
	X(top_size_zero, put(f, f->tops[0] + 8, 1))                                                \
	X(top_size_huge, put(f, f->tops[0] + 8, 0x7ffffff1))                                       \
	X(thread_top_outside, put(f, f->thread_arena + f->arena->top, 0x414141414140))             \
	X(thread_top_null, put(f, f->thread_arena + f->arena->top, 0))                             \
	X(ring_garbage, put(f, f->thread_arena + f->arena->next, 0x4141414141414141))              \
	X(ring_self, put(f, f->thread_arena + f->arena->next, f->thread_arena))                    \
	X(ring_null, put(f, f->thread_arena + f->arena->next, 0))                                  \
	X(heap_prev_self, put(f, arena_at + 8, arena_at))                                          \
	X(heap_prev_garbage, put(f, arena_at + 8, 0x4141414141414141))                             \
	X(heap_size_huge, put(f, arena_at + 16, 0x7ffffffffffff000))                               \
	X(heap_size_zero, put(f, arena_at + 16, 0))                                                \
	X(heap_size_odd, put(f, arena_at + 16, 0x5001))                                            \
	X(system_mem, put(f, f->main_arena + f->arena->system_mem, 0x5000))                        \
	X(mmaps_lost, put32(f, f->mp_addr + f->mp->n_mmaps, 1))                                    \
	X(mmapped_size_zero, put(f, mapped_at + 8, 2))                                             \
	X(mmapped_size_huge, put(f, mapped_at + 8, 0x7ffffffffffff002))                            \
	X(mmapped_odd, put(f, mapped_at + 8, 0x22342))                                             \
	X(fastbin_cycle, f->arena->fastbins ? put_link(f, chunk_in(f, HW_CHUNK_FASTBIN, 1) + 16,   \
						       chunk_in(f, HW_CHUNK_FASTBIN, 0))           \
					    : put(f, heap_at + 8, 3))                              \
	X(fastbin_garbage, f->arena->fastbins ? put(f, f->main_arena + f->arena->fastbins, 7)      \
					      : put(f, heap_at + 8, 3))                            \
	X(fastbin_size, f->arena->fastbins ? put(f, f->main_arena + f->arena->fastbins,            \
						 chunk_in(f, HW_CHUNK_FASTBIN, 0))                 \
					   : put(f, heap_at + 8, 3))                               \
	X(tcache_cycle, f->tcache ? put_link(f, chunk_in(f, HW_CHUNK_TCACHE, 2) + 16,              \
					     chunk_in(f, HW_CHUNK_TCACHE, 0) + 16)                 \
				  : put(f, heap_at + 8, 3))                                        \
	X(tcache_garbage,                                                                          \
	  f->tcache ? put_link(f, chunk_in(f, HW_CHUNK_TCACHE, 1) + 16, 0x414141414140)            \
		    : put(f, heap_at + 8, 3))                                                      \
	X(mmapped_without_end,                                                                     \
	  put(f, mapped_at + 8, ((1ull << 47) - (f->arena->mmapped_tail ? 16 : 0)) | 2))           \
	X(tcache_in_free, f->tcache ? put_link(f, chunk_in(f, HW_CHUNK_TCACHE, 1) + 16,            \
					       chunk_in(f, HW_CHUNK_SMALL, 0) + 16)                \
				    : put(f, heap_at + 8, 3))

#define X(name, action)                                                                            \
	static void damage_##name(struct forge *f)                                                 \
	{                                                                                          \
		action;                                                                            \
	}
DAMAGES(X)
#undef X

static const struct {
	const char *name;
	void (*damage)(struct forge *f);
} damages[] = {
#define X(name, action) { #name, damage_##name },
	DAMAGES(X)
#undef X
};

// What must hold whatever the target holds.
static void check_shape(const char *what, const struct hw_glibc *glibc)
{
	hw_addr_t seen = 0;
	for (size_t r = 0; r < glibc->regions.count; r++) {
		const struct hw_region *region = &glibc->regions.data[r];
		expect(region->start >= seen && region->end > region->start && region->count,
		       "%s: region %zu overlaps", what, r);
		seen = region->end;
		for (uint32_t i = 0; i < region->count; i++) {
			expect(hw_region_chunk_end(region, i) > hw_region_chunk_start(region, i),
			       "%s: chunk %u of region %zu", what, i, r);
			expect(region->state[i] < HW_CHUNK_STATE_COUNT, "%s: state", what);
		}
	}
	for (size_t a = 0; a < glibc->arenas.count; a++) {
		const struct hw_glibc_arena *arena = &glibc->arenas.data[a];
		expect(arena->in_use_bytes + arena->tcache_bytes + arena->fastbin_bytes +
				       arena->bin_bytes + arena->top_bytes + arena->overhead_bytes +
				       arena->unknown_bytes ==
			       arena->region_bytes,
		       "%s: parts of arena %zu", what, a);
	}
}

static void test_damage(const struct flavour *flavour, size_t d)
{
	static struct forge f;
	struct hw_issues issues;
	struct hw_target *target = NULL;
	struct hw_glibc glibc = { 0 };
	char what[128];
	snprintf(what, sizeof(what), "%s: %s", flavour->name, damages[d].name);
	forge(&f, flavour);
	damages[d].damage(&f);
	hw_issues_init(&issues);
	struct hw_error *err = walk(&f, &issues, &target, &glibc);
	expect(!err, "%s: %s", what, err ? hw_error_message(err) : "");
	hw_glibc_check(&glibc, &issues);
	expect(issues.list.count, "%s: no issue", what);
	expect(issues.list.count < 30, "%s: %zu issues", what, issues.list.count);
	expect(glibc.arenas.count == 2, "%s: %zu arenas", what, glibc.arenas.count);
	check_shape(what, &glibc);
	hw_error_destroy(err);
	hw_glibc_deinit(&glibc);
	hw_target_close(target);
	hw_issues_deinit(&issues);
}

// A core says that its heap is longer than offsets of 32 bits reach, and its top chunk says so too.
static void test_endless_heap(const struct flavour *flavour)
{
	static struct forge f;
	struct hw_issues issues;
	struct hw_target *target = NULL;
	struct hw_glibc glibc = { 0 };
	forge(&f, flavour);
	f.heap_tail_bytes = 1ull << 44;
	put(&f, f.tops[0] + 8, get(&f, f.tops[0] + 8) + f.heap_tail_bytes);
	hw_issues_init(&issues);
	struct hw_error *err = walk(&f, &issues, &target, &glibc);
	expect(!err, "%s: %s", flavour->name, err ? hw_error_message(err) : "");
	check_shape(flavour->name, &glibc);
	expect(state_at(&glibc, f.tops[0]) == HW_CHUNK_TOP, "%s: no top", flavour->name);
	hw_error_destroy(err);
	hw_glibc_deinit(&glibc);
	hw_target_close(target);
	hw_issues_deinit(&issues);
}

// Damage in one arena leaves the other one whole.
static void test_rest_is_whole(const struct flavour *flavour)
{
	static struct forge f;
	struct hw_issues issues;
	struct hw_target *target = NULL;
	struct hw_glibc glibc = { 0 };
	forge(&f, flavour);
	damage_size_huge(&f);
	hw_issues_init(&issues);
	struct hw_error *err = walk(&f, &issues, &target, &glibc);
	hw_addr_t broken = chunk_in(&f, HW_CHUNK_IN_USE, 2);
	expect(!err, "%s", flavour->name);
	for (size_t i = 0; i < f.count; i++) {
		const struct chunk *chunk = &f.chunks[i];
		// the one before lost its mark: the damaged header says that it is in use
		bool is_lost = chunk->addr + chunk->size >= broken && chunk->addr < f.tops[0];
		if (!is_lost && chunk->state != HW_CHUNK_TCACHE_STRUCT)
			expect(state_at(&glibc, chunk->addr) == chunk->state,
			       "%s: chunk 0x%" PRIx64 " is %s, expected %s", flavour->name,
			       chunk->addr, hw_chunk_state_word(state_at(&glibc, chunk->addr)),
			       hw_chunk_state_word(chunk->state));
	}
	expect(state_at(&glibc, broken) == HW_CHUNK_UNKNOWN, "%s: the rest", flavour->name);
	hw_error_destroy(err);
	hw_glibc_deinit(&glibc);
	hw_target_close(target);
	hw_issues_deinit(&issues);
}

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static void test_random_damage(unsigned rounds)
{
	static struct forge f;
	uint64_t seed = 0x9e3779b97f4a7c15;
	for (unsigned round = 0; round < rounds; round++) {
		const struct flavour *flavour =
			&flavours[round % (sizeof(flavours) / sizeof(flavours[0]))];
		struct hw_issues issues;
		struct hw_target *target = NULL;
		struct hw_glibc glibc = { 0 };
		char what[64];
		snprintf(what, sizeof(what), "round %u, %s", round, flavour->name);
		forge(&f, flavour);
		hw_addr_t starts[] = { heap_at, f.main_arena, arena_at, f.mp_addr, mapped_at };
		uint64_t extents[] = { 0x1800, f.arena->size, 0x1800, f.mp->size, 0x22040 };
		for (unsigned n = 1 + next_random(&seed) % 4; n--;) {
			unsigned where = next_random(&seed) % 5;
			hw_addr_t addr = starts[where] +
					 (next_random(&seed) % extents[where] & ~7ull);
			uint64_t value = get(&f, addr), r = next_random(&seed);
			switch (next_random(&seed) % 6) {
			case 0:
				value ^= 1ull << r % 64;
				break;
			case 1:
				value = r;
				break;
			case 2:
				value = 0;
				break;
			case 3: // somebody else's word
				value = get(&f, starts[r % 5] + (r >> 8) % 0x60 * 8);
				break;
			case 4:
				value += (r & 1 ? 16 : -16) * (r >> 1 & 0xff);
				break;
			default:
				value = f.chunks[r % f.count].addr + (r >> 16 & 1) * 16;
			}
			put(&f, addr, value);
		}
		hw_issues_init(&issues);
		struct hw_error *err = walk(&f, &issues, &target, &glibc);
		expect(!err, "%s: %s", what, err ? hw_error_message(err) : "");
		hw_glibc_check(&glibc, &issues);
		check_shape(what, &glibc);
		hw_error_destroy(err);
		hw_glibc_deinit(&glibc);
		hw_target_close(target);
		hw_issues_deinit(&issues);
	}
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(flavours) / sizeof(flavours[0]); i++) {
		test_whole(&flavours[i]);
		test_rest_is_whole(&flavours[i]);
		test_endless_heap(&flavours[i]);
		for (size_t d = 0; d < sizeof(damages) / sizeof(damages[0]); d++)
			test_damage(&flavours[i], d);
	}
	test_random_damage(argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : 3000);
	if (failures)
		fprintf(stderr, "%u failures\n", failures);
	return failures != 0;
}
