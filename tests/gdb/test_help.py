# SPDX-License-Identifier: LGPL-2.1-or-later
"""Help, apropos and TAB, which need no target; `heap` leaves another plugin's `heap` alone."""

import os
import subprocess
import tempfile

from support import SCRIPT, check, check_equal, environment, gdb, gdb_arguments, main


def complete(text):
    return gdb(["complete %s" % text]).out.splitlines()


def test_help():
    for prefix in ("heap", "heapwalk"):
        listing = gdb(["help %s" % prefix]).out
        check("Usage: %s [OPTION]..." % prefix in listing, listing)
        check("  -format " in listing, listing)
        for name in ("census", "select", "cpython-allocators", "arenas", "hexdump"):
            check("%s %s -- " % (prefix, name) in listing, prefix, name, "is not in", listing)
            text = gdb(["help %s %s" % (prefix, name)]).out
            summary, blank, usage = text.splitlines()[:3]
            check(summary.endswith(".") and len(summary) <= 80, name, "summary:", summary)
            check_equal(blank, "", "line after the summary of %s" % name)
            check(usage.startswith("Usage: %s %s " % (prefix, name)), "usage:", usage)
    check("Usage: heap select [OPTION]... " in gdb(["help heap select"]).out, "heap select: no query")
    check("Usage: hexdump [OPTION]... ADDR" in gdb(["help hexdump"]).out, "hexdump: no ADDR")


def test_ascii():
    """gdb's character set is its locale's: in a container without one, what gdb is told must be ASCII."""
    command = gdb_arguments() + ["-batch", "-ex", "help heap", "-ex", "help heapwalk select", "-ex", "help set heapwalk"]
    done = subprocess.run(command, env=dict(environment(), LC_ALL="C"), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
    check_equal((done.returncode, done.stderr), (0, b""), "loaded where there is ASCII only")
    check(b"heap select -- " in done.stdout and b"heapwalk top" in done.stdout, done.stdout)


def test_apropos():
    found = gdb(["apropos heap"]).out
    for name in ("heap", "heap select", "heap cpython-allocators", "heapwalk", "heapwalk arenas"):
        check("\n%s -- " % name in "\n" + found, name, "is not in", found)
    for line in found.splitlines():
        check(" -- " in line and len(line.split(" -- ")[1]) > 10, "poor line of apropos:", line)


def test_complete():
    check_equal(complete("heap sel"), ["heap select"], "heap sel")
    check_equal(complete("heap cp"), ["heap cpython-allocators"], "heap cp")
    check_equal(complete("heapwalk are"), ["heapwalk arena", "heapwalk arenas"], "heapwalk are")
    check_equal(complete("hexd"), ["hexdump"], "hexd")
    check_equal(complete("heap -form"), ["heap -format"], "heap -form")
    check_equal(complete("heap select -form"), ["heap select -format"], "heap select -form")
    check_equal(sorted(complete("heap -format ")),
                ["heap -format csv", "heap -format json", "heap -format text"], "heap -format")
    check_equal(complete("heap arenas -format j"), ["heap arenas -format json"], "-format j")
    check_equal(complete("heap -nonsense"), [], "heap -nonsense")
    check("heap select" in complete("heap "), "heap and a blank do not list select")


def test_names_taken():
    """Another plugin was there first; one whose name only begins with ours does not count."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("heap", "heapinfo"):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write("define %s\n  echo taken\\n\nend\n" % name)
        source = "source %s" % SCRIPT
        taken = gdb(["source %s/heap" % folder, source, "heap", "help heapwalk select"], script=None)
        longer = gdb(["source %s/heapinfo" % folder, source, "help heap select"], script=None)
    check(taken.out.startswith("taken\n"), "the other heap was replaced:", taken.out)
    check("Usage: heapwalk select" in taken.out, "no heapwalk next to the other heap:", taken.out)
    check("Usage: heap select" in longer.out, "heapinfo kept heap away:", longer.out)
    twice = gdb([source, source, "help heap select"]).out
    check_equal(twice.count("Usage: heap select"), 1, "help after three times source")


def test():
    test_help()
    test_ascii()
    test_apropos()
    test_complete()
    test_names_taken()


main(test)
