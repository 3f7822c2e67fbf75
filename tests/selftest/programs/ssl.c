/* SPDX-License-Identifier: LGPL-2.1-or-later */
// OpenSSL: contexts, connections in the middle of a handshake, BIOs of several kinds.
#include <openssl/bio.h>
#include <openssl/ssl.h>

#include "stop.h"

int main(void)
{
	SSL_CTX *client = SSL_CTX_new(TLS_client_method());
	for (int i = 0; i < 4; i++)
		if (!SSL_CTX_new(i % 2 ? TLS_method() : DTLS_server_method()))
			return 4;
	for (int i = 0; i < 20; i++) {
		SSL *ssl = SSL_new(client);
		BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
		SSL_set_bio(ssl, in, out);
		SSL_set_connect_state(ssl);
		if (i % 2)
			SSL_do_handshake(ssl); // says hello, then wants an answer
	}
	for (int i = 0; i < 7; i++)
		BIO_new(BIO_f_base64());
	for (int i = 0; i < 5; i++)
		SSL_free(SSL_new(client));
	say("SSL_CTX", 5);
	say("SSL", 20);
	// A handshake keeps what was said in one more, and writes through a buffer.
	say("BIO memory buffer", 50);
	say("BIO buffer", 10);
	say("BIO base64 encoding", 7);
	stop_here();
	return 0;
}
