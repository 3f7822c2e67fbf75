/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cpython/frames.h"

#include <stdio.h>
#include <string.h>

#include "cpython/text.h"

enum { HW_FRAMES_MAX = 1 << 16, HW_LOCALS_MAX = 1 << 16 };

static bool hw_frame_word(struct hw_type_cache *cache, hw_addr_t object, int32_t offset,
			  uint64_t *ret)
{
	return object && offset != HW_ABSENT &&
	       hw_pages_read_word(cache->pages, object + (uint64_t)offset, ret);
}

static bool hw_is_code(struct hw_type_cache *cache, hw_addr_t object)
{
	uint64_t type_addr;
	const struct hw_type *type;
	return hw_frame_word(cache, object, cache->types->python->layout.ob_type, &type_addr) &&
	       (type = hw_type_at(cache, type_addr)) && !strcmp(type->name, "code");
}

static bool hw_frame_newest(struct hw_type_cache *cache, hw_addr_t thread, uint64_t *ret)
{
	const struct hw_python_layout *l = &cache->types->python->layout;
	uint64_t cframe;
	if (hw_frame_word(cache, thread, l->tstate_frame, ret) ||
	    hw_frame_word(cache, thread, l->tstate_current_frame, ret))
		return true;
	return hw_frame_word(cache, thread, l->tstate_cframe, &cframe) &&
	       hw_frame_word(cache, cframe, l->cframe_current_frame, ret);
}

// False: `visit` stopped it.
static bool hw_frames_of_thread(struct hw_type_cache *cache, hw_addr_t thread, hw_frame_fn *visit,
				void *payload)
{
	const struct hw_python_layout *l = &cache->types->python->layout;
	const bool is_object = l->tstate_frame != HW_ABSENT;
	struct hw_frame frame = { 0 };
	uint64_t at;
	hw_frame_word(cache, thread, l->tstate_thread_id, &frame.thread);
	if (!hw_frame_newest(cache, thread, &at))
		return true;
	// One that comes again is damage: the count ends it.
	for (unsigned n = 0; at && n < HW_FRAMES_MAX; n++) {
		frame.address = at;
		frame.code = 0;
		if (hw_frame_word(cache, at, is_object ? l->frame_code : l->iframe_code,
				  &frame.code))
			frame.code &= ~(uint64_t)3; // 3.14 tags what it borrows
		if (!hw_is_code(cache, frame.code))
			frame.code = 0;
		int32_t locals = is_object ? l->frame_localsplus : l->iframe_localsplus;
		frame.locals = locals == HW_ABSENT ? 0 : at + (uint64_t)locals;
		if (!visit(payload, &frame))
			return false;
		if (!hw_frame_word(cache, at, is_object ? l->frame_back : l->iframe_previous, &at))
			break;
	}
	return true;
}

void hw_frames_visit(struct hw_type_cache *cache, hw_frame_fn *visit, void *payload)
{
	const struct hw_python *python = cache->types->python;
	const struct hw_python_layout *l = &python->layout;
	hw_vec_foreach(interpreter, &python->interpreters)
	{
		uint64_t thread;
		if (!hw_frame_word(cache, *interpreter, l->interp_threads_head, &thread))
			continue;
		for (unsigned n = 0; thread && n < HW_FRAMES_MAX; n++) {
			if (!hw_frames_of_thread(cache, thread, visit, payload))
				return;
			if (!hw_frame_word(cache, thread, l->tstate_next, &thread))
				break;
		}
	}
}

// The text of item i of a tuple of names.
static bool hw_tuple_name(struct hw_type_cache *cache, hw_addr_t tuple, uint64_t i, uint64_t *count,
			  char *buf, size_t size)
{
	const struct hw_python_layout *l = &cache->types->python->layout;
	uint64_t item;
	return hw_frame_word(cache, tuple, l->ob_size, count) && *count <= HW_LOCALS_MAX &&
	       i < *count &&
	       hw_frame_word(cache, tuple + l->word_bytes * i, l->tuple_ob_item, &item) &&
	       hw_str_text(l, cache->pages, item, buf, size);
}

bool hw_code_local_name(struct hw_type_cache *cache, hw_addr_t code, uint64_t index, char *buf,
			size_t size)
{
	const struct hw_python_layout *l = &cache->types->python->layout;
	// Up to 3.10 names stand by kind, each kind in a tuple of its own.
	const int32_t tuples[] = { l->code_co_localsplusnames, l->code_co_varnames,
				   l->code_co_cellvars, l->code_co_freevars };
	for (unsigned i = l->code_co_localsplusnames != HW_ABSENT ? 0 : 1; i < 4; i++) {
		uint64_t tuple, count = 0;
		if (!hw_frame_word(cache, code, tuples[i], &tuple))
			return false;
		if (hw_tuple_name(cache, tuple, index, &count, buf, size))
			return true;
		if (!i || index < count || count > HW_LOCALS_MAX)
			return false;
		index -= count;
	}
	return false;
}

void hw_code_name(struct hw_type_cache *cache, hw_addr_t code, char *buf, size_t size)
{
	const struct hw_python_layout *l = &cache->types->python->layout;
	uint64_t name;
	if (!hw_frame_word(cache, code, l->code_co_name, &name) ||
	    !hw_str_text(l, cache->pages, name, buf, size))
		snprintf(buf, size, "?");
}
