/* SPDX-License-Identifier: LGPL-2.1-or-later */
// zlib's streams: struct internal_state (deflate.h) and struct inflate_state (inflate.h), as they are
// since zlib 1.2.11 (1.3.1 the same). Both begin with a pointer to the application's z_stream, whose `state`
// points back at them and whose allocator is code; the window's sizes agree with each other.
#include "base/bytes.h"
#include "native/classifiers.h"

// zlib.h, z_stream
enum { STRM_STATE = 56, STRM_ZALLOC = 64, STRM_ZFREE = 72, STRM_BYTES = 112 };

// Both: strm, then the state of the machine.
enum { STATE_STRM = 0, STATE_STATUS = 8 };

enum {
	DEFLATE_PENDING_BUF = 16,
	DEFLATE_PENDING_BUF_SIZE = 24,
	DEFLATE_W_SIZE = 80,
	DEFLATE_W_BITS = 84,
	DEFLATE_W_MASK = 88,
	DEFLATE_WINDOW = 96,
	DEFLATE_WINDOW_SIZE = 104,
	DEFLATE_PREV = 112,
	DEFLATE_HEAD = 120,
	DEFLATE_HASH_SIZE = 132,
	DEFLATE_HASH_BITS = 136,
	DEFLATE_HASH_MASK = 140,
	DEFLATE_LOOK = 144, // bytes that are looked at
};

enum {
	INFLATE_MODE_FIRST = 16180, // HEAD
	INFLATE_MODE_LAST = 16211,  // SYNC
	INFLATE_WBITS = 56,
	INFLATE_WSIZE = 60,
	INFLATE_WHAVE = 64,
	INFLATE_WNEXT = 68,
	INFLATE_WINDOW = 72,
	INFLATE_LOOK = 80,
	INFLATE_BYTES_MIN = 4096, // its two code tables alone take more
};

enum { WINDOW_BITS_MIN = 8, WINDOW_BITS_MAX = 15, HASH_BITS_MIN = 8, HASH_BITS_MAX = 16 };

static struct hw_error *hw_zlib_open(const struct hw_native *native, void **ret)
{
	if (!hw_native_library(native, "libz", "inflateInit2_"))
		return NULL;
	*ret = native->modules;
	return NULL;
}

static void hw_zlib_close(void *state)
{
	(void)state;
}

// Does the stream that the block points at point back at the block?
static bool hw_zlib_has_stream(struct hw_modules *modules, struct hw_native_sink *sink,
			       const struct hw_native_block *block)
{
	uint8_t strm[STRM_BYTES];
	hw_addr_t at = hw_u64(block->bytes + STATE_STRM);
	return !(at & 7) && hw_pages_read(sink->pages, at, strm, sizeof(strm)) &&
	       hw_u64(strm + STRM_STATE) == block->start &&
	       hw_modules_at(modules, hw_u64(strm + STRM_ZALLOC)) &&
	       hw_modules_at(modules, hw_u64(strm + STRM_ZFREE));
}

// Claims the block at `at` when it has room for `bytes`.
static void hw_zlib_claim(struct hw_native_sink *sink, hw_addr_t at, uint64_t bytes,
			  const char *kind)
{
	uint64_t capacity;
	if (bytes && sink->find(sink, at, &capacity) && capacity >= bytes)
		sink->claim(sink, at, &(struct hw_native_kind){ "zlib", kind, "" });
}

static bool hw_is_deflate_status(uint32_t status)
{
	switch (status) {
	case 42:  // INIT_STATE
	case 57:  // GZIP_STATE
	case 69:  // EXTRA_STATE
	case 73:  // NAME_STATE
	case 91:  // COMMENT_STATE
	case 103: // HCRC_STATE
	case 113: // BUSY_STATE
	case 666: // FINISH_STATE
		return true;
	default:
		return false;
	}
}

static bool hw_zlib_deflate(struct hw_modules *modules, struct hw_native_sink *sink,
			    const struct hw_native_block *block)
{
	const uint8_t *bytes = block->bytes;
	if (block->len < DEFLATE_LOOK)
		return false;
	uint32_t bits = hw_u32(bytes + DEFLATE_W_BITS), size = hw_u32(bytes + DEFLATE_W_SIZE);
	uint32_t hash_bits = hw_u32(bytes + DEFLATE_HASH_BITS);
	uint32_t hash_size = hw_u32(bytes + DEFLATE_HASH_SIZE);
	if (bits < WINDOW_BITS_MIN || bits > WINDOW_BITS_MAX || size != 1u << bits ||
	    hw_u32(bytes + DEFLATE_W_MASK) != size - 1 || hash_bits < HASH_BITS_MIN ||
	    hash_bits > HASH_BITS_MAX || hash_size != 1u << hash_bits ||
	    hw_u32(bytes + DEFLATE_HASH_MASK) != hash_size - 1 ||
	    !hw_zlib_has_stream(modules, sink, block))
		return false;
	hw_zlib_claim(sink, hw_u64(bytes + DEFLATE_WINDOW), 2 * (uint64_t)size, "deflate window");
	hw_zlib_claim(sink, hw_u64(bytes + DEFLATE_PREV), 2 * (uint64_t)size, "deflate prev");
	hw_zlib_claim(sink, hw_u64(bytes + DEFLATE_HEAD), 2 * (uint64_t)hash_size, "deflate head");
	hw_zlib_claim(sink, hw_u64(bytes + DEFLATE_PENDING_BUF),
		      hw_u64(bytes + DEFLATE_PENDING_BUF_SIZE), "deflate pending_buf");
	return true;
}

static bool hw_zlib_inflate(struct hw_modules *modules, struct hw_native_sink *sink,
			    const struct hw_native_block *block)
{
	const uint8_t *bytes = block->bytes;
	if (block->len < INFLATE_LOOK || block->capacity < INFLATE_BYTES_MIN)
		return false;
	uint32_t bits = hw_u32(bytes + INFLATE_WBITS), size = hw_u32(bytes + INFLATE_WSIZE);
	if (bits > WINDOW_BITS_MAX || (size && size != 1u << bits) ||
	    hw_u32(bytes + INFLATE_WHAVE) > size || hw_u32(bytes + INFLATE_WNEXT) > size ||
	    !hw_zlib_has_stream(modules, sink, block))
		return false;
	hw_zlib_claim(sink, hw_u64(bytes + INFLATE_WINDOW), size, "inflate window");
	return true;
}

static bool hw_zlib_classify(void *state, struct hw_native_sink *sink,
			     const struct hw_native_block *block, struct hw_native_kind *ret)
{
	if (block->len < STATE_STATUS + 4)
		return false;
	uint32_t status = hw_u32(block->bytes + STATE_STATUS);
	if (hw_is_deflate_status(status)) {
		*ret = (struct hw_native_kind){ "zlib", "deflate_state", "" };
		return hw_zlib_deflate(state, sink, block);
	}
	if (status < INFLATE_MODE_FIRST || status > INFLATE_MODE_LAST)
		return false;
	*ret = (struct hw_native_kind){ "zlib", "inflate_state", "" };
	return hw_zlib_inflate(state, sink, block);
}

const struct hw_classifier hw_zlib_classifier = {
	.name = "zlib",
	.open = hw_zlib_open,
	.close = hw_zlib_close,
	.classify = hw_zlib_classify,
};
