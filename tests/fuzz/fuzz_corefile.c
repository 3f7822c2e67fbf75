/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A core as a user gives it, compressed or not, and a census of what is in it.
#include "heapwalk.h"
#include "patches.h"
#include "file.h"

static bool swallow(void *payload, const char *text, size_t len)
{
	(void)payload;
	(void)text;
	(void)len;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const commands[][3] = { { "all", "--format", "json" },
						   { "census", "--format", "csv" } };
	struct hw_options options = { .size = sizeof(options),
				      .sysroot = "/no/such/root",
				      .debug_dirs = "/no/such/directory",
				      .threads = 1,
				      .debug = true };
	struct hw_output out = { .write = swallow };
	struct hw_session *session = NULL;
	struct fuzz_file file;
	struct hw_error *err = NULL;
	if (!fuzz_file_make(&file, data, size))
		abort();
	err = hw_session_open_core(file.path, &options, &session);
	for (size_t i = 0; !err && i < 2; i++)
		err = hw_session_run(session, HW_OPTION_STYLE_GNU, 3, commands[i], &out);
	if (err && (!*hw_error_message(err) || !hw_error_exit_status(err)))
		abort();
	hw_error_destroy(err);
	hw_session_close(session);
	close(file.fd);
	return 0;
}
