/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Is there a Python object in this block? A header that proves itself: a proven type, a sane reference
// count, at the place where the allocator puts an object of that type, of a size that fits the block.
// Upstream: Include/object.h, Include/objimpl.h, Modules/gcmodule.c, Objects/obmalloc.c (debug hooks).
#ifndef HW_CPYTHON_OBJECTS_H
#define HW_CPYTHON_OBJECTS_H

#include "base/bytes.h"
#include "cpython/types.h"

// What the debug hooks (PYTHONMALLOC=debug, Py_DEBUG) put before a block's data: a word of size,
// big-endian, the API's letter, forbidden bytes to fill another word. Their number is that of 64-bit targets.
enum { HW_DEBUG_HEAD_BYTES = 16, HW_DEBUG_HEADS_MAX = 2, HW_FORBIDDEN_BYTE_MIN = 0xfb };

struct hw_object {
	const struct hw_type *type;
	uint32_t offset;      // of the object, from the start of the block
	uint32_t debug_bytes; // hw_debug_head()
	int64_t refcount;
	bool is_dead; // refcount <= 0: on a free list
};

// Where an object's reference count is. Since 3.14 the word's upper half holds flags and what overflows
// the count, which is zero in an object that lives: on a free list the word is a link. Builds without the
// GIL have two counts: that of the thread which owns the object, and above two bits of state that of all
// others; some objects' is one that only the collector reads (PEP 703).
struct hw_refcount_bits {
	uint64_t count, overflow;
	uint32_t at; // of the word
	bool is_split;
};

// The header of an object that is counted twice.
struct hw_split_count {
	hw_addr_t owner; // the thread's pointer to its control block; 0: nobody's, or merged
	uint32_t local;
	int64_t shared;   // without the bias of a deferred count
	uint8_t gc_bits;  // enum hw_gc_bits
	bool is_immortal; // then nothing is counted
	bool is_deferred; // the collector alone frees it: references on threads' stacks are not counted
};
// Python/gc_free_threading.c, Include/internal/pycore_gc.h _PyGC_BITS_…, 3.13t – 3.15t
enum hw_gc_bits { HW_GC_TRACKED = 1, HW_GC_FINALIZED = 2, HW_GC_FROZEN = 8, HW_GC_DEFERRED = 64 };
void hw_split_count_read(const struct hw_python_layout *layout, const uint8_t *object,
			 struct hw_split_count *ret);

uint64_t hw_refcount_split(const struct hw_python_layout *layout, const uint8_t *object);

// What the header at `object` says, of layout->object_size bytes; 0: a free list has it.
static inline uint64_t hw_refcount(struct hw_refcount_bits bits,
				   const struct hw_python_layout *layout, const uint8_t *object,
				   unsigned word_bytes)
{
	if (bits.is_split)
		return hw_refcount_split(layout, object);
	uint64_t word = hw_word(object + bits.at, word_bytes);
	return word & bits.overflow ? 0 : word & bits.count;
}

struct hw_object_prover {
	const struct hw_python_layout *layout;
	uint32_t ob_type, object_size; // the layout's, at hand
	struct hw_refcount_bits refcount_bits;
	uint64_t refcount_max; // more references than the target has words: not a reference count
	// The heap of a program that is loaded at a fixed address is low enough for its addresses to pass
	// for counts: what lies in there is no count.
	hw_addr_t low_heap;
	uint64_t low_heap_bytes;
	uint32_t heads[4]; // distinct places of an object in its block, ascending
	uint32_t head_count;
	uint32_t type_at[4]; // where ob_type is then
	// What a block must have for all of them, to be proved by constants of 64-bit targets; no block has as
	// much as it takes for 32-bit ones, which go the general way.
	uint32_t look_bytes;
	uint32_t word_bytes;
	bool has_gc_links;   // the GC head is two words (3.8+)
	uint64_t gc_no_bits; // of its first word: neither address nor flag
	// mimalloc leaves a block where it is until half of it is enough: hw_object_prover_init() leaves it
	// false, it is the caller who knows the allocator.
	bool shrinks_to_half;
};

// The same of an object in the target, whose header is read through `pages`. *ret_is_part: there are more
// references than it says, for those on threads' stacks are not counted, nor those that each thread counts for
// itself (deferred, in builds without the GIL: what has a count of each thread is deferred, Python/uniqueid.c).
// False: it can't be read.
bool hw_object_refcount(const struct hw_object_prover *prover, struct hw_pages *pages,
			hw_addr_t object, uint64_t *ret, bool *ret_is_part);
void hw_object_prover_init(struct hw_object_prover *prover, const struct hw_python *python,
			   const struct hw_target *target);

// Makes it one for blocks that have objects `head` bytes behind their start alone (count 1) or none (0).
void hw_object_prover_at(struct hw_object_prover *prover, uint32_t head, uint32_t count);

// Bytes of a block that hw_object_prove() looks at; fewer only when the block is smaller.
enum { HW_OBJECT_LOOK_BYTES = 256 };

// Bytes of what the debug hooks write before the application's data: none, two words, or four where a request
// went on from one hooked domain to another (object to raw: everything larger than pymalloc's blocks).
// *ret_requested is what the application asked for, `capacity` when there are no hooks.
uint32_t hw_debug_head_slow(const uint8_t *block, size_t len, uint64_t capacity,
			    unsigned word_bytes, uint64_t *ret_requested);
static inline uint32_t hw_debug_head(const uint8_t *block, size_t len, uint64_t capacity,
				     unsigned word_bytes, uint64_t *ret_requested)
{
	// Most blocks: no forbidden bytes, known from two of them.
	const uint32_t last = 2 * word_bytes - 1;
	if (len <= last || block[last] < HW_FORBIDDEN_BYTE_MIN ||
	    block[last] != block[word_bytes + 1]) {
		*ret_requested = capacity;
		return 0;
	}
	return hw_debug_head_slow(block, len, capacity, word_bytes, ret_requested);
}

// Bytes from the object's start that an instance has at least; 0: its own fields contradict the type.
uint64_t hw_object_bytes(const struct hw_python_layout *layout, const struct hw_type *type,
			 const uint8_t *object, size_t len);

// Does an instance of `type` whose bytes are [object, object + len) fit into `capacity` bytes, and fill
// them as its allocator would have let it? For types whose instances differ in size.
bool hw_object_fits_variable(const struct hw_object_prover *prover, const struct hw_type *type,
			     const uint8_t *object, size_t len, uint64_t capacity);

// How much room an instance takes, as far as the type alone tells. Called once, before others see it.
void hw_type_measure(struct hw_type *type, unsigned word_bytes);

// Could these two words be a GC head of 3.8 or later: two links with flags in their low bits (while a
// collection runs, the second holds a count)? Values of attributes may look like an object, but the bytes
// of their insertion order stand where its links would be. Before 3.8 the head of an object that was never
// tracked holds what the block held last, and says nothing.
static inline bool hw_is_gc_head(const struct hw_object_prover *prover, const uint8_t *head,
				 unsigned word_bytes)
{
	uint64_t next = hw_word(head, word_bytes), prev = hw_word(head + word_bytes, word_bytes);
	return !((next | prev) >> HW_ADDRESS_BITS) && !(next & prover->gc_no_bits);
}

static inline bool hw_refcount_is_sane(const struct hw_object_prover *prover, uint64_t refcount)
{
	return refcount <= prover->refcount_max &&
	       refcount - prover->low_heap >= prover->low_heap_bytes;
}

// `block` is where malloc's or pymalloc's user data starts, `len` of its bytes are at hand, the
// application could use `capacity`. Places are tried from the start of the block on: a tuple of classes
// also reads as an instance of its first item, with the tuple's length for a reference count.
static inline bool hw_object_prove(const struct hw_object_prover *prover,
				   struct hw_type_cache *cache, const uint8_t *block, size_t len,
				   uint64_t capacity, struct hw_object *ret)
{
	// Most blocks: room for every place, no hooks, and the first type met is the object's.
	if (len >= prover->look_bytes && block[15] < HW_FORBIDDEN_BYTE_MIN) {
		const struct hw_type *type = NULL;
		uint32_t i = 0;
		while (i < prover->head_count &&
		       !(type = hw_type_at(cache, hw_u64(block + prover->type_at[i]))))
			i++;
		if (!type)
			return false;
		uint32_t at = prover->heads[i];
		uint64_t refcount = hw_refcount(prover->refcount_bits, prover->layout, block + at,
						8);
		uint64_t room = capacity - at;
		if (type->head_bytes == at && refcount && hw_refcount_is_sane(prover, refcount) &&
		    (type->room_max
			     ? room >= type->room_min && room <= type->room_max
			     : hw_object_fits_variable(prover, type, block + at, len - at, room)) &&
		    (!type->has_gc || !prover->has_gc_links ||
		     hw_is_gc_head(prover, block + at - 16, 8))) {
			// member by member: gcc 12 clears the whole with a slow string instruction
			ret->type = type;
			ret->offset = at;
			ret->debug_bytes = 0;
			ret->refcount = (int64_t)refcount;
			ret->is_dead = false;
			return true;
		}
	}
	const unsigned word = prover->word_bytes;
	uint64_t requested;
	uint32_t debug = hw_debug_head(block, len, capacity, word, &requested);
	if (debug) {
		capacity = debug + requested;
		if (len > capacity)
			len = (size_t)capacity;
	}
	bool is_found = false;
	for (uint32_t i = 0; i < prover->head_count; i++) {
		uint32_t head = prover->heads[i], at = debug + head;
		if (len < at + (size_t)prover->object_size)
			break;
		const struct hw_type *type =
			hw_type_at(cache, hw_word(block + at + prover->ob_type, word));
		if (!type || type->head_bytes != head)
			continue;
		uint64_t refcount = hw_refcount(prover->refcount_bits, prover->layout, block + at,
						word);
		uint64_t room = capacity - at;
		if (!hw_refcount_is_sane(prover, refcount) ||
		    !(type->room_max
			      ? room >= type->room_min && room <= type->room_max
			      : hw_object_fits_variable(prover, type, block + at, len - at, room)))
			continue;
		if (type->has_gc && prover->has_gc_links &&
		    !hw_is_gc_head(prover, block + at - 2 * word, word))
			continue;
		// A GC head that was never linked keeps words of the object that was here before, a
		// zero and its type: a living object behind it beats the dead one it looks like.
		if (!refcount && is_found)
			continue;
		*ret = (struct hw_object){ .type = type,
					   .offset = at,
					   .debug_bytes = debug,
					   .refcount = (int64_t)refcount,
					   .is_dead = !refcount };
		if (refcount)
			return true;
		is_found = true;
	}
	return is_found;
}

#endif
