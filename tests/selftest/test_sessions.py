# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several reports of one session, through the library's Python module."""

import os
import sys

from support import HeapwalkTest, Program, main

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../gdbext"))
import heapwalk  # pylint: disable=wrong-import-position


class Sessions(HeapwalkTest):
    def test_looked_at_in_passing_or_later(self):
        """What a block holds is seen while malloc is walked; a session that has walked it before must look again."""
        seen = set()
        for name, *arguments in (("blocks", "random", 6), ("blocks", "random_buffers"), ("classes",)):
            with Program(name, *arguments) as program:
                core = self.gcore(program.pid)
            with heapwalk.open_core(core) as heap:
                in_passing = heap.report("all")["rows"]
            with heapwalk.open_core(core) as heap:
                heap.report("arenas")
                self.assertEqual(heap.report("all")["rows"], in_passing)
            seen |= {row["domain"] for row in in_passing if row["allocator"] == "glibc"}
        self.assertLessEqual({"C", "C++", "uncategorized"}, seen)


if __name__ == "__main__":
    main()
