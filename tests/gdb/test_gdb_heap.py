# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb-heap's own self-test, made anew: C, C++ and Python programs in gdb, and the tables that people read.

Each run of gdb fails on any word on stderr. Numbers are the program's own, not ours.
"""

import bisect
import collections
import os
import re
import tempfile

from support import (BUILD, HERE, Failed, check, check_equal, gcore, gdb, main, running, some_interpreters)


class Table:
    """A table as gdb-heap printed them: titles, a dashed rule, cells to the right, until an empty line."""

    def __init__(self, titles, rule, lines):
        spans = [match.span() for match in re.finditer("-+", rule)]
        self.titles = [titles[start:end].strip() for start, end in spans]
        self.rows = [[self.cell(line[start:end].strip()) for start, end in spans] for line in lines]

    @staticmethod
    def cell(text):
        """Numbers without commas, addresses, None for an empty cell, or the text itself."""
        if not text:
            return None
        if re.fullmatch("[0-9]{1,3}(,[0-9]{3})*", text):
            return int(text.replace(",", ""))
        return int(text, 16) if re.fullmatch("0x[0-9a-f]+", text) else text

    def find(self, **wanted):
        """The rows with these cells, as dictionaries. Domain="python" and so on."""
        rows = [dict(zip(self.titles, row)) for row in self.rows]
        for title in wanted:
            check(title in self.titles, title, "is no column of", self.titles)
        return [row for row in rows if all(row[title] == cell for title, cell in wanted.items())]

    def column(self, title):
        return [row[self.titles.index(title)] for row in self.rows]


def tables(text):
    lines = text.split("\n")
    found = []
    for index in range(1, len(lines)):
        if re.fullmatch("-+(  -+)*", lines[index]):
            end = index + 1
            while end < len(lines) and len(lines[end]) == len(lines[index]):
                end += 1
            found.append(Table(lines[index - 1], lines[index], lines[index + 1:end]))
    return found


def ask(process, *commands):
    """The text of each command, all in one gdb."""
    with tempfile.TemporaryDirectory() as folder:
        lines = ["pipe %s | cat > %s/%d" % (command, folder, number) for number, command in enumerate(commands)]
        gdb(lines, "-p", process.pid)
        texts = []
        for number in range(len(commands)):
            with open("%s/%d" % (folder, number), encoding="utf-8") as file:
                texts.append(file.read())
    return texts


def table_of(text):
    found = tables(text)
    check_equal(len(found), 1, "tables in %s" % text)
    return found[0]


def blocks(*arguments):
    return running(BUILD / "bin" / "selftest_blocks", *arguments, until=b"stop")


def live_set(process):
    """{address of memory: bytes asked for}, as the program says."""
    return {int(line.split()[0], 16): int(line.split()[1]) for line in process.said}


def chunk_bytes(request):
    return max(32, (request + 8 + 15) // 16 * 16)


def glibc_sizes(text):
    table = table_of(text)
    return {row["Chunk size"]: row["Num chunks"] for row in table.find() if row["Allocator"] == "glibc"}


# ---- the table parser itself ----

def test_parser():
    first, second = tables("before\n"
                           " Name       Address  Bytes\n"
                           "-----  ------------  -----\n"
                           "  foo  0x0000000010  1,234\n"
                           "  bar                    7\n"
                           "TOTAL                1,234\n"
                           "\n"
                           "Count\n"
                           "-----\n"
                           "    3\n"
                           "after that\n")
    check_equal(first.titles, ["Name", "Address", "Bytes"], "titles")
    check_equal(first.rows, [["foo", 16, 1234], ["bar", None, 7], ["TOTAL", None, 1234]], "rows")
    check_equal(first.find(Name="bar"), [{"Name": "bar", "Address": None, "Bytes": 7}], "a row")
    check_equal(second.rows, [[3]], "second table")
    try:
        first.find(Colour="red")
    except Failed as failure:
        check("Colour is no column" in str(failure), failure)
    else:
        check(False, "a column that is not there was found")


# ---- C ----

def test_allocations():
    with blocks("no_allocations") as process:
        check_equal(glibc_sizes(ask(process, "heap sizes")[0]), {}, "sizes before any malloc")
    with blocks("small") as process:
        check_equal(glibc_sizes(ask(process, "heap sizes")[0]), {32: 1500}, "100 each of 1 to 15 bytes")
    with blocks("large") as process:
        sizes = glibc_sizes(ask(process, "heap sizes")[0])
    check_equal(sizes, {(i << 20) + 4096: 1 for i in range(1, 11)}, "ten of 1 to 10 MiB")
    check_equal(sum(sizes), 57712640, "their bytes")
    with blocks("mixed") as process:
        sizes, used, free, everything, census = ask(
            process, "heap sizes", "heap used", "heap free", "heap all", "heap")
        live = live_set(process)
    # The one that was freed is in the tcache, and not in use.
    check_equal(glibc_sizes(sizes), {272: 99, 1008: 2, 258048: 1}, "mixed")
    used, free, everything = table_of(used), table_of(free), table_of(everything)
    check(set(live) <= {start + 16 for start in used.column("Start")}, "heap used lacks blocks of the program")
    check_equal([row["Size"] for row in free.find(State="tcache")], [272], "heap free")
    rows = [tuple(row[title] for title in ("Start", "End", "Size")) for row in everything.find()]
    check(set(map(tuple, zip(*map(used.column, ("Start", "End", "Size"))))) <= set(rows), "used is not in all")
    check_equal(rows, sorted(rows), "heap all is by address")
    total = table_of(census).find(Detail="TOTAL")[0]
    check_equal((total["Count"], total["Allocated size"]), (len(rows), sum(row[2] for row in rows)), "TOTAL")


def test_random():
    """Random calls of malloc, realloc, memalign, free: at each stop the program's own live set, no more."""
    stops = 10
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/in", "w", encoding="ascii") as file:
            file.write("\n" * (stops + 1))
        commands = ["break read", "run random 7 < %s/in > %s/out" % (folder, folder)]
        for number in range(stops):
            commands += ["heap used -output %s/%d" % (folder, number), "continue"]
        gdb(commands + ["kill"], BUILD / "bin" / "selftest_blocks")
        with open(folder + "/out", encoding="ascii") as file:
            said = file.read().split("stop\n")
        for number in range(stops):
            with open("%s/%d" % (folder, number), encoding="utf-8") as file:
                rows = table_of(file.read()).find()
            spans = sorted((row["Start"], row["End"]) for row in rows if row["Domain"] in ("uncategorized", "C"))
            wanted = [tuple(line.split()) for line in said[number].splitlines()]
            check(len(wanted) > 20, "the program holds", len(wanted))
            check_equal(len(spans), len(wanted), "blocks at stop %d" % number)
            starts = [start for start, _end in spans]
            for address, size in wanted:
                address, end = int(address, 16), int(address, 16) + int(size)
                at = bisect.bisect_right(starts, address) - 1
                # A chunk's data runs on over the next one's prev_size.
                check(at >= 0 and end <= spans[at][1] + 1 + 8, "stop", number, "lacks", hex(address), size)


def test_random_buffers():
    with blocks("random_buffers") as process:
        table = table_of(ask(process, "heap")[0])
    domains = set(table.column("Domain"))
    check(not domains & {"python", "cpython", "pyarena", "C++"}, "random bytes are", domains)


def test_select():
    with blocks("three") as process:
        text = ask(process, "heap select size >= 1000 and size < 4000 and allocator = 'glibc' and state = 'in use'")[0]
        live = live_set(process)
    table = table_of(text)
    check_equal(table.titles, ["Start", "End", "Domain", "Kind", "Detail", "Hexdump"], "columns")
    check_equal(table.column("Start"), sorted(address - 16 for address in live), "three rows of three")
    # gdb-heap's End is the last byte.
    check_equal([row["End"] - row["Start"] + 1 for row in table.find()],
                [chunk_bytes(live[address]) for address in sorted(live)], "sizes")
    check("the first of thr" in text, "no text in the hexdump:", text)

    with blocks("stairs") as process:
        ours = " and allocator = 'glibc' and state = 'in use' and size >= 1024"
        queries = {"size >= 10240": 10, "size < 2048": 1, "size >= 4096 and size < 8192": 22,
                   "(size == 1024 or size == 2048)": 3, "not (size < 10240)": 10}
        texts = ask(process, *["heap select %s%s" % (query, ours) for query in queries])
        for (query, count), text in zip(queries.items(), texts):
            check_equal(len(table_of(text).rows), count, query)
        before = set(os.listdir("."))
        gdb(["heap select AM"], "-p", process.pid, status=1,
            errors=[r".*AM.*", r" *AM", r" *\^.*"])
        gdb(["heap select size = 5 foo"], "-p", process.pid, status=1, errors=[r".*foo.*", r" *size = 5 foo", r" *\^.*"])
        check_equal(set(os.listdir(".")), before, "files after a query")


def test_history():
    """label, run on, log, diff: exactly the three new blocks; nothing when nothing has changed."""
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/in", "w", encoding="ascii") as file:
            file.write("\n\n")
        gdb(["break read", "run growing < %s/in > %s/out" % (folder, folder), "heap label before", "continue",
             "heap diff before -by block -output %s/diff" % folder, "heap label after", "heap log -output %s/log" % folder,
             "heap diff before after -by category -format csv -output %s/csv" % folder,
             "heap diff after -output %s/same" % folder, "kill"], BUILD / "bin" / "selftest_blocks")
        texts = {}
        for name in ("diff", "log", "csv", "same"):
            with open("%s/%s" % (folder, name), encoding="utf-8") as file:
                texts[name] = file.read()
    glibc = [line for line in texts["diff"].split("\n") if re.search(r"\b(5,008|6,016|7,008)\b", line)]
    check_equal(len(glibc), 3, "new blocks in %s" % texts["diff"])
    check("before" in texts["log"] and "after" in texts["log"], texts["log"])
    found = tables(texts["same"])
    check(not found or not found[0].rows or all("TOTAL" in row for row in found[0].rows),
          "a difference where there is none:", texts["same"])


# ---- C++ ----

def test_cplusplus():
    with running(BUILD / "bin" / "selftest_classes", until=b"stop") as process:
        wanted = {line.rsplit(" ", 1)[0]: int(line.rsplit(" ", 1)[1]) for line in process.said}
        table = table_of(ask(process, "heap")[0])
    found = {row["Kind"]: row["Count"] for row in table.find(Domain="C++")}
    check_equal(found, wanted, "classes by their vtables")
    check_equal((found["Foo"], found["Bar"]), (100, 50), "Foo and Bar")


# ---- Python ----

KINDS = ("str", "list", "tuple", "dict", "type", "code", "set", "frozenset", "function", "module", "frame",
         "generator")


def counts(table):
    found = collections.Counter()
    for row in table.find():
        found[row["Domain"], row["Kind"], row["Detail"]] += row["Count"] or 0
    return found


def check_python(name, census, wanted):
    found = counts(census)
    kinds = {kind for domain, kind, _detail in found if domain == "python"}
    is_2 = name.startswith("2.")
    for kind in KINDS:
        # From 3.12 on a generator has its frame inside, from 3.11 on a running function one in a data stack.
        check(kind in kinds or kind == "frame" and not is_2, name, "shows no", kind)
    check(("unicode" if is_2 else "bytes") in kinds, name, "shows no unicode or bytes")
    for kind, count in wanted.items():
        if is_2 and kind.startswith("OldStyle"):
            shown = found["python", kind, "old-style"]
        else:
            shown = found["python", kind, None]
        check_equal(shown, count, "%s: %s" % (name, kind))
    tables_of_dicts = "PyDictEntry table" if is_2 else "PyDictKeysObject"
    check(found["cpython", tables_of_dicts, None] >= 40, name, "tables of 40 dictionaries")
    check_equal(found["cpython", tables_of_dicts, "interned"], 1, "%s: interned" % name)
    check(found["cpython", "PyListObject ob_item table", None] >= 43, name, "tables of 43 lists")
    check(found["cpython", "PySetObject setentry table", None] >= 83, name, "tables of 83 sets")
    # 3.15's bytearray has a bytes object, not a buffer.
    buffer = ("python", "bytes") if re.match(r"3\.1[5-9]\.", name) else ("cpython", "bytearray buffer")
    check(found[buffer + (None,)] >= 45, name, "buffers of 45 bytearrays")
    check(found["pyarena", "pool_header overhead", None] > 50, name, "pools")
    if is_2:
        check(found["cpython", "PyUnicodeObject buffer", None] >= 44, name, "buffers of 44 unicodes")
        check(found["cpython", "_intblock", None] > 0, name, "_intblock")
        check(found["python", "str", "bytecode"] > 100, name, "bytecode")
        for kind in wanted:
            if kind.startswith(("NewStyle", "OldStyle")) and "Slots" not in kind:
                check_equal(found["python", "dict", kind + ".__dict__"], wanted[kind], "%s: %s" % (name, kind))
            if kind.endswith("ManyAttribs"):
                check_equal(found["cpython", "PyDictEntry table", kind + ".__dict__"], wanted[kind],
                            "%s: tables of %s" % (name, kind))


def test_python():
    for name, path in list(some_interpreters().items())[::3]:
        with running(path, HERE / "selftest_target.py") as process:
            wanted = {line.split()[0]: int(line.split()[1]) for line in process.said}
            heap, arenas, lists, texts = ask(
                process, "heap", "heap cpython-allocators", "heap select kind = 'PyListObject ob_item table'",
                "heap select domain = 'python' and kind = 'str' and size > 512")
            census = table_of(heap)
            check_equal(census.titles, ["Domain", "Kind", "Detail", "Count", "Allocated size"], "columns")
            check_python(name, census, wanted)
            allocators = tables(arenas)[0]
            check_equal(allocators.titles[:1], ["struct arena_object*"], "columns of %s" % arenas)
            check("Free pools" in allocators.titles and allocators.rows, name, "arenas:", arenas)
            check_equal(len(table_of(lists).rows), sum(row["Count"] for row in census.find(
                Kind="PyListObject ob_item table")), "%s: select and census" % name)
            rows = table_of(texts).find()
            check(len(rows) >= 10, name, "long texts:", len(rows))
            for row in rows:
                check((row["Domain"], row["Kind"]) == ("python", "str") and row["End"] - row["Start"] >= 512, row)
            with tempfile.TemporaryDirectory() as folder:
                core = os.path.join(folder, "core")
                gcore(process, core)
                gdb(["heap -output %s/report" % folder], "-c", core)
                with open(folder + "/report", encoding="utf-8") as file:
                    check_equal(table_of(file.read()).rows, census.rows, "%s: core" % name)
        print("ran on %s" % name)


def test():
    test_parser()
    test_allocations()
    test_random()
    test_random_buffers()
    test_select()
    test_history()
    test_cplusplus()
    test_python()


main(test)
