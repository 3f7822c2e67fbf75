#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs heapwalk on damaged copies of the cores of corefiles/: whatever a core says, heapwalk answers.

A mutant is made from a seed and its number alone: `--seed S --only N` makes it again, `--keep FILE` keeps it.
`--also CORE[:SYSROOT]` damages a core of this machine's as well (of mimalloc, of another architecture, of no GIL).
Best with a build with sanitizers (-DHEAPWALK_SANITIZE=ON); HEAPWALK_BUILD names the build.
"""

import argparse
import concurrent.futures
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
COREFILES = os.path.join(HERE, "..", "..", "corefiles")
for folder in ("corefiles", "matrix"):
    sys.path.insert(0, os.path.join(HERE, "..", folder))

from process import heapwalk_command  # noqa: E402
from test_corefiles import unpack  # noqa: E402

COMMANDS = [
    ["all", "--format", "json"],
    [],
    ["cpython-allocators"],
    ["all", "--format", "csv", "--debug"],
    ["arenas", "--debug"],
    ["used", "--by", "size"],
    ["--threads", "1", "--by", "type"],
    ["map"],
    ["pins", "--format", "json"],
    ["arena", "0"],
    ["--by", "arena"],
    ["--by", "module"],
    ["cpython-allocators", "--debug"],
    ["stats", "--explain"],
    ["explain", "{address}"],
    ["cpython-allocators", "--lists", "--format", "csv"],
    ["explain", "{address}", "--format", "json"],
    ["retained", "--format", "json"],
    ["path", "{address}"],
    ["retained", "--by", "type"],
]
STATUSES = {0, 1, 2, 3, 4}  # README.md, "Exit status"
CPU_SECONDS = 20  # an undamaged core takes less than one, with sanitizers a few
MEMORY_MB = 2048
SANITIZER_STATUS = 99
ABSURD = [
    0, 1, 7, 0xFF, 0x1000, 1 << 16, 1 << 20, 1 << 24, (1 << 24) + 1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1,
    1 << 32, (1 << 40) - 1, 1 << 46, (1 << 47) - 4096, 1 << 47, 1 << 48, (1 << 62) + 8, (1 << 63) - 1, 1 << 63,
    (1 << 64) - 4096, (1 << 64) - 16, (1 << 64) - 8, (1 << 64) - 1,
]
PAGE = 4096


class Core:
    """A core's bytes, and where its memory is in them."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.bytes = f.read()
        is_32 = self.bytes[4] == 1
        self.word_format, self.word_bytes = ("<I", 4) if is_32 else ("<Q", 8)
        offset, = struct.unpack_from(self.word_format, self.bytes, 28 if is_32 else 32)
        count, = struct.unpack_from("<H", self.bytes, 44 if is_32 else 56)
        row_bytes = 32 if is_32 else 56
        self.segments, self.notes = [], []
        for i in range(count):
            if is_32:
                kind, at, address, _, size, _, flags = struct.unpack_from("<7I", self.bytes, offset + i * row_bytes)
            else:
                kind, flags, at, address, _, size = struct.unpack_from("<IIQQQQ", self.bytes, offset + i * row_bytes)
            if kind == 4:
                self.notes.append((at, size))
            elif kind == 1 and size and flags & 2:
                self.segments.append((at, address, size))
        self.headers_end = offset + count * row_bytes
        # By segment, so that a small one (an interpreter's own data) is damaged as often as a large one.
        self.words, self.pointers, self.small = [], [], []
        width = self.word_bytes
        for at, _, size in self.segments:
            values = memoryview(self.bytes[at : at + size // width * width]).cast("I" if is_32 else "Q")
            step = PAGE // width
            pages = [i for i in range(0, len(values), step) if any(values[i : i + step])]
            words = [i for page in pages for i in range(page, min(page + step, len(values))) if values[i]]
            for places, low, high in ((self.words, 1, 1 << 64), (self.pointers, 1 << 16, 1 << 47), (self.small, 1, 1 << 20)):
                found = [at + i * width for i in words if low <= values[i] < high]
                if found:
                    places.append(found)

    def address(self, at):
        """What the byte at this place of the file is in memory."""
        for start, address, size in self.segments:
            if start <= at < start + size:
                return address + at - start
        return 0


class Mutant:
    """A damaged copy of a core; `story` says how."""

    def __init__(self, core, name, seed, number):
        self.random = random.Random("%s:%s" % (seed, number))
        self.core, self.name = core, name
        self.bytes = bytearray(core.bytes)
        self.story = []
        kinds = [self.pointers] * 5 + [self.counts] * 4 + [self.flips] * 3 + [self.links] * 3 + [
            self.pages] * 2 + [self.headers, self.truncation]
        for kind in self.random.sample(kinds, self.random.choice([1, 1, 2, 3])):
            kind()

    def times(self):
        return self.random.choice([1, 3, 10, 100, 1000, 10000])

    def word(self, places=None):
        """Where a word of writable memory is that is not zero."""
        return self.random.choice(self.random.choice(places or self.core.words))

    def pointer(self):
        return self.word(self.core.pointers)

    def value(self, at):
        core = self.core
        return struct.unpack_from(core.word_format, self.bytes, at)[0] if at + core.word_bytes <= len(self.bytes) else 0

    def put(self, at, value):
        core = self.core
        if at + core.word_bytes <= len(self.bytes):
            struct.pack_into(core.word_format, self.bytes, at, value & (1 << 8 * core.word_bytes) - 1)

    def pointers(self):
        """Pointers that lead elsewhere: to another's object, to themselves, next to it, nowhere."""
        n = self.times()
        self.story.append("%d pointers" % n)
        for _ in range(n):
            at = self.pointer()
            old = self.value(at)
            self.put(at, self.random.choice([
                lambda: self.value(self.pointer()), lambda: self.core.address(at), lambda: old + 8,
                lambda: old - 16, lambda: old | 1, lambda: old ^ 1 << self.random.randrange(64), lambda: 0,
                lambda: self.core.address(self.word()), lambda: self.random.choice(ABSURD)])())

    def links(self):
        """Pages in which every pointer leads to one place, or each to the next: long lists, rings."""
        n = min(self.times(), 100)
        self.story.append("%d pages of links" % n)
        for _ in range(n):
            page = self.word() // PAGE * PAGE
            to, step = self.value(self.pointer()), self.random.choice([0, 0, 8, 16, 64])
            for at in range(page, min(page + PAGE, len(self.bytes)) - 7, self.core.word_bytes):
                if 1 << 16 < self.value(at) < 1 << 47:
                    self.put(at, to)
                    to += step

    def counts(self):
        n = self.times()
        self.story.append("%d counts" % n)
        for _ in range(n):
            at = self.word(self.core.small)
            value = self.random.choice(ABSURD)
            if self.random.random() < 0.3 and at + 8 <= len(self.bytes):  # one of two ints
                struct.pack_into("<I", self.bytes, at + self.random.choice([0, 4]), value & 0xFFFFFFFF)
            else:
                self.put(at, value)

    def flips(self):
        n = self.times()
        self.story.append("%d bits" % n)
        for _ in range(n):
            at = self.word() + self.random.randrange(8)
            if at < len(self.bytes):
                self.bytes[at] ^= 1 << self.random.randrange(8)

    def pages(self):
        n = min(self.times(), 1000)
        self.story.append("%d pages" % n)
        for _ in range(n):
            to, source = (self.word() // PAGE * PAGE for _ in range(2))
            page = self.random.choice([bytes(self.bytes[source : source + PAGE]), bytes(PAGE), b"\xff" * PAGE])
            if to + PAGE <= len(self.bytes) and len(page) == PAGE:
                self.bytes[to : to + PAGE] = page

    def headers(self):
        """ELF header, program headers, notes."""
        n = min(self.times(), 100)
        self.story.append("%d of the headers" % n)
        for _ in range(n):
            start, size = self.random.choice([(16, 48), (64, self.core.headers_end - 64)] + self.core.notes)
            at = start + self.random.randrange(max(size // 8, 1)) * 8
            if at + 8 > len(self.bytes):
                continue
            self.put(at, self.random.choice([
                self.random.choice(ABSURD), self.value(at) ^ 1 << self.random.randrange(64),
                self.value(start + self.random.randrange(max(size // 8 - 1, 1)) * 8)]))

    def truncation(self):
        self.story.append("truncated")
        del self.bytes[self.random.choice([
            self.random.randrange(len(self.bytes)), self.random.randrange(PAGE),
            self.random.randrange(len(self.bytes)) // PAGE * PAGE]) :]


def limits(is_sanitized):
    def apply():
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if not is_sanitized:  # a sanitizer's shadow takes terabytes of addresses
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, MEMORY_MB << 20))
    return apply


def environment():
    sanitizer = "exitcode=%d:detect_leaks=1:hard_rss_limit_mb=%d:max_allocation_size_mb=%d" % (
        SANITIZER_STATUS, MEMORY_MB, MEMORY_MB)
    return dict(os.environ, ASAN_OPTIONS=sanitizer, UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")


def run(heapwalk, is_sanitized, core, sysroot, command):
    """What is wrong with heapwalk's answer, or None."""
    words = [heapwalk, "-c", core] + (["--sysroot", sysroot] if sysroot else []) + command
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            preexec_fn=limits(is_sanitized), env=environment(), timeout=CPU_SECONDS * 20)
    except subprocess.TimeoutExpired:
        return "no answer within %d seconds" % (CPU_SECONDS * 20)
    errors = done.stderr.decode(errors="replace")
    if done.returncode in (-9, -24):
        return "no answer within %d seconds of CPU time" % CPU_SECONDS
    if done.returncode not in STATUSES or "Sanitizer" in errors or "runtime error:" in errors:
        return "status %d\n%s" % (done.returncode, errors[:6000])
    if "out of memory" in errors.lower():
        return "wants more than %d MB: %s" % (MEMORY_MB, errors[:1000])
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=36, help="mutants in all (default: 36)")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--only", type=int, help="just this mutant, with every command")
    parser.add_argument("--core", help="only mutants of this core")
    parser.add_argument("--also", metavar="CORE[:SYSROOT]", action="append", default=[], help="a core of this machine's too")
    parser.add_argument("--keep", help="with --only: write the mutant here")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    also = {core: root or None for core, _, root in (word.partition(":") for word in options.also)}
    try:
        import tomllib
    except ImportError:
        print("skip: reading the manifest needs Python 3.11 or later (tomllib)")
        return 77
    with open(os.path.join(COREFILES, "MANIFEST.toml"), "rb") as f:
        manifest = tomllib.load(f)
    heapwalk = heapwalk_command()
    with open(heapwalk, "rb") as f:
        is_sanitized = b"__asan_init" in f.read()
    work = tempfile.mkdtemp(prefix="heapwalk-mutation-")
    sysroot = os.path.join(work, "root")
    failed, lock = [], threading.Lock()

    def check(number):
        name, core = cores[number % len(cores)]
        mutant = Mutant(core, name, options.seed, number)
        path = os.path.join(work, "mutant-%d" % number)
        with open(path, "wb") as f:
            f.write(mutant.bytes)
        if options.keep:
            shutil.copy(path, options.keep)
        command = COMMANDS[number // len(cores) % len(COMMANDS)]
        # Some word of the core's memory, or what it points at.
        at = mutant.word()
        address = "%#x" % mutant.random.choice([mutant.core.address(at), mutant.value(at)])
        for words in COMMANDS if options.only is not None else [command]:
            words = [address if word == "{address}" else word for word in words]
            wrong = run(heapwalk, is_sanitized, path, also.get(name, sysroot), words)
            if wrong:
                with lock:
                    failed.append(number)
                    print("FAIL --seed %s --only %d: %s with %s, heapwalk %s: %s" % (
                        options.seed, number, name, ", ".join(mutant.story), " ".join(words), wrong), flush=True)
        os.unlink(path)

    try:
        for row in manifest["file"]:
            unpack(row, sysroot + row["path"])
        cores = []
        for row in manifest["core"]:
            path = os.path.join(work, row["name"])
            unpack(row, path)
            cores.append((row["name"], Core(path)))
            wrong = run(heapwalk, is_sanitized, path, sysroot, COMMANDS[0])
            if wrong:
                raise SystemExit("FAIL %s, undamaged: %s" % (row["name"], wrong))
            os.unlink(path)
        for name, root in also.items():
            cores.append((name, Core(name)))
            wrong = run(heapwalk, is_sanitized, name, root, COMMANDS[0])
            if wrong:
                raise SystemExit("FAIL %s, undamaged: %s" % (name, wrong))
        numbers = range(options.first, options.first + options.count)
        if options.only is not None:
            numbers = [options.only]
        if options.core:
            numbers = [n for n in numbers if cores[n % len(cores)][0] == options.core]
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for _ in pool.map(check, numbers):
                pass
    finally:
        shutil.rmtree(work)
    print("%d mutants of %d cores with seed %s%s: %d failed" % (
        len(numbers), len(cores), options.seed, ", sanitized" if is_sanitized else "", len(set(failed))))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
