/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A forked process to look at: it says through a pipe that it is ready, and ends with its parent.
#ifndef CHILD_H
#define CHILD_H

#include <stdint.h>
#include <sys/types.h>

struct child {
	pid_t pid;
	int from, to; // pipe ends of the parent
};

// The child runs body(ready, go): it writes to `ready` when it is, and reads `go` to wait.
struct child child_start(void (*body)(int ready, int go));
uint64_t
child_receive(const struct child *child); // 8 bytes that it wrote; exits the test at the end
void child_send(const struct child *child, char byte);
int child_wait(struct child *child); // wait status
void child_kill(struct child *child);
// In the child.
void child_report(int ready, uint64_t value);

#endif
