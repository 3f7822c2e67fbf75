/* SPDX-License-Identifier: LGPL-2.1-or-later */
// The classifiers of native/, and malloc's chunks at first sight, over a forged C and C++ program that has something
// of each library they know, with words written over. It has no Python, which a whole session has to find out.
// First byte: the command (bit 6: a program without libraries, whose blocks are told at first sight; bit 7: the
// containers of C++ alone, whose places debug information would tell); second: which glibc (bit 7: the dear checks);
// third: about which address.
#include "ask.h"
#include "native_world.h"
#include "patches.h"

// "@": an address.
static const char *const commands[][ASK_WORDS] = {
	{ "all", "--format", "json" },
	{ "census" },
	{ "explain", "@", "--format", "json" },
	{ "select", "--by", "detail" },
	{ "referrers", "@" },
	{ "map" },
};
enum { COMMANDS = sizeof(commands) / sizeof(*commands) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	unsigned flavour = (data[1] & 0x3f) % FLAVOURS;
	struct native_world *w = native_world(flavour);
	const struct {
		uint8_t *bytes;
		size_t len;
	} parts[] = {
		{ w->malloc.heap + w->carved_at, w->carved_bytes },
		{ w->malloc.heap + w->carved_at, w->carved_bytes },
		{ w->malloc.heap + w->carved_at, w->carved_bytes },
		{ w->malloc.heap, HEAP_BYTES },
		{ w->modules[EXE], MODULE_BYTES },
		{ w->modules[GOBJECT], MODULE_BYTES },
		{ w->modules[GLIB], MODULE_BYTES },
		{ w->modules[CRYPTO], MODULE_BYTES },
		{ w->modules[SQLITE], MODULE_BYTES },
	};
	enum { PARTS = sizeof(parts) / sizeof(*parts) };
	for (size_t i = 3; i + PATCH_BYTES < size; i += PATCH_BYTES + 1)
		patch_apply(parts[data[i] % PARTS].bytes, parts[data[i] % PARTS].len, w->words,
			    w->word_count, data + i + 1, PATCH_BYTES);
	if (data[0] & 0x80) {
		walk_containers(w);
	} else {
		struct hw_session *session = NULL;
		struct hw_error *err = open_native_session(w, data[0] & 0x40 ? 1 : MODULES,
							   data[1] & 0x80, &session);
		if (!err)
			ask(session, commands[(data[0] & 0x3f) % COMMANDS],
			    w->words[data[2] % w->word_count]);
		hw_error_destroy(err);
		hw_session_close(session);
	}
	patch_undo();
	return 0;
}
