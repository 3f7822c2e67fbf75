/* SPDX-License-Identifier: LGPL-2.1-or-later */
// How a CPython is found that has no debug information, and most of them no symbols: its version, PyType_Type,
// _PyRuntime and what that says of its structures, the list of interpreters; builds of the table, with words written
// over. First byte: the build; second: what is asked of a session that has found it.
#include "ask.h"
#include "forged_python.h"
#include "layout/python_internal.h"
#include "module_image.h"
#include "patches.h"

enum {
	IMAGE_AT = 0x20000000,
	IMAGE_BYTES = 0x8000,
	BSS = 0x6000,
	NAMES = 0x200,
	EXPORTS = 0x800,
	RUNTIME = 0x1000,
	TYPES = 0x4000, // type, dict
	TYPE_BYTES = 0x400,
	INTERP_AT = 0x30000000,
	INTERP_BYTES = 1 << 19,
	THREAD_AT = 0x31000000,
	THREAD_BYTES = 0x1000,
	MODULES_DICT = THREAD_AT + 0x800,
	RUNTIME_BYTES = TYPES - RUNTIME,
};

static const struct {
	uint32_t version_hex;
	bool is_debug, has_symbols;
	const char *text; // what Py_GetVersion() has made; before _Py_DebugOffsets
} builds[] = {
	{ 0x020712f0, false, false, "2.7.18 (default, Mar  1 2024, 10:00:00) " },
	{ 0x03060ff0, false, false, "3.6.15 (default, Mar  1 2024, 10:00:00) " },
	{ 0x030812f0, false, true, "3.8.18 (default, Mar  1 2024, 10:00:00) " },
	{ 0x030b02f0, false, false, "3.11.2 (main, Mar  1 2024, 10:00:00) " },
	{ 0x030c01f0, false, false, "3.12.1 (main, Mar  1 2024, 10:00:00) " },
	{ 0x030d00f0, false, false, NULL },
	{ 0x030d12f1, true, true, NULL },
	{ 0x030e0af0, false, false, NULL },
	// Without a GIL.
	{ 0x830d12f0, false, true, NULL },
	{ 0x830f02f0, false, true, NULL },
};
enum { BUILDS = sizeof(builds) / sizeof(*builds) };

static const char *const commands[][ASK_WORDS] = {
	{ "cpython-allocators", "--format", "json" },
	{ "census" },
	{ "stats" },
	{ "explain", "@" },
};
enum { COMMANDS = sizeof(commands) / sizeof(*commands) };

struct python_world {
	uint8_t image[IMAGE_BYTES], interp[INTERP_BYTES], thread[THREAD_BYTES];
	struct hw_python_layout layout;
	bool is_made;
};

static void put_type(struct python_world *w, unsigned index, const char *name, uint64_t flags)
{
	const struct hw_python_layout *l = &w->layout;
	uint8_t *type = w->image + TYPES + index * TYPE_BYTES;
	memcpy(w->image + NAMES + 16 * index, name, strlen(name) + 1);
	put64(type + l->ob_type, IMAGE_AT + TYPES);
	put64(type + l->tp_name, IMAGE_AT + NAMES + 16 * index);
	put64(type + l->tp_basicsize, index ? 48 : (uint64_t)l->heap_type_size);
	put64(type + l->tp_flags, flags);
}

// What a process says of its own structures, where the table has a place for it.
static void put_offsets(struct python_world *w, uint32_t version_hex)
{
	const struct hw_python_layout *l = &w->layout;
	const int32_t said[][2] = {
		{ l->offsets_interpreters_head, l->runtime_interpreters_head },
		{ l->offsets_interp_size, l->interp_size },
		{ l->offsets_interp_id, l->interp_id },
		{ l->offsets_interp_next, l->interp_next },
		{ l->offsets_interp_threads, l->interp_threads_head },
		{ l->offsets_interp_modules, l->interp_modules },
		{ l->offsets_tstate_next, l->tstate_next },
		{ l->offsets_tstate_interp, l->tstate_interp },
		{ l->offsets_object_size, l->object_size },
		{ l->offsets_ob_type, l->ob_type },
		{ l->offsets_type_size, l->type_size },
		{ l->offsets_tp_name, l->tp_name },
		{ l->offsets_list_items, l->list_ob_item },
		{ l->offsets_str_length, l->str_length },
	};
	memcpy(w->image + RUNTIME, "xdebugpy", 8);
	put64(w->image + RUNTIME + 8, version_hex & 0x7ffffff0);
	put64(w->image + RUNTIME + 16, version_hex >> 31);
	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++)
		if (said[i][0] != HW_ABSENT && said[i][1] != HW_ABSENT)
			put64(w->image + RUNTIME + said[i][0], (uint64_t)said[i][1]);
}

static void make_world(struct python_world *w, unsigned build)
{
	enum { READY = 1 << 12, DICT = 1 << 29, TYPE = 1u << 31 };
	struct hw_python_layout *l = &w->layout;
	hw_layout_from_rows(hw_layout_build(builds[build].version_hex, builds[build].is_debug,
					    builds[build].version_hex >> 31),
			    l);
	module_image(w->image, BSS, IMAGE_BYTES);
	put_type(w, 0, "type", READY | TYPE);
	put_type(w, 1, "dict", READY | DICT);
	if (builds[build].text)
		memcpy(w->image + BSS + 0x100, builds[build].text, strlen(builds[build].text));
	else
		put_offsets(w, builds[build].version_hex);
	int32_t head = l->runtime_interpreters_head, first = l->runtime_interpreters_main;
	put64(w->image + RUNTIME + (head != HW_ABSENT ? head : 0), INTERP_AT);
	if (first != HW_ABSENT)
		put64(w->image + RUNTIME + first, INTERP_AT);
	put64(w->interp + l->interp_threads_head, THREAD_AT);
	put64(w->thread + l->tstate_interp, INTERP_AT);
	if (l->interp_modules != HW_ABSENT)
		put64(w->interp + l->interp_modules, MODULES_DICT);
	put64(w->thread + (MODULES_DICT - THREAD_AT) + l->ob_type, IMAGE_AT + TYPES + TYPE_BYTES);
	const struct module_symbol symbols[] = { { "PyType_Type", TYPES },
						 { "PyObject_Malloc", NAMES },
						 { "PyDict_Type", TYPES + TYPE_BYTES },
						 { "_PyRuntime", RUNTIME },
						 { "_Py_NegativeRefcount", NAMES } };
	// The last is of debug builds, the one before it of those that have a runtime.
	if (builds[build].has_symbols)
		module_exports(w->image, EXPORTS, symbols,
			       5 - !builds[build].is_debug - (head == HW_ABSENT));
	w->is_made = true;
}

static struct hw_error *open_session(struct python_world *w, struct hw_session **ret)
{
	const uint32_t writable = HW_MAP_READ | HW_MAP_WRITE;
	const struct hw_image_piece pieces[] = {
		{ IMAGE_AT, w->image, IMAGE_BYTES, writable, "/nowhere/python3" },
		{ INTERP_AT, w->interp, INTERP_BYTES, writable, "" },
		{ THREAD_AT, w->thread, THREAD_BYTES, writable, "" },
	};
	const struct hw_options options = { .size = sizeof(options),
					    .debug_dirs = "/no/such/directory",
					    .threads = 1 };
	struct hw_target *target = NULL;
	HW_TRY(hw_session_open_detached(&options, ret));
	HW_TRY(hw_target_open_image(pieces, sizeof(pieces) / sizeof(*pieces), &target));
	hw_target_close((*ret)->target);
	(*ret)->target = target;
	(*ret)->is_detached = false;
	return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct python_world worlds[BUILDS];
	if (size < 2)
		return 0;
	struct python_world *w = &worlds[data[0] % BUILDS];
	if (!w->is_made)
		make_world(w, data[0] % BUILDS);
	const struct hw_python_layout *l = &w->layout;
	const struct {
		uint8_t *bytes;
		size_t len;
	} parts[] = {
		{ w->image + RUNTIME, 0x400 },
		{ w->image + RUNTIME, RUNTIME_BYTES },
		{ w->image + TYPES, 2 * TYPE_BYTES },
		{ w->image + TYPES, 64 },
		{ w->image + NAMES, 0x200 },
		{ w->image + BSS, 0x200 },
		{ w->image, 0xc0 }, // the headers
		{ w->image + EXPORTS, 0x400 },
		{ w->thread, THREAD_BYTES },
		{ w->interp + l->interp_threads_head, 16 },
		{ w->interp + (l->interp_next != HW_ABSENT ? l->interp_next : 0), 16 },
		{ w->interp + (l->interp_modules != HW_ABSENT ? l->interp_modules : 0), 16 },
		{ w->interp + (l->interp_obmalloc != HW_ABSENT ? l->interp_obmalloc : 0), 0x800 },
	};
	enum { PARTS = sizeof(parts) / sizeof(*parts) };
	const uint64_t words[] = { INTERP_AT,
				   IMAGE_AT + RUNTIME,
				   IMAGE_AT + TYPES,
				   IMAGE_AT + TYPES + TYPE_BYTES,
				   THREAD_AT,
				   MODULES_DICT,
				   INTERP_AT + 0x1000,
				   IMAGE_AT + NAMES,
				   IMAGE_AT + NAMES + 16 };
	for (size_t i = 2; i + PATCH_BYTES < size; i += PATCH_BYTES + 1)
		patch_apply(parts[data[i] % PARTS].bytes, parts[data[i] % PARTS].len, words,
			    sizeof(words) / sizeof(*words), data + i + 1, PATCH_BYTES);
	struct hw_session *session = NULL;
	struct hw_error *err = open_session(w, &session);
	if (!err)
		ask(session, commands[data[1] % COMMANDS], INTERP_AT);
	hw_error_destroy(err);
	hw_session_close(session);
	patch_undo();
	return 0;
}
