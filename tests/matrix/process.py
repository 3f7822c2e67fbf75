# SPDX-License-Identifier: LGPL-2.1-or-later
"""A target process: started, known to be at rest, checksummed, dumped. And heapwalk run on it."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib

import oracles

HERE = os.path.dirname(os.path.abspath(__file__))
PAUSE = {"x86_64": "34", "aarch64": "73"}.get(os.uname()[4], "34")  # pause(2), ppoll(2)
CORE_PATTERN = "/proc/sys/kernel/core_pattern"


class TestError(Exception):
    """Something that is no answer of heapwalk's: the target did not start, a core was not made."""


def kernel_makes_plain_cores():
    with open(CORE_PATTERN) as f:
        pattern = f.read().strip()
    return bool(pattern) and "|" not in pattern and "/" not in pattern and "%" not in pattern


def _may_dump_core():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


# How a container's process begins: a mount namespace of its own, whose root is another directory. Arguments:
# that directory, the folder to start in, the command. The process keeps its number.
ENTER_ROOT = """
set -e
mount --bind "$1" "$1"
mount --rbind /proc "$1/proc"
cd "$1"
pivot_root . .
umount -l .
cd "$2"
shift 2
exec "$@"
"""


def wait_until_paused(pid, system_call=PAUSE, timeout=60):
    """It has announced itself and is a few instructions away from pause(2)."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with open("/proc/%d/syscall" % pid) as f:
            if f.read().split()[0] == system_call:
                return
        os.sched_yield()
    raise TestError("process %d does not reach pause(2)" % pid)


class Target:
    """A script that says "ready" and then sits in pause(2). Use in a with statement.

    With a root it runs as in a container: `{directory}` is then the folder's name in there.
    """

    def __init__(self, command, environment, directory=None, timeout=300, root=""):
        self.root = root
        self.directory = directory or tempfile.mkdtemp(prefix="heapwalk-matrix-", dir=root + "/tmp" if root else None)
        self._own_directory = directory is None
        inside = self.directory[len(root):]
        self.command = [word.replace("{directory}", inside) for word in command]
        if root:
            shutil.copy(os.path.join(HERE, "target.py"), self.directory)
            shutil.copytree(os.path.join(HERE, "workloads"), os.path.join(self.directory, "workloads"),
                            ignore=shutil.ignore_patterns("__pycache__"))
            self.command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER_ROOT, "sh", root,
                            inside] + self.command
        self.errors = os.path.join(self.directory, "stderr")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LD_", "MALLOC_", "GLIBC_"))}
        # The kernel writes to the restartable-sequence area of a thread whenever it runs again, as it does
        # when a debugger lets go of it. Memory that must not change is compared without it.
        env.update(GLIBC_TUNABLES="glibc.pthread.rseq=0")
        env.update(PYTHONHASHSEED="0", PYTHONDONTWRITEBYTECODE="1", PYTHONNOUSERSITE="1", LC_ALL="C.UTF-8")
        env.update(environment)
        with open(self.errors, "wb") as errors:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=env,
                cwd=self.directory, preexec_fn=_may_dump_core,
            )
        self.pid = self.process.pid
        self.timeout = timeout

    def __enter__(self):
        try:
            self.expect_line(b"ready")
            self.wait_until_paused()
        except BaseException:
            self.close()
            raise
        return self

    def wait_until_paused(self):
        wait_until_paused(self.pid)

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.stdout.close()
        self.process.wait()
        if self._own_directory and not os.environ.get("HEAPWALK_TEST_KEEP"):
            shutil.rmtree(self.directory, ignore_errors=True)

    def stderr(self):
        with open(self.errors, errors="replace") as f:
            return f.read()

    def expect_line(self, wanted):
        timer = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TestError("timeout")))
        signal.alarm(self.timeout)
        try:
            line = self.process.stdout.readline().strip()
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, timer)
        if line != wanted:
            raise TestError("target said %r, not %r; its stderr: %s" % (line, wanted, self.stderr()[-2000:]))

    def checksum(self):
        """Of every byte of every private writable mapping, and of where they are."""
        mappings = oracles.private_writable(oracles.read_mappings(self.pid))
        value = zlib.crc32(repr(mappings).encode())
        with open("/proc/%d/mem" % self.pid, "rb", 0) as memory:
            for m in mappings:
                at = m.start
                while at < m.end:
                    memory.seek(at)
                    try:
                        data = memory.read(min(8 << 20, m.end - at))
                    except OSError:  # a guard page inside a stack's mapping (glibc 2.42)
                        data = bytes(os.sysconf("SC_PAGE_SIZE"))
                    if not data:
                        raise TestError("/proc/%d/mem ends at %#x" % (self.pid, at))
                    value = zlib.crc32(data, value)
                    at += len(data)
        return value

    def is_alive_and_well(self):
        os.kill(self.pid, signal.SIGUSR1)
        self.expect_line(b"alive")

    def _filter(self, value):
        with open("/proc/%d/coredump_filter" % self.pid, "w") as f:
            f.write("%#x" % value)

    def gcore(self, core_filter):
        """A core by gdb; the process goes on."""
        if not shutil.which("gcore"):
            raise TestError("gcore is not installed (package gdb)")
        self._filter(core_filter)
        prefix = os.path.join(self.directory, "gcore-%x" % core_filter)
        done = subprocess.run(
            ["gcore", "-o", prefix, str(self.pid)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        path = "%s.%d" % (prefix, self.pid)
        if done.returncode or not os.path.exists(path):
            raise TestError("gcore: %s" % done.stdout.decode(errors="replace")[-1000:])
        return path

    def abort(self, core_filter):
        """A core by the kernel; the process is gone."""
        self._filter(core_filter)
        os.kill(self.pid, signal.SIGABRT)
        self.process.wait()
        for name in ("core", "core.%d" % self.pid):
            path = os.path.join(self.directory, name)
            if os.path.exists(path):
                return path
        raise TestError("the kernel wrote no core (status %d)" % self.process.returncode)


class Answer:
    """One run of heapwalk."""

    def __init__(self, command, returncode, stdout, stderr):
        self.command, self.returncode, self.stdout, self.stderr = command, returncode, stdout, stderr
        self._report = None

    @property
    def report(self):
        if self._report is None:
            self._report = json.loads(self.stdout.decode("utf-8", "surrogateescape"))
        return self._report

    @property
    def frame(self):
        """The report without its rows, which are most of it."""
        if self._report is not None:
            return self._report
        rows = self.rows_text()
        if not rows:
            return self.report
        return json.loads(self.stdout.replace(rows, b'"rows": []', 1).decode("utf-8", "surrogateescape"))

    def rows_text(self):
        """The rows of the report as they were printed: two reports of one heap have the same."""
        start = self.stdout.find(b'\n "rows": [')
        end = self.stdout.find(b"\n ]", start)
        if start < 0 or end < 0:
            return b""
        return self.stdout[start + 2 : end + 3]


def run_heapwalk(heapwalk, arguments, timeout=600):
    command = [heapwalk] + arguments
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout
    )
    return Answer(command, done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def target_command(interpreter, workload):
    script = "target.py" if interpreter.root else os.path.join(HERE, "target.py")
    return [interpreter.path, script, workload, "{directory}"]


def heapwalk_command():
    """The command under test: of the build that ctest names, or of build/."""
    return os.path.join(os.environ.get("HEAPWALK_BUILD", os.path.join(HERE, "../../build")), "bin", "heapwalk")


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
