/* SPDX-License-Identifier: LGPL-2.1-or-later */
// A target that the caller reads: a debugger on a remote machine.
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "target/target.h"

enum {
	// One call may cross a network: pieces this big, so that a hole costs little to find.
	HW_CALLBACK_PIECE_BYTES = 1 << 20,
	HW_CALLBACK_PAGE_BYTES = 4096,
};

struct hw_callback_target {
	struct hw_target target;
	struct hw_callbacks callbacks;
};

// The caller's read is all or nothing: when it fails, search for the page that can't be read.
static size_t hw_callback_read_piece(struct hw_callback_target *target, hw_addr_t addr, char *buf,
				     size_t len)
{
	const struct hw_callbacks *callbacks = &target->callbacks;
	if (callbacks->read(callbacks->payload, addr, buf, len))
		return len;
	size_t done = 0, failed = len; // [0, done) is read; a hole begins in [done, failed)
	for (;;) {
		hw_addr_t at = addr + done;
		hw_addr_t mid = hw_align_down(at + (failed - done) / 2, HW_CALLBACK_PAGE_BYTES);
		if (mid <= at)
			mid = hw_align_up(at + 1, HW_CALLBACK_PAGE_BYTES);
		if (mid >= addr + failed)
			return done;
		if (callbacks->read(callbacks->payload, at, buf + done, mid - at))
			done = mid - addr;
		else
			failed = mid - addr;
	}
}

static size_t hw_callback_read_some(struct hw_target *self, hw_addr_t addr, void *buf, size_t len)
{
	size_t done = 0;
	while (done < len) {
		// Never ask for what the map says is not there: to some stubs that is an error.
		const struct hw_mapping *m = hw_target_find_mapping(self, addr + done);
		if (!m)
			break;
		size_t n = hw_min(hw_min(len - done, m->end - (addr + done)),
				  HW_CALLBACK_PIECE_BYTES);
		size_t got = hw_callback_read_piece((struct hw_callback_target *)self, addr + done,
						    (char *)buf + done, n);
		done += got;
		if (got < n)
			break;
	}
	return done;
}

static void hw_callback_close(struct hw_target *self)
{
	hw_target_deinit(self);
	free(self);
}

static const struct hw_reader_ops hw_callback_ops = {
	.name = "target",
	.kind = HW_TARGET_CALLBACK,
	.read_some = hw_callback_read_some,
	.close = hw_callback_close,
};

// Of the first ELF file in memory. None is there: the default.
static struct hw_error *hw_callback_find_machine(struct hw_target *target)
{
	hw_vec_foreach(m, &target->mappings)
	{
		uint8_t head[sizeof(Elf64_Ehdr)];
		Elf64_Ehdr header;
		if (*m->path != '/' || m->file_offset ||
		    hw_target_read_some(target, m->start, head, sizeof(head)) != sizeof(head) ||
		    !hw_elf_get_ehdr(head, sizeof(head), &header))
			continue;
		target->machine = hw_machine_find(header.e_machine, header.e_ident[EI_CLASS]);
		if (!target->machine)
			return hw_error_create(HW_ERROR_UNSUPPORTED,
					       "%s is for ELF machine %u, %u bits: heapwalk reads "
					       "programs of " HW_MACHINES_TEXT,
					       m->path, header.e_machine,
					       header.e_ident[EI_CLASS] == ELFCLASS32 ? 32u : 64u);
		return NULL;
	}
	return NULL;
}

static struct hw_error *hw_callback_fill(struct hw_target *target,
					 const struct hw_callbacks *callbacks, const char *exe,
					 const char *sysroot)
{
	target->file_root = strdup(sysroot ? sysroot : "");
	if (!target->file_root)
		return &hw_enomem;
	if (exe && !(target->exe = strdup(exe)))
		return &hw_enomem;
	for (size_t i = 0; i < callbacks->map_count; i++) {
		const struct hw_map_entry *entry = &callbacks->maps[i];
		struct hw_mapping mapping = {
			.start = entry->start,
			.end = entry->end,
			.file_offset = entry->file_offset,
			.flags = (entry->read ? HW_MAP_READ : 0) |
				 (entry->write ? HW_MAP_WRITE : 0) |
				 (entry->exec ? HW_MAP_EXEC : 0) |
				 (entry->shared ? HW_MAP_SHARED : 0),
			.path = entry->path,
		};
		if (entry->start >= entry->end)
			return hw_error_at(HW_ERROR_INVALID, entry->start,
					   "line %zu of the memory map ends before it begins", i);
		HW_TRY(hw_target_add_mapping(target, &mapping));
	}
	hw_target_sort_mappings(target);
	return hw_callback_find_machine(target);
}

struct hw_error *hw_target_open_callbacks(const struct hw_callbacks *callbacks, const char *exe,
					  const char *sysroot, struct hw_target **ret)
{
	if (!callbacks || callbacks->size < sizeof(callbacks->size) + sizeof(callbacks->read) ||
	    !callbacks->read)
		return hw_error_create(HW_ERROR_INVALID, "hw_callbacks without a read function");
	struct hw_callback_target *target = calloc(1, sizeof(*target));
	if (!target)
		return &hw_enomem;
	// A caller built against an older header has a shorter struct.
	memcpy(&target->callbacks, callbacks, hw_min(callbacks->size, sizeof(target->callbacks)));
	target->target.ops = &hw_callback_ops;
	target->target.pid = target->callbacks.pid;
	target->target.machine = hw_machine_default();
	target->target.page_bytes = HW_PAGE_BYTES;
	hw_strtab_init(&target->target.strings);
	struct hw_error *err = hw_callback_fill(&target->target, &target->callbacks, exe, sysroot);
	target->callbacks.maps = NULL; // copied
	target->callbacks.map_count = 0;
	if (err) {
		hw_callback_close(&target->target);
		return err;
	}
	*ret = &target->target;
	return NULL;
}
