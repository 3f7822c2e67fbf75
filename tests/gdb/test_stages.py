# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process that runs on, a second one, a byte that is changed: the answer is never yesterday's."""

import json
import tempfile

from support import BUILD, c_target, check, check_equal, gdb, heapwalk_json, main, python_target


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def blocks(report):
    return sum(row["count"] for row in report["rows"])


def big_blocks(report):
    return len(report["rows"])


def test_stages(folder):
    """1000 blocks at the first stop, 2000 at the second, as many again when asked again."""
    program = BUILD / "bin" / "gdb_target"
    select = "heap select -format json -output %s/%%d size >= 1500 and size < 1600" % folder
    gdb(["break hw_stage", "run < /dev/null", select % 1, select % 2, "continue", select % 3, "kill",
         "run < /dev/null", select % 4], program)
    counts = [big_blocks(load("%s/%d" % (folder, number))) for number in (1, 2, 3, 4)]
    check_equal(counts, [1000, 1000, 2000, 1000], "blocks at each stop")


def test_two(folder):
    """Each inferior has a session of its own."""
    with c_target() as first, python_target("/usr/bin/python3") as second:
        gdb(["attach %d" % first.pid, "heap -format json -output %s/a" % folder, "add-inferior",
             "inferior 2", "attach %d" % second.pid, "heap -format json -output %s/b" % folder,
             "inferior 1", "heap -format json -output %s/c" % folder])
        alone = heapwalk_json("-p", first.pid), heapwalk_json("-p", second.pid)
    check_equal(load(folder + "/a")["rows"], alone[0]["rows"], "first inferior")
    check_equal(load(folder + "/b")["rows"], alone[1]["rows"], "second inferior")
    check_equal(load(folder + "/c"), load(folder + "/a"), "first inferior again")


def test_memory_changed(folder):
    """gdb's user writes a word: the next dump shows it."""
    with c_target() as process:
        result = gdb(["hexdump -length 4 &hw_stage_number", "set var hw_stage_number = 0x41424344",
                      "hexdump -length 4 &hw_stage_number", "set var hw_stage_number = 2"],
                     "-p", process.pid, BUILD / "bin" / "gdb_target")
    check("DCBA" in result.out, "the written word is not in the dump:", result.out)


def test():
    for case in (test_stages, test_two, test_memory_changed):
        with tempfile.TemporaryDirectory() as folder:
            case(folder)


main(test)
