# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process that does what a document shows, part by part: target.py PROGRAM DIRECTORY [NUMBER].

After each part it prints sys._debugmallocstats() into DIRECTORY/part-N and waits in pause(2), without having
allocated or freed anything in between, until SIGUSR1 lets it go on.
"""
from __future__ import print_function

import ctypes
import gc
import os
import signal
import sys
import threading


def dictionaries(stop, number):
    """Parts 1 to 4: at rest, `number` dictionaries made, deleted, collected."""
    stop()
    dicts = []
    for i in range(number):
        d = {"id": i, "name": "item_%d" % i, "value": i * 2.5, "active": True}
        dicts.append(d)
    del d, i
    stop()
    del dicts[:]
    del dicts
    stop()
    gc.collect()
    stop()


def made_dropped_made(stop, number):
    """`number` dicts are made, dropped, made again."""
    items = [None] * number
    stop()
    for i in range(number):
        items[i] = {}
    stop()
    for i in range(number):
        items[i] = None
    stop()
    for i in range(number):
        items[i] = {}
    stop()


def busy(stop, number):
    """A thread works without end in C: it waits for a spin lock that nobody unlocks."""
    locked = ctypes.c_int(0)  # x86's pthread_spinlock_t is 1 when it is free
    spin = ctypes.CDLL(None).pthread_spin_lock
    thread = threading.Thread(target=spin, args=(ctypes.byref(locked),))
    thread.daemon = True
    thread.start()
    keep = [{i: None} for i in range(number)]
    stop()
    del keep


def traced(stop, number):
    """tracemalloc's hooks stand before pymalloc."""
    import tracemalloc

    tracemalloc.start()
    keep = [(i, str(i)) for i in range(number)]
    stop()
    del keep


PARTS = {"dictionaries": 4, "made_dropped_made": 4, "busy": 1, "traced": 1}


def main():
    program, directory = sys.argv[1], sys.argv[2]
    stats, pause, dup2 = sys._debugmallocstats, signal.pause, os.dup2
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    files = [os.open(os.path.join(directory, "part-%d" % i), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
             for i in range(PARTS[program])]
    left = iter(files)

    def stop():
        dup2(next(left), 2)
        stats()
        pause()

    # What the first call alone would make is made before.
    null = os.open(os.devnull, os.O_WRONLY)
    error = os.dup(2)
    dup2(null, 2)
    stats()
    dup2(error, 2)
    gc.disable()
    globals()[program](stop, int(sys.argv[3]))


if __name__ == "__main__":
    main()
