/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Words out of copied target bytes: little-endian, any alignment. Callers check bounds.
#ifndef HW_BASE_BYTES_H
#define HW_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hw_u64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}
static inline uint32_t hw_u32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}
static inline uint16_t hw_u16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}
// A word of the target: pointer, size_t, long. `word_bytes` is 8 or 4.
static inline uint64_t hw_word(const void *p, unsigned word_bytes)
{
	return word_bytes == 8 ? hw_u64(p) : hw_u32(p);
}
// What a word says that has a sign: Py_ssize_t, long.
static inline int64_t hw_word_signed(uint64_t word, unsigned word_bytes)
{
	return word_bytes == 8 ? (int64_t)word : (int32_t)word;
}
static inline uint64_t hw_align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}
static inline uint64_t hw_align_down(uint64_t v, uint64_t to)
{
	return v & ~(to - 1);
}
static inline uint64_t hw_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}
static inline uint64_t hw_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
