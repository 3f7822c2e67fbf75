# SPDX-License-Identifier: LGPL-2.1-or-later
"""What gdb-heap's own test looked for in Python processes, as differences between two stops of one process:
ints and floats in 2.7's blocks of them, bytecode, the dict of interned strings."""

import os
import subprocess
import sys

from support import HeapwalkTest, main

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../matrix"))
import interpreters  # noqa: E402

SCRIPT = r"""
import os, sys
ints = list(range(1000000, 1000010))  # the code of both halves has run before the first stop
floats = [i + 0.5 for i in range(10)]
codes = [compile("def f(x): return x + %d" % i, "file", "exec") for i in range(1)]
def stop():
    os.write(1, b"stop\n")
    os.read(0, 1)
stop()
ints += list(range(2000000, 2010000))
stop()
floats += [i + 0.25 for i in range(5000)]
stop()
codes += [compile("def f(x): return x + %d" % i, "file", "exec") for i in range(50)]
stop()
"""


class PythonDetails(HeapwalkTest):
    def counts(self, pid):
        rows = self.report(pid)["rows"]
        found = {}
        for row in rows:
            for name in {row["kind"], "%s %s" % (row["kind"], row["detail"])}:
                found[name] = found.get(name, 0) + row["count"]
        return found

    def check(self, interpreter):
        with subprocess.Popen([interpreter.path, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              env={"PYTHONHASHSEED": "0", "PATH": "/usr/bin:/bin"}) as process:
            stops = []
            for _ in range(4):
                self.assertEqual(process.stdout.readline(), b"stop\n")
                stops.append(self.counts(process.pid))
                process.stdin.write(b"\n")
                process.stdin.flush()
        is_2 = interpreter.version[0] == 2

        def grew(kind, stop):
            return stops[stop].get(kind, 0) - stops[stop - 1].get(kind, 0)

        self.assertEqual(grew("int", 1), 10000)
        self.assertEqual(grew("float", 2), 5000)
        self.assertGreaterEqual(grew("code", 3), 100)
        has_bytecode = interpreter.version[:2] < (3, 11)  # later it is in the code object
        kind = "str bytecode" if is_2 else "bytes bytecode"
        self.assertEqual(grew(kind, 3), grew("code", 3) if has_bytecode else 0)
        self.assertEqual(stops[0].get("dict interned"), 1)
        if is_2:
            self.assertGreaterEqual(stops[1]["_intblock "] - stops[0]["_intblock "], 10000 // 42 - 1)
        else:
            self.assertNotIn("_intblock", stops[0])

    def test_all(self):
        found, _ = interpreters.find()
        found = [i for i in found if not i.root]
        if not found:
            self.skipTest("no interpreter was found")
        for interpreter in found:
            with self.subTest(interpreter.name):
                self.check(interpreter)


if __name__ == "__main__":
    main()
