#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One process that runs a stripped interpreter, walked with and without what was stripped off.

The rows have to be the same, byte for byte: live and from a core, with the debug files at hand, with
.dynsym alone, and without section headers. Status: 0 all the same, 1 something differs, 77 nothing to test.
"""

import argparse
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


def is_stripped(interpreter):
    """Debian's in a chroot are, with detached files; those that nogil.sh built are not."""
    return bool(interpreter.root) and interpreter.group != "nogil"


def make_copy(interpreter, folder, is_headless):
    """Stripped copies of the files that make the interpreter; (command, environment, debug directories)."""
    debug = os.path.join(folder, "debug")
    executable = os.path.join(folder, "python")
    library = os.path.realpath(interpreter.root + interpreter.path)
    # What nogil.sh builds in a chroot is one file.
    needed = b"" if interpreter.root else subprocess.run(["ldd", library], stdout=subprocess.PIPE, check=True).stdout
    files = [(library, executable)]
    for line in needed.decode().splitlines():
        if "libpython" in line:
            name, _, path = line.split()[:3]
            files.append((os.path.realpath(path), os.path.join(folder, name)))
    for source, destination in files:
        strip(source, destination, is_headless)
        if not has_debug_info(source):
            continue  # Debian's: /usr/lib/debug has it
        link_debug_file(debug, build_id(source), source)
    environment = {"LD_LIBRARY_PATH": folder[len(interpreter.root):]}
    library = library[len(interpreter.root):]
    if library.startswith("/usr/"):
        environment["PYTHONHOME"] = "/usr"
    else:
        environment["PYTHONHOME"] = os.path.dirname(os.path.dirname(library))
    return executable[len(interpreter.root):], environment, debug + ":/usr/lib/debug"


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


def archives():
    """{name: (archive, folder of headers)} of the libpython.a that Debian's -dev packages have."""
    found = {}
    for archive in sorted(glob.glob("/usr/lib/python3.*/config-*/libpython3.*.a")):
        name = os.path.basename(archive)[len("libpython"):-len(".a")]
        headers = "/usr/include/python" + name
        if not name.endswith("-pic") and os.path.exists(headers + "/Python.h"):
            found[name] = archive, headers
    return found


def check_embedded(archive, headers, options):
    """A program that links with libpython.a, without a single symbol, and with them."""
    folder = tempfile.mkdtemp(prefix="heapwalk-embedded-")
    try:
        source, script = os.path.join(folder, "program.c"), os.path.join(folder, "script.py")
        whole, bare = os.path.join(folder, "whole"), os.path.join(folder, "program")
        with open(source, "w") as f:
            f.write(EMBEDDING)
        with open(script, "w") as f:
            f.write(EMBEDDED_SCRIPT)
        subprocess.run(["cc", "-no-pie", "-Wl,--build-id", "-I", headers, "-o", whole, source, archive,
                        "-lm", "-ldl", "-lpthread", "-lz", "-lexpat"], check=True)
        strip(whole, bare, False)
        debug = os.path.join(folder, "debug")
        link_debug_file(debug, build_id(whole), whole)
        with Target([bare, script], {"PYTHONHOME": "/usr"}) as target:
            where = ["-p", str(target.pid)]
            wanted = ask(options, where, debug)
            if not any(row.get("kind") == "Thing" for row in wanted["all"].report["rows"]):
                yield "no object of the script's was found"
            yield from compare_all([("live", where), ("core", ["-c", target.gcore(0x33)])], wanted, options)
    finally:
        shutil.rmtree(folder)


def check(interpreter, workload, is_headless, options):
    """Sentences, one a difference."""
    folder = tempfile.mkdtemp(prefix="heapwalk-stripped-", dir=interpreter.root + "/tmp" if interpreter.root else None)
    try:
        if is_stripped(interpreter):
            executable, environment, debug_dirs = interpreter.path, {}, "/usr/lib/debug"
        else:
            executable, environment, debug_dirs = make_copy(interpreter, folder, is_headless)
        command = target_command(interpreter._replace(path=executable), workload)
        with Target(command, environment, root=interpreter.root) as target:
            where = ["-p", str(target.pid)]
            wanted = ask(options, where, debug_dirs)
            sources = [("live", where)]
            if not options.live_only and not options.quick:
                sysroot = ["--sysroot", interpreter.root] if interpreter.root else []
                sources.append(("core", ["-c", target.gcore(0x33)] + sysroot))
            yield from compare_all(sources, wanted, options)
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heapwalk", default=heapwalk_command(), help="the command to test")
    parser.add_argument("--name", action="append", help="only interpreters whose name begins like this")
    parser.add_argument("--workload", default="small+strings+containers", help="what the target has in its heap")
    parser.add_argument("--quick", action="store_true", help="live, and only without section headers")
    parser.add_argument("--live-only", action="store_true", help="no cores")
    options = parser.parse_args()
    if not shutil.which("strip"):
        say("skip: strip is not installed (package binutils)")
        return 77
    found, left_out = interpreters.find()
    for line in left_out:
        say("skip: " + line)
    failed = ran = 0
    for interpreter in found:
        if options.name and not interpreter.name.startswith(tuple(options.name)):
            continue
        for is_headless in (False,) if is_stripped(interpreter) else (True,) if options.quick else (False, True):
            name = "%s %s" % (interpreter.name, "without section headers" if is_headless else "stripped")
            lines = list(check(interpreter, options.workload, is_headless, options))
            say("%s %s" % ("FAIL" if lines else "ok  ", name))
            for line in lines[:8]:
                say("     " + line)
            ran += 1
            failed += bool(lines)
    for name, (archive, headers) in archives().items() if not options.name else ():
        lines = list(check_embedded(archive, headers, options))
        say("%s %s in a program that exports nothing" % ("FAIL" if lines else "ok  ", name))
        for line in lines[:8]:
            say("     " + line)
        ran += 1
        failed += bool(lines)
    say("%d of %d passed" % (ran - failed, ran))
    return 1 if failed else 0 if ran else 77


if __name__ == "__main__":
    sys.exit(main())
