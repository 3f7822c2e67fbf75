# SPDX-License-Identifier: LGPL-2.1-or-later
"""Blocks of malloc and much of Python's own; addresses, sys._debugmallocstats() on stderr, then silence."""
import ctypes
import os
import signal
import sys

malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
for i in range(400):
    os.write(1, b"%#x\n" % malloc(100 + 37 * i * (1 if i % 3 else 30)))
kept = [(i, [i], {i: str(i)}) for i in range(20000)]
del kept[::3]
os.write(1, b"stats\n")
sys._debugmallocstats()
pause = signal.pause
os.write(1, b"ready\n")
pause()
