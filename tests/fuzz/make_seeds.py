#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Writes the seeds that are no text: seeds/corefile, seeds/elf. Run it when what they are made of changes; it needs
gcc, zstd, lz4, xz and gzip."""

import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SEEDS = os.path.join(HERE, "seeds")
sys.path.insert(0, os.path.join(HERE, "..", "cores"))
sys.path.insert(0, os.path.join(HERE, "..", "selftest"))

from committed import unpack_all  # noqa: E402
from enlarge import PHDR, PT_LOAD  # noqa: E402

PT_NOTE, NT_PRSTATUS, NT_PRPSINFO, NT_AUXV, NT_FILE = 4, 1, 3, 6, 0x46494C45
PAGE = 4096
TRIMMED = 24 << 10


def note(kind, content):
    return struct.pack("<III", 5, len(content), kind) + b"CORE\0\0\0\0" + content + bytes(-len(content) % 4)


def core(notes, segments):
    """segments: (address, bytes in memory, bytes in the file, flags)"""
    at = 64 + (len(segments) + 1) * PHDR.size
    table, content = PHDR.pack(PT_NOTE, 0, at, 0, 0, len(notes), 0, 4), b""
    place = at + len(notes)
    for address, size, data, flags in segments:
        table += PHDR.pack(PT_LOAD, flags, place + len(content), address, 0, len(data), size, 1)
        content += data
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(segments) + 1, 0, 0, 0)
    return header + table + notes + content


def small_core():
    status = bytearray(336)
    struct.pack_into("<I", status, 32, 4242)
    struct.pack_into("<Q", status, 112 + 19 * 8, 0x7FF000000100)
    info = bytearray(136)
    struct.pack_into("<I", info, 24, 4242)
    files = struct.pack("<QQQQQ", 1, PAGE, 0x400000, 0x401000, 0) + b"/no/such/program\0"
    notes = note(NT_PRSTATUS, bytes(status)) + note(NT_PRPSINFO, bytes(info)) + note(
        NT_AUXV, struct.pack("<QQQQ", 3, 0x400040, 0, 0)) + note(NT_FILE, files)
    return core(notes, [(0x400000, PAGE, bytes(range(64)) * 4, 5), (0x600000, 4 * PAGE, bytes(range(256)) * 2, 6),
                        (0x7FF000000000, PAGE, b"stack" * 20, 6)])


def trimmed_core(path):
    """The start of each writable piece of a real core, with its notes."""
    with open(path, "rb") as f:
        data = f.read()
    at, = struct.unpack_from("<Q", data, 32)
    count, = struct.unpack_from("<H", data, 56)
    notes, segments = b"", []
    for kind, flags, place, address, _, size, memory, _ in (PHDR.unpack_from(data, at + i * PHDR.size)
                                                             for i in range(count)):
        if kind == PT_NOTE:
            notes = data[place : place + size]
        elif kind == PT_LOAD and flags & 2 and size:
            piece = data[place : place + min(size, TRIMMED)].rstrip(b"\0")
            if sum(len(s[2]) for s in segments) + len(piece) < 2 * TRIMMED:
                segments.append((address, memory, piece, flags))
    return core(notes, segments)


DWARF_ABBREVIATIONS = """
        .section .debug_abbrev,"",@progbits
        .byte 1, 0x11, 1, 3, 8, 0, 0            # compile unit: name
        .byte 2, 0x13, 1, 3, 8, 11, 11, 0, 0    # structure: name, bytes
        .byte 3, 0x0d, 0, 0x49, 0x13, 0x38, 11, 0, 0  # member: type, place
        .byte 4, 0x0d, 0, 3, 8, 0x49, 0x13, 0x38, 11, 0, 0  # member with a name
        .byte 5, 0x0d, 0, 3, 8, 0x49, 0x13, 0x0d, 11, 0x6b, 11, 0, 0  # bit field: name, type, bits, first bit
        .byte 6, 0x24, 0, 3, 8, 11, 7, 0, 0     # base type: name, bytes in eight bytes
        .byte 0
        .section .debug_info,"",@progbits
        start: .long end - begin
        begin: .short 4
        .long 0
        .byte 8
        .byte 1
        .asciz "shapes.c"
"""


def wide_bits():
    """A bit field of an integer of 2^61 bytes, which has 0 bits."""
    return DWARF_ABBREVIATIONS + """
        .byte 2
        .asciz "ShapeObject"
        .byte 8, 4
        .asciz "state"
        .long state - start
        .byte 0, 0
        state: .byte 2
        .asciz "state"
        .byte 8, 5
        .asciz "kind"
        .long wide - start
        .byte 3, 5, 0
        wide: .byte 6
        .asciz "wide"
        .quad 1 << 61
        .byte 0
        end: .data
        .quad 1
    """


def knot():
    """DWARF of a structure whose anonymous members are of a type whose anonymous members are …: a few bytes, and
    more ways through them than there is time for."""
    depth, width = 16, 12
    text = DWARF_ABBREVIATIONS
    for level in range(depth + 1):
        text += 'type%d: .byte 2\n .asciz "%s"\n .byte 8\n' % (level, "ShapeObject" if not level else "t%d" % level)
        for _ in range(width if level < depth else 0):
            text += " .byte 3\n .long type%d - start\n .byte 0\n" % (level + 1)
        text += " .byte 0\n"
    return text + " .byte 0\nend:\n .data\n .quad 1\n"


def write(name, content):
    path = os.path.join(SEEDS, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content)


def main():
    small = small_core()
    write("corefile/small", small)
    for name, tool in (("zstd", ["zstd", "-c"]), ("lz4", ["lz4", "-c"]), ("xz", ["xz", "-c"]), ("gzip", ["gzip", "-nc"])):
        write("corefile/" + name, subprocess.run(tool, input=small, stdout=subprocess.PIPE, check=True).stdout)
    with tempfile.TemporaryDirectory() as directory:
        write("corefile/malloc", trimmed_core(unpack_all(directory)["c-threads"]))
        library = os.path.join(directory, "shapes.so")
        symbols = os.path.realpath(os.path.join(HERE, "..", "symbols"))
        subprocess.run(["gcc", "-g", "-O1", "-shared", "-fPIC", "-nostdlib", "-Wl,--build-id", "-Wl,-z,noseparate-code",
                        "-ffile-prefix-map=%s=." % symbols, "-o", library, "shapes.c"], cwd=symbols, check=True)
        with open(library, "rb") as f:
            write("elf/shapes", f.read())
        for name, text in (("knot", knot()), ("wide_bits", wide_bits())):
            subprocess.run(["gcc", "-shared", "-nostdlib", "-Wl,--build-id", "-Wl,-z,noseparate-code", "-x", "assembler",
                            "-", "-o", library], input=text.encode(), check=True)
            with open(library, "rb") as f:
                write("elf/" + name, f.read())


if __name__ == "__main__":
    main()
