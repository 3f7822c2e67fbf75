# SPDX-License-Identifier: LGPL-2.1-or-later
"""Convenience functions: $_heap_block(ADDR), $_heap_kind(ADDR), $_heap_size(ADDR)."""

import gdb
from heapwalk import api, ffi

from .runner import runner, sentence

_ABOUT = """
A block is what malloc or pymalloc gives out, in use or free; ADDR may lead anywhere into it. On a
stack, in a file's data and in an allocator's own structures there is none.

The first call after the process has run walks its heap, the next ones are look-ups. In the condition of a
breakpoint that is each time it is hit; there, other threads must not run meanwhile."""


_PLACES = (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION)


def address_of(value):
    """The address that a value of gdb's means, as its own `x` command has it: a number or a pointer is
    one, a function, an array and a struct have one. Raises gdb.error, ValueError or TypeError."""
    if value.type.strip_typedefs().code in _PLACES and value.address is not None:
        value = value.address
    return int(value) & 0xFFFFFFFFFFFFFFFF


def find(value):
    """The api.Block that contains the address, or None. Every failure is a gdb.GdbError."""
    try:
        block = api.Heap(_Held()).find(address_of(value))
    except (ffi.Error, gdb.error, ValueError, TypeError) as error:
        raise gdb.GdbError(sentence(str(error))) from None
    if block is None or block.allocator == "none" or block.state_class not in ("in use", "free"):
        return None
    return block


class _Held:  # pylint: disable=too-few-public-methods
    """Where find() has its session from."""

    @staticmethod
    def use():
        return runner().sessions.held()


def _string(text):
    """A value that gdb prints as text: what it makes of a str has no end, and of "" no text."""
    data = text.encode("utf-8", "surrogateescape") + b"\0"
    try:
        return gdb.Value(data, gdb.lookup_type("char").array(len(data) - 1))
    except gdb.error:  # a language without char
        return text


def _kind(block):
    return _string("" if block is None else block.kind or block.domain)


class BlockFunction(gdb.Function):
    """A function of the block that contains an address."""

    def __init__(self, name, doc, value):
        self.__doc__ = doc + _ABOUT
        self._value = value
        super().__init__(name)

    def invoke(self, address):  # pylint: disable=arguments-differ
        return self._value(find(address))


def register():
    """Make the functions."""
    BlockFunction(
        "_heap_block",
        "$_heap_block(ADDR): where the block begins that contains ADDR, 0 when none does.\n",
        lambda block: block.start if block else 0,
    )
    BlockFunction(
        "_heap_kind",
        "$_heap_kind(ADDR): kind of the block that contains ADDR, \"\" when none does.\n\n"
        "The kind is that of `heap`, or the domain where it has none. Compare it by $_streq:\n"
        "for == gdb puts both texts into the memory of the process.\n",
        _kind,
    )
    BlockFunction(
        "_heap_size",
        "$_heap_size(ADDR): bytes of the block that contains ADDR, 0 when none does.\n",
        lambda block: block.size if block else 0,
    )
