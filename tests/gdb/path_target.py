# SPDX-License-Identifier: LGPL-2.1-or-later
"""Objects that are held in one way each; which, as JSON in argv[1]. Any version from 2.7."""

import collections
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
    __slots__ = ("left", "right")


def holder():
    """[what holds the secret, the last words of the path, the secret]"""
    for make, words in [
            (lambda secret: {"key": secret}, "value of key 'key'"),
            (lambda secret: {secret: 1}, "key"),
            (lambda secret: [0] * 17 + [secret], "item 17"),
            (lambda secret: (None, secret), "item 1"),
            (lambda secret: set([secret]), "member"),
            (lambda secret: set(list(range(50)) + [secret]), "member"),
            (lambda secret: collections.deque([1, secret]), "item"),
            (lambda secret: attribute(Thing(), "name", secret), "attribute 'name'"),
            (lambda secret: attribute(Slotted(), "right", secret), "slot 'right'"),
            (lambda secret: closure(secret), "cell contents"),
            (lambda secret: waiting(secret), "local variable 'inside'"),
    ]:
        secret = Secret()
        yield make(secret), words, secret


def attribute(thing, name, value):
    setattr(thing, name, value)
    return thing


def closure(value):
    return lambda: value


def waiting(value):
    def generate():
        inside = held.pop()
        yield inside
    held = [value]
    made = generate()
    next(made)
    return made


FACTS, CACHE = {"held": []}, collections.OrderedDict()


def fill():
    for number, (keep, words, secret) in enumerate(holder()):
        CACHE["way %d" % number] = keep
        FACTS["held"].append([id(secret), words])
    CACHE["weak"] = weakref.ref(CACHE["way 0"]["key"])
    CACHE["cut"] = [None, CACHE["way 0"]["key"]]
    del CACHE["cut"][1]  # what stands behind the end of a list
    lost = [Secret()]
    lost.append(lost)
    FACTS["garbage"] = id(lost[0])


def run(argument):
    local = [Secret()]
    FACTS["local"] = id(local[0])
    FACTS["argument"] = id(argument[0])
    with open(sys.argv[1], "w") as file:
        json.dump(FACTS, file)
    os.write(1, b"ready\n")
    os.read(0, 1)
    return local


gc.disable()
fill()
run([Secret()])
