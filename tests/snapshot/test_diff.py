# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process makes and drops objects that it counts itself; the differences of its snapshots are these."""

import csv
import io
import json
import sqlite3

from support import Case, main


def row_of(report, kind):
    rows = [row for row in report["rows"] if row["domain"] == "python" and row["kind"] == kind]
    return rows[0] if rows else None


class Diff(Case):
    def setUp(self):
        super().setUp()
        self.process = self.target()
        self.process.do("things = [Thing() for i in range(3000)]; others = []")
        self.size = self.json("-p", self.process.pid, "select", "kind = 'Thing' limit 1")["rows"][0]["size"]

    def snapshots(self):
        """before; 5000 more Things and 700 Others; 2500 Things less."""
        before = self.save(self.process, "before")
        self.process.do("others = [Other() for i in range(700)]; more = [Thing() for i in range(5000)]")
        between = self.save(self.process, "between")
        self.process.do("del more[::2]")
        return before, between, self.save(self.process, "after")

    def test_by_category(self):
        before, between, after = self.snapshots()
        for files, things, others in (((before, between), 5000, 700), ((between, after), -2500, None),
                                      ((before, after), 2500, 700), ((after, before), -2500, -700)):
            report = self.json("diff", *files)
            self.assertEqual(report["schema"], "heapwalk.diff/1")
            self.assertIsNone(report["target"])
            row = row_of(report, "Thing")
            self.assertEqual((row["count_change"], row["bytes_change"]), (things, things * self.size))
            self.assertEqual(row["count"] - row["count_before"], things)
            other = row_of(report, "Other")
            self.assertEqual(other and other["count_change"], others)
            # What a process has mapped is what its rows add up to.
            self.assertEqual(report["total"]["bytes_change"], report["total"]["mapped_bytes_change"])
            self.assertEqual(sum(row["bytes_change"] for row in report["rows"]), report["total"]["bytes_change"])
            sizes = [abs(row["bytes_change"]) for row in report["rows"]]
            self.assertEqual(sizes, sorted(sizes, reverse=True))
        self.assertEqual(self.json("diff", before, before)["rows"], [])

    def test_against_now(self):
        before = self.save(self.process, "before")
        self.process.do("more = [Thing() for i in range(1234)]")
        report = self.json("-p", self.process.pid, "diff", before)
        self.assertEqual(row_of(report, "Thing")["count_change"], 1234)
        self.assertEqual([each["name"] for each in report["snapshots"]], [before, "now"])

    def test_groupings_agree(self):
        before, between, _ = self.snapshots()
        total = self.json("diff", before, between)["total"]
        for by in ("domain", "kind", "module", "state", "size", "allocator"):
            report = self.json("diff", before, between, "--by", by)
            self.assertEqual({key: report["total"][key] for key in total if key != "rows"},
                             {key: total[key] for key in total if key != "rows"}, by)
            self.assertEqual(sum(row["count_change"] for row in report["rows"]), total["count_change"], by)
        rows = self.json("diff", before, between, "--by", "module")["rows"]
        self.assertEqual([row["count_change"] for row in rows if row["module"] == "__main__"], [5700])
        rows = self.json("diff", before, between, "--by", "size")["rows"]
        row = [each for each in rows if each["domain"] == "python" and each["size"] == self.size][0]
        self.assertGreaterEqual(row["count_change"], 5700)  # Other has as many slots

    def test_by_block(self):
        before, between, after = self.snapshots()
        report = self.json("diff", before, between, "--by", "block")
        new = [row for row in report["rows"] if row["change"] == "new" and row["kind"] == "Thing"]
        changed = [row for row in report["rows"] if row["change"] == "changed" and row["kind"] == "Thing"]
        self.assertEqual(len(new) + len(changed), 5000)
        self.assertTrue(all(row["size"] == self.size for row in new))
        # The very blocks that the table of each moment has.
        def blocks(path, state="in use"):
            db = sqlite3.connect(path)
            rows = db.execute("SELECT start, size, domain, kind, detail FROM blocks WHERE state=?", (state,))
            found = {start: (size, kind) for start, size, domain, kind, detail in rows}
            db.close()
            return found
        a, b = blocks(before), blocks(between)
        expected = {start for start in b if start not in a or a[start][0] != b[start][0]}
        self.assertEqual({int(row["start"], 16) for row in report["rows"] if row["change"] == "new"}, expected)
        expected = {start for start in a if start not in b or a[start][0] != b[start][0]}
        self.assertEqual({int(row["start"], 16) for row in report["rows"] if row["change"] == "freed"}, expected)
        gone = self.json("diff", between, after, "--by", "block")
        freed = [row for row in gone["rows"] if row["change"] in ("freed", "changed")
                 and (row["was_kind"] or row["kind"]) == "Thing"]
        self.assertEqual(len(freed), 2500)
        self.assertEqual(gone["total"]["freed"]["count"], sum(row["change"] == "freed" for row in gone["rows"]))

    def test_changed(self):
        """A block is given out again for another type of its size."""
        self.process.do("gap = [Pinned() for i in range(2000)]")
        self.process.do("class Later(object): __slots__ = ('p', 'q', 'r', 's', 't', 'u')")
        before = self.save(self.process, "before")
        self.process.do("gap.clear(); late = [Later() for i in range(2000)]")
        report = self.json("diff", before, self.save(self.process, "after"), "--by", "block")
        changed = [row for row in report["rows"] if row["change"] == "changed"
                   and (row["was_kind"], row["kind"]) == ("Pinned", "Later")]
        self.assertGreater(len(changed), 1900)

    def test_of_three(self):
        before, between, after = self.snapshots()
        report = self.json("diff", before, between, after)
        counts = {row["kind"]: row["count"] for row in report["rows"] if row["domain"] == "python"}
        self.assertEqual((counts["Thing"], counts["Other"]), (2500, 700))
        blocks = self.json("diff", before, between, after, "--by", "block")
        self.assertEqual(report["total"], blocks["total"])
        self.assertEqual(len(blocks["rows"]), report["total"]["survivors"]["count"])
        self.assertEqual(self.json("diff", between, before, after)["rows"], [
            row for row in self.json("diff", between, before, after)["rows"] if row["kind"] != "Thing"])

    def test_forms(self):
        before, between, after = self.snapshots()
        text = self.ok("diff", before, between, "--top", "3")
        self.assertRegex(text, r"(?m)^ python +Thing +\+5,000 +\+%s " % format(5000 * self.size, ","))
        self.assertRegex(text, r"(?m)^ +TOTAL +[-+]")
        self.assertIn("more rows are in the total", text)
        rows = list(csv.DictReader(io.StringIO(self.ok("diff", before, between, "--format", "csv"))))
        self.assertEqual([row["count_change"] for row in rows if row["kind"] == "Thing"], ["5000"])
        grew = self.json("diff", before, after, "--sort", "bytes_change:desc")["rows"]
        self.assertEqual([row["bytes_change"] for row in grew],
                         sorted((row["bytes_change"] for row in grew), reverse=True))
        path = self.path("report.json")
        self.ok("diff", before, after, "--format", "json", "--output", path)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(json.load(file)["rows"], self.json("diff", before, after)["rows"])

    def test_two_processes(self):
        before = self.save(self.process, "before")
        other = self.target()
        other.do("things = [Thing() for i in range(500)]")
        report = self.json("diff", before, self.save(other, "other"))
        self.assertEqual(row_of(report, "Thing")["count_change"], -2500)
        self.assertEqual(report["strangers"], "process %s and process %s" % (self.process.pid, other.pid))


if __name__ == "__main__":
    main()
