/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A whole session over a forged process with words written over: allocators, types, owners, the table, and a
// command that asks it. First byte: the command; second: which glibc (bit 6: mimalloc too, bit 7: the dear checks);
// third: about which address.
#include "ask.h"
#include "patches.h"
#include "world.h"

// "@": an address.
static const char *const commands[][ASK_WORDS] = {
	{ "all", "--format", "json" },
	{ "census" },
	{ "explain", "@", "--format", "json" },
	{ "referrers", "@", "--depth", "3" },
	{ "explain", "@" },
	{ "used", "--by", "module" },
	{ "pins", "--format", "json" },
	{ "map" },
	{ "cpython-allocators", "--lists" },
	{ "arenas" },
	{ "arena", "0", "--format", "json" },
	{ "stats", "--explain" },
	{ "select", "size > 16 and value ~ \"f\"", "--format", "csv" },
	{ "hexdump", "@" },
	{ "sizes" },
	{ "label", "before" },
	{ "diff", "before" },
	{ "cpython-allocators", "--format", "json" },
	{ "diff", "before", "--by", "class" },
	{ "diff", "before", "--by", "block", "--format", "json" },
	{ "stats", "--format", "json" },
	{ "explain", "@", "--format", "csv" },
	{ "cpython-allocators", "--format", "csv" },
	{ "retained", "--format", "json" },
	{ "free", "--by", "state" },
};
enum { COMMANDS = sizeof(commands) / sizeof(*commands) };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 3)
		return 0;
	if (!world.type_count)
		make_world();
	unsigned flavour = (data[1] & 0x3f) % FLAVOURS;
	struct forge *f = &world.mallocs[flavour];
	const struct {
		uint8_t *bytes;
		size_t len;
	} parts[] = {
		{ world.pools, world.pool_count * (size_t)POOL },
		{ world.pools, world.pool_count * (size_t)POOL },
		{ f->heap, HEAP_BYTES },
		{ f->heap, 0x2000 },
		{ world.file, world.type_count * TYPE_STEP },
		{ world.interp, INTERP_BYTES },
		{ f->libc, LIBC_BYTES },
		{ f->heap2, ARENA_BYTES },
		{ world.segment, MI_SLICES + 4 * MI_PAGE_BYTES },
		{ world.segment + (1 << 16), 0x1000 },
		{ world.stack + (MI_HEAP - STACK), 256 },
	};
	enum { PARTS = sizeof(parts) / sizeof(*parts) };
	uint64_t words[TYPES_MAX + THINGS_MAX + CHUNKS_MAX + 8];
	size_t count = 0;
	for (size_t i = 0; i < world.type_count; i++)
		words[count++] = world.types[i];
	for (size_t i = 0; i < world.thing_count; i++)
		words[count++] = world.things[i];
	for (size_t i = 0; i < f->count; i++)
		words[count++] = f->chunks[i].addr + 16;
	words[count++] = f->main_arena;
	words[count++] = f->thread_arena;
	words[count++] = mapped_at;
	words[count++] = INTERP + OFF_OBMALLOC;
	words[count++] = SEGMENT;
	words[count++] = SEGMENT + MI_FIRST;
	words[count++] = SEGMENT + MI_FIRST + 5 * MI_BLOCK;
	words[count++] = MI_HEAP;
	for (size_t i = 3; i + PATCH_BYTES < size; i += PATCH_BYTES + 1)
		patch_apply(parts[data[i] % PARTS].bytes, parts[data[i] % PARTS].len, words, count,
			    data + i + 1, PATCH_BYTES);
	struct hw_session *session = NULL;
	struct hw_error *err = open_session(flavour, data[1] & 0x80, data[1] & 0x40, &session);
	if (!err) {
		const char *const *command = commands[data[0] % COMMANDS];
		if (!strcmp(command[0], "diff"))
			ask(session, (const char *const[]){ "label", "before", NULL }, 0);
		ask(session, command, words[data[2] % count]);
	}
	hw_error_destroy(err);
	hw_session_close(session);
	patch_undo();
	return 0;
}
