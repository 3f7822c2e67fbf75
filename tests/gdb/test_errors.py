# SPDX-License-Identifier: LGPL-2.1-or-later
"""What goes wrong is one sentence on stderr, and gdb -batch ends with a status that is not 0."""

import os
import shutil
import tempfile

from support import BUILD, TOP, c_target, check, check_equal, gdb, main

NO_TARGET = (r"There is no process and no core file to look at: use attach PID or core-file FILE "
             r"first\.")


def fails(commands, error, *arguments):
    result = gdb(commands, *arguments, errors=[error], status=1)
    check("Traceback" not in result.out + result.err, result.out)


def test_no_target():
    for command in ("heap", "heapwalk", "heap select size > 10", "heap arenas", "hexdump 0x1000"):
        fails([command], NO_TARGET)
    # Like any command of gdb's: a script goes on after it, and its status is the last command's.
    check_equal(gdb(["heap", "echo on\\n"], errors=[NO_TARGET]).out, "on\n", "the next command")


def test_words(process):
    here = ("-p", process.pid)
    fails(["heap -nonsense"], r".*-nonsense.*", *here)
    fails(["heap nonsense"], r".*nonsense.*", *here)
    fails(["heap -format pdf"], r".*pdf.*", *here)
    fails(["hexdump no_such_symbol"],
          r'no_such_symbol is not an address: No symbol "no_such_symbol" in current context\.', *here)
    fails(["heap -output /nonexistent/folder/report"], r".*/nonexistent/folder/report.*", *here)
    result = gdb(["hexdump $sp"], *here)
    check("0x" in result.out or "7ff" in result.out, "hexdump of an expression:", result.out)


def test_query(process):
    """The caret of a broken query stands below the query."""
    gdb(["heap select size >"], "-p", process.pid, status=1, errors=[r".*:", r" *size >", r" *\^.*"])


def test_running():
    """A process that runs is not looked at behind gdb's back."""
    program = BUILD / "bin" / "gdb_target"
    fails(["set non-stop on", "run < /dev/zero > /dev/null &", "heap"],
          r"The process is running: stop it with interrupt first\.", program)


def test_gone():
    program = BUILD / "bin" / "gdb_target"
    fails(["break hw_stage", "run < /dev/null", "heap -top 1", "kill", "heap"], NO_TARGET, program)
    fails(["run < /dev/null", "heap"], NO_TARGET, program)


def test_core():
    """A file that gdb refuses as a core leaves nothing to look at."""
    gdb(["core-file %s" % (TOP / "LICENSE"), "heap"], status=1,
        errors=[r'".*LICENSE" is not a core dump: file format not recognized', NO_TARGET])


def test_library():
    """Without a library, or with a file that is none: a line at load, and no command."""
    undefined = r'Undefined command: "heap"\.  Try "help"\.'
    missing = (r"heapwalk: /nonexistent\.so does not exist: build it with \./setup build, or name the "
               r"library in \$HEAPWALK_LIBRARY\.")
    gdb(["heap"], errors=[missing, undefined], status=1, HEAPWALK_LIBRARY="/nonexistent.so")
    gdb(["heap"], errors=[r"heapwalk: .*LICENSE is not a usable libheapwalk: .*", undefined], status=1,
        HEAPWALK_LIBRARY=str(TOP / "LICENSE"))
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(TOP / "gdbext", os.path.join(folder, "gdbext"))
        gdb(["heap"], script=os.path.join(folder, "gdbext", "heapwalk-gdb.py"), HEAPWALK_LIBRARY="",
            errors=[r"heapwalk: %s/build/lib/libheapwalk\.so\.0 does not exist: .*" % folder, undefined],
            status=1)


def test():
    test_no_target()
    test_library()
    test_gone()
    test_running()
    with c_target() as process:
        test_words(process)
        test_query(process)
    test_core()


main(test)
