/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Errors: one object, NULL is success. Creating one can't fail: out of memory is a static object.
#ifndef HW_BASE_ERROR_H
#define HW_BASE_ERROR_H

#include "heapwalk.h"

struct hw_error {
	enum hw_error_code code;
	bool is_static;
	bool has_address;
	hw_addr_t address;
	char *message;
};

extern struct hw_error hw_enomem;

// Message = what was being read, where, what was expected: lower case, no full stop.
struct hw_error *hw_error_create(enum hw_error_code code, const char *fmt, ...) HW_PRINTF(2, 3);
struct hw_error *hw_error_at(enum hw_error_code code, hw_addr_t addr, const char *fmt, ...)
	HW_PRINTF(3, 4);
// "FMT: strerror(os_errno)"
struct hw_error *hw_error_os(int os_errno, const char *fmt, ...) HW_PRINTF(2, 3);
// Takes err, returns "FMT: old message" with the same code and address. NULL stays NULL.
struct hw_error *hw_error_prefix(struct hw_error *err, const char *fmt, ...) HW_PRINTF(2, 3);
// True, and *err destroyed and NULLed, when *err has that code.
bool hw_error_catch(struct hw_error **err, enum hw_error_code code);

static inline void hw_error_cleanup(struct hw_error **err)
{
	hw_error_destroy(*err);
}
#define hw_cleanup_error __attribute__((cleanup(hw_error_cleanup)))

// Pass an error up.
#define HW_TRY(call)                                                                               \
	do {                                                                                       \
		struct hw_error *hw_try_err = (call);                                              \
		if (hw_try_err)                                                                    \
			return hw_try_err;                                                         \
	} while (0)

#endif
