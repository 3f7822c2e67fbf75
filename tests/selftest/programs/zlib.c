/* SPDX-License-Identifier: LGPL-2.1-or-later */
// zlib streams in all states. What they allocate is counted by an allocator of our own, except the last
// ones', which have zlib's.
#include <zlib.h>

#include "stop.h"

static long allocations;

static void *count_alloc(void *opaque, uInt items, uInt size)
{
	(void)opaque;
	allocations++;
	return malloc((size_t)items * size);
}

static void count_free(void *opaque, void *address)
{
	(void)opaque;
	allocations--;
	free(address);
}

static void check(int result)
{
	if (result != Z_OK && result != Z_STREAM_END)
		_exit(4);
}

static z_stream *stream(int is_counted)
{
	z_stream *strm = calloc(1, sizeof(*strm));
	if (is_counted) {
		strm->zalloc = count_alloc;
		strm->zfree = count_free;
	}
	return strm;
}

static unsigned char data[200000], packed[250000], back[250000];

static void feed(z_stream *strm, int flush)
{
	strm->next_in = data;
	strm->avail_in = sizeof(data) / 2;
	strm->next_out = packed;
	strm->avail_out = sizeof(packed);
	check(deflate(strm, flush));
}

int main(void)
{
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)((i * 7 ^ i >> 5) & 0x3f);
	int windows = 0;
	for (int i = 0; i < 30; i++) { // fresh, in the middle, finished; zlib, gzip and raw
		z_stream *strm = stream(i < 25);
		int bits = i % 3 == 0 ? 15 : i % 3 == 1 ? 15 + 16 : -12;
		check(deflateInit2(strm, 1 + i % 9, Z_DEFLATED, bits, 1 + i % 9,
				   Z_DEFAULT_STRATEGY));
		if (i % 4)
			feed(strm, i % 4 == 1 ? Z_NO_FLUSH : i % 4 == 2 ? Z_SYNC_FLUSH : Z_FINISH);
	}
	if (allocations != 25 * 5)
		_exit(5); // another zlib than the one this program knows
	z_stream whole = { 0 };
	check(deflateInit(&whole, 6));
	feed(&whole, Z_FINISH);
	uLong packed_len = whole.total_out;
	deflateEnd(&whole);
	for (int i = 0; i < 40; i++) { // fresh, and in the middle: with a window
		z_stream *strm = stream(i < 35);
		check(inflateInit(strm));
		if (i % 2 == 0)
			continue;
		strm->next_in = packed;
		strm->avail_in = (uInt)packed_len;
		strm->next_out = back;
		strm->avail_out = 40000;
		check(inflate(strm, Z_NO_FLUSH));
		windows++;
	}
	// Dead ones: what they held is free, or somebody else's.
	for (int i = 0; i < 10; i++) {
		z_stream strm = { 0 };
		check(deflateInit(&strm, 6));
		deflateEnd(&strm);
	}
	say("deflate_state", 30);
	say("deflate window", 30);
	say("deflate prev", 30);
	say("deflate head", 30);
	say("deflate pending_buf", 30);
	say("inflate_state", 40);
	say("inflate window", windows);
	stop_here();
	return 0;
}
