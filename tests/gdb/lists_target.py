# SPDX-License-Identifier: LGPL-2.1-or-later
"""Arenas of each kind: full ones, partly free ones, such with empty pools, slots without an arena."""

import os
import sys

kept = [[object() for _ in range(40000)] for _ in range(6)]
texts = [("%d" % number) * (number % 60) for number in range(3000)]
del texts[100:2000:7], kept[4][::3]
for each in (kept[1], kept[3]):
    del each[1000:30000]
sys.stdout.write("ready\n")
sys.stdout.flush()
while os.read(0, 1):
    os.write(1, b"alive\n")
