# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdbserver: every byte comes through gdb, and the answer is the same."""

import contextlib
import re
import subprocess

from support import (Failed, c_target, check_equal, gdb_json, heapwalk_json, main, need, python_target,
                     some_interpreters)


@contextlib.contextmanager
def server_for(process):
    """The port of a gdbserver that is attached to the process and waits for one gdb."""
    server = subprocess.Popen(["gdbserver", "--once", "127.0.0.1:0", "--attach", str(process.pid)],
                              stderr=subprocess.PIPE, text=True)
    try:
        said = ""
        for line in server.stderr:
            said += line
            port = re.match(r"Listening on port (\d+)", line)
            if port:
                break
        else:
            raise Failed("gdbserver does not listen: %s" % said)
        yield int(port.group(1))
    finally:
        server.kill()  # it ends by itself when gdb has detached
        server.communicate()


def compare(process, name):
    with server_for(process) as port:
        through_gdb = gdb_json("heap", before=["set sysroot /", "target remote 127.0.0.1:%d" % port])
    alone = heapwalk_json("-p", process.pid)
    for member in ("rows", "total", "coverage", "partial", "issues"):
        check_equal(through_gdb[member], alone[member], "%s: %s" % (name, member))


def test():
    need("gdbserver")
    with c_target() as process:
        compare(process, "C program")
    for name, path in some_interpreters().items():
        with python_target(path) as process:
            compare(process, name)
        print("ran on %s" % name)


main(test)
