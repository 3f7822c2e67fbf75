#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Other glibcs and other gdbs: in chroots of other Debian suites (chroot.sh makes them), as root.

  tests/matrix/suites.py                     bullseye, trixie, sid: glibc 2.31, 2.41, 2.43; gdb 10.1, 16.3, 18.1;
                                             experimental: glibc 2.44, part glibc alone
  tests/matrix/suites.py trixie --part gdb   one of them, one part

Parts, in this order:
  glibc   tests/glibc's program, compiled in there (static ones too): heapwalk out here against malloc_info() and
          mallinfo2(), live and in a core that the gdb in there made (--sysroot), with libc's symbols and without
  gdb     heapwalk compiled in there, then ctest -L 'gdb|allocators': the gdb commands in that gdb, and malloc
          replaced by that suite's musl, jemalloc, tcmalloc and mimalloc
  python  run.py --quick --group roots: every Python in there, from out here
  stripped  stripped.py --group roots --mixtures: their rows with all symbols, with .dynsym alone and with nothing,
          and those of programs that link with their libpython.a
  nogil   run.py --quick and stripped.py --group nogil: trixie's CPython 3.13 without a GIL, which nogil.sh builds
          in there first

What is there already is used again: chroots ($HEAPWALK_CHROOTS), and what was compiled in them. The last thing that
is printed is a table of all that ran. Status: 0 all passed, 1 something failed, 77 nothing could be run.
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
PARTS = ["glibc", "gdb", "python", "stripped", "nogil"]
# bookworm is where everything else is tested. Only trixie's source package of CPython is to be had, and experimental
# has no more of its own than a glibc.
SUITES = {"bullseye": PARTS[:-1], "trixie": PARTS, "sid": PARTS[:-1], "experimental": ["glibc"]}
# In the chroot: this tree, read only, and what is made of it.
SOURCE, INSIDE_BUILD = "/heapwalk", "/var/tmp/heapwalk-build"
IS_ALONE = "HEAPWALK_SUITES_ALONE"

Outcome = collections.namedtuple("Outcome", "passed skipped failed")
Line = collections.namedtuple("Line", "suite glibc gdb part passed skipped failed")


class SuiteError(Exception):
    """A part could not be run at all."""


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
    """heapwalk and all its tests."""
    for words in (("./setup", "build"), ("cmake", "--build", INSIDE_BUILD, "--parallel", str(os.cpu_count()))):
        done = root.run(*words)
        if done.returncode:
            raise SuiteError("heapwalk does not compile in there: " + done.stdout[-4000:])


# ---- glibc ----

# As tests/glibc/CMakeLists.txt has them. heapwalk itself need not compile with that glibc.
PROGRAMS = {"malloc_mix": [], "malloc_mix_static": ["-static"], "malloc_mix_static_pie": ["-static-pie"],
            "malloc_mix_static_no_pie": ["-static", "-no-pie"]}
INSIDE_PROGRAMS = "/var/tmp/heapwalk-programs"


def compile_programs(root):
    root.run("mkdir", "-p", INSIDE_PROGRAMS)
    for name, options in PROGRAMS.items():
        done = root.run("cc", "-O2", "-g", "-pthread", "-D_GNU_SOURCE", *options, "-o", os.path.join(INSIDE_PROGRAMS, name),
                        SOURCE + "/tests/glibc/targets/mix.c")
        if done.returncode:
            raise SuiteError("%s does not compile in there: %s" % (name, done.stdout[-4000:]))


def malloc_tests():
    """[(name, words)]: each program of tests/glibc with its arguments, as ctest out here knows them."""
    listed = json.loads(subprocess.run(["ctest", "--show-only=json-v1", "-R", "^glibc_.*_symbols$"], cwd=BUILD, check=True,
                                       stdout=subprocess.PIPE).stdout.decode())
    for test in listed["tests"]:
        words = test["command"][1:]
        if "--no-symbols" not in words:
            program = os.path.join(INSIDE_PROGRAMS, os.path.basename(words[0]))
            yield test["name"][len("glibc_"):-len("_symbols")], [program] + words[1:]


def run_glibc(root):
    program = os.path.join(BUILD, "bin", "test_glibc_live")
    passed, failed = [], []
    compile_programs(root)
    for name, words in malloc_tests():
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
    compile_inside(root)
    done = root.run("ctest", "-L", "^(gdb|allocators)$", "--timeout", "900", "--output-on-failure", directory=INSIDE_BUILD)
    passed, skipped, failed = [], [], []
    for name, words in re.findall(r"^ *\d+/\d+ +Test +#\d+: (\S+) \.*(.*)$", done.stdout, re.M):
        (skipped if "Skipped" in words else passed if " Passed " in words else failed).append(name)
    if failed or done.returncode:
        say(done.stdout[-20000:])
    return Outcome(passed, skipped, failed or (["ctest"] if done.returncode else []))


# ---- Pythons ----

def run_script(root, group, *words):
    """One of the scripts here, which print "ok   NAME", "FAIL NAME" or "skip: why" for each of their cases."""
    environment = dict(os.environ, HEAPWALK_TEST_ROOTS=root.path)
    done = subprocess.run([sys.executable, "-B", os.path.join(HERE, words[0]), "--heapwalk", os.path.join(BUILD, "bin", "heapwalk"),
                           "--group", group, "--jobs", "2"] + list(words[1:]), env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    found = {word: re.findall(r"^%s +(\S.*)$" % word, done.stdout, re.M) for word in ("ok", "skip:", "FAIL")}
    if done.returncode not in (0, 77) or found["FAIL"]:
        say(done.stdout[-8000:])
    # A script that died before it had said so has failed too.
    died = [] if done.returncode in (0, 77) or found["FAIL"] else [words[0]]
    return Outcome(found["ok"], found["skip:"], found["FAIL"] + died)


def run_python(root):
    return run_script(root, "roots", "run.py", "--quick")


def run_stripped(root):
    return run_script(root, "roots", "stripped.py", "--mixtures")


def run_nogil(root):
    built = subprocess.run([os.path.join(HERE, "nogil.sh"), root.suite], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    if built.returncode:
        raise SuiteError("nogil.sh builds no Python in there: " + built.stdout[-4000:])
    whole, bare = run_script(root, "nogil", "run.py", "--quick"), run_script(root, "nogil", "stripped.py")
    return Outcome(*(a + b for a, b in zip(whole, bare)))


# ---- all of it ----

RUN = {"glibc": run_glibc, "gdb": run_gdb, "python": run_python, "stripped": run_stripped,
       "nogil": run_nogil}


def test_suite(suite, parts):
    """A line of the table for each part."""
    made = subprocess.run([os.path.join(HERE, "chroot.sh"), "--tests", suite], stdin=subprocess.DEVNULL, check=False)
    if made.returncode:
        yield Line(suite, "?", "?", "chroot", [], [], ["chroot.sh"])
        return
    root = Root(suite)
    versions = root.version("ldd", "--version"), root.version("gdb", "--version")
    for part in parts:
        try:
            outcome = RUN[part](root)
        except SuiteError as error:
            say("%s: %s: %s" % (suite, part, error))
            outcome = Outcome([], [], [str(error).split(":", maxsplit=1)[0]])
        yield Line(suite, *versions, part, *outcome)


def show_table(lines):
    """What ran: numbers, then the names of what did not pass."""
    rows = [("suite", "glibc", "gdb", "part", "passed", "skipped", "failed")]
    rows += [line[:4] + tuple(str(len(names)) for names in line[4:]) for line in lines]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        say("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip())
    for line in lines:
        for word, names in (("skipped", line.skipped), ("FAILED", line.failed)):
            for name in names:
                say("%s, %s: %s: %s" % (line.suite, line.part, word, name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", default=list(SUITES))
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
    lines = []
    for suite in arguments.suites:
        wanted = arguments.part or SUITES.get(suite, PARTS)
        for line in test_suite(suite, [part for part in PARTS if part in wanted]):
            lines.append(line)
            say("%s: %s: %s" % (suite, line.part, "FAILED" if line.failed else "passed" if line.passed else "nothing to run"))
    say("")
    show_table(lines)
    return 1 if any(line.failed for line in lines) else 0 if any(line.passed for line in lines) else 77


if __name__ == "__main__":
    sys.exit(main())
