# SPDX-License-Identifier: LGPL-2.1-or-later
"""cmake --install: a tree that works by itself, and still does when it is moved."""

import os
import shutil
import subprocess
import tempfile

from support import BUILD, c_target, check, gdb, main


def find(folder, name):
    for path, _folders, files in os.walk(folder):
        if name in files:
            return os.path.join(path, name)
    check(False, "%s was not installed" % name)
    return None


def uses_pkg_config(folder):
    """A program made with nothing but the installed header, library and pkg-config file."""
    source, program = os.path.join(folder, "user.c"), os.path.join(folder, "user")
    with open(source, "w", encoding="utf-8") as file:
        file.write("#include <heapwalk.h>\n"
                   "int main(void) { return hw_api_version() != HW_API_VERSION; }\n")
    package = os.path.dirname(find(folder, "heapwalk.pc"))
    flags = subprocess.run(["pkg-config", "--define-prefix", "--cflags", "--libs", "heapwalk"],
                           env=dict(os.environ, PKG_CONFIG_PATH=package), check=True,
                           capture_output=True, text=True).stdout.split()
    subprocess.run(["cc", "-Wall", "-Werror", "-o", program, source] + flags, check=True)
    library = os.path.dirname(find(folder, "libheapwalk.so"))
    subprocess.run([program], env=dict(os.environ, LD_LIBRARY_PATH=library), check=True)


def test():
    with tempfile.TemporaryDirectory() as folder:
        first, moved = os.path.join(folder, "first"), os.path.join(folder, "moved")
        subprocess.run(["cmake", "--install", BUILD, "--prefix", first], check=True,
                       stdout=subprocess.DEVNULL)
        shutil.move(first, moved)
        script = find(moved, "heapwalk-gdb.py")
        find(moved, "heapwalk.1")
        uses_pkg_config(moved)
        with c_target() as process:
            result = gdb(["heap -top 1"], "-p", process.pid, script=script, HEAPWALK_LIBRARY="")
            check("TOTAL" in result.out, "no report in gdb:", result.out)
            command = os.path.join(moved, "bin", "heapwalk")
            alone = subprocess.run([command, "-p", str(process.pid)], capture_output=True, text=True,
                                   check=False)
            check(alone.returncode == 0 and "TOTAL" in alone.stdout, "no report:", alone.stderr)


main(test)
