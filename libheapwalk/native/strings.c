/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "native/strings.h"

#include "base/bytes.h"
#include "native/classifiers.h"

enum { HW_STRING_MIN = 3 };

static const uint64_t hw_high_bits = 0x8080808080808080u, hw_ones = 0x0101010101010101u;

// Are all eight bytes from 0x20 to 0x7e? Borrows and carries run only from bytes that fail themselves.
static bool hw_is_plain_ascii(uint64_t word)
{
	return !((word | (word - 0x20 * hw_ones) | (word + hw_ones)) & hw_high_bits);
}

// Bytes in front of the first that is 0; 8: none is.
static unsigned hw_bytes_before_nul(uint64_t word)
{
	uint64_t nuls = (word - hw_ones) & ~word & hw_high_bits; // exact up to the first
	return nuls ? (unsigned)__builtin_ctzll(nuls) / 8 : 8;
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

bool hw_is_c_string(const uint8_t *bytes, size_t len, size_t *ret_len)
{
	size_t i = 0, characters = 0;
	if (!len || !(hw_text_starts[bytes[0] / 64] >> bytes[0] % 64 & 1))
		return false;
	// most of a long text, or a look at what is none
	while (i + 32 <= len && hw_is_plain_ascii(hw_u64(bytes + i)) &&
	       hw_is_plain_ascii(hw_u64(bytes + i + 8)) &&
	       hw_is_plain_ascii(hw_u64(bytes + i + 16)) &&
	       hw_is_plain_ascii(hw_u64(bytes + i + 24)))
		i = characters += 32;
	while (i < len && bytes[i]) {
		if (i + 8 <= len) {
			uint64_t word = hw_u64(bytes + i);
			if (hw_is_plain_ascii(word)) {
				i += 8;
				characters += 8;
				continue;
			}
			unsigned n = hw_bytes_before_nul(word);
			// spaces in place of what is behind the end
			uint64_t rest = n < 8 ? ~(uint64_t)0 << 8 * n : 0;
			if (n < 8 && hw_is_plain_ascii((word & ~rest) | (0x20 * hw_ones & rest))) {
				i += n;
				characters += n;
				break;
			}
		}
		uint8_t c = bytes[i];
		size_t n = 1;
		if (c >= 0x80)
			n = hw_utf8_sequence(bytes + i, len - i);
		else if ((c < 0x20 && (c < '\t' || c > '\r')) || c == 0x7f)
			n = 0;
		if (!n)
			return false;
		i += n;
		characters++;
	}
	if (i == len || characters < HW_STRING_MIN)
		return false;
	*ret_len = i;
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

static enum hw_glance hw_strings_glance(void *state, const struct hw_native_block *block,
					struct hw_native_kind *ret)
{
	size_t text_len;
	(void)state;
	if (!hw_is_c_string(block->bytes, block->len, &text_len))
		return HW_GLANCE_NOTHING;
	*ret = (struct hw_native_kind){ "C", "string data", "" };
	return HW_GLANCE_KNOWN;
}

static bool hw_strings_classify(void *state, struct hw_native_sink *sink,
				const struct hw_native_block *block, struct hw_native_kind *ret)
{
	(void)sink;
	return hw_strings_glance(state, block, ret) == HW_GLANCE_KNOWN;
}

const struct hw_classifier hw_string_classifier = {
	.name = "C strings",
	.reads_32_bit = true,
	.open = hw_strings_open,
	.close = hw_strings_close,
	.classify = hw_strings_classify,
	.glance = hw_strings_glance,
};
