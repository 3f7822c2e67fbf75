#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The test matrix: interpreter x workload x PYTHONMALLOC x (live, core 0x37, core 0x33), against oracles.

Every number is compared for equality with what the process itself said at the same stop (oracles.py,
target.py); checks.py says what is compared. Status: 0 all passed, 1 something differs, 77 nothing to test.
"""

import argparse
import collections
import concurrent.futures
import itertools
import os
import shutil
import sys
import time
import traceback

import checks
import interpreters
import oracles
from process import Target, TestError, kernel_makes_plain_cores, run_heapwalk, say, target_command

Case = collections.namedtuple("Case", "interpreter workload mode")
COMMANDS = ("all", "heap", "cpython-allocators", "arenas")


def case_id(case):
    return "%s/%s/%s" % (case.interpreter.name, case.workload, case.mode or "default")


class Failures(list):
    """Sentences, at most a handful from one check."""

    def take(self, source, check):
        lines = list(itertools.islice(check, 1000))
        self += ["%s: %s" % (source, line) for line in lines[:6]]
        if len(lines) > 6:
            self.append("%s: ... and %s%d more from %s" % (
                source, "at least " if len(lines) == 1000 else "", len(lines) - 6, check.__name__))


def ask(options, source, where, failures, width=checks.WIDTH_64):
    """Every report of one source; None for one that failed."""
    answers = {}
    for command in COMMANDS:
        words = where + ([] if command == "heap" else [command]) + ["--format", "json"]
        answer = run_heapwalk(options.heapwalk, words)
        answers[command] = answer
        noise = checks.clean_stderr(answer.stderr)
        if answer.returncode:
            failures.append("%s: %s ends with status %d: %s" % (source, command, answer.returncode, " | ".join(noise[:3])))
            answers[command] = None
            continue
        if noise:
            failures.append("%s: %s says on stderr: %s" % (source, command, " | ".join(noise[:3])))
        try:
            name = "census" if command == "heap" else command
            failures.take(source + " " + command, checks.sound(answer.frame, name, width))
        except ValueError as error:
            failures.append("%s: %s prints no JSON: %s" % (source, command, error))
            answers[command] = None
    return answers


def check_live(case, answers, truth, mappings, smaps_bytes, failures, width=checks.WIDTH_64):
    version = case.interpreter.version
    python = {"version": version, "gil": case.interpreter.gil, "values_inline": False,
              "debug_bytes": checks.debug_bytes(case.mode, version, case.interpreter.debug, width)}
    if answers["all"]:
        rows = checks.Rows(answers["all"].report, width)
        failures.take("live", checks.ledger(rows, oracles.private_writable(mappings), smaps_bytes))
        failures.take("live", checks.nothing_dead_is_alive(rows))
        failures.take("live", checks.nothing_unknown_in_heaps(rows))
        objects = truth.census()
        failures.take("live", checks.census(rows, objects, mappings, python))
        failures.take("live", checks.buffers(rows, objects, mappings))
        for _, objects in truth.interpreters.values():
            failures.take("live", checks.census(rows, objects, mappings, dict(python, values_inline=True)))
        failures.take("live", checks.exact_counts(rows, truth.expect["counts"]))
        failures.take("live", checks.tied_values(rows, truth.expect["values"], version))
        failures.take("live", checks.chunks(rows, truth.expect["chunks"]))
        if answers["cpython-allocators"]:
            failures.take("live", checks.pymalloc_rows(rows, answers["cpython-allocators"].report))
            failures.take("live", checks.mimalloc_rows(rows, answers["cpython-allocators"].report, truth, python))
            failures.take("live", checks.allocated_blocks(answers["cpython-allocators"].report, rows, truth, python))
        if answers["arenas"]:
            failures.take("live", checks.glibc_rows(rows, answers["arenas"].report))
        if answers["heap"]:
            failures.take("live", checks.summary(answers["heap"].report, rows, smaps_bytes))
    if answers["cpython-allocators"]:
        failures.take("live", checks.pymalloc(answers["cpython-allocators"].report, truth, width))
    if answers["arenas"]:
        failures.take("live", checks.glibc(answers["arenas"].report, truth, width))


def check_stats(source, where, truth, options, failures):
    """`stats` prints what each interpreter printed itself, and prints nothing else."""
    texts = {}
    for number in sorted(truth.stats_texts) or [0]:
        words = where + ["stats"] + (["--interpreter", str(number)] if number else [])
        answer = run_heapwalk(options.heapwalk, words)
        texts[number] = text = answer.stdout.decode()
        if answer.returncode or answer.stderr:
            failures.append("%s: stats ends with status %d: %s" % (source, answer.returncode, answer.stderr[:300]))
        elif number in truth.stats_texts:
            failures.take("%s stats of interpreter %d" % (source, number),
                          checks.same_text(text, truth.stats_texts[number]))
    return texts


def check_stats_live(where, text, allocators, truth, options, failures):
    answer = run_heapwalk(options.heapwalk, where + ["stats", "--format", "json"])
    failures.take("live stats", checks.sound(answer.report, "stats"))
    # Without a word of its own (2.7) the numbers have to be those of cpython-allocators.
    stats = truth.stats or oracles.PymallocStats(text)
    if truth.stats is not None:
        failures.take("live stats", checks.stats_fields(answer.report, stats))
    elif allocators:
        failures.take("live stats", checks.pymalloc_state(allocators.report["interpreters"][0], stats, "the text"))


def check_core(source, where, live, options, failures, width=checks.WIDTH_64):
    answers = ask(options, source, where, failures, width)
    for command in COMMANDS:
        if not (answers[command] and live[command]):
            continue
        if command in ("all", "heap"):
            failures.take("%s %s" % (source, command), checks.same_rows(live[command], answers[command], source))
            continue
        mine, theirs = (
            {k: v for k, v in a[command].report.items() if k not in ("target", "coverage", "stopped_seconds")} for a in (live, answers)
        )
        if mine != theirs:
            failures.append("%s: %s differs from live in %s" % (
                source, command, ", ".join(k for k in mine if mine[k] != theirs.get(k))))


def run_case(case, options):
    """(failures, sources that were tested, what was skipped)"""
    failures, tested, skipped = Failures(), [], []
    environment = {"PYTHONMALLOC": case.mode} if case.mode else {}
    if case.mode.startswith("mimalloc") or not case.interpreter.gil:
        environment["MIMALLOC_ARENA_RESERVE"] = "65536"  # KiB: it would be a gigabyte in each core
    root = case.interpreter.root
    with Target(target_command(case.interpreter, case.workload), environment, root=root) as target:
        truth = oracles.Oracles(target.directory)
        if not truth.stable:
            failures.append("oracle: sys._debugmallocstats() changed between two calls")
        mappings = oracles.read_mappings(target.pid)
        smaps_bytes = oracles.smaps_private_writable_bytes(target.pid)
        before = target.checksum()
        if options.oracles_only:
            return Failures(failures), ["oracles"], []
        where = ["-p", str(target.pid)]
        live = ask(options, "live", where, failures)
        texts = check_stats("live", where, truth, options, failures)
        check_stats_live(where, texts[0], live["cpython-allocators"], truth, options, failures)
        if target.checksum() != before:
            failures.append("live: the target's memory has changed")
        tested.append("live")
        check_live(case, live, truth, mappings, smaps_bytes, failures)
        cores = []
        if "full" in options.cores:
            if shutil.which("gcore"):
                cores.append(("core 0x37", target.gcore(0x37)))
            else:
                skipped.append("core 0x37: gcore is not installed (package gdb)")
        if "filtered" in options.cores:
            if kernel_makes_plain_cores():
                cores.append(("core 0x33", target.abort(0x33)))
            elif shutil.which("gcore"):
                cores.append(("core 0x33 by gcore", target.gcore(0x33)))
                skipped.append("core 0x33 by the kernel: core_pattern is no plain file name")
            else:
                skipped.append("core 0x33: core_pattern is no plain file name, gcore is not installed")
        target.process.kill()
        target.process.wait()  # from here on a core has to do without its process
        for source, core in cores:
            where = ["-c", core] + (["--sysroot", root] if root else [])
            check_core(source, where, live, options, failures)
            if check_stats(source, where, truth, options, failures) != texts:
                failures.append("%s: stats differs from live" % source)
            tested.append(source)
    return failures, tested, skipped


def run_untouched(interpreter, options):
    """Attach, census, detach, again and again: the process is as it was and goes on."""
    failures = Failures()
    with Target(target_command(interpreter, "untracked+code+threads"), {}, root=interpreter.root) as target:
        before = target.checksum()
        for turn in range(options.rounds):
            answer = run_heapwalk(options.heapwalk, ["-p", str(target.pid)])
            if answer.returncode:
                failures.append("turn %d ends with status %d: %s" % (turn, answer.returncode, answer.stderr.strip()))
                break
        if target.checksum() != before:
            failures.append("the target's memory has changed after %d turns" % options.rounds)
        with open("/proc/%d/status" % target.pid) as f:
            status = f.read()
        if "TracerPid:\t0" not in status:
            failures.append("the target is still traced")
        target.is_alive_and_well()
    return failures, ["%d times live" % options.rounds], []


def job(what, options):
    started = time.monotonic()
    try:
        if isinstance(what, Case):
            name, result = case_id(what), run_case(what, options)
        else:
            name, result = "%s/goes-on" % what.name, run_untouched(what, options)
    except TestError as error:
        result = [str(error)], [], []
        name = case_id(what) if isinstance(what, Case) else what.name
    except Exception:  # noqa: BLE001
        result = ["the test itself failed: " + traceback.format_exc()], [], []
        name = case_id(what) if isinstance(what, Case) else what.name
    return (name, time.monotonic() - started) + tuple(result)


def plan(found, options):
    for interpreter in found:
        if options.workload:
            yield from (Case(interpreter, w, m) for w in options.workload for m in (options.mode or [""]))
            continue
        modes = interpreters.malloc_modes(interpreter)
        mixtures = interpreters.quick_workloads(interpreter)
        if options.full:
            yield from (Case(interpreter, w, "") for w in interpreters.workloads(interpreter))
            yield from (Case(interpreter, w, m) for w in mixtures for m in modes)
        else:
            yield from (Case(interpreter, w, "") for w in mixtures)
            yield from (Case(interpreter, mixtures[2], m) for m in modes[1:])
        if not options.oracles_only:
            yield interpreter


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heapwalk", default=os.path.join(here, "../../build/bin/heapwalk"), help="the command to test")
    parser.add_argument("--group", action="append", choices=interpreters.GROUPS, help="only these interpreters")
    parser.add_argument("--workload", action="append", help="only this one (with + for a mixture)")
    parser.add_argument("--mode", action="append", help="only this PYTHONMALLOC; '' is the default")
    parser.add_argument("--cores", default="full,filtered", help="of full, filtered; '' for none")
    parser.add_argument("--full", action="store_true", help="every workload alone, all mixtures in all modes")
    parser.add_argument("--quick", dest="full", action="store_false", help="three mixtures (the default)")
    parser.add_argument("--rounds", type=int, default=100, help="of attach, census, detach")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--oracles-only", action="store_true", help="test the targets, not heapwalk")
    parser.add_argument("--list", action="store_true", help="print the cases")
    options = parser.parse_args()
    options.cores = [c for c in options.cores.split(",") if c]
    found, left_out = interpreters.find()
    if options.group:
        found = [i for i in found if i.group in options.group]
        left_out = [line for line in left_out if any(line.endswith("group " + g) for g in options.group)]
    for line in left_out:
        say("skip: " + line)
    cases = list(plan(found, options))
    if options.list:
        for c in cases:
            say(case_id(c) if isinstance(c, Case) else c.name + "/goes-on")
        return 0
    if not cases:
        say("skip: nothing to test here")
        return 77
    if not options.oracles_only and not os.access(options.heapwalk, os.X_OK):
        say("skip: no command at %s" % options.heapwalk)
        return 77
    failed, seen_skips = 0, set()
    with concurrent.futures.ProcessPoolExecutor(options.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(job, c, options) for c in cases]):
            name, seconds, failures, tested, skipped = done.result()
            for line in skipped:
                if line not in seen_skips:
                    seen_skips.add(line)
                    say("skip: " + line)
            say("%s %s (%s, %.1f s)" % ("FAIL" if failures else "ok  ", name, ", ".join(tested), seconds))
            for line in failures:
                say("     " + line)
            failed += bool(failures)
    say("%d of %d passed" % (len(cases) - failed, len(cases)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
