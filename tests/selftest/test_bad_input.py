# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can't be done: one clear sentence on stderr, a status that is not 0, and no wrong answer."""

import json
import os
import shutil
import subprocess
import sys

from support import BUILD, HEAPWALK, HeapwalkTest, Program, main, run


class BadInput(HeapwalkTest):
    def check_refused(self, done, *words, output=b""):
        errors = done.stderr.decode()
        # A wrong option is followed, as getopt's users know it, by where to look it up.
        lines = [line for line in errors.splitlines() if not line.startswith("Try ")]
        self.assertEqual(len(lines), 1, errors)
        self.assertRegex(errors, r"^(\S*/)?heapwalk: \S")
        self.assertNotEqual(done.returncode, 0, errors)
        self.assertGreater(done.returncode, 0, "killed by a signal: " + errors)
        for word in words:
            self.assertIn(word, errors)
        if output is not None:
            self.assertEqual(done.stdout, output)

    def test_no_such_pid(self):
        child = subprocess.Popen(["true"])
        child.wait()
        self.check_refused(run("-p", child.pid), str(child.pid))
        for pid in ("0", "-1", "one", "99999999999", ""):
            self.check_refused(run("-p", pid))

    def test_no_permission(self):
        if os.geteuid() != 0 or not shutil.which("setpriv"):
            self.skipTest("needs root and setpriv, to run as nobody")
        os.chmod(self.directory, 0o755)
        copies = []
        for name in ("bin/heapwalk", "lib/libheapwalk.so.0"):
            copies.append(shutil.copy(os.path.join(BUILD, name), self.directory))
        with Program("blocks", "small") as program:
            done = subprocess.run(
                ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copies[0], "-p", str(program.pid)],
                env=dict(os.environ, LD_LIBRARY_PATH=self.directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.check_refused(done, str(program.pid))

    def test_not_python(self):
        with Program("blocks", "small") as program:
            census = self.report(program.pid)
            self.assertFalse(census["target"].get("python"))
            self.assertIn(1500, [r["count"] for r in census["rows"]])
            # "No CPython" is an answer with a status of its own, not an empty table.
            done = run("-p", program.pid, "cpython-allocators")
            self.assertTrue(done.returncode == 0 and b"CPython" in done.stdout
                            or done.returncode > 0 and b"CPython" in done.stderr, done)

    def test_no_core(self):
        def file(name, content):
            path = os.path.join(self.directory, name)
            with open(path, "wb") as f:
                f.write(content)
            return path

        self.check_refused(run("-c", file("text", b"this is no core\n" * 100)), "text")
        self.check_refused(run("-c", file("empty", b"")), "empty")
        self.check_refused(run("-c", file("zeros", b"\0" * 8192)), "zeros")
        self.check_refused(run("-c", file("short", b"\x7fELF\x02\x01\x01")), "short")
        self.check_refused(run("-c", self.directory), self.directory)
        self.check_refused(run("-c", os.path.join(self.directory, "missing")), "missing")
        self.check_refused(run("-c", sys.executable), os.path.basename(sys.executable))

    def test_cut_core(self):
        with Program("blocks", "big") as program:
            core = self.gcore(program.pid)
            whole = self.report(program.pid)
        size = os.path.getsize(core)
        for percent in (90, 50, 10):
            os.truncate(core, size * percent // 100)
            done = run("-c", core, "--format", "json")
            self.check_refused(done, "heap bytes could not be read", output=None)
            report = json.loads(done.stdout)
            self.assertTrue(report["partial"])
            self.assertGreater(report["coverage"]["missing_bytes"], 0)
            self.assertLess(report["total"]["count"], whole["total"]["count"] + 1)
        for length in (5000, 500, 63, 1):
            os.truncate(core, length)
            self.check_refused(run("-c", core), output=None)

    def test_wrong_executable(self):
        with Program("blocks", "small") as program:
            core = self.gcore(program.pid)
        self.check_refused(run("-c", core, "-e", "/bin/true"), "/bin/true")
        self.check_refused(run("-c", core, "-e", os.path.join(self.directory, "none")), "none")
        self.check_refused(run("-c", core, "-e", __file__), os.path.basename(__file__))
        self.assertEqual(run("-c", core, "-e", os.path.join(BUILD, "bin", "selftest_blocks")).returncode, 0)

    def test_exit_while_read(self):
        ended_early = 0
        for _ in range(20):
            with Program("blocks", "big") as program:
                walk = subprocess.Popen([HEAPWALK, "-p", str(program.pid), "--format", "json"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                status = "/proc/%d/status" % program.pid
                while walk.poll() is None:
                    with open(status) as f:
                        if "TracerPid:\t0" not in f.read():
                            break
                program.process.kill()
                output, errors = walk.communicate()
                if walk.returncode == 0:  # it had read everything
                    report = json.loads(output)
                    self.assertFalse(report["partial"])
                    self.assertEqual(report["coverage"]["missing_bytes"], 0)
                    self.assertEqual(errors, b"")
                    self.assertEqual(sum(r["count"] for r in report["rows"] if r["bytes"] > 300 << 20), 300)
                    continue
                ended_early += 1
                self.assertGreater(walk.returncode, 0)
                self.assertEqual(len(errors.splitlines()), 1, errors)
                self.assertIn(str(program.pid).encode(), errors)
        self.assertGreater(ended_early, 0, "the target never ended in time: nothing was tested")

    def test_unknown_words(self):
        with Program("blocks", "three") as program:
            for words in (["--no-such-option"], ["no-such-command"], ["--format", "xml"], ["--top", "many"],
                          ["arenas", "--no-such-option"], ["hexdump", "nowhere"], ["--format"]):
                self.check_refused(run("-p", program.pid, *words))
        self.check_refused(run("heap"))
        self.check_refused(run("-p"))

    def test_two_targets(self):
        self.check_refused(run("-p", os.getpid(), "-c", "core"))

    def test_unwritable_output(self):
        with Program("blocks", "three") as program:
            missing = os.path.join(self.directory, "missing", "file")
            self.check_refused(run("-p", program.pid, "--output", missing), missing)
            self.check_refused(run("-p", program.pid, "--output", "/dev/full"), "/dev/full")
            self.check_refused(run("-p", program.pid, "--output", self.directory), self.directory)
            with open("/dev/full", "wb") as full:
                self.check_refused(run("-p", program.pid, "all", stdout=full), output=None)
            # A report that fails must not be left looking like one that is whole.
            good = os.path.join(self.directory, "report")
            self.assertEqual(run("-p", program.pid, "--output", good).returncode, 0)
            self.assertGreater(os.path.getsize(good), 100)

    def test_unreadable_address(self):
        with Program("blocks", "three") as program:
            self.check_refused(run("-p", program.pid, "hexdump", "0x10"), "0x10")
            self.assertIn(b"the first of thr", run(
                "-p", program.pid, "hexdump", "%#x" % min(program.live_set())).stdout)


if __name__ == "__main__":
    main()
