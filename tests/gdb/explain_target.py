# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects and what Python itself says of them, as JSON in argv[1]; any version from 2.7."""

import collections
import gc
import json
import os
import sys


class Thing(object):
    def __init__(self, number):
        self.name = "thing %d" % number
        self.number = number


class Slotted(object):
    __slots__ = ("value",)


class Names(dict):
    pass


LETTERS = u"na\u00efve \u4e2d\u6587 \U0001f600 \u202e\t\x07\\'"
ring = [1]
ring.append(ring)
deep = [[[[[["too deep"]]]]]]
holes = dict((number, -number) for number in range(9))
del holes[0], holes[4]
gone = set(range(100, 112))
gone.discard(104)
shared = Thing(7)
shared.extra = None
split = Thing(8).__dict__ if sys.version_info >= (3, 0) else {"name": "thing 8"}

# name: (object, is its repr() told exactly?)
OBJECTS = collections.OrderedDict([
    ("int", (123456789012, True)), ("negative", (-(10 ** 40) - 7, True)), ("zero", (0, True)),
    ("power", (2 ** 60, True)), ("huge", (7 ** 2000, False)),
    ("float", (3.14159, True)), ("large", (1e22, True)), ("tiny", (5e-324, True)), ("third", (1 / 3.0, True)),
    ("whole", (1e16, True)), ("shorter", (123456.0, True)), ("point", (0.0001, True)), ("below", (1e-5, True)),
    ("infinite", (float("-inf"), True)), ("nan", (float("nan"), True)), ("minus", (-0.0, True)),
    ("complex", (complex(-1.5, 2), True)), ("imaginary", (complex(0, -3e20), True)),
    ("none", (None, True)), ("true", (True, True)), ("false", (False, True)), ("ellipsis", (Ellipsis, True)),
    ("str", ("plain text", True)), ("quotes", ('it\'s "both"', True)), ("single", ("it's", True)),
    ("long", ("x" * 1000, False)), ("latin", (u"caf\u00e9 \u00a0", True)), ("wide", (LETTERS, True)),
    ("bytes", (b"ab\x00\xff'", True)), ("bytearray", (bytearray(b"\x01two"), True)),
    ("tuple", ((1, "two", (3.0,)), True)), ("empty tuple", ((), True)),
    ("list", (["a", [None, True], {}], True)), ("ring", (ring, True)), ("deep", (deep, False)),
    ("many", (list(range(100)), False)),
    ("dict", ({"key": [1, 2], 3: (4,)}, True)), ("holes", (holes, True)), ("split", (split, True)),
    ("wide dict", (dict((number, number * number) for number in range(12)), True)),
    ("empty dict", ({}, True)),
    ("set", (set([1, 2, 3]), True)), ("gone", (gone, True)), ("frozenset", (frozenset(["x"]), True)),
    ("empty set", (set(), True)),
    ("type", (int, True)), ("class", (Thing, False)), ("instance", (shared, False)), ("slotted", (Slotted(), False)),
    ("subclass", (Names(one=1), False)), ("deque", (collections.deque([1, 2]), False)),
])
KEPT = [pair[0] for pair in OBJECTS.values()]
ATOMS = (int, type(2 ** 70), float, complex, str, bytes, tuple)  # all of it is in one block

# What the interpreter may give out for two requests at once has no count of its own.
counted = ("negative", "list", "ring", "dict", "set", "instance", "slotted", "bytearray", "frozenset", "deque")
expected = {
    "objects": {},
    # 3.15's bytearray has a bytes object, not a buffer.
    "owners": {"list": "ob_item"} if sys.version_info >= (3, 15) else {"list": "ob_item", "bytearray": "ob_bytes"},
    "dict_of_instance": id(shared.__dict__), "buffers": {},
}
facts = expected["objects"]
for name, index in [(name, index) for index, name in enumerate(OBJECTS)]:
    facts[name] = {
        "id": id(KEPT[index]), "type": type(KEPT[index]).__name__, "exact": OBJECTS[name][1],
        "repr": repr(KEPT[index]) if OBJECTS[name][1] else None,
        # Of an object with buffers: the object alone.
        "size": sys.getsizeof(KEPT[index]) if type(KEPT[index]) in ATOMS else
                type(KEPT[index]).__basicsize__ + sys.getsizeof(KEPT[index]) - KEPT[index].__sizeof__()
                if type(KEPT[index]) in (list, dict) else None,
    }
del OBJECTS, index, name
gc.collect()
for name in counted:
    # Less the argument of the call.
    index = [fact["id"] for fact in facts.values()].index(facts[name]["id"])
    at = [id(each) for each in KEPT].index(facts[name]["id"])
    facts[name]["refcount"] = sys.getrefcount(KEPT[at]) - 1
with open(sys.argv[1], "w") as out:
    json.dump(expected, out)
sys.stdout.write("ready\n")
sys.stdout.flush()
while os.read(0, 1):
    os.write(1, b"alive\n")
