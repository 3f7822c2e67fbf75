#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Unpacks the cores of corefiles/MANIFEST.toml and compares heapwalk's answers with their oracles.

Only what the repository has is used: `--sysroot` leads to the trimmed ELF files.
"""

import hashlib
import itertools
import lzma
import os
import shutil
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
COREFILES = os.path.join(HERE, "..", "..", "corefiles")
sys.path.insert(0, os.path.join(HERE, "..", "matrix"))

import checks  # noqa: E402
import oracles  # noqa: E402
from process import heapwalk_command, run_heapwalk  # noqa: E402


def unpack(row, path):
    """The row's file, unpacked to `path`; what was committed is what the manifest says."""
    with open(os.path.join(COREFILES, row["file"]), "rb") as f:
        packed = f.read()
    if (len(packed), hashlib.sha256(packed).hexdigest()) != (row["size"], row["sha256"]):
        raise SystemExit("FAIL %s is not the file of the manifest" % row["file"])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(lzma.decompress(packed))


def chunk_lines(path):
    with open(path) as f:
        lines = [line.split(None, 2) for line in f]
    return [(int(a, 16), int(size), state.strip()) for a, size, state in lines]


def check(row, core, directory, sysroot):
    failures = []

    def take(lines):
        failures.extend(itertools.islice(lines, 6))

    def ask(command, schema):
        words = ["-c", core, "--sysroot", sysroot] + command + ["--format", "json"]
        answer = run_heapwalk(heapwalk_command(), words)
        if answer.returncode or answer.stderr:
            failures.append("%s: status %d: %s" % (" ".join(command) or "heap", answer.returncode, answer.stderr.strip()))
            return None
        take(checks.sound(answer.report, schema))
        return answer.report

    # Threads meet blocks in another order each time; what they say of them is the same.
    one, two = (run_heapwalk(heapwalk_command(), ["-c", core, "--sysroot", sysroot, "all", "--format", "json",
                                                  "--threads", n]).rows_text() for n in "12")
    if not one or one != two:
        failures.append("all: other rows with two threads than with one")
    truth = oracles.Oracles(directory)
    truth.expect.setdefault("glibc", [int(n) for n in row["target"]["libc"].split()[1].split(".")])
    with open(os.path.join(directory, "maps")) as f:
        mappings = oracles.parse_mappings(f.read())
    everything, arenas, census = ask(["all"], "all"), ask(["arenas"], "arenas"), ask([], "census")
    if not (everything and arenas and census):
        return failures
    rows = checks.Rows(everything)
    writable = oracles.private_writable(mappings)
    take(checks.ledger(rows, writable, sum(m.end - m.start for m in writable)))
    take(checks.nothing_dead_is_alive(rows))
    take(checks.nothing_unknown_in_heaps(rows))
    take(checks.glibc(arenas, truth))
    take(checks.glibc_rows(rows, arenas))
    take(checks.summary(census, rows, sum(m.end - m.start for m in writable)))
    chunks = os.path.join(directory, "chunks")
    if os.path.exists(chunks):
        take(checks.chunks(rows, chunk_lines(chunks)))
    if "python" in row["target"]:
        version = tuple(int(n) for n in row["target"]["python"].split("."))
        allocators = ask(["cpython-allocators"], "cpython-allocators")
        if allocators:
            take(checks.pymalloc(allocators, truth))
            take(checks.pymalloc_rows(rows, allocators))
        # The files' debug information is trimmed to what a table of blocks needs: no sizes of free lists' types.
        stats = run_heapwalk(heapwalk_command(), ["-c", core, "--sysroot", sysroot, "stats"])
        text = stats.stdout.decode().splitlines(True)
        if stats.returncode != 1 or "keeps its free lists" not in text.pop():
            failures.append("stats ends with status %d: %s" % (stats.returncode, stats.stderr))
        wanted = truth.stats_text.splitlines(True)
        take(checks.same_text("".join(text), "".join(line for line in wanted if " bytes each =" not in line)))
        take(checks.census(rows, truth.census(), mappings,
                           {"version": version, "values_inline": False, "debug_bytes": 0}))
        take(checks.buffers(rows, truth.census(), mappings))
        take(checks.exact_counts(rows, truth.expect["counts"]))
    return failures


def main():
    try:
        import tomllib
    except ImportError:
        print("skip: reading the manifest needs Python 3.11 or later (tomllib)")
        return 77
    with open(os.path.join(COREFILES, "MANIFEST.toml"), "rb") as f:
        manifest = tomllib.load(f)
    failed = False
    work = tempfile.mkdtemp(prefix="heapwalk-corefiles-")
    try:
        sysroot = os.path.join(work, "root")
        for row in manifest["file"]:
            unpack(row, sysroot + row["path"])
        for row in manifest["core"]:
            directory = os.path.join(work, row["name"])
            core = os.path.join(directory, "core")
            unpack(row, core)
            for oracle in row["oracles"]:
                with lzma.open(os.path.join(COREFILES, "cores", "%s.%s.xz" % (row["name"], oracle))) as packed:
                    with open(os.path.join(directory, oracle), "wb") as f:
                        f.write(packed.read())
            failures = check(row, core, directory, sysroot)
            print("%s %s: %s" % ("FAIL" if failures else "ok  ", row["name"], row["purpose"]))
            for line in failures:
                print("     " + line)
            failed |= bool(failures)
    finally:
        shutil.rmtree(work)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
