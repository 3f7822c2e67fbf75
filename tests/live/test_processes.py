# SPDX-License-Identifier: LGPL-2.1-or-later
"""Live processes as they are: copied, raced with, traced by others, in other namespaces, without their files."""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "selftest"))

from support import BUILD, HeapwalkTest, Program, main, run  # noqa: E402

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
BLOCKS = os.path.join(BUILD, "bin", "selftest_blocks")


class Processes(HeapwalkTest):
    def census(self, pid, *words):
        done = run("-p", pid, *words, "--format", "json")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        return json.loads(done.stdout)

    def test_a_copy_is_the_same(self):
        with Program("blocks", "big") as program:
            for command in (["all", "--format", "csv"], ["arenas", "--format", "csv"], ["select", "size > 100"]):
                stopped, copied = (run("-p", program.pid, *words, *command) for words in ([], ["--copy"]))
                self.assertEqual((copied.returncode, copied.stderr), (0, b""))
                text = [[line for line in done.stdout.splitlines() if b"was stopped for" not in line]
                        for done in (stopped, copied)]
                self.assertGreater(len(text[0]), 1)
                self.assertEqual(text[0], text[1])
            self.assertGreater(self.census(program.pid)["stopped_seconds"], 0)
            self.assertGreater(self.census(program.pid, "--copy")["stopped_seconds"], 0)
            self.assertIn(b"the process was stopped for ", run("-p", program.pid, "--copy").stdout)
        self.assertEqual(run("-c", "core", "--copy").returncode, 2)

    def test_a_copy_lets_it_run_on(self):
        """It ends while its copy is looked at: with it stopped, that could not be."""
        with Program("blocks", "small") as program:
            whole = run("-p", program.pid, "all", "--format", "csv")
            reader, writer = os.pipe()
            # A pipe that is full holds the report up, at a moment when the copy was taken.
            walk = subprocess.Popen([os.path.join(BUILD, "bin", "heapwalk"), "--copy", "-p", str(program.pid), "all",
                                     "--format", "csv"], stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE)
            os.close(writer)
            with os.fdopen(reader, "rb") as output:
                first = output.read(1)
                program.process.kill()
                program.process.wait()
                text = first + output.read()
            self.assertEqual(walk.wait(), 0, walk.stderr.read())
            walk.stderr.close()
            self.assertEqual(text, whole.stdout)

    def test_a_race_says_so(self):
        with Program("blocks", "small") as program:
            done = run("-p", program.pid, "--no-stop", "--format", "json")
            self.assertEqual(done.returncode, 1, done.stderr)
            report = json.loads(done.stdout)
            self.assertIn("ran while it was read", report["partial_reason"])
            self.assertIsNone(report["stopped_seconds"])
            os.kill(program.pid, signal.SIGSTOP)
            os.waitpid(program.pid, os.WUNTRACED)
            self.assertIsNone(self.census(program.pid, "--no-stop")["stopped_seconds"])

    def test_traced_already(self):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        with Program("blocks", "small") as program:
            if libc.ptrace(PTRACE_SEIZE, program.pid, None, None):
                self.skipTest("may not trace: %s" % os.strerror(ctypes.get_errno()))
            done = run("-p", program.pid)
            self.assertEqual(done.returncode, 3)
            self.assertIn(b"process %d traces it already" % os.getpid(), done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1)

    def rows(self, pid):
        report = self.census(pid)
        self.assertEqual([i for i in report["issues"] if "is not the file" in i["message"]], [])
        return report["rows"], report["target"]["malloc"]

    def test_without_its_file(self):
        """Removed, then another one in its place: what is mapped is what counts."""
        path = os.path.join(self.directory, "selftest_moved")
        shutil.copy(BLOCKS, path)
        process = subprocess.Popen([path, "small"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            for line in process.stdout:
                if line == b"stop\n":
                    break
            before = self.rows(process.pid)
            os.unlink(path)
            after = self.rows(process.pid)
            self.assertEqual([r["count"] for r in after[0]], [r["count"] for r in before[0]])
            self.assertEqual(after[1], before[1])
            shutil.copy(os.path.join(BUILD, "bin", "selftest_classes"), path)
            self.assertEqual(self.rows(process.pid), after)
        finally:
            process.kill()
            process.communicate()

    def test_other_namespaces(self):
        """Files that only the process sees, in a mount and a process namespace of its own."""
        if os.geteuid() != 0 or not shutil.which("unshare"):
            self.skipTest("needs root and unshare")
        place = os.path.join(self.directory, "place")
        os.mkdir(place)
        script = "mount -t tmpfs none %s && cp %s %s/blocks && exec %s/blocks small" % (place, BLOCKS, place, place)
        process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            for line in process.stdout:
                if line == b"stop\n":
                    break
            else:
                self.skipTest("no namespaces here: %s" % process.stderr.read().decode())
            with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as f:
                pid = int(f.read().split()[0])
            self.assertEqual(os.listdir(place), [])
            rows, facts = self.rows(pid)
            self.assertIn(1500, [r["count"] for r in rows])
            self.assertTrue(facts["facts"])
        finally:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    main()
