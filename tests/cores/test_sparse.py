# SPDX-License-Identifier: LGPL-2.1-or-later
"""A core of 20 GB of which a few pages are there: heapwalk takes as long, and as much memory, as they do."""

import json
import os
import resource
import struct
import tempfile

from committed import HeapwalkTest, main, run, unpack_all
from enlarge import enlarge

SIZE = 20 << 30
BASE = 0x100000000000
IS_MMAPPED = 2
MEMORY_BYTES = 256 << 20
CPU_SECONDS = 20  # a walk that reads 20 GB of zeroes takes longer
STEP = 64 << 20
PAGE = bytes(range(256)) * 16


def bounded():
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))


class Sparse(HeapwalkTest):
    def setUp(self):
        super().setUp()
        self.core = unpack_all(self.directory)["c-threads"]
        self.root = os.path.join(self.directory, "root")

    def ask(self, core, *words):
        """The report, and how much memory it took: the page cache that it mapped counts."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        done = run("-c", core, "--sysroot", self.root, *words, "--format", "json", preexec_fn=bounded)
        self.assertEqual((done.returncode, done.stderr), (0, b""), words)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.assertTrue(peak == before or peak << 10 < MEMORY_BYTES, "%s took %d KiB" % (words, peak))
        return json.loads(done.stdout)

    def enlarged(self, first):
        pieces = {at: PAGE for at in range(STEP // 2, SIZE, STEP)}
        pieces[0] = first
        path = os.path.join(self.directory, "sparse")
        enlarge(self.core, path, [(BASE, SIZE, pieces)])
        if os.stat(path).st_blocks * 512 > SIZE // 4:
            self.skipTest("the file system of %s has no sparse files" % tempfile.gettempdir())
        return path

    def check(self, path, command, allocator):
        whole = self.ask(self.core)["total"]["bytes"]
        for words in ((), ("map",), ("arenas",)):
            report = self.ask(path, *words)
            self.assertEqual(report["coverage"]["missing_bytes"], 0)
            if not words:
                self.assertEqual(report["total"]["bytes"], whole + SIZE)
        rows = [r for r in self.ask(path, command)["rows"] if int(r["start"], 16) == BASE]
        self.assertEqual([(r["allocator"], r["size"]) for r in rows], [(allocator, SIZE)])

    def test_memory_of_nobody(self):
        self.check(self.enlarged(PAGE), "all", "none")

    def test_one_chunk(self):
        self.check(self.enlarged(struct.pack("<QQ", 0, SIZE | IS_MMAPPED)), "used", "glibc")


if __name__ == "__main__":
    main()
