#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`arena N` has the bins that malloc_info() of the same stop has, and chunks that cover the arena."""

import os
import subprocess
import sys
import unittest
from xml.etree import ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "selftest"))

from support import BUILD, HeapwalkTest, main, run  # noqa: E402


class Mix:
    """malloc_mix: prints malloc_info(), says "ready" and sleeps."""

    def __init__(self, *words):
        self.process = subprocess.Popen([os.path.join(BUILD, "bin", "malloc_mix"), *words], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def __enter__(self):
        text = ""
        for line in self.process.stdout:
            if line == "ready\n":
                break
            text += line
        self.heaps = ElementTree.fromstring(text[text.index("<malloc"):text.index("</malloc>") + 9]).findall("heap")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def account(heap):
    """{"fastbin", "bin", "unsorted": [(smallest, largest, count, bytes)]} by malloc_info(). Chunks of bins are
    counted there with the flag in their size (malloc/malloc.c: malloc_info)."""
    found = {"fastbin": [], "bin": [], "unsorted": []}
    for size in heap.find("sizes"):
        low, high, total, count = (int(size.get(key)) for key in ("from", "to", "total", "count"))
        if size.tag == "unsorted":
            found["unsorted"].append((low - 1, high - 1, count, total - count))
        elif high % 16 == 0:
            found["fastbin"].append((high, high, count, total))
        else:
            found["bin"].append((low - 1, high - 1, count, total - count))
    return {key: sorted(rows) for key, rows in found.items()}


def bins(report, *names):
    return sorted((row["from_size"], row["to_size"], row["count"], row["bytes"]) for row in report["bins"]
                  if row["bin"] in names)


class Arena(HeapwalkTest):
    def check(self, source, heaps):
        arenas = self.report(source, "arenas")["arenas"]
        self.assertEqual(len(arenas), len(heaps))
        # malloc_info() follows the ring from the main arena, as arenas does
        for number, heap in enumerate(heaps):
            report = self.report(source, "arena", number)
            expected = account(heap)
            self.assertEqual(bins(report, "fastbin"), expected["fastbin"], number)
            self.assertEqual(bins(report, "small bin", "large bin"), expected["bin"], number)
            self.assertEqual(bins(report, "unsorted bin"), expected["unsorted"], number)
            self.assertEqual(report["arena"], arenas[number])
            tcache = [row["bytes"] for row in report["bins"] if row["bin"] == "tcache"]
            self.assertEqual(sum(tcache), arenas[number]["tcache_bytes"])
            self.check_chunks(report)
        self.assertGreater(sum(len(account(heap)["bin"]) for heap in heaps[1:]), 50, "thread arenas have bins")

    def check_chunks(self, report):
        counts, at = {}, 0
        for row in report["chunks"]:
            start, end = int(row["start"], 16), int(row["end"], 16)
            self.assertEqual(end + 1 - start, row["size"])
            self.assertGreaterEqual(start, at)
            at = end + 1
            count, total = counts.get(row["state"], (0, 0))
            counts[row["state"]] = (count + 1, total + row["size"])
        self.assertEqual(report["total"], {"count": sum(c for c, _ in counts.values()),
                                           "bytes": sum(b for _, b in counts.values())})
        arena = report["arena"]
        self.assertEqual(counts.pop("in use"), (arena["in_use_chunks"], arena["in_use_bytes"]))
        self.assertEqual(counts.pop("overhead")[1], arena["overhead_bytes"])
        by_bin = {}
        for row in report["bins"]:
            count, total = by_bin.get(row["bin"], (0, 0))
            by_bin[row["bin"]] = (count + row["count"], total + row["bytes"])
        self.assertEqual(counts, by_bin)
        self.assertEqual(sum(row["size"] for row in report["chunks"]), sum(
            arena[part + "_bytes"] for part in ("in_use", "tcache", "fastbin", "bin", "top", "overhead", "unknown")))

    def test_bins_are_malloc_infos(self):
        with Mix("threads", "mmapped", "foreign") as mix:
            self.check(mix.pid, mix.heaps)
            self.check(self.gcore(mix.pid), mix.heaps)

    def test_long_fastbins(self):
        with Mix("fastbins") as mix:
            report = self.report(mix.pid, "arena", 0)
            self.assertEqual(bins(report, "fastbin"), account(mix.heaps[0])["fastbin"])

    def test_which_arena(self):
        with Mix("threads") as mix:
            second = self.report(mix.pid, "arenas")["arenas"][1]
            self.assertEqual(self.report(mix.pid, "arena", second["address"])["arena"], second)
            for words, sentence in (([], "needs the number"), (["99"], "there is no arena 99"), (["x"], "takes the number")):
                done = run("-p", mix.pid, "arena", *words)
                self.assertEqual(done.returncode, 2, words)
                self.assertIn(sentence, done.stderr.decode())
            for table, other in (("bins", "chunks"), ("chunks", "bins")):
                report = self.report(mix.pid, "arena", 1, "--show", table, "--top", 3)
                self.assertNotIn(other, report)
                self.assertEqual(len(report[table]), 3)
            csv = run("-p", mix.pid, "arena", 1, "--format", "csv", "--top", 1).stdout.decode().splitlines()
            self.assertEqual(csv[0], "bin,index,from_size,to_size,count,bytes")
            self.assertEqual(len(csv), 2)


if __name__ == "__main__":
    main()
