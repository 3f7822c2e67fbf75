/* SPDX-License-Identifier: LGPL-2.1-or-later */
// What the programs say of themselves: "KIND COUNT" lines, then "stop"; they wait for the end of stdin.
// Written without stdio, whose buffers would be blocks too.
#ifndef HW_SELFTEST_STOP_H
#define HW_SELFTEST_STOP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void say(const char *kind, long count)
{
	char line[256];
	int len = snprintf(line, sizeof(line), "%s %ld\n", kind, count);
	if (write(STDOUT_FILENO, line, (size_t)len) != len)
		_exit(3);
}

static inline void stop_here(void)
{
	char c;
	if (write(STDOUT_FILENO, "stop\n", 5) != 5)
		_exit(3);
	while (read(STDIN_FILENO, &c, 1) == 1)
		;
}

#endif
