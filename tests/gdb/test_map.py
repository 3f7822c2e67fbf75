# SPDX-License-Identifier: LGPL-2.1-or-later
"""`heap map` in gdb says what the kernel says at the same stop, also when the heap was walked before."""

import os
import sys
import tempfile

from support import TOP, c_target, check_equal, gdb_json, main, python_target, some_interpreters

sys.path.insert(0, str(TOP / "tests" / "map"))
import closes  # noqa: E402


def compare(process, name, before=()):
    with tempfile.TemporaryDirectory() as folder:
        copies = "shell cp /proc/%d/smaps /proc/%d/status %s" % (process.pid, process.pid, folder)
        report = gdb_json("heap map", "-p", process.pid, before=[*before, copies])
        kernel = closes.Kernel(process.pid, folder)
        check_equal(closes.problems(report, kernel), [], name)
        check_equal(sorted(os.listdir(folder)), ["smaps", "status"], "copies")


def test():
    with c_target() as process:
        compare(process, "C program")
        compare(process, "C program, walked before", before=["pipe heap | cat > /dev/null"])
    for name, path in some_interpreters().items():
        if name.startswith(("2.7.", "3.12.")):
            with python_target(path) as process:
                compare(process, name, before=["pipe heap | cat > /dev/null"])


main(test)
