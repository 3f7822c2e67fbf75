#!/usr/bin/env python
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process with a known heap: target.py WORKLOAD[+WORKLOAD...] DIRECTORY. Python 2.7, 3.6 to 3.15.

It builds the workloads, writes into DIRECTORY what is true of its heap, says "ready" on stdout and
waits in pause(2) without having allocated or freed anything since. On SIGUSR1 it checks that
it still works and says "alive". The files:

  expect.json    numbers of instances and malloc chunks that the workload promises
  census         a line an object: id, tp_name, __name__, sys.getsizeof, name of the old-style class, and
                 the buffers that its fields point at ("keys=0x..., values=0x...")
  malloc_info    what malloc_info(3) wrote
  mallinfo2      struct mallinfo2, raw (where glibc has it)
  blocks         sys.getallocatedblocks(), a raw int64 (3.4 and later)
  stats, stats-again   sys._debugmallocstats(), the second one last of all (3.3 and later)

How a census can be taken without disturbing what it counts: in a child made by a bare fork(2) through
ctypes.PyDLL (the lock is kept, no hook runs), so that ids are the parent's and garbage is not. All of it
happens twice, first into /dev/null: what there is to be cached is cached then.
"""
from __future__ import print_function

import ctypes
import gc
import json
import os
import signal
import sys

import workloads

LIBC = ctypes.CDLL(None)
for name, restype, argtypes in (
    ("fopen", ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]),
    ("setvbuf", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]),
    ("fflush", ctypes.c_int, [ctypes.c_void_p]),
    ("malloc_info", ctypes.c_int, [ctypes.c_int, ctypes.c_void_p]),
    ("write", ctypes.c_ssize_t, [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]),
    ("waitpid", ctypes.c_int, [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]),
    ("dup2", ctypes.c_int, [ctypes.c_int, ctypes.c_int]),
):
    getattr(LIBC, name).restype = restype
    getattr(LIBC, name).argtypes = argtypes
FORK = ctypes.PyDLL(None).fork
FORK.restype = ctypes.c_int
FORK.argtypes = []

# tp_name follows the PyVarObject that a type begins with.
WORD = ctypes.sizeof(ctypes.c_void_p)
TP_NAME = object.__basicsize__ + WORD

# Where an object keeps the address of a buffer of its own: {type: [(word, offset)]}, offsets of 64-bit
# release and debug builds (Include/cpython/*.h, Objects/*.c of each version); an object without a GIL
# begins with 16 bytes more.
OWNED = {list: [("ob_item", 24)]}
if sys.version_info >= (3, 15):  # a bytearray's bytes are an object, which the census has
    OWNED.update({dict: [("keys", 32)], set: [("table", 40)], frozenset: [("table", 40)]})
elif sys.version_info[0] == 2:
    OWNED.update({dict: [("table", 40)], set: [("table", 40)], bytearray: [("ob_bytes", 40)]})
else:
    OWNED.update({dict: [("keys", 32)], set: [("table", 40)], frozenset: [("table", 40)],
                  bytearray: [("ob_bytes", 32)]})
    if sys.version_info < (3, 11):  # later, values have no block of their own or are their instance's
        OWNED[dict].append(("values", 40))
if WORD == 4:  # half of it, but for ma_version_tag, of 64 bits, before a dict's keys and values
    TAG = 4 if sys.version_info[0] > 2 else 0
    OWNED = {kind: [(word, at // 2 + (TAG if kind is dict else 0)) for word, at in words]
             for kind, words in OWNED.items()}
if sys.version_info >= (3, 13):
    OWNED = {kind: [(word, at + object.__basicsize__ - 2 * WORD) for word, at in words]
             for kind, words in OWNED.items()}


def census(path, objects=None):
    """In the child only. Everything the collector knows and what is reachable from it."""
    if objects is None:
        objects = gc.get_objects()
    own = set([id(sys._getframe())])
    own.add(id(objects))
    referents, sizeof, from_address = gc.get_referents, sys.getsizeof, ctypes.c_char_p.from_address
    word_at, owned = ctypes.c_size_t.from_address, OWNED
    old_style = getattr(__import__("types"), "InstanceType", None)
    own.add(id(own))
    seen, lines, names = set(), [], {}
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    todo = objects
    while todo:
        following = []
        for o in todo:
            if id(o) in seen or id(o) in own:
                continue
            seen.add(id(o))
            t = type(o)
            name = names.get(id(t))
            if name is None:
                plain = t.__name__
                if not isinstance(plain, bytes):
                    plain = plain.encode("utf-8", "surrogateescape")
                name = names[id(t)] = from_address(id(t) + TP_NAME).value, plain
            try:
                size = sizeof(o)
            except TypeError:  # a class that is not there yet, a descriptor that refuses
                size = 0
            extra = o.__class__.__name__.encode("ascii") if t is old_style else b""
            buffers = []
            for word, at in owned.get(t, ()):
                buffers.append("%s=%#x" % (word, word_at(id(o) + at).value))
            lines.append(b"\t".join((hex(id(o)).rstrip("L").encode(), name[0], name[1],
                                     str(size).encode(), extra, ",".join(buffers).encode())))
            following.extend(referents(o))
        todo = following
        # What this function made itself is not the parent's: it is only on this frame, which is not
        # followed, and made after get_objects().
    data = b"\n".join(lines) + b"\n"
    while data:
        data = data[os.write(fd, data):]


def finish(directory, keep, notes):
    """Take the oracles, say ready, pause. Everything it needs exists before it begins."""

    def path(name):
        return os.path.join(directory, name)

    def create(name):
        return os.open(path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    stats = getattr(sys, "_debugmallocstats", None)
    blocks = getattr(sys, "getallocatedblocks", None)
    # A struct this big is returned through a hidden first argument on x86-64, an argument like any other.
    mallinfo2 = getattr(LIBC, "mallinfo2", None) if os.uname()[4] == "x86_64" and WORD == 8 else None
    if mallinfo2:
        mallinfo2.restype, mallinfo2.argtypes = None, [ctypes.c_void_p]
    null = os.open(os.devnull, os.O_WRONLY)
    ready_fd = os.dup(1)
    streams, stream_buffers = [], []
    for name in (os.devnull, path("malloc_info")):
        stream = LIBC.fopen(name.encode(), b"w")
        stream_buffers.append(ctypes.create_string_buffer(1 << 20))
        LIBC.setvbuf(stream, stream_buffers[-1], 0, 1 << 20)
        streams.append(ctypes.c_void_p(stream))
    turns = (
        (os.devnull, null, null, streams[0], null, null, null),
        (path("census"), create("stats") if stats else null, create("stats-again") if stats else null,
         streams[1], create("mallinfo2") if mallinfo2 else null, create("blocks") if blocks else null,
         ready_fd),
    )
    info = ctypes.create_string_buffer(80)
    counter = (ctypes.c_int64 * 1)()
    status = ctypes.c_int(0)
    status_pointer = ctypes.c_void_p(ctypes.addressof(status))
    info_pointer = ctypes.c_void_p(ctypes.addressof(info))
    counter_pointer = ctypes.c_void_p(ctypes.addressof(counter))
    ready_text = ctypes.create_string_buffer(b"ready\n")
    ready_pointer = ctypes.c_void_p(ctypes.addressof(ready_text))
    fork, waitpid, dup2, write = FORK, LIBC.waitpid, LIBC.dup2, LIBC.write
    malloc_info, fflush, pause = LIBC.malloc_info, LIBC.fflush, signal.pause
    stderr_fd = os.dup(2)
    # Codecs, modules and types that the census is the first to use must not be made ready in the child:
    # their dicts and weak references would be taken for the parent's.
    census(os.devnull, [None, 1.5, "text", Exception, [], {}, set(), str.join, dict.__dict__["fromkeys"],
                        type.__dict__["__mro__"], type.__dict__["__base__"], list.__add__, [].append])
    turn = 0
    pid = None
    # No frame but this one, and nothing in it is bound anew but small numbers: what the child's census
    # sees here is what an observer of the paused process sees.
    while turn < 2:
        census_path, stats_fd, again_fd, stream, mallinfo_fd, blocks_fd, say_fd = turns[turn]
        pid = fork()
        if pid == 0:
            code = 1
            try:
                census(census_path)
                code = 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        waitpid(pid, status_pointer, 0)
        if status.value:
            os._exit(3)  # the child has said why
        if stats:
            dup2(stats_fd, 2)
            stats()
            dup2(stderr_fd, 2)
        malloc_info(0, stream)
        fflush(stream)
        if mallinfo2:
            mallinfo2(info_pointer)
            write(mallinfo_fd, info_pointer, 80)
        write(say_fd, ready_pointer, 6)
        if blocks:
            counter[0] = blocks()
            write(blocks_fd, counter_pointer, 8)
        turn += 1
        if stats:
            dup2(again_fd, 2)
            stats()
    pause()
    os.dup2(stderr_fd, 2)
    return keep


def glibc_version():
    LIBC.gnu_get_libc_version.restype = ctypes.c_char_p
    return [int(part) for part in LIBC.gnu_get_libc_version().split(b".")[:2]]


def dive(depth, then, *arguments):
    """Run `then` under `depth` frames."""
    local = (depth, [depth])
    if depth:
        return dive(depth - 1, then, *arguments), local
    return then(*arguments), local


def on_signal(number, frame):
    pass


def run(builders, directory, depth=3):
    """Build, take the oracles, pause; then answer signals for ever. `builders` take workloads.Notes."""
    signal.signal(signal.SIGUSR1, on_signal)
    sys.setrecursionlimit(10000)
    notes = workloads.Notes(directory)
    keep = [build(notes) for build in builders]
    with open(os.path.join(directory, "expect.json"), "w") as f:
        json.dump({"counts": notes.counts, "values": notes.values, "chunks": notes.chunks,
                   "interpreters": notes.interpreters, "glibc": glibc_version()}, f)
    del f
    gc.collect()
    gc.disable()
    before = len(gc.get_objects())
    dive(depth, finish, directory, keep, notes)
    while True:
        # Somebody asks whether all is well: count, collect, allocate.
        gc.collect()
        fresh = [object() for _ in range(10000)]
        alive = len(gc.get_objects()) >= before - 1000 and len(fresh) == 10000
        os.write(1, b"alive\n" if alive else b"damaged\n")
        signal.pause()


def main():
    if len(sys.argv) != 3 or not all(w in workloads.WORKLOADS for w in sys.argv[1].split("+")):
        raise SystemExit("usage: target.py WORKLOAD[+WORKLOAD...] DIRECTORY, with WORKLOAD one of "
                         + " ".join(workloads.WORKLOADS))
    names = sys.argv[1].split("+")
    run([workloads.WORKLOADS[name] for name in names], sys.argv[2], 600 if "code" in names else 3)


if __name__ == "__main__":
    main()
