/* SPDX-License-Identifier: LGPL-2.1-or-later */
// pymalloc_stats PID: CPython and pymalloc as heapwalk sees them, "name value" lines for
// mallocstats.py.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cpython/obmalloc.h"

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void print_state(const struct hw_pymalloc *pm, const struct hw_pymalloc_state *state)
{
	printf("state %" PRId64 "\n", state->interpreter_id);
	for (uint32_t i = 0; i < pm->size_class_count; i++) {
		const struct hw_size_class_stats *class = &state->classes[i];
		if (class->pools)
			printf("class %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRIu64
			       "\n",
			       i, (i + 1) * pm->alignment, class->pools, class->blocks_in_use,
			       class->blocks_free);
	}
	if (state->has_arena_totals)
		printf("total %" PRIu64 "\nreclaimed %" PRIu64 "\nhighwater %" PRIu64 "\n",
		       state->arenas_allocated_total,
		       state->arenas_allocated_total - state->arenas_allocated,
		       state->arenas_highwater);
	if (state->has_arenas_allocated)
		printf("current %" PRIu64 "\n", state->arenas_allocated);
	printf("arenas %" PRIu64 "\narena_bytes %" PRIu32 "\n", state->arena_count,
	       pm->arena_bytes);
	printf("allocated %" PRIu64 "\navailable %" PRIu64 "\n", state->allocated_bytes,
	       state->available_bytes);
	printf("unused_pools %" PRIu64 "\nunused %" PRIu64 "\n", state->unused_pools,
	       state->unused_pool_bytes);
	printf("headers %" PRIu64 "\nquantization %" PRIu64 "\nalignment %" PRIu64 "\n",
	       state->pool_header_bytes, state->quantization_bytes, state->arena_alignment_bytes);
	if (state->has_raw_allocated_blocks)
		printf("raw %" PRIu64 "\n", state->raw_allocated_blocks);
}

static struct hw_error *show(struct hw_target *target, struct hw_issues *issues)
{
	struct hw_modules *modules = NULL;
	struct hw_python python = { 0 };
	struct hw_pymalloc pm = { 0 };
	double t0 = seconds();
	struct hw_error *err = hw_modules_open(target, NULL, getenv("DEBUG_DIRS"), issues,
					       &modules);
	if (!err)
		err = hw_python_find(target, modules, issues, &python);
	double t1 = seconds();
	if (!err && !python.module)
		puts("python none");
	if (!err && python.module) {
		printf("python %s\nbuild %s\ninterpreters %zu\nfacts %s\n", python.version,
		       python.build, python.interpreters.count, python.facts);
		err = hw_pymalloc_walk(target, &python, issues, NULL, &pm);
	}
	double t2 = seconds();
	if (!err && python.module) {
		printf("roots %s\n", pm.facts);
		for (size_t i = 0; i < pm.states.count; i++)
			print_state(&pm, &pm.states.data[i]);
		err = hw_pymalloc_check(&pm, issues, NULL);
		fprintf(stderr, "find %.4f s, walk %.4f s, check %.4f s, %zu pools\n", t1 - t0,
			t2 - t1, seconds() - t2, pm.pools.count);
	}
	hw_pymalloc_deinit(&pm);
	hw_python_deinit(&python);
	hw_modules_close(modules);
	return err;
}

int main(int argc, char **argv)
{
	struct hw_issues issues;
	struct hw_target *target = NULL;
	struct hw_error *err;
	if (argc < 2)
		return 2;
	hw_issues_init(&issues);
	err = hw_target_open_live(atoi(argv[1]), NULL, false, &target);
	if (!err)
		err = hw_target_stop(target);
	if (!err) {
		err = show(target, &issues);
		hw_target_resume(target);
	}
	for (size_t i = 0; i < issues.list.count; i++)
		printf("issue %s\n", hw_error_message(issues.list.data[i]));
	int status = err ? 1 : 0;
	if (err)
		printf("error %s: %s\n", hw_error_code_word(hw_error_code(err)),
		       hw_error_message(err));
	hw_error_destroy(err);
	hw_target_close(target);
	hw_issues_deinit(&issues);
	return status;
}
