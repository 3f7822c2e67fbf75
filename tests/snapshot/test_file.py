# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file: what SQLite finds in it, and every way in which it can't be written or read."""

import fcntl
import gzip
import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess

from support import HEAPWALK, HERE, Case, main


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class File(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.case = cls("target")
        cls.process = cls.case.target()
        cls.addClassCleanup(cls.case.doCleanups)
        cls.process.do("things = [Thing() for i in range(20000)]")

    def saved(self, *options):
        return self.save(self.process, "file.snap", *options)

    # ---- what is in it ----

    def test_the_table(self):
        path = self.saved()
        census = self.json("-p", self.process.pid)
        db = sqlite3.connect(path)
        self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.assertEqual(db.execute("PRAGMA application_id").fetchone()[0], 0x6877736E)
        self.assertEqual(db.execute("PRAGMA user_version").fetchone()[0], 1)
        of = dict(db.execute("SELECT name, value FROM coverage"))
        self.assertEqual(of["mapped_bytes"], census["total"]["mapped_bytes"])
        self.assertEqual(of["in_use_bytes"] + of["free_bytes"] + of["overhead_bytes"] + of["unknown_bytes"],
                         of["mapped_bytes"])
        # The view, the categories' own counts and the census are one table.
        view = {row[:4]: row[4:] for row in db.execute(
            "SELECT domain, kind, detail, state_word, count(*), sum(size) FROM blocks GROUP BY 1, 2, 3, 4")}
        rows = {row[:4]: row[4:] for row in db.execute(
            "SELECT domain, kind, detail, state_word, sum(count), sum(bytes) FROM categories GROUP BY 1, 2, 3, 4")}
        self.assertEqual(view, rows)
        self.assertEqual({(row["domain"], row["kind"], row["detail"], row["state"]): (row["count"], row["bytes"])
                          for row in census["rows"]}, rows)
        self.assertEqual(rows["python", "Thing", "", "in use"][0], 20000)
        # No gap and no overlap, and in the mappings.
        spans = db.execute("SELECT start, end FROM blocks ORDER BY start").fetchall()
        mapped = db.execute("SELECT start, start + bytes FROM mappings WHERE flags LIKE '_w_p' ORDER BY start").fetchall()
        joined = []
        for start, end in mapped:
            if joined and joined[-1][1] == start:
                joined[-1][1] = end
            else:
                joined.append([start, end])
        covered = []
        for start, last in spans:
            if covered and covered[-1][1] == start:
                covered[-1][1] = last + 1
            else:
                covered.append([start, last + 1])
        self.assertEqual(covered, joined)
        self.assertEqual(db.execute("SELECT value FROM target WHERE name='pid'").fetchone()[0], int(self.process.pid))
        db.close()

    def test_pools_and_classes(self):
        db = sqlite3.connect(self.saved())
        report = self.json("-p", self.process.pid, "cpython-allocators")["interpreters"][0]
        self.assertEqual(db.execute("SELECT class, size, pools, blocks_in_use, blocks_free FROM size_classes").fetchall(),
                         [(c["class"], c["size"], c["pools"], c["blocks_in_use"], c["blocks_free"])
                          for c in report["size_classes"]])
        pools = dict(db.execute("SELECT class, count(*) FROM pools WHERE state IN ('used', 'full') GROUP BY 1"))
        self.assertEqual(pools, {c["class"]: c["pools"] for c in report["size_classes"]})
        self.assertEqual(db.execute("SELECT count(*) FROM pymalloc_arenas").fetchone()[0], len(report["arenas"]))
        in_use = db.execute("SELECT sum(in_use_bytes) FROM malloc_arenas").fetchone()[0]
        self.assertEqual(in_use, sum(a["in_use_bytes"] for a in self.json("-p", self.process.pid, "arenas")["arenas"]))
        db.close()

    def test_contents(self):
        self.process.do("secret = b'the ' + b'secret word'")
        plain = self.saved()
        with open(plain, "rb") as file:
            self.assertNotIn(b"the secret word", file.read())
        done = self.ok("-p", self.process.pid, "save", self.path("with"), "--contents", "64")
        self.assertIn("the first 64 bytes of each block in use are in the file", done)
        db = sqlite3.connect(self.path("with"))
        held = db.execute("SELECT kind FROM contents JOIN blocks USING (start) WHERE instr(bytes, ?)",
                          (b"the secret word",)).fetchall()
        self.assertIn(("bytes",), held)
        self.assertEqual(db.execute("SELECT max(length(bytes)) FROM contents").fetchone()[0], 64)
        db.close()
        self.assertEqual(self.json("diff", plain, self.path("with"))["snapshots"][1]["content_bytes"], 64)

    def test_of_a_core(self):
        """The core of a process that waits, and the process: one table."""
        if not shutil.which("gdb"):
            self.skipTest("gdb is not installed (./setup deps)")
        live, core = self.saved(), self.path("core")
        subprocess.run(["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-p", self.process.pid,
                        "-ex", "gcore %s" % core], stdin=subprocess.DEVNULL, capture_output=True, check=True)
        self.assertEqual(self.json("-c", core, "diff", live)["rows"], [])
        report = self.json("-c", core, "diff", live, "--by", "block")
        self.assertEqual([report["total"][word]["count"] for word in ("freed", "new", "changed")], [0, 0, 0])
        self.assertIsNone(report["strangers"])
        self.ok("-c", core, "save", self.path("of-core"))
        self.assertEqual(self.json("diff", live, self.path("of-core"), "--by", "class")["rows"], [])

    def test_only_the_owner_reads_it(self):
        self.assertEqual(os.stat(self.saved()).st_mode & 0o777, 0o600)

    def test_stays_small(self):
        path = self.saved()
        db = sqlite3.connect(path)
        blocks = db.execute("SELECT value FROM snapshot WHERE name='blocks'").fetchone()[0]
        db.close()
        self.assertLess(os.path.getsize(path) / blocks, 40)

    # ---- what can't be written ----

    def unharmed(self, status, words, **options):
        """Saving over a file fails: it is as it was, and nothing is beside it."""
        path = self.saved()
        before = digest(path)
        self.refused(status, words, "-p", self.process.pid, "save", path, **options)
        self.assertEqual(digest(path), before)
        self.assertEqual(os.listdir(self.folder), ["file.snap"])

    def test_a_limit_of_size(self):
        self.unharmed(3, r"can't write .*file\.snap: File too large", preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (100000, 100000)))

    def test_a_disk_that_fills(self):
        small = self.path("small")
        os.mkdir(small)
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True,
                                 check=False)
        if mounted.returncode:
            self.skipTest("no permission to mount a small file system")
        try:
            with open(os.path.join(small, "file.snap"), "w", encoding="ascii") as file:
                file.write("before")
            words = self.refused(3, "No space left on device", "-p", self.process.pid, "save",
                                 os.path.join(small, "file.snap"))
            self.assertIn("file.snap", words)
            with open(os.path.join(small, "file.snap"), encoding="ascii") as file:
                self.assertEqual(file.read(), "before")
            self.assertEqual(os.listdir(small), ["file.snap"])
            # A comparison with now needs a temporary file.
            path = self.saved()
            self.refused(3, "can't write a temporary snapshot in .*: No space left on device", "-p",
                         self.process.pid, "diff", path, env=dict(os.environ, TMPDIR=small))
        finally:
            subprocess.run(["umount", small], check=True)

    def test_places_that_are_none(self):
        for path, words in (("/dev/full", "no regular file"), (self.folder, "Is a directory"),
                            (self.path("no/such"), "No such file or directory")):
            self.refused(2 if "regular" in words else 3, words, "-p", self.process.pid, "save", path)
        self.refused(2, "needs the name of the file", "-p", self.process.pid, "save")

    def test_two_writers(self):
        path = self.saved()
        before = digest(path)
        with open(path + ".part", "w", encoding="ascii") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self.refused(3, "another heapwalk is writing it", "-p", self.process.pid, "save", path)
            self.assertTrue(os.path.exists(path + ".part"))  # it is the other one's
            self.assertEqual(digest(path), before)
        # What a writer left that was killed is in nobody's way.
        self.saved()
        self.assertEqual(os.listdir(self.folder), ["file.snap"])

    def test_many_writers_leave_one_whole_file(self):
        path = self.path("file.snap")
        writers = [subprocess.Popen([HEAPWALK, "-p", self.process.pid, "save", path], stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE, text=True) for _ in range(6)]
        outcomes = [(writer.communicate()[1], writer.returncode) for writer in writers]
        self.assertTrue(any(status in (0, 1) for _, status in outcomes), outcomes)
        for words, status in outcomes:
            if status not in (0, 1):
                # A process can be traced by one at a time.
                self.assertRegex(words, r"another heapwalk is writing it|traced|ptrace|attach")
        self.assertEqual(self.json("diff", path, path)["rows"], [])
        self.assertEqual(os.listdir(self.folder), ["file.snap"])

    def test_a_link_is_followed(self):
        path = self.saved()
        os.symlink("file.snap", self.path("link"))
        self.ok("-p", self.process.pid, "save", self.path("link"))
        self.assertTrue(os.path.islink(self.path("link")))
        self.json("diff", path, self.path("link"))

    # ---- what can't be read ----

    def test_not_ours(self):
        path = self.saved()
        text, empty, other = self.path("text"), self.path("empty"), self.path("other")
        with open(text, "w", encoding="ascii") as file:
            file.write("some text" * 100)
        open(empty, "w", encoding="ascii").close()
        db = sqlite3.connect(other)
        db.execute("CREATE TABLE t(x)")
        db.close()
        self.refused(2, "text is no snapshot", "diff", text, path)
        self.refused(2, "empty is no snapshot", "diff", path, empty)
        self.refused(2, "other is no snapshot: it is a SQLite database of something else", "diff", path, other)
        self.refused(2, "it is no regular file", "diff", path, "/dev/null")
        self.refused(2, "no regular file", "diff", path, self.folder)
        self.refused(3, "No such file or directory", "diff", path, self.path("none"))
        os.mkfifo(self.path("fifo"))
        self.refused(2, "no regular file", "diff", path, self.path("fifo"))

    def test_newer(self):
        path = self.saved()
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version=2")
        db.close()
        self.refused(4, "newer heapwalk: its schema is 2", "diff", path, path)

    def test_cut(self):
        path = self.saved()
        with open(path, "rb") as file:
            whole = file.read()
        for length in (50, 100, 4096, len(whole) // 2, len(whole) - 1):
            with open(self.path("cut"), "wb") as file:
                file.write(whole[:length])
            for by in ("category", "block", "class"):
                self.refused(3, r"cut is cut: it", "diff", path, self.path("cut"), "--by", by)

    def test_older(self):
        """A file that the first heapwalk with snapshots wrote, of a process with 4321 Things."""
        old = self.path("old")
        with gzip.open(HERE / "schema-1.gz") as packed, open(old, "wb") as file:
            shutil.copyfileobj(packed, file)
        report = self.json("diff", old, self.saved())
        row = [row for row in report["rows"] if row["domain"] == "python" and row["kind"] == "Thing"][0]
        self.assertEqual((row["count_before"], row["count"]), (4321, 20000))
        self.assertEqual(self.json("diff", old, old, "--by", "block")["rows"], [])
        self.assertEqual(self.json("diff", old, old, "--by", "class")["rows"], [])

    def test_more_is_no_harm(self):
        """Tables and names that a later heapwalk of this schema may add."""
        path = self.saved()
        db = sqlite3.connect(path)
        db.execute("CREATE TABLE more(x)")
        db.execute("INSERT INTO snapshot VALUES('more', 1)")
        db.commit()
        db.close()
        self.assertEqual(self.json("diff", path, path)["rows"], [])

    def test_odd_names(self):
        path = self.path("a?b#c%d e.snap")
        self.ok("-p", self.process.pid, "save", path)
        self.assertEqual(self.json("diff", path, path)["rows"], [])

    def test_no_target(self):
        path = self.saved()
        self.refused(2, "give that", "diff", path)
        self.refused(2, "nothing to compare with", "diff")
        self.refused(2, "labels last as long as a session", "label", "x")
        self.refused(2, "labels last as long as a session", "-p", self.process.pid, "log")
        self.refused(2, "no target was given", "save", path)
        self.refused(2, "diff takes no more than", "diff", path, path, path, path)

    def test_interrupted(self):
        """Ctrl-C on the way: the old file, and status 130, whenever it comes."""
        path = self.saved()
        before = digest(path)
        for _ in range(5):
            writer = subprocess.Popen([HEAPWALK, "-p", self.process.pid, "save", path], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, text=True)
            writer.send_signal(signal.SIGINT)
            writer.communicate()
            if writer.returncode in (0, 1):
                before = digest(path)  # it was quicker
            self.assertIn(writer.returncode, (0, 1, 130, -signal.SIGINT))
            self.assertEqual(digest(path), before)


if __name__ == "__main__":
    main()
