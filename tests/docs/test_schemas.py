#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every JSON report is what its schema in docs/schemas/ says, and has no member that it does not say.

Of a Python process, of a C program, of a core of the first, and of snapshots."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("HEAPWALK_BUILD", os.path.join(ROOT, "build"))
SCHEMAS = os.path.join(ROOT, "docs/schemas")
# The packages' Python has Debian's jsonschema.
PYTHON = "/usr/bin/python3"

try:
    import jsonschema
except ImportError:
    if sys.executable != PYTHON and os.path.exists(PYTHON):
        os.execv(PYTHON, [PYTHON] + sys.argv)
    print("skip: python3-jsonschema is not installed")
    sys.exit(77)

sys.path.insert(0, os.path.join(ROOT, "gdbext"))
import heapwalk  # pylint: disable=wrong-import-position


def load(name):
    with open(os.path.join(SCHEMAS, name + ".schema.json"), encoding="utf-8") as file:
        return json.load(file)


COMMON = load("common")


def look_up(schema):
    """A schema with what it refers to in the common one."""
    while "$ref" in schema:
        found = COMMON
        for part in schema["$ref"].partition("#")[2].strip("/").split("/"):
            found = found[part]
        schema = {**found, **{key: schema[key] for key in schema if key != "$ref"},
                  "properties": {**found.get("properties", {}), **schema.get("properties", {})}}
    return schema


def check_members(value, schema, path):
    schema = look_up(schema)
    if isinstance(value, dict):
        for name, member in value.items():
            if name not in schema.get("properties", {}):
                raise SystemExit("%s.%s is not in the schema" % (path, name))
            check_members(member, schema["properties"][name], "%s.%s" % (path, name))
    elif isinstance(value, list):
        for item in value:
            check_members(item, schema.get("items", {}), path + "[]")


class Checker:
    def __init__(self):
        self.validators, self.counts = {}, {}

    def check(self, report):
        name = report["schema"].split(".", 1)[1].split("/")[0]
        if name not in self.validators:
            # One document: how others are found differs between versions of jsonschema.
            schema = json.loads(json.dumps(load(name)).replace("common.schema.json#", "#"))
            schema["$defs"] = COMMON["$defs"]
            self.validators[name] = jsonschema.Draft202012Validator(schema)
        for error in self.validators[name].iter_errors(report):
            raise SystemExit("%s: %s: %s" % (name, "/".join(map(str, error.absolute_path)), error.message))
        check_members(report, self.validators[name].schema, name)
        self.counts[name] = self.counts.get(name, 0) + 1


def check_target(heap, checker, has_python):
    report = heap.report
    everything = report("all")
    checker.check(everything)
    for command in ("census", "used", "free", "sizes", "arenas", "pins", "map"):
        checker.check(report(command))
    for by in ("domain", "kind", "type", "size", "module", "arena"):
        checker.check(report("census", by=by))
    checker.check(report("select", "size > 64"))
    checker.check(report("arena", "0"))
    if has_python:
        for command in ("cpython-allocators", "cpython-allocators -lists", "stats", "stats -explain"):
            checker.check(report(*command.split(" ", 1)))
        retained = report("retained")
        checker.check(retained)
        for row in retained["rows"]:
            checker.check(report("path", row["object"]))
        checker.check(report("retained", by="type"))
    kinds = {}
    for row in everything["rows"]:
        kinds.setdefault((row["allocator"], row["state"], row["domain"]), row)
    for row in kinds.values():
        checker.check(report("explain", row["object"] or row["start"]))
    checker.check(report("referrers", everything["rows"][-1]["start"], depth=2))
    checker.check(report("hexdump", everything["rows"][0]["start"]))


def check_snapshots(heap, checker, process, folder):
    files = [os.path.join(folder, name) for name in ("a", "b", "c")]
    for number, path in enumerate(files):
        checker.check(heap.report("save", path))
        checker.check(heap.report("label", "label%d" % number))
        step(process)
    checker.check(heap.report("log"))
    checker.check(heap.report("diff"))
    with heapwalk.no_target() as none:
        for by in ("category", "domain", "kind", "state", "size", "allocator", "module", "class", "block"):
            checker.check(none.report("diff", files[:2], by=by))
        for by in ("category", "block"):
            checker.check(none.report("diff", files, by=by))


def step(process):
    process.stdin.write(b"\n")
    process.stdin.flush()
    process.stdout.readline()


def start(command, cwd=None):
    process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if process.stdout.readline() != b"ready\n":
        raise SystemExit("%s did not start" % command)
    return process


def stop(process):
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def main():
    checker = Checker()
    with tempfile.TemporaryDirectory() as folder:
        process = start([PYTHON, "-B", "leak.py"], os.path.join(HERE, "examples"))
        core = os.path.join(folder, "core")
        try:
            with heapwalk.attach(process.pid) as heap:
                with heap.stopped():
                    check_target(heap, checker, True)
                check_snapshots(heap, checker, process, folder)
            subprocess.run(["gcore", "-o", core, str(process.pid)], check=True, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
            core += ".%d" % process.pid
        finally:
            stop(process)
        with heapwalk.open_core(core) as heap:
            check_target(heap, checker, True)
    process = start([os.path.join(BUILD, "bin/bench_malloc_target"), "1000"])
    try:
        with heapwalk.attach(process.pid) as heap, heap.stopped():
            check_target(heap, checker, False)
    finally:
        stop(process)
    # Each command has a schema, and each schema was looked at.
    known = {name[:-len(".schema.json")] for name in os.listdir(SCHEMAS)} - {"common"}
    pages = {name[:-len(".md")] for name in os.listdir(os.path.join(ROOT, "docs/commands"))}
    if known != set(checker.counts) or known != pages:
        raise SystemExit("schemas %s, reports %s" % (sorted(known), sorted(checker.counts)))
    print("%d reports are what %d schemas say" % (sum(checker.counts.values()), len(checker.counts)))


if __name__ == "__main__":
    main()
