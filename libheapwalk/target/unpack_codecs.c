/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The four libraries, behind one table. Streams may follow each other in one file (pzstd, `cat`): each
// codec is ready for the next one when it has said HW_UNPACK_AT_END.
#include "target/unpack_codecs.h"

#include <lz4frame.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/bytes.h"

static void hw_unpack_advance(struct hw_unpack_buffers *buffers, size_t taken, size_t filled)
{
	buffers->in += taken;
	buffers->in_len -= taken;
	buffers->out += filled;
	buffers->out_len -= filled;
}

// ---- zstd ----

static void *hw_zstd_open(void)
{
	return ZSTD_createDStream(); // windows of up to 128 MiB are its own bound
}

static enum hw_unpack_result hw_zstd_step(void *state, struct hw_unpack_buffers *buffers)
{
	ZSTD_inBuffer in = { buffers->in, buffers->in_len, 0 };
	ZSTD_outBuffer out = { buffers->out, buffers->out_len, 0 };
	size_t result = ZSTD_decompressStream(state, &out, &in);
	hw_unpack_advance(buffers, in.pos, out.pos);
	if (!ZSTD_isError(result))
		return result ? HW_UNPACK_GOES_ON : HW_UNPACK_AT_END;
	switch (ZSTD_getErrorCode(result)) {
	case ZSTD_error_frameParameter_windowTooLarge:
		return HW_UNPACK_TOO_DEAR;
	case ZSTD_error_memory_allocation:
		return HW_UNPACK_NO_MEMORY;
	default:
		return HW_UNPACK_DAMAGED;
	}
}

static void hw_zstd_close(void *state)
{
	ZSTD_freeDStream(state);
}

// ---- lz4, in frames ----

static void *hw_lz4_open(void)
{
	LZ4F_dctx *state = NULL;
	return LZ4F_isError(LZ4F_createDecompressionContext(&state, LZ4F_VERSION)) ? NULL : state;
}

static enum hw_unpack_result hw_lz4_step(void *state, struct hw_unpack_buffers *buffers)
{
	size_t taken = buffers->in_len, filled = buffers->out_len;
	size_t result = LZ4F_decompress(state, buffers->out, &filled, buffers->in, &taken, NULL);
	if (LZ4F_isError(result))
		return HW_UNPACK_DAMAGED;
	hw_unpack_advance(buffers, taken, filled);
	return result ? HW_UNPACK_GOES_ON : HW_UNPACK_AT_END;
}

static void hw_lz4_close(void *state)
{
	LZ4F_freeDecompressionContext(state);
}

// ---- xz ----

struct hw_xz {
	lzma_stream stream;
	bool is_begun;
};

static void *hw_xz_open(void)
{
	return calloc(1, sizeof(struct hw_xz)); // LZMA_STREAM_INIT is all zeroes
}

static enum hw_unpack_result hw_xz_result(lzma_ret result)
{
	switch (result) {
	case LZMA_OK:
	case LZMA_BUF_ERROR: // it wants more bytes
		return HW_UNPACK_GOES_ON;
	case LZMA_STREAM_END:
		return HW_UNPACK_AT_END;
	case LZMA_MEMLIMIT_ERROR:
		return HW_UNPACK_TOO_DEAR;
	case LZMA_MEM_ERROR:
		return HW_UNPACK_NO_MEMORY;
	default:
		return HW_UNPACK_DAMAGED;
	}
}

static enum hw_unpack_result hw_xz_step(void *state, struct hw_unpack_buffers *buffers)
{
	struct hw_xz *xz = state;
	if (!xz->is_begun) {
		lzma_ret result = lzma_stream_decoder(&xz->stream, HW_UNPACK_MEMORY_BYTES, 0);
		if (result != LZMA_OK)
			return hw_xz_result(result);
		xz->is_begun = true;
	}
	xz->stream.next_in = buffers->in;
	xz->stream.avail_in = buffers->in_len;
	xz->stream.next_out = buffers->out;
	xz->stream.avail_out = buffers->out_len;
	lzma_ret result = lzma_code(&xz->stream, LZMA_RUN);
	hw_unpack_advance(buffers, buffers->in_len - xz->stream.avail_in,
			  buffers->out_len - xz->stream.avail_out);
	xz->is_begun = result != LZMA_STREAM_END;
	return hw_xz_result(result);
}

static void hw_xz_close(void *state)
{
	struct hw_xz *xz = state;
	lzma_end(&xz->stream);
	free(xz);
}

// ---- gzip ----

static void *hw_gzip_open(void)
{
	z_stream *stream = calloc(1, sizeof(*stream));
	if (stream &&
	    inflateInit2(stream, 16 + MAX_WBITS) != Z_OK) { // 16: gzip's header and trailer
		free(stream);
		return NULL;
	}
	return stream;
}

static enum hw_unpack_result hw_gzip_step(void *state, struct hw_unpack_buffers *buffers)
{
	z_stream *stream = state;
	uInt in_len = (uInt)hw_min(buffers->in_len, UINT32_MAX);
	uInt out_len = (uInt)hw_min(buffers->out_len, UINT32_MAX);
	stream->next_in = (Bytef *)buffers->in; // not written to: zlib's const is optional
	stream->avail_in = in_len;
	stream->next_out = buffers->out;
	stream->avail_out = out_len;
	int result = inflate(stream, Z_NO_FLUSH);
	hw_unpack_advance(buffers, in_len - stream->avail_in, out_len - stream->avail_out);
	switch (result) {
	case Z_OK:
	case Z_BUF_ERROR: // it wants more bytes
		return HW_UNPACK_GOES_ON;
	case Z_STREAM_END:
		return inflateReset(stream) == Z_OK ? HW_UNPACK_AT_END : HW_UNPACK_DAMAGED;
	case Z_MEM_ERROR:
		return HW_UNPACK_NO_MEMORY;
	default:
		return HW_UNPACK_DAMAGED;
	}
}

static void hw_gzip_close(void *state)
{
	inflateEnd(state);
	free(state);
}

static const struct hw_codec hw_codecs[] = {
	{ "zstd", "zstd -d --long=31", "\x28\xb5\x2f\xfd", 4, hw_zstd_open, hw_zstd_step,
	  hw_zstd_close },
	{ "lz4", "lz4 -d", "\x04\x22\x4d\x18", 4, hw_lz4_open, hw_lz4_step, hw_lz4_close },
	{ "xz", "xz -d", "\xfd\x37\x7a\x58\x5a\x00", 6, hw_xz_open, hw_xz_step, hw_xz_close },
	{ "gzip", "gzip -d", "\x1f\x8b\x08", 3, hw_gzip_open, hw_gzip_step, hw_gzip_close },
};

const struct hw_codec *hw_codec_find(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < sizeof(hw_codecs) / sizeof(*hw_codecs); i++)
		if (len >= hw_codecs[i].magic_len &&
		    !memcmp(bytes, hw_codecs[i].magic, hw_codecs[i].magic_len))
			return &hw_codecs[i];
	return NULL;
}
