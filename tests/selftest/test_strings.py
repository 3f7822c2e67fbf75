# SPDX-License-Identifier: LGPL-2.1-or-later
"""C strings are found wherever they end in their blocks, the last byte included, and nothing else is one."""

from support import HeapwalkTest, Program, main


class Strings(HeapwalkTest):
    def check(self, source, program):
        found = {address: row["size"] for address, row in self.in_use(source).items() if row["kind"] == "string data"}
        texts = program.live_set()
        self.assertEqual(sorted(found), sorted(texts))
        self.assertGreater(len(texts), 300)
        for address, length in texts.items():
            self.assertGreater(found[address], length)

    def test_live_and_core(self):
        with Program("strings") as program:
            self.check(program.pid, program)
            self.check(self.gcore(program.pid), program)


if __name__ == "__main__":
    main()
