#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the examples of a page of the documentation and compares what they print with the page.

A page's ```console blocks hold commands ("$ ..."), each followed by what it prints. Comments tell what
goes on beside them:

    <!-- example: start PROGRAM -->   examples/PROGRAM is started; $PID is its process
    <!-- example: next -->            it takes its next step
    <!-- example: stop -->            it ends
    <!-- example: numbers vary -->    of the next block no number is compared

normal() says what is compared. --write puts what was printed into the page instead.

Usage: run_examples.py [--write] PAGE
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("HEAPWALK_BUILD", os.path.join(ROOT, "build"))
PYTHON = "/usr/bin/python3"
# The numbers in the pages are of these: another revision's standard library makes other strings.
PACKAGES = {"python3.11-minimal": "3.11.2-6+deb12u9", "libc6": "2.36-9+deb12u14"}
ADDR_NO_RANDOMIZE = 0x0040000
READV = "19"  # of x86-64


STOPPED = re.compile(r"the process was stopped for [0-9.]+ ms$")


def skip(why):
    print("skip: %s" % why)
    sys.exit(77)


def fixed_addresses():
    """How arenas lie in memory decides how many pools they have."""
    return ctypes.CDLL(None).personality(ADDR_NO_RANDOMIZE) != -1


def installed_version(package):
    try:
        done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout or "not installed"


class Program:
    """An example's process. Its folder has a name as long on every machine, and the same files: Python keeps both."""

    def __init__(self, name, folder):
        for path in ("tests/docs/examples/stop.py", "tests/samples/service.py", "tests/docs/examples/" + name):
            shutil.copy(os.path.join(ROOT, path), os.path.join(folder, "example.py" if name in path else ""))
        # No environment: its variables would be in the heap. -S: nor what is installed here.
        self.process = subprocess.Popen(
            [PYTHON, "-E", "-s", "-S", "-B", "example.py"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0"}, preexec_fn=fixed_addresses)
        self.wait()

    def wait(self):
        line = self.process.stdout.readline()
        if line != b"ready\n":
            raise SystemExit("the example ended: %r" % line)
        # It waits only when it is in the system call, for which it allocates.
        while self.system_call() != READV:
            os.sched_yield()

    def system_call(self):
        with open("/proc/%d/syscall" % self.process.pid, encoding="ascii") as file:
            return file.read().split()[0]

    def step(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self.wait()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class Runner:
    def __init__(self, folder):
        self.folder = folder
        self.program = None
        self.environment = {"PATH": "%s/bin:/usr/bin:/bin" % BUILD, "LC_ALL": "C.UTF-8", "HOME": folder,
                            "COLUMNS": "200"}

    def direct(self, words):
        if words[0] == "start":
            self.program = Program(words[1], self.folder)
            self.environment["PID"] = str(self.program.process.pid)
        elif words == ["next"]:
            self.program.step()
        elif words == ["stop"]:
            self.program.stop()
            self.program = None
        else:
            raise SystemExit("unknown direction: %s" % " ".join(words))

    def run(self, command):
        done = subprocess.run(["bash", "-c", command], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode not in (0, 141):
            raise SystemExit("%s: status %d\n%s" % (command, done.returncode, done.stdout))
        pid = self.environment["PID"] if self.program else None
        # The pages leave out how long it was stopped, where that is not their subject.
        return [re.sub(r"\b%s\b" % pid, "PID", line).rstrip() if pid else line.rstrip()
                for line in done.stdout.splitlines()
                if not STOPPED.match(line)]


def normal(line, numbers_vary):
    """What is compared of a line: its words, and of its numbers the changes, which have a sign.

    Where mappings lie, and which libraries there are, is different on each machine, and with it sums are."""
    line = re.sub(r"0x[0-9a-f]{6,16}", "0x", line)
    any_number = r"[-+]?[0-9][0-9,.]*" if numbers_vary or "TOTAL" in line else r"(?<![-+0-9,.])[0-9][0-9,.]*"
    line = re.sub(any_number, "0", line)
    return re.sub(r" +", " ", re.sub(r"-{2,}", "--", line)).strip()


def run_page(lines, runner):
    """The page with what its commands print now, and the lines that differ."""
    page, wrong = [], []
    numbers_vary, inside, command, expected = False, False, None, []

    def finish():
        if command is None:
            return
        found = runner.run(command)
        if [normal(x, numbers_vary) for x in found] != [normal(x, numbers_vary) for x in expected]:
            wrong.append((command, list(expected), found))
        page.extend(found if not numbers_vary or wrong and wrong[-1][2] is found else expected)

    for line in lines:
        direction = re.match(r"<!-- example: (.*) -->$", line)
        if line == "```console" or inside and (line == "```" or line.startswith("$ ")):
            if inside:
                finish()
            command, expected = None, []
            numbers_vary = numbers_vary and line != "```"
            inside = line != "```"
            if line.startswith("$ "):
                command = line[2:]
        elif inside:
            expected.append(line)
            continue
        elif direction and direction.group(1) == "numbers vary":
            numbers_vary = True
        elif direction:
            runner.direct(direction.group(1).split())
        page.append(line)
    return page, wrong


def main():
    write = "--write" in sys.argv[1:]
    path = sys.argv[-1]
    if not os.path.exists(os.path.join(BUILD, "bin/heapwalk")):
        skip("the heapwalk command was not built")
    if os.uname().machine != "x86_64":
        skip("the pages' numbers are x86-64's")
    for package, version in PACKAGES.items():
        if installed_version(package) != version:
            skip("the pages' numbers are of %s %s; here it is %s" % (package, version, installed_version(package)))
    for tool in ("jq", "sqlite3"):
        if not shutil.which(tool):
            skip("%s is not installed" % tool)
    if not fixed_addresses():
        skip("personality(ADDR_NO_RANDOMIZE) is not allowed here")
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines()
    with tempfile.TemporaryDirectory(prefix="heapwalk-example-", dir="/tmp") as folder:
        runner = Runner(folder)
        try:
            page, wrong = run_page(lines, runner)
        finally:
            if runner.program:
                runner.program.stop()
    if write:
        with open(path, "w", encoding="utf-8") as f:
            f.write("\n".join(page) + "\n")
        return 0
    for command, expected, found in wrong:
        print("%s: the page says\n  %s\nand it prints\n  %s" %
              (command, "\n  ".join(expected), "\n  ".join(found)))
    commands = sum(line.startswith("$ ") for line in lines)
    print("%d of %d examples print what %s says" % (commands - len(wrong), commands, os.path.basename(path)))
    return 1 if wrong or not commands else 0


if __name__ == "__main__":
    sys.exit(main())
