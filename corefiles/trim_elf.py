#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes an ELF file small for keeping: trim_elf.py IN OUT [UNIT.c ...].

What stays: headers, build-id, dynamic symbols, relocations, .rodata, .symtab, and the DWARF of the named
compilation units. The rest (code, unwind tables, data that a core has, line tables, other units) becomes
zeros where it is loaded, and is cut out where it is not. Addresses and offsets of what is loaded stay.
"""

import re
import struct
import subprocess
import sys

ZEROED = {".text", ".eh_frame", ".eh_frame_hdr", ".gcc_except_table", ".plt", ".plt.got", ".plt.sec", ".gnu.hash",
          ".gnu.version", ".data.rel.ro"}
DROPPED = {".debug_aranges", ".debug_line", ".debug_loclists", ".debug_rnglists", ".debug_loc", ".debug_ranges",
           ".debug_macro", ".debug_names", ".gnu_debuglink", ".gnu_debugaltlink", ".comment"}
SHT_NOBITS, SHF_ALLOC = 8, 2
SECTION = struct.Struct("<IIQQQQIIQQ")


def units_of(path):
    """[(offset, end, source file's base name)] of every compilation unit."""
    dump = subprocess.run(["readelf", "--debug-dump=info", "--dwarf-depth=1", path], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=True).stdout.decode(errors="replace")
    units = []
    for part in re.split(r"Compilation Unit @ offset ", dump)[1:]:
        offset = int(re.match(r"(0x)?([0-9a-f]+)", part).group(2), 16)
        length = int(re.search(r"Length:\s+0x([0-9a-f]+)", part).group(1), 16)
        name = re.search(r"DW_AT_name\s*:.*?([^/:\s]+)\s*$", part, re.M)
        units.append((offset, offset + 4 + length, name.group(1) if name else ""))
    return units


def trim(source, keep_units):
    with open(source, "rb") as f:
        data = bytearray(f.read())
    if data[:6] != b"\x7fELF\x02\x01":
        raise SystemExit("%s: not a little-endian 64-bit ELF file" % source)
    sections_at, = struct.unpack_from("<Q", data, 0x28)
    count, names_index = struct.unpack_from("<HH", data, 0x3C)
    sections = [list(SECTION.unpack_from(data, sections_at + i * SECTION.size)) for i in range(count)]
    names = sections[names_index]

    def name(s):
        start = names[4] + s[0]
        return bytes(data[start : data.index(0, start)]).decode()

    contents, loaded_end = {}, 0
    for i, s in enumerate(sections):
        this, offset, size = name(s), s[4], s[5]
        if s[1] == SHT_NOBITS or not size:
            continue
        if s[2] & SHF_ALLOC:
            loaded_end = max(loaded_end, offset + size)
            if this in ZEROED or (this in (".data", ".PyRuntime") and keep_units):
                data[offset : offset + size] = bytes(size)
        elif this in DROPPED:
            contents[i] = b""
        elif this == ".debug_info":
            kept = [u for u in units_of(source) if u[2] in keep_units]
            contents[i] = b"".join(bytes(data[offset + a : offset + b]) for a, b, _ in kept)
        else:
            contents[i] = bytes(data[offset : offset + size])
    out = bytearray(data[:loaded_end])
    for i, content in contents.items():
        out += bytes(-len(out) % 16)
        sections[i][4], sections[i][5] = len(out), len(content)
        out += content
    out += bytes(-len(out) % 16)
    struct.pack_into("<Q", out, 0x28, len(out))
    for s in sections:
        out += SECTION.pack(*s)
    return bytes(out)


def main():
    if len(sys.argv) < 3:
        raise SystemExit("usage: trim_elf.py IN OUT [UNIT.c ...]")
    with open(sys.argv[2], "wb") as f:
        f.write(trim(sys.argv[1], set(sys.argv[3:])))


if __name__ == "__main__":
    main()
