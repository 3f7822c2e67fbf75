# SPDX-License-Identifier: LGPL-2.1-or-later
"""A live process in gdb: the same JSON as the stand-alone command gives for it."""

from support import (c_target, check_equal, gdb_json, heapwalk_json, main, python_target,
                     some_interpreters)


def compare(process, name, commands=("census", "arenas", "cpython-allocators")):
    for command in commands:
        in_gdb = gdb_json("heap %s" % command, "-p", process.pid)
        alone = heapwalk_json("-p", process.pid, command)
        check_equal(in_gdb.get("rows"), alone.get("rows"), "%s: rows of %s" % (name, command))
        check_equal(in_gdb, alone, "%s: %s" % (name, command))
    return gdb_json("heap", "-p", process.pid)


def compare_stats(process, name):
    in_gdb = gdb_json("heap stats", "-p", process.pid)
    alone = heapwalk_json("-p", process.pid, "stats")
    check_equal(in_gdb["stopped_seconds"], None, "%s: it is gdb that stops it" % name)
    check_equal(in_gdb, alone, "%s: stats" % name)


def count(report, kind):
    return sum(row["count"] for row in report["rows"]
               if row["domain"] == "python" and row["kind"] == kind and not row["detail"])


def test():
    with c_target() as process:
        compare(process, "C program", ("census", "arenas"))
    for name, path in some_interpreters().items():
        with python_target(path) as process:
            report = compare(process, name)
            compare_stats(process, name)
        check_equal(count(report, "Thing"), 7000, "%s: instances of Thing" % name)
        check_equal(count(report, "Slotted"), 3000, "%s: instances of Slotted" % name)
        print("ran on %s" % name)


main(test)
