# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that use a library and count what they make of it: the census has the same numbers."""

import collections
import contextlib
import json
import os
import random
import sqlite3
import struct
import subprocess

from support import BUILD, HeapwalkTest, Program, main, run

OURS = {"GType", "zlib", "libxml2", "OpenSSL", "sqlite3", "C++"}


Segment = collections.namedtuple("Segment", "offset address size")


def largest_writable(core):
    """The segment of an ELF core that the heap is in: the largest writable one of a small program."""
    phoff, phentsize, phnum = struct.unpack_from("<Q", core, 32)[0], *struct.unpack_from("<HH", core, 54)
    found = []
    for i in range(phnum):
        kind, flags, offset, address, _, size = struct.unpack_from("<IIQQQQ", core, phoff + i * phentsize)
        if kind == 1 and flags & 2 and size:
            found.append(Segment(offset, address, size))
    return max(found, key=lambda segment: segment.size)


class Classifiers(HeapwalkTest):
    def program(self, name, *arguments, **options):
        if not os.path.exists(os.path.join(BUILD, "bin", "selftest_" + name)):
            self.skipTest("selftest_%s was not built: the library's development package is missing" % name)
        return Program(name, *arguments, directory=self.directory, **options)

    def kinds(self, source, domain):
        """{kind: count}, {"kind detail": count} as well, and {"*": all}, of one domain."""
        found = {}
        for row in self.report(source)["rows"]:
            if row["domain"] != domain:
                continue
            for name in {"*", row["kind"], ("%s %s" % (row["kind"], row["detail"])).strip()}:
                found[name] = found.get(name, 0) + row["count"]
        return found

    def check(self, name, domain, *arguments, **options):
        """What the program says it made is what is found, live and in a core."""
        with self.program(name, *arguments, **options) as program:
            wanted = {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in program.lines}
            self.assertTrue(wanted)
            live = self.kinds(program.pid, domain)
            self.assertEqual({kind: live.get(kind, 0) for kind in wanted}, wanted)
            core = self.gcore(program.pid)
        self.assertEqual(self.kinds(core, domain), live)

    def test_zlib(self):
        self.check("zlib", "zlib")

    def test_libxml2(self):
        self.check("xml", "libxml2")

    def test_openssl(self):
        self.check("ssl", "OpenSSL")

    def test_gobject(self):
        self.check("gobject", "GType", environment={"G_SLICE": "always-malloc"})

    def test_gobject_slices(self):
        self.check("gobject", "GType")  # instances that died are free slices, not instances

    def test_sqlite(self):
        self.check("sqlite", "sqlite3", self.directory)

    def rules(self, text):
        path = os.path.join(self.directory, "test.rules")
        with open(path, "w") as f:
            f.write(text)
        return path

    def owned(self, source, rules):
        """{(domain, kind): count} of what rules named."""
        rows = self.report(source, "--rules", rules)["rows"]
        return {(r["domain"], r["kind"]): r["count"] for r in rows if r["domain"] in ("net", "rules")}

    def test_rules_for_classes(self):
        by_name = self.rules('c++ net::Session buffer "session buffer" size count*8 domain net\n'
                             'c++ net::Session shared "no block"\n'
                             'c++ Foo +8 "not a pointer"\n')
        with self.program("classes") as program:
            self.assertEqual(self.owned(program.pid, by_name), {("net", "session buffer"): 9})
            by_offset = self.rules("c++ net::Session +16 buffer size +8*1\n")  # two ints: too large
            self.assertEqual(self.owned(program.pid, by_offset), {("rules", "buffer"): 9})
            too_large = self.rules("c++ net::Session buffer buffer size count*9\n")
            self.assertEqual(self.owned(program.pid, too_large), {})
            misspelt = self.rules("c++ net::Sesion +16 buffer\n")
            report = self.report(program.pid, "--rules", misspelt)
            self.assertIn("test.rules:1: no class net::Sesion was found", report["issues"][0]["message"])
            unknown = self.rules("\nc++ net::Session bufer buffer\n")
            done = run("-p", program.pid, "--rules", unknown)
            self.assertEqual((done.returncode, done.stdout), (2, b""))
            self.assertIn("test.rules:2: no debug information of this process has the member bufer of "
                          "net::Session: give its offset, +BYTES", done.stderr.decode())
            wrong = self.rules("c++ net::Session\n")
            done = run("-p", program.pid, "--rules", wrong)
            self.assertEqual((done.returncode, done.stdout), (2, b""))
            self.assertIn("test.rules:1: FIELD is missing", done.stderr.decode())
            done = run("-p", program.pid, "--rules", self.directory + "/none")
            self.assertEqual((done.returncode, done.stdout), (3, b""))
            self.assertIn("none: No such file or directory", done.stderr.decode())

    def test_rules_of_other_commands(self):
        rules = self.rules('c++ net::Session buffer "session buffer" size count*8 domain net\n')
        plain, named = os.path.join(self.directory, "plain"), os.path.join(self.directory, "named")
        with self.program("classes") as program:
            for arguments in (["save", plain], ["save", named, "--rules", rules], ["pins", "--rules", rules],
                              ["arena", "0", "--rules", rules], ["map", "--rules", rules]):
                done = run("-p", program.pid, *arguments)
                self.assertEqual((done.returncode, done.stderr), (0, b""), arguments)
            done = run("-p", program.pid, "diff", named, "--rules", rules, "--by", "kind", "--format", "json")
            kinds = {row["kind"]: row for row in json.loads(done.stdout.decode())["rows"]}
            self.assertEqual(kinds.get("session buffer", {"count_change": 0})["count_change"], 0)
            done = run("-p", program.pid, "diff", plain, "--rules", rules, "--by", "kind", "--format", "json")
            kinds = {row["kind"]: row for row in json.loads(done.stdout.decode())["rows"]}
            self.assertEqual(kinds["session buffer"]["count_change"], 9)
        for path, count in (plain, []), (named, [(9,)]):
            with contextlib.closing(sqlite3.connect(path)) as database:
                found = database.execute("SELECT count FROM categories WHERE kind = 'session buffer'").fetchall()
            self.assertEqual(found, count, path)

    def test_rules_for_python(self):
        script = ("import hashlib, sys\n"
                  "keep = [hashlib.new('md5') for _ in range(30)]\n"
                  "print('ready', flush=True)\nsys.stdin.read()\n")
        rules = self.rules("python _hashlib.HASH +16 EVP_MD_CTX size 32\n"
                           "python _hashlib.HASH +4096 nothing\n")
        with subprocess.Popen(["/usr/bin/python3", "-c", script], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            self.assertEqual(process.stdout.readline(), b"ready\n")
            report = self.report(process.pid, "--rules", rules)
            process.stdin.close()
        self.assertEqual([r["count"] for r in report["rows"] if r["kind"] == "_hashlib.HASH"], [30])
        self.assertEqual([r["count"] for r in report["rows"] if r["kind"] == "EVP_MD_CTX"], [30])
        self.assertRegex("|".join(i["message"] for i in report["issues"]),
                         r"test.rules:2: an instance of _hashlib.HASH has \d+ bytes: the field is not in it")

    def test_python_sqlite3(self):
        """A Python process's connections, statements and cursors, and SQLite's side of them."""
        script = ("import sqlite3, sys\n"
                  "keep = [sqlite3.connect(':memory:') for _ in range(12)]\n"
                  "rows = [c.execute('create table t (a, b)') for c in keep]\n"
                  "open_ = [c.execute('select %d union select 2' % i) for c in keep for i in range(4)]\n"
                  "[next(cursor) for cursor in open_]\n"
                  "print('ready', flush=True)\nsys.stdin.read()\n")
        with subprocess.Popen(["/usr/bin/python3", "-c", script], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            self.assertEqual(process.stdout.readline(), b"ready\n")
            rows = self.report(process.pid)["rows"]
            process.stdin.close()
        counts = {r["domain"] + " " + r["kind"]: r["count"] for r in rows}
        self.assertEqual(counts.get("python sqlite3.Connection"), 12)
        self.assertEqual(counts.get("python sqlite3.Cursor"), 12 + 48)
        self.assertEqual(counts.get("sqlite3 sqlite3"), 12)
        self.assertEqual(counts.get("sqlite3 sqlite3_stmt"), counts.get("python sqlite3.Statement"))
        self.assertGreaterEqual(counts["sqlite3 sqlite3_stmt"], 48)

    def test_pypy_is_said_to_be_pypy(self):
        with self.program("pypy") as program:
            sentence = "PyPy runs in this process (%s" % os.path.join(BUILD, "lib", "libpypy3.9-c.so")
            done = run("-p", program.pid)
            self.assertEqual(done.returncode, 1)
            self.assertIn("the report is partial, Python's objects are not in it: " + sentence, done.stderr.decode())
            self.assertIn(b"unknown", done.stdout)
            done = run("-p", program.pid, "cpython-allocators")
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(sentence, done.stderr.decode())

    def test_damaged_cores(self):
        """Words of the heap become others: whatever is claimed then, the walk ends and the rows add up."""
        for name in ("gobject", "sqlite", "xml", "ssl", "zlib", "classes"):
            with self.program(name, self.directory) as program:
                core = self.gcore(program.pid)
            with open(core, "rb") as f:
                whole = bytearray(f.read())
            os.unlink(core)
            heap = largest_writable(whole)
            for seed in range(4):
                choice, damaged = random.Random(seed), bytearray(whole)
                for _ in range((30, 300, 3000, 10000)[seed]):
                    at = heap.offset + choice.randrange(heap.size // 8) * 8
                    word = choice.choice((choice.getrandbits(64), choice.randrange(1 << 17), 1 << 63, (1 << 32) - 1,
                                          heap.address + choice.randrange(heap.size // 8) * 8,
                                          heap.address + choice.randrange(heap.size // 8) * 8))
                    damaged[at:at + 8] = struct.pack("<Q", word)
                path = os.path.join(self.directory, "damaged")
                with open(path, "wb") as f:
                    f.write(damaged)
                done = run("-c", path, "--format", "json", timeout=60)
                self.assertIn(done.returncode, (0, 1), "%s %d: %s" % (name, seed, done.stderr.decode()))
                total = json.loads(done.stdout)["total"]
                self.assertEqual(total["bytes"], total["in_use_bytes"] + total["free_bytes"]
                                 + total["overhead_bytes"] + total["unknown_bytes"])

    def test_random_bytes_are_nobodys(self):
        for seed in (1, 2, 3):
            with self.program("random", seed) as program:
                rows = [r for r in self.report(program.pid, "used")["rows"] if r["allocator"] == "glibc"]
                # What the loaded libraries themselves made before main is theirs.
                random = {r["start"]: r for r in rows if r["domain"] in OURS}
                self.assertLess(len(random), 400)
                self.assertEqual({r["kind"] for r in random.values() if r["domain"] != "GType"}, set())
                self.assertGreaterEqual(len(rows), 20000)


if __name__ == "__main__":
    main()
