# SPDX-License-Identifier: LGPL-2.1-or-later
"""`set heapwalk …`: what commands take for options that they are not given.

Which values there are is the library's to say: the words come from its table of commands, numbers are
checked by hw_session_set_default() and hw_session_set_threads().
"""

import os

import gdb
from heapwalk import ffi

PREFIX = "heapwalk"
AUTO = "auto"  # each command's own way

_made = {}  # name: gdb.Parameter


def defaults():
    """{option: its value as the library takes it, None: not set}."""
    names = ("top", "sort", "format", "rules")
    return {name: _made[name].option_value() for name in names if name in _made}


def threads():
    """How many workers a walk has, 0: as the library decides."""
    return _made["threads"].value or 0 if "threads" in _made else 0


class _Number(gdb.Parameter):
    """A number that may be unlimited: 0 when it is set, 0 or None when it is read, as gdb's age is."""

    def __init__(self, name, doc, show, check):
        self.set_doc, self.show_doc = "Set " + doc[0], "Show " + doc[0]
        self.__doc__ = "\n".join(doc[1:])
        self._show, self._check = show, check
        self._good = 0
        super().__init__("%s %s" % (PREFIX, name), gdb.COMMAND_DATA, gdb.PARAM_UINTEGER)
        self.value = 0

    def option_value(self):
        return str(self.value) if self.value else None

    def get_set_string(self):
        try:
            self._check(self.value or 0)
        except ffi.Error as error:
            self.value = self._good  # gdb has taken it already
            raise gdb.GdbError("%s." % error) from None
        self._good = self.value or 0
        return ""

    def get_show_string(self, svalue):
        return self._show % svalue


class _Word(gdb.Parameter):
    """One of the words that some command of the library takes. gdb completes and checks them."""

    def __init__(self, name, doc, show, words):
        self.set_doc, self.show_doc = "Set " + doc[0], "Show " + doc[0]
        self.__doc__ = "\n".join(doc[1:])
        self._show = show
        super().__init__("%s %s" % (PREFIX, name), gdb.COMMAND_DATA, gdb.PARAM_ENUM, words)
        self.value = words[0]

    def option_value(self):
        return None if self.value == AUTO else self.value

    def get_set_string(self):
        return ""

    def get_show_string(self, svalue):
        return self._show % svalue


class _File(gdb.Parameter):
    """The name of a file, or none. That it can be read is checked when it is set, not only when it is used."""

    def __init__(self, name, doc, show, show_none):
        self.set_doc, self.show_doc = "Set " + doc[0], "Show " + doc[0]
        self.__doc__ = "\n".join(doc[1:])
        self._show, self._show_none = show, show_none
        self._good = ""
        super().__init__("%s %s" % (PREFIX, name), gdb.COMMAND_DATA, gdb.PARAM_OPTIONAL_FILENAME)
        self.value = ""

    def option_value(self):
        return os.path.abspath(os.path.expanduser(self.value)) if self.value else None

    def get_set_string(self):
        if self.value:
            try:
                with open(self.option_value(), "rb"):
                    pass
            except OSError as error:
                wanted, self.value = self.value, self._good  # gdb has taken it already
                raise gdb.GdbError("%s can't be read: %s." % (wanted, error.strerror)) from None
        self._good = self.value or ""
        return ""

    def get_show_string(self, svalue):
        return self._show % svalue if svalue else self._show_none


class _Set(gdb.Command):
    """Set what commands of heapwalk take for options that they are not given."""

    def __init__(self):
        super().__init__("set " + PREFIX, gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)

    def invoke(self, argument, from_tty):  # pylint: disable=unused-argument
        if argument:
            raise gdb.GdbError(
                'Undefined set %s command: "%s".  Try "help set %s".' % (PREFIX, argument, PREFIX)
            )
        gdb.execute("help set " + PREFIX)


class _Show(gdb.Command):
    """Show what commands of heapwalk take for options that they are not given."""

    def __init__(self):
        super().__init__("show " + PREFIX, gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)

    def invoke(self, argument, from_tty):  # pylint: disable=unused-argument
        if argument:
            raise gdb.GdbError(
                'Undefined show %s command: "%s".  Try "help show %s".' % (PREFIX, argument, PREFIX)
            )
        for name in sorted(_made):
            gdb.write("%s:  " % name)
            gdb.execute("show %s %s" % (PREFIX, name))


def _values(table, option, tails=("",)):
    """All words that some command takes for an option, in the table's order."""
    words = [
        word + tail
        for command in table
        for each in command.options
        if each.name == option
        for word in each.values
        for tail in tails
    ]
    return list(dict.fromkeys(words))


def register(runner):
    library = runner.library
    table = library.commands()
    _Set()
    _Show()
    _made["top"] = _Number(
        "top",
        (
            "how many rows reports print.",
            "For commands that have the option -top and are not given it: they print the first so many",
            'rows; totals still count all. "unlimited" prints all of them.',
        ),
        "Reports print %s rows.",
        lambda number: library.check_default("top", str(number) if number else None),
    )
    _made["sort"] = _Word(
        "sort",
        (
            "the order of rows.",
            "For commands that have the option -sort, know that key and are not given the option.",
            '"auto" is each command\'s own order.',
        ),
        'The order of rows is "%s".',
        [AUTO] + _values(table, "sort", ("", ":asc", ":desc")),
    )
    _made["format"] = _Word(
        "format",
        (
            "the form of reports.",
            "For commands that have the option -format and are not given it.",
        ),
        'The form of reports is "%s".',
        _values(table, "format"),
    )
    _made["rules"] = _File(
        "rules",
        (
            "the file of rules that names what objects own.",
            "For commands that have the option -rules and are not given it. Without a file there are no",
            "rules but heapwalk's own.",
        ),
        'What objects own is named by the rules in "%s" as well.',
        "What objects own is named by heapwalk's own rules.",
    )
    _made["threads"] = _Number(
        "threads",
        (
            "how many threads walk a heap.",
            'At most 64. "unlimited" is one a processor, but no more than 8.',
        ),
        "A heap is walked by %s threads.",
        library.check_threads,
    )
