# SPDX-License-Identifier: LGPL-2.1-or-later
"""Values of built-in types: small ones, large buffers, dead ones between survivors, strings of every width."""
from __future__ import print_function

import array
import ctypes
import gc
import io
import sys

from .common import LIBC, PY2, big, char, intern_, text


class SmallNode(object):
    __slots__ = ("left", "right")


def small(notes):
    """Many small objects of many types."""
    keep = []
    for i in range(12000):
        keep.append((i + 100000, float(i) + 0.5))
        keep.append([i, i + 1])
        keep.append({i: None})
        keep.append("small-%d" % i)
        keep.append(big(1) << (i % 400))
        keep.append(complex(i, 1))
        keep.append(("b%d" % i).encode("ascii"))
    nodes = [SmallNode() for _ in range(8000)]
    for left, right in zip(nodes, nodes[1:]):
        left.right, right.left = right, left
    notes.count("SmallNode", 8000)
    return keep, nodes


def buffers(notes):
    """Large buffers: up to a few MiB each, in malloc's bins and in mappings of their own."""
    keep = []
    for size in (600, 4000, 70000, 131000, 140000, 1 << 20, (3 << 20) + 17):
        keep.append(b"x" * size)
        keep.append(u"y" * size)
        keep.append(u"\u20ac" * (size // 2))
        keep.append(bytearray(size))
        keep.append(array.array("d", [1.5]) * (size // 8))
        keep.append([None] * (size // 8))
        keep.append((None,) * (size // 8))
        keep.append(ctypes.create_string_buffer(size))
        keep.append(io.BytesIO(b"z" * size))
        keep.append(memoryview(bytearray(size)))
    keep.append(dict.fromkeys(range(50000)))
    keep.append(set(range(1000, 41000)))
    keep.append(dict(("key%d" % i, i) for i in range(30000)))
    front = bytearray(9000)
    del front[:100]  # ob_start leaves ob_bytes
    keep.append(front)
    return keep


class Ghost(object):
    def __init__(self, i):
        self.i = i
        self.name = "ghost %d" % i


class SlotGhost(object):
    __slots__ = ("a", "b", "c", "d")


def fragmented(notes):
    """Many freed, few survivors: what is dead must stay dead, though it keeps its type."""
    everything = []
    for i in range(30000):
        everything.append(Ghost(i))
        everything.append(SlotGhost())
        everything.append((i, i))
        everything.append([i] * (i % 70))
        everything.append("dead or alive %d" % i * (i % 9 + 1))
        everything.append(bytearray(i % 3000))
        everything.append(float(i))
    survivors = everything[:: 7 * 219] + everything[1 :: 7 * 501]
    notes.count("Ghost", len([1 for x in survivors if type(x) is Ghost]))
    notes.count("SlotGhost", len([1 for x in survivors if type(x) is SlotGhost]))
    assert notes.counts["Ghost"] == 137 and notes.counts["SlotGhost"] == 60, notes.counts
    # alternate survivors keep bins apart
    del everything[:]
    keep = [bytearray(2000 + 16 * (i % 50)) for i in range(600)]
    del keep[::2]
    gc.collect()
    return survivors, keep


def make_strings():
    kinds = []
    for size in (0, 1, 2, 3, 7, 15, 40, 100, 461, 470, 600, 5000):
        for fill in (u"a", u"\xe9", u"\u20ac", u"\U0001f40d" if sys.maxunicode > 65535 else u"\u4e00"):
            for i in range(12):
                kinds.append(char(0x61 + i) + fill * size)
    return kinds


class StrChild(text):
    pass


class StrSlots(text):
    __slots__ = ()


class BytesChild(bytes):
    pass


def strings(notes):
    """All widths, with UTF-8 and wchar_t caches, interned, with surrogates, sub-classes."""
    keep = make_strings()
    keep += [intern_("interned_%d" % i) for i in range(500)]
    keep += [u"\ud800%d" % i for i in range(50)]
    keep += [StrChild(s) for s in make_strings()]
    keep += [StrSlots(s) for s in make_strings()]
    keep += [BytesChild(b"bytes %d" % i if not PY2 else "bytes %d" % i) for i in range(100)]
    notes.count("StrChild", 12 * 4 * 12)
    notes.count("StrSlots", 12 * 4 * 12)
    notes.count("BytesChild", 100)
    api = ctypes.pythonapi
    if PY2:
        for width in ("UCS4", "UCS2"):
            encode = getattr(api, "_PyUnicode%s_AsDefaultEncodedString" % width, None)
            if encode:
                encode.restype, encode.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_void_p]
                for i in range(300):
                    keep.append(u"default encoded %d" % i)
                    encode(keep[-1], None)  # a byte string is cached in it
        return keep
    cached = make_strings()
    api.PyUnicode_AsUTF8.restype = ctypes.c_void_p
    api.PyUnicode_AsUTF8.argtypes = [ctypes.py_object]
    for s in cached:
        api.PyUnicode_AsUTF8(s)
    keep += cached
    if sys.version_info < (3, 12):
        wide = make_strings()
        api.PyUnicode_AsUnicode.restype = ctypes.c_void_p
        api.PyUnicode_AsUnicode.argtypes = [ctypes.py_object]
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for s in wide:
                api.PyUnicode_AsUnicode(s)
            keep += wide
            api.PyUnicode_FromUnicode.restype = ctypes.py_object
            api.PyUnicode_FromUnicode.argtypes = [ctypes.c_void_p, ctypes.c_ssize_t]
            for size in range(1, 200):  # made of wchar_t and never made ready
                s = api.PyUnicode_FromUnicode(None, size)
                LIBC.memset(api.PyUnicode_AsUnicode(s), 0, size * ctypes.sizeof(ctypes.c_wchar))
                keep.append(s)
    return keep
