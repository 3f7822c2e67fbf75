#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`-by module` and `-by arena`: counts that the target is known to have, sums that other commands have."""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "selftest"), os.path.join(HERE, "..", "matrix"), HERE]

import interpreters  # noqa: E402
from stepper import Stepper  # noqa: E402
from support import HeapwalkTest, main, run  # noqa: E402


class Groups(HeapwalkTest):
    def check_modules(self, source, name):
        report = self.report(source, "census", "--by", "module")
        modules = {row["module"]: row["count"] for row in report["rows"] if row["domain"] == "python"}
        self.assertEqual(modules["__main__"], 5000, name)
        # constants of the modules themselves besides: date.min, decimal's contexts, …
        self.assertIn(modules["datetime"], range(3000, 3100), name)
        self.assertIn(modules["decimal"], range(2000, 2100), name)
        self.assertGreater(modules["builtins"], 1000, name)
        files = {row["module"] for row in report["rows"] if row["domain"] == "file"}
        self.assertIn("libc.so.6", files, name)
        by_domain = {row["domain"]: row["bytes"] for row in self.report(source, "census", "--by", "domain")["rows"]}
        sums = {}
        for row in report["rows"]:
            sums[row["domain"]] = sums.get(row["domain"], 0) + row["bytes"]
        self.assertEqual(sums, by_domain, name)

    def check_arenas(self, source, name):
        rows = self.report(source, "census", "--by", "arena")["rows"]
        found = {(row["allocator"], row["arena"]): row["bytes"] for row in rows}
        self.assertEqual(len(found), len(rows), name)
        malloc = self.report(source, "arenas")
        tails = self.report(source, "select", "kind = 'trimmed heap tail'")["total"]["bytes"]
        expected = {}
        for arena in malloc["arenas"]:
            expected["glibc", "arena %d" % arena["index"]] = sum(
                value for key, value in arena.items() if key.endswith("_bytes") and key != "system_bytes")
        if malloc["mmapped"]["count"]:
            expected["glibc", "mmapped"] = malloc["mmapped"]["bytes"]
        pymalloc = self.report(source, "cpython-allocators")
        for interpreter in pymalloc["interpreters"]:
            for arena in interpreter["arenas"]:
                expected["pymalloc", arena["start"]] = pymalloc["arena_bytes"]
        others = sum(found.pop(key) for key in list(found) if key[0] == "none")
        self.assertEqual(set(found), set(expected), name)
        self.assertEqual(sum(found.values()), sum(expected.values()) + tails, name)
        if not tails:
            self.assertEqual(found, expected, name)
        total = self.report(source, "census")["total"]["bytes"]
        self.assertEqual(sum(found.values()) + others, total, name)
        self.assertGreaterEqual(len(malloc["arenas"]), 2, name)

    def check_lists(self, source, name):
        """Blocks that a query finds, grouped by us and by the command."""
        for command in (["select", "allocator = 'glibc' and size > 100"], ["free"], ["used"]):
            blocks = self.report(source, *command)["rows"]
            for by, members in (("kind", ("domain", "kind")), ("size", ("domain", "size")), ("allocator", ("allocator",))):
                expected = {}
                for block in blocks:
                    key = tuple(block[member] for member in members)
                    count, total = expected.get(key, (0, 0))
                    expected[key] = (count + 1, total + block["size"])
                report = self.report(source, *command, "--by", by)
                found = {tuple(row[member] for member in members): (row["count"], row["bytes"]) for row in report["rows"]}
                self.assertEqual(found, expected, (name, command, by))
                self.assertEqual(report["total"], {"count": len(blocks), "rows": len(expected),
                                                   "bytes": sum(block["size"] for block in blocks)})
            arenas = self.report(source, *command, "--by", "arena", "--sort", "count:asc", "--top", 2)
            self.assertEqual(arenas["total"]["count"], len(blocks))
            self.assertLessEqual(len(arenas["rows"]), 2)
        done = run("-p", source, "used", "--sort", "bytes")
        self.assertEqual(done.returncode, 2)
        self.assertIn("group them", done.stderr.decode())

    def test_groups(self):
        found = [each for each in interpreters.find()[0] if each.group in ("2.7", "3.11", "3.13")]
        for each in found:
            with Stepper(each.path, os.path.join(HERE, "groups.py")) as target:
                self.check_modules(target.pid, each.name)
                self.check_arenas(target.pid, each.name)
                if each.group == "3.11":
                    self.check_lists(target.pid, each.name)
                if each.group == "3.13":
                    core = self.gcore(target.pid)
                    self.check_modules(core, each.name)
                    self.check_arenas(core, each.name)


if __name__ == "__main__":
    main()
