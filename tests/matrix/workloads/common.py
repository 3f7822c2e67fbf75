# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all workloads use: names that Python 2 and 3 have in common, libc, notes of what was made."""
from __future__ import print_function

import ctypes
import os
import sys
import time

PY2 = sys.version_info[0] == 2
if PY2:
    text = unicode  # noqa: F821
    char = unichr  # noqa: F821
    intern_ = intern  # noqa: F821
    big = long  # noqa: F821
else:
    text, char, intern_, big = str, chr, sys.intern, int

LIBC = ctypes.CDLL(None)
LIBC.malloc.restype = ctypes.c_void_p
LIBC.malloc.argtypes = [ctypes.c_size_t]
LIBC.free.restype = None
LIBC.free.argtypes = [ctypes.c_void_p]
LIBC.memset.restype = None
LIBC.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


class Notes(object):
    """What a workload promises; written as JSON next to the other oracles."""

    def __init__(self, directory):
        self.directory = directory
        self.counts = {}  # kind -> exact number of objects in use
        self.values = {}  # class -> instances whose attribute values must be tied to it
        self.chunks = []  # [what malloc returned, bytes asked for, state] of memory that is not Python's
        self.interpreters = []  # ids of sub-interpreters that were made
        self.paused = 0  # threads that wait in pause(2)

    def count(self, kind, number):
        self.counts[kind] = self.counts.get(kind, 0) + number


# pause(2), ppoll(2); what tests/foreign names where the kernel's number is another machine's
PAUSE = os.environ.get("HEAPWALK_TEST_PAUSE") or {"x86_64": "34", "aarch64": "73"}.get(os.uname()[4], "34")


def wait_until_paused(others):
    """Until `others` threads of this process are inside pause(2), where they allocate no more."""
    deadline = time.time() + 60
    while True:
        paused = 0
        for tid in os.listdir("/proc/self/task"):
            with open("/proc/self/task/%s/syscall" % tid) as f:
                paused += f.read().split()[0] == PAUSE
        if paused >= others:
            return
        if time.time() > deadline:
            raise SystemExit("%d of %d threads reached pause(2)" % (paused, others))
        time.sleep(0.001)
