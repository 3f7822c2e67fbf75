# SPDX-License-Identifier: LGPL-2.1-or-later
"""Threads and sub-interpreters, blocked in the kernel, with arenas of their own."""
from __future__ import print_function

import os
import signal
import sys
import threading

from .common import LIBC, wait_until_paused


def malloc_some(notes, lock, goes_on, bin_sizes=(24, 100, 500, 1016, 5000, 40000)):
    """Chunks straight from malloc in the calling thread's arena: some kept, some freed; returns what is left to free."""
    used, cached = [], []
    for size in bin_sizes:
        for i in range(40):
            used.append((LIBC.malloc(size + i), size + i))
    spare = [LIBC.malloc(3000 + 16 * i) for i in range(60)]
    for address in spare[::2]:
        LIBC.free(address)  # too big for a tcache: into bins, kept apart by their neighbours
    used += [(a, 3000 + 16 * (2 * i + 1)) for i, a in enumerate(spare[1::2])]
    used.append((LIBC.malloc(700000), 700000))  # a mapping of its own
    cached = [LIBC.malloc(1000) for _ in range(7)]
    guard = LIBC.malloc(1000)
    used.append((guard, 1000))
    with lock:
        notes.chunks += [[a, size, "in use"] for a, size in used]
        if not goes_on:  # a thread that goes on will use them again
            notes.chunks += [[a, 1000, "tcache"] for a in cached]
            return cached
    for address in cached:
        LIBC.free(address)
    return []


def deep_pause(depth, ready, cached):
    padding = [depth]
    if depth:
        return deep_pause(depth - 1, ready, cached), padding
    ready.append(1)
    for address in cached:  # last: what the interpreter allocates before would take them
        LIBC.free(address)
    signal.pause()


def block(notes, lock, ready, depth):
    deep_pause(depth, ready, malloc_some(notes, lock, False))


def threads(notes):
    """Four threads, each with its own malloc arena and chunks in it, blocked in the kernel."""
    lock, ready, started = threading.Lock(), [], []
    malloc_some(notes, lock, True)
    for i in range(4):
        thread = threading.Thread(target=block, args=(notes, lock, ready, 20 + 100 * i))
        thread.daemon = True
        thread.start()
        started.append(thread)
    notes.paused += len(started)
    wait_until_paused(notes.paused)
    return lock, ready, started


ISOLATED = """
import gc, os, sys, signal
class SubThing:
    __slots__ = ('x',)
class SubDicted:
    pass
def run(name, number, stats=sys._debugmallocstats, close=os.close, pause=signal.pause):
    keep = [SubThing() for _ in range(number)]
    more = [SubDicted() for _ in range(500)]
    for i, m in enumerate(more):
        m.a = i
        m.b = [i, str(i)]
    texts = ['sub-interpreter %d' % i * (i % 60) for i in range(5000)]
    dead = [(i, i) for i in range(9000)]
    del dead[::2]
    with open(name, 'w') as f:
        for x in keep:
            f.write('%#x SubThing\\n' % id(x))
        for x in more:
            f.write('%#x SubDicted\\n' % id(x))
        for x in texts:
            f.write('%#x str\\n' % id(x))
        for x in dead:
            f.write('%#x tuple\\n' % id(x))
    del f, x, i, m
    gc.collect()
    gc.disable()
    stats()
    close(2)
    pause()
"""


def subinterpreters(notes):
    """Two isolated interpreters with arenas of their own, blocked; each has told its statistics last."""
    try:
        import _interpreters as api  # 3.13

        def create():
            return api.create("isolated", reqrefs=False)
    except ImportError:
        import _xxsubinterpreters as api  # 3.12

        def create():
            return api.create(isolated=True)
    keep = []
    saved = os.dup(2)
    for number in (3000, 7000):
        made = create()
        name = os.path.join(notes.directory, "interpreter-%d" % int(made))
        script = ISOLATED + "\nrun(%r, %d)\n" % (name + ".census", number)
        read_end, write_end = os.pipe()
        os.dup2(write_end, 2)
        os.close(write_end)
        # Nobody else may hold the write end: closing descriptor 2 is how the interpreter says "done".
        thread = threading.Thread(target=api.run_string, args=(made, script))
        thread.daemon = True
        thread.start()
        with open(read_end, "rb") as pipe:
            output = pipe.read()
        os.dup2(saved, 2)
        with open(name + ".stats", "wb") as f:
            f.write(output)
        if b"Error" in output or b"free PyFloatObjects" not in output:
            raise SystemExit("interpreter %d: %s" % (int(made), output.decode("utf-8", "replace")))
        notes.interpreters.append(int(made))
        notes.count("SubThing", number)
        notes.count("SubDicted", 500)
        keep.append((made, thread))
    notes.paused += 2
    wait_until_paused(notes.paused)
    return keep
