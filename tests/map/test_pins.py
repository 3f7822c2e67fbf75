#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`pins` says what would be given back; then the target gives it back, and the kernel counts."""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "selftest"), os.path.join(HERE, "..", "matrix"), HERE]

import closes  # noqa: E402
import interpreters  # noqa: E402
from stepper import Stepper  # noqa: E402
from support import BUILD, HeapwalkTest, main  # noqa: E402

TOP_PAD = 128 << 10  # malloc's M_TOP_PAD and M_TRIM_THRESHOLD: that much it keeps
PAGE = 4096


def resident(pid):
    return closes.Kernel(pid).private_writable["resident_bytes"]


class Pins(HeapwalkTest):
    def target(self):
        return Stepper(os.path.join(BUILD, "bin", "pins_target"))

    def malloc_row(self, source):
        report = self.report(source, "pins")
        rows = [row for row in report["rows"] if row["allocator"] == "glibc"]
        self.assertEqual(len(rows), 1)
        self.assertEqual(report["total"]["free_bytes"], sum(row["free_bytes"] for row in report["rows"]))
        return report, rows[0]

    def test_the_pin_is_the_last_block(self):
        with self.target() as target:
            _, row = self.malloc_row(target.pid)
            self.assertEqual(int(row["pin_start"], 16) + 16, int(target.lines[0], 16))
            self.assertEqual(row["pin_bytes"], 3008)
            # 3000 blocks and the fifteen that stay, less the tcache, which has none of that size
            self.assertEqual(row["free_bytes"] - row["free_bytes"] % 3008, (3000 - 16) * 3008)
            self.assertEqual(row["free_bytes"], row["free_resident_bytes"])
            _, core = self.malloc_row(self.gcore(target.pid))
            for key in row:
                if not key.endswith("resident_bytes") and key not in ("freed_bytes", "trim_bytes"):
                    self.assertEqual(core[key], row[key], key)

    def test_freeing_the_pin(self):
        with self.target() as target:
            _, row = self.malloc_row(target.pid)
            before = resident(target.pid)
            target.go_on(b"f")
            given = before - resident(target.pid)
            self.assertGreater(row["freed_bytes"], 1500 * 3008 - PAGE)
            self.assertLessEqual(abs(row["freed_bytes"] - given), TOP_PAD + PAGE)

    def test_malloc_trim(self):
        with self.target() as target:
            report, row = self.malloc_row(target.pid)
            before = resident(target.pid)
            target.go_on(b"t")
            self.assertEqual(before - resident(target.pid), report["total"]["trim_bytes"])
            self.assertEqual(report["total"]["trim_bytes"], row["trim_bytes"])
            self.assertGreater(row["trim_bytes"], 8 << 20)
            again, _ = self.malloc_row(target.pid)
            self.assertEqual(again["total"]["trim_bytes"], 0)

    def arenas(self, pid):
        interpreter = self.report(pid, "cpython-allocators")["interpreters"][0]
        return {row["start"] for row in interpreter["arenas"]}

    def test_pymalloc(self):
        found = [each for each in interpreters.find()[0] if each.group in ("2.7", "3.8", "3.11", "3.13", "system")]
        for each in found:
            with Stepper(each.path, os.path.join(HERE, "pins.py")) as target:
                report = self.report(target.pid, "pins")
                held = [row for row in report["rows"] if row["pin_kind"] == "Kept"
                        and row["used_count"] == row["pin_count"]]
                holder = next(row for row in report["holders"] if row["kind"] == "Kept")
                self.assertGreaterEqual(len(held), 5, each.name)
                # all of them, but perhaps one that a neighbour's objects are in
                self.assertGreaterEqual(sum(row["pin_count"] for row in held), 30, each.name)
                self.assertEqual(holder["alone"], len(held), each.name)
                self.assertLessEqual(holder["count"], 40, each.name)
                arenas, before = self.arenas(target.pid), resident(target.pid)
                self.assertLessEqual({row["start"] for row in held}, arenas)
                target.go_on()
                gone = arenas - self.arenas(target.pid)
                given = before - resident(target.pid)
                # obmalloc keeps one for the next that asks
                self.assertGreaterEqual(len(gone & {row["start"] for row in held}), len(held) - 1, each.name)
                expected = sum(row["freed_bytes"] for row in report["rows"] if row["start"] in gone)
                self.assertLess(abs(given - expected), 1 << 18, each.name)


if __name__ == "__main__":
    main()
