# SPDX-License-Identifier: LGPL-2.1-or-later
"""`referrers`: all that hold an object, and nothing else, live and in a core, on each Python."""

from support import check, check_equal, interpreters, live_and_core, main

DIRECT = {"tuple", "Slotted", "cell"}  # the pointer is in the object itself
SMALL_SET = {"set"}  # in the object, as long as it has few members
BUFFERS = {"list", "dict", "Thing"}


def is_stale(row):
    """Stacks keep what was pushed there long ago."""
    return row["domain"] in ("stack", "file") or row["kind"] in ("data stack chunk", "frame")


def check_referrers(heap, facts):
    holders = facts["holders"]
    report = heap.report("referrers", hex(facts["secret"]), depth=3)
    check_equal(int(report["referred"]["object"], 16), facts["secret"], "the object")
    first = [row for row in report["rows"] if row["level"] == 1 and not is_stale(row)]
    for row in report["rows"]:
        start, pointer = int(row["start"], 16), int(row["pointer"], 16)
        check(start <= pointer < start + row["size"] + 8, "the pointer is in the block:", row)
    # Attributes may be in the object (3.13), in its values (3.11), in their dict (2.7), or in its table.
    objects = {int(row["object"], 16) for row in first if row["object"] and row["detail"] != "Thing.__dict__"}
    objects.discard(holders["Thing"])
    check_equal(objects, {holders[name] for name in DIRECT | SMALL_SET} | {facts["weak"]}, "objects that hold it")
    owners = {int(row["object"], 16) for row in report["rows"] if row["object"] and not is_stale(row)}
    for name in BUFFERS:
        check(holders[name] in owners, name, "does not hold what holds it:", report["rows"])
    # No pointer is missing, and none is too much: each counts, but for the weak one.
    check_equal(report["referred"]["refcount"], len(first) - 1, "references")
    return report


def check_interpreter(name, path):
    live, dead = live_and_core(path, "referrers_target.py", check_referrers)
    check_equal(live["rows"], dead["rows"], "%s: live and core" % name)
    print("ran on %s" % name)


def test():
    for name, path in interpreters().items():
        check_interpreter(name, path)


main(test)
