#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Free-threaded CPythons that nobody ships, forged out of Debian's headers: every block of theirs is read right.

forged.c is compiled with the headers of each libpython3.14-dev and later that is at hand (this system's, and
those in the chroots that tests/matrix/chroot.sh made) and stripped: what heapwalk knows of that build is in rows.def
alone. Then `all`, live and of a core, is compared with what the program says that it has made.

And once more with the mimalloc of 3.13, which the first releases of 3.14 had: what the table says of 3.14's is
wrong then, and of the interpreter's members only those are known that _Py_DebugOffsets name.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import probe

HEAPWALK = os.path.join(os.environ.get("HEAPWALK_BUILD", "build"), "bin", "heapwalk")
STATES = {"used": "in use", "free": "free block", "local": "local free block", "thread": "thread free block"}
DOMAINS = {"ob_item": "cpython", "keys": "cpython"}


class Forged:
    """The program, until the end of the with statement."""

    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, universal_newlines=True)
        self.blocks, self.kept = [], set()

    def __enter__(self):
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "block":
                self.blocks.append((int(words[1], 16), int(words[2]), words[3], words[4], int(words[5], 16)))
            elif words[0] == "kept":
                self.kept.add(int(words[1], 16))
            elif words[0] == "ready":
                return self
        raise SystemExit("the forged process has ended")

    def __exit__(self, *_):
        self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def differences(forged, rows, has_moved):
    """Sentences, one a block that the rows don't have as it was made."""
    by_start = {int(row["start"], 16): row for row in rows}
    for address, size, state, kind, instance in forged.blocks:
        row = by_start.get(address)
        if row is None:
            yield "no row begins at the block %#x, a %s" % (address, kind)
            continue
        shown = "the row of %#x, %s %s of %d bytes, is %s" % (address, state, kind, size, {
            k: row.get(k) for k in ("size", "allocator", "state", "domain", "kind", "detail", "object")})
        if row["size"] != size or row["allocator"] != "mimalloc" or row["state"] != STATES[state]:
            yield shown
        elif address in forged.kept:
            # Where a thread's free lists are is not known when its structures have moved.
            if not has_moved and (row.get("object") or row["kind"] != "free-listed object"):
                yield "on a free list, but " + shown
        elif state != "used":
            if row.get("object"):
                yield "dead, but " + shown
        elif kind in DOMAINS:
            if row["domain"] != DOMAINS[kind] or kind not in row["kind"].lower():
                yield shown
        elif row["domain"] != "python" or row["kind"] != kind or int(row["object"] or "0", 16) != instance:
            yield shown
    made = {address for address, *_ in forged.blocks}
    for row in rows:
        if row["allocator"] == "mimalloc" and row["state"] == "in use" and int(row["start"], 16) not in made:
            yield "there is no block like %s" % row


def ask(where):
    done = subprocess.run([HEAPWALK] + where + ["all", "--format", "json"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        return None, "status %d: %s" % (done.returncode, done.stderr.decode(errors="replace"))
    return json.loads(done.stdout.decode("utf-8", "surrogateescape")), done.stderr.decode(errors="replace")


def compare(name, forged, where, has_moved):
    report, words = ask(where)
    if report is None or words:
        print("%s: FAILED: %s" % (name, words))
        return False
    found = list(differences(forged, report["rows"], has_moved)) + ["issue: %s" % each["message"] for each in report["issues"]]
    facts = report["target"]["python"]["facts"] if "python" in report["target"] else report["python"]["facts"]
    if "table" not in facts or has_moved != ("as another build has them" in facts):
        found.append("facts are not from where they should be")
    print("%s: %s; %s" % (name, "FAILED" if found else "%d blocks equal" % len(forged.blocks), facts))
    for line in found[:8]:
        print("  " + line)
    return not found


def run(root, folder, directory, old=None):
    """True: all is as it was made. `old` are headers of 3.13, whose mimalloc is taken."""
    program = os.path.join(directory, "forged")
    probe.compile_program(root, folder, [os.path.join(probe.HERE, "forged.c")], program,
                          ["-O1", "-rdynamic"] + (["-Dmi_subproc_t=void"] if old else []), old)
    subprocess.run(["strip", program], check=True)
    name = folder + (", mimalloc of 3.13" if old else "")
    with Forged(program) as forged:
        pid = str(forged.process.pid)
        good = compare(name + ", live", forged, ["-p", pid], bool(old))
        if shutil.which("gcore"):
            core = os.path.join(directory, "core")
            subprocess.run(["gcore", "-o", core, pid], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=True)
            good = compare(name + ", core", forged, ["-c", core + "." + pid], bool(old)) and good
    return good


def main():
    every = [(root, folder, int(re.search(r"3\.(\d+)$", folder).group(1))) for root, folder in probe.headers()]
    found = [(root, folder, None) for root, folder, minor in every if minor >= 14]
    found += [(root, folder, old) for root, folder, minor in every if minor == 14
              for of, old, older in every if of == root and older == 13]
    if not found or not all(shutil.which(each) for each in ("cc", "strip")):
        print("skip: no headers of a CPython 3.14 or later (tests/matrix/chroot.sh sid), or no compiler")
        return 77
    good = True
    for root, folder, old in found:
        with tempfile.TemporaryDirectory(prefix="heapwalk-forged-") as directory:
            good = run(root, folder, directory, old) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
