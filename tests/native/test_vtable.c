/* SPDX-License-Identifier: LGPL-2.1-or-later */
// C++ class names from vtables, as the target prints them. usage: test_vtable PROGRAM
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native/cxx_vtable.h"

enum { LINES = 32, THREADS = 4 };

static struct {
	hw_addr_t object, first_word;
	char name[256];
} lines[LINES];
static size_t line_count;
static atomic_uint failures;

static void check_error(struct hw_error *err)
{
	if (!err)
		return;
	fprintf(stderr, "error: %s\n", hw_error_message(err));
	exit(1);
}

static void *ask(void *payload)
{
	struct hw_vtables *vtables = payload;
	for (int round = 0; round < 1000; round++)
		for (size_t i = 0; i < line_count; i++) {
			const char *found = "-";
			const struct hw_std_members *members;
			hw_vtable_class(vtables, lines[i].first_word, &found, &members);
			if (strcmp(found, lines[i].name) != 0 && failures++ < 10)
				fprintf(stderr, "0x%llx: %s, expected %s\n",
					(unsigned long long)lines[i].object, found, lines[i].name);
		}
	return NULL;
}

int main(int argc, char **argv)
{
	int fds[2];
	if (argc < 2 || pipe(fds))
		return 2;
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		execv(argv[1], argv + 1);
		_exit(127);
	}
	close(fds[1]);
	FILE *output = fdopen(fds[0], "r");
	char text[512] = "";
	while (output && line_count < LINES && fgets(text, sizeof(text), output) &&
	       strcmp(text, "ready\n") != 0) {
		unsigned long long object;
		if (sscanf(text, "%llx %255[^\n]", &object, lines[line_count].name) == 2)
			lines[line_count++].object = object;
	}
	if (strcmp(text, "ready\n") != 0 || line_count < 6) {
		fprintf(stderr, "%s was not ready\n", argv[1]);
		return 1;
	}
	struct hw_issues issues;
	struct hw_target *target;
	struct hw_modules *modules;
	struct hw_vtables *vtables;
	struct hw_absences absences;
	hw_issues_init(&issues);
	hw_absences_init(&absences);
	check_error(hw_target_open_live(pid, NULL, false, &target));
	check_error(hw_target_stop(target));
	check_error(hw_target_refresh(target));
	check_error(hw_modules_open(target, NULL, "/nonexistent", &issues, &modules));
	check_error(hw_vtables_create(target, modules, &absences, &vtables));
	for (size_t i = 0; i < line_count; i++)
		check_error(hw_target_read(target, lines[i].object, &lines[i].first_word, 8));
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, ask, vtables))
			return 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	// hostile words
	const char *none;
	const struct hw_std_members *members;
	hw_addr_t words[] = { 0, 1, 8, UINT64_MAX, UINT64_MAX - 7, target->mappings.data[0].start };
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		failures += hw_vtable_class(vtables, words[i], &none, &members);
	hw_vtables_destroy(vtables);
	hw_absences_deinit(&absences);
	hw_modules_close(modules);
	hw_target_resume(target);
	hw_target_close(target);
	hw_issues_deinit(&issues);
	fclose(output);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fprintf(stderr, "%zu blocks, %u failures\n", line_count, failures);
	return failures != 0;
}
