#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What snapshots cost, as ratios to a census of the same process in the same run. See README.md."""

import os
import shutil
import subprocess
import sys
import tempfile

from bench import best_of, count_blocks, parser_of, peak_of, running


def measure(options, kind, number, directory):
    with running(options, kind, number, directory) as target:
        where = ["-p", str(target.pid)]
        files = [os.path.join(directory, "%s-%d" % (kind, i)) for i in (1, 2)]
        blocks = count_blocks(options, where)
        # In turns, so that a busy machine is as busy for both.
        census = save = None
        for _ in range(options.runs):
            one, _ = best_of(1, [options.heapwalk, *where])
            two, _ = best_of(1, [options.heapwalk, *where, "save", files[0]])
            census, save = min(one, census or one), min(two, save or two)
        subprocess.run([options.heapwalk, *where, "save", files[1]], stdout=subprocess.DEVNULL, check=True)
    diff = [options.heapwalk, "diff", *files]
    by_category, _ = best_of(options.runs, diff)
    by_block, _ = best_of(options.runs, diff + ["--by", "block"])
    peak = peak_of(diff + ["--by", "block"])
    size = os.path.getsize(files[0])
    for file in files:
        os.unlink(file)
    return blocks, census, save, size, by_category, by_block, peak


def main():
    options = parser_of(__doc__).parse_args()
    line = "%-7s %11s %9s %8s %7s %12s %12s %10s %9s"
    print(line % ("target", "blocks", "census s", "save s", "ratio", "disk B/block", "by category", "by block", "diff MiB"))
    directory = tempfile.mkdtemp(prefix="heapwalk-bench-")
    try:
        for kind in options.kinds.split(","):
            for size in (int(float(s)) for s in options.sizes.split(",")):
                blocks, census, save, disk, by_category, by_block, peak = measure(options, kind, size, directory)
                print(line % (kind, blocks, "%.3f" % census, "%.3f" % save, "%.2f" % (save / census),
                              "%.2f" % (disk / blocks), "%.3f" % by_category, "%.3f" % by_block,
                              "%.1f" % (peak / 1048576)))
                sys.stdout.flush()
    finally:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
