# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes of unusual kinds: very many threads, without a leader, never at rest, stopped, traced, another user's."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

for folder in ("selftest", "matrix"):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", folder))

import interpreters  # noqa: E402
from support import BUILD, HeapwalkTest, main, run  # noqa: E402

TARGET = os.path.join(BUILD, "bin", "live_target")
BLOCKS, THREADS, NOBODY = 2000, 1200, 65534


def status_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


@contextlib.contextmanager
def target(*words, path=TARGET, **options):
    process = subprocess.Popen([path, *(str(w) for w in words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               start_new_session=True, **options)
    try:
        for line in process.stdout:
            if line == b"stop\n":
                break
        else:
            raise AssertionError("%r ended before its stop" % (words,))
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


class Kinds(HeapwalkTest):
    def census(self, pid, *words, status=0):
        done = run("-p", pid, *words, "--format", "json")
        self.assertEqual(done.returncode, status, done.stderr)
        report = json.loads(done.stdout)
        total = report["total"]
        self.assertEqual(total["mapped_bytes"], total["in_use_bytes"] + total["free_bytes"] + total["overhead_bytes"]
                         + total["unknown_bytes"])
        blocks = sum(r["count"] for r in report["rows"] if r["domain"] in ("uncategorized", "C"))
        self.assertGreaterEqual(blocks, BLOCKS)
        return report

    def refused(self, done, *words):
        """One sentence that has these words, and nothing else."""
        self.assertEqual((done.returncode, done.stdout), (3, b""))
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        for word in words:
            self.assertIn(word.encode(), done.stderr)

    def test_very_many_threads(self):
        with target("threads", THREADS) as process:
            for words in ((), ("--copy",)):
                report = self.census(process.pid, *words)
                stacks = [r["count"] for r in report["rows"] if r["domain"] == "stack" and r["kind"] == "thread"]
                self.assertEqual(stacks, [THREADS])
                status = status_of(process.pid)
                self.assertEqual((status["TracerPid"], status["Threads"]), ("0", str(THREADS + 1)))

    def test_its_leader_has_ended(self):
        with target("headless") as process:
            self.assertEqual(status_of(process.pid)["State"][0], "Z")
            self.census(process.pid)

    def test_vfork(self):
        with target("vfork") as process:
            self.census(process.pid)
            with open("/proc/%d/task/%d/children" % (process.pid, process.pid)) as f:
                child = int(f.read().split()[0])
            self.assertEqual([r["count"] for r in self.census(child)["rows"] if r["domain"] == "uncategorized"],
                             [r["count"] for r in self.census(process.pid)["rows"] if r["domain"] == "uncategorized"])

    def test_never_at_rest(self):
        with target("churn") as process:
            for words in ((), (), (), ("--copy",), ("--copy",)):
                self.assertFalse(self.census(process.pid, *words)["partial"])
            self.assertIn("ran while it was read", self.census(process.pid, "--no-stop", status=1)["partial_reason"])
            self.assertIsNone(process.poll())

    def test_a_stopped_one_stays_stopped(self):
        with target() as process:
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            rows = self.census(process.pid)["rows"]
            for words in ((), ("--copy",), ("--no-stop",)):
                self.assertEqual(self.census(process.pid, *words)["rows"], rows)
                # Let go, it runs in the kernel for a moment, into its stop again.
                while status_of(process.pid)["State"][0] in "tRS":
                    os.sched_yield()
                self.assertEqual(status_of(process.pid)["State"][0], "T")

    def test_under_strace(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        with target() as process:
            strace = subprocess.Popen(["strace", "-o", "/dev/null", "-p", str(process.pid)], stdin=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            try:
                while status_of(process.pid)["TracerPid"] == "0" and strace.poll() is None:
                    os.sched_yield()
                if strace.poll() is not None:
                    self.skipTest("strace may not trace here")
                self.refused(run("-p", process.pid), "process %d traces it already" % strace.pid, "no-stop")
                self.census(process.pid, "--no-stop", status=1)
            finally:
                strace.terminate()
                strace.wait()
            self.census(process.pid)

    def test_under_gdb(self):
        """gdb has stopped it: without a stop of our own the answer is whole, and the same."""
        if not shutil.which("gdb"):
            self.skipTest("gdb is not installed")
        heapwalk = os.path.join(BUILD, "bin", "heapwalk")
        with target() as process:
            rows = self.census(process.pid)["rows"]
            words = "%s -p %d" % (heapwalk, process.pid)
            done = subprocess.run(
                ["gdb", "-nx", "-batch", "-p", str(process.pid), "-ex", "shell %s > %s/a 2> %s/b; echo $? >> %s/b" % (
                    words, self.directory, self.directory, self.directory),
                 "-ex", "shell %s --no-stop --format json > %s/c" % (words, self.directory)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            with open(self.directory + "/b") as f:
                said = f.read()
            self.assertRegex(said, r"^heapwalk: .*traces it already; .*gdb.*no-stop\)\n3\n$", done.stdout)
            with open(self.directory + "/c") as f:
                report = json.load(f)
            self.assertEqual((report["partial"], report["rows"]), (False, rows))
            self.census(process.pid)

    def test_not_a_process_with_memory(self):
        child = subprocess.Popen(["true"])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        self.refused(run("-p", child.pid), "%d" % child.pid, "zombie")
        child.wait()
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            with contextlib.suppress(OSError):
                if status_of(pid).get("PPid") == "2" and "VmSize" not in status_of(pid):
                    self.refused(run("-p", pid), "process %d" % pid, "kernel")
                    return
        self.skipTest("no thread of the kernel is to be seen here")

    def test_python_is_upgraded_while_it_runs(self):
        """Its library is removed, then another version stands in its place: what is mapped is what counts."""
        linked = {i.version: os.path.realpath(i.path) for i in interpreters.find()[0]
                  if ".pyenv" in i.path and i.version[0] == 3}
        if len(linked) < 2:
            self.skipTest("two Pythons that are linked with a libpython.so are needed")
        libraries = []
        for version, path in sorted(linked.items())[-2:]:
            home = os.path.dirname(os.path.dirname(path))
            libraries.append((path, home, os.path.join(home, "lib", "libpython%d.%d.so.1.0" % version[:2])))
        program, home, library = libraries[1]
        copy = os.path.join(self.directory, os.path.basename(library))
        mine = os.path.join(self.directory, "python")
        shutil.copy(library, copy)
        shutil.copy(program, mine)
        script = "import sys, os; keep = [[i, str(i)] for i in range(9000)]; os.write(1, b'stop\\n'); sys.stdin.read()"
        env = dict(os.environ, LD_LIBRARY_PATH=self.directory, PYTHONHOME=home)
        process = subprocess.Popen([mine, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        try:
            self.assertEqual(process.stdout.readline(), b"stop\n")
            before = self.report(process.pid)
            self.assertIn("libpython", before["target"]["python"]["facts"])
            self.assertGreater(sum(r["count"] for r in before["rows"] if r["kind"] == "list"), 9000)
            wanted = sorted((r["domain"], r["kind"], r["count"], r["bytes"]) for r in before["rows"] if r["domain"] != "file")
            for change in (lambda: os.unlink(copy), lambda: shutil.copy(libraries[0][2], copy),
                           lambda: (os.unlink(mine), shutil.copy(libraries[0][0], mine))):
                change()
                after = self.report(process.pid)
                self.assertEqual(sorted((r["domain"], r["kind"], r["count"], r["bytes"]) for r in after["rows"]
                                        if r["domain"] != "file"), wanted)
                self.assertEqual(after["target"]["python"]["version"], before["target"]["python"]["version"])
        finally:
            process.kill()
            process.communicate()

    def public_copy(self, name, source):
        """A copy in a directory that everybody may enter."""
        directory = tempfile.mkdtemp(prefix="heapwalk-kinds-")
        self.addCleanup(shutil.rmtree, directory, True)
        os.chmod(directory, 0o755)
        path = os.path.join(directory, name)
        shutil.copy(source, path)
        os.chmod(path, 0o755)
        return path

    def as_nobody(self, *words):
        def become():
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        path = self.public_copy("heapwalk", os.path.join(BUILD, "bin", "heapwalk"))
        shutil.copy(os.path.join(BUILD, "lib", "libheapwalk.so.0"), os.path.dirname(path))
        env = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(path))
        return subprocess.run([path, *(str(w) for w in words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, preexec_fn=become, env=env)

    def test_another_users(self):
        if os.geteuid():
            self.skipTest("needs root")
        with target() as process:
            self.refused(self.as_nobody("-p", process.pid), "process %d" % process.pid, "CAP_SYS_PTRACE", "ptrace_scope")

    def test_setuid_program(self):
        """It runs as root for nobody: root reads it, nobody may not."""
        if os.geteuid():
            self.skipTest("needs root")
        path = self.public_copy("setuid", TARGET)
        os.chmod(path, 0o4755)

        def become():
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
        with target(path=path, preexec_fn=become) as process:
            if status_of(process.pid)["Uid"].split()[:2] != [str(NOBODY), "0"]:
                self.skipTest("no setuid programs here (nosuid)")
            self.census(process.pid)
            self.refused(self.as_nobody("-p", process.pid), "process %d" % process.pid, "CAP_SYS_PTRACE", "setuid")


if __name__ == "__main__":
    main()
