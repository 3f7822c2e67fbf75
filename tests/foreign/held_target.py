# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects, and how each of them is held: writes {"address": [what holds it, of what kind, ...]} into the file that is
named, says "ready", waits. Python 2.7, 3.6 and later."""
import collections
import json
import signal
import sys

identities = []


class Instance(object):
    def __init__(self):
        self.number, self.items = 7, [object()]
        identities.append(id(self.items[0]))  # to ask later would leave the list on a stack


class Slotted(object):
    __slots__ = ("first", "second")


def generate():
    inner = object()
    yield inner


instances = [Instance() for _ in range(20)]
slotted = Slotted()
slotted.second = (object(),)
nested = {"key": {"inner": [object()]}}
generator = generate()
yielded = id(next(generator))
line = collections.deque(object() for _ in range(100))
kept = {object()}


# Up to 3.10 attributes are in a dict, and a generator's frame is an object.
if sys.version_info >= (3, 11):
    ATTRIBUTE = [["Instance", "attribute 'items'"]]
    LOCAL = [["generator", "local variable 'inner'"]]
else:
    ATTRIBUTE = [["Instance", "its __dict__"], ["dict", "attribute 'items'"]]
    LOCAL = [["generator", "word at +%#x" % object.__basicsize__], ["frame", "local variable 'inner'"]]


def ways():
    """A function, so that nothing of it is left on the module's own stack."""
    found = {
        identities[3]: [["dict", "global 'instances'"], ["list", "item 3"]] + ATTRIBUTE + [["list", "item 0"]],
        id(slotted.second[0]): [["dict", "global 'slotted'"], ["Slotted", "slot 'second'"], ["tuple", "item 0"]],
        id(nested["key"]["inner"][0]): [["dict", "global 'nested'"], ["dict", "value of key 'key'"],
                                        ["dict", "value of key 'inner'"], ["list", "item 0"]],
        yielded: [["dict", "global 'generator'"]] + LOCAL,
        id(line[70]): [["dict", "global 'line'"], ["collections.deque", "item"]],
        id(next(iter(kept))): [["dict", "global 'kept'"], ["set", "member"]],
    }
    return {"%#x" % address: steps for address, steps in found.items()}


with open(sys.argv[1], "w") as f:
    json.dump(ways(), f)
sys.stdout.write("ready\n")
sys.stdout.flush()
while True:
    signal.pause()
