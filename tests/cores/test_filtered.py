# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cores that leave memory out: coredump_filter, MADV_DONTDUMP, no file beside them. Equal rows, or it is said."""

import bisect
import json
import os
import shutil

from committed import HeapwalkTest, main, parse_rows, run
from test_cut import contradiction

import interpreters
from process import Target, kernel_makes_plain_cores

HERE = os.path.dirname(os.path.abspath(__file__))
# Bits: anonymous private, anonymous shared, file private, file shared, ELF headers, huge private, huge shared.
# Each of them off once, and what administrators set; of a second Python, the two that differ most.
WITH_HEAP = ((0x3D, 0x3B, 0x37, 0x2F, 0x1F, 0x33, 0x31, 0x03, 0x01), (0x33, 0x01))
WITHOUT_HEAP = ((0x3E, 0x32, 0x00), (0x32,))
REPORTS = ((), ("arenas",), ("map",))
PYTHON_REPORTS = (("cpython-allocators",), ("stats",))


def pythons():
    """Debian's, which is stripped, and the newest that is linked with libpython.so."""
    found = interpreters.find()[0]
    return [i for i in found if i.group == "system"][:1] + [i for i in found if not i.root and i.group[0] == "3"][-1:]


class Filtered(HeapwalkTest):
    def target(self, python, environment=None):
        script = os.path.join(HERE, "filtered_target.py")
        # Memory is compared between stops: no byte code is written to, no bytes are shuffled.
        return Target([python.path, "-E", "-S", script, "{directory}"], dict(environment or {}))

    def dump(self, target, core_filter):
        if kernel_makes_plain_cores():
            return target.abort(core_filter)
        if not shutil.which("gcore"):
            self.skipTest("core_pattern is no plain file name, gcore is not installed")
        return target.gcore(core_filter)

    def rows(self, *words, status=0):
        done = run(*words, "all", "--format", "csv")
        self.assertEqual(done.returncode, status, done.stderr)
        return parse_rows(done.stdout.decode())

    def check_partial(self, core, *command):
        done = run("-c", core, *command, "--format", "json")
        self.assertEqual(done.returncode, 1, (command, done.stderr))
        report = json.loads(done.stdout)
        self.assertTrue(report["partial"])
        self.assertIn("the core leaves out", report["partial_reason"])
        self.assertIn("coredump_filter", report["partial_reason"])
        return report

    def each(self, filters=((0x33,), (0x33,))):
        """(a Python, filter)"""
        found = pythons()
        if not found:
            self.skipTest("no Python was found")
        return [(python, core_filter) for python, values in zip(found, filters) for core_filter in values]

    def test_filters_that_keep_the_heap(self):
        for python, core_filter in self.each(WITH_HEAP):
            with self.subTest(python.name, filter=hex(core_filter)), self.target(python) as target:
                live = self.rows("-p", target.pid)
                core = self.dump(target, core_filter)
                rows = self.rows("-c", core)
                differ = next(((a, b) for a, b in zip(rows, live) if a != b), None)
                self.assertEqual((len(rows), differ), (len(live), None))
                self.assertEqual(self.report(core, "arenas")["coverage"]["missing_bytes"], 0)

    def test_filters_without_the_heap(self):
        for python, core_filter in self.each(WITHOUT_HEAP):
            with self.subTest(python.name, filter=hex(core_filter)), self.target(python) as target:
                core = self.dump(target, core_filter)
                coverage = self.check_partial(core)["coverage"]
                self.assertEqual(coverage["missing_bytes"], coverage["heap_bytes"])
                known = [r for r in self.rows("-c", core, status=1) if r["state"] != "unknown"]
                self.assertEqual([r for r in known if r["allocator"] != "none"], [])
                for command in REPORTS:
                    report = self.check_partial(core, *command)
                    if command == ("arenas",):
                        self.check_arenas(report)
                for command in PYTHON_REPORTS:
                    done = run("-c", core, *command)
                    self.assertEqual((done.returncode, done.stdout), (3, b""))
                    self.assertIn(b"can't be read: the core leaves out", done.stderr)
                    self.assertEqual(len(done.stderr.splitlines()), 1)

    def check_arenas(self, report):
        """What is not known is no number."""
        for arena in report["arenas"]:
            self.assertEqual([k for k, v in arena.items() if v == 0 and k not in ("index", "heaps")], [])
        self.assertNotEqual(report["mmapped"]["n_mmaps"], 0)

    def test_pieces_left_out(self):
        for python, core_filter in self.each():
            with self.subTest(python.name), self.target(python, {"HIDE": "1"}) as target:
                with open(os.path.join(target.directory, "hidden")) as f:
                    hidden = [[int(word, 16) for word in line.split()] for line in f]
                self.assertEqual(len(hidden), 3)
                live = self.rows("-p", target.pid)
                core = self.dump(target, core_filter)
                missing = sum(end - start for start, end in hidden)
                for command in REPORTS + PYTHON_REPORTS:
                    with self.subTest(command=command):
                        report = json.loads(run("-c", core, *command, "--format", "json").stdout)
                        self.assertTrue(report["partial"])
                        if command in ((), ("map",)):
                            self.assertEqual(report["coverage"]["missing_bytes"], missing)
                        if command == ("arenas",):
                            self.check_partial(core, *command)
                            broken = [a for a in report["arenas"] if a["unknown_bytes"]]
                            self.assertTrue(broken)
                            for arena in broken:
                                self.assertEqual([k for k in ("tcache_bytes", "fastbin_bytes") if arena[k] == 0], [])
                self.check_rows(self.rows("-c", core, status=1), live, hidden)

    def check_rows(self, rows, live, hidden):
        whole = {(r["start"], r["size"]): r for r in live}
        starts = sorted(int(r["start"], 16) for r in live)
        told, wrong = 0, []
        for row in rows:
            same = whole.get((row["start"], row["size"]))
            why = contradiction(row, same) if same or row["allocator"] != "none" else None
            if why:
                at = bisect.bisect_left(starts, int(row["start"], 16))
                wrong.append((row["start"], row["size"], why, starts[at:at + 2]))
            told += row["state"] in ("in use", "free") and row["allocator"] != "none"
        self.assertEqual(wrong[:5], [])
        self.assertGreater(told, len(live) // 2)
        for row in rows:
            start, end = int(row["start"], 16), int(row["start"], 16) + int(row["size"])
            # What an arena cannot use at its ends is known without a look at it.
            if row["state"] not in ("unknown", "overhead") and any(start >= a and end <= b for a, b in hidden):
                self.fail("%r lies in memory that is not in the core" % row)

    def test_no_file_beside_it(self):
        """On another host, without the target's files: what the core does not have can't be guessed."""
        nowhere = os.path.join(self.directory, "nowhere")
        os.mkdir(nowhere)
        for python, core_filter in self.each():
            with self.subTest(python.name), self.target(python) as target:
                live = self.rows("-p", target.pid)
                core = self.dump(target, core_filter)
                words = ("-c", core, "--sysroot", nowhere, "--debug-dir", nowhere)
                done = run(*words, "--format", "json")
                report = json.loads(done.stdout)
                if done.returncode == 0:  # the core has enough of them to know
                    self.assertTrue(self.rows(*words) == live)
                    continue
                self.assertEqual(done.returncode, 1)
                self.assertTrue(report["partial"])
                self.assertIn("python", report["partial_reason"])
                self.assertIn("option sysroot", report["partial_reason"])


if __name__ == "__main__":
    main()
