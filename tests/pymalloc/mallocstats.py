#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What heapwalk reads of pymalloc from outside must equal sys._debugmallocstats(), number by number.

A target works, prints the statistics as the last thing it does, and pauses. Interpreters: those of
HEAPWALK_PYTHONS (':' between), else pyenv's and Debian's. Exit status 77: none was found.

--stripped: the same without symbols and debug information, which leaves everything but the counters.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

BIN = os.path.join(os.environ.get("HEAPWALK_BUILD", "build"), "bin")
STATS = os.path.join(BIN, "pymalloc_stats")
HEAPWALK = os.path.join(BIN, "heapwalk")

# Work that leaves pools of every state (full, part free, empty); then the numbers, then silence.
WORKLOAD = r"""
import gc, os, signal, sys
class Slots(object):
    __slots__ = ("a", "b")
keep = []
for size in range(1, 520, 7):
    keep.append([b"x" * size for i in range(300)])
slots = [Slots() for i in range(20000)]
del slots[::3]
gone = [(i, str(i)) for i in range(30000)]
del gone[10:]
for i in range(0, len(keep), 5):
    keep[i] = None
gc.collect()
gc.disable()
some = [(i, [i], {}, i / 7.0) for i in range(50)]  # for the free lists, which a collection empties
del some
stats = getattr(sys, "_debugmallocstats", None)
pause = signal.pause
%s
def main():
    if stats:
        stats()
    pause()
main()
"""

# One interpreter with an allocator of its own, one that shares the main one's.
SUB = r"""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import threading
def create(own):
    if sys.version_info >= (3, 13):
        return interpreters.create("isolated" if own else "legacy")
    return interpreters.create(isolated=own)
def run(number, code):
    (getattr(interpreters, "exec", None) or interpreters.run_string)(number, code)
ready, done = os.pipe()
own, shared = create(True), create(False)
run(shared, "x = [object() for i in range(5000)]")
code = "import os, sys, signal\ndata = [(i, str(i)) for i in range(20000)]\n" \
       "stats, write, pause = sys._debugmallocstats, os.write, signal.pause\n" \
       "def main():\n    stats()\n    write(%d, b'x')\n    pause()\nmain()" % done
thread = threading.Thread(target=run, args=(own, code), daemon=True)
thread.start()
os.read(ready, 1)
"""

LINES = {
    "total": r"# arenas allocated total\s*=\s*([\d,]+)",
    "reclaimed": r"# arenas reclaimed\s*=\s*([\d,]+)",
    "highwater": r"# arenas highwater mark\s*=\s*([\d,]+)",
    "current": r"# arenas allocated current\s*=\s*([\d,]+)",
    "arenas": r"(\d+) arenas \*",
    "arena_bytes": r"arenas \* (\d+) bytes/arena",
    "allocated": r"# bytes in allocated blocks\s*=\s*([\d,]+)",
    "available": r"# bytes in available blocks\s*=\s*([\d,]+)",
    "unused_pools": r"(\d+) unused pools",
    "unused": r"unused pools \* \d+ bytes\s*=\s*([\d,]+)",
    "headers": r"# bytes lost to pool headers\s*=\s*([\d,]+)",
    "quantization": r"# bytes lost to quantization\s*=\s*([\d,]+)",
    "alignment": r"# bytes lost to arena alignment\s*=\s*([\d,]+)",
}
COUNTERS = ("total", "reclaimed", "highwater", "current")


def interpreters():
    named = os.environ.get("HEAPWALK_PYTHONS")
    if named:
        return named.split(":")
    found = glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python"))
    found += [p for p in ("/usr/bin/python3", "/usr/bin/python3.11d") if os.path.exists(p)]
    return sorted(found)


def without_symbols(python, folder):
    """What to add to the environment so that a stripped copy of its libpython is what runs, or None."""
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(python)))
    libraries = [lib for lib in glob.glob(os.path.join(prefix, "lib", "libpython*.so.1.0"))]
    if not libraries:
        # Stripped as Debian's is: its debug information is kept out of reach.
        symbols = subprocess.run(["readelf", "-SW", python], stdout=subprocess.PIPE, check=False)
        return None if b".symtab" in symbols.stdout else {"DEBUG_DIRS": folder}
    target = os.path.join(folder, os.path.basename(prefix))
    os.makedirs(target, exist_ok=True)
    for lib in libraries:
        subprocess.run(["strip", "-o", os.path.join(target, os.path.basename(lib)), lib], check=True)
    return {"LD_LIBRARY_PATH": target}


def version(python):
    out = subprocess.check_output([python, "-c", "import sys; print('%d %d' % sys.version_info[:2])"])
    return tuple(int(part) for part in out.split())


def parse_inside(text):
    """The reports of _debugmallocstats(), in the order they were printed."""
    reports = []
    for part in text.split("Small block threshold")[1:]:
        report = {"classes": [tuple(map(int, line)) for line in re.findall(
            r"^ *(\d+) +(\d+) +(\d+) +(\d+) +(\d+)$", part, re.M)]}
        for name, pattern in LINES.items():
            match = re.search(pattern, part)
            if match:
                report[name] = int(match.group(1).replace(",", ""))
        reports.append(report)
    return reports


def parse_outside(text):
    """States in order, then issues and errors."""
    states, problems = [], []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "state":
            states.append({"classes": []})
        elif word == "class":
            states[-1]["classes"].append(tuple(map(int, rest.split())))
        elif word in ("issue", "error"):
            problems.append(line)
        elif states and word in LINES:
            states[-1][word] = int(rest)
    return states, problems


def wait_for_pause(process):
    """Until it sits in pause(2), which it calls after the last thing that allocates."""
    path = "/proc/%d/syscall" % process.pid
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with open(path) as f:
            if f.read().startswith("34 "):
                return True
    return False


def check_text(pid, env, inside, may_lack):
    """The command `stats` prints that text. may_lack: lines that nothing tells are "?" or left out, and a
    sentence and the exit status say so."""
    command = [HEAPWALK, "-p", str(pid)]
    if "DEBUG_DIRS" in env:
        command += ["--debug-dir", env["DEBUG_DIRS"]]
    seen = subprocess.run(command + ["stats"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, check=False, env=env)
    if seen.returncode == 0:
        return [] if seen.stdout == inside else ["stats prints something else"]
    lines = seen.stdout.splitlines()
    if not may_lack or seen.returncode != 1 or "the report is partial" not in lines[-1]:
        return ["stats ends with status %d: %s" % (seen.returncode, seen.stderr)]
    # What is there is right, and what is unknown is not a number.
    wanted = iter(inside.splitlines())
    for line in lines[:-1]:
        for there in wanted:
            if there == line or (line.endswith("?") and there.split("=")[0] == line.split("=")[0]):
                break
        else:
            return ["stats prints %r, which is not in the report" % line]
    return []


def check(python, environment, sub, stripped):
    """Lines that say what differs."""
    env = dict(os.environ, **environment)
    out = os.path.join(os.environ.get("TMPDIR", "/tmp"), "mallocstats.%d" % os.getpid())
    with open(out, "w+") as stats:
        process = subprocess.Popen([python, "-c", WORKLOAD % (SUB if sub else "")], env=env,
                                   stderr=stats)
        try:
            if not wait_for_pause(process):
                return ["it never paused: " + open(out).read()[-300:]], 0
            seen = subprocess.run([STATS, str(process.pid)], stdout=subprocess.PIPE,
                                  universal_newlines=True, check=False, env=env)
            with open(out) as f:
                text = f.read()
            # 3.12 and later keep everything in the interpreter, which the table describes.
            wrong = check_text(process.pid, env, text, stripped and version(python) < (3, 12)) \
                if text and not sub else []
        finally:
            process.kill()
            process.wait()
        stats.seek(0)
        inside = parse_inside(stats.read())
    os.unlink(out)
    outside, problems = parse_outside(seen.stdout)
    problems += wrong
    if sub:
        inside = inside[1:] + inside[:1]  # the main interpreter printed last
    source = "heapwalk's table" if stripped else "DWARF"
    if "\nfacts " + source not in seen.stdout:
        problems.append("its facts are not from " + source)
    if seen.returncode:
        problems.append("exit status %d" % seen.returncode)
    if not inside:
        # 2.7 has no such report; with PYTHONMALLOC=malloc it does not speak of pymalloc.
        has_arenas = bool(outside) and outside[0]["arenas"] > 0
        if has_arenas == ("PYTHONMALLOC" in environment):
            problems.append("arenas, but malloc is in force" if has_arenas else "no arenas")
        return problems, 1
    if len(inside) != len(outside):
        problems.append("%d states inside, %d outside" % (len(inside), len(outside)))
    numbers = 0
    for i, (want, got) in enumerate(zip(inside, outside)):
        numbers += len(want) + 3 * len(want["classes"])
        for name, value in want.items():
            if stripped and name in COUNTERS and name not in got:
                continue
            if got.get(name) != value:
                problems.append("state %d: %s is %s inside, %s outside" % (
                    i, name, value, got.get(name)))
        missing = set(LINES) - set(want)
        if missing:
            problems.append("not in the report: %s" % ", ".join(sorted(missing)))
    return problems, numbers


def main():
    stripped = "--stripped" in sys.argv
    folder = tempfile.mkdtemp()
    try:
        return run_all(stripped, folder)
    finally:
        shutil.rmtree(folder)


def run_all(stripped, folder):
    bad, seen = 0, 0
    for python in interpreters():
        number = version(python)
        common = without_symbols(python, folder) if stripped else {}
        if common is None:
            continue
        seen += 1
        cases = [({}, False)]
        if number >= (3, 6):
            cases += [({"PYTHONMALLOC": name}, False) for name in (
                "malloc", "debug", "pymalloc_debug")]
        if number in ((3, 12), (3, 13)):
            cases += [({}, True), ({"PYTHONMALLOC": "debug"}, True)]
        for environment, sub in cases:
            problems, numbers = check(python, dict(environment, **common), sub, stripped)
            name = "%s %s%s" % (python, environment.get("PYTHONMALLOC", ""),
                                " sub-interpreters" if sub else "")
            print("%s: %s" % (name, "; ".join(problems) or "%d numbers equal" % numbers))
            bad += bool(problems)
    if not seen:
        print("no interpreter found")
        return 77
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
