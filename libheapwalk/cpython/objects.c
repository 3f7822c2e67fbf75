/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/objects.h"

#include "base/bytes.h"

// Immortal objects' counts begin here.
#define HW_LOW_HEAP_END ((hw_addr_t)1 << 31)

static struct hw_refcount_bits hw_refcount_bits(const struct hw_python_layout *l)
{
	struct hw_refcount_bits bits = { .count = UINT64_MAX, .at = (uint32_t)l->ob_refcnt };
	if (l->ob_refcnt == HW_ABSENT) {
		bits.is_split = true;
	} else if (l->ob_overflow == l->ob_refcnt + 4) {
		bits.count = UINT32_MAX;
		bits.overflow = (uint64_t)UINT16_MAX << 32;
	}
	return bits;
}

// Upstream: Include/refcount.h, Include/internal/pycore_object.h _PyObject_SetDeferredRefcount().
void hw_split_count_read(const struct hw_python_layout *l, const uint8_t *object,
			 struct hw_split_count *ret)
{
	enum { SHARED_SHIFT = 2 };
	// 3.14t adds this to the shared count of what has deferred reference counting.
	const int64_t bias = INT64_MAX / 8;
	*ret = (struct hw_split_count){
		.owner = hw_u64(object + l->ob_tid),
		.local = hw_u32(object + l->ob_ref_local),
		.shared = (int64_t)hw_u64(object + l->ob_ref_shared) >> SHARED_SHIFT,
		.gc_bits = object[l->ob_gc_bits],
	};
	ret->is_immortal = ret->local == UINT32_MAX;
	ret->is_deferred = !ret->is_immortal && ret->gc_bits & HW_GC_DEFERRED;
	if (ret->shared > bias / 2)
		ret->shared -= bias;
}

uint64_t hw_refcount_split(const struct hw_python_layout *l, const uint8_t *object)
{
	enum { SHARED_QUEUED = 2, SHARED_STATE = 3 };
	struct hw_split_count count;
	hw_split_count_read(l, object, &count);
	if (count.is_immortal)
		return UINT32_MAX;
	int64_t sum = count.local + count.shared;
	// What waits for its owner to merge the counts lives, whatever they say.
	bool lives = count.is_deferred ||
		     (object[l->ob_ref_shared] & SHARED_STATE) == SHARED_QUEUED;
	return sum > 0 ? (uint64_t)sum : lives;
}

bool hw_object_refcount(const struct hw_object_prover *prover, struct hw_pages *pages,
			hw_addr_t object, uint64_t *ret, bool *ret_is_part)
{
	struct hw_split_count count = { 0 };
	uint8_t header[HW_OBJECT_HEADER_MAX];
	if (!hw_pages_read(pages, object, header, prover->object_size))
		return false;
	*ret = hw_refcount(prover->refcount_bits, prover->layout, header, prover->word_bytes);
	if (prover->refcount_bits.is_split)
		hw_split_count_read(prover->layout, header, &count);
	*ret_is_part = count.is_deferred;
	return true;
}

static void hw_object_prover_conclude(struct hw_object_prover *prover)
{
	prover->look_bytes = HW_DEBUG_HEAD_BYTES;
	for (uint32_t i = 0; i < prover->head_count; i++) {
		prover->type_at[i] = prover->heads[i] + prover->ob_type;
		prover->look_bytes = (uint32_t)hw_max(prover->look_bytes,
						      prover->heads[i] + prover->object_size);
	}
	if (prover->word_bytes != 8)
		prover->look_bytes = UINT32_MAX;
}

// More references than there are words to hold them are none; immortal objects (3.12+) have counts up to
// 2^32, those of 32-bit builds below 2^31.
static uint64_t hw_refcount_max(const struct hw_python_layout *l, uint64_t mapped_bytes)
{
	if (l->word_bytes == 8)
		return mapped_bytes / 8 + ((uint64_t)1 << 33);
	return l->long_lv_tag == HW_ABSENT ? mapped_bytes / 4 : INT32_MAX;
}

void hw_object_prover_init(struct hw_object_prover *prover, const struct hw_python *python,
			   const struct hw_target *target)
{
	uint64_t mapped_bytes = 0;
	hw_addr_t low_end = 0, file_end = 0;
	const struct hw_python_layout *l = &python->layout;
	*prover = (struct hw_object_prover){
		.layout = l,
		.ob_type = (uint32_t)l->ob_type,
		.object_size = (uint32_t)l->object_size,
		.word_bytes = l->word_bytes,
		.refcount_bits = hw_refcount_bits(l),
		.low_heap = HW_LOW_HEAP_END,
	};
	hw_vec_foreach(m, &target->mappings)
	{
		mapped_bytes += m->end - m->start;
		// A file's .bss follows it, and is no heap.
		if (*m->path == '/' || m->start == file_end) {
			file_end = m->end;
			continue;
		}
		if (!hw_mapping_is_private_writable(m) || m->end > HW_LOW_HEAP_END)
			continue;
		prover->low_heap = hw_min(prover->low_heap, m->start);
		low_end = m->end;
	}
	if (low_end)
		prover->low_heap_bytes = low_end - prover->low_heap;
	prover->refcount_max = hw_refcount_max(l, mapped_bytes);
	const uint32_t gc = (uint32_t)l->gc_head_size, two_words = 2 * l->word_bytes;
	prover->has_gc_links = gc == two_words;
	// Objects are aligned to two words, but the head of their list is in the interpreter.
	bool has_odd_lists = l->word_bytes != 8 || (l->interp_gc_generations != HW_ABSENT &&
						    l->interp_gc_generations % 8);
	prover->gc_no_bits = has_odd_lists ? 2 : 6;
	prover->heads[prover->head_count++] = 0;
	if (gc > two_words && l->ht_tpname != HW_ABSENT)
		prover->heads[prover->head_count++] = two_words;
	if (gc)
		prover->heads[prover->head_count++] = gc;
	if (l->ht_tpname != HW_ABSENT) // 3.11+: pre-headers
		prover->heads[prover->head_count++] = gc + two_words;
	hw_object_prover_conclude(prover);
}

void hw_object_prover_at(struct hw_object_prover *prover, uint32_t head, uint32_t count)
{
	prover->heads[0] = head;
	prover->head_count = count;
	hw_object_prover_conclude(prover);
}

// Upstream: _PyMem_DebugRawAlloc; the forbidden byte is 0xFD, 0xFB before 3.7.
static bool hw_has_debug_head(const uint8_t *p, unsigned word_bytes, uint64_t *ret_requested)
{
	const unsigned unused_bits = 64 - 8 * word_bytes;
	uint64_t marks = hw_word(p + word_bytes, word_bytes);
	uint64_t forbidden = marks >> 8;
	uint8_t api = (uint8_t)marks;
	if ((forbidden != 0xfdfdfdfdfdfdfdu >> unused_bits &&
	     forbidden != 0xfbfbfbfbfbfbfbu >> unused_bits) ||
	    (api != 'r' && api != 'm' && api != 'o'))
		return false;
	*ret_requested = __builtin_bswap64(hw_word(p, word_bytes)) >> unused_bits;
	return true;
}

uint32_t hw_debug_head_slow(const uint8_t *block, size_t len, uint64_t capacity,
			    unsigned word_bytes, uint64_t *ret_requested)
{
	const uint32_t head_bytes = 2 * word_bytes;
	uint32_t bytes = 0;
	uint64_t requested;
	*ret_requested = capacity;
	while (bytes < HW_DEBUG_HEADS_MAX * head_bytes && *ret_requested >= head_bytes &&
	       len >= bytes + head_bytes &&
	       hw_has_debug_head(block + bytes, word_bytes, &requested) &&
	       requested <= *ret_requested - head_bytes) {
		bytes += head_bytes;
		*ret_requested = requested;
	}
	return bytes;
}

uint64_t hw_object_bytes(const struct hw_python_layout *l, const struct hw_type *type,
			 const uint8_t *object, size_t len)
{
	const unsigned word = l->word_bytes;
	uint64_t bytes = type->basicsize;
	uint64_t items = 0;
	switch (type->shape) {
	case HW_SHAPE_AT_LEAST:
		break;
	case HW_SHAPE_INT:
	case HW_SHAPE_PLAIN:
		if (!type->itemsize || len < (size_t)l->ob_size + word)
			break;
		items = hw_word(object + l->ob_size, word);
		if (type->shape == HW_SHAPE_INT && l->long_lv_tag != HW_ABSENT)
			items >>= 3;
		else if (hw_word_signed(items, word) < 0)
			items = 0 - (uint64_t)hw_word_signed(items, word);
		if (items > UINT32_MAX * (uint64_t)64)
			return 0;
		bytes += items * type->itemsize;
		break;
	case HW_SHAPE_STR:
		if (l->str_state == HW_ABSENT || len < (size_t)l->str_state + 4)
			break;
		uint32_t state = hw_str_state(l, hw_u32(object + l->str_state));
		uint32_t kind = state >> 2 & 7;
		bool is_compact = state >> 5 & 1, is_ascii = state >> 6 & 1;
		items = hw_word(object + l->str_length, word);
		if (items >> 48 || kind == 3 || kind > 4)
			return 0;
		if (is_compact) {
			if (!kind || (is_ascii && kind != 1))
				return 0;
			bytes = (uint64_t)(is_ascii ? l->str_ascii_size : l->str_compact_size) +
				(items + 1) * kind;
		}
		break;
	}
	return bytes;
}

// realloc() leaves a block that shrinks to three quarters or more where it is; an allocator may give a
// few words more; PyType_GenericAlloc adds an item, and a dict slot at the end.
static uint64_t hw_object_room_max(const struct hw_type *type, uint64_t bytes)
{
	return bytes + bytes / 3 + 2 * (uint64_t)type->itemsize + 96;
}

void hw_type_measure(struct hw_type *type, unsigned word_bytes)
{
	type->room_min = type->basicsize;
	// Modules/_datetimemodule.c: instances without a time zone lack the word for it, their last.
	if (!(type->flags & HW_TPFLAGS_HEAPTYPE) && type->room_min > word_bytes &&
	    (type->absent_file || !strcmp(type->name, "datetime.datetime") ||
	     !strcmp(type->name, "datetime.time")))
		type->room_min -= word_bytes;
	if (type->shape == HW_SHAPE_AT_LEAST || type->flags & HW_TPFLAGS_INLINE_VALUES)
		type->room_max = UINT64_MAX;
	else if (type->shape == HW_SHAPE_PLAIN && !type->itemsize)
		type->room_max = hw_object_room_max(type, type->basicsize);
}

bool hw_object_fits_variable(const struct hw_object_prover *prover, const struct hw_type *type,
			     const uint8_t *object, size_t len, uint64_t capacity)
{
	uint64_t bytes = hw_object_bytes(prover->layout, type, object, len);
	uint64_t room = hw_object_room_max(type, bytes);
	if (prover->shrinks_to_half)
		room += bytes - bytes / 3;
	return bytes && bytes <= capacity && capacity <= room;
}
