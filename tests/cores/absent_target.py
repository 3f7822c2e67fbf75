# SPDX-License-Identifier: LGPL-2.1-or-later
"""absent_target.py: objects of types that are in extension modules, of each as many as it takes to be seen."""

import ctypes
import sys

MAKERS = (
    ("array", "array('d', range(40))"),
    ("collections", "deque([1])"),
    ("ctypes", "c_int(4)"),
    ("datetime", "datetime(2000, 1, 1)"),
    ("datetime", "timezone(timedelta(hours=1))"),
    ("decimal", "Decimal(10) / 7"),
    ("hashlib", "md5()"),
    ("random", "Random(4)"),
    ("sqlite3", "connect(':memory:')"),
    ("ssl", "MemoryBIO()"),
    ("struct", "Struct('ii')"),
    ("zlib", "compressobj(1, 8, 9, 1)"),
)

keep = []
for name, expression in MAKERS:
    try:
        module = __import__(name)
        keep.append([eval(expression, vars(module)) for _ in range(12)])
        if name == "decimal":
            keep.append([type("Ours", (module.Decimal,), {})(3) for _ in range(4)])
    except ImportError:
        pass  # an interpreter that was built without it
sys.stdout.write("ready\n")
sys.stdout.flush()
ctypes.PyDLL(None).pause()
