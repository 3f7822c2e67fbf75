# SPDX-License-Identifier: LGPL-2.1-or-later
"""The example of document 004: dictionaries made, dropped, made again. A line on stdin leads to the next step."""
import os
import sys

iterations = int(sys.argv[1])
l = []


def stop():
    os.write(1, b"ready\n")
    os.read(0, 1)


stop()
for i in range(iterations):
    l.append(None)
for i in range(iterations):
    l[i] = {}
stop()
for i in range(iterations):
    l[i] = None
stop()
for i in range(iterations):
    l[i] = {}
stop()
