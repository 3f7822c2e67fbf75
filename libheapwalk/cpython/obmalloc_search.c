/* SPDX-License-Identifier: LGPL-2.1-or-later */
// obmalloc's statics in a binary without symbols, by what they must look like.
//
// usedpools first: an entry of an empty size class points 16 bytes before itself, one of another class at
// a pool of it. Then `arenas`: the variable whose array has, at a pool's arenaindex, the arena that the
// pool is in. Then `maxarenas` beside it. Two answers are none.
#include <inttypes.h>

#include "cpython/obmalloc_internal.h"

enum {
	HW_SEARCH_BYTES_MAX = 16 << 20, // of one section; Python's .data and .bss have about 1 MiB
	HW_SEARCH_SAMPLES = 8,
	HW_SEARCH_VARIABLES = 16,
	HW_SEARCH_NEAR = 128,          // bytes between arenas and maxarenas, at most
	HW_INITIAL_ARENA_OBJECTS = 16, // obmalloc.c: maxarenas starts here and doubles
};

struct hw_search {
	struct hw_target *target;
	const struct hw_python_layout *layout;
	hw_addr_t starts[2]; // .data, .bss
	uint8_t *bytes[2];
	size_t sizes[2];
	struct {
		hw_addr_t pool;
		uint32_t arena_index;
	} samples[HW_SEARCH_SAMPLES];
	unsigned sample_count;
};

static void hw_load_section(struct hw_search *search, int at, struct hw_module *module,
			    const char *name)
{
	uint64_t size;
	if (!hw_module_section(module, name, &search->starts[at], &size))
		return;
	size = hw_min(size, HW_SEARCH_BYTES_MAX);
	search->bytes[at] = malloc(size + 1);
	if (search->bytes[at])
		search->sizes[at] = hw_target_read_some(search->target, search->starts[at],
							search->bytes[at], size);
}

// Do these words look like usedpools at `addr`? Cheap: the target is not asked.
static bool hw_looks_like_usedpools(const struct hw_search *search, const uint8_t *words,
				    hw_addr_t addr, uint32_t class_count)
{
	for (uint32_t i = 0; i < class_count; i++) {
		hw_addr_t self = addr + i * 16 - (hw_addr_t)search->layout->pool_nextpool;
		hw_addr_t next = hw_u64(words + i * 16), prev = hw_u64(words + i * 16 + 8);
		if ((next == self) != (prev == self) ||
		    (next != self && (!next || !prev || (next | prev) % HW_POOL_BYTES_MIN)))
			return false;
	}
	return true;
}

// The array of that many classes in one section; false: none, or more than one.
static bool hw_search_used(const struct hw_search *search, int at, uint32_t class_count,
			   hw_addr_t *ret)
{
	const size_t len = (size_t)class_count * 16;
	bool is_found = false;
	for (size_t i = 0; i + len <= search->sizes[at]; i += 8) {
		hw_addr_t addr = search->starts[at] + i;
		if (!hw_looks_like_usedpools(search, search->bytes[at] + i, addr, class_count) ||
		    hw_obmalloc_prove_usedpools(search->target, search->layout, addr,
						2 * class_count) != class_count)
			continue;
		if (is_found)
			return false;
		is_found = true;
		*ret = addr;
	}
	return is_found;
}

static bool hw_is_sampled(const struct hw_search *search, uint32_t arena_index)
{
	for (unsigned i = 0; i < search->sample_count; i++)
		if (search->samples[i].arena_index == arena_index)
			return true;
	return false;
}

// One pool of each arena: what agrees with one is often a coincidence, with several it is not.
static void hw_sample_pools(struct hw_search *search, hw_addr_t used, uint32_t class_count)
{
	for (uint32_t i = 0; i < class_count && search->sample_count < HW_SEARCH_SAMPLES; i++) {
		hw_addr_t pool;
		uint32_t index;
		if (!hw_target_read_word(search->target, used + i * 16, &pool) ||
		    pool % HW_POOL_BYTES_MIN ||
		    !hw_obmalloc_read_u32(search->target,
					  pool + (hw_addr_t)search->layout->pool_arenaindex,
					  &index) ||
		    index >= HW_MAX_ARENAS || hw_is_sampled(search, index))
			continue;
		search->samples[search->sample_count].pool = pool;
		search->samples[search->sample_count++].arena_index = index;
	}
}

// Is `object` the arena_object of the arena that `pool` is in?
static bool hw_is_arena_of(const struct hw_search *search, hw_addr_t object, hw_addr_t pool)
{
	const struct hw_python_layout *l = search->layout;
	const uint32_t arena_bytes = hw_obmalloc_usual_arena_bytes(l);
	uint64_t start, carved;
	uint32_t free_pools, pools;
	// Neighbours are often adjacent: a pool just beyond an arena is not in it.
	return hw_target_read_word(search->target, object + (hw_addr_t)l->arena_address, &start) &&
	       start && pool - start < arena_bytes &&
	       hw_target_read_word(search->target, object + (hw_addr_t)l->arena_pool_address,
				   &carved) &&
	       carved > pool && carved - start <= arena_bytes &&
	       hw_obmalloc_read_u32(search->target, object + (hw_addr_t)l->arena_nfreepools,
				    &free_pools) &&
	       hw_obmalloc_read_u32(search->target, object + (hw_addr_t)l->arena_ntotalpools,
				    &pools) &&
	       free_pools < pools && pools <= arena_bytes / HW_POOL_BYTES_MIN;
}

static bool hw_samples_lead_to(const struct hw_search *search, hw_addr_t array)
{
	for (unsigned i = 0; i < search->sample_count; i++) {
		hw_addr_t object = array + (uint64_t)search->samples[i].arena_index *
						   (uint64_t)search->layout->arena_object_size;
		if (!hw_is_arena_of(search, object, search->samples[i].pool))
			return false;
	}
	return search->sample_count > 0;
}

// Variables that hold the array's address: arenas, and perhaps usable_arenas when that is its first.
static unsigned hw_search_arenas(const struct hw_search *search, hw_addr_t *variables)
{
	unsigned count = 0;
	hw_addr_t array = 0, refused = 0;
	for (int at = 0; at < 2; at++) {
		for (size_t i = 0; i + 8 <= search->sizes[at]; i += 8) {
			hw_addr_t value = hw_u64(search->bytes[at] + i);
			if (!value || value % 8 || value == refused)
				continue;
			const struct hw_mapping *m = hw_target_find_mapping(search->target, value);
			if (!m || !hw_mapping_is_private_writable(m))
				continue;
			if (value != array && !hw_samples_lead_to(search, value)) {
				refused = value;
				continue;
			}
			if ((count && value != array) || count == HW_SEARCH_VARIABLES)
				return 0;
			array = value;
			variables[count++] = search->starts[at] + i;
		}
	}
	return count;
}

// Was the array allocated for that many objects? The size field of its glibc chunk tells, or with
// the debug hooks the header that they put before it: {u64 big-endian size, char api, …}.
static bool hw_chunk_agrees(const struct hw_search *search, hw_addr_t array, uint32_t count)
{
	uint8_t head[16];
	uint64_t want = (uint64_t)count * (uint64_t)search->layout->arena_object_size;
	if (hw_target_read_some(search->target, array - 16, head, sizeof(head)) != sizeof(head))
		return false;
	if (head[8] == 'r')
		return be64toh(hw_u64(head)) == want;
	// A mapped chunk is rounded up to pages.
	uint64_t chunk = hw_u64(head + 8) & ~(uint64_t)7;
	return chunk >= want + 8 && chunk < want + 2 * HW_POOL_BYTES_MIN && chunk < want * 2;
}

static bool hw_search_maxarenas(const struct hw_search *search, const hw_addr_t *variables,
				unsigned count, hw_addr_t *ret_arenas, hw_addr_t *ret_max)
{
	uint64_t array;
	uint32_t most = 0, found = 0;
	if (!count || !hw_target_read_word(search->target, variables[0], &array))
		return false;
	for (unsigned i = 0; i < search->sample_count; i++)
		most = (uint32_t)hw_max(most, search->samples[i].arena_index);
	for (unsigned v = 0; v < count; v++) {
		for (hw_addr_t at = variables[v] - HW_SEARCH_NEAR;
		     at <= variables[v] + HW_SEARCH_NEAR; at += 4) {
			uint32_t value;
			if (!hw_obmalloc_read_u32(search->target, at, &value) || value <= most ||
			    value < HW_INITIAL_ARENA_OBJECTS || (value & (value - 1)) ||
			    value > HW_MAX_ARENAS || !hw_chunk_agrees(search, array, value))
				continue;
			if (found && value != found)
				return false;
			found = value;
			*ret_arenas = variables[v];
			*ret_max = at;
		}
	}
	return found != 0;
}

// Nothing is in usedpools, and a small object that always lives (the main interpreter's dict of modules)
// is a chunk of malloc: another allocator is in force (PYTHONMALLOC=malloc), and no arena was made.
static bool hw_malloc_is_in_force(const struct hw_search *search, const struct hw_python *python)
{
	const struct hw_python_layout *layout = search->layout;
	uint64_t modules;
	uint8_t head[16];
	if (search->sample_count || !python->interpreters.count ||
	    layout->interp_modules == HW_ABSENT || layout->dict_size == HW_ABSENT ||
	    layout->gc_head_size == HW_ABSENT ||
	    !hw_target_read_word(search->target,
				 python->interpreters.data[0] + (hw_addr_t)layout->interp_modules,
				 &modules))
		return false;
	uint64_t bytes = (uint64_t)layout->dict_size + (uint64_t)layout->gc_head_size;
	hw_addr_t block = modules - (hw_addr_t)layout->gc_head_size;
	if (hw_target_read_some(search->target, block - 16, head, sizeof(head)) != sizeof(head))
		return false;
	uint64_t most = bytes + 8 + 15; // malloc's own word, rounded up to 16
	if (head[8] == 'o' && be64toh(hw_u64(head)) == bytes) {
		// The debug hooks put 16 bytes before it and 8 after, up to 3.7 16.
		bytes += 24;
		most += 32;
		if (hw_target_read_some(search->target, block - 32, head, sizeof(head)) !=
		    sizeof(head))
			return false;
	}
	uint64_t chunk = hw_u64(head + 8) & ~(uint64_t)7;
	return chunk % 16 == 0 && chunk >= bytes + 8 && chunk <= most;
}

bool hw_obmalloc_search_statics(struct hw_target *target, const struct hw_python *python,
				struct hw_obmalloc_roots *roots)
{
	struct hw_search search = { .target = target, .layout = &python->layout };
	hw_addr_t variables[HW_SEARCH_VARIABLES], used = 0;
	uint32_t class_count = 0;
	hw_load_section(&search, 0, python->module, ".data");
	hw_load_section(&search, 1, python->module, ".bss");
	// 64 classes of 8 bytes begin like 32 of 16: the longer one first.
	for (uint32_t n = HW_PYMALLOC_SIZE_CLASSES_MAX; n >= 32 && !class_count; n /= 2) {
		for (int at = 0; at < 2 && !class_count; at++) {
			if (hw_search_used(&search, at, n, &used))
				class_count = n;
		}
	}
	bool is_found = false;
	if (class_count) {
		hw_sample_pools(&search, used, class_count);
		unsigned count = hw_search_arenas(&search, variables);
		is_found = hw_search_maxarenas(&search, variables, count, &roots->arenas,
					       &roots->max_arenas) ||
			   hw_malloc_is_in_force(&search, python);
		roots->used = used;
		roots->used_count = 2 * class_count;
	}
	free(search.bytes[0]);
	free(search.bytes[1]);
	return is_found;
}

bool hw_obmalloc_search_interpreter(struct hw_target *target, const struct hw_python_layout *layout,
				    hw_addr_t interp, hw_addr_t *ret)
{
	hw_addr_t found = 0;
	size_t size = (size_t)hw_min((uint64_t)layout->interp_size, HW_SEARCH_BYTES_MAX);
	uint8_t *bytes = malloc(size + 1);
	size_t got = bytes ? hw_target_read_some(target, interp, bytes, size) : 0;
	for (size_t i = 0; i + 8 <= got; i += 8) {
		hw_addr_t state = layout->obmalloc_is_pointer ? hw_u64(bytes + i) : interp + i;
		hw_addr_t used = state + (hw_addr_t)layout->obmalloc_used;
		if (!state || state % 8 || state == found ||
		    !hw_obmalloc_prove_usedpools(target, layout, used, layout->usedpools_count))
			continue;
		if (found) {
			found = 0;
			break;
		}
		found = state;
	}
	free(bytes);
	*ret = found;
	return found != 0;
}
