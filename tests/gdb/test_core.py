# SPDX-License-Identifier: LGPL-2.1-or-later
"""A core in gdb: the stand-alone command's JSON, and the rows that the process had."""

import os
import tempfile

from support import (c_target, check_equal, gcore, gdb_json, heapwalk_json, main, python_target,
                     some_interpreters)


def compare(process, name, exe):
    with tempfile.TemporaryDirectory() as folder:
        core = os.path.join(folder, "a core")  # its name has a blank
        live = heapwalk_json("-p", process.pid)
        gcore(process, core)
        process.kill()
        process.wait()
        alone = heapwalk_json("-c", core, "-e", exe)
        with_exe = gdb_json("heap", exe, core)
        without = gdb_json("heap", "-c", core)
    check_equal(with_exe, alone, "%s: core" % name)
    check_equal(without["rows"], alone["rows"], "%s: core, gdb without its executable" % name)
    check_equal(with_exe["rows"], live["rows"], "%s: core against live" % name)


def test():
    with c_target() as process:
        compare(process, "C program", os.readlink("/proc/%d/exe" % process.pid))
    for name, path in some_interpreters().items():
        with python_target(path) as process:
            compare(process, name, os.readlink("/proc/%d/exe" % process.pid))
        print("ran on %s" % name)


main(test)
