/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Which shape mimalloc's structures have, where only heapwalk's table tells. mimalloc 2.1 became 2.5 between two
// point releases of CPython 3.14: a table's build of the same minor version is no proof. Segments are one, for they
// name their own address and their numbers fit together in one shape only.
#include "cpython/mimalloc.h"

#include <stdio.h>
#include <string.h>

// Pages that are sound, when they are more than the bad ones.
static size_t hw_mi_proofs(const struct hw_mimalloc *mi)
{
	size_t good = 0, bad = 0;
	hw_vec_foreach(page, &mi->pages)
	{
		good += hw_mi_page_has_blocks(page);
		bad += page->is_bad;
	}
	return good > bad ? good : 0;
}

// The shape that has the most of them into python->layout; false: none has any.
static struct hw_error *hw_mi_choose_shape(struct hw_target *target, struct hw_python *python,
					   struct hw_progress *progress, bool *ret)
{
	struct hw_python_layout best;
	struct hw_python other = *python; // borrows what it has of memory
	size_t most = 0;
	for (size_t i = 0; hw_python_other_mimalloc(python, i, &other.layout); i++) {
		struct hw_issues ignored;
		struct hw_mimalloc mi;
		hw_issues_init(&ignored);
		struct hw_error *err = hw_mimalloc_walk(target, &other, &ignored, progress, &mi);
		hw_issues_deinit(&ignored);
		if (err)
			return err;
		size_t proofs = hw_mi_proofs(&mi);
		hw_mimalloc_deinit(&mi);
		if (proofs > most) {
			most = proofs;
			best = other.layout;
		}
	}
	*ret = most > 0;
	if (*ret)
		python->layout = best;
	return NULL;
}

struct hw_error *hw_mimalloc_find(struct hw_target *target, struct hw_python *python,
				  struct hw_issues *issues, struct hw_progress *progress,
				  struct hw_mimalloc *ret)
{
	HW_TRY(hw_mimalloc_walk(target, python, issues, progress, ret));
	bool is_other = false;
	if (!ret->segments.count && python->is_from_table)
		HW_TRY(hw_mi_choose_shape(target, python, progress, &is_other));
	if (is_other) {
		size_t len = strlen(python->facts);
		snprintf(python->facts + len, sizeof(python->facts) - len,
			 "; mimalloc's structures as another build has them");
		hw_mimalloc_deinit(ret);
		HW_TRY(hw_mimalloc_walk(target, python, issues, progress, ret));
	}
	if (!ret->segments.count && python->is_free_threaded)
		hw_issues_add(
			issues, HW_ERROR_NO_DEBUG_INFO, 0,
			"CPython %s allocates from mimalloc alone, and no segment of it can be "
			"told: its memory is missing, or its structures are not as %s says; "
			"Python's objects are not seen",
			python->version, python->facts);
	return NULL;
}
