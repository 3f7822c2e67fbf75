# SPDX-License-Identifier: LGPL-2.1-or-later
"""`path`: how an object is held, from a root on, live and in a core, on each Python."""

from support import check, check_equal, interpreters, live_and_core, main


def path(heap, address, **options):
    report = heap.report("path", hex(address), **options)
    paths = {}
    for row in report["rows"]:
        paths.setdefault(row["path"], []).append(row)
    return report, [paths[number] for number in sorted(paths)]


def check_held(heap, address, words):
    report, paths = path(heap, address)
    check(paths and not report["garbage"], words, "has no path:", report)
    root, first, *_, holds, last = paths[0]
    check_equal((root["kind"], root["detail"]), ("module", "__main__"), "root of what is held as " + words)
    check_equal(first["holds"], "global 'CACHE'", "the first link")
    check_equal(int(last["object"], 16), address, "the last object")
    check_equal((holds["holds"], last["holds"]), (words, ""), "the last link")
    check_equal([row["step"] for row in paths[0]], list(range(len(paths[0]))), "steps")
    check("way " in " ".join(row["holds"] for row in paths[0]), "no key of the cache:", paths[0])
    return paths


def check_frame(heap, address, variable, function):
    _, paths = path(heap, address, top=5)
    words = [row["holds"] + " " + row["detail"] for way in paths for row in way]
    check(any("local variable '%s'" % variable in each for each in words), variable, "is not named:", words)
    check(any(function + "()" in each for each in words), function, "is not named:", words)
    return paths


def ask(heap, facts):
    found = [check_held(heap, address, words) for address, words in facts["held"]]
    found.append(check_frame(heap, facts["local"], "local", "run"))
    found.append(check_frame(heap, facts["argument"], "argument", "run"))
    report, paths = path(heap, facts["garbage"])
    check_equal((report["garbage"], paths), (True, []), "garbage")
    return found


def test():
    for name, python in interpreters().items():
        live, dead = live_and_core(python, "path_target.py", ask)
        check_equal(live, dead, "%s: live and core" % name)
        print("ran on %s" % name)


main(test)
