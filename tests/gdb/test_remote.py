# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdbserver: every byte comes through gdb, and the answer is the same."""

from support import c_target, check_equal, gdb_json, heapwalk_json, interpreters, main, need, python_target

# gdbserver speaks on the stderr it shares with gdb
GDBSERVER = [r"Attached; pid = \d+", r"Remote debugging using stdio", r"Detaching from process \d+"]


def compare(process, name):
    server = "target remote | gdbserver --once - --attach %d" % process.pid
    through_gdb = gdb_json("heap", before=["set sysroot /", server], errors=GDBSERVER)
    alone = heapwalk_json("-p", process.pid)
    check_equal(through_gdb["rows"], alone["rows"], "%s: rows" % name)
    check_equal(through_gdb["total"], alone["total"], "%s: total" % name)
    check_equal(through_gdb["coverage"], alone["coverage"], "%s: coverage" % name)
    check_equal(through_gdb["partial"], False, "%s: partial" % name)


def test():
    need("gdbserver")
    with c_target() as process:
        compare(process, "C program")
    for name, path in interpreters().items():
        with python_target(path) as process:
            compare(process, name)
        print("ran on %s" % name)


main(test)
