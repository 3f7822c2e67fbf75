# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory map of a target that only gdb can read, from the text of two gdb commands.

`info proc mappings` changed over time: gdb 10 and 11 print no permissions, 12 and later a Perms
column, 16 pads and titles its columns anew. Rows are recognised by their four numbers, never by
titles (which are translated) or columns. Without permissions a row is of no use, so the map is
then taken from the kernel's own text, /proc/PID/maps, which gdb fetches with `remote get`.
"""

import collections
import re

# perms: "rw-p", as the kernel writes them
Mapping = collections.namedtuple("Mapping", "start end file_offset perms path")

_GDB_ROW = re.compile(
    r"^\s*0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(?:0x)?[0-9a-f]+\s+(?:0x)?([0-9a-f]+)"
    r"(?:\s+([r-][w-][x-][ps]))?(?:[ \t]+(\S.*?))?\s*$"
)
_KERNEL_ROW = re.compile(
    r"^([0-9a-f]+)-([0-9a-f]+) ([r-][w-][x-][ps]) ([0-9a-f]+) [0-9a-f]+:[0-9a-f]+ \d+ *(.*)$"
)


def parse_gdb(text):
    """Mappings out of `info proc mappings`; empty when there are none or they have no permissions."""
    rows = [match.groups() for match in map(_GDB_ROW.match, text.splitlines()) if match]
    if not all(perms for _start, _end, _offset, perms, _path in rows):
        return []
    return [
        Mapping(int(start, 16), int(end, 16), int(offset, 16), perms, path or "")
        for start, end, offset, perms, path in rows
    ]


def parse_kernel(text):
    """Mappings out of /proc/PID/maps."""
    rows = [match.groups() for match in map(_KERNEL_ROW.match, text.splitlines()) if match]
    return [
        Mapping(int(start, 16), int(end, 16), int(offset, 16), perms, path)
        for start, end, perms, offset, path in rows
    ]
