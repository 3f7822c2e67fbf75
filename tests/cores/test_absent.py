# SPDX-License-Identifier: LGPL-2.1-or-later
"""A core on a host that lacks one of the target's files: equal rows, or "unknown", status 1 and the file's name."""

import os
import re
import signal
import tempfile

from committed import HeapwalkTest, main, parse_rows, run
from support import BUILD, Program

import interpreters
from process import Target, kernel_makes_plain_cores

HERE = os.path.dirname(os.path.abspath(__file__))
NAMED = ("allocator", "state", "domain", "kind", "detail")
# Their libraries' constants tell what a block is.
PROGRAMS = ("classes", "gobject", "sqlite", "ssl", "xml", "zlib")


def pythons():
    """Debian's, and of those with libpython.so one whose extension modules have many static types."""
    found = interpreters.find()[0]
    return [i for i in found if i.group == "system"][:1] + [i for i in found if not i.root and i.group == "3.9"][:1]


def may_stand_for(row, whole, path):
    """Is this what can be said of the block without that file?"""
    if not whole:  # a slab, whose slots are told apart by what is in them
        return (row["allocator"] == "glibc" and row["state"] == "in use"
                and (row["domain"] == "uncategorized" or row["kind"] == "GSlice slab"))
    if all(row[c] == whole[c] for c in NAMED):
        return True
    if row["allocator"] == "none" and (row["state"], row["kind"]) == ("unknown", "anonymous mapping"):
        return True
    if row["allocator"] != whole["allocator"] or row["state"] != whole["state"]:
        return False
    name = os.path.basename(path)
    if row["kind"] in ("unknown type (%s)" % name, "unknown class (%s)" % name):
        return True
    if row["detail"] == "unknown type (%s).__dict__" % name:
        return row["kind"] == whole["kind"]
    # What belongs to it.
    return row["domain"] == "uncategorized" or (row["domain"], row["kind"]) == ("C", "string data")


class Absent(HeapwalkTest):
    def setUp(self):
        super().setUp()
        if not kernel_makes_plain_cores():
            self.skipTest("core_pattern is no plain file name")

    def rows(self, core, *words):
        """(rows by place, status, what is said of what is missing)"""
        done = run("-c", core, *words, "all", "--format", "csv")
        text = done.stdout.decode()
        rows = {(r["start"], r["size"]): r for r in parse_rows(text)}
        return rows, done.returncode, "".join(re.findall("^# partial: .*", text, re.M))

    def check(self, core, names=r"\.so|/bin/"):
        """{file that something hangs on: the rows without it}"""
        whole, _, _ = self.rows(core)  # a page that the program never touched may be missing
        with open(core, "rb") as f:
            notes = f.read(1 << 18)
        files = {path.decode() for path in re.findall(rb"\0(/[ -~]+)", notes)}
        files = sorted(path for path in files if os.path.exists(path) and re.search(r"\.so|/bin/", path))
        self.assertGreater(len(files), 2)
        told = {}
        for absent in (path for path in files if re.search(names, path)):
            root = tempfile.mkdtemp(dir=self.directory)
            for path in files:
                if path != absent:
                    os.makedirs(root + os.path.dirname(path), exist_ok=True)
                    os.symlink(path, root + path)
            with self.subTest(core, absent=absent):
                rows, status, said = self.rows(core, "--sysroot", root, "--debug-dir", root)
                differ = [(r, whole.get(at)) for at, r in rows.items()
                          if not whole.get(at) or any(r[c] != whole[at][c] for c in NAMED)]
                if absent not in said:
                    self.assertEqual(differ[:3], [])
                    continue
                self.assertEqual(status, 1)
                self.assertIn("sysroot", said)
                told[os.path.basename(absent)] = rows
                if "Python's objects are not in it" in said:
                    continue  # without the interpreter's file no more is told than blocks
                wrong = [(r, w) for r, w in differ if not may_stand_for(r, w, absent)]
                self.assertEqual(wrong[:3], [])
        return told

    def test_python(self):
        found = pythons()
        if not found:
            self.skipTest("no Python was found")
        # Each file of one interpreter; of the other those that tell most.
        for python, names in zip(reversed(found), (r"\.so|/bin/", "/bin/|_decimal|_ctypes|libsqlite3|libc\\.")):
            with Target([python.path, "-E", "-S", os.path.join(HERE, "absent_target.py")], {}) as target:
                told = self.check(target.abort(0x33), names)
            decimal = next(rows for name, rows in told.items() if name.startswith("_decimal."))
            unknown = [r for r in decimal.values() if r["kind"].startswith("unknown type (_decimal.")]
            self.assertGreaterEqual(len(unknown), 12)
            self.assertTrue([r for r in decimal.values() if r["kind"] == "Ours"])
            self.assertTrue([name for name in told if name.startswith("libsqlite3.")])
            self.assertTrue([name for name in told if name.startswith(("libpython", "python3"))])

    def test_no_headers(self):
        """Not even the ELF headers are in the core: what a library may have given out can't be told."""
        found = pythons()
        if not found:
            self.skipTest("no Python was found")
        with Target([found[-1].path, "-E", "-S", os.path.join(HERE, "absent_target.py")], {}) as target:
            told = self.check(target.abort(0x23), r"libsqlite3|libz\.|libcrypto|libc\.|_decimal")
        for name in ("libsqlite3.", "libc.", "_decimal."):
            self.assertTrue([there for there in told if there.startswith(name)], name)

    def test_libraries(self):
        told = {}
        for name in PROGRAMS:
            if not os.path.exists(os.path.join(BUILD, "bin", "selftest_" + name)):
                continue
            folder = os.path.join(self.directory, name)
            os.mkdir(folder)
            with Program(name, directory=folder) as program:
                os.kill(program.pid, signal.SIGABRT)
                program.process.wait()
                core = next(os.path.join(folder, c) for c in ("core", "core.%d" % program.pid)
                            if os.path.exists(os.path.join(folder, c)))
            told[name] = self.check(core)
        self.assertIn("selftest_classes", told["classes"])
        self.assertTrue([name for name in told["classes"] if name.startswith("libstdc++")])
        unknown = [r["kind"] for r in told["classes"]["selftest_classes"].values() if r["domain"] == "C++"]
        self.assertIn("unknown class (selftest_classes)", unknown)


if __name__ == "__main__":
    main()
