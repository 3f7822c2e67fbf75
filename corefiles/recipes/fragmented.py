# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many freed, few survivors, in a core that stays small: recipes/fragmented.py DIRECTORY."""
import gc
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "matrix"))

import target  # noqa: E402


class Ghost(object):
    def __init__(self, i):
        self.i = i


class SlotGhost(object):
    __slots__ = ("a", "b")


def build(notes):
    everything = []
    for i in range(4000):
        everything += [Ghost(i), SlotGhost(), (i, i), [i] * (i % 30), bytearray(i % 1500), float(i)]
    keep = everything[:: 6 * 100] + everything[1 :: 6 * 200]
    notes.count("Ghost", 40)
    notes.count("SlotGhost", 20)
    del everything[:]
    gc.collect()
    return keep


target.run([build], sys.argv[1])
