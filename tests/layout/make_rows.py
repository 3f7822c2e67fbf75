#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes libheapwalk/layout/rows.def out of the DWARF of builds of CPython, or checks it.

make_rows.py > rows.def    one row for each fact and build in which it changed
make_rows.py --check       is rows.def what these interpreters say? 77: none was found

Interpreters: those of HEAPWALK_PYTHONS (':' between), else pyenv's, Debian's, and those of the chroots that
tests/matrix/chroot.sh made; tests/matrix/nogil.sh makes one without a GIL. Free-threaded builds that nobody
has come from the headers of the same versions (probe.py). What the table has of builds that are not at hand stays as it is.
"""

import glob
import os
import re
import subprocess
import sys

import probe

ROWS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../libheapwalk/layout/rows.def")
DUMP = os.path.join(os.environ.get("HEAPWALK_BUILD", "build"), "bin", "layout_dump")


def interpreters():
    """(root, path below it)"""
    named = os.environ.get("HEAPWALK_PYTHONS")
    if named:
        return [("", path) for path in named.split(":")]
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../matrix"))
    import interpreters as matrix  # pylint: disable=import-outside-toplevel
    chroots = os.environ.get("HEAPWALK_CHROOTS", "/var/tmp/heapwalk-chroots")
    roots = [path for path in sorted(glob.glob(chroots + "/*")) if os.path.isdir(path + "/usr")]
    found = sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python")))
    found += [p for p in ["/usr/bin/python3"] + glob.glob("/usr/bin/python3.*d") if os.path.exists(p)]
    return [("", path) for path in found] + [(root, path) for root in roots for path in matrix.in_root(root)] + (
        matrix.without_gil())


FREE_THREADED = 0x80000000  # in the name of a build: python_internal.h

# 2.7 has these in files of their own.
CODE = "import _collections, _io, sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"


def dump(root, python):
    """The lines of layout_dump for a process of that interpreter."""
    command = (["chroot", root] if root else []) + [python, "-c", CODE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.read(1)
        out = subprocess.run([DUMP, str(process.pid)], stdout=subprocess.PIPE, check=False,
                             universal_newlines=True).stdout
        process.stdin.close()
    return [line.split(" ", 1) for line in out.splitlines()]


def probes(builds):
    """{free-threaded build: {fact: value}} of the headers at hand."""
    found = {}
    for root, folder in probe.headers() if probe.is_possible() else []:
        try:
            version, values = probe.probe(DUMP, root, folder)
        except subprocess.CalledProcessError as error:
            print("%s: left out: %s" % (root + folder, error), file=sys.stderr)
            continue
        if version in builds:
            found[version | FREE_THREADED] = probe.complete(values, builds[version])
    return found


def check_probes():
    """(headers compared, those that differ)"""
    table, bad = known(), 0
    found = probes(table)
    for build, values in sorted(found.items()):
        wanted = table.get(build, {})
        differences = ["%s: %d in the table, %d in the headers" % (name, wanted.get(name, -1), value)
                       for name, value in values.items() if wanted.get(name, -1) != value]
        print("headers of %08x: %s" % (build, "; ".join(differences) or "%d facts equal" % len(values)))
        bad += bool(differences)
    return len(found), bad


def check():
    bad, checked = 0, 0
    for root, python in interpreters():
        lines = dump(root, python)
        info = {word: rest for word, rest in lines if word in ("build", "facts", "error")}
        if not info.get("facts", "").startswith("DWARF"):
            print("%s: not compared: %s" % (root + python, info.get("error") or info))
            continue
        differences = [rest for word, rest in lines if word == "differs"]
        print("%s: %s" % (root + python, "; ".join(differences) or "%d facts equal" % sum(
            word == "fact" for word, _ in lines)))
        checked += 1
        bad += bool(differences)
    probed, differ = check_probes()
    return 1 if bad or differ else 0 if checked + probed else 77


def known():
    """{build: {fact: value}} of the table as it is."""
    with open(ROWS, encoding="ascii") as file:
        text = file.read()
    builds = {int(build, 16): {} for build in re.findall(r"^HW_BUILD\((\w+)\)", text, re.M)}
    for name, since, value in re.findall(r"^HW_ROW\((\w+), (\w+), (-?\d+)\)", text, re.M):
        for build, facts in builds.items():
            if build >= int(since, 16):
                facts[name] = int(value)
    return builds


def make():
    builds, names, at_hand = known(), [], {}
    for root, python in interpreters():
        lines = dump(root, python)
        info = dict(line for line in lines if line[0] != "fact")
        if not info.get("facts", "").startswith("DWARF"):
            print("%s: left out: %s" % (root + python, info.get("error") or info), file=sys.stderr)
            continue
        facts = [rest.split() for word, rest in lines if word == "fact"]
        names = names or [name for name, _ in facts]
        build = int(info["build"], 16)
        builds[build] = {name: int(value) for name, value in facts}
        if at_hand.setdefault(build, builds[build]) != builds[build]:
            sys.exit("%s: two builds of one version differ" % python)
    for build, values in probes(builds).items():
        if build not in at_hand:
            builds[build] = at_hand[build] = values
    for build in sorted(set(builds) - set(at_hand)):
        print("%08x is not at hand, new facts are absent in it (tests/matrix/chroot.sh)" % build, file=sys.stderr)
    print("// Made by tests/layout/make_rows.py out of the DWARF of these builds: do not edit.")
    print("// HW_BUILD(PY_VERSION_HEX, + 1 for Py_DEBUG, + 0x80000000 for builds without a GIL), ascending.")
    print("// HW_ROW(fact, the build since which it has this value, value); bytes, -1 absent.")
    for build in sorted(builds):
        print("HW_BUILD(0x%08x)" % build)
    for name in names:
        last = -1
        for build in sorted(builds):
            value = builds[build].get(name, -1)
            if value != last:
                print("HW_ROW(%s, 0x%08x, %d)" % (name, build, value))
            last = value
    return 0


if __name__ == "__main__":
    sys.exit(check() if "--check" in sys.argv else make())
