# SPDX-License-Identifier: LGPL-2.1-or-later
"""`set heapwalk …`, `show heapwalk`, `with heapwalk … --`: defaults of the commands' options."""

import json
import tempfile

from support import c_target, check, check_equal, gdb, main

SHOWN = """format:  The form of reports is "text".
rules:  What objects own is named by heapwalk's own rules.
sort:  The order of rows is "auto".
threads:  A heap is walked by unlimited threads.
top:  Reports print unlimited rows.
"""


RESET = ["set heapwalk top unlimited", "set heapwalk sort auto", "set heapwalk format text",
         "set heapwalk rules", "set heapwalk threads unlimited"]


def sections(process, *groups):
    """What each group of commands prints, each with no setting made, all in one gdb."""
    commands = ["echo MARK\\n"]
    for group in groups:
        commands += [*group, *RESET, "echo MARK\\n"]
    return gdb(commands, "-p", process.pid).out.split("MARK\n")[1:-1]


def test_show():
    check_equal(gdb(["show heapwalk"]).out, SHOWN, "show heapwalk")
    check_equal(gdb(["set heapwalk top 7", "show heapwalk top", "set heapwalk top 0", "show heapwalk top"]).out,
                "Reports print 7 rows.\nReports print unlimited rows.\n", "top")
    listing = gdb(["help set heapwalk"]).out
    for name in ("top", "sort", "format", "rules", "threads"):
        check("set heapwalk %s -- Set " % name in listing, name, "is not in", listing)
    check_equal(gdb(["set heapwalk"]).out, listing, "set heapwalk alone")


def test_complete():
    check_equal(gdb(["complete set heapwalk fo"]).out, "set heapwalk format\n", "set heapwalk fo")
    check_equal(gdb(["complete set heapwalk format j"]).out, "set heapwalk format json\n", "format j")
    keys = gdb(["complete set heapwalk sort in_use_b"]).out.split("\n")
    check("set heapwalk sort in_use_bytes:asc" in keys, keys)


def test_refused():
    """One sentence; the setting stays what it was."""
    wrong = {"sort nonsense": r'Undefined item: "nonsense"\.',
             "format pdf": r'Undefined item: "pdf"\.',
             "rules /no/such/file": r"/no/such/file can't be read: No such file or directory\.",
             "top many": r"No symbol .*",
             "top -3": r"integer -3 out of range",
             "threads 65": r"threads takes a number from 1 to 64, or 0 .*, not 65\.",
             "colour red": r'Undefined set heapwalk command: "colour red"\. .*'}
    commands = [line for words in wrong for line in ("set heapwalk %s" % words, "show heapwalk")]
    check_equal(gdb(commands, errors=wrong.values()).out, SHOWN * len(wrong), "settings that were refused")
    result = gdb(["set heapwalk threads 3", "set heapwalk threads 65", "show heapwalk threads",
                  "show heapwalk colour"], status=1,
                 errors=[r"threads takes .*", r'Undefined show heapwalk command: "colour"\. .*'])
    check_equal(result.out, "A heap is walked by 3 threads.\n", "threads after a wrong number")


def rows(text):
    return text.split("\n\n")[0].split("\n")[2:]


def test_used(process):
    whole, two, option, used_with, after = map(rows, sections(
        process, ["heap"], ["set heapwalk top 2", "heap"], ["set heapwalk top 2", "heap -top 1000"],
        ["with heapwalk top 2 -- heap"], ["with heapwalk top 2 -- heap -output /dev/null", "heap"]))
    check(len(whole) > 5, whole)
    check_equal(len(two), 4, "rows, the total and what is left out: %s" % two)
    check_equal(option, whole, "an option beats the setting")
    check_equal(used_with, two, "with heapwalk top 2 -- heap")
    check_equal(after, whole, "heap after `with`")

    queries = {"size > 0": 2, "size > 0 limit 5": 5, "size > 0 limit 1": 1}
    lists = sections(process, *[["set heapwalk top 2", "heap select %s" % query] for query in queries])
    for (query, count), text in zip(queries.items(), lists):
        check("\n%d block" % count in text, query, text)

    # Keys that a command does not know leave it its own order.
    by_count, own, same, text = sections(
        process, ["set heapwalk sort count:asc", "heap"], ["heap arenas"],
        ["set heapwalk sort count", "heap arenas"], ["set heapwalk format json", "heap"])
    counts = [int(row.split()[-2].replace(",", "")) for row in rows(by_count)[:-1]]
    check_equal(counts, sorted(counts), "sorted by count")
    check_equal(same, own, "arenas have no such key")
    check_equal(json.loads(text)["schema"], "heapwalk.census/1", "format json")

    with tempfile.NamedTemporaryFile("w", suffix=".rules") as rules:
        rules.write("c++ net::Nobody +8 nothing\n")
        rules.flush()
        used, off = sections(process, ["set heapwalk rules %s" % rules.name, "show heapwalk rules", "heap"], ["heap"])
        check('rules in "%s" as well' % rules.name in used, used)
        check("no class net::Nobody was found" in used and "Nobody" not in off, "rules:", used, off)

    # Bytes that were asked for by number are no rows of a table.
    dump, cut, one = sections(process, ["hexdump $sp 256"], ["set heapwalk top 1", "hexdump $sp 256"],
                              ["set heapwalk threads 1", "heap"])
    check_equal(cut, dump, "hexdump ADDR LENGTH")
    check_equal(rows(one), whole, "heap with 1 thread")


def test():
    test_show()
    test_complete()
    test_refused()
    with c_target() as process:
        test_used(process)


main(test)
