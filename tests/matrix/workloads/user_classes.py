# SPDX-License-Identifier: LGPL-2.1-or-later
"""Classes of the program's own, their instances, and what the collector does not track."""
from __future__ import print_function

import collections
import gc

from .common import PY2


class Slotted(object):
    __slots__ = ("a", "b")


class Dicted(object):
    pass


class SlotsAndDict(Slotted):
    pass


class SlotsAndWeak(object):
    __slots__ = ("a", "__weakref__")


class Seventy(object):
    __slots__ = ("value",)


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyTuple(tuple):
    pass


class MyInt(int):
    pass


class MyFloat(float):
    __slots__ = ()


class MySet(set):
    pass


class MyError(Exception):
    pass


class Meta(type):
    def __new__(mcs, name, bases, body):
        return type.__new__(mcs, name, bases, body)


Made = Meta("Made", (object,), {"x": 1})
Odd = type('odd "name" \\ here', (object,), {})
Renamed = type("BeforeRename", (object,), {})
Renamed.__name__ = "AfterRename"
Umlaut = type("Gr\xc3\xb6\xc3\x9fe" if PY2 else u"Gr\xf6\xdfe", (object,), {})
Pair = collections.namedtuple("Pair", "one two")


def classes(notes):
    """__slots__, __dict__, both; sub-classes of built-in types; metaclasses; odd names."""
    keep = [Seventy() for _ in range(70000)]
    notes.count("Seventy", 70000)
    for cls, number in (
        (Slotted, 3000), (Dicted, 3000), (SlotsAndDict, 3000), (SlotsAndWeak, 2000), (MyList, 700),
        (MyDict, 700), (MyTuple, 700), (MyInt, 700), (MyFloat, 700), (MySet, 700), (MyError, 500),
        (Made, 400), (Odd, 30), (Renamed, 40), (Umlaut, 50),
    ):
        made = [cls() for _ in range(number)]
        for i, one in enumerate(made):
            if hasattr(one, "__dict__") and i % 3:
                one.first = i
                if i % 3 == 2:
                    one.second = [i]
        keep.append(made)
        name = cls.__name__
        notes.count(name.decode("utf-8") if PY2 else name, number)
    keep.append([Pair(i, [i]) for i in range(900)])
    notes.count("Pair", 900)
    # A dict read through __dict__ and one that got too many keys to share them.
    odd_ones = [Dicted() for _ in range(300)]
    notes.count("Dicted", 300)
    for i, one in enumerate(odd_ones):
        one.__dict__["k%d" % i] = i
        if i % 7 == 0:
            for k in range(50):
                setattr(one, "many%d_%d" % (i, k), k)
    keep.append(odd_ones)
    keep.append([type("Local%d" % i, (Dicted,), {"v": i}) for i in range(200)])
    return keep


class Attributed(object):
    def __init__(self, i):
        self.number = i
        self.name = "attributed"
        self.items = None


def instances(notes):
    """60 000 instances with attributes: on 3.11 and later their values have no dict."""
    notes.count("Attributed", 60000)
    notes.values["Attributed"] = 60000
    return [Attributed(i) for i in range(60000)]


class DictHolder(object):
    __slots__ = ("d",)


def untracked(notes):
    """5 000 dicts and as many tuples that the collector does not track."""
    keep = []
    for i in range(5000):
        holder = DictHolder()
        holder.d = {"n": i, "m": i + 1}
        keep.append(holder)
    notes.count("DictHolder", 5000)
    keep.append([(i, float(i), "t") for i in range(5000)])
    gc.collect()
    return keep
