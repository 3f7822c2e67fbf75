# SPDX-License-Identifier: LGPL-2.1-or-later
"""The main thread's variables in one mapping with memory of somebody else: that stays unknown."""

import csv
import io

from support import HeapwalkTest, Program, main, run


class MergedTls(HeapwalkTest):
    def test_neighbour(self):
        with Program("tls") as program:
            facts = {line.split()[0]: [int(word, 16) for word in line.split()[1:]] for line in program.lines}
            if "neighbour" not in facts:
                self.skipTest("there is no room beside the main thread's variables")
            done = run("-p", program.pid, "all", "--format", "csv")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [(int(r["start"], 16), int(r["start"], 16) + int(r["size"]), r)
                for r in csv.DictReader(io.StringIO(done.stdout.decode()))]
        for address in facts["thread"]:
            kinds = [r["kind"] for start, end, r in rows if start <= address < end]
            self.assertEqual(kinds, ["thread-local storage"])
        from_address, to_address = facts["neighbour"]
        named = [r for start, end, r in rows
                 if start < to_address and end > from_address and r["kind"] != "anonymous mapping"]
        self.assertEqual(named, [])


if __name__ == "__main__":
    main()
