# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs without Python: what they hold, and only that, is in use."""

import bisect
import collections
import os

from support import BUILD, HeapwalkTest, Program, main


def chunk_size(request):
    return max(32, (request + 8 + 15) // 16 * 16)


class Blocks(HeapwalkTest):
    def check_live_set(self, program, source=None):
        found, wanted = self.in_use(source or program.pid), program.live_set()
        by_row = {int(r["start"], 16): (int(r["end"], 16) + 1, r) for r in found.values()}
        starts = sorted(by_row)
        self.assertEqual(len(found), len(wanted))
        for mem, size in wanted.items():
            at = bisect.bisect_right(starts, mem) - 1
            self.assertGreaterEqual(at, 0, "%#x" % mem)
            end, row = by_row[starts[at]]
            self.assertLessEqual(mem + size, end + 8, "%#x of %d bytes: %r" % (mem, size, row))
            if mem in found and size < 100000:
                # A remainder that is too small for a chunk of its own stays.
                self.assertIn(row["size"] - chunk_size(size), (0, 16, 32), "%#x of %d bytes: %r" % (mem, size, row))

    def check_mmapped(self, program, count, total):
        mmapped = self.report(program.pid, "arenas")["mmapped"]
        self.assertEqual((mmapped["count"], mmapped["bytes"]), (count, total))

    def test_no_allocations(self):
        with Program("blocks", "no_allocations") as program:
            self.assertEqual(self.chunks(program.pid), [])
            census = self.report(program.pid)
            self.assertEqual([r for r in census["rows"] if r["domain"] not in ("none", "")
                              and r["kind"].startswith(("uncategorized", "string"))], [])
            self.check_mmapped(program, 0, 0)

    def test_small_allocations(self):
        with Program("blocks", "small") as program:
            rows = self.in_use(program.pid).values()
            self.assertEqual(collections.Counter(r["size"] for r in rows), {32: 1500})
            self.assertEqual(sum(r["size"] for r in rows), 48000)
            self.check_live_set(program)

    def test_large_allocations(self):
        with Program("blocks", "large") as program:
            rows = self.in_use(program.pid).values()
            self.assertEqual(sorted(r["size"] for r in rows), [(i << 20) + 4096 for i in range(1, 11)])
            self.assertEqual(sum(r["size"] for r in rows), 57712640)
            self.check_mmapped(program, 10, 57712640)

    def test_mixed_allocations(self):
        with Program("blocks", "mixed") as program:
            rows = self.in_use(program.pid).values()
            self.assertEqual(collections.Counter(r["size"] for r in rows), {272: 99, 1008: 2, 258048: 1})
            freed = [r for r in self.chunks(program.pid) if r["state"] == "tcache"]
            self.assertEqual([r["size"] for r in freed], [272])
            self.check_live_set(program)

    def test_random_allocations(self):
        for seed in (1, 2, 3):
            with Program("blocks", "random", seed) as program:
                for _ in range(12):
                    self.check_live_set(program)
                    program.go_on()

    def test_random_allocations_without_tcache(self):
        with Program("blocks", "random", 4, environment={"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}) as program:
            for _ in range(8):
                self.check_live_set(program)
                program.go_on()

    def test_random_allocations_in_a_core(self):
        with Program("blocks", "random", 5) as program:
            program.go_on()
            core = self.gcore(program.pid)
            live = self.chunks(program.pid)
            self.check_live_set(program)
            self.check_live_set(program, core)
        self.assertEqual(self.chunks(core), live)

    def test_random_buffers(self):
        with Program("blocks", "random_buffers") as program:
            self.check_live_set(program)
            rows = self.report(program.pid)["rows"]
            self.assertEqual([r for r in rows if r["domain"] in ("python", "cpython", "pyarena", "C++")], [])

    def test_cplusplus(self):
        with Program("classes") as program:
            wanted = {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in program.lines}
            found = {r["kind"]: r["count"] for r in self.report(program.pid)["rows"] if r["domain"] == "C++"}
            self.assertEqual(found, wanted)
            core = self.gcore(program.pid)
        found = {r["kind"]: r["count"] for r in self.report(core)["rows"] if r["domain"] == "C++"}
        self.assertEqual(found, wanted)

    def test_heap_used_and_all(self):
        with Program("blocks", "mixed") as program:
            everything = self.report(program.pid, "all")["rows"]
            used = self.report(program.pid, "used")["rows"]
            free = self.report(program.pid, "free")["rows"]
            self.assertEqual(used, [r for r in everything if r["state"] == "in use"])
            self.assertEqual([r for r in free if r not in everything or r["state"] == "in use"], [])
            self.assertIn("tcache", {r["state"] for r in free})
            self.assertIn("top", {r["state"] for r in free})
            census = self.report(program.pid)
            self.assertEqual(census["total"]["in_use_bytes"], sum(r["size"] for r in used))
            self.assertEqual(census["total"]["in_use_count"], len(used))
            self.assertEqual(census["total"]["bytes"], sum(r["size"] for r in everything))

    def test_32_bit_without_a_libc(self):
        path = os.path.join(BUILD, "bin", "selftest_small32")
        if not os.path.exists(path):
            self.skipTest("no 32-bit program was built (as --32, ld -m elf_i386)")
        try:
            program = Program("small32")
        except (OSError, AssertionError):
            self.skipTest("this kernel runs no 32-bit programs")
        with program:
            live = self.report(program.pid)
            core = self.report(self.gcore(program.pid))
            with open("/proc/%d/maps" % program.pid, encoding="utf-8") as maps:
                ranges = [line.split()[0].split("-") for line in maps if line.split()[1][1::2] == "wp"]
        self.assertEqual(live["total"]["bytes"], sum(int(end, 16) - int(start, 16) for start, end in ranges))
        for report in (live, core):
            self.assertEqual((report["target"]["malloc"], report["target"]["python"]), (None, None))
        # gcore leaves out what the program never wrote to
        self.assertEqual(core["rows"], [row for row in live["rows"] if row["domain"] == "stack"])

    def test_growth(self):
        with Program("blocks", "growing") as program:
            before = set(self.in_use(program.pid))
            program.go_on()
            after = self.in_use(program.pid)
            self.assertEqual(sorted(after[a]["size"] for a in set(after) - before), [5008, 6016, 7008])
            self.assertEqual(before - set(after), set())


if __name__ == "__main__":
    main()
