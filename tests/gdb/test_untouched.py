# SPDX-License-Identifier: LGPL-2.1-or-later
"""attach, heap, detach, a hundred times in a row: the memory is what it was, the process goes on."""

import hashlib
import re

from support import c_target, check, check_equal, gdb, interpreters, main, python_target


def checksum(pid):
    """Of every private writable mapping, and of the map itself."""
    digest, total = hashlib.sha256(), 0
    with open("/proc/%d/maps" % pid, encoding="utf-8") as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            digest.update(line.encode())
            start, end, perms = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if perms[:2] != "rw" or perms[3] != "p":
                continue
            mem.seek(int(start, 16))
            data = mem.read(int(end, 16) - int(start, 16))
            digest.update(data)
            total += len(data)
    check(total > 100000, "only %d bytes were writable" % total)
    return digest.hexdigest()


def hammer(process, name, rounds):
    before = checksum(process.pid)
    commands = ["attach %d" % process.pid, "heap -top 1", "detach"] * rounds
    result = gdb(commands, seconds=500)
    check_equal(result.out.count("[Inferior 1 (process %d) detached]" % process.pid), rounds,
                "%s: detached" % name)
    check_equal(len(re.findall(r"\bTOTAL\b", result.out)), rounds, "%s: reports" % name)
    check_equal(checksum(process.pid), before, "%s: checksum of its memory" % name)
    process.stdin.write(b"x")
    process.stdin.flush()
    check_equal(process.stdout.readline(), b"alive\n", "%s: its answer" % name)


def test():
    with c_target() as process:
        hammer(process, "C program", 10)
    found = interpreters()
    chosen = [(name, path) for name, path in found.items() if path == "/usr/bin/python3"]
    for name, path in chosen or list(found.items())[-1:]:
        with python_target(path) as process:
            hammer(process, name, 100)
        print("ran on %s" % name)


main(test)
