# SPDX-License-Identifier: LGPL-2.1-or-later
"""filtered_target.py DIRECTORY: a heap of everything; then parts of it are kept out of cores.

With HIDE in the environment pieces of the brk area and of two anonymous mappings get MADV_DONTDUMP; DIRECTORY/hidden
has a line "START END" in hexadecimal for each.
"""

import ctypes
import os
import signal
import sys

MADV_DONTDUMP = 16
PAGE = 4096


class Thing:
    def __init__(self, number):
        self.number = number


keep = [[Thing(i), str(i) * 3, float(i), (i, i)] for i in range(4000)]
keep += [bytearray(900 + i % 700) for i in range(900)]
keep.append(bytearray(3 << 20))
del keep[::7]
signal.signal(signal.SIGUSR1, lambda *_: None)


def mappings():
    with open("/proc/self/maps") as f:
        for line in f.read().splitlines():
            words = line.split(None, 5)
            start, end = (int(word, 16) for word in words[0].split("-"))
            yield start, end, words[1], words[5].strip() if len(words) > 5 else ""


def hide(directory):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    hidden = []
    for start, end, perms, path in list(mappings()):
        third = (end - start) // 3 // PAGE * PAGE
        if perms != "rw-p" or path not in ("", "[heap]") or end - start < 1 << 19 or len(hidden) == 3:
            continue
        if libc.madvise(start + third, third, MADV_DONTDUMP):
            raise OSError(ctypes.get_errno(), "madvise")
        hidden.append((start + third, start + 2 * third))
    with open(os.path.join(directory, "hidden"), "w") as f:
        f.write("".join("%x %x\n" % piece for piece in hidden))


if os.environ.get("HIDE"):
    hide(sys.argv[1])
sys.stdout.write("ready\n")
sys.stdout.flush()
# Not signal.pause(): the memory is compared before and after, Python has nothing left to do.
ctypes.PyDLL(None).pause()
