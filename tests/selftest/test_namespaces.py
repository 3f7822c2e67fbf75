# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two glibcs in one process (dlmopen): the heaps of both are walked, as each of them counts itself."""

from support import HeapwalkTest, Program, main


class Namespaces(HeapwalkTest):
    def check(self, program, source):
        said = [line.split() for line in program.lines]
        infos = [[int(word) for word in words[1:]] for words in said if words[0] == "mallinfo"]
        freed = {int(words[1], 16) for words in said if words[0] == "freed" and words[1] != "(nil)"}
        live = {int(words[0], 16): int(words[1]) for words in said if words[0].startswith("0x")}
        self.assertGreater(min(len(freed), len(live)), 50)
        report = self.report(source, "arenas")
        self.assertEqual([a["main"] for a in report["arenas"]], [True, True])
        self.assertEqual([a["unknown_bytes"] for a in report["arenas"]], [0, 0])
        self.assertEqual([a["system_bytes"] for a in report["arenas"]], [info[0] for info in infos])
        mmapped = report["mmapped"]
        self.assertEqual([mmapped["count"], mmapped["bytes"]], [sum(i[1] for i in infos), sum(i[2] for i in infos)])
        self.assertEqual((mmapped["n_mmaps"], mmapped["mmapped_mem"]), (mmapped["count"], mmapped["bytes"]))
        found = self.in_use(source)
        self.assertEqual([hex(mem) for mem in sorted(set(live) - set(found))], [])
        self.assertEqual([hex(mem) for mem in sorted(freed & set(found))], [])
        for mem, size in live.items():
            self.assertGreaterEqual(found[mem]["size"], size + 8, "%#x" % mem)
        return report["arenas"]

    def test_one_after_the_other(self):
        with Program("namespaces", 1) as program:
            live = self.check(program, program.pid)
            self.assertEqual(self.check(program, self.gcore(program.pid)), live)

    def test_turn_by_turn(self):
        """Both grow in the brk area: each's memory stands between pieces of the other's."""
        with Program("namespaces", 24) as program:
            self.check(program, program.pid)


if __name__ == "__main__":
    main()
