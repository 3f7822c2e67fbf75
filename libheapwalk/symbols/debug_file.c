/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Detached debug information: by build-id, then by .gnu_debuglink, below the target's root and then on
// this machine. A file counts only when its build-id is the module's, or, for a module without one, when
// the debuglink's checksum is right.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/mapped_file.h"
#include "symbols/modules_private.h"

enum { HW_DEBUG_FILE_PAGE_BYTES = 4096 };

// CRC-32 of the debuglink (the polynomial of zlib, reflected), bit by bit tables made on the way.
static uint32_t hw_debug_file_checksum(const uint8_t *bytes, size_t len)
{
	uint32_t table[256], crc = ~0u;
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
		table[i] = c;
	}
	for (size_t i = 0; i < len; i++)
		crc = table[(crc ^ bytes[i]) & 0xff] ^ crc >> 8;
	return ~crc;
}

// The file at `path` when it is the module's; a descriptor or -1. `checksum` may be NULL: build-id only.
static int hw_debug_file_try(const struct hw_module *module, const char *path,
			     const GElf_Word *checksum, char **ret_path)
{
	const struct hw_elf_headers *ours = &module->priv->headers;
	struct hw_elf_file *file = NULL;
	hw_cleanup_error struct hw_error *err = hw_elf_file_open(path, &file);
	int fd = -1;
	if (err)
		return -1;
	bool is_ours;
	if (ours->build_id_bytes)
		is_ours = file->headers.build_id_bytes &&
			  hw_elf_headers_match(ours, &file->headers);
	else
		is_ours = checksum && hw_debug_file_checksum(file->bytes, file->size) == *checksum;
	if (is_ours && (*ret_path = strdup(path))) {
		fd = module->priv->dwfl_use == HW_DWFL_TYPES ? hw_debug_file_slim(file) : -1;
		if (fd < 0) {
			fd = file->fd;
			file->fd = -1; // libdwfl's now
		}
	}
	hw_elf_file_close(file);
	return fd;
}

// One directory of debug_dirs, below one root.
static int hw_debug_file_try_dir(const struct hw_module *module, const char *root, const char *dir,
				 const char *link, const GElf_Word *checksum, char **ret_path)
{
	const char *id = module->priv->build_id;
	hw_cleanup_free char *base = hw_elf_join(root, dir);
	hw_cleanup_free char *folder = strdup(module->path);
	char *path;
	int fd = -1;
	if (!base || !folder)
		return -1;
	if (strlen(id) > 2) {
		if (asprintf(&path, "%s/.build-id/%.2s/%s.debug", base, id, id + 2) < 0)
			return -1;
		fd = hw_debug_file_try(module, path, NULL, ret_path);
		free(path);
	}
	if (fd >= 0 || !link)
		return fd;
	*strrchr(folder, '/') = 0; // a module's path begins with '/'
	if (asprintf(&path, "%s%s/%s", base, folder, link) < 0)
		return -1;
	fd = hw_debug_file_try(module, path, checksum, ret_path);
	free(path);
	return fd;
}

// Beside the file itself, and in .debug/ there.
static int hw_debug_file_try_beside(const struct hw_module *module, const char *file,
				    const char *link, const GElf_Word *checksum, char **ret_path)
{
	const char *slash = strrchr(file, '/');
	const char *forms[] = { "%.*s/.debug/%s", "%.*s/%s" };
	for (size_t i = 0; slash && i < 2; i++) {
		char *path;
		if (asprintf(&path, forms[i], (int)(slash - file), file, link) < 0)
			return -1;
		int fd = strcmp(path, file) ? hw_debug_file_try(module, path, checksum, ret_path)
					    : -1;
		free(path);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

// Dwfl_Callbacks.find_debuginfo: a descriptor that libdwfl owns, or -1; *ret_path is malloc'ed.
static int hw_debug_file_find(Dwfl_Module *dwfl_module, void **userdata, const char *name,
			      Dwarf_Addr base, const char *file_name, const char *link,
			      GElf_Word checksum, char **ret_path)
{
	struct hw_module *module = *userdata;
	const struct hw_modules *modules = module->priv->owner;
	const char *root = modules->target->file_root;
	if (link && strchr(link, '/'))
		link = NULL; // a name, not a way out of the folder
	for (int pass = root && *root ? 0 : 1; pass < 2; pass++) {
		hw_cleanup_free char *dirs = strdup(modules->debug_dirs);
		char *save = NULL;
		for (char *dir = dirs ? strtok_r(dirs, ":", &save) : NULL; dir;
		     dir = strtok_r(NULL, ":", &save)) {
			int fd = hw_debug_file_try_dir(module, pass ? NULL : root, dir, link,
						       &checksum, ret_path);
			if (fd >= 0)
				return fd;
		}
	}
	if (link) {
		int fd = hw_debug_file_try_beside(module, module->priv->file->path, link, &checksum,
						  ret_path);
		if (fd >= 0)
			return fd;
	}
	const char *urls = modules->may_download ? getenv("DEBUGINFOD_URLS") : NULL;
	if (urls && *urls) // libdwfl asks a debuginfod server, by build-id
		return dwfl_standard_find_debuginfo(dwfl_module, userdata, name, base, file_name,
						    link, checksum, ret_path);
	return -1;
}

static int hw_debug_file_no_elf(Dwfl_Module *module, void **userdata, const char *name,
				Dwarf_Addr base, char **file_name, Elf **elf)
{
	(void)module, (void)userdata, (void)name, (void)base, (void)file_name, (void)elf;
	return -1; // modules are reported with their file: never called
}

static char *hw_debug_file_path = NULL; // dwfl_standard_find_debuginfo: its built-in default

static const Dwfl_Callbacks hw_debug_file_callbacks = {
	.find_elf = hw_debug_file_no_elf,
	.find_debuginfo = hw_debug_file_find,
	.debuginfo_path = &hw_debug_file_path,
};

void hw_module_guard_elf(struct hw_module *module, Elf *elf)
{
	struct hw_module_private *priv = module->priv;
	size_t bytes;
	const char *start = elf ? elf_rawfile(elf, &bytes) : NULL;
	if (!start || (uintptr_t)start % HW_DEBUG_FILE_PAGE_BYTES) // not mapped, but copied
		return;
	hw_vec_foreach(guarded, &priv->guarded) if (*guarded == start) return;
	if (hw_vec_reserve(&priv->guarded, priv->guarded.count + 1) && hw_guard_file(start, bytes))
		hw_vec_push(&priv->guarded, start);
}

Dwfl_Module *hw_module_dwfl(struct hw_module *module, enum hw_dwfl_use use)
{
	struct hw_module_private *priv = module->priv;
	void **userdata;
	priv->dwfl_use = use;
	if (priv->tried_dwfl[use])
		return priv->dwfl_module[use];
	priv->tried_dwfl[use] = true;
	struct hw_elf_file *file = hw_module_file(module);
	if (!file || !(priv->dwfl[use] = dwfl_begin(&hw_debug_file_callbacks)))
		return NULL;
	int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return NULL;
	dwfl_report_begin(priv->dwfl[use]);
	Dwfl_Module *reported = dwfl_report_elf(priv->dwfl[use], module->path, file->path, fd,
						priv->bias, true);
	if (!reported)
		close(fd);
	dwfl_report_end(priv->dwfl[use], NULL, NULL);
	if (reported) {
		dwfl_module_info(reported, &userdata, NULL, NULL, NULL, NULL, NULL, NULL);
		*userdata = module; // the list of modules no longer grows: the address stays
		GElf_Addr bias;
		hw_module_guard_elf(module, dwfl_module_getelf(reported, &bias));
	}
	return priv->dwfl_module[use] = reported;
}

void hw_module_debug_file_close(struct hw_module_private *priv)
{
	hw_vec_foreach(guarded, &priv->guarded) hw_unguard_file(*guarded);
	hw_vec_deinit(&priv->guarded);
	for (int use = 0; use < HW_DWFL_USES; use++)
		if (priv->dwfl[use])
			dwfl_end(priv->dwfl[use]);
	free(priv->dwarf_source);
}
