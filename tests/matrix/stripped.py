#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One process that runs a stripped interpreter, walked with and without what was stripped off.

The rows have to be the same, byte for byte: live and from a core, with the debug files at hand, with
.dynsym alone, and without section headers. Status: 0 all the same, 1 something differs, 77 nothing to test.
"""

import argparse
import concurrent.futures
import glob
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import checks
import interpreters
from process import Target, TestError, heapwalk_command, run_heapwalk, say, target_command

COMMANDS = ("all", "cpython-allocators", "arenas")
NOWHERE = "/nonexistent"


def build_id(path):
    text = subprocess.run(["readelf", "-n", path], stdout=subprocess.PIPE, check=True).stdout.decode()
    for line in text.splitlines():
        if "Build ID:" in line:
            return line.split()[-1]
    raise TestError("%s has no build-id" % path)


def has_debug_info(path):
    return b".debug_info" in subprocess.run(["readelf", "-SW", path], stdout=subprocess.PIPE, check=True).stdout


def without_section_headers(path):
    with open(path, "r+b") as f:
        f.seek(0x28)
        f.write(struct.pack("<Q", 0))  # e_shoff
        f.seek(0x3A)
        f.write(struct.pack("<HHH", 0, 0, 0))  # e_shentsize, e_shnum, e_shstrndx


def strip(source, destination, is_headless):
    subprocess.run(["strip", "--strip-all", "-o", destination, source], check=True)
    if is_headless:
        without_section_headers(destination)


def inside(root, *words):
    """A command as it is run in there."""
    return (["chroot", root] if root else []) + list(words)


def make_copy(interpreter, folder, is_headless):
    """Stripped copies of the files that make the interpreter, in a folder of its root; (interpreter, environment,
    debug directories)."""
    root = interpreter.root
    debug = os.path.join(folder, "debug")
    executable = os.path.join(folder, "python")
    library = os.path.realpath(root + interpreter.path)
    needed = subprocess.run(inside(root, "ldd", interpreter.path), stdout=subprocess.PIPE, check=True).stdout.decode()
    files = [(library, executable)]
    for line in needed.splitlines():
        if "libpython" in line:
            name, _, path = line.split()[:3]
            files.append((os.path.realpath(root + path), os.path.join(folder, name)))
    for source, destination in files:
        strip(source, destination, is_headless)
        if not has_debug_info(source):
            continue  # Debian's: /usr/lib/debug has it
        link_debug_file(debug, build_id(source), source)
    environment = {"LD_LIBRARY_PATH": folder[len(root):]}
    if library.startswith(root + "/usr/"):
        environment["PYTHONHOME"] = "/usr"
    else:
        environment["PYTHONHOME"] = os.path.dirname(os.path.dirname(library[len(root):]))
    return interpreter._replace(path=executable[len(root):]), environment, debug + ":/usr/lib/debug"


def link_debug_file(debug, identity, path):
    os.makedirs(os.path.join(debug, ".build-id", identity[:2]), exist_ok=True)
    link = os.path.join(debug, ".build-id", identity[:2], identity[2:] + ".debug")
    if not os.path.lexists(link):
        os.symlink(path, link)


def ask(options, where, debug_dirs):
    answers = {}
    for command in COMMANDS:
        answer = run_heapwalk(options.heapwalk, where + ["--debug-dir", debug_dirs, command, "--format", "json"])
        if answer.returncode:
            raise TestError("%s ends with status %d: %s" % (command, answer.returncode, answer.stderr.strip()[:500]))
        answers[command] = answer
    return answers


def agrees(wanted, got):
    """Counters are statics of their own that nothing leads to: those may be null, "can't tell"."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        return set(wanted) == set(got) and all(got[k] is None or agrees(wanted[k], got[k]) for k in wanted)
    if isinstance(wanted, list) and isinstance(got, list):
        return len(wanted) == len(got) and all(agrees(a, b) for a, b in zip(wanted, got))
    return wanted == got


def compare(source, wanted, got):
    for line in checks.same_rows(wanted["all"], got["all"], source):
        yield line
    for command in COMMANDS[1:]:
        mine, theirs = (
            {k: v for k, v in a[command].report.items() if k not in ("target", "coverage", "facts", "stopped_seconds")}
            for a in (wanted, got))
        for key in mine:
            if not agrees(mine[key], theirs.get(key)):
                yield "%s: %s: %s differs: %.300r, not %.300r" % (source, command, key, theirs.get(key), mine[key])


def compare_all(sources, wanted, options):
    """The same of each of [(name, where)], without debug information."""
    for source, where in sources:
        try:
            yield from compare(source, wanted, ask(options, where, NOWHERE))
        except TestError as error:
            yield "%s: %s" % (source, error)


# What a program that has Python inside may look like. It exports nothing: extension modules in files of
# their own can't be loaded, so the target's script does without.
EMBEDDING = """
#include <Python.h>
int main(int argc, char **argv)
{
	return Py_BytesMain(argc, argv);
}
"""
EMBEDDED_SCRIPT = """
import _collections, _signal, gc, sys
class Thing:
    def __init__(self, i):
        self.number = i
keep = [[Thing(i), str(i), (i, float(i)), {i: str(i)}, {i}, bytearray(i), 'interned'] for i in range(5000)]
keep.append(_collections.deque(range(1000)))
del keep[::3]
gc.collect()
_signal.signal(_signal.SIGUSR1, lambda *_: None)
sys.stdout.write('ready\\n')
sys.stdout.flush()
while True:
    _signal.pause()
"""


def archives(root):
    """{name: (archive, folder of headers)} of the libpython.a that Debian's -dev packages have, by their names in there."""
    found = {}
    for archive in sorted(glob.glob(root + "/usr/lib/python3.*/config-*/libpython3.*.a")):
        name = os.path.basename(archive)[len("libpython"):-len(".a")]
        headers = "/usr/include/python" + name
        if not name.endswith("-pic") and os.path.exists(root + headers + "/Python.h"):
            found[name] = archive[len(root):], headers
    return found


def sources_of(target, root, options):
    """[(name, where)]: the process, and unless that is not wanted a core of it."""
    yield "live", ["-p", str(target.pid)]
    if not options.live_only and not options.quick:
        yield "core", ["-c", target.gcore(0x33)] + (["--sysroot", root] if root else [])


def ask_with_symbols(options, target, debug_dirs):
    wanted = ask(options, ["-p", str(target.pid)], debug_dirs)
    facts = wanted["all"].report["target"]["python"]["facts"]
    if not facts.startswith("DWARF"):
        raise TestError("there is no debug information to compare with: the facts are from %s" % facts)
    return wanted


def check_embedded(root, archive, headers, options):
    """A program that links with libpython.a, without a single symbol, and with them."""
    folder = tempfile.mkdtemp(prefix="heapwalk-embedded-", dir=root + "/tmp")
    here = folder[len(root):]
    try:
        with open(os.path.join(folder, "program.c"), "w") as f:
            f.write(EMBEDDING)
        with open(os.path.join(folder, "script.py"), "w") as f:
            f.write(EMBEDDED_SCRIPT)
        # trixie's archive uses another one that no package has, for hashes: nobody asks for any.
        subprocess.run(inside(root, "cc", "-no-pie", "-Wl,--build-id,--unresolved-symbols=ignore-all", "-I", headers, "-o", here + "/whole",
                              here + "/program.c", archive, "-lm", "-ldl", "-lutil", "-lpthread", "-lz", "-lexpat"), check=True)
        whole = os.path.join(folder, "whole")
        strip(whole, os.path.join(folder, "program"), False)
        debug = os.path.join(folder, "debug")
        link_debug_file(debug, build_id(whole), whole)
        with Target([here + "/program", here + "/script.py"], {"PYTHONHOME": "/usr"}, root=root) as target:
            wanted = ask(options, ["-p", str(target.pid)], debug)
            if not any(row.get("kind") == "Thing" for row in wanted["all"].report["rows"]):
                yield "no object of the script's was found"
            yield from compare_all(sources_of(target, root, options), wanted, options)
    finally:
        shutil.rmtree(folder)


def check(interpreter, workload, is_headless, options):
    """Sentences, one a difference."""
    root = interpreter.root
    folder = tempfile.mkdtemp(prefix="heapwalk-stripped-", dir=root + "/tmp" if root else None)
    try:
        environment, debug_dirs = {}, "/usr/lib/debug"
        if is_headless or not root or has_debug_info(root + interpreter.path):  # else Debian's, stripped as it is
            interpreter, environment, debug_dirs = make_copy(interpreter, folder, is_headless)
        if options.mode:
            environment["PYTHONMALLOC"] = options.mode
        # mimalloc would reserve a gigabyte, which would be in each core.
        environment["MIMALLOC_ARENA_RESERVE"] = "131072"
        with Target(target_command(interpreter, workload), environment, root=root) as target:
            wanted = ask_with_symbols(options, target, debug_dirs)
            yield from compare_all(sources_of(target, root, options), wanted, options)
    finally:
        shutil.rmtree(folder)


def plan(found, options):
    """(name, the check of that name), without what was not asked for."""
    for interpreter in found:
        if options.name and not interpreter.name.startswith(tuple(options.name)):
            continue
        workloads = interpreters.quick_workloads(interpreter) if options.mixtures else [options.workload]
        for workload in workloads:
            for is_headless in (True,) if options.quick else (False, True):
                name = "%s %s" % (interpreter.name, "without section headers" if is_headless else "stripped")
                yield name + (", " + workload if options.mixtures else ""), (check, interpreter, workload, is_headless)
    roots = [root for root in interpreters.from_environment("HEAPWALK_TEST_ROOTS") if os.path.exists(root + "/usr/bin/cc")]
    for root in [] if options.name else roots if options.group == ["roots"] else [""]:
        for name, (archive, headers) in archives(root).items():
            yield "%s%s in a program that exports nothing" % (name, "-" + os.path.basename(root) if root else ""), (
                check_embedded, root, archive, headers)


def run(words, options):
    """Sentences of one check of the plan, one a difference."""
    try:
        return list(words[0](*words[1:], options))
    except (TestError, OSError, subprocess.SubprocessError) as error:
        return [str(error)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heapwalk", default=heapwalk_command(), help="the command to test")
    parser.add_argument("--group", action="append", choices=interpreters.GROUPS, help="only these interpreters")
    parser.add_argument("--name", action="append", help="only interpreters whose name begins like this")
    parser.add_argument("--workload", default="small+strings+containers", help="what the target has in its heap")
    parser.add_argument("--mixtures", action="store_true", help="the three mixtures of the matrix instead")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--mode", default="", help="this PYTHONMALLOC")
    parser.add_argument("--quick", action="store_true", help="live, and only without section headers")
    parser.add_argument("--live-only", action="store_true", help="no cores")
    options = parser.parse_args()
    if not shutil.which("strip"):
        say("skip: strip is not installed (package binutils)")
        return 77
    found, left_out = interpreters.find()
    if options.group:
        found = [i for i in found if i.group in options.group]
        left_out = [line for line in left_out if any(line.endswith("group " + g) for g in options.group)]
    for line in left_out:
        say("skip: " + line)
    failed = ran = 0
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        jobs = {pool.submit(run, words, options): name for name, words in plan(found, options)}
        for done in concurrent.futures.as_completed(jobs):
            lines = done.result()
            say("%s %s" % ("FAIL" if lines else "ok  ", jobs[done]))
            for line in lines[:8]:
                say("     " + line)
            ran += 1
            failed += bool(lines)
    say("%d of %d passed" % (ran - failed, ran))
    return 1 if failed else 0 if ran else 77


if __name__ == "__main__":
    sys.exit(main())
