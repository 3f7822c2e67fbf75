# SPDX-License-Identifier: LGPL-2.1-or-later
"""heapwalk for scripts, inside gdb and without it. docs/python-api.md explains it.

    heap = heapwalk.current()               # in gdb: the selected inferior
    with heapwalk.attach(pid) as heap:      # anywhere: a live process
    with heapwalk.open_core(path) as heap:  # anywhere: a core file

    for block in heap.blocks('kind = "dict" and size > 1K'):
        print(hex(block.start), block.size)

ffi.py  the one file that knows the C ABI
api.py  Heap, Block
"""

from .api import Block, Heap, PartialWarning, attach, current, no_target, open_core
from .ffi import Error, StaleError

__all__ = [
    "Block",
    "Error",
    "Heap",
    "PartialWarning",
    "StaleError",
    "attach",
    "current",
    "no_target",
    "open_core",
]
