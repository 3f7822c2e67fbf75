# SPDX-License-Identifier: LGPL-2.1-or-later
"""A compressed core has the rows of the core; one that is cut or damaged says so."""

import gzip
import lzma
import os
import resource
import shutil
import signal
import subprocess
import tempfile

from committed import HeapwalkTest, main, run, unpack_all

TOOLS = {"zst": ["zstd", "-q", "-c"], "lz4": ["lz4", "-q", "-c"], "xz": ["xz", "-0", "-c"], "gz": ["gzip", "-1", "-c"]}
SPILL_BYTES = 80 << 20  # more than is unpacked in memory


class Compressed(HeapwalkTest):
    @classmethod
    def setUpClass(cls):
        cls.shared = tempfile.mkdtemp(prefix="heapwalk-compressed-")
        cls.addClassCleanup(shutil.rmtree, cls.shared, True)
        cls.core = unpack_all(cls.shared)["3.11-fragmented"]
        with open(cls.core, "rb") as f:
            cls.bytes = f.read()
        cls.packed = {}
        for suffix, tool in TOOLS.items():
            if shutil.which(tool[0]):
                cls.packed[suffix] = subprocess.run(tool + [cls.core], stdout=subprocess.PIPE, check=True).stdout
        cls.rows = cls.ask(cls.core).stdout

    @classmethod
    def ask(cls, core, *words, **options):
        words = words or ("all", "--format", "csv")
        return run("-c", core, "--sysroot", os.path.join(cls.shared, "root"), *words, **options)

    def write(self, content, name="packed"):  # what it is called says nothing
        path = os.path.join(self.directory, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def check_same(self, content, **options):
        done = self.ask(self.write(content), **options)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertTrue(done.stdout == self.rows, "other rows than of the core itself")

    def test_formats(self):
        for suffix, tool in TOOLS.items():
            with self.subTest(suffix):
                if suffix not in self.packed:
                    self.skipTest("%s is not installed" % tool[0])
                self.check_same(self.packed[suffix])

    def test_streams_that_follow_each_other(self):
        half = len(self.bytes) // 2
        parts = self.bytes[:half], self.bytes[half:]
        self.check_same(b"".join(gzip.compress(part, 1) for part in parts))
        # xz pads with zeroes between streams.
        self.check_same(bytes(8).join(lzma.compress(part, preset=0) for part in parts))
        for suffix in ("zst", "lz4"):
            if suffix in self.packed:
                self.check_same(b"".join(
                    subprocess.run(TOOLS[suffix], input=part, stdout=subprocess.PIPE, check=True).stdout
                    for part in parts))

    def test_large_one_goes_to_a_file(self):
        # What follows a core's last segment is nobody's.
        large = gzip.compress(self.bytes + bytes(range(1, 256)) * (SPILL_BYTES // 255), 1)
        self.check_same(large, env=dict(os.environ, TMPDIR=self.directory))
        self.assertEqual(os.listdir(self.directory), ["packed"])
        missing = os.path.join(self.directory, "missing")
        done = self.ask(self.write(large), env=dict(os.environ, TMPDIR=missing))
        self.check_refused(done, missing, "TMPDIR")

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (SPILL_BYTES // 2, SPILL_BYTES // 2))

        done = self.ask(self.write(large), preexec_fn=small_files, env=dict(os.environ, TMPDIR=self.directory))
        self.check_refused(done, "no room", "TMPDIR")

    def check_refused(self, done, *words):
        errors = done.stderr.decode()
        self.assertGreater(done.returncode, 1, errors)
        self.assertEqual(len(errors.splitlines()), 1, errors)
        for word in words:
            self.assertIn(word, errors)

    def test_cut_short(self):
        for suffix, packed in self.packed.items():
            for part in (0.99999, 0.9, 0.5):
                with self.subTest(suffix, part=part):
                    done = self.ask(self.write(packed[: int(len(packed) * part)]), "--format", "json")
                    self.assertEqual(done.returncode, 1, done.stderr)
                    self.assertIn(b"stream is cut short", done.stdout)
                    self.assertIn(b'"partial": true', done.stdout)
            with self.subTest(suffix, part="header"):
                self.check_refused(self.ask(self.write(packed[:12])), "cut short")

    def test_damaged(self):
        for suffix, packed in self.packed.items():
            for part in (0.999, 0.5):
                with self.subTest(suffix, part=part):
                    damaged = bytearray(packed)
                    damaged[int(len(packed) * part)] ^= 0x55
                    done = self.ask(self.write(damaged), "--format", "json")
                    self.assertIn(done.returncode, (1, 3, 4))
                    self.assertIn(b"stream is damaged", done.stdout + done.stderr)
            with self.subTest(suffix, part="what follows"):
                done = self.ask(self.write(packed + b"what follows"))
                self.assertEqual(done.returncode, 1)
                self.assertIn(b"stream is damaged", done.stderr)

    def test_no_core_in_it(self):
        self.check_refused(self.ask(self.write(gzip.compress(b"no core\n" * 1000))), "not a core file")
        self.check_refused(self.ask(self.write(gzip.compress(b""))), "unpacks to nothing")
        self.check_refused(self.ask(self.write(gzip.compress(gzip.compress(self.bytes, 1)))), "compressed twice")

    def test_window_beyond_the_bound(self):
        if "zst" not in self.packed:
            self.skipTest("zstd is not installed")
        # A frame header that asks for a window of 1 GiB.
        done = self.ask(self.write(b"\x28\xb5\x2f\xfd\x00" + bytes([(30 - 10) << 3]) + bytes(64)))
        self.check_refused(done, "128 MB", "zstd -d")


if __name__ == "__main__":
    main()
