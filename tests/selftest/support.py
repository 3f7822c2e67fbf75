# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs that stop when told, heapwalk run on them, and unittest with ctest's idea of a skip."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD = os.environ.get("HEAPWALK_BUILD", os.path.join(os.path.dirname(__file__), "../../build"))
HEAPWALK = os.path.join(BUILD, "bin", "heapwalk")


class Program:
    """A program of programs/, stopped where it says "stop"."""

    def __init__(self, name, *arguments, environment=None, directory=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "LD_"))}
        env.update(environment or {})

        def may_dump_core():
            resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

        self.process = subprocess.Popen(
            [os.path.join(BUILD, "bin", "selftest_" + name)] + [str(a) for a in arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=directory, preexec_fn=may_dump_core,
        )
        self.pid = self.process.pid
        self.lines = []
        self.read_to_stop()

    def read_to_stop(self):
        self.lines = []
        for line in self.process.stdout:
            if line == b"stop\n":
                return
            self.lines.append(line.decode().rstrip("\n"))
        raise AssertionError("%r ended before its stop" % self.process.args)

    def go_on(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self.read_to_stop()

    def live_set(self):
        """{address of memory: bytes asked for}"""
        return {int(a, 16): int(size) for a, size in (line.split() for line in self.lines)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def run(*arguments, timeout=300, **options):
    return subprocess.run(
        [HEAPWALK] + [str(a) for a in arguments], stdin=subprocess.DEVNULL, stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE, timeout=timeout, **options,
    )


class HeapwalkTest(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="heapwalk-selftest-")
        self.addCleanup(shutil.rmtree, self.directory, True)

    def report(self, source, *command):
        """The JSON of a command; source: a pid, or the name of a core."""
        where = ["-p", str(source)] if isinstance(source, int) else ["-c", source]
        done = run(*where, *command, "--format", "json")
        self.assertEqual((done.returncode, done.stderr.decode()), (0, ""), " ".join(done.args))
        return json.loads(done.stdout)

    def chunks(self, source, command="all"):
        return [r for r in self.report(source, command)["rows"] if r["allocator"] == "glibc"]

    def in_use(self, source):
        """{address of memory: row} of what the program itself holds: malloc's own structures are not."""
        return {int(r["start"], 16) + 16: r for r in self.chunks(source)
                if r["state"] == "in use" and "tcache" not in r["kind"]}

    def gcore(self, pid):
        if not shutil.which("gcore"):
            self.skipTest("gcore is not installed (package gdb)")
        prefix = os.path.join(self.directory, "core")
        subprocess.run(["gcore", "-o", prefix, str(pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       stdin=subprocess.DEVNULL, check=True)
        return "%s.%d" % (prefix, pid)


def main():
    if not os.access(HEAPWALK, os.X_OK):
        print("skip: no command at %s" % HEAPWALK)
        sys.exit(77)
    result = unittest.main(verbosity=2, exit=False).result
    for test, reason in result.skipped:
        print("skip: %s: %s" % (test.id(), reason))
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.testsRun == len(result.skipped) else 0)
