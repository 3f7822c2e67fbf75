/* SPDX-License-Identifier: LGPL-2.1-or-later */
// OpenSSL's connections: SSL, SSL_CTX (ssl/ssl_local.h) and BIO (crypto/bio/bio_local.h), as they are in
// 1.1.1 and 3.0 – 3.1. Each points at a table of methods that is constant data of the library: a version
// or a kind and a name, then pointers to the library's code. An SSL has its SSL_CTX besides.
#include "base/bytes.h"
#include "native/classifiers.h"

enum {
	METHOD_BYTES = 80,
	SSL_METHOD_CODE = 16, // version, flags, mask before
	SSL_METHOD_VERSION_MAX = 0x1ffff,
	BIO_METHOD_NAME = 8, // type before
	BIO_METHOD_CODE = 16,
	// bio.h: what it is in the low byte, and how it is used
	BIO_TYPE_IDS = 64,
	BIO_TYPE_DESCRIPTOR = 0x100,
	BIO_TYPE_FILTER = 0x200,
	BIO_TYPE_SOURCE_SINK = 0x400,
	CODE_WORDS = 8,     // words of a table that are looked at
	CODE_WORDS_MIN = 4, // that many lead into the library: some are NULL
	SSL_CTX_BYTES_MIN = 512,
	SSL_BYTES_MIN = 1024,
	SSL_LOOK_BYTES = 4000, // where an SSL has its SSL_CTX, and its record layer
	BIO_BYTES_MAX = 256,
};

// struct record_layer_st: SSL *s, two ints, numrpipes, numwpipes, then SSL3_BUFFER rbuf
enum {
	RECORD_RBUF = 32,
	RECORD_RBUF_LEN = 48,
	RECORD_BYTES = 56,
	RECORD_BUFFER_MAX = 1 << 20,
};

struct hw_openssl {
	const struct hw_module *ssl, *crypto;
	struct hw_native native; // its pointers outlive the classifier
};

static struct hw_error *hw_openssl_open(const struct hw_native *native, void **ret)
{
	const struct hw_module *ssl = hw_native_library(native, "libssl", "SSL_CTX_new");
	const struct hw_module *crypto = hw_native_library(native, "libcrypto", "BIO_new");
	if (!crypto)
		return NULL;
	struct hw_openssl *state = calloc(1, sizeof(*state));
	if (!state)
		return &hw_enomem;
	*state = (struct hw_openssl){ ssl, crypto, *native };
	*ret = state;
	return NULL;
}

static bool hw_openssl_is_inside(const struct hw_openssl *ssl, hw_addr_t addr)
{
	return hw_native_is_inside(ssl->crypto, addr) ||
	       (ssl->ssl && hw_native_is_inside(ssl->ssl, addr));
}

// A table of methods at `at`: its bytes into `table`.
static bool hw_openssl_is_table(const struct hw_openssl *ssl, struct hw_native_sink *sink,
				hw_addr_t at, size_t code, uint8_t table[METHOD_BYTES])
{
	if (at & 7 || !hw_openssl_is_inside(ssl, at) ||
	    !hw_pages_read(sink->pages, at, table, METHOD_BYTES))
		return false;
	unsigned count = 0;
	for (size_t i = code; i < code + 8 * (size_t)CODE_WORDS; i += 8) {
		hw_addr_t function = hw_u64(table + i);
		if (hw_openssl_is_inside(ssl, function))
			count++;
		else if (function)
			return false;
	}
	return count >= CODE_WORDS_MIN;
}

static bool hw_openssl_is_ssl_method(const struct hw_openssl *ssl, struct hw_native_sink *sink,
				     hw_addr_t at)
{
	uint8_t table[METHOD_BYTES];
	if (!ssl->ssl || !hw_native_is_inside(ssl->ssl, at) ||
	    !hw_openssl_is_table(ssl, sink, at, SSL_METHOD_CODE, table))
		return false;
	switch (hw_u32(table)) {
	case 0x300 ... 0x304: // SSL 3.0 – TLS 1.3
	case 0xfeff:
	case 0xfefd: // DTLS 1.0, 1.2
	case 0x10000:
	case 0x1ffff: // whatever TLS, whatever DTLS
		return true;
	default:
		return false;
	}
}

// Kinds of BIO are called by their methods: "memory buffer", "socket".
static bool hw_openssl_is_bio_method(const struct hw_openssl *ssl, struct hw_native_sink *sink,
				     hw_addr_t at, const char **ret_name)
{
	uint8_t table[METHOD_BYTES];
	char name[64];
	if (!hw_openssl_is_table(ssl, sink, at, BIO_METHOD_CODE, table))
		return false;
	uint64_t type = hw_u64(table), use = type & ~(uint64_t)(BIO_TYPE_DESCRIPTOR | 0xff);
	if (!(type & 0xff) || (type & 0xff) >= BIO_TYPE_IDS ||
	    (use != BIO_TYPE_FILTER && use != BIO_TYPE_SOURCE_SINK))
		return false;
	hw_addr_t text = hw_u64(table + BIO_METHOD_NAME);
	if (!hw_openssl_is_inside(ssl, text))
		return false;
	if (!hw_pages_read_string(sink->pages, text, name, sizeof(name))) {
		hw_native_lacks(&ssl->native, text);
		return false;
	}
	if (!*name)
		return false;
	for (const char *c = name; *c; c++)
		if (*c < 0x20 || *c > 0x7e)
			return false;
	*ret_name = sink->intern(sink, name);
	return true;
}

// 1.1.1 has the methods first, 3.0 behind its OSSL_LIB_CTX: NULL, or a block.
static bool hw_openssl_is_ctx(const struct hw_openssl *ssl, struct hw_native_sink *sink,
			      hw_addr_t first, hw_addr_t second, uint64_t capacity)
{
	uint64_t ignored;
	if (capacity < SSL_CTX_BYTES_MIN)
		return false;
	return hw_openssl_is_ssl_method(ssl, sink, first) ||
	       (hw_openssl_is_ssl_method(ssl, sink, second) &&
		(!first || sink->find(sink, first, &ignored)));
}

// Does `addr` lead to an SSL_CTX?
static bool hw_openssl_leads_to_ctx(const struct hw_openssl *ssl, struct hw_native_sink *sink,
				    hw_addr_t addr)
{
	uint64_t capacity, first, second;
	return addr && !(addr & 7) && sink->find(sink, addr, &capacity) &&
	       hw_pages_read_u64(sink->pages, addr, &first) &&
	       hw_pages_read_u64(sink->pages, addr + 8, &second) &&
	       hw_openssl_is_ctx(ssl, sink, first, second, capacity);
}

static void hw_openssl_claim_buffer(struct hw_native_sink *sink, hw_addr_t at, uint64_t bytes)
{
	uint64_t capacity;
	if (bytes && bytes <= RECORD_BUFFER_MAX && sink->find(sink, at, &capacity) &&
	    capacity >= bytes)
		sink->claim(sink, at, &(struct hw_native_kind){ "OpenSSL", "SSL read buffer", "" });
}

// The record layer says which SSL it is of; the buffer that is read into stands in it.
static bool hw_openssl_ssl(const struct hw_openssl *ssl, struct hw_native_sink *sink,
			   const struct hw_native_block *block)
{
	bool has_ctx = false;
	size_t len = block->len < SSL_LOOK_BYTES ? block->len : SSL_LOOK_BYTES;
	for (size_t i = 16; i + 8 <= len && !has_ctx; i += 8)
		has_ctx = hw_openssl_leads_to_ctx(ssl, sink, hw_u64(block->bytes + i));
	if (!has_ctx)
		return false;
	for (uint64_t i = 16; i + RECORD_BYTES <= block->capacity && i < 4 * SSL_LOOK_BYTES;
	     i += 8) {
		uint8_t record[RECORD_BYTES];
		if (!hw_pages_read(sink->pages, block->start + i, record, sizeof(record)))
			break;
		if (hw_u64(record) == block->start)
			hw_openssl_claim_buffer(sink, hw_u64(record + RECORD_RBUF),
						hw_u64(record + RECORD_RBUF_LEN));
	}
	return true;
}

static bool hw_openssl_classify(void *state, struct hw_native_sink *sink,
				const struct hw_native_block *block, struct hw_native_kind *ret)
{
	const struct hw_openssl *ssl = state;
	const char *name;
	if (block->len < 16)
		return false;
	hw_addr_t first = hw_u64(block->bytes), second = hw_u64(block->bytes + 8);
	if (!hw_openssl_is_inside(ssl, second) && !hw_openssl_is_inside(ssl, first))
		return false;
	*ret = (struct hw_native_kind){ "OpenSSL", "SSL", "" };
	if (first && first <= SSL_METHOD_VERSION_MAX)
		return block->capacity >= SSL_BYTES_MIN &&
		       hw_openssl_is_ssl_method(ssl, sink, second) &&
		       hw_openssl_ssl(ssl, sink, block);
	ret->kind = "SSL_CTX";
	if (hw_openssl_is_ctx(ssl, sink, first, second, block->capacity))
		return true;
	if (block->capacity > BIO_BYTES_MAX ||
	    !(hw_openssl_is_bio_method(ssl, sink, first, &name) ||
	      (!first && hw_openssl_is_bio_method(ssl, sink, second, &name))))
		return false;
	*ret = (struct hw_native_kind){ "OpenSSL", "BIO", name };
	return true;
}

const struct hw_classifier hw_openssl_classifier = {
	.name = "OpenSSL",
	.open = hw_openssl_open,
	.close = free,
	.classify = hw_openssl_classify,
};
