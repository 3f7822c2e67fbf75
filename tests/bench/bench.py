#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a census costs, as ratios measured in one run. See README.md for what the columns mean."""

import argparse
import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.join(HERE, "../../build/bin")
START_BLOCKS = 1000


def read_once(options, source):
    out = subprocess.run([options.read_once, str(source)], stdout=subprocess.PIPE, check=True).stdout.split()
    return int(out[0]), float(out[1])


def peak_anonymous(pid):
    """Bytes of RssAnon now, or 0 when the process is gone."""
    try:
        with open("/proc/%d/status" % pid) as f:
            for line in f:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def peak_of(command):
    """Bytes of anonymous memory at the most, sampled in a run of its own: looking slows it down. Sampling sees a
    peak that lasts; the kernel's own peak (ru_maxrss) has a core's mapped pages in it."""
    peak, process = 0, subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, peak_anonymous(process.pid))
    return peak


def best_of(runs, command):
    """(wall seconds, what it printed)"""
    best = out = None
    for _ in range(runs):
        start = time.perf_counter()
        out = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=True).stdout
        took = time.perf_counter() - start
        best = took if best is None else min(best, took)
    return best, out


def census(options, where):
    """(best wall seconds, peak of anonymous memory in bytes, report)"""
    command = [options.heapwalk] + where + ["--format", "json"]
    best, out = best_of(options.runs, command)
    return best, peak_of(command), json.loads(out)


def frozen(options, where):
    """Seconds that a live process stands still for a census of a copy of it, at best."""
    command = [options.heapwalk] + where + ["--copy", "--top", "1", "--format", "json"]
    return min(json.loads(subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                         check=True).stdout)["stopped_seconds"] for _ in range(options.runs))


def count_blocks(options, where):
    """In use and free, pool by pool and chunk by chunk: what the census had to look at."""
    def ask(name):
        done = subprocess.run([options.heapwalk] + where + [name, "--format", "json"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    blocks = sum(c["blocks_in_use"] + c["blocks_free"] for i in ask("cpython-allocators").get("interpreters", [])
                 for c in i["size_classes"])
    arenas = ask("arenas")
    return blocks + sum(a["in_use_chunks"] + a["free_chunks"] for a in arenas["arenas"]) + arenas["mmapped"]["count"]


def start_seconds(options, kind, directory):
    """{source: seconds} of a census of next to nothing: what finding the facts takes, whatever the heap's size."""
    found = {}
    for source, _, _, _, census_s, *_ in measure(options, kind, START_BLOCKS, directory):
        found[source] = census_s
    return found


@contextlib.contextmanager
def running(options, kind, number, directory):
    """A target of about `number` blocks; ends with the block."""
    command = {
        "python": [options.python, os.path.join(HERE, "python_target.py"), str(number)],
        "malloc": [options.malloc_target, str(number)],
    }[kind]
    limit = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    target = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=directory,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, limit))
    try:
        if target.stdout.readline() != b"ready\n":
            raise SystemExit("bench: %s did not start" % " ".join(command))
        yield target
    finally:
        if target.poll() is None:
            target.kill()
            target.wait()
        target.stdout.close()


def measure(options, kind, number, directory):
    with running(options, kind, number, directory) as target:
        where = ["-p", str(target.pid)]
        blocks = count_blocks(options, where)
        yield ("live", blocks) + read_once(options, target.pid) + census(options, where) + (frozen(options, where),)
        with open("/proc/%d/coredump_filter" % target.pid, "w") as f:
            f.write("0x33")
        target.send_signal(signal.SIGABRT)
        target.wait()
        names = [n for n in os.listdir(directory) if n.startswith("core")]
        if not names:
            print("skip: the kernel wrote no core (core_pattern must be a plain file name)")
            return
        core = os.path.join(directory, names[0])
        yield ("core", blocks) + read_once(options, core) + census(options, ["-c", core]) + (None,)
        os.unlink(core)


def parser_of(description):
    """The options of a benchmark that runs the targets here."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--heapwalk", default=os.path.join(BUILD, "heapwalk"))
    parser.add_argument("--malloc-target", default=os.path.join(BUILD, "bench_malloc_target"))
    parser.add_argument("--python", default="/usr/bin/python3", help="interpreter of the Python targets")
    parser.add_argument("--kinds", default="python,malloc")
    parser.add_argument("--sizes", default="1e5,1e6,1e7", help="blocks, in rising order")
    parser.add_argument("--runs", type=int, default=3, help="the best of so many counts")
    return parser


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--read-once", default=os.path.join(BUILD, "bench_read_once"))
    parser.add_argument("--json", help="write the numbers to this file too")
    options = parser.parse_args()
    line = "%-7s %-5s %11s %9s %8s %8s %8s %7s %9s %11s %8s %8s"
    print(line % ("target", "from", "blocks", "MiB", "read s", "start s", "census s", "ratio", "Mblock/s", "own B/block",
                  "growth", "frozen"))
    results = []
    directory = tempfile.mkdtemp(prefix="heapwalk-bench-")
    try:
        for kind in options.kinds.split(","):
            last = {}
            start = start_seconds(options, kind, directory)
            for size in (int(float(s)) for s in options.sizes.split(",")):
                for source, blocks, nbytes, read_s, census_s, peak, report, still in measure(options, kind, size, directory):
                    growth = ""
                    if source in last:
                        before = last[source]
                        growth = "%.2f" % (census_s / before[1] / (blocks / before[0]))
                    last[source] = blocks, census_s
                    print(line % (kind, source, blocks, "%.1f" % (nbytes / 1048576), "%.4f" % read_s,
                                  "%.4f" % start[source], "%.4f" % census_s, "%.2f" % (census_s / read_s), "%.2f" % (blocks / census_s / 1e6),
                                  "%.1f" % (peak / blocks), growth,
                                  "%.2f" % (still / read_s) if still else ""))
                    sys.stdout.flush()
                    results.append({"target": kind, "source": source, "blocks": blocks, "bytes": nbytes,
                                    "read_seconds": read_s, "start_seconds": start[source],
                                    "census_seconds": census_s, "peak_anonymous_bytes": peak,
                                    "frozen_seconds": still,
                                    "missing_bytes": report["coverage"]["missing_bytes"]})
    finally:
        shutil.rmtree(directory)
    if options.json:
        with open(options.json, "w") as f:
            json.dump(results, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
