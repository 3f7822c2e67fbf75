# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds a buffer of its own, and what iterates over it."""
from __future__ import print_function

import array
import collections
import ctypes
import io
import itertools
import os
import types

from .common import PY2


class Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_double), ("y", ctypes.c_double), ("name", ctypes.c_char * 40)]


def containers(notes):
    """What holds a buffer of its own, and what iterates over it."""
    keep = []
    for i in range(400):
        size = i % 90
        keep.append(set(range(i, i + size)))
        keep.append(frozenset(range(i, i + size)))
        keep.append(collections.deque(range(size * 3)))
        keep.append(collections.OrderedDict((str(k), k) for k in range(size)))
        keep.append(collections.defaultdict(list, ((k, [k]) for k in range(size))))
        keep.append(collections.Counter("abcabc%d" % i))
        keep.append(bytearray(size * 20))
        keep.append(array.array("i", range(size * 4)))
        keep.append(memoryview(bytearray(size * 7)))
        keep.append(memoryview(b"0123456789" * 3)[2:9])
        keep.append(io.BytesIO(b"b" * size * 11))
        keep.append(io.StringIO(u"s" * size * 11))
        keep.append(ctypes.create_string_buffer(size * 13 + 1))
        keep.append((ctypes.c_int * (size + 1))())
        keep.append(Point(1, 2))
        keep.append(dict((k, k) for k in range(size * 2)))
        keep.append(list(range(size * 3)))
        keep.append(iter(list(range(size))))
        keep.append(itertools.count(i + 1000))
        keep.append(zip(range(i), range(i)))
        keep.append(slice(i, i + 1000, 3))
        keep.append(types.ModuleType("made_module_%d" % i))
    notes.count("Point", 400)
    growing = io.BytesIO()
    for i in range(1000):
        growing.write(b"line of output\n")
    keep.append(growing)
    emptied = dict((k, k) for k in range(1000))
    emptied.clear()
    keep.append(emptied)
    keep.append(open(os.devnull, "rb"))
    keep.append(io.BufferedReader(io.BytesIO(b"abc" * 1000)))
    if not PY2:
        keep.append([types.SimpleNamespace(a=i) for i in range(100)])
        keep.append([types.MappingProxyType({i: i}) for i in range(100)])
    return keep
