/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The header and the library from C++: it links, and a whole report comes through.
#include <cstdio>
#include <cstring>
#include <string>

#include <unistd.h>

#include "heapwalk.h"

static bool append(void *payload, const char *text, size_t len)
{
	static_cast<std::string *>(payload)->append(text, len);
	return true;
}

int main()
{
	hw_options options = {};
	options.size = sizeof(options);
	options.no_stop = true; // it looks at itself
	hw_session *session = nullptr;
	hw_error *err = hw_session_open_pid(getpid(), &options, &session);
	if (!err) {
		std::string text;
		hw_output out = {};
		out.write = append;
		out.payload = &text;
		const char *argv[] = { "map", "--format=json" };
		err = hw_session_run(session, HW_OPTION_STYLE_GNU, 2, argv, &out);
		if (!err && text.find("\"heapwalk.map/1\"") == std::string::npos) {
			std::printf("no report: %s\n", text.c_str());
			return 1;
		}
	}
	if (err) {
		std::printf("%s\n", hw_error_message(err));
		hw_error_destroy(err);
		return 1;
	}
	hw_session_close(session);
	return 0;
}
