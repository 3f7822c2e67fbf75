/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The end of the programs here: "ready", then "alive" for each byte of stdin, so that a test sees that it still runs.
#ifndef HW_GDB_READY_H
#define HW_GDB_READY_H

#include <unistd.h>

// The exit status.
static inline int hw_ready(void)
{
	char byte;
	if (write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	while (read(STDIN_FILENO, &byte, 1) == 1)
		if (write(STDOUT_FILENO, "alive\n", 6) != 6)
			return 1;
	return 0;
}

#endif
