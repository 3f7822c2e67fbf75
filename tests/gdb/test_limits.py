# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb-heap's twenty limits: each has its tests (limits.md), and those that no other test shows are here."""

import os
import re
import subprocess
import sys
import tempfile

from support import (BUILD, HEAPWALK, HERE, TOP, check, check_equal, gcore, gdb, gdb_json, heapwalk_json, main,
                     running)

sys.path.insert(0, str(TOP / "gdbext"))
from heapwalk import api, ffi  # pylint: disable=wrong-import-position
from heapwalk_gdb import maps  # pylint: disable=wrong-import-position

LIMITS = 20
BYTES_A_BLOCK = 32

MANY = """
import os, sys
class Many(object):
    __slots__ = ()
kept = [Many() for _ in range(int(sys.argv[1]))]
sys.stdout.write("ready\\n")
sys.stdout.flush()
os.read(0, 1)
"""


def many(count, interpreter=sys.executable):
    return running(interpreter, "-c", MANY, count)


# ---- the table ----

def test_table():
    listed = subprocess.run(["ctest", "-N"], cwd=BUILD, capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^  Test +#\d+: (\S+)$", listed, re.MULTILINE))
    check("gdb.limits" in names, "ctest lists", sorted(names))
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", (HERE / "limits.md").read_text(encoding="utf-8"), re.MULTILINE)
    check_equal([int(number) for number, _tests in rows], list(range(1, LIMITS + 1)), "limits in the table")
    for number, tests in rows:
        words = tests.split()
        check(words and all(re.fullmatch("`[^`]+`", word) for word in words), "limit", number, "has no test:", tests)
        for word in words:
            name, _colon, function = word.strip("`").partition(":")
            # The matrix is of the interpreters that this machine has.
            check(name in names or name.startswith("matrix."), "limit", number, "has a test that is not there:", name)
            if function:
                folder, stem = name.split(".")
                source = (TOP / "tests" / folder / ("test_%s.py" % stem)).read_text(encoding="utf-8")
                check(re.search(r"^ *def %s\(" % function, source, re.MULTILINE), name, "has no", function)


# ---- 3 ----

def test_references():
    """70,000 objects of one type: 70,000 references to it and more."""
    with many(70000) as process:
        report = gdb_json("heap", "-p", process.pid)
    check_equal([row["count"] for row in report["rows"] if row["kind"] == "Many"], [70000], "objects of one type")


# ---- 8 ----

def test_core_of_a_living_pid():
    """The process of the core's pid lives, and has run on: the core is what it was."""
    def mine(report):
        return sorted(row["size"] for row in report["rows"]
                      if row["domain"] == "uncategorized" and 5000 <= row["size"] <= 7008)

    with running(BUILD / "bin" / "selftest_blocks", "growing", until=b"stop") as process, \
            tempfile.TemporaryDirectory() as folder:
        core = os.path.join(folder, "core")
        gcore(process, core)
        process.stdin.write(b"\n")
        process.stdin.flush()
        while process.stdout.readline() != b"stop\n":
            pass
        check_equal(mine(gdb_json("heap used", "-p", process.pid)), [5008, 6016, 7008], "the process, later")
        check_equal(mine(gdb_json("heap used", "-c", core)), [], "its core, from before")


# ---- 9 ----

def test_not_python():
    """No CPython is a sentence, never an empty table."""
    with running(BUILD / "bin" / "selftest_blocks", "three", until=b"stop") as process:
        gdb(["heap cpython-allocators"], "-p", process.pid, status=1, errors=[r"No CPython was found in this process: .*"])
        census = gdb(["heap"], "-p", process.pid).out
    check("coverage: 100 % of heap bytes seen" in census and "facts: no CPython" in census, census)


# ---- 10, 11 ----

class CountedReads:
    """A process that is read by callbacks, as a remote target is."""

    def __init__(self, process):
        self.calls = 0
        self._memory = open("/proc/%d/mem" % process.pid, "rb", buffering=0)  # pylint: disable=consider-using-with
        with open("/proc/%d/maps" % process.pid, encoding="utf-8") as file:
            self.session = ffi.Session(api.library(), {"threads": 1}).open_callbacks(
                self._read, maps.parse_kernel(file.read()), process.pid)

    def _read(self, address, length):
        self.calls += 1
        try:
            self._memory.seek(address)
            return self._memory.read(length)
        except (OSError, ValueError, OverflowError):
            return None

    def run(self, *words):
        """How many reads a command makes."""
        before = self.calls
        self.session.run(list(words), lambda text: None)
        return self.calls - before

    def close(self):
        self.session.close()
        self._memory.close()


# A child's peak is at least what its parent had: the parent is a small one.
MEASURE = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_pid, status, usage = os.wait4(child, 0)
print(status, usage.ru_maxrss)
"""


def peak_bytes(pid):
    """Most memory that a census of a process took."""
    command = [sys.executable, "-S", "-c", MEASURE, HEAPWALK, "-p", str(pid), "--threads=1", "--output=/dev/null"]
    status, kilobytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    check_equal(status, "0", "status of a census")
    return int(kilobytes) * 1024


def test_reads_and_memory():
    few, some, more = 50000, 500000, 1500000
    with many(few) as process:
        reads = CountedReads(process)
        census = reads.run("census")
        rows = reads.run("select", "kind = 'Many'")
        reads.close()
        floor = peak_bytes(process.pid)
    check(0 < census < few / 20, "a census of", few, "objects takes", census, "reads")
    check(rows < few / 20, "listing", few, "objects takes", rows, "reads")
    # Two big ones: buffers of a fixed size are full in both.
    with many(some) as process:
        small = peak_bytes(process.pid)
    with many(more) as process:
        blocks = heapwalk_json("-p", process.pid)["total"]["in_use_count"]
        big = peak_bytes(process.pid)
    check(blocks > more, "blocks:", blocks)
    each = (big - small) / (more - some)
    # The peak may be before the walk, where debug information is read: then no number of blocks here raises it.
    check(each > 1 or big < floor * 1.02, "a census takes", each, "bytes of its own for each block: none?")
    check(each < BYTES_A_BLOCK, "a census takes", each, "bytes of its own for each block")
    print("%d reads for %d blocks, %.1f bytes for each" % (census, few, each))


# ---- 12 ----

def test_one_uncategorized_row():
    with running(BUILD / "bin" / "selftest_blocks", "stairs", until=b"stop") as process:
        rows = gdb_json("heap", "-p", process.pid)["rows"]
        sizes = gdb_json("heap -by size", "-p", process.pid)["rows"]
    check_equal(len([row for row in rows if row["domain"] == "uncategorized"]), 1, "rows without a category")
    counts = {row["size"]: row["count"] for row in sizes if row["domain"] == "uncategorized"}
    check_equal([counts[number << 10] for number in range(1, 11)], list(range(1, 11)), "by size")


def test():
    test_table()
    test_references()
    test_core_of_a_living_pid()
    test_not_python()
    test_one_uncategorized_row()
    test_reads_and_memory()


main(test)
