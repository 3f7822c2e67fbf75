# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb.Command classes, made from the library's table of commands.

Names, options, help and completion are the library's (hw_commands, hw_complete); a command added
there appears here by itself. What is gdb's: where the words come from, where the text goes.
"""

import re
import textwrap

import gdb

from . import functions, mi, settings
from .runner import runner as the_runner
from .runner import sentence

PREFIX = "heapwalk"  # always
SHORT_PREFIX = "heap"  # when no other plugin has it
DEFAULT = "census"  # what the prefix alone does
TOP_LEVEL = ("hexdump",)  # also without the prefix, when the name is free

_NUMBER = re.compile(r"^(0[xX][0-9a-fA-F]+|[0-9]+)$")


class HeapCommand(gdb.Command):
    """One name in gdb for one command of the library."""

    def __init__(self, name, command, runner, doc, prefix=False):
        self.__doc__ = doc
        self._command = command
        self._runner = runner
        self._prefix = prefix
        super().__init__(name, gdb.COMMAND_DATA, prefix=prefix)

    def invoke(self, argument, from_tty):  # pylint: disable=unused-argument
        self.dont_repeat()
        self._runner.run(
            [self._command.name] + self._words(argument or ""), self._command.runs_detached
        )

    def complete(self, text, word):
        # `text` is all arguments so far; `word` their end since what gdb takes for a break, None
        # while it still looks for that break.
        if self._command.usage == "ADDR" and self._is_argument(text):
            return gdb.COMPLETE_EXPRESSION
        if word is None:
            return gdb.COMPLETE_NONE
        before, token = re.match(r"^(.*?)(\S*)$", text, re.DOTALL).groups()
        found = self._runner.library.complete(
            self._runner.sessions.cached(), [self._command.name] + before.split(), token
        )
        skip = len(token) - len(word)  # gdb wants what replaces `word`
        return [each[skip:] for each in found if each.startswith(token[:skip])]

    def _words(self, argument):
        """The library's argv[1:] for gdb's argument text."""
        if not self._command.takes_text:
            return self._addresses(gdb.string_to_argv(argument))
        # Options come first; what follows them is one argument, quotes and blanks and all.
        words, rest = [], argument.strip()
        while rest.startswith("-"):
            word, rest = _split_word(rest)
            words.append(word)
            if rest and self._takes_next(self._option(word), word):
                value, rest = _split_word(rest)
                words += gdb.string_to_argv(value)
            if word == "--":
                break
        if rest and self._command.usage == "ADDR":
            rest = _address(rest)
        return words + [rest] if rest else words

    def _option(self, word):
        names = [each for each in self._command.options if each.name.startswith(word.lstrip("-"))]
        exact = [each for each in names if each.name == word.lstrip("-")]
        return (exact or names or [None])[0]

    def _addresses(self, words):
        """Where the usage begins with ADDR, any gdb expression is one: $sp, &buffer, p->next."""
        index = self._first_argument(words) if self._command.usage.startswith("ADDR") else len(words)
        return words[:index] + [_address(word) for word in words[index : index + 1]] + words[index + 1 :]

    def _first_argument(self, words):
        """Index of the first word that is no option nor the value of one."""
        index = 0
        while index < len(words) and words[index].startswith("-"):
            option = self._option(words[index])
            index += 2 if self._takes_next(option, words[index]) else 1
        return min(index, len(words))

    def _is_argument(self, text):
        """Is the end of the text no option, nor the value of one?"""
        before, token = re.match(r"^(.*?)(\S*)$", text, re.DOTALL).groups()
        last = (before.split() or [""])[-1]
        is_value = last.startswith("-") and self._takes_next(self._option(last), last)
        return not token.startswith("-") and not is_value

    @staticmethod
    def _takes_next(option, word):
        return option is not None and option.metavar is not None and "=" not in word


def _address(expression):
    """A number as the library reads it: the value of any expression of gdb's."""
    if _NUMBER.match(expression):
        return expression
    try:
        return "0x%x" % functions.address_of(gdb.parse_and_eval(expression))
    except (gdb.error, ValueError, TypeError) as error:
        raise gdb.GdbError(
            "%s is not an address: %s" % (expression, sentence(str(error)))
        ) from None


def _split_word(text):
    """First word of text (quotes hold it together), and the rest."""
    word = re.match(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|\S)+""", text).group(0)
    return word, text[len(word) :].lstrip()


def command_doc(name, command, extra=()):
    """Help of a command the way gdb's own has it: a line, Usage, options, paragraphs."""
    usage = [name]
    if command.options:
        usage.append("[OPTION]...")
    if command.usage:
        usage.append(command.usage)
    lines = [command.summary, "", "Usage: " + " ".join(usage)]
    if command.options:
        lines += ["", "Options:"]
        for option in command.options:
            lines.append("  -%s%s" % (option.name, " " + option.metavar if option.metavar else ""))
            lines += textwrap.wrap(_option_help(option), 76, initial_indent="    ", subsequent_indent="    ")
    if command.help:
        lines += [""] + command.help.strip().splitlines()
    return "\n".join(lines + list(extra))


def _option_help(option):
    words = [word for word in option.values if word not in option.help]
    if not words:
        return option.help
    return "%s (%s)" % (option.help, ", ".join(option.values))


def is_free(name):
    """True when gdb has no command or alias of exactly this name.

    `help NAME` would take any longer command that begins with it for the answer; completion lists
    them all, this one among them if it is there.
    """
    listed = gdb.execute("complete " + name, to_string=True).split("\n")
    if name in listed:
        return False
    if any(line.startswith(name) for line in listed):
        return True
    # Nothing at all was listed: not there, or completion is turned off (max-completions 0).
    try:
        gdb.execute("help " + name, to_string=True)
    except gdb.error:
        return True
    return False


def register():
    """Make the commands and settings. A second call, by a second `source`, changes nothing."""
    if register.is_done:
        return
    runner = the_runner()
    register.is_done = True
    table = runner.library.commands()
    for prefix in (SHORT_PREFIX, PREFIX):
        if prefix == PREFIX or is_free(SHORT_PREFIX):
            _register_prefix(prefix, table, runner)
    for command in table:
        if command.name in TOP_LEVEL and is_free(command.name):
            HeapCommand(command.name, command, runner, command_doc(command.name, command))
    settings.register(runner)
    functions.register()
    mi.register(table)


register.is_done = False


def _register_prefix(prefix, table, runner):
    alone = next(command for command in table if command.name == DEFAULT)
    HeapCommand(prefix, alone, runner, command_doc(prefix, alone), prefix=True)
    for command in table:
        name = "%s %s" % (prefix, command.name)
        HeapCommand(name, command, runner, command_doc(name, command))
