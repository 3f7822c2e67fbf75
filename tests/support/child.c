/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "child.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct child child_start(void (*body)(int ready, int go))
{
	int out[2], in[2];
	if (pipe(out) || pipe(in)) {
		perror("pipe");
		exit(1);
	}
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(out[0]);
		close(in[1]);
		body(out[1], in[0]);
		_exit(0);
	}
	close(out[1]);
	close(in[0]);
	return (struct child){ pid, out[0], in[1] };
}

uint64_t child_receive(const struct child *child)
{
	uint64_t value;
	if (read(child->from, &value, sizeof(value)) != (ssize_t)sizeof(value)) {
		printf("the child ended before it was ready\n");
		exit(1);
	}
	return value;
}

void child_send(const struct child *child, char byte)
{
	if (write(child->to, &byte, 1) != 1) {
		perror("write");
		exit(1);
	}
}

int child_wait(struct child *child)
{
	int status = -1;
	waitpid(child->pid, &status, 0);
	close(child->from);
	close(child->to);
	return status;
}

void child_kill(struct child *child)
{
	kill(child->pid, SIGKILL);
	child_wait(child);
}

void child_report(int ready, uint64_t value)
{
	if (write(ready, &value, sizeof(value)) != (ssize_t)sizeof(value))
		_exit(3);
}
