# SPDX-License-Identifier: LGPL-2.1-or-later
"""A little of everything that Python code makes: recipes/objects.py DIRECTORY."""
import collections
import io
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "matrix"))

import target  # noqa: E402


class Slotted(object):
    __slots__ = ("a", "b")


class Dicted(object):
    def __init__(self, i):
        self.number = i
        self.name = "dicted"


class MyList(list):
    pass


def generate(n):
    for i in range(n):
        yield i


def build(notes):
    keep = [Slotted() for _ in range(700)] + [Dicted(i) for i in range(600)] + [MyList([i]) for i in range(50)]
    notes.count("Slotted", 700)
    notes.count("Dicted", 600)
    notes.count("MyList", 50)
    for i in range(60):
        keep += ["text %d" % i, u"\xe9" * i, u"\u20ac" * i, u"\U0001f40d" * i, b"b" * i * 9, i * 10 ** 9, i / 7,
                 complex(i), set(range(i)), frozenset(range(i)), collections.deque(range(i)), bytearray(i),
                 collections.OrderedDict((k, k) for k in range(i)), {k: k for k in range(i)}, io.BytesIO(b"x" * i)]
        running = generate(i + 1)
        next(running)
        keep.append(running)
    return keep


target.run([build], sys.argv[1])
