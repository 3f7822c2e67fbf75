# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cores cut at every 5 %: status and coverage are right, and no row says what the whole core contradicts."""

import bisect
import json
import lzma
import os
import struct

from committed import COREFILES, HeapwalkTest, main, parse_rows, run, unpack_all
from enlarge import PHDR, PT_LOAD, turn

import oracles

COMPARED = ("allocator", "state", "domain", "kind", "detail", "object", "refcount")


def heap_segments(core, maps):
    """[(place in the file, bytes)] of memory that an allocator may have: private, writable, no file's, no stack."""
    heaps = [m for m in maps if m.path in ("", "[heap]") and m.perms.startswith("rw") and m.perms.endswith("p")]
    with open(core, "rb") as f:
        header = f.read(64)
        at, = struct.unpack_from("<Q", header, 32)
        count, = struct.unpack_from("<H", header, 56)
        f.seek(at)
        table = f.read(count * PHDR.size)
    found = []
    for kind, _, place, address, _, size, _, _ in PHDR.iter_unpack(table):
        if kind == PT_LOAD and any(m.start <= address < m.end for m in heaps):
            found.append((place, size))
    return found


def contradiction(row, whole):
    """Why the two can't both be true; None: they can. `row` may know less."""
    if row["state"] == "unknown" or (row["allocator"] == "none" and row["kind"] == "bytes missing"):
        return None
    if whole is None:
        return "there is no such block"
    differ = [c for c in COMPARED if row[c] != whole[c] and row[c]]
    if row["kind"] == "free chunk" and row["state"] == "free":  # which list it is on is not known
        return None if whole["state"] not in ("in use", "overhead") else "it is " + whole["state"]
    if "state" not in differ and row["state"] == "in use":
        # What nobody is seen to own is uncategorized, or called after what is in it.
        if row["domain"] == "uncategorized" or (row["domain"], row["kind"]) == ("C", "string data"):
            return None
    return ", ".join("%s %s, not %s" % (c, row[c], whole[c]) for c in differ)


class Cut(HeapwalkTest):
    def setUp(self):
        super().setUp()
        self.cores = unpack_all(self.directory)

    def ask(self, core, *words):
        return run("-c", core, "--sysroot", os.path.join(self.directory, "root"), *words)

    def check(self, name, turned, steps):
        core = self.cores[name]
        if turned:
            core += ".turned"
            turn(self.cores[name], core)
        with lzma.open(os.path.join(COREFILES, "cores", name + ".maps.xz"), "rt") as f:
            heaps = heap_segments(core, oracles.parse_mappings(f.read()))
        whole = json.loads(self.ask(core, "--format", "json").stdout)["coverage"]
        self.assertEqual((whole["heap_bytes"], whole["missing_bytes"]), (sum(size for _, size in heaps), 0))
        done = self.ask(core, "all", "--format", "csv")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        rows = parse_rows(done.stdout.decode())
        by_place = {(r["start"], r["size"]): r for r in rows}
        starts = sorted(int(r["start"], 16) for r in rows)
        with open(core, "rb") as f:
            content = f.read()
        told = 0
        for percent in steps:
            with self.subTest(core=os.path.basename(core), percent=percent):
                cut = len(content) * percent // 100
                path = os.path.join(self.directory, "cut")
                with open(path, "wb") as f:
                    f.write(content[:cut])
                done = self.ask(path, "--format", "json")
                self.assertEqual(done.returncode, 1, done.stderr)
                report = json.loads(done.stdout)
                self.assertTrue(report["partial"])
                # Why, how much of it is there, and what to do; what can't be read is not called damaged.
                self.assertRegex(report["partial_reason"], "the core is cut short at %d.0 %% of its length; " % percent)
                self.assertNotRegex(str([i["message"] for i in report["issues"]]), "either it is damaged|itself as its")
                self.assertEqual(report["coverage"]["missing_bytes"],
                                 sum(min(size, max(0, place + size - cut)) for place, size in heaps))
                done = self.ask(path, "all", "--format", "csv")
                self.assertEqual(done.returncode, 1)
                wrong = []
                for row in parse_rows(done.stdout.decode()):
                    same = by_place.get((row["start"], row["size"]))
                    if same is None and row["allocator"] != "none":
                        start = int(row["start"], 16)
                        at = bisect.bisect_left(starts, start)
                        same_start = at < len(starts) and starts[at] == start
                        why = contradiction(row, None)
                        if why:
                            wrong.append((row["start"], row["size"], "another size" if same_start else why))
                        continue
                    why = contradiction(row, same) if same else None
                    told += row["allocator"] != "none" and row["state"] in ("in use", "free")
                    if why:
                        wrong.append((row["start"], row["size"], why))
                self.assertEqual(wrong[:5], [])
        return told

    def test_as_the_kernel_writes_it(self):
        self.check("c-threads", False, range(5, 100, 5))
        self.check("3.11-fragmented", False, range(5, 100, 5))
        self.check("3.13-objects", False, range(5, 100, 5))

    def test_libraries_first(self):
        self.assertGreater(self.check("c-threads", True, range(5, 100, 5)), 100)
        self.assertGreater(self.check("3.11-fragmented", True, range(5, 100, 5)), 100000)
        self.assertGreater(self.check("3.13-objects", True, range(70, 100, 10)), 50000)


if __name__ == "__main__":
    main()
