# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which Pythons this machine has, and what can be asked of each."""

import collections
import glob
import json
import os
import re
import subprocess

# `path` is a name below `root`, "" for an interpreter of this system.
Interpreter = collections.namedtuple("Interpreter", "name path version debug group root gil")

# What the project promises to read; a group that finds nobody is reported as missing.
GROUPS = ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "system", "system-debug", "nogil",
          "extra", "roots"]
OPTIONAL = ["extra", "roots"]  # named by an environment variable
SUPPORTED = {(2, 7)} | {(3, minor) for minor in range(6, 16)}

PROBE = (
    "import json,sys;"
    "print(json.dumps([list(sys.version_info[:3]),hasattr(sys,'gettotalrefcount'),"
    "'t' not in getattr(sys,'abiflags','')]))"
)


def probe(path, root):
    try:
        done = subprocess.run((["chroot", root] if root else []) + [path, "-E", "-c", PROBE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        return json.loads(done.stdout.decode())
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def from_environment(variable):
    return [path.rstrip("/") for path in os.environ.get(variable, "").split(":") if path]


def in_root(root):
    """Pythons of a chroot, by their names in there."""
    return sorted(path[len(root):] for path in glob.glob(root + "/usr/bin/python[23].*")
                  if re.search(r"/python\d\.\d+d?$", path))


def without_gil():
    """(root, path below it) of what nogil.sh built in the chroots."""
    found = []
    for root in sorted(glob.glob(os.environ.get("HEAPWALK_CHROOTS", "/var/tmp/heapwalk-chroots") + "/*")):
        found += [(root, path[len(root):]) for path in sorted(glob.glob(root + "/opt/python3.*t/bin/python3.*t"))]
    return found


def find():
    """(interpreters, reasons why others were left out), the former in the order of GROUPS.

    HEAPWALK_TEST_PYTHONS are more interpreters (group "extra"), HEAPWALK_TEST_ROOTS directories made by
    chroot.sh (group "roots"), ':' between. Those of nogil.sh are group "nogil", and need root.
    """
    candidates = [(path, None, "") for path in glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin/python"))]
    candidates.append(("/usr/bin/python3", "system", ""))
    candidates += [(path, "system-debug", "") for path in glob.glob("/usr/bin/python3.*d")]
    if os.getuid() == 0:
        candidates += [(path, "nogil", root) for root, path in without_gil()]
    candidates += [(path, "extra", "") for path in from_environment("HEAPWALK_TEST_PYTHONS")]
    candidates += [(path, "roots", root) for root in from_environment("HEAPWALK_TEST_ROOTS")
                   for path in in_root(root)]
    found, left_out, seen = [], [], set()
    for path, group, root in candidates:
        real = os.path.realpath(root + path)
        if (real, group) in seen:
            continue
        seen.add((real, group))
        answer = probe(path, root)
        if answer is None:
            left_out.append("%s: does not run" % (root + path))
            continue
        version, debug, gil = tuple(answer[0]), answer[1], answer[2]
        if version[:2] not in SUPPORTED:
            left_out.append("%s: %d.%d.%d is not supported" % ((path,) + version))
            continue
        name = "%d.%d.%d" % version + ("" if gil else "t") + ("d" if debug else "")
        if group:
            name += "-" + (os.path.basename(root) if root else group)
        found.append(Interpreter(name, path, version, debug, group or "%d.%d" % version[:2], root, gil))
    found.sort(key=lambda i: (GROUPS.index(i.group), i.root, i.version, i.debug))
    for group in GROUPS:
        if group not in OPTIONAL and not any(i.group == group for i in found):
            left_out.append("no interpreter of group %s" % group)
    return found, left_out


def malloc_modes(interpreter):
    """Values of PYTHONMALLOC that the version knows; "" is its default."""
    if not interpreter.gil:
        return ["", "debug", "mimalloc_debug"]
    modes = [""] if interpreter.version < (3, 6) else ["", "debug", "pymalloc_debug", "malloc", "malloc_debug"]
    return modes + ["mimalloc", "mimalloc_debug"] if interpreter.version >= (3, 13) else modes


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
