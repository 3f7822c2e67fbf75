#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program whose malloc is another one: that is said, by name; its memory is a line of the map; the
blocks that it gave out lie in that line's mappings; Python's own allocators are read as ever."""

import glob
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "matrix"))
sys.path.insert(0, os.path.join(HERE, "..", "selftest"))

from process import wait_until_paused  # noqa: E402
from support import HeapwalkTest, main, run  # noqa: E402

PRELOADED = {"jemalloc": "libjemalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4", "mimalloc": "libmimalloc.so.[0-9]*"}
PYTHON = "/usr/bin/python3"


def find(pattern):
    found = sorted(glob.glob("/usr/lib/*-linux-gnu/" + pattern))
    return os.path.realpath(found[0]) if found else None


class Running:
    """A program that has said "ready" and sleeps; `addresses` are those of its blocks, `stats` what Python said."""

    def __init__(self, *command, **environment):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=dict(os.environ, **environment))

    def __enter__(self):
        self.pid = self.process.pid
        lines = []
        for line in self.process.stdout:
            if line == b"ready\n":
                break
            lines.append(line.decode().strip())
        wait_until_paused(self.pid)
        self.addresses = [int(line, 16) for line in lines if line.startswith("0x")]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


class Allocators(HeapwalkTest):
    def check_map(self, source, name, target):
        report = self.report(source, "map")
        lines = {row["what"]: row for row in report["rows"]}
        words = [what for what in lines if what == name or what.endswith("'s memory")]
        self.assertEqual(words, [name if "'s " in name else name + "'s memory"])
        rows = self.report(source, "select", "domain = \"%s\"" % name)["rows"]
        mappings = [(int(row["start"], 16), int(row["end"], 16)) for row in rows]
        self.assertEqual(sum(end + 1 - start for start, end in mappings), lines[words[0]]["virtual_bytes"])
        outside = [a for a in target.addresses if not any(start <= a <= end for start, end in mappings)]
        if "musl" in name:  # it gives out what is left of files' last pages too
            files = self.report(source, "select", "domain = 'file'")["rows"]
            outside = [a for a in outside if not any(int(f["start"], 16) <= a <= int(f["end"], 16) for f in files)]
        self.assertEqual(outside, [])
        self.assertEqual(lines["malloc in use"]["virtual_bytes"], 0)
        self.assertEqual(lines["unknown"]["virtual_bytes"], 0)
        return lines[words[0]]["virtual_bytes"]

    def check(self, source, name, file, target):
        self.assertEqual(len(target.addresses), 400)
        malloc = self.report(source, "census")["target"]["malloc"]
        self.assertEqual((malloc["name"], os.path.realpath(malloc["file"])), (name, file))
        where = ["-p", source] if isinstance(source, int) else ["-c", source]
        text = run(*where).stdout.decode()
        self.assertIn("malloc: %s in %s, whose blocks are not walked" % (name, malloc["file"]), text)
        self.assertNotIn("100 % of heap bytes", text)
        arenas = run(*where, "arenas")
        self.assertEqual(arenas.stdout, b"")
        self.assertIn("malloc is %s in %s, not glibc's" % (name, malloc["file"]), arenas.stderr.decode())
        self.assertNotEqual(arenas.returncode, 0)
        return self.check_map(source, name, target)

    def check_both(self, name, file, target):
        live = self.check(target.pid, name, file, target)
        self.assertEqual(self.check(self.gcore(target.pid), name, file, target), live)

    def test_preloaded(self):
        missing = []
        for name, pattern in PRELOADED.items():
            file = find(pattern)
            if not file:
                missing.append(name)
                continue
            with self.subTest(name), Running(PYTHON, os.path.join(HERE, "target.py"), LD_PRELOAD=file) as target:
                self.check_both(name, file, target)
                text = run("-p", target.pid, "stats").stdout.decode()
                target.process.kill()
                self.assertEqual(text, target.process.communicate()[1].decode())
            print("ran with %s, %s" % (name, file))
        if missing:
            self.skipTest("not installed: " + ", ".join(missing))

    def test_musl(self):
        for words, name in (([], "musl's mallocng"), (["-static"], "musl's mallocng"),
                            (["-static", "-DNEVER_FREES"], "musl's bump allocator")):
            program = os.path.join(self.directory, "target")
            try:
                subprocess.run(["musl-gcc", "-O1", "-o", program, *words, os.path.join(HERE, "target.c")], check=True)
            except OSError:
                self.skipTest("musl-gcc is not installed (package musl-tools)")
            with self.subTest(words), Running(program) as target:
                libc = program
                if not words:
                    with open("/proc/%d/maps" % target.pid, encoding="utf-8") as maps:
                        libc = [line.split()[-1] for line in maps if "libc.so" in line or "ld-musl" in line][0]
                self.check_both(name, os.path.realpath(libc), target)
            print("ran with musl", *words)

    def test_glibc(self):
        with Running(PYTHON, os.path.join(HERE, "target.py")) as target:
            report = self.report(target.pid, "map")
            self.assertEqual(report["target"]["malloc"]["name"], "glibc")
            self.assertIsNone(report["target"]["malloc"]["file"])
            self.assertGreater([row for row in report["rows"] if row["what"] == "malloc in use"][0]["virtual_bytes"], 1 << 20)


if __name__ == "__main__":
    main()
