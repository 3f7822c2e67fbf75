/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A user's file of rules.
#include <stdlib.h>

#include "base/rules.h"
#include "patches.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hw_rules *rules = NULL;
	struct hw_error *err = hw_rules_parse("rules", (const char *)data, size, &rules);
	if (err && !*hw_error_message(err))
		abort();
	hw_error_destroy(err);
	hw_rules_destroy(rules);
	return 0;
}
