#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`stats` at work: a busy process, tracemalloc, the two documents that teach people to read the text, refusals.

That the text is the process's own on every workload, live and from cores, is the matrix's business (tests/matrix).
"""

import csv
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "matrix"))

import interpreters  # noqa: E402
import oracles  # noqa: E402
from process import PAUSE, heapwalk_command, run_heapwalk  # noqa: E402

HEAPWALK = heapwalk_command()
FOUND = [i for i in interpreters.find()[0] if i.version >= (3, 6) and not i.root]

# Never waits: blocks come and go all the time, every now and then in number.
CHANGING = """
import sys
kept, more, i = {}, None, 0
while True:
    kept[i % 5000] = (i, str(i))
    if i % 50000 == 25000:
        more = [[j] for j in range(20000)]
    if i % 50000 == 40000:
        more = None
    if i == 100000:
        print("ready")
        sys.stdout.flush()
    i += 1
"""


class Parts:
    """A target that goes on from part to part."""

    def __init__(self, python, program, number, environment=None):
        self.directory = tempfile.TemporaryDirectory(prefix="heapwalk-stats-")
        self.process = subprocess.Popen(
            [python, os.path.join(HERE, "target.py"), program, self.directory.name, str(number)],
            env=dict({k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}, **(environment or {})))
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.directory.cleanup()

    def part(self, number):
        """What the process printed itself; it waits in pause(2) when this returns."""
        path = os.path.join(self.directory.name, "part-%d" % number)
        deadline = time.monotonic() + 120
        while not (os.path.exists(path) and os.path.getsize(path) and self.is_paused()):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the target does not come to part %d" % number)
            os.sched_yield()
        with open(path) as f:
            return f.read()

    def is_paused(self):
        with open("/proc/%d/syscall" % self.pid) as f:
            return f.read().split()[0] == PAUSE

    def go_on(self):
        os.kill(self.pid, signal.SIGUSR1)

    def ask(self, *words):
        return run_heapwalk(HEAPWALK, ["-p", str(self.pid), "stats"] + list(words))


def number_in(text, pattern):
    return int(re.search(pattern, text).group(1).replace(",", ""))


def difference(before, after, size):
    """Blocks in use of a size class that came or went."""
    return sum(c.blocks_in_use for c in after.classes if c.size == size) - sum(
        c.blocks_in_use for c in before.classes if c.size == size)


def free_dicts(stats):
    return sum(count for kind, _, count, _ in stats.free_lists if kind == "PyDictObject")


def anonymous_bytes(pid):
    """Of mappings that are neither a file's nor brk's, as the kernel counts them."""
    return sum(m.end - m.start for m in oracles.private_writable(oracles.read_mappings(pid)) if not m.path)


@unittest.skipUnless(FOUND, "no interpreter of 3.6 to 3.13")
class Stats(unittest.TestCase):
    def same(self, answer, text):
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        self.assertEqual(answer.stdout.decode(), text)

    def test_a_busy_process(self):
        """It can't be read asleep: it is stopped, and prints the same."""
        for interpreter in FOUND:
            with self.subTest(interpreter.name), Parts(interpreter.path, "busy", 3000) as target:
                text = target.part(0)
                self.same(target.ask(), text)
                answer = target.ask("--explain")
                self.assertTrue(answer.stdout.decode().startswith(text + "\n"))
                self.assertRegex(answer.stdout.decode(), r"the process was stopped for \d+\.\d+ ms\n$")
                self.assertGreater(target.ask("--format", "json").report["stopped_seconds"], 0)

    def test_a_heap_that_changes(self):
        """Nobody can say what its text would be; but of one moment the lines add up, and nothing contradicts itself."""
        for interpreter in FOUND[:1] + FOUND[-1:]:
            with self.subTest(interpreter.name):
                target = subprocess.Popen([interpreter.path, "-c", CHANGING], stdout=subprocess.PIPE)
                try:
                    self.assertEqual(target.stdout.readline(), b"ready\n")
                    for _ in range(12):
                        answer = run_heapwalk(HEAPWALK, ["-p", str(target.pid), "stats"])
                        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
                        stats = oracles.PymallocStats(answer.stdout.decode())
                        self.assertEqual(stats.allocated_bytes, sum(c.size * c.blocks_in_use for c in stats.classes))
                        self.assertEqual(stats.total_bytes, stats.arenas_total_bytes)
                finally:
                    target.kill()
                    target.wait()
                    target.stdout.close()

    def test_a_process_that_sleeps(self):
        with Parts(FOUND[-1].path, "made_dropped_made", 10) as target:
            target.part(0)
            if not os.path.exists("/proc/self/task/%d/schedstat" % os.getpid()):
                self.skipTest("this kernel does not count when a thread ran")
            self.assertEqual(target.ask("--format", "json").report["stopped_seconds"], 0)

    def test_tracemalloc(self):
        """sys._debugmallocstats() leaves pymalloc out while it is hidden behind hooks."""
        for interpreter in FOUND:
            with self.subTest(interpreter.name), Parts(interpreter.path, "traced", 1000) as target:
                text = target.part(0)
                self.assertNotIn("arenas", text)
                self.same(target.ask(), text)
                report = target.ask("--format", "json").report
                self.assertEqual(report["allocator"], "other")
                self.assertGreater(report["arenas"], 0)
                self.assertIn("hooks stand before pymalloc", target.ask("--explain").stdout.decode())

    def test_document_000(self):
        """1000 dictionaries made, deleted, collected: each part from outside as from inside, and what the
        document's students should see."""
        for interpreter in FOUND:
            with self.subTest(interpreter.name), Parts(interpreter.path, "dictionaries", 1000) as target:
                stats, explained = [], []
                for part in range(4):
                    text = target.part(part)
                    answer = target.ask("--explain")
                    outside = answer.stdout.decode()
                    self.assertEqual(outside[:len(text)], text)
                    self.same(target.ask(), text)
                    stats.append(oracles.PymallocStats(outside))
                    explained.append(outside[len(text):])
                    target.go_on()
                # The class of a dict's block: the object with the collector's head before it. Debug
                # builds have their hooks' bytes in it as well.
                size = 48 + (32 if interpreter.version < (3, 8) else 16)
                size += 24 if interpreter.debug else 0
                size = (size + 15) // 16 * 16
                base, made, deleted, collected = stats
                from_free_list = free_dicts(base) - free_dicts(made)
                self.assertGreaterEqual(difference(base, made, size) + from_free_list, 1000)
                self.assertGreater(made.allocated_bytes, base.allocated_bytes)
                # Deleted ones go to the free list until it is full, the others are freed.
                self.assertGreaterEqual(free_dicts(deleted), 80)
                self.assertLessEqual(difference(made, deleted, size), -900)
                self.assertLess(deleted.allocated_bytes, made.allocated_bytes)
                # A collection empties the free lists.
                self.assertLess(free_dicts(collected), free_dicts(deleted))
                for one, text in zip(stats, explained):
                    self.answers(one, text)

    def answers(self, stats, text):
        """What the document asks its students to work out."""
        self.assertEqual(number_in(text, r"arenas: ([\d,]+) of"), stats.arenas)
        self.assertEqual(number_in(text, r"  ([\d,]+) were allocated in all"), stats.arenas_allocated_total)
        self.assertEqual(number_in(text, r"all, ([\d,]+) of these were given back"),
                         stats.arenas_allocated_total - stats.arenas)
        self.assertEqual(number_in(text, r"never more than ([\d,]+) at a time"), stats.arenas_highwater)
        efficiency = float(re.search(r"efficiency: ([\d.]+) %", text).group(1))
        self.assertAlmostEqual(efficiency, 100 * stats.allocated_bytes / stats.arenas_total_bytes, delta=0.1)
        for what, wanted in (("allocated blocks", stats.allocated_bytes), ("free blocks", stats.available_bytes),
                             ("unused pools", stats.unused_pools_bytes), ("lost to quantization", stats.quantization_bytes)):
            self.assertEqual(number_in(text, r"([\d,]+) bytes +[\d.]+ %%  [\w, ()]*%s" % what), wanted)
        self.assertEqual(number_in(text, r"free lists: ([\d,]+) dead"), sum(f[2] for f in stats.free_lists))
        bins = [[int(n.replace(",", "")) for n in row] for row in re.findall(
            r"(?m)^ *\d+ - \d+ % +([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)$", text)]
        self.assertEqual([sum(column) for column in zip(*bins)],
                         [stats.arenas, sum(c.blocks_in_use for c in stats.classes), stats.allocated_bytes,
                          stats.unused_pools])
        # Packed, as the process's own table tells.
        pools = sum(-(-c.blocks_in_use // ((stats.pool_bytes - 48) // c.size)) for c in stats.classes)
        self.assertEqual(number_in(text, r"would fill ([\d,]+) pools"), pools)
        self.assertEqual(number_in(text, r"pools instead of ([\d,]+),"), sum(c.pools for c in stats.classes))

    def test_document_004(self):
        """2 000 000 dicts made, dropped, made: where the memory is at each step, as the kernel sees it too."""
        old = [i for i in FOUND if i.version < (3, 10) and not i.debug]
        new = [i for i in FOUND if i.version >= (3, 10) and not i.debug]
        for interpreter in old[-1:] + new[-1:]:
            with self.subTest(interpreter.name), Parts(interpreter.path, "made_dropped_made", 2000000) as target:
                steps, mapped = [], []
                for part in range(4):
                    text = target.part(part)
                    answer = target.ask("--explain")
                    self.assertEqual(answer.stdout.decode()[:len(text)], text)
                    self.answers(oracles.PymallocStats(text), answer.stdout.decode()[len(text):])
                    steps.append(oracles.PymallocStats(text))
                    mapped.append(anonymous_bytes(target.pid))
                    self.ledger_agrees(target, steps[-1])
                    target.go_on()
                for (one, there), (other, here) in zip(zip(steps, mapped), list(zip(steps, mapped))[1:]):
                    # Nothing else of the process changes its mappings, but for a node of the arenas' tree.
                    self.assertEqual(other.map_bot_nodes, one.map_bot_nodes)
                    self.assertEqual(here - there, other.arenas_total_bytes - one.arenas_total_bytes)
                rest, made, dropped, again = steps
                self.assertGreaterEqual(made.allocated_bytes - rest.allocated_bytes, 2000000 * 64 - 80 * 64)
                # Dropped, they are given back but for what keeps an arena, and the second time costs the same.
                self.assertLess(dropped.allocated_bytes, rest.allocated_bytes + (1 << 20))
                self.assertLess(dropped.arenas, made.arenas // 10)
                self.assertGreater(dropped.arenas_allocated_total - dropped.arenas, made.arenas // 2)
                self.assertLessEqual(abs(again.arenas - made.arenas), 2)
                self.assertLessEqual(again.arenas_highwater, made.arenas_highwater + 2)

    def ledger_agrees(self, target, stats):
        """`map` has the same bytes free and as overhead; its total is the kernel's."""
        report = run_heapwalk(HEAPWALK, ["-p", str(target.pid), "map", "--format", "json"]).report
        rows = {row["what"]: row["virtual_bytes"] for row in report["rows"]}
        self.assertEqual(rows["pymalloc free"], stats.available_bytes + stats.unused_pools_bytes)
        self.assertEqual(rows["pymalloc overhead"],
                         stats.pool_headers_bytes + stats.quantization_bytes + stats.arena_alignment_bytes)
        self.assertEqual(report["difference"]["virtual_bytes"], 0)

    def test_csv(self):
        with Parts(FOUND[-1].path, "dictionaries", 10) as target:
            stats = oracles.PymallocStats(target.part(0))
            rows = dict(csv.reader(io.StringIO(target.ask("--format", "csv").stdout.decode(), newline="")))
            self.assertEqual(rows["arenas"], str(stats.arenas))
            self.assertEqual(rows["allocated_bytes"], str(stats.allocated_bytes))
            for c in stats.classes:
                self.assertEqual(rows["size_classes.%d.blocks_in_use" % c.size], str(c.blocks_in_use))
            for kind, length, count, _ in stats.free_lists:
                name = "free_lists.%s" % kind + (".%d" % length if length else "")
                self.assertEqual(rows[name], str(count))

    def test_refusals(self):
        with Parts(FOUND[-1].path, "dictionaries", 10) as target:
            target.part(0)
            for wrong in ("7", "main", "-1", "0x0"):
                answer = target.ask("--interpreter=" + wrong)
                self.assertEqual((answer.returncode, answer.stdout), (3, b""))
                self.assertIn("there is no interpreter %s in this process: there is 0" % wrong, answer.stderr)
        sleeper = subprocess.Popen(["sleep", "1000"])
        try:
            answer = run_heapwalk(HEAPWALK, ["-p", str(sleeper.pid), "stats"])
        finally:
            sleeper.kill()
            sleeper.wait()
        self.assertEqual((answer.returncode, answer.stdout), (3, b""))
        self.assertIn("no CPython was found", answer.stderr)

    def test_mimalloc(self):
        """Another allocator is named, its words are the process's own."""
        mine = [i for i in FOUND if i.version >= (3, 13)]
        if not mine:
            self.skipTest("no 3.13")
        with Parts(mine[-1].path, "dictionaries", 10, {"PYTHONMALLOC": "mimalloc"}) as target:
            target.part(0)
            answer = target.ask("--explain")
            self.assertEqual(answer.returncode, 0, answer.stderr)
            self.assertIn(b"Bytes Reserved: ", answer.stdout)
            self.assertIn(b"allocator: mimalloc", answer.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
