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
        raise gdb.GdbError("heapwalk needs a gdb with Python 3.8 or newer, this one has %d.%d."
                           % sys.version_info[:2])
    folder = os.path.dirname(os.path.realpath(__file__))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    from heapwalk_gdb import commands, ffi

    try:
        commands.register()
    except ffi.LibraryError as error:
        raise gdb.GdbError("heapwalk: %s." % error) from None


_load()
del _load
