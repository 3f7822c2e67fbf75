# SPDX-License-Identifier: LGPL-2.1-or-later
"""heapwalk(1) on a live process: where options stand, formats, statuses, a reader that goes, completion."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import termios
import unittest

from support import HEAPWALK, TOP, commands, complete, options, run

TARGET = """
import sys
import tempfile
import termios
kept = [{"n": i} for i in range(%d)]
print("ready", flush=True)
sys.stdin.read()
"""


class Target:
    """A Python process that has said it is ready."""

    def __init__(self, objects=1000):
        self.process = subprocess.Popen([sys.executable, "-c", TARGET % objects], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        self.pid = str(self.process.pid)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.target = Target()
        cls.addClassCleanup(cls.target.close)
        cls.pid = cls.target.pid
        done = run("-p", cls.pid, "--top", 1)
        if done.returncode and "permission" in done.stderr:
            print("no permission to trace a child:", done.stderr)
            sys.exit(77)

    def ok(self, *words):
        done = run(*words)
        self.assertIn(done.returncode, (0, 1), done.stderr)  # 1: facts of this Python are missing
        return done.stdout

    def refused(self, *words):
        done = run(*words)
        self.assertEqual((done.returncode, done.stdout), (2, ""), words)
        self.assertRegex(done.stderr, r"\Aheapwalk: [^\n]+\n\Z")
        return done.stderr

    def test_places_of_options(self):
        for words in (["-p", self.pid, "--format", "json"], ["--pid=" + self.pid, "--format=json"],
                      ["-qp", self.pid, "census", "--format", "json"], ["census", "--format=json", "-p" + self.pid],
                      ["census", "-p", self.pid, "--format", "json", "--quiet"],
                      ["--format", "json", "-p", self.pid], ["-p", self.pid, "--fo", "json"]):
            self.assertEqual(json.loads(self.ok(*words))["schema"], "heapwalk.census/1", words)
        for words in (["--format", "json", "-p", self.pid, "arenas"], ["--top=3", "--format=json", "arenas", "-p", self.pid]):
            self.assertEqual(json.loads(self.ok(*words))["schema"], "heapwalk.arenas/1", words)
        report = json.loads(self.ok("-p", self.pid, "select", "size", ">=", "16", "limit", "3", "--format", "json"))
        self.assertEqual(len(report["rows"]), 3)

    def test_help(self):
        for words in (["--help"], ["-?"], ["-p", self.pid, "--help"]):
            done = run(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), words)
            for name in commands():
                self.assertRegex(done.stdout, r"\n  %s +[A-Z]" % name)
        for name in commands():
            done = run(name, "--help")
            self.assertEqual((done.returncode, done.stderr), (0, ""), name)
            for option in options(name):
                self.assertIn(option, done.stdout)

    def test_one_letter_two_meanings(self):
        start = json.loads(self.ok("-p", self.pid, "select", "limit 1", "--format=json"))["rows"][0]["start"]
        self.assertNotIn("Bytes", self.ok("-p", self.pid, "hexdump", start, "-c"))
        self.assertIn("missing.core", run("census", "-c", "missing.core").stderr)

    def test_formats_agree(self):
        words = ("-p", self.pid, "select", "domain = 'python' and kind = 'dict' and size > 1 limit 50")
        rows = json.loads(self.ok(*words, "--format", "json"))["rows"]
        table = list(csv.DictReader(io.StringIO(self.ok(*words, "--format", "csv"))))
        text = self.ok(*words).splitlines()[2:-1]
        self.assertEqual(len(rows), len(table))
        for row, cells in zip(rows, table):
            self.assertEqual({name: "" if value is None else str(value) for name, value in row.items()}, cells)
        starts = [int(line.split()[0], 16) for line in text if line.lstrip().startswith("0x")]
        self.assertEqual(starts, [int(row["start"], 16) for row in rows])

    def test_the_census_adds_up(self):
        report = json.loads(self.ok("-p", self.pid, "--format", "json"))
        total = report["total"]
        self.assertEqual(sum(row["bytes"] for row in report["rows"]), total["bytes"])
        self.assertEqual(sum(row["count"] for row in report["rows"]), total["count"])
        self.assertEqual(total["bytes"], total["mapped_bytes"])
        self.assertEqual(sum(total[name + "_bytes"] for name in ("in_use", "free", "overhead", "unknown")),
                         total["mapped_bytes"])
        listed = json.loads(self.ok("-p", self.pid, "all", "--format", "json"))
        self.assertEqual(sum(row["size"] for row in listed["rows"]), listed["total"]["bytes"])
        for row in listed["rows"]:
            self.assertEqual(int(row["end"], 16) - int(row["start"], 16) + 1, row["size"])

    def test_wrong_words(self):
        self.assertIn("no command \"bogus\"", self.refused("-p", self.pid, "bogus"))
        self.assertIn("--bogus", self.refused("-p", self.pid, "--bogus"))
        self.assertIn("no target", self.refused("census"))
        self.assertIn("no target", self.refused())
        self.assertIn("needs a value", self.refused("-p"))
        self.assertIn("two targets", self.refused("-p", self.pid, "-c", "core"))
        self.assertIn("-x", self.refused("-x"))
        self.assertIn("process id", self.refused("-p", "0"))
        self.assertIn("--threads", self.refused("-p", self.pid, "--threads", "0"))
        self.assertIn("needs a value", self.refused("-p", self.pid, "--format"))
        self.refused("-p", self.pid, "--no-stop=yes")

    def test_version(self):
        self.assertRegex(run("--version").stdout, r"\Aheapwalk \d+\.\d+\.\d+\n\Z")

    def test_a_reader_that_goes(self):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([HEAPWALK, "-p", self.pid, "all"], stdin=subprocess.DEVNULL, stdout=writer,
                              stderr=subprocess.PIPE, check=False)
        os.close(writer)
        self.assertEqual((done.returncode, done.stderr), (141, b""))

    def test_interrupt(self):
        # A pipe nobody reads fills up: the command is in the middle of its report for certain.
        target = Target(objects=100000)
        self.addCleanup(target.close)
        walk = subprocess.Popen([HEAPWALK, "-p", target.pid, "all", "--format", "json"], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, bufsize=0)
        head = walk.stdout.read(100)
        walk.send_signal(signal.SIGINT)
        output, errors = walk.communicate()
        self.assertEqual(walk.returncode, 130, errors)
        report = json.loads(head + output)
        self.assertTrue(report["partial"])
        self.assertIn("interrupted", report["partial_reason"])
        self.assertRegex(errors, rb"\Aheapwalk: interrupted[^\n]+\n\Z")

    def test_completion(self):
        self.assertEqual(complete("sel"), ["select"])
        self.assertEqual(complete("-p", "1", "--for"), ["--format"])
        self.assertIn("--pid", complete("--p"))
        self.assertEqual(complete("-p", "1", "--format", "j"), ["json"])
        self.assertEqual(complete("-p", "1", "census", "--by", "ty"), ["type"])
        self.assertEqual(complete("-p", "1", "select", "siz"), ["size"])
        self.assertEqual(complete("-p", ""), [])
        self.assertEqual(complete("--col"), ["--color"])
        self.assertEqual(complete("--color=a"), ["--color=auto", "--color=always"])
        self.assertEqual(complete("--color", "sel"), ["select"])

    def test_color(self):
        escape = "\033["
        def ask(*words):  # how long it was stopped is another time each time
            return re.sub(r"stopped for \S+ ms", "stopped", self.ok(*words, "-p", self.pid, "--top", "3"))

        plain = ask()
        colours = ask("--color=always")
        self.assertNotIn(escape, plain)
        self.assertIn("\033[1mDomain\033[m", colours)
        self.assertIn("\033[1mTOTAL\033[m", colours)
        self.assertIn("\033[2mcoverage: ", colours)
        self.assertEqual(re.sub("\033\\[[0-9;]*m", "", colours), plain)
        self.assertEqual(ask("--color"), colours)
        self.assertRegex(self.ok("--color", "-p", self.pid, "all", "--top", "1"),
                         "\033\\[34m0x[0-9a-f]{16}\033\\[m  ")
        # Never in what programs read, nor in a file.
        for form in ("json", "csv"):
            self.assertNotIn(escape, self.ok("--color", "-p", self.pid, "--format", form))
        with tempfile.NamedTemporaryFile("r") as file:
            self.ok("--color", "-p", self.pid, "--output", file.name)
            with open(file.name, encoding="utf-8") as report:
                self.assertNotIn(escape, report.read())
        done = run("--color=red", "-p", self.pid)
        self.assertEqual((done.returncode, done.stderr),
                         (2, 'heapwalk: --color takes one of auto, always, never, not "red"\n'))

    def on_terminal(self, *words, **environment):
        """What the command prints on a terminal."""
        ours, its = pty.openpty()
        attributes = termios.tcgetattr(its)
        attributes[1] &= ~termios.OPOST
        termios.tcsetattr(its, termios.TCSANOW, attributes)
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
        walk = subprocess.Popen([HEAPWALK, "-p", self.pid, *words], stdout=its, stdin=subprocess.DEVNULL,
                                env=dict(kept, **environment))
        os.close(its)
        text = b""
        with open(ours, "rb", buffering=0) as file:
            try:
                for piece in iter(lambda: file.read(65536), b""):
                    text += piece
            except OSError:  # what a terminal says at its end
                pass
        self.assertEqual(walk.wait(), 0)
        return text.decode()

    def test_color_on_a_terminal(self):
        escape = "\033["
        self.assertIn(escape, self.on_terminal(TERM="xterm"))
        self.assertNotIn(escape, self.on_terminal("--color=never", TERM="xterm"))
        self.assertNotIn(escape, self.on_terminal(TERM="dumb"))
        self.assertNotIn(escape, self.on_terminal(TERM="xterm", NO_COLOR="1"))
        self.assertIn(escape, self.on_terminal(TERM="xterm", NO_COLOR=""))
        self.assertIn(escape, self.on_terminal("--color=always", TERM="dumb", NO_COLOR="1"))

    def bash(self, *words):
        """What bash offers for the last of the words."""
        script = """
            source "$1"; shift
            COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
            compopt() { :; }
            _heapwalk && printf '%s\\n' "${COMPREPLY[@]}"
        """
        completion = TOP / "libheapwalk" / "cli" / "completion" / "heapwalk.bash"
        done = subprocess.run(["bash", "-c", script, "bash", completion, HEAPWALK] + list(words), check=True,
                              capture_output=True, text=True)
        self.assertEqual(done.stderr, "")
        return done.stdout.split("\n")[:-1]

    def test_bash_completion(self):
        self.assertEqual(self.bash("-p", "1", "sel"), ["select"])
        self.assertEqual(self.bash("-p", "1", "census", "--format", "=", "j"), ["json"])
        self.assertEqual(self.bash("-p", "1", "select", "'size > 4 and ki"), ["size > 4 and kind"])
        self.assertEqual(self.bash("--color", "=", "n"), ["never"])
        self.assertEqual(self.bash("--color", "="), ["auto", "always", "never"])
        self.assertEqual(self.bash("--color", "sel"), ["select"])
        self.assertIn(self.pid, self.bash("-p", self.pid[:1]))
        self.assertTrue(all(re.fullmatch("[0-9]+", word) for word in self.bash("-p", "1")))


if __name__ == "__main__":
    unittest.main()
