# SPDX-License-Identifier: LGPL-2.1-or-later
"""Labels: the process runs on between two of them, and the difference is what it counted itself."""

import json
import os
import tempfile

from support import BUILD, check, check_equal, gdb, gdbserver, main, some_interpreters

# It runs on for a while each time, making and dropping things, counts them in a file, and is stopped where
# it asks for its parent's number.
TARGET = """
import gc, json, os, random, sys
class Made(object):
    __slots__ = ("a", "b")
class Dropped(object):
    __slots__ = ("a", "b", "c")
class Churn(object):
    __slots__ = ("a", "b", "c", "d")
made, dropped, churn = [], [Dropped() for i in range(40000)], [Churn() for i in range(1000)]
random.seed(7)
counts = open(sys.argv[1], "w")
def work():
    for i in range(100000):
        churn[i % 1000] = Churn()
        if i % 7 == 0:
            made.append(Made())
        if i % 11 == 0:
            dropped.pop(random.randrange(len(dropped)))
def tell():
    counts.write(json.dumps({"Made": len(made), "Dropped": len(dropped), "Churn": len(churn)}) + "\\n")
    counts.flush()
gc.disable()
for step in range(3):
    tell()
    os.getppid()
    work()
"""


def load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def counted(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def changes(report):
    return {row["kind"]: row["count_change"] for row in report["rows"]
            if row["domain"] == "python" and row["kind"] in ("Made", "Dropped", "Churn")}


def difference(before, after):
    return {name: after[name] - before[name] for name in before if after[name] != before[name]}


def command(folder, name, words):
    return "heap diff -format json -output %s/%s %s" % (folder, name, words)


def compare(folder, start, arguments, name, noise):
    """Run the target to its stops; what it wrote and what was found at each."""
    gdb([*start, "heap label first one", "continue", "heap label second", command(folder, "a", '"first one" second'),
         command(folder, "b", '"first one"'), "heap save %s/file" % folder, "continue",
         command(folder, "c", ""), command(folder, "d", '"first one" second %s/file' % folder),
         command(folder, "e", "%s/file" % folder), "heap log -format json -output %s/log" % folder, "kill",
         command(folder, "f", '"first one" second')], *arguments, noise=noise)
    first, second, third = counted(folder + "/counts")
    for file, before, after in (("a", first, second), ("b", first, second), ("c", second, third),
                                ("e", second, third), ("f", first, second)):
        check_equal(changes(load("%s/%s" % (folder, file))), difference(before, after), "%s: diff %s" % (name, file))
    log = load(folder + "/log")["rows"]
    check_equal([row["label"] for row in log], ["second", "first one"], "%s: log" % name)
    check_equal(log[0]["in_use_count"] - log[1]["in_use_count"], log[0]["in_use_count_change"], "log's change")
    survivors = {row["kind"]: row["count"] for row in load(folder + "/d")["rows"]}
    check_equal(survivors.get("Made"), second["Made"] - first["Made"], "%s: new and still there" % name)


def script(folder):
    path = folder + "/target.py"
    with open(path, "w", encoding="ascii") as file:
        file.write(TARGET)
    return path


def test_python(folder, python, name):
    start = ["set breakpoint pending on", "break getppid",
             "run %s %s/counts > /dev/null < /dev/null" % (script(folder), folder)]
    compare(folder, start, [python], name, noise=[r"Function \"getppid\" not defined\."])


def test_remote(folder):
    """gdbserver: the library's session ends whenever the process runs on; the labels do not."""
    program = BUILD / "bin" / "gdb_target"
    with gdbserver(program) as connect:
        gdb([*connect, "break hw_stage", "continue", "heap label first", "continue", command(folder, "a", "-by size")],
            program, noise=[r"warning: .*"])
    big = [row for row in load(folder + "/a")["rows"] if 1500 <= (row["size"] or 0) < 1600]
    check_equal([row["count_change"] for row in big], [1000], "blocks of 1500 bytes through gdbserver")


def test_c(folder):
    """Sizes and numbers of a C program; labels stay when it is run again, and go with the inferior."""
    program = BUILD / "bin" / "gdb_target"
    result = gdb(["heap log", "break hw_stage", "run < /dev/null", "heap label old", "continue",
                  command(folder, "a", "-by size"), "heap label old", "complete heap diff o", "complete heap diff x",
                  "kill", "heap log", "run < /dev/null", command(folder, "b", ""), "add-inferior", "inferior 2",
                  "heap log"], program)
    big = [row for row in load(folder + "/a")["rows"] if 1500 <= (row["size"] or 0) < 1600]
    check_equal([row["count_change"] for row in big], [1000], "blocks of 1500 bytes")
    report = load(folder + "/b")
    check(report["strangers"], "the labels of a process that is gone are not of this one:", report["strangers"])
    check("It replaces a label of that name." in result.out, "no word of the label that was replaced")
    check_equal(result.out.count("heap diff old"), 1, "completion")
    check_equal(result.out.count("(no labels"), 2, "logs without a label")


def test_errors(folder):
    program = BUILD / "bin" / "gdb_target"
    with open(folder + "/none", "w", encoding="ascii") as file:
        file.write("no snapshot")
    gdb(["heap diff"], errors=[r"There is nothing to compare with: name a snapshot file, or take a label first "
                               r"\(label NAME\)\."], status=1)
    gdb(["heap label x"], errors=[r"There is no process and no core file to look at: .*"], status=1)
    for words, error in (("heap label", r"Label needs a name: label NAME\."),
                         ("heap diff y", r"There is no label and no file \"y\": \"log\" lists the labels\."),
                         ("heap diff %s/none" % folder, r".*/none is no snapshot: it was not written by \"save\"\."),
                         ("heap diff x x x x", r"Diff takes no more than .*")):
        gdb(["break hw_stage", "run < /dev/null", "heap label x", words], program, errors=[error], status=1)


def test_nothing_is_left(folder):
    """A label's file has no name: there is nothing to clean up, however gdb ends."""
    program = BUILD / "bin" / "gdb_target"
    gdb(["break hw_stage", "run < /dev/null", "heap label x", "shell ls -A %s > %s.names" % (folder, folder),
         "heap diff x"], program, TMPDIR=folder)
    names = names_of(folder)
    check_equal(names, "", "files while a label is there")
    check_equal(os.listdir(folder), [], "files afterwards")


def names_of(folder):
    with open(folder + ".names", encoding="utf-8") as file:
        names = file.read()
    os.unlink(folder + ".names")
    return names


def test():
    for case in (test_c, test_errors, test_nothing_is_left, test_remote):
        with tempfile.TemporaryDirectory() as folder:
            case(folder)
    # One whose objects pymalloc has, and the oldest: what others do differently the matrix compares.
    for name, path in some_interpreters().items():
        if not name.startswith("2.7.") and not name.endswith("-system"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            test_python(folder, path, name)
        print("ran on %s" % name)


main(test)
