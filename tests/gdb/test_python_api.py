# SPDX-License-Identifier: LGPL-2.1-or-later
"""`import heapwalk`: scripts inside gdb, on a process and over gdbserver, and without gdb."""

import collections
import os
import signal
import subprocess
import sys
import tempfile
import warnings

from support import (BUILD, HERE, TOP, Failed, c_target, check, check_equal, gcore, gdb, gdbserver, heapwalk_json,
                     main, python_target, some_interpreters, wait_until_reading)

sys.path.insert(0, str(TOP / "gdbext"))
import heapwalk  # pylint: disable=wrong-import-position
from heapwalk import api, ffi  # pylint: disable=wrong-import-position

PROGRAM = BUILD / "bin" / "gdb_target"
QUERY = "size >= 1500 and size < 1600 and state = 'in use'"


def raises(kind, function, *texts):
    try:
        function()
    except kind as error:
        for text in texts:
            check(text in str(error), repr(text), "is not in:", error)
        return error
    raise Failed("no %s" % kind.__name__)


def test_in_gdb():
    script = "source %s" % (HERE / "python_api_script.py")
    result = gdb(["break hw_stage", "run < /dev/null > /dev/null", script], PROGRAM)
    check("script: all is well" in result.out, result.out)


def test_over_gdbserver():
    script = "source %s" % (HERE / "python_api_script.py")
    with gdbserver(PROGRAM) as connect:
        result = gdb([*connect, "break hw_stage", "continue", script], PROGRAM)
    check("script: all is well" in result.out, result.out)


def compare(heap, expected, name):
    """What the module says against the JSON that the command prints."""
    check_equal(heap.report("census")["rows"], expected["rows"], "%s: census" % name)
    check_equal([row.bytes for row in heap.census()], [row["bytes"] for row in expected["rows"]],
                "%s: rows of the census" % name)
    total = collections.Counter()
    for block in heap.blocks():
        total[block.domain, block.kind, block.detail, block.state] += block.size
    rows = collections.Counter()
    for row in expected["rows"]:
        rows[row["domain"], row["kind"], row["detail"], row["state"]] += row["bytes"]
    check_equal(+total, +rows, "%s: bytes of blocks and of the census" % name)


def test_live():
    with c_target() as process:
        with heapwalk.attach(process.pid) as heap:
            compare(heap, heapwalk_json("-p", process.pid), "C program")
            blocks = list(heap.blocks(QUERY))
            check_equal(len(blocks), 2000, "blocks")
            expected = heapwalk_json("-p", process.pid, "select", QUERY)["rows"]
            check_equal([(hex(b.start), hex(b.end), b.size, b.allocator, b.state, b.domain, b.kind, b.detail)
                         for b in blocks],
                        [tuple(row[key] for key in ("start", "end", "size", "allocator", "state", "domain",
                                                    "kind", "detail")) for row in expected], "select")
            by_size = [block.size for block in heap.blocks("size > 0 order by size desc limit 5")]
            check_equal(by_size, sorted((b.size for b in heap.blocks()), reverse=True)[:5], "order and limit")
            check_equal(len(list(heap.blocks("size > 0 limit 7"))), 7, "limit")
            check_equal(len(list(heap.blocks("size > 0 limit 0"))), 0, "limit 0")
            check_equal(len(heap.census(by="domain", top=2)), 2, "by, top")
            check_equal(heap.report("census", "-by domain -top 2"), heap.report("census", ["-by", "domain"], top=2),
                        "words and options")
            test_batches(heap)
            test_abandoned(heap)
            test_stopped(heap, process)
            test_errors(heap)
            stale = heap.blocks()
            next(stale)
            heap.refresh()
            raises(heapwalk.StaleError, lambda: list(stale), "a moment that has passed")
            check_equal(len(list(heap.blocks(QUERY))), 2000, "blocks, walked anew")
            left = heap.blocks()
        raises(heapwalk.StaleError, lambda: list(left))
        raises(heapwalk.StaleError, heap.census, "closed")
        process.stdin.write(b"x")
        process.stdin.flush()
        check_equal(process.stdout.readline(), b"alive\n", "the process, afterwards")


def test_batches(heap):
    """Blocks are fetched as the loop asks for them, each of them once."""
    fetched = []
    usual = ffi.Session.cursor_next

    def counted(session, cursor, blocks):
        fetched.append(usual(session, cursor, (ffi.BlockStruct * 100).from_buffer(blocks)))
        return fetched[-1]

    ffi.Session.cursor_next = counted
    try:
        iterator = heap.blocks(QUERY)
        first = next(iterator)
        check_equal(fetched, [100], "blocks fetched for the first")
        rest = list(iterator)
    finally:
        ffi.Session.cursor_next = usual
    check_equal(fetched, [100] * 20 + [0], "batches")
    check_equal([first] + rest, list(heap.blocks(QUERY)), "blocks by the hundred")


def state_of(process):
    with open("/proc/%d/stat" % process.pid, encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def test_stopped(heap, process):
    wait_until_reading(process.pid)  # let go a moment ago, it may not have run since
    check_equal(state_of(process), "S", "state of a process that nobody looks at")
    with heap.stopped():
        check_equal(state_of(process), "t", "state while it is kept stopped")
        for _ in heap.blocks(QUERY):
            pass
        check_equal(state_of(process), "t", "state after a walk inside")
    check(state_of(process) != "t", "it was not let go")


def test_errors(heap):
    error = raises(heapwalk.Error, lambda: heap.blocks("nonsense = 3"), "nonsense")
    check_equal(error.code, "invalid-argument", "code")
    raises(heapwalk.Error, lambda: heap.report("nonsense"), "nonsense")
    raises(heapwalk.Error, lambda: heap.report("census", "-by nonsense"), "nonsense")
    raises(heapwalk.Error, lambda: heap.report("hexdump", "0x10"), "0x10")
    raises(heapwalk.Error, heapwalk.current, "heapwalk.attach(PID)")
    raises(heapwalk.Error, lambda: heapwalk.attach(2 ** 22 + 1), str(2 ** 22 + 1))
    raises(heapwalk.Error, lambda: heapwalk.open_core("/nonexistent/core"), "/nonexistent/core")
    raises(TypeError, lambda: heapwalk.attach(1, colour=1), "colour")


def test_interrupt(process):
    """Ctrl-C during a walk is Python's own exception, and the next walk is whole."""
    heap = heapwalk.Heap(api._Own(  # pylint: disable=protected-access
        ffi.Session(api.library(), {}, lambda *_: os.kill(os.getpid(), signal.SIGINT)).open_pid(process.pid)))
    with heap:
        raises(KeyboardInterrupt, heap.census)
        raises(KeyboardInterrupt, heap.blocks)
    with heapwalk.attach(process.pid) as again:
        check(len(again.census()) > 5, "the next walk")


def test_abandoned(heap):
    """Iterators that nobody wants any more close what they had opened, begun or not."""
    closed = []
    usual = ffi.Session.cursor_close
    ffi.Session.cursor_close = lambda session, cursor: (closed.append(cursor), usual(session, cursor))
    try:
        heap.blocks()
        next(heap.blocks())
        for _ in heap.blocks():
            break
        whole = heap.blocks()
        check(list(whole) and not list(whole), "an iterator that has ended goes on")
    finally:
        ffi.Session.cursor_close = usual
    check_equal(len(closed), 4, "cursors that were closed")


def test_files(folder, process):
    """Snapshot files need no target."""
    paths = [os.path.join(folder, name) for name in ("before", "after")]
    with heapwalk.attach(process.pid) as heap:
        for path in paths:
            heap.report("save", [path])
    with heapwalk.no_target() as heap:
        report = heap.report("diff", paths)
        check_equal((report["schema"], report["partial"]), ("heapwalk.diff/1", False), "diff of files")
        error = raises(heapwalk.Error, heap.census, "there is no process and no core")
        check(error.code, "no code:", error)


def test_core(folder):
    with c_target() as process:
        core = os.path.join(folder, "core")
        gcore(process, core)
        test_interrupt(process)
        test_files(folder, process)
    with heapwalk.open_core(core, exe=str(PROGRAM)) as heap:
        compare(heap, heapwalk_json("-c", core), "core")
    os.truncate(core, os.path.getsize(core) // 2)
    with heapwalk.open_core(core) as heap, warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        check(sum(1 for _ in heap.blocks()), "no block of half a core")
        check_equal([each.category for each in met], [heapwalk.PartialWarning], "warnings of blocks()")
        check("heap bytes could not be read" in str(met[0].message), met[0].message)
        heap.census()
        check_equal(len(met), 2, "warnings with census()")
        check(heap.report("census")["partial"] is True, "a report does not say that it is partial")
        check_equal(len(met), 2, "warnings with report(), which says it itself")


def test_objects():
    """id() and reference counts, as the report has them."""
    for name, path in list(some_interpreters().items())[::3]:
        with python_target(path) as process, heapwalk.attach(process.pid) as heap:
            things = list(heap.blocks("kind = 'Slotted' and domain = 'python'"))
            check_equal(len(things), 3000, "%s: Slotted" % name)
            check_equal({thing.refcount for thing in things}, {1}, "%s: reference counts" % name)
            rows = heap.report("select", "kind = 'Slotted' and domain = 'python'")["rows"]
            check_equal([hex(thing.object) for thing in things], [row["object"] for row in rows], name)


def test_abi():
    """The structs that ctypes has are as long as the library's."""
    source = "#include <heapwalk.h>\n#include <stdio.h>\nint main(void) {\n"
    structs = {"hw_block": ffi.BlockStruct, "hw_options": ffi.OptionsStruct, "hw_output": ffi.OutputStruct,
               "hw_callbacks": ffi.CallbacksStruct, "hw_styles": ffi.StylesStruct, "hw_command": ffi.CommandStruct,
               "hw_map_entry": ffi.MapEntryStruct, "hw_command_option": ffi.CommandOptionStruct}
    for name in structs:
        source += 'printf("%s %%zu\\n", sizeof(struct %s));\n' % (name, name)
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "sizes")
        subprocess.run(["cc", "-x", "c", "-I", str(TOP / "libheapwalk" / "include"), "-o", program, "-"],
                       input=source + "}\n", text=True, check=True)
        lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()
    import ctypes  # pylint: disable=import-outside-toplevel
    check_equal(dict(line.split() for line in lines),
                {name: str(ctypes.sizeof(struct)) for name, struct in structs.items()}, "sizes of structs")


def test():
    test_abi()
    test_live()
    with tempfile.TemporaryDirectory() as folder:
        test_core(folder)
    test_objects()
    test_in_gdb()
    test_over_gdbserver()


main(test)
