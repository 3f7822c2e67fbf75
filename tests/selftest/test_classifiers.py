# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that use a library and count what they make of it: the census has the same numbers."""

import os

from support import BUILD, HeapwalkTest, Program, main

OURS = {"GType", "zlib", "libxml2", "OpenSSL", "sqlite3", "C++"}


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

    def test_sqlite(self):
        self.check("sqlite", "sqlite3", self.directory)

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
