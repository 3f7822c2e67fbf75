/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Which ELF files are mapped, where, and the file of each on this machine.
#include "symbols/modules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "symbols/modules_private.h"

static const char hw_deleted[] = " (deleted)";

struct hw_module_reader {
	struct hw_target *target;
	hw_addr_t start;
};

static bool hw_module_read_memory(void *payload, uint64_t offset, void *buf, size_t len)
{
	const struct hw_module_reader *reader = payload;
	return hw_target_read_some(reader->target, reader->start + offset, buf, len) == len;
}

static bool hw_module_ends_with(const char *text, const char *suffix)
{
	size_t len = strlen(text), suffix_len = strlen(suffix);
	return len >= suffix_len && !strcmp(text + len - suffix_len, suffix);
}

// A program that only reads an ELF file through mmap has offset 0 mapped too, but not the segments at
// the places where the loader puts them.
static bool hw_module_is_loaded(const struct hw_target *target,
				const struct hw_elf_headers *headers, hw_addr_t bias,
				const char *path)
{
	hw_vec_foreach(phdr, &headers->phdrs)
	{
		if (phdr->p_type != PT_LOAD || !phdr->p_filesz)
			continue;
		const struct hw_mapping *m = hw_target_find_mapping(target, bias + phdr->p_vaddr);
		if (!m || strcmp(m->path, path) ||
		    m->file_offset + (bias + phdr->p_vaddr - m->start) != phdr->p_offset)
			return false;
	}
	return true;
}

// The module whose file offset 0 is mapped at `mapping`, when there is one.
static struct hw_error *hw_modules_consider(struct hw_modules *modules,
					    const struct hw_mapping *mapping)
{
	struct hw_module_reader reader = { modules->target, mapping->start };
	struct hw_elf_headers headers = { 0 };
	hw_addr_t bias, low, high;
	if (!hw_elf_headers_read(&headers, hw_module_read_memory, &reader, true)) {
		// The page is not in the core: what the file says has to do. Non-ELF files end here.
		uint8_t first;
		if (hw_target_read_some(modules->target, mapping->start, &first, 1))
			return NULL;
		hw_cleanup_free char *path = hw_elf_join(modules->target->file_root, mapping->path);
		struct hw_elf_file *file = NULL;
		struct hw_error *err = path ? hw_elf_file_open(path, &file) : &hw_enomem;
		if (err) {
			hw_error_destroy(err);
			return NULL;
		}
		headers = file->headers;
		file->headers = (struct hw_elf_headers){ 0 };
		hw_elf_file_close(file);
	}
	if (headers.machine != modules->target->machine->elf_machine ||
	    headers.elf_class != modules->target->machine->elf_class ||
	    !hw_elf_headers_bias(&headers, mapping->start, &bias) ||
	    !hw_elf_headers_span(&headers, modules->target->page_bytes, &low, &high) ||
	    bias + low > bias + high ||
	    !hw_module_is_loaded(modules->target, &headers, bias, mapping->path)) {
		hw_elf_headers_deinit(&headers);
		return NULL;
	}
	struct hw_module_private *priv = calloc(1, sizeof(*priv));
	struct hw_module module = { mapping->path, bias + low, bias + high, priv };
	if (!priv || !hw_vec_push(&modules->list, module)) {
		free(priv);
		hw_elf_headers_deinit(&headers);
		return &hw_enomem;
	}
	priv->owner = modules;
	priv->headers = headers;
	priv->bias = bias;
	priv->is_exe = modules->target->exe && !strcmp(modules->target->exe, mapping->path);
	hw_elf_build_id_text(&headers, priv->build_id, sizeof(priv->build_id));
	return NULL;
}

static int hw_module_compare(const void *a, const void *b)
{
	const struct hw_module *x = a, *y = b;
	return (x->start > y->start) - (x->start < y->start);
}

struct hw_error *hw_modules_open(struct hw_target *target, const char *exe, const char *debug_dirs,
				 struct hw_issues *issues, struct hw_modules **ret)
{
	struct hw_modules *modules = calloc(1, sizeof(*modules));
	if (!modules)
		return &hw_enomem;
	modules->target = target;
	modules->issues = issues;
	modules->debug_dirs = strdup(debug_dirs ? debug_dirs : "/usr/lib/debug");
	modules->exe = exe ? strdup(exe) : NULL;
	struct hw_error *err = !modules->debug_dirs || (exe && !modules->exe) ? &hw_enomem : NULL;
	for (size_t i = 0; !err && i < target->mappings.count; i++) {
		const struct hw_mapping *m = &target->mappings.data[i];
		const struct hw_module *last =
			modules->list.count ? &modules->list.data[modules->list.count - 1] : NULL;
		// A small file's data segment may map offset 0 once more, inside the module.
		if (*m->path != '/' || m->file_offset ||
		    (last && m->start < last->end && !strcmp(last->path, m->path)))
			continue;
		err = hw_modules_consider(modules, m);
	}
	if (err) {
		hw_modules_close(modules);
		return err;
	}
	if (modules->list.count)
		qsort(modules->list.data, modules->list.count, sizeof(struct hw_module),
		      hw_module_compare);
	*ret = modules;
	return NULL;
}

void hw_modules_use_debuginfod(struct hw_modules *modules)
{
	modules->may_download = true;
}

void hw_modules_close(struct hw_modules *modules)
{
	if (!modules)
		return;
	hw_vec_foreach(module, &modules->list)
	{
		struct hw_module_private *priv = module->priv;
		hw_dwarf_index_destroy(priv->dwarf_index);
		hw_symtab_destroy(priv->symtab);
		hw_module_debug_file_close(priv);
		hw_elf_file_close(priv->file);
		hw_elf_headers_deinit(&priv->headers);
		free(priv);
	}
	hw_vec_deinit(&modules->list);
	free(modules->debug_dirs);
	free(modules->exe);
	free(modules);
}

size_t hw_modules_count(const struct hw_modules *modules)
{
	return modules->list.count;
}

struct hw_module *hw_modules_get(struct hw_modules *modules, size_t index)
{
	return index < modules->list.count ? &modules->list.data[index] : NULL;
}

struct hw_module *hw_modules_at(struct hw_modules *modules, hw_addr_t addr)
{
	size_t lo = hw_vec_find_beyond(&modules->list, start, addr);
	return lo && addr < modules->list.data[lo - 1].end ? &modules->list.data[lo - 1] : NULL;
}

struct hw_module *hw_modules_with_symbol(struct hw_modules *modules, const char *name,
					 struct hw_symbol *ret)
{
	for (int pass = 0; pass < 2; pass++)
		hw_vec_foreach(module, &modules->list) if (module->priv->is_exe == !pass &&
							   hw_module_symbol(module, name,
									    ret)) return module;
	return NULL;
}

const char *hw_module_build_id(struct hw_module *module)
{
	return *module->priv->build_id ? module->priv->build_id : NULL;
}

// Where the module's file may be on this machine, best first; owned. NULL: no further place.
static char *hw_module_file_place(const struct hw_module *module, unsigned attempt)
{
	const struct hw_modules *modules = module->priv->owner;
	const struct hw_target *target = modules->target;
	char *path = NULL;
	switch (attempt) {
	case 0:
		return strdup(module->priv->is_exe && modules->exe ? modules->exe : "");
	case 1:
		if (!hw_module_ends_with(module->path, hw_deleted))
			return hw_elf_join(target->file_root, module->path);
		// Replaced while the program ran. The old one may have been put back.
		path = hw_elf_join(target->file_root, module->path);
		if (path)
			path[strlen(path) - strlen(hw_deleted)] = 0;
		return path;
	case 2: // replaced or removed since: the kernel still has the one that is mapped
		if (target->ops->kind != HW_TARGET_LIVE)
			return strdup("");
		const struct hw_mapping *m = hw_target_find_mapping(target, module->start);
		if (!m || asprintf(&path, "/proc/%d/map_files/%llx-%llx", (int)target->pid,
				   (unsigned long long)m->start, (unsigned long long)m->end) < 0)
			return strdup("");
		return path;
	case 3:
		if (target->ops->kind != HW_TARGET_LIVE || !module->priv->is_exe ||
		    asprintf(&path, "/proc/%d/exe", (int)target->pid) < 0)
			return strdup("");
		return path;
	default:
		return NULL;
	}
}

struct hw_elf_file *hw_module_file(struct hw_module *module)
{
	struct hw_module_private *priv = module->priv;
	hw_cleanup_error struct hw_error *mismatch = NULL;
	if (priv->tried_file)
		return priv->file;
	priv->tried_file = true;
	for (unsigned attempt = 0;; attempt++) {
		hw_cleanup_free char *place = hw_module_file_place(module, attempt);
		struct hw_elf_file *file = NULL;
		if (!place)
			break;
		if (!*place)
			continue;
		hw_cleanup_error struct hw_error *err = hw_elf_file_open(place, &file);
		if (err)
			continue;
		if (hw_elf_headers_match(&priv->headers, &file->headers)) {
			priv->file = file;
			if (!*priv->build_id)
				hw_elf_build_id_text(&file->headers, priv->build_id,
						     sizeof(priv->build_id));
			return file;
		}
		if (!mismatch) {
			char theirs[2 * HW_ELF_BUILD_ID_BYTES + 1];
			hw_elf_build_id_text(&file->headers, theirs, sizeof(theirs));
			mismatch = hw_error_at(HW_ERROR_NO_DEBUG_INFO, module->start,
					       "%s is not the file that is mapped as %s (build-id "
					       "%s, not %s): its "
					       "symbols are not used",
					       place, module->path, *theirs ? theirs : "none",
					       *priv->build_id ? priv->build_id : "none");
		}
		hw_elf_file_close(file);
	}
	if (mismatch && priv->owner->issues)
		hw_issues_take(priv->owner->issues, hw_no_cleanup(mismatch));
	return NULL;
}

bool hw_module_read_file(struct hw_module *module, hw_addr_t addr, void *buf, size_t len)
{
	size_t have;
	struct hw_elf_file *file = hw_module_file(module);
	const uint8_t *bytes = file ? hw_elf_file_at(file, addr - module->priv->bias, &have) : NULL;
	if (!bytes || have < len)
		return false;
	memcpy(buf, bytes, len);
	return true;
}
