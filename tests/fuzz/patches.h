/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What libFuzzer's bytes mean to targets that begin with a healthy image: where to write which word. Far
// fewer inputs are lost to "no heap here" than when the image itself were the input.
#ifndef PATCHES_H
#define PATCHES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PATCH_BYTES = 12, PATCH_UNDO_MAX = 1024 };

// What the patches of this input have written over: the image is made once, and mended after each input.
static struct {
	uint8_t *at;
	uint8_t old[8];
	uint8_t len;
} patch_undone[PATCH_UNDO_MAX];
static size_t patch_undo_count;

static inline void patch_write(uint8_t *at, const void *bytes, size_t len)
{
	if (patch_undo_count == PATCH_UNDO_MAX)
		return;
	memcpy(patch_undone[patch_undo_count].old, at, len);
	patch_undone[patch_undo_count].at = at;
	patch_undone[patch_undo_count++].len = (uint8_t)len;
	memcpy(at, bytes, len);
}

// The image as it was before the input.
static inline void patch_undo(void)
{
	while (patch_undo_count) {
		patch_undo_count--;
		memcpy(patch_undone[patch_undo_count].at, patch_undone[patch_undo_count].old,
		       patch_undone[patch_undo_count].len);
	}
}

// A patch: 3 bytes of place, 1 of kind, 8 of value. `words` are addresses that mean something in the image:
// a random word never is one.
static inline void patch_apply(uint8_t *image, size_t image_bytes, const uint64_t *words,
			       size_t word_count, const uint8_t *data, size_t size)
{
	for (; size >= PATCH_BYTES; data += PATCH_BYTES, size -= PATCH_BYTES) {
		size_t at = (data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) % image_bytes;
		size_t room = image_bytes - at;
		uint64_t value, old = 0;
		memcpy(&value, data + 4, 8);
		memcpy(&old, image + at, room < 8 ? room : 8);
		size_t len = 8;
		switch (data[3] & 7) {
		case 0: // a word of the fuzzer's
			break;
		case 1: // an address with an offset
			value = words[value % word_count] + (value >> 48);
			break;
		case 2:
			value = old + (int8_t)value;
			break;
		case 3:
			value = old ^ 1ull << (value & 63);
			break;
		case 4: // half a word
			len = 4;
			break;
		case 5:
			len = 1;
			break;
		case 6: // another word of the image
			memcpy(&value, image + value % (image_bytes - 7), 8);
			break;
		default: // aligned, an address
			at &= ~(size_t)7;
			room = image_bytes - at;
			value = words[value % word_count] + (value >> 56) * 16;
			break;
		}
		patch_write(image + at, &value, len < room ? len : room);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
