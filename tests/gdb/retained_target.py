# SPDX-License-Identifier: LGPL-2.1-or-later
"""Structures, each made twice: the second one goes, and what the allocators then have less in use is what the
first one retains. Facts as JSON in argv[1]; any version from 2.7, where only the ids are known.

The numbers are the allocators' own: pymalloc's by sys._debugmallocstats(), malloc's by mallinfo2(3).
"""

import array
import collections
import ctypes
import gc
import json
import os
import re
import sys
import weakref


# One for each structure: how instances share the keys of their attributes depends on all of them.
class Node(object):
    pass


class RingNode(object):
    pass


class ChangedNode(object):
    pass


class Slotted(object):
    __slots__ = ("next", "value", "__weakref__")


class Tagged(str):
    pass


def text(n):
    return "text number %d" % n


def linked_list():
    first = None
    for i in range(1000):
        node = Node()
        node.next, node.value = first, text(i)
        first = node
    return first


def slotted_list():
    first = None
    for i in range(1000):
        node = Slotted()
        node.next, node.value = first, float(i)
        first = node
    return first


def tree(depth=8):
    return {text(depth): [tree(depth - 1), tree(depth - 1)]} if depth else (text(0), 1.5)


def ring():
    first = last = RingNode()
    for i in range(500):
        node = RingNode()
        last.next, node.previous, node.value = node, last, [text(i)]
        last = node
    last.next, first.previous, first.value = first, last, None
    return first


CONTAINERS = {
    "set": lambda: set(text(i) for i in range(100)),
    "small_set": lambda: set([text(1)]),
    "frozenset": lambda: frozenset(text(i) for i in range(3)),
    "deque": lambda: collections.deque(text(i) for i in range(300)),
    "ordered": lambda: collections.OrderedDict((text(i), text(i)) for i in range(50)),
    "default": lambda: collections.defaultdict(list, [(text(i), [text(i)]) for i in range(50)]),
    "bytearray": lambda: bytearray(5000),
    "bytes": lambda: b"x" * len(range(3000)),
    "tuple": lambda: tuple([i] for i in range(40)),
    # 3.14: each of a class's first 30 instances has room for one attribute less, whatever it derives from.
    "str": lambda: [Tagged(text(i)) for i in range(40)] + [text(6) + u"\u20ac"],
    "numbers": lambda: [10 ** len(range(500)), 1.5 * len(CONTAINERS) + 2j],
    "dict": lambda: dict((i, text(i)) for i in range(100)),
    "keys": lambda: dict(((i, text(i)), None) for i in range(30)),
}


def big():
    return [float(i) for i in range(20000)]


def shrunk():
    """What stands behind the end of a list is none of its items."""
    kept = [text(i) for i in range(1000)]
    del kept[10:]
    return kept


def cut_deque():
    many = collections.deque(text(i) for i in range(200))
    for _ in range(90):
        many.popleft()
        many.pop()
    return many


def closures():
    def make(value):
        return lambda: value
    return [make([text(i)]) for i in range(100)]


def wait(value):
    other = [value]
    yield other
    yield value


def generators():
    made = [wait(text(i)) for i in range(100)]
    for each in made:
        next(each)
    return made


def changed_instances():
    """More attributes than their class was made with, some deleted, a dict that was asked for."""
    made = []
    for i in range(100):
        node = ChangedNode()
        node.next, node.value = text(i), text(i + 1)
        if i % 2:
            setattr(node, "extra%d" % i, text(i))
        if i % 3 == 0:
            del node.value
        if i % 5 == 0:
            node.__dict__["more"] = [text(i)]
        made.append(node)
    return made


MAKERS = [linked_list, slotted_list, tree, ring, big, shrunk, cut_deque, closures, generators,
          changed_instances]
# Chunks of malloc's in them: one may be 16 bytes larger than another of the same request.
CHUNKS = {"deque": 6, "cut_deque": 2, "set": 1, "bytearray": 1, "bytes": 1, "big": 1, "dict": 1, "default": 1,
          "ordered": 2, "keys": 1}
MAKERS = dict(CONTAINERS, **dict((make.__name__, make) for make in MAKERS))


class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]


MALLINFO = getattr(ctypes.CDLL(None), "mallinfo2", None)
if MALLINFO:
    MALLINFO.restype = Info
STATS = getattr(sys, "_debugmallocstats", None)
FILE = os.open(sys.argv[1] + ".stats", os.O_RDWR | os.O_CREAT | os.O_TRUNC)


NUMBERS = array.array("Q" if sys.version_info[0] > 2 else "L", [0, 0])  # no object comes of keeping one


def note(index):
    """Keeps the bytes in blocks of both; what collections keep for reuse is given back before."""
    next(wait(None))  # up to 3.9 a function's code keeps a frame,
    collections.deque(range(2000))  # and deques blocks
    for _ in range(4):  # the first ones may free what fills the free lists again
        gc.collect()
    if not STATS or not MALLINFO:
        return
    info = MALLINFO()
    os.lseek(FILE, 0, os.SEEK_SET)
    os.ftruncate(FILE, 0)
    error = os.dup(2)
    os.dup2(FILE, 2)
    STATS()
    os.dup2(error, 2)
    os.close(error)
    os.lseek(FILE, 0, os.SEEK_SET)
    said = os.read(FILE, 1 << 16).decode()
    blocks = re.search(r"bytes in allocated blocks +=\s*([\d,]+)", said).group(1)
    # Arenas are mappings, or chunks of malloc's own.
    NUMBERS[index] = int(blocks.replace(",", "")) + info.uordblks + info.hblkhd


FIRST = []


def measure(make):
    # How instances share the keys of their attributes is settled by the first ones that stay.
    FIRST.append(make())
    kept = make()
    gone = make()
    next(wait(None))  # 3.12: a generator that is closed gives the frame that does it an object
    note(0)
    del gone
    note(1)
    return kept, NUMBERS[0] and NUMBERS[0] - NUMBERS[1]


def main():
    for make in MAKERS.values():  # what is made once for all of them
        measure(make)
    structures, facts = {}, {}
    for name in sorted(MAKERS):
        kept, size = measure(MAKERS[name])
        structures[name] = kept
        facts[name] = {"id": id(kept), "bytes": size or None, "chunks": CHUNKS.get(name, 0)}
    # Two that share the third: neither retains it, together they do.
    shared = linked_list()
    left, right = [shared, text(1)], [shared, text(2)]
    structures["pair"] = (left, right)
    facts["pair"] = {"left": id(left), "right": id(right), "shared": id(shared)}
    # Neither a weak reference nor a number that is the address holds anything.
    weak = [weakref.ref(structures[name]) for name in ("slotted_list", "cut_deque", "ring")]
    numbers = set()
    for fact in facts.values():
        numbers.add(fact.get("id"))
    # A cycle that nobody holds.
    gc.disable()
    lost = [text(i) for i in range(200)]
    lost.append(lost)
    facts["garbage"] = {"id": id(lost)}
    with open(sys.argv[1], "w") as file:
        json.dump(facts, file)
    del shared, left, right, lost, kept, facts, fact
    os.write(1, b"ready\n")
    os.read(0, 1)
    return structures, weak, numbers


main()
