/* SPDX-License-Identifier: LGPL-2.1-or-later */
// Which CPython is this? Asked of, in order: Py_Version (3.11+), _Py_DebugOffsets (3.13+), the buffer
// of Py_GetVersion(), which the interpreter fills as it starts, and the PY_VERSION literal in .rodata.
#include <ctype.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "layout/python_internal.h"

enum { HW_VERSION_TEXT_BYTES = 16, HW_RODATA_BYTES_MAX = 64 << 20 };

static bool hw_version_is_plausible(uint32_t hex)
{
	unsigned major = hex >> 24;
	return (major == 2 || major == 3) && (hex >> 16 & 0xff) < 64;
}

// One to three digits: a number of at most 255; NULL when it is not one.
static const char *hw_parse_byte(const char *s, uint32_t *ret)
{
	uint32_t n = 0;
	int digits = 0;
	for (; isdigit((unsigned char)*s) && digits < 4; s++, digits++)
		n = n * 10 + (uint32_t)(*s - '0');
	*ret = n;
	return digits && n <= 255 ? s : NULL;
}

// "3.11.0rc1" → 0x030b00c1; NULL or the first character after it.
static const char *hw_python_parse_version(const char *text, uint32_t *ret)
{
	uint32_t part[3], level = 0xf, serial = 0;
	const char *s = text;
	for (int i = 0; i < 3; i++) {
		if (i && *s++ != '.')
			return NULL;
		s = hw_parse_byte(s, &part[i]);
		if (!s)
			return NULL;
	}
	if (*s == 'a' || *s == 'b' || (*s == 'r' && s[1] == 'c')) {
		level = *s == 'a' ? 0xa : *s == 'b' ? 0xb : 0xc;
		s = hw_parse_byte(s + (*s == 'r' ? 2 : 1), &serial);
		if (!s || serial > 0xf)
			return NULL;
	}
	if (*s == '+')
		s++;
	*ret = part[0] << 24 | part[1] << 16 | part[2] << 8 | level << 4 | serial;
	return hw_version_is_plausible(*ret) ? s : NULL;
}

void hw_python_format_version(uint32_t hex, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%u.%u.%u", hex >> 24, hex >> 16 & 0xff, hex >> 8 & 0xff);
	unsigned level = hex >> 4 & 0xf;
	if (level >= 0xa && level <= 0xc && n > 0 && (size_t)n < size)
		snprintf(buf + n, size - (size_t)n, "%s%u",
			 level == 0xa   ? "a"
			 : level == 0xb ? "b"
					: "rc",
			 hex & 0xf);
}

bool hw_python_debug_offsets(struct hw_target *target, hw_addr_t runtime,
			     struct hw_debug_offsets *ret)
{
	uint8_t head[24]; // char cookie[8], u64 version, u64 free_threaded
	if (!runtime || hw_target_read_some(target, runtime, head, sizeof(head)) != sizeof(head) ||
	    memcmp(head, "xdebugpy", 8) != 0 || hw_u64(head + 8) > UINT32_MAX ||
	    !hw_version_is_plausible((uint32_t)hw_u64(head + 8)) || hw_u64(head + 16) > 1)
		return false;
	ret->version_hex = (uint32_t)hw_u64(head + 8);
	ret->is_free_threaded = hw_u64(head + 16) == 1;
	return true;
}

static bool hw_read_either(struct hw_target *target, struct hw_module *module, hw_addr_t addr,
			   void *buf, size_t len)
{
	return hw_target_read_some(target, addr, buf, len) == len ||
	       hw_module_read_file(module, addr, buf, len);
}

// "3.8.18 (default, …": what Py_GetVersion() made, once it was called.
static uint32_t hw_version_from_buffer(struct hw_target *target, struct hw_module *module)
{
	hw_addr_t addr;
	char text[HW_VERSION_TEXT_BYTES + 1] = "";
	uint32_t hex;
	struct hw_symbol symbol;
	if (!hw_dwarf_variable(module, "getversion.c", "version", &addr)) {
		// gcc's name for a static of a function
		if (!hw_module_symbol(module, "version.0", &symbol) || symbol.is_function)
			return 0;
		addr = symbol.address;
	}
	if (hw_target_read_some(target, addr, text, sizeof(text) - 1) != sizeof(text) - 1)
		return 0;
	const char *end = hw_python_parse_version(text, &hex);
	return end && *end == ' ' ? hex : 0;
}

// The same buffer where no symbol tells: "3.8.18 (default, Mar  1 2024, 10:00:00) \n[GCC 12.2.0]".
static uint32_t hw_version_from_data(struct hw_target *target, struct hw_module *module)
{
	static const char *const sections[] = { ".bss", ".data" };
	for (size_t s = 0; s < sizeof(sections) / sizeof(sections[0]); s++) {
		hw_addr_t start;
		uint64_t size;
		if (!hw_module_section(module, sections[s], &start, &size))
			continue;
		size = hw_min(size, HW_RODATA_BYTES_MAX);
		hw_cleanup_free char *bytes = calloc(1, size + 1);
		size_t got = bytes ? hw_target_read_some(target, start, bytes, size) : 0;
		for (size_t i = 0; i + HW_VERSION_TEXT_BYTES < got; i++) {
			uint32_t hex;
			if ((i && bytes[i - 1]) || (bytes[i] != '2' && bytes[i] != '3') ||
			    bytes[i + 1] != '.')
				continue;
			const char *end = hw_python_parse_version(bytes + i, &hex);
			if (end && end[0] == ' ' && end[1] == '(' && strstr(end, ") "))
				return hex;
		}
	}
	return 0;
}

struct hw_version_scan {
	uint32_t versions[16];
	unsigned count;
	bool is_ambiguous;
};

// A literal "3.8.18": up to a NUL, and not the end of a longer number. The linker may keep it only as the
// end of another literal ("/opt/python/3.8.18"). zlib's "1.2.11" and the like are no CPython's.
static void hw_version_scan_bytes(const char *bytes, size_t len, struct hw_version_scan *scan)
{
	for (size_t i = 1; i + 6 < len; i++) {
		uint32_t hex;
		if (isalnum((unsigned char)bytes[i - 1]) || bytes[i - 1] == '.' ||
		    (bytes[i] != '2' && bytes[i] != '3') || bytes[i + 1] != '.')
			continue;
		char text[HW_VERSION_TEXT_BYTES + 1] = "";
		memcpy(text, bytes + i, hw_min(HW_VERSION_TEXT_BYTES, len - i));
		const char *end = hw_python_parse_version(text, &hex);
		if (!end || *end)
			continue;
		bool known = false;
		for (unsigned k = 0; k < scan->count; k++)
			known |= scan->versions[k] == hex;
		if (!known && scan->count < 16)
			scan->versions[scan->count++] = hex;
	}
}

// "python3.1" is the start of "python3.11" too.
static bool hw_names_version(const char *bytes, size_t len, uint32_t hex)
{
	char name[32];
	size_t n = (size_t)snprintf(name, sizeof(name), "python%u.%u", hex >> 24, hex >> 16 & 0xff);
	const char *end = bytes + len, *at = memmem(bytes, len, name, n);
	while (at && at + n < end && isdigit((unsigned char)at[n]))
		at = memmem(at + n, (size_t)(end - at) - n, name, n);
	return at;
}

// Debian's python3.11 has "3.11.2" and Unicode's "3.2.0": the one whose "python3.11" is there too, in the
// same section or in the file's name.
static uint32_t hw_version_from_rodata(struct hw_target *target, struct hw_module *module)
{
	hw_addr_t addr;
	uint64_t size;
	if (!hw_module_section(module, ".rodata", &addr, &size) || !size)
		return 0;
	size = hw_min(size, HW_RODATA_BYTES_MAX);
	hw_cleanup_free char *bytes = malloc(size);
	if (!bytes || !hw_read_either(target, module, addr, bytes, size))
		return 0;
	struct hw_version_scan scan = { .count = 0 };
	hw_version_scan_bytes(bytes, size, &scan);
	uint32_t found = 0;
	for (unsigned i = 0; i < scan.count; i++) {
		if (!hw_names_version(bytes, size, scan.versions[i]) &&
		    !hw_names_version(module->path, strlen(module->path), scan.versions[i]))
			continue;
		if (found)
			return 0; // two of them: no proof
		found = scan.versions[i];
	}
	return found;
}

uint32_t hw_python_version_of(struct hw_target *target, struct hw_module *module, hw_addr_t runtime)
{
	struct hw_symbol symbol;
	uint8_t word[4];
	if (hw_module_symbol(module, "Py_Version", &symbol) && !symbol.is_function &&
	    hw_read_either(target, module, symbol.address, word, sizeof(word)) &&
	    hw_version_is_plausible(hw_u32(word)))
		return hw_u32(word);
	struct hw_debug_offsets offsets;
	if (hw_python_debug_offsets(target, runtime, &offsets))
		return offsets.version_hex;
	// A search of all data is the last resort; 2.7 says nowhere else which one it is, but in its file's name.
	bool is_hidden = !hw_module_symbol(module, "PyType_Type", &symbol);
	uint32_t hex = hw_version_from_buffer(target, module);
	if (!hex && is_hidden)
		hex = hw_version_from_data(target, module);
	if (!hex)
		hex = hw_version_from_rodata(target, module);
	return hex || is_hidden ? hex : hw_version_from_data(target, module);
}
