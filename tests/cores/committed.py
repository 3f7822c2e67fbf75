# SPDX-License-Identifier: LGPL-2.1-or-later
"""The cores of corefiles/, unpacked, and heapwalk's rows of them."""

import csv
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ("selftest", "corefiles", "matrix"):
    sys.path.insert(0, os.path.join(HERE, "..", folder))

from support import HeapwalkTest, main, run  # noqa: E402,F401  (tests/selftest)
from test_corefiles import COREFILES, unpack  # noqa: E402


def manifest():
    try:
        import tomllib
    except ImportError:
        print("skip: reading the manifest needs Python 3.11 or later (tomllib)")
        sys.exit(77)
    with open(os.path.join(COREFILES, "MANIFEST.toml"), "rb") as f:
        return tomllib.load(f)


def unpack_all(directory):
    """{name: path of the core}; their files are below `directory`/root."""
    rows = manifest()
    for row in rows["file"]:
        unpack(row, os.path.join(directory, "root") + row["path"])
    cores = {}
    for row in rows["core"]:
        cores[row["name"]] = os.path.join(directory, row["name"] + ".core")
        unpack(row, cores[row["name"]])
    return cores


def parse_rows(text):
    """Rows of `all --format csv`, without its last line when that says what is missing."""
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
