#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A point release that nobody has seen: its facts are proved, or a sentence says that they are not.

Cores of stripped interpreters are forged: their version is one that does not exist yet, and what they say of
themselves, or what proofs rest on, is changed. A row may then say less than that of the true core, and never
anything else. Status: 0 all as it should be, 1 not, 77 nothing to test.
"""

import csv
import io
import itertools
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "matrix"))

import interpreters  # noqa: E402
from process import Target, heapwalk_command, run_heapwalk, say, target_command  # noqa: E402
from stripped import make_copy  # noqa: E402

NOWHERE = "/nonexistent"
ROWS = os.path.join(HERE, "..", "..", "libheapwalk", "layout", "rows.def")
NEW_RELEASE = 77
# Of _Py_DebugOffsets: what may have moved in a point release, and what makes it another Python.
MOVES = ("interpreters_head", "interp_size", "interp_id", "interp_next", "interp_threads", "interp_modules",
         "tstate_next", "tstate_interp")
STAYS = ("object_size", "ob_type", "type_size", "tp_name", "list_items", "str_length")
# What a row may say that does not know better: {(domain, kind)}.
KNOWS_NOTHING = {("uncategorized", ""), ("unknown", "anonymous mapping"), ("C", "string data")}


def segments(data):
    """(address, bytes in the file, offset) of what an ELF file maps."""
    phoff, = struct.unpack_from("<Q", data, 32)
    count, = struct.unpack_from("<H", data, 56)
    for i in range(count):
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, phoff + 56 * i)
        if kind == 1:
            yield address, size, offset


def offset_of(data, address):
    return [offset + address - start for start, size, offset in segments(data) if start <= address < start + size][0]


def facts_of(version):
    """{fact: value} of rows.def, of that release build."""
    build = version[0] << 24 | version[1] << 16 | version[2] << 8 | 0xf0
    facts = {}
    with open(ROWS, encoding="ascii") as f:
        for name, since, value in re.findall(r"^HW_ROW\((\w+), (0x\w+), (-?\d+)\)", f.read(), re.M):
            if int(since, 16) <= build:
                facts[name] = int(value)
    return facts


class Forge:
    """A core of one interpreter as it would be of a release of the future."""

    def __init__(self, interpreter, folder):
        self.facts, self.version = facts_of(interpreter.version), "%d.%d.%d" % (interpreter.version[:2] + (NEW_RELEASE,))
        copy, environment, _ = make_copy(interpreter, folder, False)
        libraries = [name for name in os.listdir(folder) if name.startswith("libpython")]
        self.file = os.path.join(folder, libraries[0] if libraries else "python")
        self.symbols = self.read_symbols()
        self.rename()
        with Target(target_command(copy, "untracked+strings"), environment) as target:
            with open("/proc/%d/maps" % target.pid, encoding="utf-8") as f:
                start = min(int(line.split("-")[0], 16) for line in f if line.rstrip().endswith(self.file))
            with open(self.file, "rb") as f:
                lowest = min(address for address, _, _ in segments(f.read()))
            self.base = start - lowest // 4096 * 4096
            with open(target.gcore(0x33), "rb") as f:
                self.core = f.read()
        self.path = os.path.join(folder, "core")

    def read_symbols(self):
        listed = subprocess.run(["nm", "-D", self.file], stdout=subprocess.PIPE, check=True).stdout.decode()
        return {name: int(address, 16) for address, name in re.findall(r"^(\w+) [A-Za-z] (\w+)$", listed, re.M)}

    def rename(self):
        """The file says that it is the new release, before anybody runs it."""
        with open(self.file, "r+b") as f:
            f.seek(offset_of(f.read(), self.symbols["Py_Version"]) + 1)
            f.write(bytes([NEW_RELEASE]))

    def place(self, symbol, offset=0):
        return offset_of(self.core, self.base + self.symbols[symbol] + offset)

    def word(self, place):
        return struct.unpack_from("<Q", self.core, place)[0]

    def ask(self, changes, *words):
        """heapwalk's answer to a core in which {place: word} is changed."""
        forged = bytearray(self.core)
        for place, value in changes.items():
            struct.pack_into("<Q", forged, place, value)
        with open(self.path, "wb") as f:
            f.write(forged)
        return run_heapwalk(heapwalk_command(), ["-c", self.path, "--debug-dir", NOWHERE] + list(words))

    def rows(self, changes):
        answer = self.ask(changes, "all", "--format", "csv")
        rows = list(csv.DictReader(io.StringIO(answer.stdout.decode("utf-8", "surrogateescape"))))
        if answer.returncode:
            rows.pop()  # the warning, which a CSV report has as its last line
        return answer, rows


def says_less(mine, true):
    """Does a row say nothing that the true one does not?"""
    place = ("start", "end", "size", "allocator")
    if any(mine[name] != true[name] for name in place):
        return False
    if (mine["domain"], mine["kind"]) in KNOWS_NOTHING:
        return mine["state"] in ("unknown", true["state"])
    return all(mine[name] == true[name] for name in ("state", "domain", "kind")) and mine["detail"] in ("", true["detail"])


def wrong_rows(rows, true):
    """Sentences. What lies side by side in one mapping and is not told apart is one row, that of its first part."""
    at = 0
    for mine in rows:
        parts = []
        while at < len(true) and int(true[at]["start"], 16) <= int(mine["end"], 16):
            parts.append(true[at])
            at += 1
        whole = dict(parts[0], end=parts[-1]["end"], size=str(sum(int(part["size"]) for part in parts))) if parts else {}
        if not parts or not says_less(mine, whole) or any(part["allocator"] != "none" for part in parts[1:]):
            yield "%r, and truly it is %r" % (mine, parts[:2])
    if at < len(true):
        yield "%d rows are not there" % (len(true) - at)


def check_proved(forge, name, changes, true):
    """A forgery that can be read; or that need not be, when that is said."""
    answer, rows = forge.rows(changes)
    if answer.returncode:
        yield from check_refused(forge, name, changes)
        return
    for line in itertools.islice(wrong_rows(rows, true), 5):
        yield "%s: %s" % (name, line)


def check_refused(forge, name, changes):
    """One sentence that says which release it is and what to do, and no object of Python's in the rows."""
    answer, rows = forge.rows(changes)
    words = answer.stderr.strip()
    if answer.returncode != 1 or "\n" in words or "CPython " + forge.version not in words or "debug-dir" not in words:
        yield "%s: status %d and %r" % (name, answer.returncode, words)
    if any(row["domain"] in ("python", "cpython") or row["allocator"] not in ("glibc", "none") for row in rows):
        yield "%s: there are rows of Python in it" % name
    answer = forge.ask(changes, "cpython-allocators")
    if not answer.returncode or answer.stdout:
        yield "%s: cpython-allocators ends with status %d and prints %r" % (name, answer.returncode, answer.stdout[:200])


def check(interpreter, folder):
    forge = Forge(interpreter, folder)
    answer, true = forge.rows({})
    if answer.returncode or not any(row["domain"] == "python" for row in true):
        yield "the true core: status %d: %s" % (answer.returncode, answer.stderr.strip())
        return
    type_type, facts = forge.place("PyType_Type"), forge.facts
    for fact in ("tp_basicsize", "ob_type"):
        place = type_type + facts[fact]
        yield from check_refused(forge, "PyType_Type's " + fact, {place: forge.word(place) + 8})
    head = forge.place("_PyRuntime", facts["runtime_interpreters_head"])
    yield from check_refused(forge, "no interpreter", {head: 0})
    # The main one has a place of its own, and the walk goes on from there.
    changes = {head: forge.base + forge.symbols["PyType_Type"]}
    yield from check_proved(forge, "a list of interpreters that leads elsewhere", changes, true)
    if "offsets_interp_size" not in facts:
        return
    release = forge.place("_PyRuntime", 8)
    renamed = {release: forge.word(release) & ~0xff00 | NEW_RELEASE << 8}
    yield from check_proved(forge, "another version", renamed, true)
    for fact in MOVES + STAYS:
        place = forge.place("_PyRuntime", facts["offsets_" + fact])
        for distance in (8, 1 << 40):
            changes = {**renamed, place: forge.word(place) + distance}
            name = "%s moved by %d" % (fact, distance)
            yield from (check_proved(forge, name, changes, true) if fact in MOVES else check_refused(forge, name, changes))


def main():
    found, _ = interpreters.find()
    # Newest of those that describe themselves, and Debian's, which does not; both without debug information.
    chosen = [i for i in found if i.group == "3.13"][-1:] + [i for i in found if i.group == "system"][:1]
    if not chosen or not shutil.which("strip") or not shutil.which("gcore"):
        say("skip: no CPython 3.13 and no python3, or no strip (package binutils), or no gcore (package gdb)")
        return 77
    failed = 0
    for interpreter in chosen:
        with tempfile.TemporaryDirectory(prefix="heapwalk-unknown-") as folder:
            lines = list(check(interpreter, folder))
        say("%s a release after %s" % ("FAIL" if lines else "ok  ", interpreter.name))
        for line in lines[:10]:
            say("     " + line)
        failed += bool(lines)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
