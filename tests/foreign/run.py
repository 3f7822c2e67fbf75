#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Targets of other machines, against the same oracles as tests/matrix: Debian's arm64 and i386 Pythons.

  tests/foreign/run.py [--architecture arm64] [--page-bytes 65536] [--workload small+strings] ...

The chroots are tests/matrix/foreign.sh's. Cores are qemu-user's (arm64; it names no mapped files: that note is
added here) and the kernel's (i386, whose processes are read live too). Status: 0 all passed, 1 something
differs, 77 nothing to test.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback

import foreign
from foreign import ARCHITECTURES, ForeignTarget

import checks
import oracles
import run as matrix
from interpreters import Interpreter
from process import TestError, heapwalk_command, run_heapwalk, say

EVERYTHING = "small+strings+classes+instances+untracked+containers+threads"


def check(case, source, where, truth, mappings, smaps_bytes, width, options, failures):
    answers = matrix.ask(options, source, where, failures, width)
    matrix.check_live(case, answers, truth, mappings, smaps_bytes, failures, width)
    texts = matrix.check_stats(source, where, truth, options, failures)
    return answers, texts


def run_case(case, architecture, options):
    failures, tested = matrix.Failures(), []
    root = case.interpreter.root
    environment = {"PYTHONMALLOC": case.mode} if case.mode else {}
    command = [case.interpreter.path, "target.py", case.workload, "{directory}"]
    with ForeignTarget(architecture, command, environment, root) as target:
        truth = oracles.Oracles(target.directory)
        mappings = oracles.read_mappings(target.pid)
        live, facts = None, ARCHITECTURES[architecture]
        if facts["is_native"]:
            before = target.checksum()
            where = ["-p", str(target.pid)]
            live, texts = check(case, "live", where, truth, mappings, oracles.smaps_private_writable_bytes(target.pid),
                                facts["width"], options, failures)
            if target.checksum() != before:
                failures.append("live: the target's memory has changed")
            tested.append("live")
        core = target.core()
        where = ["-c", core, "--sysroot", root]
        if live:
            matrix.check_core("core", where, live, options, failures, facts["width"])
            if matrix.check_stats("core", where, truth, options, failures) != texts:
                failures.append("core: stats differs from live")
        else:
            mappings = foreign.core_mappings(core, mappings)
            total = sum(m.end - m.start for m in oracles.private_writable(mappings))
            check(case, "core", where, truth, mappings, total, facts["width"], options, failures)
        tested.append("core")
    return failures, tested


def malloc_sums(report):
    """What mallinfo2() would say, out of `arenas`."""
    arenas, mapped = report["arenas"], report["mmapped"]
    free = sum(a["fastbin_bytes"] + a["bin_bytes"] + a["top_bytes"] for a in arenas)
    system = sum(a["system_bytes"] for a in arenas)
    return {"arena": system, "hblks": mapped["count"], "hblkhd": mapped["bytes"], "uordblks": system - free,
            "fordblks": free, "keepcost": arenas[0]["top_bytes"]}


def check_malloc(options, source, where, truth, wanted, failures):
    answer = run_heapwalk(options.heapwalk, where + ["arenas", "--format", "json"])
    if answer.returncode:
        failures.append("%s: arenas ends with status %d: %s" % (source, answer.returncode, answer.stderr[:300]))
        return None
    report = answer.report
    sums = malloc_sums(report)
    for name in sums:
        if sums[name] != wanted[name]:
            failures.append("%s: %s is %d, mallinfo2 says %d" % (source, name, sums[name], wanted[name]))
    if len(report["arenas"]) != len(truth.arenas) or len(truth.arenas) < 2:
        failures.append("%s: %d arenas, malloc_info has %d" % (source, len(report["arenas"]), len(truth.arenas)))
    for mine, theirs in zip(report["arenas"], truth.arenas):
        rest = theirs.rest_bytes - (theirs.rest_count - 1)  # it adds up size fields, a flag in each
        if (mine["system_bytes"], mine["bin_bytes"] + mine["top_bytes"]) != (theirs.system_bytes, rest):
            failures.append("%s: arena %d has %r, malloc_info says %r" % (source, theirs.number, mine, theirs))
        if mine["unknown_bytes"] or not mine["tcache_bytes"]:
            failures.append("%s: arena %d has %r" % (source, theirs.number, mine))
    strings = run_heapwalk(options.heapwalk, where + ["select", 'kind="string data" and state="in use"', "--format", "json"])
    if strings.returncode:
        failures.append("%s: select ends with status %d: %s" % (source, strings.returncode, strings.stderr[:300]))
    return {k: v for k, v in report.items() if k in ("arenas", "mmapped", "total")}, strings.rows_text()


def run_malloc(architecture, root, options):
    """malloc_target.c, compiled in there: live where it can be, and in a core."""
    failures, tested = matrix.Failures(), []
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "malloc_target.c")
    program = root + "/tmp/heapwalk-malloc-target"
    with open(source, "rb") as f:
        done = subprocess.run(["chroot", root, "gcc", "-O1", "-x", "c", "-", "-o", program[len(root):], "-pthread"],
                              stdin=f, stderr=subprocess.PIPE)
    if done.returncode:
        raise TestError("gcc in %s: %s" % (root, done.stderr.decode(errors="replace")[-500:]))
    command = [program[len(root):], "{directory}/info", "{directory}/numbers"]
    with ForeignTarget(architecture, command, {}, root) as target:
        with open(target.directory + "/info") as f:
            truth = oracles.MallocInfo(f.read())
        with open(target.directory + "/numbers") as f:
            names = "arena ordblks hblks hblkhd uordblks fordblks keepcost".split()
            wanted = dict(zip(names, map(int, f.read().split())))
        live = None
        if ARCHITECTURES[architecture]["is_native"]:
            before = target.checksum()
            live = check_malloc(options, "live", ["-p", str(target.pid)], truth, wanted, failures)
            if target.checksum() != before:
                failures.append("live: the target's memory has changed")
            tested.append("live")
        core = check_malloc(options, "core", ["-c", target.core(), "--sysroot", root], truth, wanted, failures)
        tested.append("core")
        if live and core != live:
            failures.append("core: differs from live")
    os.unlink(program)
    return failures, tested


def check_held(source, where, ways, options, failures):
    """`path` names each step from the main module to the object."""
    for address, wanted in sorted(ways.items()):
        answer = run_heapwalk(options.heapwalk, where + ["path", address, "--format", "json"])
        if answer.returncode:
            failures.append("%s: path ends with status %d: %s" % (source, answer.returncode, answer.stderr[:300]))
            continue
        rows = [r for r in answer.report["rows"] if r["path"] == 1]
        steps = [[r["kind"], r["holds"]] for r in rows if r["holds"]]
        if steps != wanted or not rows or rows[-1]["object"] != address:
            failures.append("%s: path to %s is %r, not %r" % (source, address, rows, wanted))


def run_held(architecture, root, name, options):
    """held_target.py: who holds what."""
    failures, tested = matrix.Failures(), []
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "held_target.py")) as f:
        command = ["/usr/bin/" + name, "-c", f.read(), "{directory}/ways"]
    with ForeignTarget(architecture, command, {}, root) as target:
        with open(target.directory + "/ways") as f:
            ways = json.load(f)
        if ARCHITECTURES[architecture]["is_native"]:
            check_held("live", ["-p", str(target.pid)], ways, options, failures)
            tested.append("live")
        check_held("core", ["-c", target.core(), "--sysroot", root], ways, options, failures)
        tested.append("core")
    return failures, tested


def report(name, started, result):
    failures, tested = result
    say("%s %s (%s, %.1f s)" % ("FAIL" if failures else "ok  ", name, ", ".join(tested), time.monotonic() - started))
    for line in failures:
        say("     " + line)
    return bool(failures)


def attempt(what, *arguments):
    try:
        return what(*arguments)
    except TestError as error:
        return [str(error)], []
    except Exception:  # noqa: BLE001
        return ["the test itself failed: " + traceback.format_exc()], []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heapwalk", default=heapwalk_command(), help="the command to test")
    parser.add_argument("--architecture", action="append", choices=sorted(ARCHITECTURES))
    parser.add_argument("--workload", action="append", help="only this one (with + for a mixture)")
    parser.add_argument("--mode", action="append", help="PYTHONMALLOC; '' is the default")
    parser.add_argument("--python", action="append", help="of those that the chroot has: python3.11, python3.11d, …")
    parser.add_argument("--page-bytes", type=int, choices=[4096, 16384, 65536], help="of qemu-user's machine (arm64)")
    options = parser.parse_args()
    if options.page_bytes:
        os.environ["QEMU_PAGESIZE"] = str(options.page_bytes)
    found, missing = foreign.roots()
    for line in missing:
        if not options.architecture or line.split(":")[0] in options.architecture:
            say("skip: " + line)
    failed = count = 0
    for architecture, root in found:
        if options.architecture and architecture not in options.architecture:
            continue
        if not os.path.exists(root + "/usr/bin/gcc"):
            say("skip: %s: no gcc in %s" % (architecture, root))
        elif not options.workload:
            started = time.monotonic()
            failed += report("malloc-" + architecture, started, attempt(run_malloc, architecture, root, options))
            count += 1
        versions = foreign.pythons(root)
        for name in options.python or versions:
            if name not in versions:
                say("skip: %s: no %s in %s" % (architecture, name, root))
                continue
            interpreter = Interpreter("%s-%s" % (name, architecture), "/usr/bin/" + name, versions[name], name[-1] == "d", "", root, True)
            if not options.workload:
                started = time.monotonic()
                failed += report("held-%s-%s" % (name, architecture), started, attempt(run_held, architecture, root, name, options))
                count += 1
            # qemu-user takes a quarter of an hour for all of it with the checks of a debug build.
            is_slow = interpreter.debug and not ARCHITECTURES[architecture]["is_native"]
            for workload in options.workload or ["small+strings+classes" if is_slow else EVERYTHING]:
                for mode in options.mode or [""]:
                    started = time.monotonic()
                    case = matrix.Case(interpreter, workload, mode)
                    failed += report(matrix.case_id(case), started, attempt(run_case, case, architecture, options))
                    count += 1
    if not count:
        say("skip: nothing to test here")
        return 77
    say("%d of %d passed" % (count - failed, count))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
