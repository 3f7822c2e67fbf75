#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""heapwalk on another machine: compiled for aarch64, run by qemu-user, on cores of this machine and of others.

  tests/foreign/host.py [--core malloc_mix] [--core 3.11] ...

It must print, byte for byte, what this machine's heapwalk prints of the same core, with the same status: with
pages of 4 KiB and of 64 KiB, and what it saves must be the same snapshot. Its unit tests run there too.
Cross-compiled into --build against the libraries of a chroot (tests/matrix/foreign.sh --build arm64), with the
packages gcc-aarch64-linux-gnu and g++-aarch64-linux-gnu. Status: 0 all passed, 1 something differs, 77 it can't
be made here.
"""

import argparse
import concurrent.futures
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import foreign
from foreign import ForeignTarget

import interpreters
from process import Target, TestError, heapwalk_command, say, target_command

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.normpath(os.path.join(HERE, "../.."))
SELFTESTS = ["classes", "sqlite", "gobject", "ssl", "xml", "zlib"]  # by what development packages there are
WORKLOAD = "containers+threads"  # qemu-user is twenty times as slow: no large ones
COMMANDS = [
    ["census"], ["all", "--format", "json"], ["all", "--format", "csv"], ["sizes", "--format", "json"],
    ["select", "--by", "type", "--format", "json"], ["arenas", "--format", "json"], ["arena", "0", "--format", "json"],
    ["cpython-allocators", "--format", "json"], ["stats"], ["pins", "--format", "json"], ["map", "--format", "json"],
    ["retained", "--top", "10", "--format", "json"], ["all", "--debug", "--format", "json"],
]
QUICK = [["all", "--format", "json"], ["pins", "--format", "json"], ["map", "--format", "json"]]  # for other pages
WHEN = re.compile(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # a snapshot was saved
ADDRESSES = 2  # that are asked about in each core
QUESTIONS = [["explain"], ["referrers", "--format", "json"], ["path", "--format", "json"], ["hexdump"]]


class Program(Target):
    """A program that says `word` and waits for the end of its input."""

    def __init__(self, word, *command):
        self.word = word.encode()
        hold = ["sh", "-c", 'mkfifo hold && exec "$@" <>hold', "sh"]
        super().__init__(hold + list(command), {})

    def expect_line(self, wanted):
        for line in self.process.stdout:
            if line.startswith(self.word):
                return
        raise TestError("%r ended before it said %r; its stderr: %s" % (self.command, self.word, self.stderr()[-2000:]))

    def wait_until_paused(self):
        pass


# ---- what is looked at ----

def programs(build):
    yield "malloc_mix", lambda: Program("ready", build + "/bin/malloc_mix", "threads", "mmapped", "foreign",
                                        "noncontiguous")
    yield "native_target", lambda: Program("ready", build + "/bin/native_target")
    for name in SELFTESTS:
        path = build + "/bin/selftest_" + name
        if os.path.exists(path):
            yield name, lambda path=path: Program("stop", path)
    yield "service", lambda: Program("ready", "/usr/bin/python3", TOP + "/tests/samples/service.py", "2000")
    for interpreter in interpreters.find()[0]:
        yield interpreter.name, lambda i=interpreter: Target(target_command(i, WORKLOAD), {}, root=i.root)


@contextlib.contextmanager
def made_here(start, number):
    """(directory, where) of a core by gcore, or by the kernel: every other one."""
    with start() as target:
        core = target.gcore(0x33) if number % 2 else target.abort(0x33)
        yield target.directory, ["-c", core] + (["--sysroot", target.root] if target.root else [])


@contextlib.contextmanager
def made_elsewhere(architecture, root):
    with ForeignTarget(architecture, ["/usr/bin/python3", "target.py", WORKLOAD, "{directory}"], {}, root) as target:
        yield target.directory, ["-c", target.core(), "--sysroot", root]


def cases(build, roots):
    """(name, a context that gives (directory, words that name the core))"""
    for number, (name, start) in enumerate(programs(build)):
        yield name, made_here(start, number)
    for architecture, root in roots:
        yield "python3-" + architecture, made_elsewhere(architecture, root)


# ---- both ----

def ask(heapwalk, words, directory, page_bytes=None):
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    environment.pop("QEMU_PAGESIZE", None)
    if page_bytes:
        environment["QEMU_PAGESIZE"] = str(page_bytes)
    done = subprocess.run([heapwalk] + words, cwd=directory, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=1800)
    return done.returncode, WHEN.sub(b"when", done.stdout), done.stderr


def first_difference(mine, theirs):
    at = next((i for i, (a, b) in enumerate(zip(mine, theirs)) if a != b), min(len(mine), len(theirs)))
    return "byte %d of %d and %d: %r, here %r" % (at, len(mine), len(theirs), mine[at - 20 : at + 60],
                                                  theirs[at - 20 : at + 60])


class Comparison:
    def __init__(self, here, there, where):
        self.here, self.there, self.where = here, there, where
        self.failures, self.count, self.bytes = [], 0, 0
        self.pool = concurrent.futures.ThreadPoolExecutor(2)
        # Each saves below a folder of its own, under the same name.
        self.folders = [tempfile.mkdtemp(prefix="heapwalk-host-") for _ in range(2)]

    def close(self):
        self.pool.shutdown()
        for folder in self.folders:
            shutil.rmtree(folder)

    def same(self, words, page_bytes=None):
        """This machine's answer."""
        there = self.pool.submit(ask, self.there, self.where + words, self.folders[1], page_bytes)
        here = ask(self.here, self.where + words, self.folders[0])
        for name, mine, theirs in zip(("status", "output", "standard error"), there.result(), here):
            if mine != theirs:
                how = "%r, here %r" % (mine, theirs) if name == "status" else first_difference(mine, theirs)
                self.failures.append("%s%s: %s differs: %s" % (
                    " ".join(words), " (pages of %d)" % page_bytes if page_bytes else "", name, how))
        self.count += 1
        self.bytes += len(here[1])
        return here

    def snapshots(self):
        status, _, errors = self.same(["save", "snapshot"])
        paths = [folder + "/snapshot" for folder in self.folders]
        if status not in (0, 1):
            return
        if not all(os.path.exists(path) for path in paths):
            self.failures.append("save: no snapshot (status %d): %r" % (status, errors))
            return
        answer = subprocess.run([self.here, "diff"] + paths + ["--format", "csv"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        rows = [line for line in answer.stdout.splitlines()[1:] if not line.startswith(b"#")]
        if answer.returncode != status or rows:
            self.failures.append("diff of the two snapshots ends with status %d, %d rows: %s" % (
                answer.returncode, len(rows), answer.stderr.decode(errors="replace")))


def addresses(csv):
    """Of a handful of blocks in use, all over the heap."""
    rows = [line.split(",") for line in csv.decode(errors="replace").splitlines()]
    column = {name: i for i, name in enumerate(rows[0])}
    used = [row[column["start"]] for row in rows[1:] if len(row) == len(column) and row[column["state"]] == "in use"]
    return [used[len(used) * i // ADDRESSES] for i in range(ADDRESSES)] if used else []


def compare(here, there, where):
    comparison = Comparison(here, there, where)
    try:
        found = []
        for words in COMMANDS:
            answer = comparison.same(words)
            if words == ["all", "--format", "csv"]:
                found = addresses(answer[1])
                if answer[0] not in (0, 1) or not found:
                    comparison.failures.append("all ends with status %d, %d bytes: %r" % (
                        answer[0], len(answer[1]), answer[2]))
        for address in found:
            for question in QUESTIONS:
                comparison.same(question[:1] + [address] + question[1:])
        comparison.snapshots()
        for words in QUICK:
            comparison.same(words, 65536)
    finally:
        comparison.close()
    return comparison


# ---- making it ----

def why_not(roots):
    root = dict(roots).get("arm64")
    if not root:
        return "no chroot of arm64 (tests/matrix/foreign.sh --build arm64)"
    if not all(os.path.exists(root + "/usr/include/" + header) for header in ("elfutils/libdw.h", "sqlite3.h", "libdeflate.h")):
        return "%s has no libraries to compile against (tests/matrix/foreign.sh --build arm64)" % root
    for program in "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", "cmake":
        if not shutil.which(program):
            return "no %s (packages gcc-aarch64-linux-gnu, g++-aarch64-linux-gnu, cmake)" % program
    return None


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise TestError("%s: %s" % (" ".join(command[:4]), done.stdout.decode(errors="replace")[-3000:]))
    return done.stdout.decode(errors="replace")


def make(build, root, cmake_options):
    run(["cmake", "-S", TOP, "-B", build, "-DCMAKE_TOOLCHAIN_FILE=" + HERE + "/aarch64.cmake", "-DHEAPWALK_SYSROOT=" + root,
         "-DHEAPWALK_WERROR=ON"] + cmake_options)
    run(["cmake", "--build", build, "--parallel", str(len(os.sched_getaffinity(0)))])


def unit_tests(build):
    text = run(["ctest", "--test-dir", build, "-L", "unit", "--output-on-failure"])
    return next(line for line in text.splitlines() if "tests passed" in line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heapwalk", default=heapwalk_command(), help="the command of this machine")
    parser.add_argument("--build", help="where to compile the other one (default aarch64 beside the former's bin)")
    parser.add_argument("--core", action="append", help="only cores whose name has this in it; no unit tests")
    parser.add_argument("cmake", nargs="*", help="options for cmake")
    options = parser.parse_args()
    here = os.path.abspath(options.heapwalk)
    native = os.path.dirname(os.path.dirname(here))
    build = os.path.abspath(options.build or os.path.join(native, "aarch64"))
    roots, missing = foreign.roots()
    reason = why_not(roots)
    if reason:
        say("skip: " + reason)
        return 77
    for line in missing:
        say("skip: " + line)
    failed = count = 0
    started = time.monotonic()
    try:
        make(build, dict(roots)["arm64"], options.cmake)
        there = os.path.join(build, "bin", "heapwalk")
        say("ok   compiled %s (%.1f s)" % (run([there, "--version"]).strip(), time.monotonic() - started))
        if not options.core:
            say("ok   unit tests: " + unit_tests(build))
    except TestError as error:
        say("FAIL " + str(error))
        return 1
    for name, case in cases(native, roots):
        if options.core and not any(word in name for word in options.core):
            continue
        started = time.monotonic()
        count += 1
        try:
            with case as (_, where):
                result = compare(here, there, where)
            failures = result.failures
            what = "%d answers, %d bytes" % (result.count, result.bytes)
        except (TestError, subprocess.TimeoutExpired) as error:
            failures, what = [str(error)], "failed"
        say("%s %s (%s, %.1f s)" % ("FAIL" if failures else "ok  ", name, what, time.monotonic() - started))
        for line in failures[:8]:
            say("     " + line)
        failed += bool(failures)
    say("%d of %d passed" % (count - failed, count))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
