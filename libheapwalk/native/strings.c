/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "native/strings.h"

#include <string.h>

#include "native/classifiers.h"

enum {
	HW_STRING_MIN = 3,
	HW_UTF8_MAX = 4,
	HW_PIECE_BYTES = 4096,
	HW_TEXT_MAX = 16 << 20, // a remote target needs seconds for it, and this is not interrupted
};

// Sixteen bytes at once; GNU C's vectors are two words where the machine has none.
typedef uint8_t hw_bytes16 __attribute__((vector_size(16)));
typedef uint64_t hw_words2 __attribute__((vector_size(16)));
typedef char hw_chars16 __attribute__((vector_size(16)));

// A bit for each of the sixteen bytes at p that is neither white space nor from 0x20 to 0x7e, the first one's the
// lowest.
static inline unsigned hw_odd_bytes(const uint8_t *p)
{
	hw_bytes16 bytes;
	memcpy(&bytes, p, sizeof(bytes));
	bytes = (hw_bytes16)((bytes - 0x20 > 0x7e - 0x20) & (bytes - '\t' > '\r' - '\t'));
#ifdef __SSE2__
	return (unsigned)__builtin_ia32_pmovmskb128((hw_chars16)bytes);
#else
	const uint64_t ones = 0x0101010101010101u, diagonal = 0x0102040810204080u;
	const hw_words2 odd = (hw_words2)bytes;
	return (unsigned)((odd[0] & ones) * diagonal >> 56 | (odd[1] & ones) * diagonal >> 56 << 8);
#endif
}

static bool hw_is_plain(uint8_t c)
{
	return (c >= 0x20 && c <= 0x7e) || (c >= '\t' && c <= '\r');
}

// Where the first byte from `i` on is that is not plain ASCII: len, none is.
static inline size_t hw_skip_plain(const uint8_t *bytes, size_t i, size_t len)
{
	unsigned odd;
	for (; i + 16 <= len; i += 16) {
		odd = hw_odd_bytes(bytes + i);
		if (odd)
			return i + (unsigned)__builtin_ctz(odd);
	}
	if (i == len || len < 16) {
		while (i < len && hw_is_plain(bytes[i]))
			i++;
		return i;
	}
	odd = hw_odd_bytes(bytes + len - 16) >>
	      (16 - (len - i)); // the last sixteen, but for those before i
	return odd ? i + (unsigned)__builtin_ctz(odd) : len;
}

// Bytes of the UTF-8 sequence at p (2 … 4), 0 when it is none. `len` > 0.
static size_t hw_utf8_sequence(const uint8_t *p, size_t len)
{
	size_t n = p[0] >= 0xc2 && p[0] < 0xe0   ? 2
		   : (p[0] & 0xf0) == 0xe0       ? 3
		   : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						 : 0;
	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

// Bytes that a text may begin with, a bit each: white space, ASCII, first bytes of UTF-8 sequences. Most
// blocks fail here.
static const uint64_t hw_text_starts[4] = { 0xffffffff00003e00u, 0x7fffffffffffffffu, 0,
					    0x001ffffffffffffcu };

enum hw_text {
	HW_TEXT_NONE,
	HW_TEXT_ENDS, // with a NUL
	HW_TEXT_OPEN, // as far as can be seen, to the last byte or into the last character
};

// Reads text from *at on, and moves *at and *characters.
static enum hw_text hw_read_text(const uint8_t *bytes, size_t len, size_t *at, size_t *characters)
{
	for (;;) {
		const size_t from = *at;
		*at = hw_skip_plain(bytes, from, len);
		*characters += *at - from;
		for (; *at < len && bytes[*at] >= 0x80; ++*characters) {
			size_t n = hw_utf8_sequence(bytes + *at, len - *at);
			if (!n)
				return len - *at < HW_UTF8_MAX ? HW_TEXT_OPEN : HW_TEXT_NONE;
			*at += n;
		}
		if (*at == len)
			return HW_TEXT_OPEN;
		if (!bytes[*at])
			return HW_TEXT_ENDS;
		if (!hw_is_plain(bytes[*at]))
			return HW_TEXT_NONE;
	}
}

static inline bool hw_may_be_text(const uint8_t *bytes, size_t len)
{
	return len && hw_text_starts[bytes[0] / 64] >> bytes[0] % 64 & 1;
}

bool hw_is_c_string(const uint8_t *bytes, size_t len, size_t *ret_len)
{
	size_t at = 0, characters = 0;
	if (!hw_may_be_text(bytes, len) ||
	    hw_read_text(bytes, len, &at, &characters) != HW_TEXT_ENDS ||
	    characters < HW_STRING_MIN)
		return false;
	*ret_len = at;
	return true;
}

// Every process has strings: nothing to look for.
static struct hw_error *hw_strings_open(const struct hw_native *native, void **ret)
{
	(void)native;
	*ret = (void *)&hw_string_classifier; // no state: anything but NULL
	return NULL;
}

static void hw_strings_close(void *state)
{
	(void)state;
}

// What is at hand of the block, from its first byte to *ret_at.
static enum hw_text hw_block_text(const struct hw_native_block *block, size_t *ret_at)
{
	size_t characters = *ret_at = 0;
	if (!hw_may_be_text(block->bytes, block->len))
		return HW_TEXT_NONE;
	enum hw_text text = hw_read_text(block->bytes, block->len, ret_at, &characters);
	if (text == HW_TEXT_ENDS && characters < HW_STRING_MIN)
		return HW_TEXT_NONE;
	return text == HW_TEXT_OPEN && block->capacity <= block->len ? HW_TEXT_NONE : text;
}

static const struct hw_native_kind hw_string_kind = { "C", "string data", "" };

// A long text's end is read when all blocks are known.
static enum hw_glance hw_strings_glance(void *state, const struct hw_native_block *block,
					struct hw_native_kind *ret)
{
	size_t at;
	(void)state;
	enum hw_text text = hw_block_text(block, &at);
	if (text != HW_TEXT_ENDS)
		return text == HW_TEXT_OPEN ? HW_GLANCE_LATER : HW_GLANCE_NOTHING;
	*ret = hw_string_kind;
	return HW_GLANCE_KNOWN;
}

static bool hw_strings_classify(void *state, struct hw_native_sink *sink,
				const struct hw_native_block *block, struct hw_native_kind *ret)
{
	size_t offset, at = 0, characters = HW_STRING_MIN;
	(void)state;
	enum hw_text text = hw_block_text(block, &offset);
	for (; text == HW_TEXT_OPEN; offset += at, at = 0) {
		uint8_t bytes[HW_PIECE_BYTES];
		size_t len = (size_t)hw_min(block->capacity - offset, sizeof(bytes));
		if (offset > HW_TEXT_MAX ||
		    !hw_pages_read(sink->pages, block->start + offset, bytes, len))
			return false;
		text = hw_read_text(bytes, len, &at, &characters);
		if (offset + len == block->capacity && text == HW_TEXT_OPEN)
			return false;
	}
	*ret = hw_string_kind;
	return text == HW_TEXT_ENDS;
}

static void hw_strings_beginnings(void *state, struct hw_beginnings *ret)
{
	(void)state;
	memcpy(ret->bytes, hw_text_starts, sizeof(ret->bytes));
}

const struct hw_classifier hw_string_classifier = {
	.name = "C strings",
	.reads_32_bit = true,
	.open = hw_strings_open,
	.close = hw_strings_close,
	.classify = hw_strings_classify,
	.glance = hw_strings_glance,
	.beginnings = hw_strings_beginnings,
};
