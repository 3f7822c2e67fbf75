#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes libheapwalk/layout/rows.def out of the DWARF of release builds of CPython, or checks it.

make_rows.py > rows.def    one row for each fact and version in which it changed
make_rows.py --check       is rows.def what these interpreters say? 77: none was found

Interpreters: those of HEAPWALK_PYTHONS (':' between), else pyenv's and Debian's.
"""

import glob
import os
import subprocess
import sys

DUMP = os.path.join(os.environ.get("HEAPWALK_BUILD", "build"), "bin", "layout_dump")


def interpreters():
    named = os.environ.get("HEAPWALK_PYTHONS")
    if named:
        return named.split(":")
    found = glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python"))
    return sorted(found) + [p for p in ("/usr/bin/python3",) if os.path.exists(p)]


def dump(python):
    """The lines of layout_dump for a process of that interpreter."""
    code = "import sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen([python, "-c", code], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as process:
        process.stdout.read(1)
        out = subprocess.run([DUMP, str(process.pid)], stdout=subprocess.PIPE, check=False,
                             universal_newlines=True).stdout
        process.stdin.close()
    return [line.split(" ", 1) for line in out.splitlines()]


def check():
    pythons, bad, checked = interpreters(), 0, 0
    for python in pythons:
        lines = dump(python)
        info = {word: rest for word, rest in lines if word in ("version", "build", "facts", "error")}
        if not info.get("facts", "").startswith("DWARF") or info["build"] != "release":
            print("%s: not compared: %s" % (python, info.get("error") or info))
            continue
        differences = [rest for word, rest in lines if word == "differs"]
        print("%s: %s" % (python, "; ".join(differences) or "%d facts equal" % sum(
            word == "fact" for word, _ in lines)))
        checked += 1
        bad += bool(differences)
    return 1 if bad else 0 if checked else 77


def make():
    by_version, names = {}, []
    for python in interpreters():
        lines = dump(python)
        info = dict(line for line in lines if line[0] != "fact")
        facts = [rest.split() for word, rest in lines if word == "fact"]
        names = names or [name for name, _ in facts]
        minor = int(info["version"], 16) >> 16
        values = {name: int(value) for name, value in facts}
        if by_version.setdefault(minor, values) != values:
            sys.exit("%s: two builds of one minor version differ" % python)
    print("// Made by tests/layout/make_rows.py out of the DWARF of release builds: do not edit.")
    print("// HW_ROW(fact, the minor version since which it has this value, value); bytes, -1 absent.")
    for name in names:
        last = -1
        for minor in sorted(by_version):
            value = by_version[minor][name]
            if value != last:
                print("HW_ROW(%s, 0x%04x, %d)" % (name, minor, value))
            last = value
    return 0


if __name__ == "__main__":
    sys.exit(check() if "--check" in sys.argv else make())
