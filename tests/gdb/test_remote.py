# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdbserver: every byte comes through gdb, and the answer is the same."""

from support import (c_target, check_equal, gdb_json, gdbserver, heapwalk_json, main, python_target,
                     some_interpreters)


def compare(process, name):
    with gdbserver("--attach", process.pid) as connect:
        through_gdb = gdb_json("heap", before=connect)
    alone = heapwalk_json("-p", process.pid)
    for member in ("rows", "total", "coverage", "partial", "issues"):
        check_equal(through_gdb[member], alone[member], "%s: %s" % (name, member))


def test():
    with c_target() as process:
        compare(process, "C program")
    for name, path in some_interpreters().items():
        with python_target(path) as process:
            compare(process, name)
        print("ran on %s" % name)


main(test)
