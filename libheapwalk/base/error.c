/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

struct hw_error hw_enomem = {
	.code = HW_ERROR_NO_MEMORY,
	.is_static = true,
	.message = "out of memory",
};

static const struct {
	const char *word;
	int exit_status;
} hw_error_codes[] = { [HW_ERROR_UNKNOWN] = { "unknown", 3 },
#define HW_X(name, code_word, status) [HW_ERROR_##name] = { code_word, status },
		       HW_ERROR_CODES(HW_X)
#undef HW_X
};

static struct hw_error *hw_error_vcreate(enum hw_error_code code, const hw_addr_t *addr,
					 const char *suffix, const char *fmt, va_list ap)
{
	char *message;
	if (vasprintf(&message, fmt, ap) < 0)
		return &hw_enomem;
	if (suffix) {
		char *joined;
		int n = asprintf(&joined, "%s: %s", message, suffix);
		free(message);
		if (n < 0)
			return &hw_enomem;
		message = joined;
	}
	struct hw_error *err = calloc(1, sizeof(*err));
	if (!err) {
		free(message);
		return &hw_enomem;
	}
	err->code = code;
	err->message = message;
	if (addr) {
		err->has_address = true;
		err->address = *addr;
	}
	return err;
}

struct hw_error *hw_error_create(enum hw_error_code code, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	struct hw_error *err = hw_error_vcreate(code, NULL, NULL, fmt, ap);
	va_end(ap);
	return err;
}

struct hw_error *hw_error_at(enum hw_error_code code, hw_addr_t addr, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	struct hw_error *err = hw_error_vcreate(code, &addr, NULL, fmt, ap);
	va_end(ap);
	return err;
}

struct hw_error *hw_error_os(int os_errno, const char *fmt, ...)
{
	char text[128];
	va_list ap;
	va_start(ap, fmt);
	struct hw_error *err = hw_error_vcreate(HW_ERROR_OS, NULL,
						strerror_r(os_errno, text, sizeof(text)), fmt, ap);
	va_end(ap);
	return err;
}

struct hw_error *hw_error_prefix(struct hw_error *err, const char *fmt, ...)
{
	if (!err || err->is_static)
		return err;
	va_list ap;
	va_start(ap, fmt);
	struct hw_error *ret = hw_error_vcreate(err->code, err->has_address ? &err->address : NULL,
						err->message, fmt, ap);
	va_end(ap);
	hw_error_destroy(err);
	return ret;
}

bool hw_error_catch(struct hw_error **err, enum hw_error_code code)
{
	if (!*err || (*err)->code != code)
		return false;
	hw_error_destroy(*err);
	*err = NULL;
	return true;
}

enum hw_error_code hw_error_code(const struct hw_error *err)
{
	return err->code;
}

const char *hw_error_message(const struct hw_error *err)
{
	return err->message;
}

int hw_error_exit_status(const struct hw_error *err)
{
	return hw_error_codes[err->code].exit_status;
}

const char *hw_error_code_word(enum hw_error_code code)
{
	size_t n = sizeof(hw_error_codes) / sizeof(hw_error_codes[0]);
	return hw_error_codes[(size_t)code < n ? code : HW_ERROR_UNKNOWN].word;
}

void hw_error_destroy(struct hw_error *err)
{
	if (!err || err->is_static)
		return;
	free(err->message);
	free(err);
}
