#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Makes the committed cores again: make_cores.py (as root, on a machine with the interpreters below).

Each core is written by the kernel with its default filter (0x33), so that file-backed pages are not in
it, and kept with the oracles that its process wrote at the same stop. What has to be looked up in ELF
files is kept beside: the files, trimmed (trim_elf.py), below files/ at their own names, so that
`heapwalk --sysroot` finds them. MANIFEST.toml is written anew.
"""

import glob
import hashlib
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "matrix"))

from process import Target  # noqa: E402
import trim_elf  # noqa: E402

# Where structures are described that the walk asks for, as the .def files of layout/ name them, and those
# that have the types of the objects themselves.
UNITS = set(re.findall(r'"(\w+\.c)"', "".join(open(p).read() for p in glob.glob(
    os.path.join(HERE, "../libheapwalk/layout/*.def"))))) | {
    "object.c", "dictobject.c", "listobject.c", "setobject.c", "unicodeobject.c", "codeobject.c", "gcmodule.c", "gc.c",
    "genobject.c", "bytearrayobject.c", "frameobject.c", "odictobject.c", "memoryobject.c", "funcobject.c"}
# Interpreters are copied here first: a core should not name somebody's home directory.
NEUTRAL = "/opt/heapwalk-corefiles"
CORES = [  # name, recipe, interpreter, what it is for
    ("3.11-fragmented", "recipes/fragmented.py", "3.11.7", "many freed, few survivors; ghosts must stay dead"),
    ("3.13-objects", "recipes/objects.py", "3.13.0", "objects of many types; inline values; obmalloc behind a pointer"),
    ("c-threads", "recipes/threads.c", None, "no Python: three thread arenas, tcache, fastbins, bins, a mapped chunk"),
]
ORACLES = ["census", "expect.json", "stats", "malloc_info", "mallinfo2", "blocks", "chunks", "maps"]


def build_id(path):
    notes = subprocess.run(["readelf", "-n", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
    found = re.search(r"Build ID: ([0-9a-f]+)", notes)
    return found.group(1) if found else ""


def pack(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    packed = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    with open(path, "wb") as f:
        f.write(packed)
    return len(packed), hashlib.sha256(packed).hexdigest()


def mapped_files(pid):
    with open("/proc/%d/maps" % pid) as f:
        return sorted({line.split()[5] for line in f if len(line.split()) > 5 and line.split()[5].startswith("/")})


def start(recipe, version, work):
    """(command, environment, what made it)"""
    if version is None:
        program = os.path.join(NEUTRAL, "threads")
        subprocess.run(["gcc", "-g", "-O1", "-fno-builtin-malloc", "-pthread", "-o", program,
                        "-ffile-prefix-map=%s=." % HERE, os.path.join(HERE, recipe)], cwd=HERE, check=True)
        return [program, "{directory}"], {}, {"program": "gcc -g -O1"}
    home = os.path.join(NEUTRAL, "python-" + version)
    if not os.path.exists(home):
        shutil.copytree(os.path.expanduser("~/.pyenv/versions/" + version), home, symlinks=True)
    recipes = os.path.join(NEUTRAL, "corefiles", "recipes")
    return ([os.path.join(home, "bin", "python" + version.rsplit(".", 1)[0]), "-S", "-s", os.path.join(
        recipes, os.path.basename(recipe)), "{directory}"],
        {"LD_LIBRARY_PATH": os.path.join(home, "lib"), "PYTHONHOME": home}, {"python": version, "build": "gil"})


def main():
    shutil.rmtree(NEUTRAL, ignore_errors=True)
    os.makedirs(NEUTRAL)
    shutil.copytree(os.path.join(HERE, "recipes"), os.path.join(NEUTRAL, "corefiles", "recipes"))
    shutil.copytree(os.path.join(HERE, "..", "tests", "matrix"), os.path.join(NEUTRAL, "tests", "matrix"))
    for folder in ("cores", "files"):
        shutil.rmtree(os.path.join(HERE, folder), ignore_errors=True)
    libc = os.path.realpath("/lib/x86_64-linux-gnu/libc.so.6")
    libc_version = "glibc " + os.confstr("CS_GNU_LIBC_VERSION").split()[1]
    manifest = ["# Written by make_cores.py. A row a core, a row a trimmed ELF file that cores need.\n"]
    files = {}
    for name, recipe, version, purpose in CORES:
        command, environment, made_by = start(recipe, version, None)
        work = tempfile.mkdtemp(prefix="core-", dir=NEUTRAL)
        environment.update(HOME="/", PATH="/usr/bin:/bin", PWD=work)
        keep = dict(os.environ)
        os.environ.clear()  # a core has its environment in it
        try:
            with Target(command, environment, directory=work) as target:
                for path in mapped_files(target.pid):
                    if re.search(r"libpython|/python3|/libc\.so|/threads$|ld-linux", path):
                        files[path] = build_id(path)
                ids = {os.path.basename(p): i for p, i in files.items() if p in mapped_files(target.pid)}
                shutil.copy("/proc/%d/maps" % target.pid, os.path.join(work, "maps"))
                core = target.abort(0x33)
        finally:
            os.environ.update(keep)
        with open(core, "rb") as f:
            data = f.read()
        size, digest = pack(os.path.join(HERE, "cores", name + ".core.xz"), data)
        oracles = []
        for oracle in ORACLES:
            path = os.path.join(work, oracle)
            if os.path.exists(path):
                with open(path, "rb") as f:
                    pack(os.path.join(HERE, "cores", "%s.%s.xz" % (name, oracle)), f.read())
                oracles.append(oracle)
        target_words = ", ".join('%s = "%s"' % item for item in list(made_by.items()) + [
            ("libc", libc_version), ("arch", os.uname()[4])])
        manifest.append(
            '[[core]]\nname     = "%s"\nfile     = "cores/%s.core.xz"\npurpose  = "%s"\nrecipe   = "%s"\n'
            "target   = { %s }\nbuild_id = { %s }\nsize     = %d\nunpacked = %d\nsha256   = \"%s\"\noracles  = %s\n" % (
                name, name, purpose, recipe, target_words,
                ", ".join('"%s" = "%s"' % item for item in sorted(ids.items())), size, len(data), digest,
                json.dumps(oracles)))
        shutil.rmtree(work)
    for path, identity in sorted(files.items()):
        trimmed = trim_elf.trim(os.path.realpath(path), UNITS if "python" in path else
                                {"threads.c"} if path.endswith("/threads") else set())
        relative = "files" + path + ".xz"
        size, digest = pack(os.path.join(HERE, relative), trimmed)
        manifest.append('[[file]]\npath     = "%s"\nfile     = "%s"\nbuild_id = "%s"\nsize     = %d\nsha256   = "%s"\n' % (
            path, relative, identity, size, digest))
    assert libc in files, "libc of the cores is not the one that was looked up"
    with open(os.path.join(HERE, "MANIFEST.toml"), "w") as f:
        f.write("\n".join(manifest))
    shutil.rmtree(NEUTRAL)


if __name__ == "__main__":
    main()
