/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Why what is known is not all there is: what makes a report partial, and its status 1.
#include <stdio.h>

#include "analysis/session_internal.h"
#include "base/bytes.h"
#include "base/mapped_file.h"

// What could not be read is explained by what the target lacks; what was contradicted is not.
static const char *hw_session_reason(const struct hw_session *session, const struct hw_error *err)
{
	const char *shortfall = session->target->shortfall;
	return shortfall && err->code == HW_ERROR_FAULT ? shortfall : "";
}

struct hw_error *hw_session_python_shortfall(const struct hw_session *session)
{
	const struct hw_error *err = session->python_error ? session->python_error
							   : session->pymalloc_error;
	if (!err)
		return NULL;
	const char *reason = hw_session_reason(session, err);
	return hw_error_create(err->code, "%s%s%s", err->message, *reason ? ": " : "", reason);
}

static struct hw_error *hw_session_lacks(const struct hw_session *session, const char *what,
					 const struct hw_error *err)
{
	const char *reason = hw_session_reason(session, err);
	return hw_error_create(HW_ERROR_PARTIAL,
			       "the report is partial, Python's %s are not in it: %s%s%s", what,
			       err->message, *reason ? ": " : "", reason);
}

// Names of files, as many as make a sentence; the issues have them all.
static void hw_session_list_files(const struct hw_absence *absences, size_t count, char *buf,
				  size_t size)
{
	enum { NAMED_MAX = 4 };
	size_t at = 0;
	for (size_t i = 0; i < count && i < NAMED_MAX && at < size; i++) {
		int len = snprintf(buf + at, size - at, "%s%s", i ? ", " : "", absences[i].path);
		at += len > 0 ? (size_t)len : 0;
	}
	if (count > NAMED_MAX && at < size)
		snprintf(buf + at, size - at, " and %zu more (see the issues)", count - NAMED_MAX);
}

// What is not told for want of files: owned; NULL: nothing.
static struct hw_error *hw_session_absences(const struct hw_session *session)
{
	char files[2048];
	size_t count = 0;
	uint64_t blocks = 0, bytes = 0;
	const struct hw_absence *absences = session->heap ? hw_heap_absences(session->heap, &count)
							  : NULL;
	if (!count)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		blocks += absences[i].block_count;
		bytes += absences[i].bytes;
	}
	hw_session_list_files(absences, count, files, sizeof(files));
	char known[80] = "";
	if (blocks)
		snprintf(known, sizeof(known), " (%llu blocks of %llu bytes and more)",
			 (unsigned long long)blocks, (unsigned long long)bytes);
	return hw_error_create(HW_ERROR_PARTIAL,
			       "what is of types, classes and libraries%s whose names are in %s is "
			       "called unknown or is uncategorized, because %s not at hand; name a "
			       "directory with the target's files with the option sysroot",
			       known, files, count == 1 ? "that file is" : "those files are");
}

static struct hw_error *hw_session_other_shortfall(const struct hw_session *session)
{
	if (session->heap && hw_heap_is_partial(session->heap))
		return hw_error_create(HW_ERROR_INTERRUPTED,
				       "interrupted: the report covers only what was walked "
				       "until then");
	if (session->python_error)
		return hw_session_lacks(session, "objects", session->python_error);
	if (session->pymalloc_error)
		return hw_session_lacks(session, "arenas", session->pymalloc_error);
	if (session->has_pymalloc && session->python.module && !session->python.has_objects)
		return hw_error_create(
			HW_ERROR_PARTIAL,
			"the report is partial, Python's objects are not in it: CPython "
			"allocates from mimalloc, which heapwalk reads in 64-bit programs, "
			"and this is a 32-bit one (%s)",
			session->target->machine->name);
	if (session->files_cut != hw_files_cut())
		return hw_error_create(HW_ERROR_PARTIAL,
				       "the report is partial: a file was cut short while heapwalk "
				       "read it, and what it had there counts as zeroes");
	const struct hw_ledger *ledger = session->heap ? hw_heap_ledger(session->heap) : NULL;
	if (ledger && ledger->missing_bytes) {
		// Rounded down: a heap that lacks a byte was not seen whole.
		unsigned __int128 seen = ledger->heap_bytes -
					 hw_min(ledger->missing_bytes, ledger->heap_bytes);
		return hw_error_create(HW_ERROR_PARTIAL,
				       "the report is partial: %u %% of the heap was seen, %llu of "
				       "%llu heap bytes could not be read%s%s",
				       (unsigned)(seen * 100 / hw_max(ledger->heap_bytes, 1)),
				       (unsigned long long)ledger->missing_bytes,
				       (unsigned long long)ledger->heap_bytes,
				       session->target->shortfall ? ": " : "",
				       session->target->shortfall ? session->target->shortfall
								  : "");
	}
	if (session->target->shortfall)
		return hw_error_create(HW_ERROR_PARTIAL, "the report is partial: %s",
				       session->target->shortfall);
	uint64_t rows = ledger ? ledger->in_use_bytes + ledger->free_bytes +
					 ledger->overhead_bytes + ledger->unknown_bytes
			       : 0;
	if (ledger && rows != ledger->mapped_bytes)
		return hw_error_create(
			HW_ERROR_PARTIAL,
			"the report does not add up: its rows have %llu bytes, the private "
			"writable mappings %llu; its issues say where",
			(unsigned long long)rows, (unsigned long long)ledger->mapped_bytes);
	for (size_t i = 0; i < session->issues.list.count; i++)
		if (hw_error_code(session->issues.list.data[i]) == HW_ERROR_NO_MEMORY)
			return hw_error_create(
				HW_ERROR_PARTIAL,
				"the report lacks details: heapwalk itself was out of "
				"memory");
	return NULL;
}

struct hw_error *hw_session_shortfall(const struct hw_session *session)
{
	struct hw_error *err = hw_session_other_shortfall(session);
	hw_cleanup_error struct hw_error *absent = hw_session_absences(session);
	if (!absent || (err && err->code != HW_ERROR_PARTIAL))
		return err;
	hw_cleanup_error struct hw_error *first = err;
	return hw_error_create(HW_ERROR_PARTIAL, "%s%s%s",
			       first ? first->message : "the report is partial: ",
			       first ? "; besides, " : "", absent->message);
}
