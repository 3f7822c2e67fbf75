# SPDX-License-Identifier: LGPL-2.1-or-later
"""pymalloc's lists, pools and arena objects: as gdb reads them by their debug information."""

import sys

from support import HERE, TOP, check, check_equal, gdb, interpreters, main, running, some_interpreters

sys.path.insert(0, str(TOP / "gdbext"))
import heapwalk  # pylint: disable=wrong-import-position


def lists_of(pid, **options):
    with heapwalk.attach(pid, **options) as heap, heap.stopped():
        interpreter = heap.report("cpython-allocators", lists=True)["interpreters"][0]
        found = {}
        for row in interpreter["lists"]:
            found.setdefault(row["list"], []).append(row)
        return found, interpreter["lists_unknown"], heap.report("explain", interpreter["arenas"][0]["arena_object"])


def check_without_symbols(name, path):
    """What symbols alone tell can't be told without them; the rest is the same. Since 3.12 the lists are part
    of _PyRuntime, which every build exports: there all of them are found."""
    version = tuple(int(number) for number in name.split("-")[0].split(".")[:2])
    with running(path, HERE / "lists_target.py") as process:
        found, unknown, explained = lists_of(process.pid)
        less, missing, unexplained = lists_of(process.pid, debug_dirs="/nonexistent")
    check_equal((sorted(found), unknown), (["freepools", "unused_arena_objects", "usable_arenas", "usedpools"], []),
                "lists")
    check(len(found["usedpools"]) > 10 and len(found["usable_arenas"]) > 1, "members of lists")
    if version >= (3, 12):
        check_equal((less, missing, unexplained["arena_object"]), (found, [], explained["arena_object"]), "without symbols")
        return
    check_equal(less, {name: found[name] for name in ("usedpools", "freepools")}, "lists without symbols")
    check_equal(missing, ["usable_arenas", "unused_arena_objects"], "lists that can't be told")
    there, unseen = explained["arena_object"], unexplained["arena_object"]
    check_equal(there["list_is_known"], True, "place of an arena object")
    check_equal((unseen.pop("list"), unseen.pop("list_position"), unseen.pop("list_is_known")), (None, None, False),
                "place of an arena object without symbols")
    check_equal(unseen, {name: there[name] for name in unseen}, "members of an arena object")


def test():
    for name, path in some_interpreters().items():
        if "system" in name:
            continue  # their debug information describes each static twice, once without an address
        with running(path, HERE / "lists_target.py") as process:
            result = gdb(["source %s" % (HERE / "obmalloc_script.py")], "-p", process.pid)
        check("script: all is well" in result.out, name, result.out)
        print("ran on %s: %s" % (name, [line for line in result.out.splitlines() if "script" in line][0]))
    for name, path in interpreters().items():
        if name.endswith("-system"):
            check_without_symbols(name, path)
            print("ran on %s, without symbols" % name)


main(test)
