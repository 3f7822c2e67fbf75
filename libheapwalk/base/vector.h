/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Growing arrays. HW_VEC(struct hw_x) v = {0}; hw_vec_push(&v, x) is false when out of memory.
#ifndef HW_BASE_VECTOR_H
#define HW_BASE_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define HW_VEC(type)                                                                               \
	struct {                                                                                   \
		type *data;                                                                        \
		size_t count, capacity;                                                            \
	}

bool hw_vec_grow(void **data, size_t *capacity, size_t want, size_t item_size);

#define hw_vec_reserve(v, want)                                                                    \
	((want) <= (v)->capacity ||                                                                \
	 hw_vec_grow((void **)&(v)->data, &(v)->capacity, (want), sizeof(*(v)->data)))
#define hw_vec_push(v, item)                                                                       \
	(hw_vec_reserve((v), (v)->count + 1) && ((v)->data[(v)->count++] = (item), true))
// A copy of all items of another vector, which keeps them.
#define hw_vec_append(v, from)                                                                     \
	(hw_vec_reserve((v), (v)->count + (from)->count) &&                                        \
	 ((from)->count ? (void)memcpy((v)->data + (v)->count, (from)->data,                       \
				       (from)->count * sizeof(*(v)->data))                         \
			: (void)0,                                                                 \
	  (v)->count += (from)->count, true))
// Index of the first item whose `member` is beyond `value`, in a vector that `member` sorts; v->count: none.
#define hw_vec_find_beyond(v, member, value)                                                       \
	({                                                                                         \
		size_t hw_low = 0, hw_high = (v)->count;                                           \
		while (hw_low < hw_high) {                                                         \
			size_t hw_mid = hw_low + (hw_high - hw_low) / 2;                           \
			if ((v)->data[hw_mid].member <= (value))                                   \
				hw_low = hw_mid + 1;                                               \
			else                                                                       \
				hw_high = hw_mid;                                                  \
		}                                                                                  \
		hw_low;                                                                            \
	})
#define hw_vec_deinit(v) (free((v)->data), (v)->data = NULL, (v)->count = (v)->capacity = 0)
#define hw_vec_foreach(item, v)                                                                    \
	for (__typeof__(*(v)->data) *item = (v)->data; (v)->data && item < (v)->data + (v)->count; \
	     item++)

#endif
