# SPDX-License-Identifier: LGPL-2.1-or-later
"""The script that gdb-heap's own self-test looked at, made anew: for any Python from 2.7.

Prints "NAME COUNT" for what it holds, then "ready".
"""

import collections
import os
import sys


class OldStyle:  # old-style in Python 2
    def __init__(self, a):
        self.a = a


class OldStyleManyAttribs:
    def __init__(self, **kwargs):
        self.__dict__.update(kwargs)


class NewStyle(object):
    def __init__(self, a):
        self.a = a


class NewStyleManyAttribs(object):
    def __init__(self, **kwargs):
        self.__dict__.update(kwargs)


class NewStyleWithSlots(object):
    __slots__ = ("a", "b", "c", "d", "e", "f", "g", "h", "i")

    def __init__(self, *values):
        for name, value in zip(self.__slots__, values):
            setattr(self, name, value)


NamedTuple = collections.namedtuple("NamedTuple", ("foo", "bar"))

names = ["attribute%d" % i for i in range(9)]
kept = {
    "OldStyle": [OldStyle(i) for i in range(31)],
    "OldStyleManyAttribs": [OldStyleManyAttribs(**dict.fromkeys(names, i)) for i in range(32)],
    "NewStyle": [NewStyle(i) for i in range(33)],
    "NewStyleManyAttribs": [NewStyleManyAttribs(**dict.fromkeys(names, i)) for i in range(34)],
    "NewStyleWithSlots": [NewStyleWithSlots(*range(9)) for i in range(35)],
    "NamedTuple": [NamedTuple(i, i + 1) for i in range(36)],
}
dictionaries = [dict((name + str(i), i) for name in names) for i in range(40)]
sets = [set(range(i * 100, i * 100 + 64)) for i in range(41)]
frozen = [frozenset(range(i * 100, i * 100 + 64)) for i in range(42)]
lists = [list(range(1000 + i)) for i in range(43)]
texts = [u"text \u20ac %d " % i * 20 for i in range(44)]
raw = [bytearray(5000) for i in range(45)]


def generate():
    yield 1


generators = [generate() for _ in range(46)]
for generator in generators:
    next(generator)

for name in sorted(kept):
    sys.stdout.write("%s %d\n" % (name, len(kept[name])))
sys.stdout.write("ready\n")
sys.stdout.flush()
os.read(0, 1)
