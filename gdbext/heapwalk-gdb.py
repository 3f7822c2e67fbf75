# SPDX-License-Identifier: LGPL-2.1-or-later
"""Loads the gdb commands of heapwalk: `source gdbext/heapwalk-gdb.py`, then `help heap`.

Works from a checkout (the library of its build folder) and from an installation. Nothing is looked
up in the target until a command is used.
"""

import gdb


def _load():
    import os
    import sys

    if sys.version_info < (3, 8):
        gdb.write("heapwalk: a gdb with Python 3.8 or newer is needed, this one has %d.%d.\n"
                  % sys.version_info[:2], gdb.STDERR)
        return
    folder = os.path.dirname(os.path.realpath(__file__))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    from heapwalk import ffi
    from heapwalk_gdb import commands

    try:
        commands.register()
    except ffi.Error as error:
        # A traceback, which any exception here would get, tells the user less than this line.
        gdb.write("heapwalk: %s.\n" % error, gdb.STDERR)


_load()
del _load
