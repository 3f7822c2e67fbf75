# SPDX-License-Identifier: LGPL-2.1-or-later
"""One object and all that hold it, as JSON in argv[1]; any version from 2.7."""

import gc
import json
import os
import sys
import weakref


class Secret(object):
    pass


class Thing(object):
    pass


class Slotted(object):
    __slots__ = ("value",)


def closure(value):
    return lambda: value


def make():
    secret = Secret()
    slotted = Slotted()
    slotted.value = secret
    thing = Thing()
    thing.value = secret
    function = closure(secret)
    cell = (getattr(function, "__closure__", None) or function.func_closure)[0]
    filler = list(range(300, 400))
    holders = {
        "tuple": (filler, secret),
        "list": [1, 2, secret],
        "dict": dict([(number, number) for number in range(50)] + [("it", secret)]),
        "set": set([secret, "something else"]),
        "Slotted": slotted,
        "Thing": thing,
        "cell": cell,
    }
    return holders, function, weakref.ref(secret)


HOLDERS, FUNCTION, WEAK = make()
# A collection untracks what needs no tracking, and frees what was dropped.
gc.collect()
FACTS = {"secret": id(WEAK()), "weak": id(WEAK), "holders": {}, "holder_of_list": id(HOLDERS)}
for name, holder in HOLDERS.items():
    FACTS["holders"][name] = id(holder)
del name, holder
with open(sys.argv[1], "w") as facts:
    json.dump(FACTS, facts)
# The address is a number that would be found as well.
del FACTS, facts
gc.collect()
os.write(1, b"ready\n")
os.read(0, 1)
