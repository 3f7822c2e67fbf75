# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process of Python, any version from 2.7, with a known number of Things."""

import os
import sys


class Thing(object):
    def __init__(self, number):
        self.name = "thing %d" % number


class Slotted(object):
    __slots__ = ("value",)


things = [Thing(number) for number in range(7000)]
slotted = [Slotted() for _ in range(3000)]
holes = [str(number) * 3 for number in range(20000)]
del holes[::2]
sys.stdout.write("ready %d\n" % os.getpid())
sys.stdout.flush()
# Answers each line until the end, through the bare descriptors: no object is made while it waits.
while os.read(0, 1):
    os.write(1, b"alive\n")
