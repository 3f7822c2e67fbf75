/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What unpack.c needs of each library of compression; unpack_codecs.c has a row for each.
#ifndef HW_TARGET_UNPACK_CODECS_H
#define HW_TARGET_UNPACK_CODECS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hw_unpack_result {
	HW_UNPACK_GOES_ON,
	HW_UNPACK_AT_END, // of a stream; another may follow
	HW_UNPACK_DAMAGED,
	HW_UNPACK_TOO_DEAR, // it wants more memory than HW_UNPACK_MEMORY_BYTES
	HW_UNPACK_NO_MEMORY,
};

enum { HW_UNPACK_MEMORY_BYTES = 128 << 20 }; // zstd -19 wants 8 MiB, zstd --ultra -22 128, xz -9 65

// Each moves on by what was taken and filled.
struct hw_unpack_buffers {
	const uint8_t *in;
	size_t in_len;
	uint8_t *out;
	size_t out_len;
};

struct hw_codec {
	const char *name, *tool; // the tool unpacks such a file with as much memory as it takes
	const char *magic;
	size_t magic_len;
	void *(*open)(void); // NULL: out of memory
	enum hw_unpack_result (*step)(void *state, struct hw_unpack_buffers *buffers);
	void (*close)(void *state);
};

// The codec of a file that begins so, or NULL.
const struct hw_codec *hw_codec_find(const uint8_t *bytes, size_t len);

#endif
