# SPDX-License-Identifier: LGPL-2.1-or-later
"""Running gdb on real processes. Every run fails its test on any word on stderr it did not expect."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = TOP / "tests" / "gdb"
BUILD = pathlib.Path(os.environ.get("HEAPWALK_BUILD", TOP / "build"))
HEAPWALK = BUILD / "bin" / "heapwalk"
SCRIPT = TOP / "gdbext" / "heapwalk-gdb.py"
SKIP = 77

# gdb as everybody has it, but for what would make its words depend on the machine. debuginfod is switched off
# by environment(): gdb 10 has no setting for it.
SETTINGS = ["set print frame-info short-location", "set confirm off", "set auto-load python-scripts off"]


class Failed(Exception):
    """Why the test fails."""


def check(condition, *message):
    if not condition:
        raise Failed(" ".join(str(word) for word in message))


def check_equal(got, expected, what):
    if got == expected:
        return
    if isinstance(got, list) and isinstance(expected, list):
        only_got = [row for row in got if row not in expected][:5]
        only_expected = [row for row in expected if row not in got][:5]
        raise Failed("%s differ: only here %s; only there %s" % (what, only_got, only_expected))
    raise Failed("%s: %r, expected %r" % (what, got, expected))


def skip(reason):
    print("skipped: %s" % reason)
    sys.exit(SKIP)


def need(program):
    if not shutil.which(program):
        skip("%s is not installed (./setup deps)" % program)
    return program


def gdb_arguments(script=SCRIPT):
    arguments = [need("gdb"), "-nx", "-q"]
    for setting in SETTINGS:
        arguments += ["-iex", setting]
    return arguments + (["-iex", "source %s" % script] if script else [])


def environment(**more):
    kept = {name: value for name, value in os.environ.items()
            if name not in ("DEBUGINFOD_URLS", "PYTHONHOME", "PYTHONPATH", "LANGUAGE")}
    return dict(kept, LC_ALL="C.UTF-8", TERM="dumb", **more)


class Result:
    def __init__(self, command, finished):
        self.command, self.status = command, finished.returncode
        self.out, self.err = finished.stdout, finished.stderr


def gdb(commands, *arguments, errors=(), noise=(), status=0, script=SCRIPT, seconds=170, **more_environment):
    """Run gdb -batch. `errors`: a regular expression for each line that stderr must have; `noise`: for
    lines of gdb's own that it may have besides. status None: any."""
    command = gdb_arguments(script) + ["-batch", *[str(word) for word in arguments]]
    for line in commands:
        command += ["-ex", line]
    finished = subprocess.run(command, capture_output=True, text=True, errors="backslashreplace",
                              env=environment(**more_environment), stdin=subprocess.DEVNULL,
                              check=False, timeout=seconds)
    result = Result(command, finished)
    lines = [line for line in result.err.splitlines()
             if line and not any(re.fullmatch(pattern, line) for pattern in noise)]
    matches = len(lines) == len(errors) and all(map(re.fullmatch, errors, lines))
    if not matches or status not in (result.status, None):
        raise Failed("gdb %s\nstatus %d, expected %s\nstdout:\n%s\nstderr:\n%s\nexpected on stderr: %s"
                     % (commands, result.status, status, result.out, result.err, list(errors)))
    return result


def gcore(process, path):
    """A full core by gdb, which finds no fault with it but what no gdb can read. In it is what the process asked
    to have in no core: since 2.41 glibc has a page for getrandom() of which that is so."""
    gdb(["set dump-excluded-mappings on", "gcore %s" % path], "-p", process.pid, noise=[
        r"warning: Memory read failed for corefile section, 4096 bytes at 0xffffffffff600000\.",
        r"warning: target file /proc/\d+/cmdline contained unexpected null characters",
    ])


def gdb_json(command, *arguments, before=(), **options):
    """The JSON report of one command in gdb, by way of `pipe`."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        gdb([*before, "pipe %s -format json | cat > %s" % (command, path)], *arguments, **options)
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def heapwalk_json(*arguments):
    """The JSON report of the stand-alone command."""
    finished = subprocess.run([HEAPWALK, *[str(word) for word in arguments], "--format=json"],
                              capture_output=True, text=True, check=False)
    check(finished.returncode == 0 and not finished.stderr,
          "heapwalk", arguments, "status", finished.returncode, finished.stderr)
    report = json.loads(finished.stdout)
    if "stopped_seconds" in report:
        report["stopped_seconds"] = None  # in gdb it is gdb that stops it
    return report


@contextlib.contextmanager
def running(*command, until=b"ready"):
    """A process that has said "ready" and now waits for its standard input; ends with the block. `said`
    has the lines before that one."""
    def on_one_processor():
        # The kernel keeps the number of the processor in the process's own memory (rseq).
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, preexec_fn=on_one_processor)
    try:
        process.said = []
        for line in process.stdout:
            if line.startswith(until):
                break
            process.said.append(line.decode().rstrip("\n"))
        else:
            raise Failed("%s did not become ready: %s" % (command, process.said))
        wait_until_reading(process.pid)
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def wait_until_reading(pid):
    """It says "ready" a moment before it waits; in between its memory still changes."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        with open("/proc/%d/syscall" % pid, encoding="utf-8") as file:
            if file.read().startswith("0 0x0 "):  # read(0, …)
                return
        os.sched_yield()
    raise Failed("process %d does not wait for its standard input" % pid)


@contextlib.contextmanager
def gdbserver(*words):
    """gdb's commands that connect to a gdbserver with these words, which waits for one gdb."""
    server = subprocess.Popen([need("gdbserver"), "--once", "127.0.0.1:0", *[str(word) for word in words]],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        for line in server.stderr:
            said += line
            port = re.match(r"Listening on port (\d+)", line)
            if port:
                break
        else:
            raise Failed("gdbserver does not listen: %s" % said)
        yield ["set sysroot /", "target remote 127.0.0.1:%s" % port.group(1)]
    finally:
        server.kill()  # it ends by itself when gdb has detached
        server.communicate()


def interpreters():
    """{name: path} of those that the test matrix finds (tests/matrix/interpreters.py)."""
    sys.path.insert(0, str(TOP / "tests" / "matrix"))
    import interpreters as matrix  # pylint: disable=import-outside-toplevel
    found, left_out = matrix.find()
    for reason in left_out:
        print("skip: %s" % reason)
    return {each.name: each.path for each in found if not each.root}


def some_interpreters():
    """Each way in which a CPython may be built, and the oldest and newest: the matrix has them all, and
    compares what gdb's answer is compared with here. HEAPWALK_TEST_ALL=1: all of them."""
    found = interpreters()
    if os.environ.get("HEAPWALK_TEST_ALL"):
        return found
    wanted = ("2.7.", "3.8.", "3.12.", "3.13.")
    return {name: path for name, path in found.items() if name.startswith(wanted) or "system" in name}


def python_target(path):
    return running(path, HERE / "target.py")


def live_and_core(path, script, ask, after=None):
    """What ask(heap, facts) returns of a Python process, and of its core. `script` writes what is true of it, as
    JSON, to the file that is its argument. after(core, exe, facts) may spoil the core."""
    sys.path.insert(0, str(TOP / "gdbext"))
    import heapwalk  # pylint: disable=import-outside-toplevel
    with tempfile.TemporaryDirectory() as folder:
        said, core = os.path.join(folder, "facts"), os.path.join(folder, "core")
        with running(path, HERE / script, said) as process:
            with open(said, encoding="utf-8") as file:
                facts = json.load(file)
            exe = os.readlink("/proc/%d/exe" % process.pid)
            with heapwalk.attach(process.pid) as heap, heap.stopped():
                live = ask(heap, facts)
            gcore(process, core)
        with heapwalk.open_core(core, exe=exe) as heap:
            dead = ask(heap, facts)
        if after:
            after(core, exe, facts)
    return live, dead


def c_target():
    return running(BUILD / "bin" / "gdb_target")


def main(test):
    """Run test() and end the way ctest understands."""
    if not os.path.exists(HEAPWALK):
        skip("%s is not built" % HEAPWALK)
    try:
        test()
    except Failed as failure:
        print("FAILED: %s" % failure)
        sys.exit(1)
