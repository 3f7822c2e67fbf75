/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Classifiers: what is in blocks that are no Python objects. One library, one file, one row of the table
// in classifiers.c. docs/CLASSIFIERS.md says how to write one.
//
// A classifier speaks only of what it can prove on the target's bytes. It may say what a block is that
// it is shown (classify), and what blocks are that something proven points at (claim). The heap settles
// both: a Python object and what it owns are never renamed; a claim beats what a block's own bytes say;
// of two claims on a block the lesser words win. The outcome does not depend on the order of threads.
#ifndef HW_NATIVE_CLASSIFIER_H
#define HW_NATIVE_CLASSIFIER_H

#include "base/bytes.h"
#include "base/rules.h"
#include "symbols/modules.h"
#include "target/absences.h"
#include "target/window.h"

// What classifiers are opened with. Borrowed until they are closed.
struct hw_native {
	struct hw_target *target;
	struct hw_modules *modules; // NULL: none
	struct hw_rules *rules;     // the user's; NULL: none
	struct hw_issues *issues;
	struct hw_absences *absences; // files for want of which something could not be told
};

// A block in use, behind malloc's header and the debug hooks'.
struct hw_native_block {
	hw_addr_t start;      // of what the application has
	const uint8_t *bytes; // its first `len` bytes; valid until classify() returns
	size_t len;           // all of it, or at least 2 KiB, unless the target lacks bytes
	uint64_t capacity;    // bytes that the application may use
};

// What a block is. The strings live until the classifier is closed (hw_native_sink.intern), none is NULL.
struct hw_native_kind {
	const char *domain, *kind, *detail;
};

// A block that its owner cuts into slots: runs of equal ones, ascending, the first of all not before the
// block's data. A run ends where the next begins, or with the block.
struct hw_native_run {
	hw_addr_t first; // of slot 0
	uint32_t slot_bytes, count;
	const uint64_t *is_free; // a bit a slot; NULL: all are in use
};

struct hw_native_slab {
	hw_addr_t start; // of the block's data
	const struct hw_native_run *runs;
	size_t run_count;
	struct hw_native_kind overhead, free;
	struct hw_native_kind used; // kind NULL: what the classifiers say of each
};

// Where a classifier says what it found, and looks further. One a thread.
struct hw_native_sink {
	struct hw_pages *pages;
	// The chunk of malloc's whose data starts at `start` and is in use: how many bytes the application
	// may use. False: no block starts there.
	bool (*find)(struct hw_native_sink *sink, hw_addr_t start, uint64_t *ret_capacity);
	// Something proven owns the block whose data starts at `start`. No block starts there: no claim.
	void (*claim)(struct hw_native_sink *sink, hw_addr_t start,
		      const struct hw_native_kind *kind);
	// In classify(): what this block is if the library is in use at all (is_in_use), unless somebody proves
	// another thing. For patterns that are too weak to stand alone.
	void (*suspect)(struct hw_native_sink *sink, const struct hw_native_block *block,
			const struct hw_native_kind *kind);
	// In finish() only: the block is shown by its slots. Slots take claims. False: no such block, or the runs
	// are not in it.
	bool (*split)(struct hw_native_sink *sink, const struct hw_native_slab *slab);
	// A copy of `text` that lives as long as the classifiers do; "" when out of memory.
	const char *(*intern)(struct hw_native_sink *sink, const char *text);
	uint64_t links_left; // of all lists and trees of this thread together
};

// A list or tree in the target, followed link by link: false when this thread has followed more links
// than any heap has blocks. Each step of a walk over target data asks it.
static inline bool hw_native_step(struct hw_native_sink *sink)
{
	return sink->links_left && sink->links_left--;
}

// What a block's bytes show at first sight, while malloc's chunks are being found.
enum hw_glance {
	HW_GLANCE_NOTHING, // classify() would say nothing of it, and do nothing
	HW_GLANCE_KNOWN,   // classify() would say this, and do nothing else
	HW_GLANCE_LATER    // classify() is to be asked, when all blocks are known
};

// How blocks begin that are worth a glance: by their first byte, or by their first word.
struct hw_beginnings {
	uint64_t bytes[4];   // a bit for each of its values
	hw_addr_t low, high; // from low to below high
};

static inline bool hw_begins_so(const struct hw_beginnings *beginnings, const uint8_t bytes[8])
{
	return beginnings->bytes[*bytes / 64] >> *bytes % 64 & 1 ||
	       hw_u64(bytes) - beginnings->low < beginnings->high - beginnings->low;
}

struct hw_classifier {
	const char *name;  // of the library, for messages
	bool reads_32_bit; // what it looks for is the same in a program whose pointers have 4 bytes
	// Is what it knows in this process at all? NULL in *ret: no, and it is asked nothing. Called once
	// per table, on one thread: symbols may be asked for here, and nowhere else (but C++'s asks for them
	// and for debug information later, under a lock of its own: it is the only one).
	struct hw_error *(*open)(const struct hw_native *native, void **ret)HW_MUST_USE;
	void (*close)(void *state);
	// Claims that need no block to begin with. Once, before any block is shown. May be NULL.
	void (*roots)(void *state, struct hw_native_sink *sink);
	// What do the bytes of this block prove? False: nothing. It may claim what the block owns. Several
	// threads call it, each with a sink of its own: `state` is changed under a lock of its own, if at all.
	// May be NULL.
	bool (*classify)(void *state, struct hw_native_sink *sink,
			 const struct hw_native_block *block, struct hw_native_kind *ret);
	// The same before blocks can be found or claimed, without a sink: what it can tell saves reading the
	// block a second time. NULL: always HW_GLANCE_LATER.
	enum hw_glance (*glance)(void *state, const struct hw_native_block *block,
				 struct hw_native_kind *ret);
	// How every block begins of which glance() says more than HW_GLANCE_NOTHING: most of a heap need no glance
	// then. *ret is zeroed before. NULL: anyhow.
	void (*beginnings)(void *state, struct hw_beginnings *ret);
	// After all blocks were shown, on one thread: splits and claims that needed them all. May be NULL.
	void (*finish)(void *state, struct hw_native_sink *sink);
	// Was anything proven that shows the library at work? Asked last, where it suspected blocks.
	bool (*is_in_use)(void *state);
};

// All classifiers, in the order in which they are asked. Ended by NULL.
extern const struct hw_classifier *const hw_classifiers[];

// ---- helpers for open() ----

// The module of a shared library: its file's name begins with `stem` and goes on with '.' or '-'
// ("libz" is "libz.so.1", not "libzstd.so.1"). Else the executable, when it defines `symbol`: the
// library was linked into it. NULL: the library is not in the process.
struct hw_module *hw_native_library(const struct hw_native *native, const char *stem,
				    const char *symbol);

// A text at `addr`, which would have told what something is, could not be read: when that is for want of a
// file, the report says so.
static inline void hw_native_lacks(const struct hw_native *native, hw_addr_t addr)
{
	const char *path = hw_target_absent_text(native->target, addr);
	if (path)
		hw_absences_add(native->absences, path, 0, 0);
}

// What this module's file has was needed, and could not be found: the same.
void hw_native_lacks_module(const struct hw_native *native, const struct hw_module *module);

// Bytes of a module that are mapped, for pointers that must lead into it.
static inline bool hw_native_is_inside(const struct hw_module *module, hw_addr_t addr)
{
	return addr >= module->start && addr < module->end;
}

#endif
