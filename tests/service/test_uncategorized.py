#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Of a Django-like service's bytes in use, live and in its core, less than 2 % have no name. And its map closes."""

import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "matrix"), os.path.join(HERE, "..", "map")]

import closes  # noqa: E402
from process import Target, heapwalk_command, kernel_makes_plain_cores, run_heapwalk  # noqa: E402

PYTHON = "/usr/bin/python3"
LIMIT = 0.02
NOT_HEAP = ("file", "stack", "anonymous", "none")  # in use, but by no allocator: not what the share is of


def uncategorized(report):
    rows = [r for r in report["rows"] if r["state"] == "in use" and r["domain"] not in NOT_HEAP]
    nameless = [r for r in rows if r["domain"] == "uncategorized"]
    total = sum(r["bytes"] for r in rows)
    nameless.sort(key=lambda r: -r["bytes"])
    return sum(r["bytes"] for r in nameless) / total, total, nameless


def check_map(heapwalk, pid):
    kernel = closes.Kernel(pid)
    answer = run_heapwalk(heapwalk, ["-p", str(pid), "map", "--format", "json"])
    problems = closes.problems(answer.report, kernel)
    for problem in problems:
        print("FAIL map: %s" % problem)
    return not problems


def main():
    heapwalk = heapwalk_command()
    missing = [name for name in ("django", "numpy", "sqlalchemy") if not importlib.util.find_spec(name)]
    if missing or os.path.realpath(sys.executable) != os.path.realpath(PYTHON):
        print("skip: needs %s with packages python3-django, python3-numpy, python3-sqlalchemy" % PYTHON)
        return 77
    failed = False
    with Target([PYTHON, os.path.join(HERE, "target.py")], {}) as target:
        failed |= not check_map(heapwalk, target.pid)
        sources = [("live", ["-p", str(target.pid)])]
        for name, where in sources:
            answer = run_heapwalk(heapwalk, where + ["--format", "json"])
            if answer.returncode or answer.stderr:
                print("FAIL %s: status %d: %s" % (name, answer.returncode, answer.stderr))
                return 1
            share, total, nameless = uncategorized(answer.report)
            print("%s %s: %.3f %% of %d heap bytes in use are uncategorized" % (
                "ok  " if share < LIMIT else "FAIL", name, 100 * share, total))
            for row in nameless[:15]:
                print("     %8d bytes in %6d blocks: %s %s" % (row["bytes"], row["count"], row["kind"], row["detail"]))
            failed |= share >= LIMIT
            if name == "live" and kernel_makes_plain_cores():
                sources.append(("core", ["-c", target.abort(0x33)]))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
