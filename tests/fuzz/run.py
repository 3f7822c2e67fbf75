#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs fuzzers from their seeds (tests/fuzz/seeds/NAME, with the words of dictionaries/NAME) within bounds of time
and memory an input, and prints how many inputs that were, how long they took, and what was found.

`--inputs 1e7`: so many in all, each fuzzer its share, in rounds; `--runs N` or `--seconds N` are for each fuzzer.
All fuzzers unless some are named. What they find is left in BUILD/fuzz/NAME: a crash-…, timeout-…, oom-… or leak-…
file, which the fuzzer takes as its argument. Every chunk is a line of BUILD/fuzz/log.csv, and `--sum` adds them up."""

import argparse
import csv
import os
import random
import re
import resource
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
INPUT_SECONDS = 10
MEMORY_MB = 2048
# Larger inputs are slower, not better: a seed of the kind is a few KiB.
LENGTHS = {"query": 512, "rules": 2048, "corefile": 1 << 16, "elf": 1 << 15}
# Of a hundred inputs. They take from 20 µs (rules) to 2 ms (heap, a whole session).
SHARES = {"corefile": 1, "elf": 7, "glibc": 8, "heap": 1, "mimalloc": 20, "native": 1, "objects": 19, "pymalloc": 14, "python": 2, "query": 14,
          "rules": 14, "snapshot": 2}
ROUND_INPUTS = 500000
COLUMNS = ["fuzzer", "inputs", "seconds", "cpu_seconds", "mb", "status"]
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=0:"
                    "quarantine_size_mb=16:malloc_context_size=6",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}


def fuzzers():
    return sorted(f[5:-2] for f in os.listdir(HERE) if re.fullmatch(r"fuzz_\w+\.c", f))


def command(name, build, seed, bound):
    corpus = os.path.join(build, "fuzz", name)
    os.makedirs(corpus, exist_ok=True)
    words = [os.path.join(build, "bin", "fuzz_" + name), corpus, os.path.join(HERE, "seeds", name),
             "-artifact_prefix=%s/" % corpus, "-timeout=%d" % INPUT_SECONDS, "-rss_limit_mb=%d" % MEMORY_MB,
             "-malloc_limit_mb=%d" % MEMORY_MB, "-print_final_stats=1", "-seed=%d" % seed, "-reload=0",
             "-print_funcs=0", "-entropic=0", "-max_len=%d" % LENGTHS.get(name, 512), bound]
    dictionary = os.path.join(HERE, "dictionaries", name)
    if os.path.exists(dictionary):
        words.append("-dict=" + dictionary)
    return words


def cpu_seconds():
    """Of all fuzzers that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def was_stalled(words, output):
    """The alarm of libFuzzer is of the wall's clock, the bound is of the processor's: an input that is done in time the
    second time did not take the time, the machine did."""
    path = re.search(r"Test unit written to (\S*/timeout-\w+)", output)
    if not path:
        return False
    # Not -runs, which says how often a file is run.
    options = [w for w in words[1:] if w.startswith(("-rss_limit_mb=", "-malloc_limit_mb="))]
    before = cpu_seconds()
    again = subprocess.run([words[0], path.group(1)] + options + ["-timeout=%d" % (100 * INPUT_SECONDS)],
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=dict(os.environ, **SANITIZERS))
    is_stall = not again.returncode and cpu_seconds() - before < INPUT_SECONDS
    if is_stall:
        os.unlink(path.group(1))
    return is_stall


def run(name, build, seed, bound):
    """A row of COLUMNS, and what the fuzzer printed."""
    before, cpu = time.monotonic(), cpu_seconds()
    words = command(name, build, seed, bound)
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=dict(os.environ, **SANITIZERS))
    output = done.stdout.decode(errors="replace")
    count = re.search(r"stat::number_of_executed_units: *(\d+)", output)
    peak = re.search(r"stat::peak_rss_mb: *(\d+)", output)
    row = {"fuzzer": name, "inputs": int(count.group(1)) if count else 0,
           "seconds": "%.1f" % (time.monotonic() - before), "cpu_seconds": "%.1f" % (cpu_seconds() - cpu), "mb": int(peak.group(1)) if peak else 0,
           "status": done.returncode if not done.returncode or not was_stalled(words, output) else 0}
    path = os.path.join(build, "fuzz", "log.csv")
    is_new = not os.path.exists(path)
    with open(path, "a", newline="") as f:
        writer = csv.DictWriter(f, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    return row, output


def line(name, rows):
    inputs, took, cpu = (sum(float(row[column]) for row in rows) for column in ("inputs", "seconds", "cpu_seconds"))
    bad = sum(row["status"] not in (0, "0") for row in rows)
    return "%-9s %9d inputs in %6.0f s (%6.0f s of CPU time, %6.0f inputs a second of it), at most %4d MB: %s" % (
        name, inputs, took, cpu, inputs / cpu if cpu else 0, max((int(row["mb"]) for row in rows), default=0),
        "%d findings" % bad if bad else "nothing found")


def print_sums(rows):
    """A line a fuzzer and one for all; true: nothing was found."""
    for name in sorted({row["fuzzer"] for row in rows}):
        print(line(name, [row for row in rows if row["fuzzer"] == name]))
    print(line("all", rows))
    print("each within %d s and %d MB, under AddressSanitizer and UndefinedBehaviorSanitizer" % (
        INPUT_SECONDS, MEMORY_MB), flush=True)
    return all(row["status"] in (0, "0") for row in rows)


def run_all(names, arguments, build):
    """Round by round, so that a run that is ended early has had some of each."""
    share = sum(SHARES.get(name, 5) for name in names)
    seed, rows = arguments.seed or random.randrange(1, 1 << 31), []
    rounds = -(-(arguments.inputs or 1) // ROUND_INPUTS)
    for number in range(rounds):
        for name in names:
            if arguments.inputs:
                bound = "-runs=%d" % -(-arguments.inputs * SHARES.get(name, 5) // (share * rounds))
            elif arguments.seconds:
                bound = "-max_total_time=%d" % arguments.seconds
            else:
                bound = "-runs=%d" % arguments.runs
            row, output = run(name, build, seed + number, bound)
            rows.append(row)
            if row["status"]:
                print("%s, seed %d: status %d\n%s" % (name, seed + number, row["status"], output[-6000:]), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(HERE, "..", "..", "build-fuzz"))
    parser.add_argument("--inputs", type=lambda text: int(float(text)), help="in all, for example 1e7")
    parser.add_argument("--runs", type=int, default=100000)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--seed", type=int, default=1, help="of the generator; 0: another one each time")
    parser.add_argument("--sum", action="store_true", help="of the log, nothing is run")
    parser.add_argument("name", nargs="*")
    arguments = parser.parse_args()
    build = os.path.abspath(arguments.build)
    names = arguments.name or fuzzers()
    if arguments.sum:
        with open(os.path.join(build, "fuzz", "log.csv"), newline="") as f:
            rows = [row for row in csv.DictReader(f) if row["fuzzer"] in names]
    else:
        rows = run_all(names, arguments, build)
    return 0 if print_sums(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
