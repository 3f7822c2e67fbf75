#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""`retained` and `path` on Python processes of many blocks, next to the census: README.md says what the columns are."""

import json
import subprocess
import tempfile

from bench import best_of, count_blocks, parser_of, peak_of, running


def measure(options, number, directory):
    with running(options, "python", number, directory) as target:
        where = [options.heapwalk, "-p", str(target.pid)]
        blocks = count_blocks(options, where[1:])
        census_s, _ = best_of(options.runs, where + ["--format", "json"])
        retained = where + ["retained", "--format", "json"]
        retained_s, out = best_of(options.runs, retained)
        report = json.loads(out)
        path = where + ["path", report["rows"][-1]["object"]]
        path_s, _ = best_of(options.runs, path)
        return blocks, report["graph"], census_s, retained_s, peak_of(retained), path_s, peak_of(path)


def main():
    options = parser_of(__doc__).parse_args()
    line = "%11s %11s %8s %10s %7s %11s %8s %7s %11s"
    print(line % ("blocks", "links", "census s", "retained s", "ratio", "own B/block", "path s", "ratio", "own B/block"))
    with tempfile.TemporaryDirectory(prefix="heapwalk-bench-") as directory:
        for size in (int(float(each)) for each in options.sizes.split(",")):
            blocks, graph, census_s, retained_s, peak, path_s, path_peak = measure(options, size, directory)
            print(line % (blocks, graph["links"], "%.3f" % census_s, "%.3f" % retained_s,
                          "%.1f" % (retained_s / census_s), "%.1f" % (peak / blocks), "%.3f" % path_s,
                          "%.1f" % (path_s / census_s), "%.1f" % (path_peak / blocks)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        raise SystemExit("bench: %s" % error) from None
