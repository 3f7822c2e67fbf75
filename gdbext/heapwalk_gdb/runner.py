# SPDX-License-Identifier: LGPL-2.1-or-later
"""Commands of the library on the selected inferior: for gdb's user, and for scripts."""

import contextlib
import os
import time

import gdb
from heapwalk import api, ffi

from . import settings, style
from .session import Sessions

_PROGRESS_AFTER_SECONDS = 0.5
_PROGRESS_EVERY_SECONDS = 0.1


class Screen:
    """What gdb prints to, and the progress line on it."""

    def __init__(self):
        self._began = self._shown = 0.0
        self._is_dirty = False

    @staticmethod
    def width():
        """Columns; 0: no limit."""
        return gdb.parameter("width") or 0

    @staticmethod
    def is_interactive():
        """False in batch mode and under `pipe`, where gdb lifts both limits of the screen."""
        return bool(gdb.parameter("width") or gdb.parameter("height"))

    def styles(self):
        """{part of a report: what sets it off}; None when the text goes to no terminal."""
        return style.styles() if self.is_interactive() and os.isatty(1) else None

    def begin(self):
        self._began = time.monotonic()
        self._shown = 0.0

    def progress(self, what, done, total):
        now = time.monotonic()
        if now - self._began < _PROGRESS_AFTER_SECONDS or now - self._shown < _PROGRESS_EVERY_SECONDS:
            return
        if not (self.is_interactive() and os.isatty(2)):
            return
        self._shown = now
        share = " %d %%" % min(100, done * 100 // total) if total else ""
        self._is_dirty = True
        gdb.write("\r%s%s\033[K" % (what, share), gdb.STDERR)
        gdb.flush(gdb.STDERR)

    def clear(self):
        if self._is_dirty:
            self._is_dirty = False
            gdb.write("\r\033[K", gdb.STDERR)
            gdb.flush(gdb.STDERR)

    def write(self, text):
        self.clear()
        gdb.write(text)


class Runner:
    """Runs commands of the library on the selected inferior."""

    def __init__(self, library):
        self.screen = Screen()
        self.library = library
        self.sessions = Sessions(library, self.screen.progress)

    def run(self, argv, runs_detached=False):
        """Run argv and print its report. Every failure is a gdb.GdbError of one line."""
        try:
            self.screen.begin()
            session = self._session(runs_detached)
            with self.sessions.busy(session):
                session.set_threads(settings.threads())
                finished = session.run(
                    argv,
                    self.screen.write,
                    defaults=settings.defaults(),
                    styles=self.screen.styles(),
                    width=self.screen.width(),
                )
        except ffi.Error as error:
            if error.code == ffi.INTERRUPTED:
                self.sessions.forget()  # half a walk is nobody's cache
            raise gdb.GdbError(sentence(str(error))) from None
        except KeyboardInterrupt:
            self.sessions.forget()
            finished = False
        except gdb.error as error:  # a target that was lost while gdb read it
            raise gdb.GdbError(sentence(str(error))) from None
        finally:
            self.screen.clear()
        if not finished:
            raise gdb.GdbError("Quit")  # gdb's own word for Ctrl-C and for q at the pager

    def _session(self, runs_detached):
        try:
            return self.sessions.current()
        except gdb.GdbError:
            if not runs_detached:
                raise
            return self.sessions.detached()  # the command says so if it needs a target after all


def sentence(message):
    """The library's words the way gdb ends its own. A query's error has a caret below it: as it is."""
    message = message[:1].upper() + message[1:]
    return message if "\n" in message else message.rstrip(".") + "."


class Inferior:
    """Where a Heap of heapwalk.current() has its session from: one inferior, for as long as it lasts."""

    def __init__(self, runner):
        self._sessions = runner.sessions
        self._number = gdb.selected_inferior().num
        with self.use():
            pass  # there is something to look at

    @contextlib.contextmanager
    def use(self, session=None):
        """The session: that one, or the inferior's of now."""
        if gdb.selected_inferior().num != self._number:
            raise ffi.Error(
                "this heap is of inferior %d, and %d is selected: select it with inferior %d"
                % (self._number, gdb.selected_inferior().num, self._number),
                "invalid-argument",
            )
        try:
            session = session or self._sessions.current()
        except gdb.GdbError as error:
            raise ffi.Error(str(error), "not-found") from None
        with self._sessions.busy(session):
            yield session

    def close(self):
        """Nothing: the commands go on with the same session."""


def runner():
    """The one Runner of this gdb. Raises ffi.Error when there is no library."""
    if runner.made is None:
        runner.made = Runner(api.library())
    return runner.made


runner.made = None
