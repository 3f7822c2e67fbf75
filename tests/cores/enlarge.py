# SPDX-License-Identifier: LGPL-2.1-or-later
"""A core with more memory than it had: a copy with further segments, as sparse as their pages are."""

import shutil
import struct

PHDR = struct.Struct("<IIQQQQQQ")
PT_LOAD = 1


def enlarge(source, path, segments):
    """segments: (address, size, {offset: bytes}); what is in no piece is a hole of the file, zero in memory."""
    shutil.copy(source, path)
    with open(path, "r+b") as f:
        header = bytearray(f.read(64))
        at, = struct.unpack_from("<Q", header, 32)
        count, = struct.unpack_from("<H", header, 56)
        f.seek(at)
        table = f.read(count * PHDR.size)
        end = f.seek(0, 2)
        for address, size, pieces in segments:
            start = (end + 4095) // 4096 * 4096
            for offset, content in pieces.items():
                f.seek(start + offset)
                f.write(content)
            table += PHDR.pack(PT_LOAD, 6, start, address, 0, size, size, 4096)
            end = start + size
        f.seek(end)
        f.write(table)
        struct.pack_into("<Q", header, 32, end)
        struct.pack_into("<H", header, 56, len(table) // PHDR.size)
        f.seek(0)
        f.write(header)


def turn(source, path):
    """A copy with the segments the other way round, in the file and in its table: libraries come first, so that
    a copy that is cut short has their data and lacks the heaps'."""
    with open(source, "rb") as f:
        data = f.read()
    at, = struct.unpack_from("<Q", data, 32)
    count, = struct.unpack_from("<H", data, 56)
    headers = [list(PHDR.unpack_from(data, at + i * PHDR.size)) for i in range(count)]
    loads = [h for h in headers if h[0] == PT_LOAD]
    others = [h for h in headers if h[0] != PT_LOAD]
    end = min(h[2] for h in loads if h[5])
    with open(path, "wb") as f:
        f.write(data[:end])
        for header in reversed(loads):
            f.seek((f.tell() + 4095) // 4096 * 4096)
            start = f.tell()
            f.write(data[header[2] : header[2] + header[5]])
            header[2] = start
        f.seek(at)
        f.write(b"".join(PHDR.pack(*h) for h in others + loads[::-1]))
