#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""How long `stats` keeps a process from its work, next to the call in the process itself. README.md says more."""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

# Says how long the best of its own calls took, then sleeps; told to work, a thread of it spins in C meanwhile.
TARGET = r"""
import ctypes, os, signal, sys, threading, time
number, busy, out = int(sys.argv[1]), sys.argv[2] == "busy", sys.argv[3]
keep = [(i, "text %d" % i, {}) for i in range(number // 4)]
stats, clock = sys._debugmallocstats, time.perf_counter
os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
best = None
for i in range(20):
    start = clock()
    stats()
    took = clock() - start
    best = took if best is None else min(best, took)
if busy:
    locked = ctypes.c_int(0)
    spin = ctypes.CDLL(None).pthread_spin_lock
    threading.Thread(target=spin, args=(ctypes.byref(locked),), daemon=True).start()
print(best, flush=True)
while True:
    signal.pause()
"""


def measure(options, python, number, how, directory):
    """(seconds of the best call inside, of the shortest stop, the report)"""
    target = subprocess.Popen([python, "-c", TARGET, str(number), how, os.path.join(directory, "text")],
                              stdout=subprocess.PIPE)
    try:
        inside = float(target.stdout.readline())
        best = None
        for _ in range(options.runs):
            done = subprocess.run([options.heapwalk, "-p", str(target.pid), "stats", "--format", "json"],
                                  stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True)
            report = json.loads(done.stdout)
            stopped = report["stopped_seconds"]
            best = stopped if best is None else min(best, stopped)
        return inside, best, report
    finally:
        target.kill()
        target.wait()
        target.stdout.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heapwalk", default=os.path.join(HERE, "../../build/bin/heapwalk"))
    parser.add_argument("--python", action="append", help="interpreters; the default is pyenv's and Debian's")
    parser.add_argument("--sizes", default="1e3,1e5,1e6", help="blocks, about")
    parser.add_argument("--runs", type=int, default=10, help="the shortest stop of so many counts")
    options = parser.parse_args()
    pythons = options.python
    if not pythons:
        found = glob.glob(os.path.expanduser("~/.pyenv/versions/3.*/bin/python")) + ["/usr/bin/python3"]
        pythons = [p for p in sorted(found) if os.path.exists(p)]
    if not pythons:
        print("skip: no interpreter found")
        return 77
    line = "%-8s %-7s %9s %7s %10s %11s %7s"
    print(line % ("python", "target", "blocks", "pools", "inside ms", "stopped ms", "ratio"))
    with tempfile.TemporaryDirectory(prefix="heapwalk-bench-") as directory:
        for python in pythons:
            for size in (int(float(s)) for s in options.sizes.split(",")):
                for how in ("asleep", "busy"):
                    inside, stopped, report = measure(options, python, size, how, directory)
                    print(line % (report["target"]["python"]["version"], how, report["blocks_in_use"],
                                  report["pools_in_use"], "%.3f" % (inside * 1e3), "%.3f" % (stopped * 1e3),
                                  "%.2f" % (stopped / inside)))
                    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
