# SPDX-License-Identifier: LGPL-2.1-or-later
"""`select`: gdb-heap's questions and answers, and what it got wrong."""

from support import HeapwalkTest, Program, main, run


class Query(HeapwalkTest):
    def setUp(self):
        super().setUp()
        self.program = Program("blocks", "stairs")
        self.addCleanup(self.program.__exit__)

    def select(self, query):
        rows = self.report(self.program.pid, "select", query)["rows"]
        return [r for r in rows if r["allocator"] == "glibc" and r["state"] == "in use" and r["size"] >= 1024]

    def count(self, query, wanted):
        self.assertEqual(len(self.select(query)), wanted, query)

    def test_by_size(self):
        self.count("size >= 10240", 10)
        self.count("size < 2048", 1)
        self.count("size >= 4096 and size < 8192", 22)
        self.count("size >= 4K and size < 8K", 22)
        self.count("size >= 0x1000 and size < 0x2000", 22)
        self.count("size = 3072", 3)
        self.count("size == 3072", 3)
        self.count("size != 3072", 52)

    def test_precedence(self):
        # AND binds tighter than OR: gdb-heap read this as (a or b) and c.
        self.count("size == 1024 or size == 2048 and size == 3072", 1)
        self.count("(size == 1024 or size == 2048) and size == 3072", 0)
        self.count("not size == 1024 and size <= 2048", 2)

    def test_address(self):
        for mem, size in list(self.program.live_set().items())[:5]:
            rows = self.select("start == %#x" % (mem - 16))
            self.assertEqual([r["size"] for r in rows], [size + 16])
            self.assertEqual(rows, self.select("addr = %#x" % (mem - 16)))

    def test_kind_and_domain(self):
        self.count("domain == 'uncategorized' and size >= 10240", 10)
        self.count('domain == "python"', 0)
        self.count("domain ~ '^uncat.*ed$' and size < 2048", 1)

    def test_order_and_limit(self):
        sizes = [r["size"] for r in self.select("size >= 1024 and size <= 10240 order by size desc limit 12")]
        self.assertEqual(sizes, [10240] * 10 + [9216] * 2)

    def test_three_rows_of_three(self):
        with Program("blocks", "three") as program:
            rows = self.report(program.pid, "select", "size >= 1000 and size < 4000 and state == 'in use'")["rows"]
            self.assertEqual([r["size"] for r in rows if r["allocator"] == "glibc"], [1008, 2016, 3008])

    def test_errors_have_a_caret(self):
        for query in ("size >", "size >= 10 and", "sise > 10", "size > ten", "size > 10)", "(size > 10",
                      "kind ~ '['", "size > 99999999999999999999999999", "kind == 'never closed"):
            done = run("-p", self.program.pid, "select", query)
            errors = done.stderr.decode()
            self.assertNotEqual(done.returncode, 0, query)
            self.assertEqual(done.stdout, b"", query)
            self.assertNotIn("Traceback", errors)
            lines = errors.splitlines()
            self.assertTrue(lines, query)
            self.assertRegex(lines[0], "^heapwalk: .")
            self.assertTrue(any(line.lstrip().startswith("^") for line in lines), (query, lines))


if __name__ == "__main__":
    main()
