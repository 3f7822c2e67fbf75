# SPDX-License-Identifier: LGPL-2.1-or-later
"""Isolated interpreters that ended with blocks in use: nothing leads to their arenas; they are found and said."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("selftest", "matrix"):
    sys.path.insert(0, os.path.join(HERE, "..", folder))

import interpreters  # noqa: E402
from support import HeapwalkTest, main  # noqa: E402

# It prints how many arenas each of them had, as sys._debugmallocstats() says in there.
SCRIPT = r"""
import os, re, sys
try:
    import _interpreters as interpreters
    make = lambda: interpreters.create("isolated")
except ImportError:
    import _xxsubinterpreters as interpreters
    make = lambda: interpreters.create(isolated=True)
code = "import sys\nkeep = [[i, str(i)] for i in range(30000)]\nsys._debugmallocstats()"
ids = [make() for _ in range(3)]
for i in ids:
    interpreters.run_string(i, code)
for i in ids[:int(sys.argv[1])]:
    interpreters.destroy(i)
os.write(1, b"stop\n")
sys.stdin.read()
"""
ARENA_BYTES = 1 << 20


class Ended(HeapwalkTest):
    def census(self, python, ended):
        """(rows by kind, issues, arenas of each interpreter)"""
        process = subprocess.Popen([python.path, "-I", "-S", "-c", SCRIPT, str(ended)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            # What the interpreters print is more than a pipe holds only beyond some dozens of them.
            self.assertEqual(process.stdout.readline(), b"stop\n")
            report = self.report(process.pid)
        finally:
            process.kill()
            said = process.communicate()[1].decode()
        arenas = [int(line.split("=")[1].replace(",", "")) for line in said.splitlines()
                  if line.startswith("# arenas allocated current")]
        rows = {r["kind"]: r for r in report["rows"] if r["domain"] in ("pyarena", "unknown")}
        return rows, [i["message"] for i in report["issues"]], arenas

    def test_ended(self):
        found = [i for i in interpreters.find()[0] if i.version >= (3, 12) and not i.root and not i.debug]
        if not found:
            self.skipTest("no CPython 3.12 or later was found")
        for python in found:
            with self.subTest(python.name):
                rows, issues, arenas = self.census(python, 2)
                self.assertEqual(len(arenas), 3)
                row = rows.get("ended interpreter's", {"bytes": 0})
                # What it had given back by its end was unmapped.
                self.assertLessEqual(row["bytes"], sum(arenas[:2]) * ARENA_BYTES)
                if row["bytes"]:
                    self.assertEqual(row["bytes"] % ARENA_BYTES, 0)
                    self.assertIn("%d bytes" % row["bytes"], issues[0])
                self.assertNotIn("anonymous mapping", {k for k, r in rows.items() if r["bytes"] >= ARENA_BYTES})
                rows, issues, _ = self.census(python, 0)
                self.assertNotIn("ended interpreter's", rows)
                self.assertEqual(issues, [])
        self.assertTrue(found)


if __name__ == "__main__":
    main()
