# SPDX-License-Identifier: LGPL-2.1-or-later
"""`explain` on malloc's blocks of each kind and on what is no heap, and $_heap_block and the like."""

import json
import os
import platform
import re
import tempfile

from support import (BUILD, check, check_equal, gcore, gdb, gdbserver, heapwalk_json, main, running)

PROGRAM = BUILD / "bin" / "gdb_explain"
# glibc 2.43 has no fastbins, and a mapped chunk's size field leaves its own header out.
IS_2_43 = tuple(map(int, platform.libc_ver()[1].split("."))) >= (2, 43)
FAST = "small bin" if IS_2_43 else "fastbin"
STATES = {"hw_in_use": "in use", "hw_tcache": "tcache", "hw_fastbin": FAST, "hw_large": "large bin",
          "hw_small": "small bin", "hw_unsorted": "unsorted bin", "hw_mmapped": "in use"}
CHUNKS = {"hw_in_use": 112, "hw_tcache": 48, "hw_fastbin": 48, "hw_large": 5008, "hw_small": 608,
          "hw_unsorted": 3008, "hw_mmapped": (1 << 20) + 4096}


def in_gdb(commands, *arguments, **options):
    """The JSON reports that the commands print, and gdb's other words."""
    with tempfile.TemporaryDirectory() as folder:
        words, files = [], []
        for index, command in enumerate(commands):
            if command.startswith("heap "):
                files.append(os.path.join(folder, "%d.json" % index))
                command = re.sub(r"^heap (\w+)", r"heap \1 -format json -output %s" % files[-1], command)
            words.append(command)
        result = gdb(words, *arguments, **options)
        reports = []
        for name in files:
            with open(name, encoding="utf-8") as file:
                reports.append(json.load(file))
        return reports, result.out


def check_blocks(*target):
    commands = ["heap explain %s" % name for name in STATES] + ["heap explain (char *) %s + 5" % name for name in STATES]
    reports, _out = in_gdb(commands, *target)
    for name, report, inside in zip(STATES, reports, reports[len(STATES):]):
        what = "block in use" if STATES[name] == "in use" else "free block"
        check_equal((report["what"], report["block"]["state"]), (what, STATES[name]), name)
        check_equal(report["block"]["size"], CHUNKS[name], "%s: size" % name)
        check_equal(report["chunk"]["size"], CHUNKS[name], "%s: chunk" % name)
        check_equal(int(report["address"], 16), int(report["block"]["data"], 16), "%s: data" % name)
        check_equal(int(report["chunk"]["address"], 16), int(report["address"], 16) - 16, "%s: chunk" % name)
        check_equal(report["chunk"]["is_mmapped"], name == "hw_mmapped", "%s: is mmapped" % name)
        less = 16 if IS_2_43 and name == "hw_mmapped" else 0
        check_equal(int(report["chunk"]["size_field"], 16) & ~7, CHUNKS[name] - less, "%s: size field" % name)
        check_equal(inside["block"]["start"], report["block"]["start"], "%s: interior" % name)
        check_equal(inside["block"]["offset"], report["block"]["offset"] + 5, "%s: offset" % name)
        for side, address in (("before", int(report["block"]["start"], 16) - 1),
                              ("after", int(report["block"]["end"], 16) + 1)):
            if report[side]:
                check_equal(int(report[side]["end" if side == "before" else "start"], 16), address, side)
    return reports


def check_places(process):
    """Expressions of gdb's; what is no heap."""
    reports, out = in_gdb(["heap explain &hw_static_number", "heap explain $sp", "heap explain $sp - 64",
                           "heap explain &main_arena", "heap explain hw_release", "heap explain hw_in_use - 16",
                           "heap explain hw_in_use - sizeof(long) * 2 + 1", "print main_arena.top",
                           "heap explain main_arena.top", "heap explain $pc"], "-p", process.pid)
    number, stack, below, arena, function, header, interior, top, code = reports
    check_equal((number["what"], number["symbol"]["name"], number["symbol"]["offset"]),
                ("data of a file", "hw_static_number", 0), "a static")
    check_equal(number["symbol"]["file"], str(PROGRAM), "file of a static")
    check_equal((stack["what"], stack["stack"]["tid"], stack["stack"]["stack_pointer"]),
                ("stack", process.pid, stack["address"]), "stack")
    check_equal(below["what"], "stack", "below the stack pointer")
    check_equal((arena["what"], arena["malloc_state"], arena["symbol"]["name"]),
                ("malloc_state", arena["address"], "main_arena"), "main_arena")
    check_equal((function["what"], function["symbol"]["name"]), ("code", "hw_release"), "a function")
    check_equal((code["what"], code["block"]), ("code", None), "code")
    check_equal((header["what"], header["block"]["offset"]), ("chunk header", 0), "a chunk's header")
    check_equal((interior["what"], interior["block"]["offset"]), ("chunk header", 1), "in a chunk's header")
    check_equal((top["what"], top["block"]["state"]), ("chunk header", "top"), "top")
    check("main_arena" in out or "0x" in out, out)


def check_text(process):
    """One and the same sentence and facts in each form; errors are one line."""
    text = gdb(["heap explain hw_in_use + 1"], "-p", process.pid).out
    check(re.search(r"^0x[0-9a-f]+: block in use, byte 17 of the block at 0x", text, re.M), text)
    check(re.search(r"^  block +0x[0-9a-f]+-0x[0-9a-f]+  112 bytes, in use: C string data$", text, re.M), text)
    csv = gdb(["heap explain -format csv hw_in_use"], "-p", process.pid).out
    check("\nblock.state,in use\n" in csv.replace("\r", ""), csv)
    gdb(["heap explain 5"], "-p", process.pid, status=1, errors=["0x5 is in no mapping of the target: .*"])
    gdb(["heap explain no_such_thing"], "-p", process.pid, status=1, errors=["no_such_thing is not an address: .*"])
    gdb(["heap explain"], "-p", process.pid, status=1, errors=["Explain needs an address: .*"])


def check_functions(*target):
    lines = ["$_heap_size(hw_in_use)", "$_heap_size(hw_in_use + 50)", "$_heap_kind(hw_tcache)", "$_heap_kind(hw_in_use)",
             "$_heap_block(hw_in_use + 3) == (long) hw_in_use - 16", "$_heap_size(&hw_static_number)", "$_heap_block(0)",
             "$_heap_kind($sp)", '$_streq($_heap_kind(hw_fastbin), "%s")' % FAST, "$_heap_size(-1)",
             '$_streq($_heap_kind(hw_tcache), "fastbin")', "$_heap_size(hw_mmapped)"]
    wanted = ["112", "112", '"tcache"', '"string data"', "1", "0", "0", '""', "1", "0", "0", str((1 << 20) + 4096)]
    out = gdb(["print %s" % line for line in lines], *target).out
    check_equal(re.findall(r"^\$\d+ = (.*)$", out, re.M), wanted, "functions")


def check_condition():
    """Asked each time the breakpoint is hit: of the block as it is then, not as it was before."""
    result = gdb(["break hw_release if $_heap_size(block) == 2144 && $_streq($_heap_kind(block), \"uncategorized\")",
                  "run < /dev/null > /dev/null", "print number", "continue"], PROGRAM)
    check("\n$1 = 8\n" in result.out and "exited normally" in result.out, result.out)
    hits = gdb(["break hw_release if $_heap_size(block) > 2160 && $_heap_block(block) != 0",
                "run < /dev/null > /dev/null", "print number", "continue", "print number"], PROGRAM).out
    check_equal(re.findall(r"^\$\d+ = (.*)$", hits, re.M), ["10", "11"], "condition")


def check_threads():
    """Another thread runs while gdb evaluates the condition: that is said, or gdb stops it before."""
    condition = "break hw_release if $_heap_size(block) == 2144"
    held = gdb(["maint set target-non-stop off", condition, "run 1 < /dev/null > /dev/null", "print number"], PROGRAM)
    check("\n$1 = 8\n" in held.out, held.out)
    loose = gdb([condition, "run 1 < /dev/null > /dev/null", "print number", "print $_heap_size(block)"], PROGRAM,
                errors=["Error in testing (?:breakpoint )?condition.*:",
                        "Other threads ran while the heap was read: .*"])
    check("\n$1 = 0\n" in loose.out and "\n$2 = 2016\n" in loose.out, loose.out)


def check_remote():
    with gdbserver(PROGRAM) as connect:
        result = gdb([*connect, "break hw_release if $_heap_size(block) == 2064", "continue", "print number"], PROGRAM)
    check("\n$1 = 3\n" in result.out, result.out)


def test():
    with running(PROGRAM) as process, tempfile.TemporaryDirectory() as folder:
        live = check_blocks("-p", process.pid)
        check_places(process)
        check_text(process)
        check_functions("-p", process.pid)
        alone = heapwalk_json("-p", process.pid, "explain", live[0]["address"])
        check_equal(alone, live[0], "heapwalk explain and heap explain")
        core = os.path.join(folder, "core")
        gcore(process, core)
        dead = check_blocks(PROGRAM, core)
        check_functions(PROGRAM, core)
        for ours, theirs in zip(live, dead):
            for member in ("block", "chunk", "object", "owners", "before", "after", "what"):
                check_equal(ours[member], theirs[member], "live and core: %s" % member)
    check_condition()
    check_threads()
    check_remote()


main(test)
