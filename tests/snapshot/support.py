# SPDX-License-Identifier: LGPL-2.1-or-later
"""A process that does what it is told, line by line, and heapwalk on it."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
HEAPWALK = os.path.join(os.environ["HEAPWALK_BUILD"], "bin", "heapwalk")
SKIP = 77

# A line in, it is run, a line out. Names that a line makes are its own.
TARGET = """
import sys
class Thing(object):
    __slots__ = ("a", "b", "c")
class Other(object):
    __slots__ = ("x", "y", "z")
class Pinned(object):
    __slots__ = ("p", "q", "r", "s", "t", "u")
names = {"Thing": Thing, "Other": Other, "Pinned": Pinned}
print("ready", flush=True)
for line in sys.stdin:
    exec(line, names)
    print("done", flush=True)
"""


class Target:
    def __init__(self, python=sys.executable, source=TARGET):
        self.process = subprocess.Popen([python, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        assert self.process.stdout.readline() == "ready\n"
        self.pid = str(self.process.pid)

    def do(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer == "done\n", answer

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def run(*words, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([HEAPWALK] + [str(word) for word in words], capture_output=True, text=True,
                          check=False, **options)


class Case(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="heapwalk-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def path(self, name):
        return os.path.join(self.folder, name)

    def target(self, *arguments):
        target = Target(*arguments)
        self.addCleanup(target.close)
        return target

    def ok(self, *words):
        """Its standard output. 1: facts of this interpreter are missing."""
        done = run(*words)
        self.assertIn(done.returncode, (0, 1), (words, done.stderr))
        return done.stdout

    def save(self, target, name, *options):
        self.ok("-p", target.pid, "save", self.path(name), *options)
        return self.path(name)

    def json(self, *words):
        return json.loads(self.ok(*words, "--format", "json"))

    def refused(self, status, words, *command, **options):
        """It ends with that status and one sentence that has those words."""
        done = run(*command, **options)
        self.assertEqual((done.returncode, done.stdout), (status, ""), (command, done.stderr))
        self.assertRegex(done.stderr, r"\Aheapwalk: [^\n]+\n\Z")
        self.assertRegex(done.stderr, words)
        return done.stderr


def main():
    probe = Target()
    done = run("-p", probe.pid, "--top", 1)
    probe.close()
    if done.returncode and "permission" in done.stderr:
        print("skipped: no permission to trace a child:", done.stderr)
        sys.exit(SKIP)
    unittest.main()
