#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Targets of other machines, against the same oracles as tests/matrix: Debian's arm64 and i386 Pythons.

  tests/foreign/run.py [--architecture arm64] [--workload small+strings] ...

The chroots are tests/matrix/foreign.sh's. Cores are qemu-user's (arm64; it names no mapped files: that note is
added here) and the kernel's (i386, whose processes are read live too). Status: 0 all passed, 1 something
differs, 77 nothing to test.
"""

import argparse
import os
import sys
import time
import traceback

import foreign
from foreign import ARCHITECTURES, ForeignTarget

import oracles
import run as matrix
from interpreters import Interpreter
from process import TestError, heapwalk_command, say


def check(case, source, where, truth, mappings, smaps_bytes, options, failures):
    answers = matrix.ask(options, source, where, failures)
    matrix.check_live(case, answers, truth, mappings, smaps_bytes, failures)
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
        live = None
        if ARCHITECTURES[architecture]["is_native"]:
            before = target.checksum()
            where = ["-p", str(target.pid)]
            live, texts = check(case, "live", where, truth, mappings, oracles.smaps_private_writable_bytes(target.pid),
                                options, failures)
            if target.checksum() != before:
                failures.append("live: the target's memory has changed")
            tested.append("live")
        core = target.core()
        where = ["-c", core, "--sysroot", root]
        if live:
            matrix.check_core("core", where, live, options, failures)
            if matrix.check_stats("core", where, truth, options, failures) != texts:
                failures.append("core: stats differs from live")
        else:
            mappings = foreign.core_mappings(core, mappings)
            total = sum(m.end - m.start for m in oracles.private_writable(mappings))
            check(case, "core", where, truth, mappings, total, options, failures)
        tested.append("core")
    return failures, tested


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heapwalk", default=heapwalk_command(), help="the command to test")
    parser.add_argument("--architecture", action="append", choices=sorted(ARCHITECTURES))
    parser.add_argument("--workload", action="append", help="only this one (with + for a mixture)")
    parser.add_argument("--mode", action="append", help="PYTHONMALLOC; '' is the default")
    parser.add_argument("--python", action="append", help="of those that the chroot has: python3.11, python3.11d")
    options = parser.parse_args()
    found, missing = foreign.roots()
    for line in missing:
        if not options.architecture or line.split(":")[0] in options.architecture:
            say("skip: " + line)
    failed = count = 0
    for architecture, root in found:
        if options.architecture and architecture not in options.architecture:
            continue
        for name in options.python or ["python3.11", "python3.11d"]:
            if not os.path.exists(root + "/usr/bin/" + name):
                say("skip: %s: no %s in %s" % (architecture, name, root))
                continue
            interpreter = Interpreter("%s-%s" % (name, architecture), "/usr/bin/" + name, (3, 11, 2), name[-1] == "d", "", root)
            for workload in options.workload or ["small+strings+classes+instances+untracked+containers+threads"]:
                for mode in options.mode or [""]:
                    started = time.monotonic()
                    case = matrix.Case(interpreter, workload, mode)
                    try:
                        failures, tested = run_case(case, architecture, options)
                    except TestError as error:
                        failures, tested = [str(error)], []
                    except Exception:  # noqa: BLE001
                        failures, tested = ["the test itself failed: " + traceback.format_exc()], []
                    say("%s %s (%s, %.1f s)" % ("FAIL" if failures else "ok  ", matrix.case_id(case), ", ".join(tested),
                                                time.monotonic() - started))
                    for line in failures:
                        say("     " + line)
                    count += 1
                    failed += bool(failures)
    if not count:
        say("skip: nothing to test here")
        return 77
    say("%d of %d passed" % (count - failed, count))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
