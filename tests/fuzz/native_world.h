/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A forged program of C and C++: malloc's heap, and in its blocks a document of libxml2's, streams of zlib's, a
// connection of SQLite's and one of OpenSSL's, objects of GObject's with their table of types, a slab of GSlice's,
// objects with vtables. The libraries are images with ELF headers, which have what the classifiers look for.
#ifndef NATIVE_WORLD_H
#define NATIVE_WORLD_H

#define main test_main
#include "../unit/test_glibc_forged.c"
#undef main

#include "analysis/session.h"
#include "module_image.h"
#include "native/cxx_containers.h"
#include "symbols/modules.h"

enum { EXE, GOBJECT, GLIB, XML, ZLIB, CRYPTO, SSL, SQLITE, MODULES };
enum {
	FLAVOURS = sizeof(flavours) / sizeof(*flavours),
	MODULE_BYTES = 0x2000, // the second half is .bss
	BSS = 0x1000,
	MODULES_AT = 0x20000000,
	MODULE_STEP = 0x10000,
	CODE = 0xf00, // in each module
	WORDS_MAX = 256,
};

static const char *const module_paths[MODULES] = {
	"/nowhere/app",          "/nowhere/libgobject-2.0.so.0", "/nowhere/libglib-2.0.so.0",
	"/nowhere/libxml2.so.2", "/nowhere/libz.so.1",           "/nowhere/libcrypto.so.3",
	"/nowhere/libssl.so.3",  "/nowhere/libsqlite3.so.0",
};

struct native_world {
	struct forge malloc;
	uint8_t modules[MODULES][MODULE_BYTES];
	size_t carved_at, carved_bytes; // of malloc.heap
	hw_addr_t holder;               // an object of C++ with containers
	uint64_t words[WORDS_MAX];
	size_t word_count;
};

static void add_word(struct native_world *w, uint64_t word)
{
	if (w->word_count < WORDS_MAX)
		w->words[w->word_count++] = word;
}

static hw_addr_t module_at(unsigned module, uint64_t offset)
{
	return MODULES_AT + (hw_addr_t)module * MODULE_STEP + offset;
}

static void put_module(struct native_world *w, unsigned module, uint64_t offset, uint64_t value)
{
	memcpy(w->modules[module] + offset, &value, 8);
}

static hw_addr_t put_name(struct native_world *w, unsigned module, uint64_t offset,
			  const char *text)
{
	memcpy(w->modules[module] + offset, text, strlen(text) + 1);
	return module_at(module, offset);
}

// A block in use, cut off malloc's top: where its data starts, zeroed.
static hw_addr_t carve(struct native_world *w, uint64_t bytes)
{
	hw_addr_t mem = add_chunk(&w->malloc,
				  (bytes + 8 + 15) / 16 * 16 < 32 ? 32 : (bytes + 8 + 15) / 16 * 16,
				  HW_CHUNK_IN_USE) +
			16;
	add_word(w, mem);
	return mem;
}

static void set(struct native_world *w, hw_addr_t addr, uint64_t value)
{
	put(&w->malloc, addr, value);
}

static void set32(struct native_world *w, hw_addr_t addr, uint32_t value)
{
	put32(&w->malloc, addr, value);
}

static void set_text(struct native_world *w, hw_addr_t addr, const char *text)
{
	memcpy(at(&w->malloc, addr), text, strlen(text) + 1);
}

// ---- C++ ----

enum {
	META_NAME = 0x200,
	META_INFO = 0x240,
	META_TABLE = 0x260,
	CLASS_FIRST = 0x300,
	CLASS_STEP = 0x80
};

static hw_addr_t make_class(struct native_world *w, unsigned index, const char *mangled)
{
	uint64_t base = CLASS_FIRST + index * (uint64_t)CLASS_STEP;
	hw_addr_t name = put_name(w, EXE, base + 0x40, mangled);
	put_module(w, EXE, base, module_at(EXE, META_TABLE + 16)); // its typeinfo
	put_module(w, EXE, base + 8, name);
	put_module(w, EXE, base + 0x20, 0); // its vtable
	put_module(w, EXE, base + 0x28, module_at(EXE, base));
	put_module(w, EXE, base + 0x30, module_at(EXE, CODE));
	add_word(w, module_at(EXE, base + 0x30));
	return module_at(EXE, base + 0x30);
}

static void make_cxx(struct native_world *w)
{
	hw_addr_t name = put_name(w, EXE, META_NAME, "N10__cxxabiv120__si_class_type_infoE");
	put_module(w, EXE, META_INFO, module_at(EXE, META_TABLE + 16));
	put_module(w, EXE, META_INFO + 8, name);
	put_module(w, EXE, META_TABLE + 8, module_at(EXE, META_INFO));
	put_module(w, EXE, META_TABLE + 16, module_at(EXE, CODE));
	static const char *const names[] = { "3Box", "*N6shapes6circleE",
					     "N3net7SessionI3IntSt6vectorIiSaIiEEEE", "" };
	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
		set(w, carve(w, 40), make_class(w, i, names[i]));
	// A string, a vector of strings, a tree with a string in each node.
	hw_addr_t buffer = carve(w, 40), vector = carve(w, 64), node = carve(w, 64),
		  left = carve(w, 64);
	w->holder = carve(w, 160);
	set(w, w->holder, module_at(EXE, CLASS_FIRST + 0x30));
	set(w, w->holder + 8, buffer);
	set(w, w->holder + 16, 20);
	set(w, w->holder + 24, 30);
	set_text(w, buffer, "twenty characters it");
	set(w, w->holder + 40, vector);
	set(w, w->holder + 48, vector + 64);
	set(w, w->holder + 56, vector + 64);
	for (unsigned i = 0; i < 2; i++)
		set(w, vector + 32 * i, vector + 32 * i + 16);
	set(w, w->holder + 64 + 16, node);
	set(w, w->holder + 64 + 40, 2);
	set(w, node + 8, w->holder + 64 + 8);
	set(w, node + 16, left);
	set(w, node + 32, node + 48);
	set(w, left + 8, node);
	set(w, left + 32, buffer);
}

// ---- GLib ----

enum {
	NODES_AT = 0x200,
	NODE_STEP = 0x50,
	N_CHILDREN = 16,
	CHILDREN = 24,
	DATA = 32,
	QNAME = 40,
	SUPERS = 56
};
enum { QUARKS = 0x200, QUARK_NAMES = 0x300, QUARKS_IN_BSS = BSS + 0x400, SLICES = BSS + 0x100 };
enum { PAGE_MIN_BYTES = 128, PAGE_MAX_BYTES = 1024, SLICE_SIZES = 7, SLAB_PAGE = 256 };

static void make_gobject(struct native_world *w)
{
	static const char *const names[] = { "GObject", "GInterface", "gchar",
					     "GParam",  "GVariant",   "AppThing" };
	static const unsigned ids[] = { 20, 2, 3, 19, 21 };
	for (unsigned i = 0; i < 6; i++)
		put_module(w, GLIB, QUARKS + 8 * (i + 1),
			   put_name(w, GLIB, QUARK_NAMES + 16 * i, names[i]));
	put_module(w, GLIB, QUARKS_IN_BSS, module_at(GLIB, QUARKS));
	for (unsigned i = 1; i <= 21; i++) {
		put_module(w, GOBJECT, BSS + 8 * i, module_at(GOBJECT, NODES_AT + NODE_STEP * i));
		put_module(w, GOBJECT, NODES_AT + NODE_STEP * i + SUPERS, i << 2);
	}
	for (unsigned i = 0; i < 5; i++)
		put_module(w, GOBJECT, NODES_AT + NODE_STEP * ids[i] + QNAME, i + 1);
	// A type below GObject: its node is a block of malloc's, as are its data and its class.
	hw_addr_t node = carve(w, 72), list = carve(w, 24), type = carve(w, 72),
		  class_at = carve(w, 136);
	put_module(w, GOBJECT, NODES_AT + NODE_STEP * 20 + N_CHILDREN, 1);
	put_module(w, GOBJECT, NODES_AT + NODE_STEP * 20 + CHILDREN, list);
	set(w, list, node);
	set(w, node + SUPERS, node);
	set(w, node + QNAME, 6);
	set(w, node + DATA, type);
	set(w, type + 56, class_at);
	set(w, type + 64, 32 | 16 << 16); // bytes of an instance, and of what stands before it
	set(w, class_at, node);
	for (unsigned i = 0; i < 2; i++)
		set(w, carve(w, 48) + 16, class_at);
}

static void make_gslice(struct native_world *w)
{
	hw_addr_t slabs = carve(w, 8 * SLICE_SIZES), magazines = carve(w, 8 * SLICE_SIZES);
	hw_addr_t thread = carve(w, 16 + 2 * 16 * SLICE_SIZES);
	put_module(w, GLIB, SLICES, PAGE_MIN_BYTES);
	put_module(w, GLIB, SLICES + 8, PAGE_MAX_BYTES);
	put_module(w, GLIB, SLICES + 48, (PAGE_MAX_BYTES - 48) / 8);
	put_module(w, GLIB, SLICES + 64, magazines);
	put_module(w, GLIB, SLICES + 104, slabs);
	set(w, thread, thread + 16);
	set(w, thread + 8, thread + 16 + 16 * SLICE_SIZES);
	// Its data is aligned to its page; what fills the gap is a chunk as well.
	uint64_t gap = -(w->malloc.next + 16) % SLAB_PAGE;
	if (gap)
		carve(w, (gap < 32 ? gap + SLAB_PAGE : gap) - 8);
	hw_addr_t slab = carve(w, SLAB_PAGE - 8), info = slab + SLAB_PAGE - 48;
	set(w, slabs, info);
	set(w, info, slab + 16); // chunks of 16 bytes, free ones
	set(w, info + 8, 10);
	set(w, info + 16, info);
	set(w, info + 24, info);
	set(w, slab + 16, slab + 64);
	set(w, thread + 16, slab + 96); // a magazine of two
	set(w, thread + 24, 2);
	set(w, slab + 96, slab + 112);
	for (unsigned i = 0; i < 4; i++) { // one in the depot
		set(w, slab + 128 + 16 * i, i < 3 ? slab + 144 + 16 * i : 0);
		set(w, slab + 136 + 16 * i, i < 2 ? slab + 128 : i == 3 ? 4 : 0);
	}
	set(w, magazines, slab + 128);
}

// ---- libxml2, zlib ----

static hw_addr_t make_node(struct native_world *w, hw_addr_t doc, unsigned type, hw_addr_t parent)
{
	hw_addr_t node = carve(w, 120);
	set(w, node + 8, type);
	set(w, node + 40, parent);
	set(w, node + 64, doc);
	return node;
}

static void make_xml(struct native_world *w)
{
	hw_addr_t doc = carve(w, 176), dict = carve(w, 64), pool = carve(w, 40 + 80),
		  table = carve(w, 64);
	set(w, doc + 8, 9);
	set(w, doc + 64, doc);
	set(w, doc + 152, dict);
	set(w, dict + 8, table);
	set(w, dict + 32, pool);
	set(w, pool + 8, pool + 60);
	set(w, pool + 16, pool + 120);
	set(w, pool + 24, 80);
	hw_addr_t version = carve(w, 24), root = make_node(w, doc, 1, doc), before = 0;
	set_text(w, version, "1.0");
	set(w, doc + 104, version);
	set(w, doc + 24, root);
	for (unsigned i = 0; i < 3; i++) {
		static const unsigned types[] = { 3, 1, 8 };
		hw_addr_t node = make_node(w, doc, types[i], root), text = carve(w, 24);
		set_text(w, text, "content");
		set(w, node + 56, before);
		set(w, before ? before + 48 : root + 24, node);
		set(w, node + (types[i] == 1 ? 16 : 80), text);
		before = node;
	}
	hw_addr_t attribute = make_node(w, doc, 2, root), name = carve(w, 24), ns = carve(w, 48);
	hw_addr_t below = make_node(w, doc, 3, attribute);
	set(w, root + 88, attribute);
	set(w, attribute + 16, name);
	set(w, attribute + 24, below);
	set(w, root + 96, ns);
	set(w, ns + 8, 18);
	set(w, ns + 16, name);
}

static void make_zlib(struct native_world *w)
{
	hw_addr_t deflate = carve(w, 400), inflate = carve(w, 4100), streams = carve(w, 2 * 112),
		  part[5];
	for (unsigned i = 0; i < 5; i++)
		part[i] = carve(w, 512);
	for (unsigned i = 0; i < 2; i++) {
		set(w, streams + 112 * i + 56, i ? inflate : deflate);
		set(w, streams + 112 * i + 64, module_at(ZLIB, CODE));
		set(w, streams + 112 * i + 72, module_at(ZLIB, CODE));
		set(w, i ? inflate : deflate, streams + 112 * i);
	}
	set32(w, deflate + 8, 113);
	set(w, deflate + 16, part[0]);
	set(w, deflate + 24, 512);
	set32(w, deflate + 80, 256);
	set32(w, deflate + 84, 8);
	set32(w, deflate + 88, 255);
	for (unsigned i = 0; i < 3; i++)
		set(w, deflate + (i ? 104 + 8 * i : 96), part[i + 1]);
	set32(w, deflate + 132, 256);
	set32(w, deflate + 136, 8);
	set32(w, deflate + 140, 255);
	set32(w, inflate + 8, 16191);
	set32(w, inflate + 56, 8);
	set32(w, inflate + 60, 256);
	set(w, inflate + 72, part[4]);
}

// ---- OpenSSL, SQLite ----

static hw_addr_t make_methods(struct native_world *w, unsigned module, uint64_t first,
			      uint64_t second)
{
	put_module(w, module, 0x200, first);
	put_module(w, module, 0x208, second);
	for (unsigned i = 2; i < 10; i++)
		put_module(w, module, 0x200 + 8 * i, module_at(module, CODE));
	add_word(w, module_at(module, 0x200));
	return module_at(module, 0x200);
}

static void make_openssl(struct native_world *w)
{
	hw_addr_t tls = make_methods(w, SSL, 0x10000, 0);
	hw_addr_t memory = make_methods(w, CRYPTO, 0x401,
					put_name(w, CRYPTO, 0x300, "memory buffer"));
	hw_addr_t context = carve(w, 1100), ssl = carve(w, 1200), buffer = carve(w, 200),
		  bio = carve(w, 120);
	set(w, context + 8, tls);
	set(w, ssl, 0x304);
	set(w, ssl + 8, tls);
	set(w, ssl + 200, context);
	set(w, ssl + 800, ssl); // the record layer
	set(w, ssl + 800 + 32, buffer);
	set(w, ssl + 800 + 48, 180);
	set(w, bio + 8, memory);
}

// SQLite's allocator writes the size before each.
static hw_addr_t make_sized(struct native_world *w, uint64_t bytes)
{
	hw_addr_t mem = carve(w, bytes + 8);
	set(w, mem, bytes);
	add_word(w, mem + 8);
	return mem + 8;
}

static void make_sqlite(struct native_world *w)
{
	enum { VFS = 0x200, VFS_NAME_AT = 0x280, TEMP = 0x2a0 };
	hw_addr_t db = make_sized(w, 256), dbs = make_sized(w, 96), tree = make_sized(w, 80),
		  shared = make_sized(w, 96);
	hw_addr_t pager = make_sized(w, 64),
		  statements[2] = { make_sized(w, 304), make_sized(w, 304) };
	put_module(w, SQLITE, VFS, 3);
	put_module(w, SQLITE, VFS + 24, put_name(w, SQLITE, VFS_NAME_AT, "unix"));
	put_module(w, SQLITE, VFS + 40, module_at(SQLITE, CODE));
	put_name(w, SQLITE, TEMP, "temp");
	set(w, db, module_at(SQLITE, VFS));
	set(w, db + 8, statements[0]);
	set(w, db + 32, dbs);
	set32(w, db + 40, 2);
	set(w, dbs + 8, tree);
	set(w, dbs + 32, module_at(SQLITE, TEMP));
	set(w, tree, db);
	set(w, tree + 8, shared);
	set(w, shared, pager);
	set(w, shared + 8, db);
	for (unsigned i = 0; i < 2; i++)
		set(w, statements[i], db);
	set(w, statements[0] + 16, statements[1]);
	// A cache with two pages, its group behind it.
	hw_addr_t cache = make_sized(w, 88 + 72), table = make_sized(w, 32),
		  page = make_sized(w, 512 + 80);
	set(w, cache, cache + 88);
	set(w, cache + 8, cache + 96);
	set32(w, cache + 16, 512);
	set32(w, cache + 20, 40);
	set32(w, cache + 24, 512 + 40 + 40);
	set32(w, cache + 56, 2);
	set32(w, cache + 60, 4);
	set(w, cache + 64, table);
	set(w, table + 8, page + 512);
	set(w, page + 512, page);
	set(w, page + 512 + 32, cache);
}

// ---- all ----

static struct native_world *native_world(unsigned flavour)
{
	static struct native_world worlds[FLAVOURS];
	struct native_world *w = &worlds[flavour];
	struct forge *f = &w->malloc;
	if (w->word_count)
		return w;
	forge(f, &flavours[flavour]);
	for (unsigned i = 0; i < MODULES; i++) {
		module_image(w->modules[i], BSS, MODULE_BYTES);
		add_word(w, module_at(i, CODE));
	}
	// The main heap grows: from its top on there are blocks. The thread's arena is not touched.
	size_t top = 0;
	while (f->chunks[top].addr != f->tops[0])
		top++;
	f->count = top;
	f->next = f->tops[0];
	f->flags = 0;
	f->before_is_free = false;
	w->carved_at = (size_t)(f->next - heap_at);
	make_cxx(w);
	make_gobject(w);
	make_gslice(w);
	make_xml(w);
	make_zlib(w);
	make_openssl(w);
	make_sqlite(w);
	set_text(w, carve(w, 100), "a text that is nothing else, long enough to be one");
	w->carved_bytes = (size_t)(f->next - heap_at) - w->carved_at;
	f->tops[0] = f->next;
	put(f, f->main_arena + f->arena->top, f->next);
	add_chunk(f, heap_at + HEAP_BYTES - f->next, HW_CHUNK_TOP);
	add_word(w, f->main_arena);
	return w;
}

// The program is the first of the modules.
static struct hw_error *open_native_target(struct native_world *w, unsigned module_count,
					   struct hw_target **ret)
{
	const uint32_t writable = HW_MAP_READ | HW_MAP_WRITE;
	struct forge *f = &w->malloc;
	struct hw_image_piece pieces[MODULES + 4] = {
		{ heap_at, f->heap, HEAP_BYTES, writable, "[heap]" },
		{ libc_at, f->libc, LIBC_BYTES, writable, "/nowhere/libc.so.6" },
		{ mapped_at, f->mapped, MAPPED_BYTES, writable, "" },
		{ arena_at, f->heap2, ARENA_BYTES, writable, "" },
	};
	for (unsigned i = 0; i < module_count; i++)
		pieces[4 + i] = (struct hw_image_piece){ module_at(i, 0), w->modules[i],
							 MODULE_BYTES, writable, module_paths[i] };
	HW_TRY(hw_target_open_image(pieces, module_count + 4, ret));
	(*ret)->exe = strdup(module_paths[EXE]);
	return NULL;
}

static struct hw_error *open_native_session(struct native_world *w, unsigned module_count,
					    bool debug, struct hw_session **ret)
{
	const struct hw_options options = { .size = sizeof(options),
					    .debug_dirs = "/no/such/directory",
					    .threads = 1,
					    .debug = debug };
	struct hw_target *target = NULL;
	HW_TRY(hw_session_open_detached(&options, ret));
	HW_TRY(open_native_target(w, module_count, &target));
	hw_target_close((*ret)->target);
	(*ret)->target = target;
	(*ret)->is_detached = false;
	return NULL;
}

// ---- containers, as debug information would place them ----

static bool find_chunk(struct hw_native_sink *sink, hw_addr_t start, uint64_t *ret_capacity)
{
	const struct hw_glibc *glibc = (const void *)((struct hw_native_sink *)sink + 1);
	const struct hw_region *region = hw_glibc_find_region(glibc, start);
	uint32_t i = region ? hw_region_find_chunk(region, start) : 0;
	if (!region || hw_region_chunk_start(region, i) + 16 != start)
		return false;
	*ret_capacity = hw_region_chunk_end(region, i) + 8 - start;
	return true;
}

static void claim_nothing(struct hw_native_sink *sink, hw_addr_t start,
			  const struct hw_native_kind *kind)
{
	(void)sink;
	(void)start;
	if (!kind->domain || !kind->kind || !kind->detail)
		abort();
}

static void walk_containers(struct native_world *w)
{
	static struct hw_std_member list[] = {
		{ HW_STD_STRING, 8, 0, 1 }, { HW_STD_VECTOR, 40, 32, 3 },
		{ HW_STD_STRING, 0, 0, 3 }, { HW_STD_TREE, 64, 32, 5 },
		{ HW_STD_STRING, 0, 0, 5 },
	};
	const struct hw_std_members members = { .list = { list, 5, 5 } };
	struct {
		struct hw_native_sink sink;
		struct hw_glibc glibc;
	} state = { .sink = { .find = find_chunk, .claim = claim_nothing, .links_left = 1 << 16 } };
	struct hw_pages pages;
	struct hw_target *target = NULL;
	struct hw_issues issues;
	hw_issues_init(&issues);
	struct hw_error *err = open_native_target(w, MODULES, &target);
	const struct hw_glibc_inputs inputs = { .target = target, .issues = &issues, .threads = 1 };
	if (!err)
		err = hw_glibc_walk(&inputs, &state.glibc);
	if (!err) {
		hw_pages_init(&pages, target);
		state.sink.pages = &pages;
		hw_cxx_claim_members(&state.sink, "Holder", &members, w->holder);
		hw_pages_deinit(&pages);
	}
	hw_error_destroy(err);
	hw_glibc_deinit(&state.glibc);
	hw_target_close(target);
	hw_issues_deinit(&issues);
}

#endif
