# SPDX-License-Identifier: LGPL-2.1-or-later
"""pymalloc's lists, pools and arena objects: as gdb reads them by their debug information."""

from support import HERE, check, gdb, main, running, some_interpreters


def test():
    for name, path in some_interpreters().items():
        if "system" in name:
            continue  # their debug information describes each static twice, once without an address
        with running(path, HERE / "lists_target.py") as process:
            result = gdb(["source %s" % (HERE / "obmalloc_script.py")], "-p", process.pid)
        check("script: all is well" in result.out, name, result.out)
        print("ran on %s: %s" % (name, [line for line in result.out.splitlines() if "script" in line][0]))


main(test)
