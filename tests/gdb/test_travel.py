# SPDX-License-Identifier: LGPL-2.1-or-later
"""Targets that go back: `record` and `checkpoint`. What was free is in use again, as the process was then."""

from support import BUILD, check, check_equal, gdb_json, main, need

PROGRAM = BUILD / "bin" / "gdb_travel"
START = ["file %s" % PROGRAM, "break here", "run"]


def rows(*before):
    report = gdb_json("heap all", before=START + list(before))
    check(not report["partial"], report["partial_reason"])
    # Where things lie is the same in each run: gdb switches randomisation off. A stack's first bytes are not.
    return [{k: r[k] for k in ("start", "end", "allocator", "state", "domain", "kind")} for r in report["rows"]]


def test():
    need("gdb")
    first, second = rows(), rows("continue")
    used = [sum(r["state"] == "in use" and r["allocator"] == "glibc" for r in each) for each in (first, second)]
    check_equal(used[0] - used[1], 100, "blocks that were freed")
    check_equal(rows("record", "continue"), second, "while it is recorded")
    check_equal(rows("record", "continue", "reverse-continue"), first, "at the beginning of the record")
    check_equal(rows("record", "continue", "reverse-continue", "continue"), second, "at its end again")
    check_equal(rows("checkpoint", "continue"), second, "beside a checkpoint")
    check_equal(rows("checkpoint", "continue", "restart 1"), first, "in the checkpoint")


main(test)
