# SPDX-License-Identifier: LGPL-2.1-or-later
"""`set heapwalk …`, `show heapwalk`, `with heapwalk … --`: defaults of the commands' options."""

import json

from support import c_target, check, check_equal, gdb, main

SHOWN = """format:  The form of reports is "text".
sort:  The order of rows is "auto".
threads:  A heap is walked by unlimited threads.
top:  Reports print unlimited rows.
"""


def block(out):
    """What was printed between the two marks."""
    return out.split("BEGIN\n")[1].split("END\n")[0]


def between(commands, process, **options):
    return block(gdb(["echo BEGIN\\n", *commands, "echo END\\n"], "-p", process.pid, **options).out)


def test_show():
    check_equal(gdb(["show heapwalk"]).out, SHOWN, "show heapwalk")
    check_equal(gdb(["set heapwalk top 7", "show heapwalk top", "set heapwalk top 0", "show heapwalk top"]).out,
                "Reports print 7 rows.\nReports print unlimited rows.\n", "top")
    listing = gdb(["help set heapwalk"]).out
    for name in ("top", "sort", "format", "threads"):
        check("set heapwalk %s -- Set " % name in listing, name, "is not in", listing)
    check_equal(gdb(["set heapwalk"]).out, listing, "set heapwalk alone")


def test_complete():
    check_equal(gdb(["complete set heapwalk fo"]).out, "set heapwalk format\n", "set heapwalk fo")
    check_equal(gdb(["complete set heapwalk format j"]).out, "set heapwalk format json\n", "format j")
    keys = gdb(["complete set heapwalk sort in_use_b"]).out.split("\n")
    check("set heapwalk sort in_use_bytes:asc" in keys, keys)


def test_refused():
    """One sentence; the setting stays what it was."""
    for words, error in (("sort nonsense", r'Undefined item: "nonsense"\.'),
                         ("format pdf", r'Undefined item: "pdf"\.'),
                         ("top many", r"No symbol .*"),
                         ("top -3", r"integer -3 out of range"),
                         ("threads 65", r"threads takes a number from 1 to 64, or 0 .*, not 65\."),
                         ("colour red", r'Undefined set heapwalk command: "colour red"\. .*')):
        result = gdb(["set heapwalk %s" % words, "show heapwalk"], errors=[error])
        check_equal(result.out, SHOWN, "after set heapwalk %s" % words)
    gdb(["show heapwalk colour"], errors=[r'Undefined show heapwalk command: "colour"\. .*'], status=1)
    result = gdb(["set heapwalk threads 3", "set heapwalk threads 65", "show heapwalk threads"],
                 errors=[r"threads takes .*"])
    check_equal(result.out, "A heap is walked by 3 threads.\n", "threads after a wrong number")


def rows(text):
    return text.split("\n\n")[0].split("\n")[2:]


def test_used(process):
    whole = rows(between(["heap"], process))
    two = rows(between(["set heapwalk top 2", "heap"], process))
    check(len(whole) > 5, whole)
    check_equal(len(two), 4, "rows, the total and what is left out: %s" % two)
    # An option beats the setting, as does what a query says itself.
    check_equal(rows(between(["set heapwalk top 2", "heap -top 1000"], process)), whole, "heap -top 1000")
    for query, count in (("size > 0", 2), ("size > 0 limit 5", 5), ("size > 0 limit 1", 1)):
        text = between(["set heapwalk top 2", "heap select %s" % query], process)
        check("\n%d block" % count in text, query, text)
    check_equal(rows(between(["with heapwalk top 2 -- heap", "echo \\n\\n", "heap"], process)), two, "with")
    after = between(["with heapwalk top 2 -- heap -format csv -output /dev/null", "heap"], process)
    check_equal(rows(after), whole, "heap after `with`")

    # Keys that a command does not know leave it its own order.
    counts = [int(row.split()[-2].replace(",", ""))
              for row in rows(between(["set heapwalk sort count:asc", "heap"], process))[:-1]]
    check_equal(counts, sorted(counts), "sorted by count")
    own = between(["heap arenas"], process)
    check_equal(between(["set heapwalk sort count", "heap arenas"], process), own, "arenas have no such key")

    report = json.loads(between(["set heapwalk format json", "heap"], process))
    check_equal(report["schema"], "heapwalk.census/1", "format json")
    for threads in (1, 4):
        text = between(["set heapwalk threads %d" % threads, "heap"], process)
        check_equal(rows(text), whole, "%d threads" % threads)
    # Bytes that were asked for by number are no rows of a table.
    check_equal(between(["hexdump $sp 256"], process),
                between(["set heapwalk top 1", "hexdump $sp 256"], process), "hexdump ADDR LENGTH")


def test():
    test_show()
    test_complete()
    test_refused()
    with c_target() as process:
        test_used(process)


main(test)
