/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The query language.
#include <stdlib.h>

#include "analysis/query.h"
#include "patches.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct hw_query *query = NULL;
	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	struct hw_error *err = hw_query_parse(text, &query);
	if (err && !*hw_error_message(err))
		abort();
	hw_error_destroy(err);
	hw_query_destroy(query);
	free(text);
	return 0;
}
