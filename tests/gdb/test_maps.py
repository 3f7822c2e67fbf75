# SPDX-License-Identifier: LGPL-2.1-or-later
"""The memory map out of gdb's words, as several versions of gdb say them."""

import os
import sys

from support import TOP, check_equal

sys.path.insert(0, os.path.join(TOP, "gdbext"))
from heapwalk_gdb import maps  # pylint: disable=wrong-import-position

EXPECTED = [
    maps.Mapping(0x555555554000, 0x555555556000, 0x2000, "r-xp", "/usr/bin/a program"),
    maps.Mapping(0x7FFFF7C00000, 0x7FFFF7C01000, 0, "rw-p", ""),
    maps.Mapping(0x7FFFFFFDE000, 0x7FFFFFFFF000, 0, "rw-s", "[stack]"),
]

WITHOUT_PERMISSIONS = """process 42
Mapped address spaces:

          Start Addr           End Addr       Size     Offset objfile
      0x555555554000     0x555555556000     0x2000     0x2000 /usr/bin/a program
      0x7ffff7c00000     0x7ffff7c01000     0x1000        0x0
"""

WITH_PERMISSIONS = """process 42
Mapped address spaces:

          Start Addr           End Addr       Size     Offset  Perms  objfile
      0x555555554000     0x555555556000     0x2000     0x2000  r-xp   /usr/bin/a program
      0x7ffff7c00000     0x7ffff7c01000     0x1000        0x0  rw-p
      0x7ffffffde000     0x7ffffffff000    0x21000        0x0  rw-s   [stack]
"""

PADDED = """process 42
Mapped address spaces:

Start Addr         End Addr           Size               Offset             Perms File
0x0000555555554000 0x0000555555556000 0x2000             0x2000             r-xp  /usr/bin/a program\x20
0x00007ffff7c00000 0x00007ffff7c01000 0x1000             0x0                rw-p\x20\x20
0x00007ffffffde000 0x00007ffffffff000 0x21000            0x0                rw-s  [stack]\x20
"""

KERNEL = """555555554000-555555556000 r-xp 00002000 fe:00 123456                     /usr/bin/a program
7ffff7c00000-7ffff7c01000 rw-p 00000000 00:00 0\x20
7ffffffde000-7ffffffff000 rw-s 00000000 00:00 0                          [stack]
"""


def test():
    check_equal(maps.parse_gdb(WITH_PERMISSIONS), EXPECTED, "with permissions (gdb 12 and later)")
    check_equal(maps.parse_gdb(PADDED), EXPECTED, "padded columns (gdb 16)")
    check_equal(maps.parse_gdb(WITHOUT_PERMISSIONS), [], "without permissions (gdb 10)")
    check_equal(maps.parse_gdb("Not supported on this target.\n"), [], "nothing")
    check_equal(maps.parse_kernel(KERNEL), EXPECTED, "the kernel's text")
    check_equal(maps.parse_kernel("No such file or directory\n"), [], "no text")


test()
