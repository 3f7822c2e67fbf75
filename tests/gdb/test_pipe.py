# SPDX-License-Identifier: LGPL-2.1-or-later
"""`pipe heap -format json | jq`, -output, and nothing but the report on stdout."""

import csv
import io
import json
import os
import tempfile

from support import c_target, check, check_equal, gdb, heapwalk_json, main, need


def test():
    need("jq")
    with c_target() as process, tempfile.TemporaryDirectory() as folder:
        here = ("-p", process.pid)
        expected = heapwalk_json("-p", process.pid)
        piped = gdb(["echo BEGIN\\n", "pipe heap -format json | jq .total", "echo END\\n"], *here).out
        piped = piped[piped.index("BEGIN\n") + 6:piped.index("END\n")]
        check_equal(json.loads(piped), expected["total"], "jq .total")

        path = os.path.join(folder, "a report")
        result = gdb(["echo BEGIN\\n", "heap -format json -output '%s'" % path, "echo END\\n"], *here)
        check("BEGIN\nEND\n" in result.out, "-output, and words on stdout:", result.out)
        with open(path, encoding="utf-8") as file:
            check_equal(json.load(file), expected, "-output")

        gdb(["pipe heap -format csv | cat > '%s'" % path], *here)
        with open(path, encoding="utf-8") as file:
            rows = list(csv.DictReader(io.StringIO(file.read())))
        check(len(rows) >= len(expected["rows"]) > 3, "rows of CSV:", rows)

        # A reader that leaves early is no reason for more than gdb's own words: from gdb 17 or 18 on it has some.
        gdb(["pipe heap select size > 0 | head -1 > '%s'" % path], *here, status=None,
            noise=[r'shell command "head .*" failed: Broken pipe'])
        with open(path, encoding="utf-8") as file:
            check(file.read().strip(), "head -1 got nothing")


main(test)
