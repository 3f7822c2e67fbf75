# SPDX-License-Identifier: LGPL-2.1-or-later
"""Arenas held by a few objects: made, then all but a few dropped, then these too."""
import os


class Kept(object):
    __slots__ = ("word",)


def stop():
    os.write(1, b"ready\n")
    os.read(0, 1)


kept = [None] * 40
everything = [Kept() for i in range(400000)]
for i in range(40):
    kept[i] = everything[i * 10000]
del everything
stop()
for i in range(40):
    kept[i] = None
stop()
