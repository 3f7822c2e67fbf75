# SPDX-License-Identifier: LGPL-2.1-or-later
"""A core of some gigabytes that are all there, under a bound far below them for heapwalk's own memory.

The core is mapped, not copied: what of it is in RAM is page cache that the kernel takes back when it likes. What heapwalk
itself asks for (RLIMIT_DATA: private writable memory) does not grow with the core but with its blocks.
"""

import json
import os
import resource
import shutil
import struct

from committed import HeapwalkTest, main, run, unpack_all
from enlarge import enlarge

BASE = 0x100000000000
SIZE = 2 << 30
PIECE = 32 << 20
OWN_MEMORY_BYTES = 160 << 20
IS_MMAPPED = 2


def bounded():
    resource.setrlimit(resource.RLIMIT_DATA, (OWN_MEMORY_BYTES, OWN_MEMORY_BYTES))


class Dense(HeapwalkTest):
    def setUp(self):
        super().setUp()
        self.core = unpack_all(self.directory)["c-threads"]
        if shutil.disk_usage(self.directory).free < 3 * SIZE:
            self.skipTest("no room for a core of %d bytes" % SIZE)
        noise = os.urandom(PIECE)
        pieces = {at: noise for at in range(0, SIZE, PIECE)}
        pieces[SIZE // 2] = struct.pack("<QQ", 0, SIZE // 2 | IS_MMAPPED) + noise[16:]
        self.dense = os.path.join(self.directory, "dense")
        # Two mappings side by side would be one: a page apart.
        enlarge(self.core, self.dense, [
            (BASE, SIZE // 2, {at: noise for at in range(0, SIZE // 2, PIECE)}),
            (BASE + SIZE, SIZE // 2, {at - SIZE // 2: part for at, part in pieces.items() if at >= SIZE // 2})])

    def ask(self, core, *words):
        done = run("-c", core, "--sysroot", os.path.join(self.directory, "root"), *words, "--format", "json",
                   preexec_fn=bounded)
        self.assertEqual((done.returncode, done.stderr), (0, b""), words)
        return json.loads(done.stdout)

    def test_bounded(self):
        small = self.ask(self.core)
        for words in ((), ("map",), ("arenas",)):
            report = self.ask(self.dense, *words)
            self.assertEqual(report["coverage"]["missing_bytes"], 0)
            if not words:
                self.assertEqual(report["total"]["bytes"], small["total"]["bytes"] + SIZE)
        rows = [(r["start"], r["allocator"], r["size"]) for r in self.ask(self.dense, "all")["rows"]
                if int(r["start"], 16) >= BASE and r["size"] == SIZE // 2]
        self.assertEqual(rows, [(hex(BASE), "none", SIZE // 2), (hex(BASE + SIZE), "glibc", SIZE // 2)])
        # The bound is one: with a twentieth of it there is no answer that looks like a whole one.
        done = run("-c", self.dense, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_DATA, (OWN_MEMORY_BYTES // 20, OWN_MEMORY_BYTES // 20)))
        self.assertNotEqual(done.returncode, 0)


if __name__ == "__main__":
    main()
