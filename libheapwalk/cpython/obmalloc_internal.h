/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the files behind cpython/obmalloc.h share.
#ifndef HW_CPYTHON_OBMALLOC_INTERNAL_H
#define HW_CPYTHON_OBMALLOC_INTERNAL_H

#include "base/bytes.h"
#include "cpython/obmalloc.h"

enum {
	HW_SMALL_REQUEST_THRESHOLD = 512, // obmalloc.c, all versions: larger requests go to malloc
	HW_POOL_BYTES_MIN = 4096,
	HW_MAX_ARENAS = 1 << 24, // 4 TiB of the smallest arenas
	HW_ARENA_OBJECT_BYTES_MAX = 64,
};

// Where the members of one obmalloc state are in the target; 0: this version has no such member.
struct hw_obmalloc_roots {
	int64_t interpreter_id;
	hw_addr_t state;     // struct _obmalloc_state, 0: statics
	hw_addr_t used;      // poolp usedpools[]
	uint32_t used_count; // its length where a type or a symbol tells, else 0
	hw_addr_t arenas, max_arenas;
	hw_addr_t usable, unused; // heads of the lists of arena objects
	hw_addr_t arenas_allocated, arenas_total, arenas_highwater, raw_blocks;
	hw_addr_t map_mid_count, map_bot_count; // int, of the radix tree
	hw_addr_t serial;                       // of the debug hooks, up to 3.7
};

struct hw_obmalloc_states {
	HW_VEC(struct hw_obmalloc_roots) roots;
	const char *facts;
};

// The states of all interpreters, each once.
struct hw_error *hw_obmalloc_find_states(struct hw_target *target, const struct hw_python *python,
					 struct hw_issues *issues,
					 struct hw_obmalloc_states *ret) HW_MUST_USE;

// Which allocator gives out objects: pm->in_force and what belongs to it.
void hw_obmalloc_find_in_force(struct hw_target *target, const struct hw_python *python,
			       struct hw_pymalloc *pm);

// The number of size classes when `used` is an array of usedpools (each entry leads to itself: empty,
// or to a pool of its class), else 0. `used_count` 0: not known.
uint32_t hw_obmalloc_prove_usedpools(struct hw_target *target,
				     const struct hw_python_layout *layout, hw_addr_t used,
				     uint32_t used_count);

// Appends the arenas of a state to pm->arenas as their objects describe them: nothing is judged yet.
// No array and no slots: no arenas.
struct hw_error *hw_obmalloc_read_arenas(struct hw_target *target,
					 const struct hw_python_layout *layout,
					 const struct hw_obmalloc_roots *roots,
					 uint32_t state_index, struct hw_issues *issues,
					 struct hw_pymalloc *pm) HW_MUST_USE;
// Fills pm->arena_bytes, pool_bytes, size_class_count, and alignment when it is 0.
struct hw_error *hw_obmalloc_prove_geometry(struct hw_target *target,
					    const struct hw_python_layout *layout,
					    struct hw_pymalloc *pm) HW_MUST_USE;
// Before any arena is known: what a build with this layout usually has.
uint32_t hw_obmalloc_usual_arena_bytes(const struct hw_python_layout *layout);
// Do the arena object's members agree with each other and the geometry?
bool hw_obmalloc_arena_is_sound(const struct hw_pymalloc *pm, const struct hw_arena *arena);
// Makes pm->reader and room for pm->pools: the arenas are all known.
struct hw_error *hw_obmalloc_make_reader(const struct hw_python_layout *layout,
					 struct hw_pymalloc *pm) HW_MUST_USE;
void hw_obmalloc_free_reader(struct hw_pymalloc *pm);
// Fills pm->pools and the sums of pm->states from all arenas that were not read.
struct hw_error *hw_obmalloc_read_rest(struct hw_pymalloc *pm,
				       struct hw_progress *progress) HW_MUST_USE;
// Of all headers up to now, how many are bad, and how many are missing.
void hw_obmalloc_count_damage(const struct hw_pymalloc *pm, size_t *ret_bad, size_t *ret_missing);
// Makes hw_pymalloc_find_arena() answer.
struct hw_error *hw_obmalloc_index_arenas(struct hw_pymalloc *pm) HW_MUST_USE;

// The statics of a binary without symbols; false: not found for certain. Counters are left out; so are
// arenas and max_arenas when it is certain that there is no arena.
bool hw_obmalloc_search_statics(struct hw_target *target, const struct hw_python *python,
				struct hw_obmalloc_roots *roots);

// The state of an interpreter whose member is not known, by what usedpools looks like; false: none or two.
bool hw_obmalloc_search_interpreter(struct hw_target *target, const struct hw_python_layout *layout,
				    hw_addr_t interp, hw_addr_t *ret);

// sizeof(struct pool_header) of all versions, a multiple of the blocks' alignment.
static inline int32_t hw_obmalloc_header_bytes(const struct hw_python_layout *layout)
{
	return layout->word_bytes == 8 ? HW_POOL_HEADER_BYTES_MAX : 32;
}
static inline bool hw_obmalloc_read_u32(struct hw_target *target, hw_addr_t addr, uint32_t *ret)
{
	uint8_t word[4];
	if (hw_target_read_some(target, addr, word, sizeof(word)) != sizeof(word))
		return false;
	*ret = hw_u32(word);
	return true;
}

#endif
