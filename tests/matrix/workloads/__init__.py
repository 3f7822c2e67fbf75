# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the targets of the test matrix fill their heaps with. Runs unchanged on Python 2.7 and 3.6 to 3.15.

A workload takes a Notes object, returns whatever keeps its objects alive, and notes what the walk has to
find: exact numbers of instances, and chunks that it got straight from malloc. Class names are unique
to this package, so that a count of their instances can be exact.
"""
from __future__ import print_function

import collections
import sys

from .common import PY2, Notes  # noqa: F401
from .frames import code
from .holders import containers
from .old_python import python2
from .threaded import subinterpreters, threads
from .user_classes import classes, instances, untracked
from .values import buffers, fragmented, small, strings

WORKLOADS = collections.OrderedDict(
    (f.__name__, f)
    for f in (small, buffers, fragmented, strings, classes, instances, untracked, code, containers, threads)
)
if PY2:
    WORKLOADS["python2"] = python2
if sys.version_info >= (3, 12):
    WORKLOADS["subinterpreters"] = subinterpreters
