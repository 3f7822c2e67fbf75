# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which Pythons this machine has, and what can be asked of each."""

import collections
import glob
import json
import os
import subprocess

Interpreter = collections.namedtuple("Interpreter", "name path version debug group")

# What the project promises to read; a group that finds nobody is reported as missing.
GROUPS = ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "system", "system-debug", "extra"]
SUPPORTED = {(2, 7)} | {(3, minor) for minor in range(6, 14)}

PROBE = (
    "import json,sys;"
    "print(json.dumps([list(sys.version_info[:3]),hasattr(sys,'gettotalrefcount'),"
    "bool(getattr(sys,'_is_gil_enabled',lambda:True)())]))"
)


def probe(path):
    try:
        done = subprocess.run([path, "-E", "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        return json.loads(done.stdout.decode())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def find():
    """(interpreters, reasons why others were left out), the former in the order of GROUPS."""
    candidates = [(path, None) for path in glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python"))]
    candidates.append(("/usr/bin/python3", "system"))
    candidates += [(path, "system-debug") for path in glob.glob("/usr/bin/python3.*d")]
    candidates += [(path, "extra") for path in os.environ.get("HEAPWALK_TEST_PYTHONS", "").split(":") if path]
    found, left_out, seen = [], [], set()
    for path, group in candidates:
        if (os.path.realpath(path), group) in seen:
            continue
        seen.add((os.path.realpath(path), group))
        answer = probe(path)
        if answer is None:
            left_out.append("%s: does not run" % path)
            continue
        version, debug, gil = tuple(answer[0]), answer[1], answer[2]
        if version[:2] not in SUPPORTED or not gil:
            left_out.append("%s: %d.%d.%d%s is not supported" % ((path,) + version + ("" if gil else " without GIL",)))
            continue
        name = "%d.%d.%d" % version + ("d" if debug else "")
        if group:
            name += "-" + group
        found.append(Interpreter(name, path, version, debug, group or "%d.%d" % version[:2]))
    found.sort(key=lambda i: (GROUPS.index(i.group), i.version))
    for group in GROUPS:
        if group != "extra" and not any(i.group == group for i in found):
            left_out.append("no interpreter of group %s" % group)
    return found, left_out


def malloc_modes(interpreter):
    """Values of PYTHONMALLOC that the version knows; "" is its default."""
    return [""] if interpreter.version < (3, 6) else ["", "debug", "pymalloc_debug", "malloc", "malloc_debug"]


def workloads(interpreter):
    names = ["small", "buffers", "fragmented", "strings", "classes", "instances", "untracked", "code", "containers",
             "threads"]
    if interpreter.version < (3,):
        names.append("python2")
    if interpreter.version >= (3, 12):
        names.append("subinterpreters")
    return names


def quick_workloads(interpreter):
    """Three mixtures that together have everything."""
    last = "code+containers+threads"
    if interpreter.version < (3,):
        last += "+python2"
    if interpreter.version >= (3, 12):
        last += "+subinterpreters"
    return ["small+strings+classes", "buffers+fragmented+untracked+instances", last]
