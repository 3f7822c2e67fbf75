#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs fuzzers from their seeds (tests/fuzz/seeds/NAME) within bounds of time and memory an input, and prints how
many inputs that were. What they find is left in BUILD/fuzz/NAME: a crash-…, timeout-… or oom-… file, which the
fuzzer takes as its argument. `--runs N` inputs, or `--seconds N` for each; all fuzzers unless some are named."""

import argparse
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
INPUT_SECONDS = 10
MEMORY_MB = 2048
# Larger inputs are slower, not better: a seed of the kind is a few KiB.
LENGTHS = {"query": 512, "rules": 2048, "corefile": 1 << 16, "elf": 1 << 15, "snapshot": 1 << 16}


def run(name, arguments, build):
    corpus = os.path.join(build, "fuzz", name)
    os.makedirs(corpus, exist_ok=True)
    words = [os.path.join(build, "bin", "fuzz_" + name), corpus, os.path.join(HERE, "seeds", name),
             "-artifact_prefix=%s/" % corpus, "-timeout=%d" % INPUT_SECONDS, "-rss_limit_mb=%d" % MEMORY_MB,
             "-malloc_limit_mb=%d" % MEMORY_MB, "-print_final_stats=1", "-seed=%d" % arguments.seed,
             "-max_len=%d" % LENGTHS.get(name, 1024)]
    words.append("-max_total_time=%d" % arguments.seconds if arguments.seconds else "-runs=%d" % arguments.runs)
    environment = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=1",
                       UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")
    before = time.monotonic()
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=environment)
    output = done.stdout.decode(errors="replace")
    count = re.search(r"stat::number_of_executed_units: *(\d+)", output)
    peak = re.search(r"stat::peak_rss_mb: *(\d+)", output)
    print("%-10s %10s inputs in %.0f s, at most %s MB: %s" % (
        name, count.group(1) if count else "?", time.monotonic() - before, peak.group(1) if peak else "?",
        "status %d" % done.returncode if done.returncode else "nothing found"), flush=True)
    if done.returncode:
        print(output[-6000:])
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "..", "build-fuzz"))
    parser.add_argument("--runs", type=int, default=100000)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("name", nargs="*")
    arguments = parser.parse_args()
    build = os.path.abspath(arguments.build)
    names = arguments.name or sorted(f[5:-2] for f in os.listdir(HERE) if re.fullmatch(r"fuzz_\w+\.c", f))
    return 0 if all([run(name, arguments, build) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main())
