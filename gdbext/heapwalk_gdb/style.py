# SPDX-License-Identifier: LGPL-2.1-or-later
"""gdb's own colours (`set style …`) for the parts of a report, as the escapes that a terminal takes."""

import os

import gdb

PARTS = ("title", "address", "metadata", "highlight")  # gdb's named styles and hw_styles' members

_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_INTENSITIES = {"bold": "1", "dim": "2"}


def styles():
    """{part: escape}, None when gdb shows no colours."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return None
    if not gdb.parameter("style enabled"):
        return None
    return {part: _escape(part) for part in PARTS}


def _escape(part):
    """ "\033[1;34m"; "" for a style that is as plain text."""
    codes = [_INTENSITIES.get(_setting(part, "intensity"), "")]
    codes.append(_colour(_setting(part, "foreground"), 30))
    codes.append(_colour(_setting(part, "background"), 40))
    text = ";".join(code for code in codes if code)
    return "\033[%sm" % text if text else ""


def _setting(part, name):
    try:
        return gdb.parameter("style %s %s" % (part, name))
    except RuntimeError:  # a gdb that does not have it
        return None


def _colour(colour, base):
    """The code of a colour: a word, and from gdb 17 also an index or red, green and blue."""
    if colour is None or getattr(colour, "is_none", False):
        return ""
    if getattr(colour, "is_direct", False):
        return "%d;2;%d;%d;%d" % ((base + 8,) + tuple(colour.components))
    if getattr(colour, "is_indexed", False):
        index = colour.index
    elif str(colour) in _COLOURS:
        index = _COLOURS.index(str(colour))
    else:
        return ""  # "none"
    return "%d" % (base + index) if index < 8 else "%d;5;%d" % (base + 8, index)
