# SPDX-License-Identifier: LGPL-2.1-or-later
"""Layouts of free-threaded builds that nobody has, out of the headers of Debian's libpython3.X-dev."""

import glob
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
FACTS = os.path.join(HERE, "../../libheapwalk/layout")
# In the .c files of CPython, not in its headers, and the same with a GIL and without (those that the
# running 3.13t says).
PRIVATE = {
    # Objects: everything is 16 bytes further on behind a head that is 16 bytes larger.
    True: {"_odictobject", "PyODictObject", "dequeobject", "buffered", "bytesio", "stringio", "lockobject", "rlockobject"},
    # Not objects.
    False: {"BLOCK", "block", "_odictnode", "pool_header", "arena_object", "mi_arena_s", "mi_thread_data_s", "setentry",
            "debug_alloc_api_t", "_mem_work_chunk", "_mem_work_item"},
}
# In the headers, but in no DWARF: nothing uses it since 3.12.
UNUSED = {"Py_UNICODE"}


def facts():
    """[(name, type)] of fields*.def, the _OR rows too."""
    found = []
    for path in sorted(glob.glob(FACTS + "/fields_*.def")):
        with open(path, encoding="utf-8") as file:
            found += re.findall(r'HW_[A-Z_]+\((\w+),\s*"[^"]+",\s*"([^"]+)"', file.read())
    return found


def headers():
    """[(root, folder of the headers)], of every 3.13 and later at hand that is no debug build."""
    chroots = os.environ.get("HEAPWALK_CHROOTS", "/var/tmp/heapwalk-chroots")
    found = []
    for root in [""] + sorted(glob.glob(chroots + "/*")):
        for path in sorted(glob.glob(root + "/usr/include/python3.*")):
            minor = re.search(r"/python3\.(\d+)$", path)
            if minor and int(minor.group(1)) >= 13 and os.path.isdir(path + "/internal/mimalloc"):
                found.append((root, path))
    return found


def compile_program(root, folder, sources, program, options=(), mimalloc=None):
    """Sources with those headers, as of a build without a GIL; those of mimalloc may be another folder's.

    Raises subprocess.CalledProcessError.
    """
    internal = folder + "/internal"
    if mimalloc:  # included by name from the folder that a header is in: a folder of links is needed
        internal = program + ".include"
        os.mkdir(internal)
        for path in glob.glob(folder + "/internal/*.h") + [mimalloc + "/internal/mimalloc"]:
            os.symlink(path, os.path.join(internal, os.path.basename(path)))
    include = [folder, internal, internal + "/mimalloc"]
    subprocess.run(["cc", "-g", "-fno-eliminate-unused-debug-types", "-DPy_GIL_DISABLED=1", "-DPy_BUILD_CORE"]
                   + ["-I" + path for path in include] + ["-idirafter", root + "/usr/include"] + list(options)
                   + ["-o", program] + sources, check=True, stdin=subprocess.DEVNULL)


def probe(dump, root, folder):
    """(PY_VERSION_HEX, {fact: value}) of the free-threaded build that these headers are of; -1: not in them."""
    with tempfile.TemporaryDirectory(prefix="heapwalk-probe-") as directory:
        program = os.path.join(directory, "probe")
        compile_program(root, folder, [os.path.join(HERE, "probe.c")], program)
        with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            version = int(process.stdout.readline(), 16)
            out = subprocess.run([dump, "--types", str(process.pid)], stdout=subprocess.PIPE, check=True,
                                 universal_newlines=True).stdout
            process.stdin.close()
    return version, {name: int(value) for name, value in re.findall(r"^fact (\w+) (-?\d+)$", out, re.M)}


def complete(values, with_gil):
    """Facts of what no header has, out of the build with a GIL of the same version."""
    head = values["object_size"] - with_gil["object_size"]
    for name, kind in facts():
        if kind in UNUSED:
            values[name] = -1
    for is_object, types in PRIVATE.items():
        for name, kind in facts():
            if values[name] == -1 and kind in types and with_gil.get(name, -1) != -1:
                values[name] = with_gil[name] + (head if is_object else 0)
    return values


def is_possible():
    return shutil.which("cc") is not None
