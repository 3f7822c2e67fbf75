/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A forged process: malloc's arenas, pymalloc's, a segment of mimalloc's, types, objects of each kind that owners
// know, their buffers in malloc. And a session over it.
#ifndef WORLD_H
#define WORLD_H

#define main test_main
#define put32 put_u32
#include "../unit/test_glibc_forged.c"
#undef put32
#undef main

#include "analysis/session.h"
#include "cpython/mimalloc.h"
#include "forged_python.h"
#include "symbols/modules_private.h"

enum {
	FLAVOURS = sizeof(flavours) / sizeof(*flavours),
	FILE_AT = 0x20000000, // the interpreter's own data: its types
	FILE_BYTES = 0x10000,
	TYPE_STEP = 0x400,
	NAMES = FILE_AT + FILE_BYTES - 0x1000,
	INTERP = 0x21000000, // an interpreter, then the array of arena objects
	OBJECTS = INTERP + 0x1000,
	INTERP_BYTES = 0x1400,
	POOLS_AT = 0x23000000,
	POOLS = 12,
	STACK = 0x24000000, // pointers to objects, mimalloc's heap
	STACK_BYTES = 0x1000,
	SEGMENT = 0x40000000, // of mimalloc's, aligned to 32 MiB: its header and a page
	SEGMENT_READABLE = 2 << 16,
	MI_BLOCK = 64,
	MI_FIRST = (1 << 16) + 3 * MI_BLOCK,
	MI_HEAP = STACK + 0xc00,
	MI_SECRET = 0x5ec7e7,
	TYPES_MAX = 40,
	THINGS_MAX = 160,
};

static struct {
	uint8_t file[FILE_BYTES], interp[INTERP_BYTES], pools[ARENA], stack[STACK_BYTES];
	uint8_t segment[SEGMENT_READABLE];
	hw_addr_t next_name, buffers[CHUNKS_MAX];
	size_t buffer_count, next_buffer;
	hw_addr_t types[TYPES_MAX], things[THINGS_MAX];
	size_t type_count, thing_count;
	uint8_t pool_of_class[32], carved[32];
	unsigned pool_count;
	struct hw_python python;
	struct hw_module module;
	struct hw_module_private priv;
	struct forge mallocs[FLAVOURS];
} world;

static void put_word(hw_addr_t addr, uint64_t value)
{
	put64(world.pools + (addr - POOLS_AT), value);
}

static void make_facts(struct hw_python_layout *l)
{
	forged_layout(l);
	forged_layout_objects(l);
	forged_layout_obmalloc(l);
	l->interp_id = 8;
	l->interp_feature_flags = 16;
	l->dict_size = 48;
	forged_layout_containers(l);
	l->str_utf8 = 48;
	l->bytes_ob_sval = 32;
	l->bytearray_ob_start = 40;
	l->bytearray_ob_bytes = 32;
	l->tuple_ob_item = 24;
	l->module_md_dict = 16;
	l->module_md_state = 32;
	l->module_md_name = 48;
	l->code_co_code = 48;
	l->code_co_extra = 64;
	l->deque_leftblock = 24;
	l->deque_rightblock = 32;
	l->deque_numfreeblocks = 40;
	l->deque_freeblocks = 48;
	l->deque_block_rightlink = 8;
	l->odict_fast_nodes = 48;
	l->odict_first = 56;
	l->odict_node_next = 16;
	l->io_bytesio_buf = 16;
	l->lock_lock = 16;
	l->tp_dict = 264;
	l->tp_doc = 176;
	l->ht_cached_keys = 880;
}

static hw_addr_t add_type(const char *name, uint64_t flags, uint64_t basicsize, uint64_t itemsize)
{
	hw_addr_t addr = FILE_AT + world.type_count * TYPE_STEP, text = world.next_name;
	memcpy(world.file + (text - FILE_AT), name, strlen(name) + 1);
	world.next_name += strlen(name) + 1;
	forged_type(world.file + (addr - FILE_AT), FILE_AT, text, flags, basicsize, itemsize);
	world.types[world.type_count++] = addr;
	return addr;
}

// A block for an object: in the pool of its size, which is made when first wanted.
static hw_addr_t add_block(uint64_t bytes)
{
	unsigned szidx = (unsigned)(bytes + 15) / 16 - 1;
	if (szidx >= 32)
		abort(); // the fuzzer's own mistake
	if (!world.pool_of_class[szidx])
		world.pool_of_class[szidx] = (uint8_t)++world.pool_count;
	hw_addr_t pool = POOLS_AT + (world.pool_of_class[szidx] - 1u) * (hw_addr_t)POOL;
	hw_addr_t addr = pool + POOL_HEADER + world.carved[szidx]++ * (hw_addr_t)(szidx + 1) * 16;
	if (world.thing_count < THINGS_MAX)
		world.things[world.thing_count++] = addr;
	return addr;
}

static hw_addr_t next_buffer(void)
{
	return world.buffers[world.next_buffer++ % world.buffer_count];
}

// An object, its words from `at` on: each is a number, or a buffer of malloc's (-1), or itself (-2), or the
// object that was made last (-3).
static void add_object(hw_addr_t type, uint64_t head, uint64_t bytes, const int64_t *words,
		       size_t count)
{
	static hw_addr_t last;
	hw_addr_t addr = add_block(head + bytes) + head;
	put_word(addr, 2);
	put_word(addr + 8, type);
	for (size_t i = 0; i < count; i++)
		put_word(addr + 16 + 8 * i, words[i] == -1   ? next_buffer()
					    : words[i] == -2 ? addr
					    : words[i] == -3 ? last
							     : (uint64_t)words[i]);
	last = addr;
}

#define OBJECT(type, head, bytes, ...)                                                             \
	add_object(type, head, bytes, (const int64_t[]){ __VA_ARGS__ },                            \
		   sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

static void make_objects(void)
{
	enum { GC = HW_TPFLAGS_HAVE_GC, HEAD = GC_HEAD, PREHEADER = GC_HEAD + 16 };
	hw_addr_t type = add_type("type", HW_TPFLAGS_TYPE_SUBCLASS | GC, 920, 0);
	hw_addr_t list = add_type("list", GC, 40, 0), tuple = add_type("tuple", GC, 24, 8);
	hw_addr_t dict = add_type("dict", HW_TPFLAGS_DICT_SUBCLASS | GC, 48, 0);
	hw_addr_t number = add_type("int", HW_TPFLAGS_LONG_SUBCLASS, 24, 4);
	hw_addr_t text = add_type("str", HW_TPFLAGS_UNICODE_SUBCLASS, 64, 0);
	hw_addr_t bytes = add_type("bytes", 0, 33, 1), real = add_type("float", 0, 24, 0);
	hw_addr_t array = add_type("bytearray", 0, 56, 0), set = add_type("set", GC, 64, 0);
	hw_addr_t deque = add_type("collections.deque", GC, 72, 0);
	hw_addr_t odict = add_type("collections.OrderedDict",
				   HW_TPFLAGS_DICT_SUBCLASS | GC | HW_TPFLAGS_HEAPTYPE, 64, 0);
	hw_addr_t module = add_type("module", GC, 56, 0), code = add_type("code", 0, 80, 0);
	hw_addr_t io = add_type("_io.BytesIO", GC, 32, 0),
		  lock = add_type("_thread.lock", 0, 24, 0);
	hw_addr_t items = add_type("array.array", 0, 40, 0);
	hw_addr_t cdata = add_type("_ctypes._CData", GC, 48, 0);
	hw_addr_t nd = add_type("numpy.ndarray", 0, 80, 0);
	hw_addr_t box = add_type("Box", GC | HW_TPFLAGS_HEAPTYPE | HW_TPFLAGS_MANAGED_DICT, 16, 0);
	hw_addr_t slot = add_type("Slot", GC | HW_TPFLAGS_HEAPTYPE, 24, 0);
	put64(world.file + (slot - FILE_AT) + OFF_DICTOFFSET, 16);
	put64(world.file + (odict - FILE_AT) + OFF_BASE, dict);
	put64(world.file + (box - FILE_AT) + 880, FILE_AT + FILE_BYTES - 0x800);
	(void)type;
	for (unsigned i = 0; i < 3; i++) {
		OBJECT(number, 0, 32, 1 << 3, 42 + i);
		OBJECT(list, HEAD, 40, 2, -1, 4);
		OBJECT(tuple, HEAD, 40, 2, -3, -2);
		OBJECT(text, 0, 48, 7, 12345, 1 << 2 | 1 << 5 | 1 << 6, 0x67667a7a7566);
		OBJECT(text, 0, 64, 7, 12345, 1 << 2, 5, -1, -1);
		OBJECT(dict, HEAD, 48, 2, 77, -1, -1);
		OBJECT(bytes, 0, 48, 9, -1, 0x686769656877);
		OBJECT(real, 0, 24, 0x4009000000000000);
		OBJECT(array, 0, 56, 5, 8, -1, 0, 0);
		OBJECT(set, HEAD, 64, 0, 1, 7, -1);
		OBJECT(deque, HEAD, 72, 70, -1, -1, 1, -1);
		OBJECT(odict, HEAD, 64, 2, 77, -1, 0, -1, -1);
		OBJECT(module, HEAD, 56, -3, 0, -1, 0, -3);
		OBJECT(code, 0, 80, 0, 0, 0, 0, -3, 0, -1);
		OBJECT(io, HEAD, 32, -1, 10);
		OBJECT(lock, 0, 24, -1);
		OBJECT(items, 0, 40, 3, -1, 4);
		OBJECT(cdata, HEAD, 48, -1, 1);
		OBJECT(nd, 0, 80, -1, 1, -1, 0, 0, 0, 4);
		OBJECT(slot, HEAD, 24, -3);
		hw_addr_t managed = add_block(PREHEADER + 16);
		put_word(managed + 8, next_buffer() | 1);
		put_word(managed + PREHEADER, 2);
		put_word(managed + PREHEADER + 8, box);
	}
}

static void make_arena(void)
{
	for (unsigned szidx = 0; szidx < 32; szidx++) {
		if (!world.pool_of_class[szidx])
			continue;
		unsigned index = world.pool_of_class[szidx] - 1u;
		forged_pool(world.pools + index * POOL, POOLS_AT + index * (hw_addr_t)POOL, 0,
			    szidx, world.carved[szidx] + 2u, 2);
	}
	uint8_t *state = world.interp + OFF_OBMALLOC, *arena = world.interp + (OBJECTS - INTERP);
	for (unsigned i = 0; i < 32; i++) {
		uint64_t to = INTERP + OFF_OBMALLOC + OFF_USED + i * 16 - 16;
		put64(state + OFF_USED + i * 16, to);
		put64(state + OFF_USED + i * 16 + 8, to);
	}
	put64(state + OFF_ARENAS, OBJECTS);
	put32(state + OFF_MAXARENAS, 16);
	put64(state + OFF_NARENAS, 1);
	put64(arena, POOLS_AT);
	put64(arena + 8, POOLS_AT + (hw_addr_t)world.pool_count * POOL);
	put32(arena + 16, ARENA / POOL - world.pool_count);
	put32(arena + 20, ARENA / POOL);
}

// A segment with a page of blocks of 64 bytes, which holds what pymalloc's pool of that size does.
static void make_segment(void)
{
	enum { CLASS = MI_BLOCK / 16 - 1 };
	unsigned used = world.carved[CLASS];
	uint8_t *page = world.segment + MI_SLICES + MI_PAGE_BYTES,
		*heap = world.stack + (MI_HEAP - STACK);
	forged_layout_mimalloc(&world.python.layout);
	put64(world.segment, 1);
	put64(world.segment + 8, MI_SECRET ^ SEGMENT);
	put64(world.segment + 16, HW_MI_SLICES);
	put64(world.segment + 24, 1);
	put64(world.segment + 40, HW_MI_SLICES);
	put64(world.segment + 48, 0x7000);
	put32(page - MI_PAGE_BYTES, 1);
	put32(page, 1);
	put32(page + 8, (used + 2) << 16);
	put32(page + 12, HW_MI_SLICE_BYTES / MI_BLOCK - 3);
	put64(page + 16, SEGMENT + MI_FIRST + used * MI_BLOCK);
	put32(page + 24, used);
	put32(page + 28, MI_BLOCK);
	put64(page + 48, MI_HEAP);
	put32(page + MI_PAGE_BYTES, HW_MI_SLICES - 2);
	put64(heap + 8, 0x7000);
	put64(heap + 16, MI_SECRET);
	put64(heap + 40, 1);
	const uint8_t *pool = world.pools + (world.pool_of_class[CLASS] - 1u) * POOL + POOL_HEADER;
	memcpy(world.segment + MI_FIRST, pool, used * MI_BLOCK);
	put64(world.segment + MI_FIRST + used * MI_BLOCK,
	      SEGMENT + MI_FIRST + (used + 1) * MI_BLOCK);
}

static void make_world(void)
{
	world.next_name = NAMES;
	for (size_t i = 0; i < FLAVOURS; i++)
		forge(&world.mallocs[i], &flavours[i]);
	// The last flavours' heap is the largest: its chunks are buffers in all.
	const struct forge *f = &world.mallocs[FLAVOURS - 2];
	for (size_t i = 0; i < f->count; i++)
		if (f->chunks[i].state == HW_CHUNK_IN_USE)
			world.buffers[world.buffer_count++] = f->chunks[i].addr + 16;
	make_facts(&world.python.layout);
	make_objects();
	make_arena();
	make_segment();
	for (size_t i = 0; i < world.thing_count; i++)
		put64(world.stack + 8 * i, world.things[i]);
	world.priv = (struct hw_module_private){ .tried_file = true,
						 .tried_dwfl = { true, true },
						 .tried_symtab = true,
						 .tried_dwarf = true };
	world.module = (struct hw_module){ "/python", FILE_AT, FILE_AT + FILE_BYTES, &world.priv };
	world.python.module = &world.module;
	world.python.type_type = FILE_AT;
	world.python.version_hex = 0x030c01f0;
	strcpy(world.python.version, "3.12.1");
	strcpy(world.python.build, "release");
	strcpy(world.python.facts, "forged");
}

// With malloc as one of the flavours, with the dear checks or without, with mimalloc or without.
static struct hw_error *open_session(unsigned flavour, bool debug, bool has_mimalloc,
				     struct hw_session **ret)
{
	struct forge *f = &world.mallocs[flavour];
	const uint32_t writable = HW_MAP_READ | HW_MAP_WRITE;
	const struct hw_image_piece pieces[] = {
		{ FILE_AT, world.file, FILE_BYTES, writable, "/python" },
		{ INTERP, world.interp, INTERP_BYTES, writable, "" },
		{ POOLS_AT, world.pools, ARENA, writable, "" },
		{ SEGMENT, world.segment, SEGMENT_READABLE, writable, "" },
		{ STACK, world.stack, STACK_BYTES, writable, "[stack]" },
		{ heap_at, f->heap, HEAP_BYTES, writable, "[heap]" },
		{ libc_at, f->libc, LIBC_BYTES, writable, "/nowhere/libc.so.6" },
		{ mapped_at, f->mapped, MAPPED_BYTES, writable, "" },
		{ arena_at, f->heap2, ARENA_BYTES, writable, "" },
	};
	const struct hw_options options = { .size = sizeof(options),
					    .debug_dirs = "/no/such/directory",
					    .threads = 1,
					    .debug = debug };
	struct hw_session *session = NULL;
	struct hw_target *target = NULL;
	struct hw_error *err = hw_session_open_detached(&options, &session);
	if (!err)
		err = hw_target_open_image(pieces, sizeof(pieces) / sizeof(*pieces), &target);
	if (err) {
		hw_session_close(session);
		return err;
	}
	hw_target_close(session->target);
	session->target = target;
	session->is_detached = false;
	session->python = world.python;
	session->has_python = true;
	if (!has_mimalloc)
		session->python.layout.mi_segment_size = HW_ABSENT;
	if (!hw_vec_push(&session->python.interpreters, (hw_addr_t)INTERP))
		abort();
	*ret = session;
	return hw_modules_open(target, NULL, "/no/such/directory", &session->issues,
			       &session->modules);
}

#endif
