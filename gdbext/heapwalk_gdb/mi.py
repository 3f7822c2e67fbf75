# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reports for front ends that talk MI to gdb: -heapwalk-census and one for each other command.

The words are those of the command, the answer its JSON report as MI has it: objects are tuples, arrays
lists, numbers and texts strings, true and false words; what is null is left out.
"""

import gdb
import heapwalk
from heapwalk import ffi


def register(table):
    """Nothing before gdb 12, which has no gdb.MICommand."""
    base = getattr(gdb, "MICommand", None)
    if base is None:
        return

    class ReportCommand(base):
        """-heapwalk-NAME [OPTION]... [ARGUMENT]..."""

        def __init__(self, command):
            self._command = command
            super().__init__("-heapwalk-" + command.name)

        def invoke(self, argv):
            words = list(argv)
            try:
                return _value(self._heap().report(self._command.name, words))
            except ffi.Error as error:
                raise gdb.GdbError(str(error)) from None
            except KeyboardInterrupt:
                raise gdb.GdbError("Quit") from None

        def _heap(self):
            try:
                return heapwalk.current()
            except ffi.Error:
                if not self._command.runs_detached:
                    raise
                return heapwalk.no_target()

    for command in table:
        if any(option.name == "format" for option in command.options):
            ReportCommand(command)


def _value(value):
    if isinstance(value, dict):
        return {key: _value(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_value(each) for each in value if each is not None]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
