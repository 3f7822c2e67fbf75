# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb commands of heapwalk: parse, call the library, print. Nothing else is done in Python.

maps.py      memory maps of a target that only gdb can read, out of gdb's words
session.py   which source of bytes the selected inferior has, and its library session
runner.py    commands on that session, printed
settings.py  `set heapwalk …`
style.py     gdb's colours
commands.py  gdb.Command classes, made from the library's own table of commands
functions.py $_heap_block(ADDR) and the like
mi.py        the same for front ends: -heapwalk-census, …

The C ABI, and what scripts use, are in the package heapwalk beside this one, which needs no gdb.
"""
