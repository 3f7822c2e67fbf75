# SPDX-License-Identifier: LGPL-2.1-or-later
"""-heapwalk-census and its like: MI's tuples and lists of what the JSON report says."""

import re
import subprocess

from support import (c_target, check, check_equal, environment, gdb, gdb_arguments, heapwalk_json, main,
                     skip)


def mi(process, *commands):
    """The result record of each command."""
    words = "".join("%s\n" % command for command in commands) + "-gdb-exit\n"
    finished = subprocess.run(gdb_arguments() + ["-i=mi3", "-p", str(process.pid)], input=words,
                              capture_output=True, text=True, env=environment(), check=False, timeout=170)
    check(not finished.stderr, finished.stderr)
    records = re.findall(r"^\^(.*)$", finished.stdout, re.MULTILINE)
    check_equal(len(records), len(commands) + 1, "records of %s" % finished.stdout)
    return records[:-1]


def parse(record):
    """`done,name="text",list=[…],tuple={…}` as a dict, by MI's own grammar."""
    tokens = re.findall(r'"(?:[^"\\]|\\.)*"|[\w-]+|[={}\[\],]', record)

    def value(at):
        token = tokens[at]
        if token[0] == '"':
            return token[1:-1].replace('\\"', '"').replace("\\\\", "\\"), at + 1
        found, end = ({}, "}") if token == "{" else ([], "]")
        at += 1
        while tokens[at] != end:
            if tokens[at] == ",":
                at += 1
            elif end == "}":
                name = tokens[at]
                found[name], at = value(at + 2)
            else:
                each, at = value(at)
                found.append(each)
        return found, at + 1

    check_equal(tokens[:2], ["done", ","], record)
    tokens[:2] = ["{"]
    tokens.append("}")
    return value(0)[0]


def as_mi(value):
    if isinstance(value, dict):
        return {key: as_mi(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [as_mi(each) for each in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def test():
    if "no" in gdb(["python print('yes' if hasattr(gdb, 'MICommand') else 'no')"]).out:
        skip("this gdb has no gdb.MICommand (gdb 12)")
    with c_target() as process:
        census, few, blocks, wrong, option = mi(
            process, "-heapwalk-census", "-heapwalk-census -top 2 -by domain",
            '-heapwalk-select -top 3 "size > 1K and kind = \\"top\\""', '-heapwalk-select "size >"',
            "-heapwalk-arenas -nonsense")
        check_equal(parse(census), as_mi(heapwalk_json("-p", process.pid)), "-heapwalk-census")
        expected = heapwalk_json("-p", process.pid, "census", "--top=2", "--by=domain")
        check_equal(parse(few), as_mi(expected), "-heapwalk-census -top 2 -by domain")
        expected = heapwalk_json("-p", process.pid, "select", "--top=3", 'size > 1K and kind = "top"')
        check_equal(len(expected["rows"]), 1, "rows of the query")
        check_equal(parse(blocks), as_mi(expected), "-heapwalk-select")
        check(wrong.startswith('error,msg="') and "size >" in wrong, wrong)
        check(option.startswith('error,msg="') and "-nonsense" in option, option)
    failed = gdb(['interpreter-exec mi3 "-heapwalk-census"'])
    check(failed.out.startswith('^error,msg="There is no process'), failed.out)


main(test)
