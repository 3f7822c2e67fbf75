# SPDX-License-Identifier: LGPL-2.1-or-later
"""Run by test_python_api.py inside gdb, on gdb_target at hw_stage(1): what a user's script does."""

import gdb
import heapwalk

QUERY = "size >= 1500 and size < 1600 and state = 'in use'"


def expect(got, wanted, what):
    if got != wanted:
        raise AssertionError("%s: %r, not %r" % (what, got, wanted))


def expect_raises(kind, function, text):
    try:
        function()
    except kind as error:
        expect(text in str(error), True, "%r in %s" % (text, error))
        return error
    raise AssertionError("no %s" % kind.__name__)


heap = heapwalk.current()
blocks = list(heap.blocks(QUERY))
expect(len(blocks), 1000, "blocks at the first stage")
expect({block.allocator for block in blocks}, {"glibc"}, "allocator")
held = {int(gdb.parse_and_eval("hw_blocks[%d]" % index)) - 16 for index in range(1000)}
expect({block.start for block in blocks}, held, "the addresses that the program itself has")
expect(blocks[0].end - blocks[0].start + 1, blocks[0].size, "end")

# Settings are for people: scripts get all rows.
gdb.execute("set heapwalk top 3")
gdb.execute("set heapwalk format csv")
expect(len(heap.report("select", QUERY)["rows"]), 1000, "rows of a report")
expect(sum(row.count for row in heap.census()), sum(1 for _ in heap.blocks()), "census and blocks")
gdb.execute("set heapwalk top unlimited")

# Half of them are read when the program runs on: the rest is not of this moment.
half = heap.blocks(QUERY)
ordered = heap.blocks(QUERY + " order by size")
expect(next(half), blocks[0], "the first block")
gdb.execute("continue")
expect(gdb.parse_and_eval("number"), 2, "stage")
stale = expect_raises(heapwalk.StaleError, lambda: list(half), "a moment that has passed")
expect(stale.code, "stale", "code")
expect_raises(heapwalk.StaleError, lambda: list(ordered), "a moment that has passed")
expect(len(list(heap.blocks(QUERY))), 2000, "blocks at the second stage")
expect(blocks[0].domain != "", True, "what was read before is still there")

error = expect_raises(heapwalk.Error, lambda: heap.blocks("size >"), "size >")
expect(error.code, "invalid-argument", "code of a wrong query")
gdb.execute("kill")
expect_raises(heapwalk.Error, heap.census, "There is no process and no core file")
expect_raises(heapwalk.Error, heapwalk.current, "There is no process and no core file")
print("script: all is well")
