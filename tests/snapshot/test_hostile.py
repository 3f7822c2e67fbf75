# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files that somebody forged: a sentence and a status, whatever is in them; never a crash, never a wrong answer."""

import random
import shutil
import sqlite3

from support import Case, main, run

FORMS = ("category", "size", "block", "class")

# What is done to a good file, and the words with which it is refused; by which form, where not every one looks.
FORGERIES = [
    ("DROP TABLE runs", "its table runs is missing"),
    ("DROP TABLE categories", "its table categories is missing"),
    ("ALTER TABLE codes RENAME COLUMN size TO bytes", "its table codes is missing, or is not the one"),
    ("DROP TABLE snapshot; CREATE VIEW snapshot(name, value) AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
     "SELECT i + 1 FROM n) SELECT i, i FROM n", "its table snapshot is missing, or is not the one"),
    ("DROP TABLE target; CREATE TABLE target(name TEXT PRIMARY KEY, value, more AS (zeroblob(1000000000)))",
     "its table target is missing, or is not the one"),
    ("DELETE FROM snapshot WHERE name='taken'", "its snapshot has no taken"),
    ("UPDATE snapshot SET value='soon' WHERE name='taken'", "its snapshot has no taken of a right kind"),
    ("UPDATE snapshot SET value=x'00ff' WHERE name='heapwalk'", "its snapshot has no heapwalk of a right kind"),
    ("UPDATE coverage SET value=-1 WHERE name='mapped_bytes'", "its coverage has no mapped_bytes"),
    ("UPDATE coverage SET value=value+1 WHERE name='in_use_bytes'", "its categories do not add up"),
    ("UPDATE coverage SET value=value+1 WHERE name='mapped_bytes'", "its categories do not add up"),
    ("UPDATE snapshot SET value=value+1 WHERE name='blocks'", "its categories do not add up"),
    ("UPDATE categories SET count=9223372036854775807", "its categories do not add up"),
    ("UPDATE categories SET bytes=-bytes", "a row of its categories has values that can't be"),
    ("UPDATE categories SET state='odd'", "a row of its categories has values that can't be"),
    ("INSERT INTO categories VALUES(9000000000, '', '', '', 'free', 'free', 0, '', 0, 0)", "a row of its categories"),
    ("INSERT INTO categories VALUES(-5, '', '', '', 'free', 'free', 0, '', 0, 0)", "a row of its categories"),
    ("UPDATE codes SET size=0", "a row of its codes has values that can't be"),
    ("UPDATE codes SET size=-16", "a row of its codes has values that can't be"),
    ("UPDATE codes SET category=category+100000", "a row of its codes has values that can't be"),
    ("UPDATE codes SET allocator='other'", "a row of its codes has values that can't be"),
    ("DELETE FROM codes WHERE code=x'01'", "a row of its codes has values that can't be"),
    ("INSERT INTO codes SELECT x'ffffff', size, category, allocator FROM codes LIMIT 1", "a row of its codes"),
    ("INSERT INTO codes SELECT x'', size, category, allocator FROM codes LIMIT 1", "a row of its codes"),
    ("INSERT INTO codes SELECT x'00000000', size, category, allocator FROM codes LIMIT 1", "a row of its codes"),
    ("DELETE FROM codes", "a run of its blocks has values that can't be", "block"),
    ("UPDATE runs SET width=0", "a run of its blocks has values that can't be", "block"),
    ("UPDATE runs SET width=4", "a run of its blocks has values that can't be", "block"),
    ("UPDATE runs SET count=count+1", "a run of its blocks has values that can't be", "size"),
    ("UPDATE runs SET count=0", "a run of its blocks has values that can't be", "block"),
    ("UPDATE runs SET bytes=bytes-16", "a run of its blocks has values that can't be", "block"),
    ("UPDATE runs SET codes=NULL", "a run of its blocks has values that can't be", "block"),
    ("UPDATE runs SET codes='text'", "a run of its blocks has values that can't be", "block"),
    ("UPDATE runs SET codes=zeroblob(1800000)", "a run of its blocks has values that can't be", "block"),
    ("UPDATE runs SET start=start-(SELECT max(start) FROM runs)-1", "a run of its blocks", "block"),
    ("DELETE FROM runs WHERE rowid=(SELECT min(rowid) FROM runs)", "its blocks are not those that it counts", "block"),
    ("DELETE FROM runs", "its blocks are not those that it counts", "size"),
    ("UPDATE codes SET category=(SELECT min(id) FROM categories)", "its blocks are not those that it counts", "block"),
    ("UPDATE pymalloc SET size_classes=1000", "a row of its pymalloc has values that can't be", "class"),
    ("UPDATE pymalloc SET arenas=-1", "a row of its pymalloc has values that can't be", "class"),
    ("UPDATE pymalloc SET allocated_bytes='x'", "a row of its pymalloc has values that can't be", "class"),
    ("UPDATE size_classes SET class=64", "a row of its size_classes has values that can't be", "class"),
    ("UPDATE size_classes SET pools=NULL", "a row of its size_classes has values that can't be", "class"),
    ("UPDATE free_lists SET count=1000000000000", "a row of its free_lists has values that can't be", "class"),
    ("DELETE FROM pymalloc", "a row of its size_classes has values that can't be", "class"),
]


class Hostile(Case):
    def setUp(self):
        super().setUp()
        process = self.target()
        process.do("things = [Thing() for i in range(3000)]")
        self.good = self.save(process, "good")
        self.bad = self.path("bad")

    def forge(self, statements):
        shutil.copy(self.good, self.bad)
        db = sqlite3.connect(self.bad)
        db.executescript(statements)
        db.close()

    def test_forged_values(self):
        for statements, words, *forms in FORGERIES:
            self.forge(statements)
            for by in forms or ("category", "block"):
                done = run("diff", self.good, self.bad, "--by", by)
                self.assertEqual(done.returncode, 3, (statements, by, done.stdout[-300:]))
                self.assertRegex(done.stderr, r"\Aheapwalk: [^\n]+\n\Z", statements)
                self.assertRegex(done.stderr, words, statements)
                if by != "block":
                    self.assertFalse(done.stdout, statements)

    def test_partial(self):
        """What a snapshot lacks, every comparison with it lacks."""
        self.forge("UPDATE snapshot SET value='the report is partial: something' WHERE name='partial'")
        for by in FORMS:
            done = run("diff", self.good, self.bad, "--by", by)
            self.assertEqual(done.returncode, 1)
            self.assertIn("the report is partial, as snapshot %s is: the report is partial: something" % self.bad,
                          done.stdout)
        self.forge("UPDATE snapshot SET value='unknown' WHERE name='free_lists'")
        done = run("diff", self.good, self.bad, "--by", "class")
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not know the free lists", done.stdout)

    def test_triggers_and_views_do_not_run(self):
        self.forge("CREATE TABLE log(x); CREATE TRIGGER t AFTER INSERT ON runs BEGIN INSERT INTO log VALUES(1); END;"
                   "CREATE VIEW trap AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n;"
                   "CREATE INDEX i ON runs(bytes)")
        done = run("diff", self.good, self.bad, "--by", "block")
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_names_are_cleaned(self):
        self.forge("UPDATE categories SET kind=char(27) || '[31m' || kind || char(10, 7)")
        for words in (("diff", self.good, self.bad), ("diff", self.good, self.bad, "--by", "block"),
                      ("diff", self.good, self.good, self.bad)):
            done = run(*words)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("\x1b", done.stdout)
            self.assertNotIn("\x07", done.stdout)
        self.assertIn("\\x1b[31mThing\\x0a\\x07", run("diff", self.good, self.bad).stdout)
        self.forge("UPDATE snapshot SET value='a' || char(27) || 'b' WHERE name='partial'")
        self.assertNotIn("\x1b", run("diff", self.good, self.bad).stdout)

    def test_a_text_without_end(self):
        self.forge("UPDATE categories SET kind=replace(hex(zeroblob(1500000)), '0', 'ab') WHERE kind='Thing'")
        done = run("diff", self.good, self.bad)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertRegex(done.stderr, "string or blob too big")

    def test_a_journal_beside_it(self):
        """A hot journal would be rolled back into the file; it is not looked at."""
        shutil.copy(self.good, self.bad)
        with open(self.bad + "-journal", "wb") as file:
            file.write(bytes.fromhex("d9d505f920a163d7") + bytes(504))
        with open(self.bad + "-wal", "wb") as file:
            file.write(b"\x37\x7f\x06\x82" + bytes(500))
        done = run("diff", self.good, self.bad)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_damaged_bytes(self):
        with open(self.good, "rb") as file:
            good = file.read()
        random.seed(11)
        refused = 0
        for number in range(120):
            data = bytearray(good)
            for _ in range(random.choice((1, 3, 20))):
                at = random.randrange(72 if number % 3 else 0, len(data))
                data[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
            with open(self.bad, "wb") as file:
                file.write(data)
            done = run("diff", self.good, self.bad, "--by", FORMS[number % len(FORMS)], "--top", "5")
            self.assertIn(done.returncode, (0, 1, 2, 3, 4), (number, done.stderr))
            if done.returncode > 1:
                refused += 1
                self.assertRegex(done.stderr, r"\Aheapwalk: [^\n]+\n\Z")
        self.assertGreater(refused, 5)


if __name__ == "__main__":
    main()
