# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb commands of heapwalk: parse, call the library, print. Nothing else is done in Python.

ffi.py       the one file that knows the C ABI
maps.py      memory maps of a target that only gdb can read, out of gdb's words
session.py   which source of bytes the selected inferior has, and its library session
commands.py  gdb.Command classes, made from the library's own table of commands
"""
