# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Python process with about as many blocks as it is told: python_target.py BLOCKS."""
import gc
import os
import signal
import sys


class Node(object):
    __slots__ = ("value", "next")


gc.disable()
number = int(sys.argv[1])
keep = []
for i in range(number // 5):
    keep.append("text %d" % i)
    keep.append((i + 1000, None))  # and the int
    keep.append(float(i))
    node = Node()
    node.next = keep[-2]
    keep.append(node)
os.write(1, b"ready\n")
signal.pause()
