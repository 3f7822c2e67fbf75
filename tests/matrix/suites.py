#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other glibcs and other gdbs: in chroots of other Debian suites (chroot.sh makes them), as root.

  tests/matrix/suites.py                     bullseye, trixie, sid: glibc 2.31, 2.41, 2.43; gdb 10.1, 16.3, 18.1
  tests/matrix/suites.py trixie --part gdb   one of them, one part

Parts, in this order:
  glibc   tests/glibc's program, compiled in there (static ones too): heapwalk out here against malloc_info() and
          mallinfo2(), live and in a core that the gdb in there made (--sysroot), with libc's symbols and without
  gdb     heapwalk compiled in there, then ctest -L 'gdb|allocators': the gdb commands in that gdb, and malloc
          replaced by that suite's musl, jemalloc, tcmalloc and mimalloc
  python  run.py --quick --group roots: every Python in there, from out here
  nogil   run.py --quick --group nogil: trixie's CPython 3.13 without a GIL, which nogil.sh builds in there first

What is there already is used again: chroots ($HEAPWALK_CHROOTS), and what was compiled in them. Status: 0 all
passed, 1 something failed, 77 nothing could be run.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("HEAPWALK_BUILD", os.path.join(TOP, "build")))
CHROOTS = os.environ.get("HEAPWALK_CHROOTS", "/var/tmp/heapwalk-chroots")
SUITES = ["bullseye", "trixie", "sid"]  # bookworm is where everything else is tested
PARTS = ["glibc", "gdb", "python", "nogil"]
NOGIL_SUITES = ["trixie"]  # whose source package of CPython there is
# In the chroot: this tree, read only, and what is made of it.
SOURCE, INSIDE_BUILD = "/heapwalk", "/var/tmp/heapwalk-build"
IS_ALONE = "HEAPWALK_SUITES_ALONE"

Outcome = collections.namedtuple("Outcome", "passed skipped failed")


def say(text):
    print(text, flush=True)


def in_a_namespace_of_its_own():
    """What is mounted below is gone when this process is."""
    if os.environ.get(IS_ALONE):
        return
    os.environ[IS_ALONE] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, "-B"] + sys.argv)


class Root:
    """One chroot, with this tree and the kernel's file systems mounted."""

    def __init__(self, suite):
        self.suite, self.path = suite, os.path.join(CHROOTS, suite)
        for what, where in ((TOP, SOURCE), ("/proc", "/proc"), ("/dev", "/dev")):
            os.makedirs(self.path + where, exist_ok=True)
            subprocess.run(["mount", "--rbind", what, self.path + where], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", self.path + SOURCE], check=True)
        self.build = self.path + INSIDE_BUILD

    def command(self, *words, directory=SOURCE):
        script = 'cd "$1" && shift && exec "$@"'
        return ["chroot", self.path, "env", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "PYTHONDONTWRITEBYTECODE=1",
                "HEAPWALK_BUILD=" + INSIDE_BUILD, "sh", "-c", script, "-", directory] + list(words)

    def run(self, *words, **options):
        return subprocess.run(self.command(*words, **options), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, check=False)

    def version(self, *words):
        found = re.search(r"(\d+\.\d+)\S*$", self.run(*words, directory="/").stdout.splitlines()[0])
        return found.group(1) if found else "?"


def compile_inside(root):
    """False, and the compiler's words: it could not be compiled in there."""
    for words in (("./setup", "build"), ("cmake", "--build", INSIDE_BUILD, "--parallel", str(os.cpu_count()))):
        done = root.run(*words)
        if done.returncode:
            say(done.stdout[-4000:])
            return False
    return True


# ---- glibc ----

def malloc_tests(root):
    """[(name, words)]: each program of tests/glibc with its arguments, as ctest in there knows them."""
    listed = json.loads(root.run("ctest", "--show-only=json-v1", "-R", "^glibc_.*_symbols$", directory=INSIDE_BUILD).stdout)
    return [(test["name"][len("glibc_"):-len("_symbols")], test["command"][1:]) for test in listed["tests"]
            if "--no-symbols" not in test["command"]]


def run_glibc(root):
    program = os.path.join(BUILD, "bin", "test_glibc_live")
    passed, failed = [], []
    for name, words in malloc_tests(root):
        done = subprocess.run([program, "--every-look", "--root", root.path] + words, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
        looks = len(re.findall(r"^\d+ expectations compared$", done.stdout, re.M))
        if done.returncode == 0 and looks == 4:
            passed.append(name)
        else:
            failed.append(name)
            say("%s, %s:\n%s" % (root.suite, name, done.stdout[-3000:]))
    return Outcome(passed, [], failed)


# ---- gdb ----

def run_gdb(root):
    done = root.run("ctest", "-L", "^(gdb|allocators)$", "--timeout", "900", "--output-on-failure", directory=INSIDE_BUILD)
    passed, skipped, failed = [], [], []
    for name, words in re.findall(r"^ *\d+/\d+ +Test +#\d+: (\S+) \.*(.*)$", done.stdout, re.M):
        (skipped if "Skipped" in words else passed if " Passed " in words else failed).append(name)
    if failed or done.returncode:
        say(done.stdout[-20000:])
    return Outcome(passed, skipped, failed or (["ctest"] if done.returncode else []))


# ---- Pythons ----

def run_group(group, environment):
    done = subprocess.run([sys.executable, "-B", os.path.join(HERE, "run.py"), "--heapwalk", os.path.join(BUILD, "bin", "heapwalk"),
                           "--quick", "--group", group], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    last = done.stdout.strip().splitlines()[-1:] or ["no output"]
    if done.returncode == 77:
        return Outcome([], last, [])
    if done.returncode:
        say(done.stdout[-8000:])
    return Outcome([] if done.returncode else last, [], last if done.returncode else [])


def run_python(root):
    return run_group("roots", dict(os.environ, HEAPWALK_TEST_ROOTS=root.path))


def run_nogil(root):
    if root.suite not in NOGIL_SUITES:
        return Outcome([], [], [])
    built = subprocess.run([os.path.join(HERE, "nogil.sh"), root.suite], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    if built.returncode:
        say(built.stdout[-4000:])
        return Outcome([], [], ["nogil.sh"])
    return run_group("nogil", dict(os.environ))


# ---- all of it ----

RUN = {"glibc": run_glibc, "gdb": run_gdb, "python": run_python, "nogil": run_nogil}


def test_suite(suite, parts):
    """True: every part passed."""
    made = subprocess.run([os.path.join(HERE, "chroot.sh"), "--tests", suite], stdin=subprocess.DEVNULL, check=False)
    if made.returncode:
        say("%s: FAILED: no chroot" % suite)
        return False
    root = Root(suite)
    if not compile_inside(root):
        say("%s: FAILED: heapwalk does not compile in there" % suite)
        return False
    what = {"glibc": "glibc " + root.version("ldd", "--version"), "gdb": "gdb " + root.version("gdb", "--version"),
            "python": "Pythons", "nogil": "without a GIL"}
    good = True
    for part in parts:
        outcome = RUN[part](root)
        good = good and not outcome.failed
        words = ["%s (%s)" % (text, ", ".join(names)) for text, names in (
            ("%d passed" % len(outcome.passed), outcome.passed), ("%d skipped" % len(outcome.skipped), outcome.skipped),
            ("%d FAILED" % len(outcome.failed), outcome.failed)) if names]
        say("%s: %s: %s" % (suite, what[part], ", ".join(words) or "nothing to run"))
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", default=SUITES)
    parser.add_argument("--part", action="append", choices=PARTS, help="this part only; may be given again")
    arguments = parser.parse_args()
    for program in ("unshare", "debootstrap"):
        if not shutil.which(program):
            say("suites.py: %s is not installed" % program)
            return 77
    if os.getuid():
        say("suites.py: chroots need root")
        return 77
    if not os.path.exists(os.path.join(BUILD, "bin", "test_glibc_live")):
        say("suites.py: nothing is built in %s: ./setup build" % BUILD)
        return 77
    in_a_namespace_of_its_own()
    parts = [part for part in PARTS if not arguments.part or part in arguments.part]
    failed = [suite for suite in arguments.suites if not test_suite(suite, parts)]
    say("suites: %d of %d passed%s" % (len(arguments.suites) - len(failed), len(arguments.suites),
                                       "; FAILED: " + ", ".join(failed) if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
