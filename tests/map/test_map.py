#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`map` says what /proc/PID/smaps and status say at the same stop, and leaves next to nothing unknown."""

import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "selftest"), os.path.join(HERE, "..", "matrix"), HERE]

import closes  # noqa: E402
import interpreters  # noqa: E402
from process import Target  # noqa: E402
from stepper import Stepper  # noqa: E402
from support import BUILD, HEAPWALK, HeapwalkTest, main  # noqa: E402

DICTS = 100000


class Map(HeapwalkTest):
    def check(self, pid, what):
        kernel = closes.Kernel(pid)
        report = self.report(pid, "map")
        self.assertEqual(closes.problems(report, kernel), [], what)
        self.assertEqual(report["resident_from"], "kernel")
        return report

    def check_core(self, pid, live, what):
        report = self.report(self.gcore(pid), "map")
        self.assertEqual(closes.core_problems(report, live), [], what)
        return report

    def program(self, name, *arguments):
        return Target([os.path.join(BUILD, "bin", name), *arguments], {})

    def test_c_program(self):
        for name in ("map_target", "map_target_static"):
            with self.program(name) as target:
                live = self.check(target.pid, name)
                self.check_core(target.pid, live, name)
                # three live stacks, the cached ones of those that ended, and the main thread's
                stacks = self.report(target.pid, "select", "domain = 'stack'")["rows"]
                kinds = [row["kind"] for row in stacks]
                self.assertEqual(kinds.count("thread"), 3, name)
                self.assertGreaterEqual(kinds.count("cached"), 1, name)
                self.assertEqual(kinds.count("main thread"), 1, name)
                # what trimming gave back is virtual only
                tails = self.report(target.pid, "select", "kind = 'trimmed heap tail'")["rows"]
                self.assertGreaterEqual(len(tails), 3, name)
                free = closes.line(live, "malloc free")
                self.assertGreaterEqual(free["virtual_bytes"], sum(row["size"] for row in tails))
                # half of the big chunk was written
                used = closes.line(live, "malloc in use")
                self.assertGreater(used["virtual_bytes"] - used["resident_bytes"], (4 << 20) - 8192)
                self.assertGreater(used["resident_bytes"], 4 << 20)

    def test_pages_that_were_only_read(self):
        with self.program("map_target", "zeros") as target:
            report = self.check(target.pid, "zeros")
            used = closes.line(report, "malloc in use")
            self.assertLess(used["resident_bytes"], 1 << 20)

    def test_memory_shared_with_a_fork(self):
        with self.program("map_target", "fork") as target:
            self.check(target.pid, "fork")

    def test_kernel_without_pagemap_scan(self):
        for mode in ("plain", "zeros", "fork"):
            with self.program("map_target", mode) as target:
                kernel = closes.Kernel(target.pid)
                done = subprocess.run([os.path.join(BUILD, "bin", "map_without_scan"), HEAPWALK, "-p", str(target.pid),
                                       "map", "--format", "json"], capture_output=True, check=False)
                if done.returncode == 77:
                    self.skipTest("no seccomp filters here")
                self.assertEqual((done.returncode, done.stderr), (0, b""), mode)
                report = json.loads(done.stdout)
                knows_huge = report["total"]["huge_bytes"] is not None
                self.assertEqual(knows_huge, not kernel.private_writable["huge_bytes"])
                self.assertEqual(closes.problems(report, kernel, knows_huge), [], mode)

    def test_every_python(self):
        found, left_out = interpreters.find()
        for reason in left_out:
            print("skip: %s" % reason)
        for each in found:
            if each.root:
                continue  # its process would live in another root: the matrix has that
            command = [each.path, os.path.join(HERE, "..", "matrix", "target.py"), "threads", "{directory}"]
            with Target(command, {}) as target:
                live = self.check(target.pid, each.name)
                for what in ("Python objects", "Python objects' buffers", "thread stacks"):
                    self.assertGreater(closes.line(live, what)["resident_bytes"], 0, (each.name, what))
                if each.group in ("2.7", "3.8", "3.13", "system"):
                    self.check_core(target.pid, live, each.name)

    def test_dictionaries_made_dropped_made(self):
        """Document 004's example: at each step, the ledger is the kernel's."""
        found = [each for each in interpreters.find()[0] if each.group in ("2.7", "3.8", "3.11", "3.13", "system")]
        for each in found:
            objects, rss = [], []
            with Stepper(each.path, os.path.join(HERE, "steps.py"), str(DICTS)) as target:
                for step in range(4):
                    if step:
                        target.go_on()
                    report = self.check(target.pid, "%s, step %d" % (each.name, step))
                    objects.append(closes.line(report, "Python objects")["resident_bytes"])
                    rss.append(report["process"]["resident_bytes"])
                    free = closes.line(report, "pymalloc free")
                    if step == 2:
                        # What the dictionaries had is pymalloc's, or the kernel's again.
                        freed = objects[1] - objects[2]
                        kept = free["resident_bytes"]
                        self.assertGreaterEqual(kept + (rss[1] - rss[2]), freed * 0.9, each.name)
            made = objects[1] - objects[0]
            self.assertGreater(made, DICTS * 48, each.name)  # the least a dict with its GC head takes
            self.assertLess(objects[2] - objects[0], made / 20, each.name)
            self.assertLess(abs(objects[3] - objects[1]), made / 50, each.name)
            self.assertLess(abs(rss[3] - rss[1]), made / 10, each.name)


if __name__ == "__main__":
    main()
