#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What snapshots cost, as ratios to a census of the same process in the same run. See README.md."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

from bench import HERE, count_blocks, peak_anonymous


def best_of(runs, command):
    """Wall seconds."""
    best = None
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)
        took = time.perf_counter() - start
        best = took if best is None else min(best, took)
    return best


def peak_of(command):
    """Bytes of anonymous memory at the most, sampled in a run of its own."""
    peak, process = 0, subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, peak_anonymous(process.pid))
    return peak


def measure(options, kind, number, directory):
    command = {
        "python": [options.python, os.path.join(HERE, "python_target.py"), str(number)],
        "malloc": [options.malloc_target, str(number)],
    }[kind]
    target = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        if target.stdout.readline() != b"ready\n":
            raise SystemExit("bench: %s did not start" % " ".join(command))
        where = ["-p", str(target.pid)]
        files = [os.path.join(directory, "%s-%d" % (kind, i)) for i in (1, 2)]
        blocks = count_blocks(options, where)
        # In turns, so that a busy machine is as busy for both.
        census = save = None
        for _ in range(options.runs):
            one = best_of(1, [options.heapwalk, *where])
            two = best_of(1, [options.heapwalk, *where, "save", files[0]])
            census, save = min(one, census or one), min(two, save or two)
        subprocess.run([options.heapwalk, *where, "save", files[1]], stdout=subprocess.DEVNULL, check=True)
    finally:
        target.kill()
        target.wait()
        target.stdout.close()
    diff = [options.heapwalk, "diff", *files]
    by_category = best_of(options.runs, diff)
    by_block = best_of(options.runs, diff + ["--by", "block"])
    peak = peak_of(diff + ["--by", "block"])
    size = os.path.getsize(files[0])
    for file in files:
        os.unlink(file)
    return blocks, census, save, size, by_category, by_block, peak


def main():
    build = os.path.join(HERE, "../../build/bin")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heapwalk", default=os.path.join(build, "heapwalk"))
    parser.add_argument("--malloc-target", default=os.path.join(build, "bench_malloc_target"))
    parser.add_argument("--python", default="/usr/bin/python3", help="interpreter of the Python targets")
    parser.add_argument("--kinds", default="python,malloc")
    parser.add_argument("--sizes", default="1e5,1e6,1e7", help="blocks, in rising order")
    parser.add_argument("--runs", type=int, default=3, help="the best of so many counts")
    options = parser.parse_args()
    line = "%-7s %11s %9s %8s %7s %12s %12s %10s %9s"
    print(line % ("target", "blocks", "census s", "save s", "ratio", "disk B/block", "by category", "by block", "diff MiB"))
    directory = tempfile.mkdtemp(prefix="heapwalk-bench-")
    try:
        for kind in options.kinds.split(","):
            for size in (int(float(s)) for s in options.sizes.split(",")):
                blocks, census, save, disk, by_category, by_block, peak = measure(options, kind, size, directory)
                print(line % (kind, blocks, "%.3f" % census, "%.3f" % save, "%.2f" % (save / census),
                              "%.2f" % (disk / blocks), "%.3f" % by_category, "%.3f" % by_block,
                              "%.1f" % (peak / 1048576)))
                sys.stdout.flush()
    finally:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
