# SPDX-License-Identifier: LGPL-2.1-or-later
"""What can be said of the sources without running them. Usage: lint.py CHECK."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = TOP / "libheapwalk"
PUBLIC = LIBRARY / "include" / "heapwalk.h"
SKIP = 77

# A folder includes only from itself and from folders to its left; those of one row never from each
# other (docs/ARCHITECTURE.md).
LAYERS = [["base"], ["target"], ["symbols"], ["layout"], ["glibc", "cpython", "native"], ["heap"],
          ["analysis"], ["report"], ["cli"]]


class Skip(Exception):
    """What is missing."""


def tool(*names):
    for name in names:
        if shutil.which(name):
            return name
    raise Skip("%s is not installed (./setup deps)" % names[0])


def sources(*suffixes):
    """Files of the tree that git knows or would add; all of them where there is no git."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
    listed = None
    if shutil.which("git"):
        listed = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    if listed and listed.returncode == 0:
        files = [TOP / name for name in listed.stdout.splitlines()]
    else:
        files = [path for path in TOP.rglob("*")
                 if not path.relative_to(TOP).parts[0].startswith(("build", ".git"))]
    return sorted(path for path in files if path.is_file() and path.name.endswith(suffixes))


def check_format():
    clang_format = tool("clang-format-14", "clang-format")
    version = subprocess.run([clang_format, "--version"], capture_output=True, text=True, check=True)
    if " version 14." not in version.stdout:
        raise Skip("clang-format 14 decides, this is %s" % version.stdout.strip())
    result = subprocess.run([clang_format, "--dry-run", "-Werror"] + sources(".c", ".h"), cwd=TOP,
                            capture_output=True, text=True, check=False)
    found = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error", result.stderr, re.MULTILINE)))
    return ["%s: not formatted, run clang-format -i on it" % place for place in found] or (
        [result.stderr] if result.returncode else [])


def check_headers():
    """Every header compiles alone; the public one as C and as C++, without GNU's extensions."""
    flags = subprocess.run(["pkg-config", "--cflags", "libelf", "libdw", "json-c", "libdeflate", "sqlite3"],
                           capture_output=True, text=True, check=True).stdout.split()
    strict = ["-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", PUBLIC.parent]
    jobs = [(PUBLIC, ["cc", "-x", "c", "-std=c11", "-pedantic"]),
            (PUBLIC, ["c++", "-x", "c++", "-std=c++11", "-pedantic"])]
    jobs += [(path, ["cc", "-x", "c", "-std=gnu11", "-D_GNU_SOURCE", "-I", LIBRARY])
             for path in sources(".h") if LIBRARY in path.parents and path != PUBLIC]
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for path, compiler in jobs:
            # A source file of its own: a header given directly warns of its own "#pragma once".
            alone = pathlib.Path(folder, "alone" + (".cc" if "c++" in compiler else ".c"))
            alone.write_text('#include "%s"\n' % path)
            result = subprocess.run(compiler + strict + flags + [alone], capture_output=True,
                                    text=True, check=False)
            if result.returncode:
                problems.append("%s does not compile alone as %s:\n%s"
                                % (path.relative_to(TOP), compiler[2], result.stderr))
    return problems


def check_includes():
    rank = {folder: number for number, row in enumerate(LAYERS) for folder in row}
    problems = []
    for path in sources(".c", ".h", ".def"):
        if LIBRARY not in path.parents:
            continue
        folder = path.relative_to(LIBRARY).parts[0]
        if folder == "include":
            continue
        if folder not in rank:
            problems.append("%s: folder %s has no place in LAYERS" % (path.relative_to(TOP), folder))
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match:
                continue
            other = match.group(1).split("/")[0] if "/" in match.group(1) else folder
            place = "%s:%d" % (path.relative_to(TOP), number)
            if match.group(1) == "heapwalk.h":
                continue
            if other not in rank:
                problems.append("%s: %s is in no folder of the library" % (place, match.group(1)))
            elif other != folder and rank[other] >= rank[folder]:
                problems.append("%s: %s includes from %s, which is not to its left"
                                % (place, folder, other))
    return problems


def check_places():
    """No path of somebody's machine in the tree."""
    pattern = re.compile(r"(?<![\w.~$}])/(?:work|root|home/\w+|Users/\w+|tmp/\w+\.\d+)/")
    problems = []
    for path in sources(""):
        if path == pathlib.Path(__file__).resolve():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                problems.append("%s:%d: a path of one machine: %s"
                                % (path.relative_to(TOP), number, line.strip()))
    return problems


def check_symbols():
    """libheapwalk.so exports what heapwalk.h declares with HW_API, and nothing else."""
    declared = set(re.findall(r"^HW_API\b[^;(]*?\b(hw_\w+)\(", PUBLIC.read_text(), re.MULTILINE))
    listed = subprocess.run([tool("nm"), "-D", "--defined-only", os.environ["HEAPWALK_LIBRARY"]],
                            capture_output=True, text=True, check=True).stdout
    # "ADDRESS T hw_version@@HEAPWALK_0.1"; the version itself is an absolute symbol
    symbols = [line.split()[1:] for line in listed.splitlines()]
    exported = {name.split("@")[0] for kind, name in symbols if kind != "A"}
    bare = {name for kind, name in symbols if kind != "A" and "@" not in name}
    return (["%s is exported but not in heapwalk.h" % name for name in sorted(exported - declared)]
            + ["%s is in heapwalk.h but not exported" % name for name in sorted(declared - exported)]
            + ["%s has no version of heapwalk.map" % name for name in sorted(bare)]
            + ([] if declared else ["no declaration was found in heapwalk.h"]))


def check_python():
    problems = []
    for path in sources(".py"):
        try:
            compile(path.read_bytes(), str(path), "exec")
        except SyntaxError as error:
            # Workloads for Python 2.7 are read by every interpreter, this one too.
            problems.append("%s:%s: %s" % (path.relative_to(TOP), error.lineno, error.msg))
    for path in sources(".py"):
        if (TOP / "gdbext") not in path.parents:
            continue
        imported = set(re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.MULTILINE))
        foreign = imported - STANDARD_MODULES
        if foreign:
            problems.append("%s imports %s: gdb commands use the standard library alone"
                            % (path.relative_to(TOP), ", ".join(sorted(foreign))))
    return problems


STANDARD_MODULES = {"gdb", "heapwalk", "heapwalk_gdb", "codecs", "collections", "contextlib", "ctypes",
                    "json", "os", "re", "struct", "sys", "tempfile", "textwrap", "time", "warnings"}


def check_shell():
    scripts = [path for path in sources("")
               if path.suffix in ("", ".sh") and path.read_bytes()[:2] == b"#!"
               and b"sh" in path.read_bytes().split(b"\n")[0]]
    result = subprocess.run([tool("shellcheck")] + scripts, capture_output=True, text=True, check=False)
    return [result.stdout + result.stderr] if result.returncode else []


def main():
    check = globals().get("check_" + sys.argv[1])
    try:
        problems = check()
    except Skip as missing:
        print("skipped: %s" % missing)
        return SKIP
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
